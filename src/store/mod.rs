//! What was measured ↔ the run folder.

mod folder;
mod form;
mod table;

pub use folder::{
    FORMAT, RunFolder, StoreError, fingerprint_difference, newest, read, read_records,
};
pub use form::{CellFile, EngineFact, Gpu, Host, RunFile, ServerFile, StoredRun, Tool};
