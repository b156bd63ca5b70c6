//! Writes files and folders atomically: to a temporary name, synced, then renamed into place.

use std::{
    fs, io,
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
    thread,
    time::{Duration, Instant},
};

use camino::{Utf8Path, Utf8PathBuf};

use super::error::StoreError;

/// Prefix of everything that is not completely written.
pub(super) const TEMPORARY: &str = ".tmp-";
const NEW: &str = ".tmp-new-";
/// Prefix of a folder that is about to be replaced.
const OLD: &str = ".tmp-old-";

/// Held during each write, so that [`stop_writing`] can wait for it. Global because the end of the process
/// is.
static WRITING: Mutex<()> = Mutex::new(());
/// How long [`stop_writing`] waits for a write.
const LONGEST_WRITE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(2);

fn writing() -> MutexGuard<'static, ()> {
    WRITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits up to a second for a write in progress and lets no other begin. For a process that is about to exit
/// at once and would leave a temporary file behind.
pub fn stop_writing() {
    let until = Instant::now() + LONGEST_WRITE;
    loop {
        match WRITING.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(POLL),
            // Never released.
            guard => return std::mem::forget(guard),
        }
    }
}

/// Writes a file: after a crash it has its old or its new content, never a part.
pub(super) fn write_file(path: &Utf8Path, bytes: &[u8]) -> Result<(), StoreError> {
    let (parent, name) = split(path)?;
    let _writing = writing();
    create_folders(parent)?;
    let temporary = parent.join(format!("{TEMPORARY}{name}"));
    write_synced(&temporary, &|file: &mut dyn io::Write| file.write_all(bytes))
        .and_then(|()| rename(&temporary, path))
        .inspect_err(|_| discard(&temporary))?;
    sync_folder(parent)
}

/// Writes a file whose path a person gave: atomically, unless it is a pipe or a device, which is written
/// directly.
///
/// # Errors
/// When the file cannot be written.
pub fn write_whole(path: &Utf8Path, bytes: &[u8]) -> Result<(), StoreError> {
    let place = match path.parent() {
        Some(parent) if parent.as_str().is_empty() => Utf8Path::new(".").join(path),
        _ => path.to_owned(),
    };
    match fs::metadata(&place) {
        Ok(there) if !there.is_file() => {
            fs::write(&place, bytes).map_err(|e| StoreError::io(path, "write", &e))
        }
        // A link is kept, and its target is written.
        Ok(_) => write_file(&place.canonicalize_utf8().unwrap_or(place), bytes),
        Err(_) => write_file(&place, bytes),
    }
}

/// A file of a folder: its name, and the function that writes its content.
pub(super) type Content<'a> = (String, Box<dyn Fn(&mut dyn io::Write) -> io::Result<()> + 'a>);

/// Writes a folder of files atomically, and replaces an older one of that name.
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
    fill().inspect_err(|_| discard(&new))?;
    // A folder cannot be renamed onto one that is not empty. If the process dies between the two renames,
    // `recover` brings the older one back.
    let replaces = path.exists();
    let put = || {
        if replaces {
            rename(path, &old)?;
        }
        rename(&new, path).inspect_err(|_| {
            if replaces {
                // If even this fails, `recover` does it.
                let _ = rename(&old, path);
            }
        })
    };
    put().inspect_err(|_| discard(&new))?;
    sync_folder(parent)?;
    remove(&old)
}

/// Removes what interrupted writes left in a folder, and restores a folder whose replacement was interrupted.
pub(super) fn recover(parent: &Utf8Path) -> Result<(), StoreError> {
    for name in names(parent)? {
        let path = parent.join(&name);
        match name.strip_prefix(OLD).map(|name| parent.join(name)) {
            // Only folders are moved aside.
            Some(place) if path.is_dir() && !place.exists() => rename(&path, &place)?,
            _ if name.starts_with(TEMPORARY) => remove(&path)?,
            _ => {}
        }
    }
    Ok(())
}

/// Lists the names in a folder, sorted; empty when the folder does not exist.
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

pub(super) fn create_folders(path: &Utf8Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(|e| StoreError::io(path, "create the folder", &e))
}

/// Creates a folder. Returns false when something of that name exists already.
pub(super) fn create_new_folder(path: &Utf8Path) -> Result<bool, StoreError> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(StoreError::io(path, "create the folder", &error)),
    }
}

/// Makes renames in a folder survive a power loss.
pub(super) fn sync_folder(path: &Utf8Path) -> Result<(), StoreError> {
    fs::File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| StoreError::io(path, "sync the folder", &e))
}

fn split(path: &Utf8Path) -> Result<(&Utf8Path, &str), StoreError> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(StoreError::new(path, "is not the path of a file", "give the path of a file in a folder")),
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
    fs::rename(from, to).map_err(|e| StoreError::io(to, "rename it into place", &e))
}

/// Frees the space of a failed write, best effort: the disk may be full, and the first error is the one to
/// report.
fn discard(path: &Utf8Path) {
    let _ = remove(path);
}

/// Removes a file or a folder with its content. It need not exist.
pub(super) fn remove(path: &Utf8Path) -> Result<(), StoreError> {
    let result = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io(path, "remove", &error)),
        _ => Ok(()),
    }
}
