//! [`Tool`]: the program that wrote a file, and its version.

use serde::{Deserialize, Serialize};

/// The tool that wrote a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// `runner`.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Tool {
    /// This program and its version.
    pub fn this() -> Self {
        Self { name: "runner".into(), version: env!("CARGO_PKG_VERSION").into() }
    }
}
