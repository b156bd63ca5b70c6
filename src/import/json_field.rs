//! A value in a JSON file with its path, so that an error names the file, the field and the expected value.

use serde_json::Value;

use crate::diagnostic::Finding;

/// A value in a JSON file with its path.
#[derive(Clone)]
pub(super) struct JsonField<'a> {
    file: &'a str,
    path: String,
    value: &'a Value,
}

impl<'a> JsonField<'a> {
    pub(super) fn root(file: &'a str, value: &'a Value) -> Self {
        Self { file, path: String::new(), value }
    }

    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    /// The field `key` of an object; `None` if it is missing or `null`.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        let dot = if self.path.is_empty() { "" } else { "." };
        Some(Self { file: self.file, path: format!("{}{dot}{key}", self.path), value })
    }

    /// The field at the end of a path of keys.
    pub(super) fn at(&self, keys: &[&str]) -> Option<Self> {
        let mut field = self.clone();
        for key in keys {
            field = field.get(key)?;
        }
        Some(field)
    }

    /// The items of a list; empty for any other value.
    pub(super) fn items(&self) -> Vec<Self> {
        let items = self.value.as_array().into_iter().flatten();
        items
            .enumerate()
            .map(|(index, value)| Self { file: self.file, path: format!("{}[{index}]", self.path), value })
            .collect()
    }

    /// The error that the value is not what is expected.
    pub(super) fn wrong(&self, expected: &str) -> Finding {
        let mut shown = self.value.to_string();
        if shown.chars().count() > 40 {
            shown = shown.chars().take(40).chain("…".chars()).collect();
        }
        Finding::error(format!("{}: `{}` is {shown}, but must be {expected}", self.file, self.path))
    }

    /// The error that a required field is missing.
    pub(super) fn missing(&self, key: &str, expected: &str) -> Finding {
        let dot = if self.path.is_empty() { "" } else { "." };
        Finding::error(format!("{}: `{}{dot}{key}` is missing; it must be {expected}", self.file, self.path))
    }

    pub(super) fn number(&self, expected: &str) -> Result<f64, Finding> {
        match self.value.as_f64() {
            Some(number) if number.is_finite() => Ok(number),
            _ => Err(self.wrong(expected)),
        }
    }

    pub(super) fn count(&self, expected: &str) -> Result<u64, Finding> {
        // Some tools write counts as `96.0`.
        let whole = self.value.as_f64().filter(|number| *number >= 0.0 && number.fract() == 0.0);
        whole.map(|number| number as u64).ok_or_else(|| self.wrong(expected))
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// The number at the end of a path of keys, if there is one.
    pub(super) fn number_at(&self, keys: &[&str], expected: &str) -> Result<Option<f64>, Finding> {
        self.at(keys).map(|field| field.number(expected)).transpose()
    }

    /// The whole number at the end of a path of keys, if there is one.
    pub(super) fn count_at(&self, keys: &[&str], expected: &str) -> Result<Option<u64>, Finding> {
        self.at(keys).map(|field| field.count(expected)).transpose()
    }
}
