//! The content of the files that a manifest names.

use std::{collections::BTreeMap, sync::Arc};

use camino::{Utf8Path, Utf8PathBuf};

/// Prompt and document files by their path as the manifest writes it. Read once, when the manifest is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs(pub BTreeMap<Utf8PathBuf, Input>);

/// One file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// SHA-256 of the bytes, in hex.
    pub sha256: String,
    /// The text.
    pub text: Arc<str>,
}

impl Inputs {
    /// The content of a file the manifest names.
    pub fn get(&self, path: &Utf8Path) -> Option<&Input> {
        self.0.get(path)
    }
}
