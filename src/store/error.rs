//! The error type of this room.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::io::Errno;

use super::layout;

const RESUME_WITH_SPACE: &str = "free some space, then go on with `runner run … --resume`";
const RESTART_WITH_SPACE: &str = "free some space, then start the run again";

/// A file or folder of a run could not be written or read: which one, why, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}; {next}")]
pub struct StoreError {
    /// The file or folder.
    pub path: Utf8PathBuf,
    /// What is wrong with it.
    pub reason: String,
    /// What a person can do about it.
    pub next: String,
    /// Whether the file's content differs from what was written, so that [`super::RunFolder::repair`] can
    /// help.
    pub(super) is_damaged: bool,
}

impl StoreError {
    pub(super) fn new(path: &Utf8Path, reason: impl Into<String>, next: impl Into<String>) -> Self {
        Self { path: path.to_owned(), reason: reason.into(), next: next.into(), is_damaged: false }
    }

    /// The file's content is not what was written, or the file is missing.
    pub(super) fn damaged(path: &Utf8Path, reason: impl Into<String>) -> Self {
        // No other file says what a run was measured on, so `run.json` cannot be written again.
        let next = if path.file_name() == Some(layout::RUN) {
            "restore it from the repository: without it nothing can be added to the run; its other files are unharmed"
        } else {
            "restore it from the repository, or go on with `runner run … --resume`, which moves it aside and measures it again"
        };
        Self { is_damaged: true, ..Self::new(path, reason, next) }
    }

    /// An error of the operating system; `action` completes "cannot …".
    pub(super) fn io(path: &Utf8Path, action: &str, error: &io::Error) -> Self {
        let next = match error.kind() {
            io::ErrorKind::PermissionDenied => "check the permissions of that folder",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => RESUME_WITH_SPACE,
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                "something that is not a folder, or a broken link, is in the way: move it"
            }
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::ReadOnlyFilesystem => "choose another folder for the results",
            _ => match Errno::from_io_error(error) {
                Some(Errno::MFILE | Errno::NFILE) => {
                    "raise the limit on open files (`ulimit -n`), then go on with `runner run … --resume`"
                }
                Some(Errno::IO) => "the disk is failing: see `dmesg`, and copy the results to another one",
                _ => "check the path and the disk it is on",
            },
        };
        Self::new(path, format!("cannot {action}: {error}"), next)
    }

    /// Advises to start again instead of to resume, for an error before the run has begun.
    pub(super) fn before_the_run(mut self) -> Self {
        if self.next == RESUME_WITH_SPACE {
            RESTART_WITH_SPACE.clone_into(&mut self.next);
        }
        self
    }
}
