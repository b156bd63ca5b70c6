//! One runner at a time in a run folder.

use std::{
    fs::File,
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::MetadataExt as _,
};

use camino::Utf8Path;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::StoreError;

/// The lock's file: it stays when the lock is gone, because removing it would race with the next runner.
pub(super) const FILE: &str = ".lock";

/// Held as long as it lives; the kernel lets go of it when the process ends, whatever way.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Whether a folder still is the one that was locked: somebody may have removed it, and made another.
    pub(super) fn is_of(&self, folder: &Utf8Path) -> bool {
        let now = std::fs::metadata(folder.join(FILE));
        match (now, self.file.metadata()) {
            (Ok(now), Ok(own)) => (now.dev(), now.ino()) == (own.dev(), own.ino()),
            _ => false,
        }
    }
}

/// Takes the lock of a run folder, or says which process holds it.
pub(super) fn take(folder: &Utf8Path) -> Result<Lock, StoreError> {
    let path = folder.join(FILE);
    let failed = |doing: &'static str| {
        move |e: std::io::Error| StoreError::io(&folder.join(FILE), doing, &e)
    };
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed("open the lock"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            // Who holds it is only for the message: unreadable is said as such.
            let read = file.read_to_string(&mut holder);
            let holder = match holder.trim() {
                pid if read.is_ok() && !pid.is_empty() => format!("process {pid}"),
                _ => "another process".to_owned(),
            };
            return Err(StoreError::new(
                folder,
                format!("{holder} is working on this run"),
                "wait until it is done, or start another run with --name",
            ));
        }
        Err(errno) => return Err(failed("lock the run")(errno.into())),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(failed("write the lock"))?;
    Ok(Lock { file })
}
