//! TOML text → `Manifest` and findings.

mod declaration;
mod inputs;

pub use declaration::*;
pub use inputs::{Input, Inputs};
