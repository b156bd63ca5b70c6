//! Server specification → a ready server, or how it ended.

mod command;
mod failure;
mod guard;
mod log;
mod outcome;
mod python;
mod start;

pub use command::argv;
pub use guard::guard;
pub use outcome::{Facts, OomAt, ServerOutcome, StartPhase};
pub use start::{Death, Running, Start, StartFailure, log_path, start};
