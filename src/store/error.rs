//! What goes wrong with a run folder.

use std::{error, fmt, io};

use camino::{Utf8Path, Utf8PathBuf};

/// What to do about a full disk once there is a run to go on with, and before.
const GO_ON: &str = "free some space, then go on with `runner run … --resume`";
const START_AGAIN: &str = "free some space, then start the run again";

/// Why something of a run folder could not be written or read: where, why, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    /// The file or folder it is about.
    pub path: Utf8PathBuf,
    /// What is wrong with it.
    pub reason: String,
    /// What a person can do about it.
    pub next: String,
}

impl StoreError {
    pub(super) fn new(path: &Utf8Path, reason: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            reason: reason.into(),
            next: next.into(),
        }
    }

    /// An error of the operating system; `doing` completes "cannot …".
    pub(super) fn io(path: &Utf8Path, doing: &str, error: &io::Error) -> Self {
        let next = match error.kind() {
            io::ErrorKind::PermissionDenied => "check who may read and write that folder",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => GO_ON,
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                "what stands there is no folder, or a link that leads nowhere: move it away"
            }
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::ReadOnlyFilesystem => "choose another folder for the results",
            _ => "check the path and the disk it is on",
        };
        Self::new(path, format!("cannot {doing}: {error}"), next)
    }

    /// The same of a run of which nothing is there yet: it cannot be gone on with.
    pub(super) fn before_the_run(mut self) -> Self {
        if self.next == GO_ON {
            START_AGAIN.clone_into(&mut self.next);
        }
        self
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path, self.reason, self.next)
    }
}

impl error::Error for StoreError {}
