//! When a workload's requests start: the arrival models and what belongs to each.

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::declaration::Workload;
use crate::unit::TimeSpan;

/// When requests start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// A closed loop: `concurrency` streams, each of which sends its next request when its last one ended.
    #[default]
    Closed,
    /// One request every 1 / `rate` seconds.
    Constant,
    /// Independent users: exponential gaps with a mean of 1 / `rate`.
    Poisson,
    /// Gaps from a gamma distribution with a mean of 1 / `rate` and the shape `burstiness`.
    Gamma,
    /// A rate that goes evenly from `rate` to `ramp_to` over the cell.
    Ramp,
    /// `burst` requests at one instant, as often as makes `rate` requests per second.
    Bursts,
    /// Every request at the first instant: an offline batch.
    AtOnce,
    /// The instants of a recorded trace.
    Trace,
}

impl Arrivals {
    /// The word in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Constant => "constant",
            Self::Poisson => "poisson",
            Self::Gamma => "gamma",
            Self::Ramp => "ramp",
            Self::Bursts => "bursts",
            Self::AtOnce => "at-once",
            Self::Trace => "trace",
        }
    }

    /// Whether requests start whatever became of those before: then latency counts from the scheduled instant.
    pub fn is_open(self) -> bool {
        self != Self::Closed
    }

    /// Whether a rate decides when requests start.
    pub fn has_rate(self) -> bool {
        match self {
            Self::Constant | Self::Poisson | Self::Gamma | Self::Ramp | Self::Bursts => true,
            Self::Closed | Self::AtOnce | Self::Trace => false,
        }
    }
}

impl Workload {
    /// How many requests are kept in flight; `None` in an open loop, where nothing keeps them.
    pub fn streams(&self) -> Option<u32> {
        (!self.arrivals.is_open()).then_some(self.concurrency)
    }
}

/// A recorded trace: JSON lines with `timestamp` in milliseconds, `input_length`, `output_length` and `hash_ids` (the
/// Mooncake form), or CSV with the columns `Timestamp` in seconds, `Request tokens` and `Response tokens` (the BurstGPT
/// form). Time counts from the first line. A workload that asks nothing else makes prompts and answers of the lengths in the
/// trace, exactly; equal `hash_ids` are equal blocks of 512 tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// The file, from the manifest's folder.
    #[schemars(with = "String")]
    pub file: Utf8PathBuf,
    /// How many times as fast as recorded the trace is replayed.
    #[serde(default = "as_recorded")]
    #[schemars(range(min = 0))]
    pub speed: f64,
}

/// How long a stream of a closed loop waits between the end of an answer and its next request.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ThinkTime {
    /// Always the same.
    Fixed(TimeSpan),
    /// `{ mean = "2s" }`: exponential, from the seed.
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
    /// Spread over about one request's duration, so that they do not stay in step.
    Staggered,
    /// All at the first instant.
    Together,
}

impl Start {
    /// The word in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Staggered => "staggered",
            Self::Together => "together",
        }
    }
}

/// When a ladder of `concurrency` or `rate` is climbed no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StopClimbing {
    /// After the first cell that lost the SLO.
    SloLost,
    /// After the first cell whose throughput is more than 2 % below that of the cell before.
    ThroughputFalls,
}

fn as_recorded() -> f64 {
    1.0
}
