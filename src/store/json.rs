//! JSON files with a format: written readably and the same every time, refused when they are from a later version.

use std::{fs, io};

use camino::Utf8Path;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{durable, error::StoreError, form::FORMAT};

/// The first thing read of a file, whatever else it holds.
#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

/// The value as text, with a newline at its end.
pub(super) fn text(path: &Utf8Path, value: &impl Serialize) -> Result<String, StoreError> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| StoreError::io("write", path)(error.into()))?;
    text.push('\n');
    Ok(text)
}

/// Writes a value in one step.
pub(super) fn write(path: &Utf8Path, value: &impl Serialize) -> Result<(), StoreError> {
    durable::write(path, text(path, value)?.as_bytes())
}

/// Reads a text that has to be there.
pub(super) fn read_text(path: &Utf8Path) -> Result<String, StoreError> {
    fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StoreError::Missing {
            path: path.to_owned(),
        },
        io::ErrorKind::InvalidData => StoreError::Damaged {
            path: path.to_owned(),
            reason: "it is not UTF-8".into(),
        },
        _ => StoreError::io("read", path)(error),
    })
}

/// Reads a value that has to be there.
pub(super) fn read<T: DeserializeOwned>(path: &Utf8Path) -> Result<T, StoreError> {
    parse(path, &read_text(path)?)
}

/// Reads a value from a text of a file. The format comes first: a later one may look different in every other way.
pub(super) fn parse<T: DeserializeOwned>(path: &Utf8Path, text: &str) -> Result<T, StoreError> {
    let damaged = |error: serde_json::Error| StoreError::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let Versioned { format } = serde_json::from_str(text).map_err(damaged)?;
    if format > FORMAT {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            format,
            known: FORMAT,
        });
    }
    serde_json::from_str(text).map_err(damaged)
}
