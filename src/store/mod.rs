//! Writes what was measured into a run folder, and reads it back.
//!
//! Light files (JSON, CSV, TOML) go to git and suffice to render every note, chart and page again. Records
//! are heavy and stay on the machine that measured them. Every file and cell folder is either complete or
//! absent, and only one process at a time writes in a run folder.
//!
//! ```
//! use runner::store::{check_name, newest, read};
//!
//! assert!(check_name("2026-11-30-h100").is_ok());
//! assert!(check_name("../elsewhere").is_err());
//!
//! // The newest committed run of an experiment, from its light files alone.
//! let folder = newest("results".into(), "cpu-grid")?.expect("a run is committed");
//! let run = read(&folder)?;
//! assert_eq!(run.run.seed, run.plan.experiment.seed);
//! assert!(run.cells.iter().any(|cell| cell.outcome.is_measured()));
//! # Ok::<(), runner::store::StoreError>(())
//! ```

mod abandoned;
mod atomic;
mod cell;
mod error;
mod find;
mod fingerprint;
mod folder;
mod json;
mod ladder;
mod layout;
mod lock;
mod name;
mod prediction;
mod read;
mod records;
mod repair;
mod schema;
mod tables;
mod tool;
mod unfinished;

#[cfg(test)]
mod tests;

pub use atomic::{stop_writing, write_whole};
pub use error::StoreError;
pub use find::{FindError, find};
pub use fingerprint::fingerprint_difference;
pub use folder::{RunFolder, write_recipe, write_run};
pub use ladder::{LadderEnd, ladder_end};
pub use name::{InvalidName, check_name};
pub use prediction::{
    AnswersFrom, Basis, CalibrationBasis, ModelBasis, PredictedCell, PredictedServer, Predictions,
};
pub use read::{newest, read, read_records};
pub use schema::{
    Attempt, CellFile, EngineFact, FORMAT, Gpu, Host, Imported, ImportedFile, RunFile, ServerFile,
    ServerStart, StoredRun,
};
pub use tables::cells as cells_csv;
pub use tool::Tool;
pub use unfinished::{Unfinished, unfinished};
