//! The embedded engine: requests and time → when each token leaves. State and time go in, the next event comes out; nothing
//! here knows a clock, so the same arrivals give the same instants on every machine.
//!
//! A clock drives whatever is behind the interface [`Engine`]. The [`Script`] lets tokens leave at instants that a manifest
//! writes down; [`Vllm`] takes the steps that vLLM's own scheduler takes, each as long as a roofline says.

pub mod hardware;
mod kv_cache;
pub mod memory;
pub mod model;
pub mod model_catalogue;
mod model_config;
pub mod modelled;
mod prefix_cache;
pub mod quantization;
mod scheduler;
mod script;
pub mod startup;
mod step_time;
pub mod tokens;
mod vllm;

use crate::unit::Nanos;

pub use kv_cache::{BlockTable, KvCache};
pub use scheduler::{Limits, Sampled, Scheduler, Work};
pub use script::Script;
pub use step_time::{Speed, StepTime};
pub use vllm::Vllm;

/// The number of a request: its place in the order of arrival, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestNo(pub u64);

/// What is asked of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Ids of the prompt's tokens.
    pub prompt: &'a [u64],
    /// Tokens to be produced; a request for none takes a turn and ends without a token, so ask for at least 1.
    pub output_tokens: u64,
}

/// A token leaves the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// When.
    pub at: Nanos,
    /// Whose.
    pub request: RequestNo,
    /// Which token of the request, from 1.
    pub number: u64,
    /// Whether it is the request's last.
    pub last: bool,
    /// When the request's turn began: until then it waited.
    pub began: Nanos,
}

/// What an engine holds at an instant.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Requests that run.
    pub running: usize,
    /// Requests that wait for their turn.
    pub waiting: usize,
    /// Part of the KV cache in use, 0 to 1; absent where it has no size.
    pub kv_usage: Option<f64>,
    /// Requests whose turn was taken back so far.
    pub preemptions: u64,
    /// Prompt tokens looked for in the prefix cache, and found, so far; absent where there is none.
    pub prefix: Option<(u64, u64)>,
}

/// An engine by no clock of its own. Instants never go backwards from call to call.
pub trait Engine: Send {
    /// A request arrives.
    fn admit(&mut self, now: Nanos, asked: Asked<'_>) -> RequestNo;
    /// A request is given up. Nothing happens when it has ended already.
    fn cancel(&mut self, now: Nanos, request: RequestNo);
    /// When the next token leaves; absent when nothing runs.
    fn next_at(&self) -> Option<Nanos>;
    /// Takes the next token that leaves not later than `now`.
    fn next_token(&mut self, now: Nanos) -> Option<Token>;
    /// What it holds.
    fn gauges(&self) -> Gauges;
}
