//! What was measured ↔ the run folder.

mod form;

pub use form::{CellFile, EngineFact, Gpu, Host, RunFile, ServerFile, StoredRun, Tool};
