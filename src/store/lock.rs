//! The lock of a run folder: one process at a time writes in it.

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

use super::{error::StoreError, layout};

/// A held lock. The kernel releases it when the process ends, however it ends. The lock's file stays:
/// removing it would race with the next process.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

/// How long to wait before believing that another process holds the lock: a child that was just forked has,
/// for an instant, a copy of every file its parent had open, including the lock of a runner that is gone by
/// then.
const PATIENCE: Duration = Duration::from_millis(300);
const POLL: Duration = Duration::from_millis(10);

impl Drop for Lock {
    /// Unlocks explicitly: closing the file would not, while a forked child has a copy of it open.
    fn drop(&mut self) {
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl Lock {
    /// Whether `folder` is still the folder that was locked, and not another one of the same name.
    pub(super) fn is_of(&self, folder: &Utf8Path) -> bool {
        let now = std::fs::metadata(folder.join(layout::LOCK));
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
            Err(Errno::WOULDBLOCK) if Instant::now() < until => thread::sleep(POLL),
            result => return result,
        }
    }
}

/// Takes the lock of a run folder.
///
/// # Errors
/// When another process holds it (the message has its id), or the lock cannot be written.
pub(super) fn take(folder: &Utf8Path) -> Result<Lock, StoreError> {
    let path = folder.join(layout::LOCK);
    let failed =
        |doing: &'static str| move |e: std::io::Error| StoreError::io(&folder.join(layout::LOCK), doing, &e);
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
            // The id is only for the message.
            let read = file.read_to_string(&mut holder);
            let holder = match holder.trim() {
                pid if read.is_ok() && !pid.is_empty() => format!("process {pid}"),
                _ => "another process".to_owned(),
            };
            return Err(StoreError::new(
                folder,
                format!("{holder} is working on this run"),
                "wait for it to finish, or start another run with --name",
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

/// Whether a process holds the lock of a folder now.
pub(super) fn is_held(folder: &Utf8Path) -> bool {
    let attempt =
        File::open(folder.join(layout::LOCK)).map(|file| flock(&file, FlockOperation::NonBlockingLockShared));
    matches!(attempt, Ok(Err(Errno::WOULDBLOCK)))
}

/// Whether a process has ever held the lock of a folder.
pub(super) fn was_held(folder: &Utf8Path) -> bool {
    std::fs::metadata(folder.join(layout::LOCK)).is_ok_and(|file| file.len() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_lock_is_free_although_a_child_has_a_copy_of_its_file() {
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
