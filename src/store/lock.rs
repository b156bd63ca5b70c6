//! One runner per run folder.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
};

use camino::Utf8Path;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::error::StoreError;

/// The lock's file. It stays when the lock goes: a lock is held by who has the file open, and ends with their process.
const FILE: &str = ".lock";

/// Holds a run folder until it is dropped, or its process ends in whatever way.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the folder, or says who has it.
    pub(super) fn take(folder: &Utf8Path) -> Result<Self, StoreError> {
        let path = folder.join(FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(StoreError::io("lock", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let said = file.read_to_string(&mut holder);
                let holder = match (said, holder.trim()) {
                    (Ok(_), name) if !name.is_empty() => name.to_owned(),
                    _ => "another process".into(),
                };
                return Err(StoreError::Locked {
                    folder: folder.to_owned(),
                    holder,
                });
            }
            Err(error) => return Err(StoreError::io("lock", &path)(error.into())),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "process {}", std::process::id()))
            .map_err(StoreError::io("lock", &path))?;
        Ok(Self { _file: file })
    }
}
