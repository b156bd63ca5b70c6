//! The embedded engine as an OpenAI-compatible server, run as the child process `runner sim`.
//!
//! It speaks, logs and fails as `vllm serve` does, so that launch, readiness, load and stop are the same for both, and
//! every line it logs says that it is the embedded engine. Tokens leave at the instants of the [`crate::engine`]:
//! one thread sleeps on a condition variable until the next one (the operating system wakes it some 50 µs late, where
//! tokio's timer has a grain of 1 ms), and sleeps without a deadline while nothing runs.
//!
//! Failure can be rehearsed: every fault of [`crate::manifest::Faults`] happens at its moment, or to its share of the
//! requests, drawn from the seed.

mod answer;
mod api;
mod args;
mod clock;
mod fault;
mod log;
mod metrics;
mod serve;
mod shape;
mod stream;
mod whole;

use crate::engine::tokenizer as text;

pub use args::{SimArgs, parse_args};
pub use serve::{SimError, serve};
