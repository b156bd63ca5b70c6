//! Server specification → a ready server, or how it ended.

mod command;
mod failure;
mod gpu;
mod guard;
mod log;
mod outcome;
mod python;
mod recipe;
mod start;

pub use command::argv;
pub use gpu::{GpuSeen, seen_gpus};
pub use guard::guard;
pub use outcome::{Facts, OomAt, ServerOutcome, StartPhase};
pub use recipe::{Recipe, recipe};
pub use start::{Address, Death, Running, Start, StartFailure, log_path, start};
