//! Server specification → a ready server, or how it ended.

mod asker;
mod body;
mod command;
mod facts;
mod failure;
mod files;
mod gpu;
mod guard;
mod hub;
mod journal;
mod known;
mod left_over;
mod log;
mod log_file;
mod log_pipe;
mod outcome;
mod probe;
mod process;
mod python;
mod recipe;
mod start;
mod telling;
mod tree;
mod usage;

pub use asker::answer;
pub use body::whole_body;
pub use command::argv;
pub use gpu::{GpuSeen, seen_gpus};
pub use guard::{ask, guard};
pub use known::{KnownFlags, installed_version, known_flags, unknown_flags};
pub use left_over::end_left_overs;
pub use log::classify;
pub use outcome::{Facts, OomAt, ServerOutcome, StartPhase};
pub use recipe::{Recipe, recipe};
pub use start::{Address, Death, Running, Start, StartFailure, log_path, start};
pub use usage::{ProcessTree, TreeUsage};
