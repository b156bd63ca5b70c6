//! The embedded engine decides when each token of a request is emitted. It has no clock of its own, so the
//! same arrivals give the same timestamps on every machine; [`crate::sim`] drives it in real time,
//! [`crate::predict`] in virtual time.
//!
//! There are two implementations of [`Engine`]: [`Script`] emits tokens at the times that a manifest states,
//! and [`Vllm`] models vLLM's scheduler, with step times from a roofline of the GPU.
//!
//! ```
//! use runner::{
//!     engine::{Engine, server_model::ServerModel},
//!     manifest::{Catalogue, Flags},
//! };
//!
//! let model = "Qwen/Qwen2.5-1.5B-Instruct";
//! let server = ServerModel::of("L4", model, &Flags::default(), &Catalogue::default(), None)?;
//! let fit = server.fit()?;
//! assert!(fit.kv_tokens() > 100_000);
//!
//! let mut engine = server.engine(&fit, true, server.speed());
//! let now = runner::unit::Nanos(0);
//! engine.admit(now, runner::engine::NewRequest { prompt: &[1, 2, 3], output_tokens: 1 });
//! let first = engine.next_at().expect("a step has begun");
//! assert!(engine.next_token(first).expect("the step is done").last);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod hardware;
mod kv_cache;
pub mod memory;
pub mod model;
pub mod model_catalogue;
mod model_config;
pub mod model_error;
mod prefix_cache;
pub mod quantization;
mod scheduler;
mod script;
pub mod server_model;
pub mod startup_log;
mod step_time;
pub mod tokenizer;
mod vllm;

use crate::unit::Nanos;

pub use script::Script;
pub use step_time::Speed;
pub use vllm::Vllm;

/// The number of a request, in the order of arrival, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A request to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewRequest<'a> {
    /// The prompt's token ids.
    pub prompt: &'a [u64],
    /// Tokens to generate, at least 1. A request for none would occupy the engine and end without a token.
    pub output_tokens: u64,
}

/// A token that the engine emits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// When it is emitted.
    pub at: Nanos,
    /// The request it belongs to.
    pub request: RequestId,
    /// Its place in the answer, from 1.
    pub number: u64,
    /// Whether it is the last of the answer.
    pub last: bool,
    /// When the request was scheduled first; until then it waited in the queue.
    pub began: Nanos,
}

/// The state of an engine at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Running requests.
    pub running: usize,
    /// Requests in the queue.
    pub waiting: usize,
    /// Fraction of the KV cache in use, 0 to 1; absent for a cache without a size.
    pub kv_usage: Option<f64>,
    /// Preemptions so far.
    pub preemptions: u64,
    /// Prompt tokens queried in the prefix cache so far, and those that hit; absent without a prefix cache.
    pub prefix: Option<(u64, u64)>,
}

/// An engine without a clock. The caller passes the time, which never goes backwards.
pub trait Engine: Send {
    /// Queues a request.
    fn admit(&mut self, now: Nanos, request: NewRequest<'_>) -> RequestId;
    /// Cancels a request. Does nothing if it has ended.
    fn cancel(&mut self, now: Nanos, request: RequestId);
    /// When the next token is emitted; `None` while no request runs.
    fn next_at(&self) -> Option<Nanos>;
    /// Takes the next token that is emitted at `now` or before.
    fn next_token(&mut self, now: Nanos) -> Option<Token>;
    /// The current state.
    fn gauges(&self) -> Gauges;
}
