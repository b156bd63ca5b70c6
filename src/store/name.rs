//! Which names a run, a cell or a server folder may have.

use camino::Utf8Path;

use super::error::StoreError;

const RULE: &str =
    "use letters, digits, `-`, `_` and `.`, at most 200 of them, beginning with a letter or a digit";

/// The name cannot be used for a folder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot be the name of a folder; {RULE}")]
pub struct InvalidName(String);

/// Checks that a run may have this name: it must be a plain folder name, not a path, a hidden folder, or
/// something a command line would read as a flag.
///
/// # Errors
/// [`InvalidName`], whose message says which names are allowed.
pub fn check_name(name: &str) -> Result<(), InvalidName> {
    let plain = !name.is_empty()
        && name.len() <= 200
        && !name.starts_with(['.', '-'])
        && !name.contains(['/', '\\'])
        && !name.contains(char::is_control);
    if plain { Ok(()) } else { Err(InvalidName(name.to_owned())) }
}

/// Checks the name of a folder below `parent`.
pub(super) fn check_in(parent: &Utf8Path, name: &str) -> Result<(), StoreError> {
    check_name(name)
        .map_err(|_| StoreError::new(parent, format!("{name:?} cannot be the name of a folder in it"), RULE))
}
