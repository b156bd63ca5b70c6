//! Parses JSONL files line by line.

use camino::Utf8Path;
use serde::de::DeserializeOwned;

use super::error::InputError;

/// The values of the lines that are not blank, each with its line's number from 1. `expected` describes one
/// in errors.
pub(super) fn json_lines<T: DeserializeOwned>(
    file: &Utf8Path,
    text: &str,
    expected: &'static str,
) -> impl Iterator<Item = Result<(u64, T), InputError>> {
    let lines = (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty());
    lines.map(move |(line, text)| match serde_json::from_str(text) {
        Ok(value) => Ok((line, value)),
        Err(error) => Err(InputError::unreadable(file, line, expected, &error)),
    })
}
