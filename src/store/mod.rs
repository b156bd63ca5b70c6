//! What was measured ↔ the run folder.
//!
//! Light files (`run.json`, `plan.json`, `effective.toml`, `cells/*/cell.json`, `servers/*/server.json`) go to git and
//! suffice to render everything again; heavy ones (`records-*.jsonl.gz`, `server.log`) are ignored by the
//! `.gitignore` that a run folder brings. Every file and every cell's folder is whole or not there.

mod durable;
mod error;
mod fingerprint;
mod folder;
mod form;
mod json;
mod lock;
mod name;
mod read;
mod records;
mod table;
#[cfg(test)]
mod tests;

pub use error::StoreError;
pub use fingerprint::fingerprint_difference;
pub use folder::RunFolder;
pub use form::{CellFile, EngineFact, FORMAT, Gpu, Host, RunFile, ServerFile, StoredRun, Tool};
pub use read::{newest, read};
pub use records::read_records;
