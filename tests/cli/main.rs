//! The command line: whole runs on the embedded engine, predictions, imports, documentation.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../support/mod.rs"]
mod support;

mod arrivals;
mod budget;
mod coverage;
mod documentation;
mod experiments;
#[cfg(unix)]
mod harmless;
mod import;
mod manifest;
mod observe;
mod predict;
mod published;
mod rehearsal;
mod repeats;
mod resume;
mod search;
mod skip_impossible;
mod tls;
mod workloads;
