//! What was measured ↔ the run folder.
//!
//! Light files go to git and suffice to render everything again; the records are heavy and stay where they were
//! measured. Everything written is complete or not there, and one process at a time writes in a run folder.

mod atomic;
mod error;
mod fingerprint;
mod folder;
mod form;
mod ladder;
mod lock;
mod mend;
mod never_begun;
mod prediction;
mod read;
mod records;
mod tables;
mod unfinished;

#[cfg(test)]
mod tests;

pub use atomic::{stop_writing, write_whole};
pub use error::StoreError;
pub use fingerprint::fingerprint_difference;
pub use folder::{RunFolder, check_name, write_recipe, write_run};
pub use form::{
    Attempt, CellFile, EngineFact, FORMAT, Gpu, Host, Imported, ImportedFile, RunFile, ServerFile, StoredRun,
    Tool,
};
pub use ladder::{LadderEnd, ladder_end};
pub use prediction::{
    AnswersFrom, Basis, CalibrationBasis, ModelBasis, PredictedCell, PredictedServer, Predictions,
};
pub use read::{newest, read, read_records};
pub use tables::cells as cells_csv;
pub use unfinished::{Unfinished, unfinished};
