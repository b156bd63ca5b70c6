//! Helpers that the test binaries share.
#![allow(dead_code, reason = "no test binary uses all of them")]

pub(crate) mod experiment;
#[cfg(target_os = "linux")]
pub(crate) mod processes;
pub(crate) mod records;
