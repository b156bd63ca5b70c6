//! What goes wrong with a run folder.

use std::{error, fmt, io};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::io::Errno;

use super::folder::layout;

/// What to do about a full disk once there is a run to go on with, and before.
const GO_ON: &str = "free some space, then go on with `runner run … --resume`";
const START_AGAIN: &str = "free some space, then start the run again";

fn is(error: &io::Error, errno: Errno) -> bool {
    Errno::from_io_error(error) == Some(errno)
}

/// Why something of a run folder could not be written or read: where, why, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    /// The file or folder it is about.
    pub path: Utf8PathBuf,
    /// What is wrong with it.
    pub reason: String,
    /// What a person can do about it.
    pub next: String,
    /// Whether it is a file whose content is not what was written.
    pub(super) damaged: bool,
}

impl StoreError {
    pub(super) fn new(path: &Utf8Path, reason: impl Into<String>, next: impl Into<String>) -> Self {
        Self { path: path.to_owned(), reason: reason.into(), next: next.into(), damaged: false }
    }

    /// A file that is not as it was written, or is missing where it must be.
    pub(super) fn damaged(path: &Utf8Path, reason: impl Into<String>) -> Self {
        // What a run was measured on is written down nowhere else.
        let next = if path.file_name() == Some(layout::RUN) {
            "restore it from the repository; nothing can be added to the run without it, and what else is in its folder is as it was"
        } else {
            "restore it from the repository, or go on with `runner run … --resume`, which keeps it aside and makes it anew"
        };
        Self { damaged: true, ..Self::new(path, reason, next) }
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
            _ if is(error, Errno::MFILE) || is(error, Errno::NFILE) => {
                "raise the limit on open files (`ulimit -n`), then go on with `runner run … --resume`"
            }
            _ if is(error, Errno::IO) => "the disk fails: see `dmesg`, and copy what is there to another one",
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
