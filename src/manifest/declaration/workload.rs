//! `[workload.NAME]`: the requests that a server gets, and when they start.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    prompts::{ConversationFile, Documents, Prompts, SharedPrefix, Synthetic},
    search::LoadSearch,
    slo::Slo,
};
use crate::{
    manifest::arrivals::{Arrivals, Start, StopClimbing, ThinkTime, Trace},
    unit::TimeSpan,
};

/// The requests of a workload: prompts, lengths, arrivals and latency targets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// The endpoint that requests go to.
    #[serde(default)]
    pub api: Api,
    /// Prompts, inline or from a JSONL file. Requests go round them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<Prompts>,
    /// Documents to insert into `prompt`. Requests go round them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<Documents>,
    /// Conversations in the ShareGPT format. By default the first turn of each is a prompt; `turns` sends
    /// more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversations: Option<ConversationFile>,
    /// Generated prompts, each of an exact length in the server's tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<Synthetic>,
    /// Generated prompts in groups with a common prefix, to measure the prefix cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_prefix: Option<SharedPrefix>,
    /// Prompt template: `{{ document }}` stands for the document, or, with `prompts` from a JSONL file, each
    /// field of a line for its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The system message, with `api = "chat"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Arrival model: `closed` keeps `concurrency` requests in flight, all others are open loops.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub arrivals: Arrivals,
    /// Closed loop: the number of requests kept in flight. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100_000))]
    pub concurrency: u32,
    /// Closed loop: the pause of a stream between an answer and its next request: `"2s"`, or `{ mean = "2s"
    /// }` for exponentially distributed pauses. Open loop: the pause between the turns of a conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub think_time: Option<ThinkTime>,
    /// Closed loop: whether streams start `staggered` or `together`. Default: staggered where a cell has at
    /// least eight requests per stream, warm-up included, or stops by `duration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// Open loop: requests per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub rate: Option<f64>,
    /// `arrivals = "gamma"`: shape of the gaps. 1 is Poisson, below 1 is burstier, above 1 more regular.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub burstiness: Option<f64>,
    /// `arrivals = "ramp"`: requests per second at the end of the cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub ramp_to: Option<f64>,
    /// `arrivals = "bursts"`: the number of requests that start together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
    /// `arrivals = "trace"`: the recorded trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
    /// Open loop: the most requests in flight. Further arrivals are not sent and count as dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_in_flight: Option<u32>,
    /// When to skip the remaining, higher values of `concurrency` or `rate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_climbing: Option<StopClimbing>,
    /// The most tokens that a request may generate. Leave it out where `output_tokens` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_tokens: Option<u32>,
    /// Number of measured requests in a cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub requests: Option<u64>,
    /// Number of measured requests per stream: a cell has `concurrency` times as many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests_per_stream: Option<u64>,
    /// How long a cell starts new requests. It ends when the last of them has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<TimeSpan>,
    /// How many times each prompt or document is sent: `requests` is their number times this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub passes: Option<u64>,
    /// Number of warm-up requests, sent before the measured ones and not counted. Default: 0.
    #[serde(default)]
    #[schemars(range(max = 1_000_000))]
    pub warmup: u64,
    /// Timeout of one request. Default: `"10m"`.
    #[serde(default = "request_timeout")]
    pub timeout: TimeSpan,
    /// How many times a request is retried that the server refused (429, 502, 503, 504) or that could not
    /// connect. The pause is 0.1 s and doubles with each retry. Latency counts from the first attempt, and a
    /// verdict reports the number of retries. Default: 0, because a refused request is a result.
    #[serde(default, skip_serializing_if = "super::is_default")]
    #[schemars(range(max = 20))]
    pub retries: u32,
    /// Whether answers are streamed. With `false` each arrives as one JSON value, so TTFT, ITL and TPOT are
    /// unknown. Default: true.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub stream: bool,
    /// Where answers end.
    #[serde(default)]
    pub output: Output,
    /// Whether prompts may hit the prefix cache.
    #[serde(default)]
    pub cache: Cache,
    /// The goal of the workload, by which the notes rank cells.
    #[serde(default)]
    pub objective: Objective,
    /// Sampling temperature. Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub temperature: f64,
    /// Further fields of the request body, passed through.
    #[serde(default)]
    pub extra_body: IndexMap<String, Value>,
    /// Looks for the most load within the SLO, instead of measuring every value of `concurrency` or `rate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<LoadSearch>,
    /// Latency targets: `{ p95_ttft = "1500ms", p95_e2e = "3s" }`.
    #[serde(default)]
    pub slo: Slo,
}

impl Workload {
    /// The number of requests kept in flight; `None` in an open loop.
    pub fn streams(&self) -> Option<u32> {
        (!self.arrivals.is_open()).then_some(self.concurrency)
    }
}

/// The endpoint of a workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Api {
    /// `/v1/completions`
    #[default]
    Completions,
    /// `/v1/chat/completions`
    Chat,
}

/// Where an answer ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    /// At a stop token, or at `max_tokens`.
    #[default]
    Natural,
    /// At exactly `max_tokens` (sets `ignore_eos` and `min_tokens`).
    Exact,
}

/// Whether prompts may hit the prefix cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cache {
    /// Prompts are sent as written, so repeated ones hit the cache. Generated prompts (`synthetic`,
    /// `shared_prefix`) are new in every cell and repeat.
    #[default]
    AsWritten,
    /// Every prompt begins with random words, so none hits the cache.
    Fresh,
}

/// The goal of a workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// As many users as possible under the SLO: somebody waits for each answer.
    #[default]
    Latency,
    /// As many tokens per second as possible: nobody waits.
    Throughput,
}

fn is_yes(value: &bool) -> bool {
    *value
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

fn request_timeout() -> TimeSpan {
    TimeSpan::from_secs(600)
}
