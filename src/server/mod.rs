//! Launches a server or attaches to one, proves that it is ready, and reports how it ended.
//!
//! `start` drives everything: `command` builds the argument vector, `launched` runs it under a guardian
//! (`process`) that ends the whole process tree with the runner, `log` reads what the server writes, and
//! `probe` checks over HTTP that the right server answers.

mod accepted_flags;
mod command;
mod gpu;
mod http;
mod launched;
mod log;
mod model_cache;
mod outcome;
mod probe;
mod process;
mod recipe;
mod running;
mod start;

pub use accepted_flags::{AcceptedFlags, FlagsError, accepted_flags, installed_version, unknown_flags};
pub use command::argv;
pub use gpu::{DetectGpusError, DetectedGpu, detect_gpus};
pub use http::{HttpClient, HttpError, HttpRequest};
pub use log::classify;
pub use outcome::{Facts, OomAt, ServerOutcome, StartPhase, UnknownOutcome};
pub use process::{CaptureError, ProcessTree, TreeUsage, capture, end_orphans, guard, guard_capture};
pub use recipe::{Recipe, recipe};
pub use running::{Address, Crash, Running};
pub use start::{Start, StartFailure, log_path, start};
