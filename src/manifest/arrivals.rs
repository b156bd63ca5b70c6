//! Arrival models: when a workload's requests start.

use std::fmt;

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::unit::TimeSpan;

/// The arrival model of a workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// Closed loop: `concurrency` streams, each of which sends its next request when its last one has ended.
    #[default]
    Closed,
    /// One request every 1 / `rate` seconds.
    Constant,
    /// Independent users: exponential gaps with a mean of 1 / `rate` seconds.
    Poisson,
    /// Gaps from a gamma distribution with a mean of 1 / `rate` seconds and the shape `burstiness`.
    Gamma,
    /// A rate that changes linearly from `rate` to `ramp_to` over the cell.
    Ramp,
    /// Groups of `burst` requests that start at once, at `rate` requests per second on average.
    Bursts,
    /// All requests start at once: an offline batch.
    AtOnce,
    /// The arrival times of a recorded trace.
    Trace,
}

impl Arrivals {
    /// Whether requests start regardless of earlier ones (open loop). Latency then counts from the scheduled
    /// time.
    pub fn is_open(self) -> bool {
        self != Self::Closed
    }

    /// Whether the model uses `rate`.
    pub fn has_rate(self) -> bool {
        match self {
            Self::Constant | Self::Poisson | Self::Gamma | Self::Ramp | Self::Bursts => true,
            Self::Closed | Self::AtOnce | Self::Trace => false,
        }
    }
}

impl fmt::Display for Arrivals {
    /// The word in a manifest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A recorded trace: JSON lines with `timestamp` in milliseconds, `input_length`, `output_length` and
/// `hash_ids` (Mooncake format), or CSV with the columns `Timestamp` in seconds, `Request tokens` and
/// `Response tokens` (BurstGPT format). Time counts from the first line. A workload without other prompts
/// generates prompts and answers of exactly the recorded lengths; equal `hash_ids` become equal blocks of 512
/// tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// Path of the file, relative to the manifest's folder.
    #[schemars(with = "String")]
    pub file: Utf8PathBuf,
    /// Replay speed: 2 replays the trace twice as fast as recorded. Default: 1.
    #[serde(default = "as_recorded")]
    #[schemars(range(min = 0))]
    pub speed: f64,
}

/// The pause of a closed-loop stream between the end of an answer and its next request.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ThinkTime {
    /// The same pause every time.
    Fixed(TimeSpan),
    /// `{ mean = "2s" }`: exponentially distributed, drawn from the seed.
    Exponential(Mean),
}

/// The mean of an exponential distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mean {
    /// The mean.
    pub mean: TimeSpan,
}

/// How the streams of a closed loop start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Spread over about the duration of one request, so that the streams do not run in step.
    Staggered,
    /// All at once.
    Together,
}

/// When the remaining, higher values of `concurrency` or `rate` are skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StopClimbing {
    /// After the first cell that misses the SLO.
    SloLost,
    /// After the first cell whose throughput is more than 2 % below that of the previous cell.
    ThroughputFalls,
}

fn as_recorded() -> f64 {
    1.0
}
