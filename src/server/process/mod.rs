//! Process trees that never outlive the runner: a guardian above each one, a journal for the case that the
//! guardian is killed too, and the search for orphans at the next run.

mod capture;
mod guard;
mod ipc_files;
pub(super) mod journal;
pub(super) mod orphans;
mod rendezvous;
pub(super) mod tree;
mod usage;

pub use capture::{CaptureError, capture};
pub(super) use guard::KILL_TIMEOUT;
pub use guard::{guard, guard_capture};
pub use orphans::end_orphans;
pub use usage::{ProcessTree, TreeUsage};
