//! Names that become folders.

use camino::{Utf8Component, Utf8Path};

use super::error::StoreError;

/// The longest name, bytes; file systems take 255, and a temporary name adds a few.
pub(super) const LONGEST: usize = 200;

/// Gives the name back when it can be a folder's: never a path, never hidden.
pub(super) fn checked<'a>(what: &'static str, name: &'a str) -> Result<&'a str, StoreError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.is_empty()
        && name.len() <= LONGEST
        && !name.starts_with('.')
        && name.chars().all(plain)
    {
        return Ok(name);
    }
    Err(StoreError::BadName {
        what,
        name: name.to_owned(),
    })
}

/// Gives the path back when it stays inside the folder it is joined to.
pub(super) fn inside(path: &Utf8Path) -> Result<&Utf8Path, StoreError> {
    let stays = |part| matches!(part, Utf8Component::Normal(_));
    if path.file_name().is_some() && path.components().all(stays) {
        return Ok(path);
    }
    Err(StoreError::BadName {
        what: "file",
        name: path.to_string(),
    })
}
