//! [`Summary`]: the numbers computed from the records of one repeat or cell. An absent number is never zero.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::manifest::{LatencyKind, Start};

/// The summary of one repeat, or of a cell's pooled repeats. Only measured requests count, not warm-up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How the requests ended.
    pub counts: Counts,
    /// First origin to last end of the measured requests; for pooled repeats, the sum of their lengths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// The window without ramp-up and drain: after the first end of any request, and while the configured
    /// number is in flight (closed loop) or requests are due (open loop).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steady: Option<Window>,
    /// Origin to the first chunk that carries output. The origin is the scheduled instant in an open loop,
    /// the send instant in a closed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft: Option<Latency>,
    /// Gaps between consecutive chunks that carry output, pooled over requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub itl: Option<Latency>,
    /// (E2E − TTFT) / (n − 1) per request, n output tokens; absent for n < 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpot: Option<Latency>,
    /// Origin to the last chunk that carries output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e2e: Option<Latency>,
    /// Sent − scheduled: how late the client itself is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issue_delay: Option<Latency>,
    /// Median over requests of 1 / TPOT: tokens per second that one user sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_tok_s: Option<f64>,
    /// Output tokens of completed requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Prompt tokens of completed requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Prompt tokens found in the prefix cache, where the server reports them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// Output tokens / window: the throughput of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput_tok_s: Option<f64>,
    /// (Input + output tokens) / window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_tok_s: Option<f64>,
    /// Output tokens that arrived in the steady window / its length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steady_tok_s: Option<f64>,
    /// Completed requests / window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub req_s: Option<f64>,
    /// Completed requests that met every SLO term / window; absent without an SLO.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goodput_req_s: Option<f64>,
    /// Output tokens per chunk that carries output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_chunk: Option<f64>,
    /// Requested against returned output lengths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_length: Option<OutputLength>,
    /// Largest number of measured requests in flight at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_in_flight: Option<u32>,
    /// Open loop: largest number of measured requests that were due and not yet sent, which is the client's
    /// own queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_queue: Option<u32>,
    /// Closed loop: how its streams started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<Starts>,
}

impl Summary {
    /// The distribution of a latency; absent where it was not measured.
    pub fn latency(&self, kind: LatencyKind) -> Option<&Latency> {
        match kind {
            LatencyKind::Ttft => self.ttft.as_ref(),
            LatencyKind::Itl => self.itl.as_ref(),
            LatencyKind::Tpot => self.tpot.as_ref(),
            LatencyKind::E2e => self.e2e.as_ref(),
        }
    }
}

/// How the streams of a closed loop started.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Starts {
    /// Staggered or together.
    pub how: Start,
    /// Time from the first stream's first request to the last stream's, seconds; the longest of the repeats.
    pub spread_s: f64,
}

/// How requests ended. The outcomes add up to `scheduled`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Arrivals that were due.
    pub scheduled: u64,
    /// Requests whose whole answer arrived.
    pub completed: u64,
    /// Number of requests by the name of their outcome.
    pub by_outcome: BTreeMap<String, u64>,
}

impl Counts {
    /// Arrivals that did not complete.
    pub fn errors(&self) -> u64 {
        self.scheduled - self.completed
    }
}

/// An interval of a cell's time, in seconds since its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Its start.
    pub start_s: f64,
    /// Its length.
    pub length_s: f64,
}

/// The distribution of one latency, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Number of samples.
    pub n: u64,
    /// Median, by linear interpolation between order statistics (NumPy's default).
    pub p50_ms: f64,
    /// 95th percentile.
    pub p95_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Arithmetic mean.
    pub mean_ms: f64,
    /// Smallest sample.
    pub min_ms: f64,
    /// Largest sample.
    pub max_ms: f64,
    /// All samples, as a mergeable histogram.
    pub histogram: Histogram,
}

/// A mergeable histogram: pairs of a value in microseconds (accurate to 1 %) and its number of samples,
/// ascending.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram {
    /// `[microseconds, count]`, ascending.
    pub buckets: Vec<(u64, u64)>,
}

/// Requested against returned output lengths of completed requests, tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputLength {
    /// `max_tokens` of the requests; the largest where they differ.
    pub asked: u32,
    /// The smallest and the median `max_tokens`, where requests differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_spread: Option<AskedSpread>,
    /// Smallest number of output tokens.
    pub min: u64,
    /// Median number of output tokens.
    pub p50: f64,
    /// Largest number of output tokens.
    pub max: u64,
    /// Number of requests that returned fewer tokens than `max_tokens`.
    pub shorter: u64,
}

/// The spread of `max_tokens` where requests differ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AskedSpread {
    /// The smallest `max_tokens`.
    pub min: u32,
    /// The median `max_tokens`.
    pub p50: f64,
}

impl OutputLength {
    /// The median `max_tokens`.
    pub fn asked_p50(&self) -> f64 {
        self.asked_spread.map_or(f64::from(self.asked), |spread| spread.p50)
    }
}

/// One point of a cell's timeline.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Seconds since the cell's epoch.
    pub t_s: f64,
    /// Requests in flight, mean over the step.
    pub in_flight: f64,
    /// Chunks that carry output per second, mean over the step.
    pub chunks_s: f64,
}
