//! The embedded engine as an OpenAI-compatible server, run as the child process `runner sim`.
//!
//! Its API, logs and failures are those of `vllm serve`, so that launch, readiness, load and stop work the
//! same for both. Every line of its log is marked as the embedded engine's. The [`crate::engine`] decides
//! when tokens are emitted. A thread waits for each on a condition variable, which wakes about 50 µs late;
//! tokio's timer has a resolution of 1 ms.
//!
//! Failures can be rehearsed: each of the [`crate::manifest::Faults`] happens at its time, or in its share of
//! the requests, drawn from the seed.
//!
//! ```
//! use runner::sim::parse_args;
//!
//! let words = ["tiny", "--port", "8001", "--max-num-seqs=4", "--sim-ttft", "20ms"];
//! let args = parse_args(words.map(str::to_owned).to_vec())?;
//! assert_eq!((args.model.as_str(), args.port, args.max_num_seqs), ("tiny", 8001, 4));
//! # Ok::<(), runner::sim::ArgsError>(())
//! ```

mod answer;
mod api;
mod args;
mod clock;
mod fault;
mod log;
mod metrics;
mod response;
mod serve;
mod stream;
mod wire_format;

pub use args::{ArgsError, SimArgs, parse_args};
pub use serve::{SimError, serve};
