//! Real processes: how servers start and end, and that none is ever left running. Linux only, because the
//! tests read `/proc`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![cfg(target_os = "linux")]

#[path = "../support/mod.rs"]
mod support;

mod guard;
mod killed;
mod orphans;
mod server;
