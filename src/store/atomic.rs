//! Files and folders that are complete or not there: written beside, synced, renamed.

use std::{
    fs, io,
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
    thread,
    time::{Duration, Instant},
};

use camino::{Utf8Path, Utf8PathBuf};

use super::StoreError;

/// What everything half-written begins with.
pub(super) const BESIDE: &str = ".tmp-";
const NEW: &str = ".tmp-new-";
/// A folder that was moved aside for its successor.
const OLD: &str = ".tmp-old-";

/// Held while something is half-written. It is of the process, as its end is.
static WRITING: Mutex<()> = Mutex::new(());
/// How long the end of a process waits for a write.
const LONGEST_WRITE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(2);

fn writing() -> MutexGuard<'static, ()> {
    WRITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets what is being written become whole, if that takes no second, and nothing begin after it: for a process that ends at
/// once, and would leave half a file beside its place.
pub fn stop_writing() {
    let until = Instant::now() + LONGEST_WRITE;
    loop {
        match WRITING.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(LOOK),
            // Never given back.
            held => return std::mem::forget(held),
        }
    }
}

/// Writes a whole file: after a crash the old content is there, or the new, never a part.
pub(super) fn write_file(path: &Utf8Path, bytes: &[u8]) -> Result<(), StoreError> {
    let (parent, name) = split(path)?;
    let _writing = writing();
    create_folders(parent)?;
    let beside = parent.join(format!("{BESIDE}{name}"));
    write_synced(&beside, &|file: &mut dyn io::Write| file.write_all(bytes))
        .and_then(|()| rename(&beside, path))
        .inspect_err(|_| give_back(&beside))?;
    sync_folder(parent)
}

/// Writes a file that a person named, whole or not at all; into what is no file, such as a pipe, it is only written.
///
/// # Errors
///
/// When the disk refuses.
pub fn write_whole(path: &Utf8Path, bytes: &[u8]) -> Result<(), StoreError> {
    let place = match path.parent() {
        Some(parent) if parent.as_str().is_empty() => Utf8Path::new(".").join(path),
        _ => path.to_owned(),
    };
    match fs::metadata(&place) {
        Ok(there) if !there.is_file() => {
            fs::write(&place, bytes).map_err(|e| StoreError::io(path, "write", &e))
        }
        // A link stays, and leads to the new content.
        Ok(_) => write_file(&place.canonicalize_utf8().unwrap_or(place), bytes),
        Err(_) => write_file(&place, bytes),
    }
}

/// A file of a folder: its name, and what writes its content.
pub(super) type Content<'a> = (String, Box<dyn Fn(&mut dyn io::Write) -> io::Result<()> + 'a>);

/// Writes a whole folder of files; an older one of that name is replaced.
pub(super) fn write_folder(path: &Utf8Path, files: &[Content<'_>]) -> Result<(), StoreError> {
    let (parent, name) = split(path)?;
    let _writing = writing();
    create_folders(parent)?;
    let new = parent.join(format!("{NEW}{name}"));
    let old = parent.join(format!("{OLD}{name}"));
    remove(&new)?;
    remove(&old)?;
    let fill = || {
        fs::create_dir(&new).map_err(|e| StoreError::io(&new, "create the folder", &e))?;
        for (name, write) in files {
            write_synced(&new.join(name), write)?;
        }
        sync_folder(&new)
    };
    fill().inspect_err(|_| give_back(&new))?;
    // A folder cannot be renamed onto one that is not empty. Between the two renames a crash leaves the older one
    // aside, from where `recover` brings it back.
    let aside = path.exists();
    let put = || {
        if aside {
            rename(path, &old)?;
        }
        rename(&new, path).inspect_err(|_| {
            if aside {
                // Where even this fails, `recover` does it.
                let _ = rename(&old, path);
            }
        })
    };
    put().inspect_err(|_| give_back(&new))?;
    sync_folder(parent)?;
    remove(&old)
}

/// Clears what an interrupted write left in a folder, and brings back a folder that lost its place.
pub(super) fn recover(parent: &Utf8Path) -> Result<(), StoreError> {
    for name in names(parent)? {
        let path = parent.join(&name);
        match name.strip_prefix(OLD).map(|name| parent.join(name)) {
            // Only folders are moved aside.
            Some(place) if path.is_dir() && !place.exists() => rename(&path, &place)?,
            _ if name.starts_with(BESIDE) => remove(&path)?,
            _ => {}
        }
    }
    Ok(())
}

/// The names in a folder, sorted; none when there is no such folder.
pub(super) fn names(folder: &Utf8Path) -> Result<Vec<String>, StoreError> {
    let listing = || -> io::Result<Vec<String>> {
        let mut names = folder
            .read_dir_utf8()?
            .map(|entry| entry.map(|entry| entry.file_name().to_owned()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    };
    match listing() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        result => result.map_err(|e| StoreError::io(folder, "list the folder", &e)),
    }
}

/// Creates a folder and every one above it that is missing.
pub(super) fn create_folders(path: &Utf8Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(|e| StoreError::io(path, "create the folder", &e))
}

/// Creates a folder; false when something of that name is there already, whoever was faster.
pub(super) fn create_new_folder(path: &Utf8Path) -> Result<bool, StoreError> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(StoreError::io(path, "create the folder", &error)),
    }
}

/// Makes the names in a folder survive a loss of power.
pub(super) fn sync_folder(path: &Utf8Path) -> Result<(), StoreError> {
    fs::File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| StoreError::io(path, "sync the folder", &e))
}

fn split(path: &Utf8Path) -> Result<(&Utf8Path, &str), StoreError> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(StoreError::new(path, "names no file", "give the path of a file in a folder")),
    }
}

fn write_synced(
    path: &Utf8PathBuf,
    write: &dyn Fn(&mut dyn io::Write) -> io::Result<()>,
) -> Result<(), StoreError> {
    fs::File::create(path)
        .and_then(|mut file| {
            write(&mut file)?;
            file.sync_all()
        })
        .map_err(|e| StoreError::io(path, "write", &e))
}

fn rename(from: &Utf8Path, to: &Utf8Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(|e| StoreError::io(to, "put it in its place", &e))
}

/// Frees what a failed write took of a disk that may be full; the failure itself is what is told.
fn give_back(path: &Utf8Path) {
    let _ = remove(path);
}

/// Takes a file or a whole folder away; one that is not there is no error.
pub(super) fn remove(path: &Utf8Path) -> Result<(), StoreError> {
    let result = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io(path, "remove", &error)),
        _ => Ok(()),
    }
}
