//! Reads and writes the JSON files of a run folder, and refuses formats newer than this program's.

use std::{fs, io};

use camino::Utf8Path;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{error::StoreError, schema::FORMAT};

/// Reads a JSON file that carries a `format` version.
pub(super) fn read<T: DeserializeOwned>(path: &Utf8Path) -> Result<T, StoreError> {
    let text = read_text(path)?;
    refuse_newer(path, &text)?;
    serde_json::from_str(&text).map_err(|e| altered(path, &e))
}

/// Reads a text file that must be there.
pub(super) fn read_text(path: &Utf8Path) -> Result<String, StoreError> {
    fs::read_to_string(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => StoreError::damaged(path, "is missing from the run folder"),
        io::ErrorKind::InvalidData => StoreError::damaged(path, "is not UTF-8 text"),
        io::ErrorKind::IsADirectory => StoreError::damaged(path, "is a folder, and should be a file"),
        _ => StoreError::io(path, "read", &e),
    })
}

/// Refuses a format that only a newer program can read, before anything else is parsed.
pub(super) fn refuse_newer(path: &Utf8Path, json: &str) -> Result<(), StoreError> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let version: Version = serde_json::from_str(json).map_err(|e| altered(path, &e))?;
    if version.format <= FORMAT {
        return Ok(());
    }
    Err(StoreError::new(
        path,
        format!("has format {}, and this runner reads up to format {FORMAT}", version.format),
        "read it with a newer runner",
    ))
}

/// Serializes a value as indented JSON with a final line break.
pub(super) fn pretty<T: Serialize>(path: &Utf8Path, value: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes =
        serde_json::to_vec_pretty(value).map_err(|e| StoreError::io(path, "write it as JSON", &e.into()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn altered(path: &Utf8Path, error: &serde_json::Error) -> StoreError {
    let what = if error.is_eof() { "is cut short" } else { "is not as the runner wrote it" };
    StoreError::damaged(path, format!("{what}: {error}"))
}
