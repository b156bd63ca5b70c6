//! Files and folders that are whole or not there: written beside, flushed to the disk, renamed.

use std::{
    fs::{self, File},
    io::{self, Write},
};

use camino::{Utf8Path, Utf8PathBuf};

use super::error::StoreError;

/// What a file or folder is called until it is whole. Readers pass over these names.
pub(super) const UNFINISHED: &str = ".tmp-";
/// What a folder is called while its successor takes its place.
const REPLACED: &str = ".tmp-old-";

/// Writes a file in one step: whoever reads it sees the old content or the new one.
pub(super) fn write(path: &Utf8Path, bytes: &[u8]) -> Result<(), StoreError> {
    let beside = beside(path, UNFINISHED);
    let written = flushed(&beside, |file| file.write_all(bytes))
        .and_then(|()| fs::rename(&beside, path))
        .and_then(|()| flush_folder(path));
    written.map_err(|error| {
        // Best effort: the disk that refused the file may refuse this as well, and the first reason is the one to tell.
        let _ = fs::remove_file(&beside);
        StoreError::io("write", path)(error)
    })
}

/// Creates a folder and its missing parents.
pub(super) fn create_folder(path: &Utf8Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(StoreError::io("create", path))
}

/// A file that is written at its final size and flushed to the disk.
pub(super) fn flushed(
    path: &Utf8Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = File::create(path)?;
    write(&mut file)?;
    file.sync_all()
}

/// Puts a folder in its place in one step, whole or not at all; `fill` writes its files where it is told. A folder
/// that stands there already is replaced, and comes back when the replacing was cut short (see [`recover`]).
pub(super) fn place_folder(
    path: &Utf8Path,
    fill: impl FnOnce(&Utf8Path) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let (fresh, old) = (beside(path, UNFINISHED), beside(path, REPLACED));
    remove(&fresh)?;
    create_folder(&fresh)?;
    fill(&fresh)
        .and_then(|()| {
            let replacing = path.exists();
            let put = || {
                File::open(&fresh)?.sync_all()?;
                if replacing {
                    fs::rename(path, &old)?;
                }
                fs::rename(&fresh, path)?;
                flush_folder(path)
            };
            put().map_err(StoreError::io("write", path))?;
            remove(&old)
        })
        .inspect_err(|_| {
            // As above: the first reason is the one to tell.
            let _ = remove(&fresh);
        })
}

/// Puts things right after a crash: a folder that was on its way out and has no successor comes back, and what was
/// never finished goes. Only for who holds the run's lock.
pub(super) fn recover(folder: &Utf8Path) -> Result<(), StoreError> {
    for name in names(folder)? {
        if let Some(replaced) = name.strip_prefix(REPLACED)
            && !folder.join(replaced).exists()
        {
            let (old, path) = (folder.join(&name), folder.join(replaced));
            fs::rename(&old, &path).map_err(StoreError::io("restore", &path))?;
        } else if name.starts_with(UNFINISHED) {
            remove(&folder.join(&name))?;
        }
    }
    Ok(())
}

/// The names in a folder, sorted; none when it is not there.
pub(super) fn names(folder: &Utf8Path) -> Result<Vec<String>, StoreError> {
    let entries = match folder.read_dir_utf8() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("read", folder)(error)),
    };
    let mut names = entries
        .map(|entry| entry.map(|entry| entry.file_name().to_owned()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(StoreError::io("read", folder))?;
    names.sort();
    Ok(names)
}

/// Removes a file or a folder; that it is gone already is as good.
pub(super) fn remove(path: &Utf8Path) -> Result<(), StoreError> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn beside(path: &Utf8Path, prefix: &str) -> Utf8PathBuf {
    let name = path.file_name().unwrap_or("unnamed");
    path.with_file_name(format!("{prefix}{name}"))
}

/// A rename lasts once its folder is flushed.
fn flush_folder(path: &Utf8Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
        let kept = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(kept.path().to_owned()).unwrap();
        (kept, path)
    }

    #[test]
    fn a_folder_that_was_being_replaced_comes_back_and_the_unfinished_goes() {
        let (_kept, root) = folder();
        let put = |name: &str| fs::create_dir(root.join(name)).unwrap();
        put(".tmp-old-a");
        put(".tmp-a");
        put(".tmp-old-b");
        put("b");
        fs::write(root.join(".tmp-cells.csv"), "half").unwrap();
        recover(&root).unwrap();
        assert_eq!(names(&root).unwrap(), ["a", "b"]);
    }

    #[test]
    fn a_folder_that_cannot_be_filled_leaves_the_old_one() {
        let (_kept, root) = folder();
        let path = root.join("cell");
        place_folder(&path, |at| write(&at.join("cell.json"), b"old")).unwrap();
        let refused = place_folder(&path, |at| {
            write(&at.join("cell.json"), b"new")?;
            write(&at.join("no/such/folder"), b"x")
        });
        assert!(refused.unwrap_err().to_string().contains("no/such/folder"));
        assert_eq!(fs::read(path.join("cell.json")).unwrap(), b"old");
        place_folder(&path, |at| write(&at.join("cell.json"), b"new")).unwrap();
        assert_eq!(fs::read(path.join("cell.json")).unwrap(), b"new");
        assert_eq!(names(&root).unwrap(), ["cell"]);
    }
}
