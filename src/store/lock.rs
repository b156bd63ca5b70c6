//! One runner at a time in a run folder.

use std::{
    fs::File,
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::MetadataExt as _,
    thread,
    time::{Duration, Instant},
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

/// How long another holder is waited for before it is believed: a process that was just started has a copy of every open file
/// of its parent for an instant, the lock of a runner that is gone by then among them.
const PATIENCE: Duration = Duration::from_millis(300);
const LOOK: Duration = Duration::from_millis(10);

impl Drop for Lock {
    /// Closing the file would not do while such a copy is open.
    fn drop(&mut self) {
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
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

fn lock(file: &File) -> Result<(), Errno> {
    let until = Instant::now() + PATIENCE;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if Instant::now() < until => thread::sleep(LOOK),
            result => return result,
        }
    }
}

/// Takes the lock of a run folder, or says which process holds it.
pub(super) fn take(folder: &Utf8Path) -> Result<Lock, StoreError> {
    let path = folder.join(FILE);
    let failed = |doing: &'static str| move |e: std::io::Error| StoreError::io(&folder.join(FILE), doing, &e);
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed("open the lock"))?;
    match lock(&file) {
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

/// Whether a runner works in a folder now.
pub(super) fn is_held(folder: &Utf8Path) -> bool {
    let asked = File::open(folder.join(FILE)).map(|file| flock(&file, FlockOperation::NonBlockingLockShared));
    matches!(asked, Ok(Err(Errno::WOULDBLOCK)))
}

/// Whether somebody once held the lock of a folder.
pub(super) fn was_held(folder: &Utf8Path) -> bool {
    std::fs::metadata(folder.join(FILE)).is_ok_and(|file| file.len() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_was_given_up_is_free_though_a_child_has_a_copy_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let lock = take(folder).unwrap();
        let copy = lock.file.try_clone().unwrap();
        assert!(take(folder).is_err());
        drop(lock);
        drop(take(folder).unwrap());
        drop(copy);
    }
}
