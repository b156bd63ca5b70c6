//! Why a run folder could not be written or read, and what to do next.

use std::{fmt, io};

use camino::{Utf8Path, Utf8PathBuf};

/// Why a run folder could not be written or read. Shown, it is a sentence with the path and the next step.
#[derive(Debug)]
pub enum StoreError {
    /// A run of that name is already there.
    Exists {
        /// Its folder.
        folder: Utf8PathBuf,
    },
    /// Another runner works in the folder.
    Locked {
        /// The run's folder.
        folder: Utf8PathBuf,
        /// Who holds it, as they wrote it down: `process 4711`.
        holder: String,
    },
    /// The folder is not a run, or not a whole one.
    Missing {
        /// The file that is not there.
        path: Utf8PathBuf,
    },
    /// A file was written by a later version of the tool.
    Newer {
        /// The file.
        path: Utf8PathBuf,
        /// Its format.
        format: u32,
        /// The latest format that is known here.
        known: u32,
    },
    /// A file is not what was written.
    Damaged {
        /// The file.
        path: Utf8PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that would lead out of the run folder.
    BadName {
        /// What is named: `cell`, `server`, `run` …
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The operating system refused.
    Io {
        /// What was being done: `write`, `read` …
        doing: &'static str,
        /// To which file or folder.
        path: Utf8PathBuf,
        /// Its reason.
        source: io::Error,
    },
}

impl StoreError {
    /// For `map_err`.
    pub(super) fn io(doing: &'static str, path: &Utf8Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists { folder } => write!(
                f,
                "{folder} is already there; go on with it with `--resume`, or give the new run another `--name`"
            ),
            Self::Locked { folder, holder } => write!(
                f,
                "{folder} is in use by {holder}; wait until it has ended, or start a new run with another `--name`"
            ),
            Self::Missing { path } => write!(
                f,
                "{path} is not there, so its folder is not a whole run; name the folder of one, below `results/<experiment>/`"
            ),
            Self::Newer {
                path,
                format,
                known,
            } => write!(
                f,
                "{path} has format {format}, written by a later version of the tool, and this one knows up to {known}; use the later version"
            ),
            Self::Damaged { path, reason } => write!(
                f,
                "{path} cannot be read: {reason}; restore it (`git checkout` where it is committed), or remove its folder and `--resume` to measure it again"
            ),
            Self::BadName { what, name } => write!(
                f,
                "{name:?} cannot be the name of a {what}: it takes letters, digits, `-`, `_` and `.`, does not begin with `.`, and has at most {} characters",
                super::name::LONGEST
            ),
            Self::Io {
                doing,
                path,
                source,
            } => write!(f, "cannot {doing} {path}: {source}; {}", next_step(source)),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

fn next_step(error: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded => {
            "make room on that disk and go on with `--resume`; what is stored already stays"
        }
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => {
            "choose a results folder that can be written to"
        }
        Kind::NotFound => {
            "the folder was moved or removed while it was in use; put it back and go on with `--resume`, or start a new run"
        }
        _ => "see to the disk and go on with `--resume`; what is stored already stays",
    }
}
