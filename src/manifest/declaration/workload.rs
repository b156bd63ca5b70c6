//! `[workload.NAME]`: what is asked of a server, and when.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    prompts::{Documents, Prompts},
    slo::Slo,
};
use crate::{
    manifest::{
        arrivals::{Arrivals, Start, StopClimbing, ThinkTime, Trace},
        content::{ConversationFile, SharedPrefix, Synthetic},
    },
    unit::TimeSpan,
};

/// What is asked of a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Which endpoint is asked.
    #[serde(default)]
    pub api: Api,
    /// The prompts, inline or as a JSONL file with a field; they are asked in turn, over and over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<Prompts>,
    /// Documents to be put into `prompt`; asked in turn, over and over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<Documents>,
    /// Conversations in the ShareGPT form; the first turn of each is a prompt, asked in turn, over and over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversations: Option<ConversationFile>,
    /// Prompts made for the purpose, each of an exact length in the server's tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<Synthetic>,
    /// Made prompts in groups that share their beginning, for the prefix cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_prefix: Option<SharedPrefix>,
    /// The text around a document: a template in which `{{ document }}` stands for it. With `prompts` from JSONL,
    /// every field of a line may be named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The system message, with `api = "chat"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// When requests start: `closed` keeps `concurrency` requests in flight; every other model is an open loop.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub arrivals: Arrivals,
    /// How many requests are kept in flight, in a closed loop.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100_000))]
    pub concurrency: u32,
    /// Closed loop: how long a stream waits between the end of an answer and its next request, `"2s"`, or
    /// `{ mean = "2s" }` for exponential times. Open loop: the same between the turns of a conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub think_time: Option<ThinkTime>,
    /// Closed loop: whether streams start `staggered` or `together`. Staggered unless told, where a cell has at least
    /// eight requests for each stream, warm-up included, or stops by `duration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// Open loop: requests per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub rate: Option<f64>,
    /// `arrivals = "gamma"`: the shape of the gaps; 1 is Poisson, less comes in bursts, more is more even.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub burstiness: Option<f64>,
    /// `arrivals = "ramp"`: requests per second at the end of the cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub ramp_to: Option<f64>,
    /// `arrivals = "bursts"`: how many requests start at one instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
    /// `arrivals = "trace"`: the recorded trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
    /// Open loop: the most requests in flight; an arrival beyond it is not sent and counts as dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_in_flight: Option<u32>,
    /// When the axis of `concurrency` or `rate` is climbed no further; the cells beyond are skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_climbing: Option<StopClimbing>,
    /// The most tokens a request may generate; left out where `output_tokens` says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_tokens: Option<u32>,
    /// Measured requests of a cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub requests: Option<u64>,
    /// Measured requests of a cell for each request in flight: `concurrency` times this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests_per_stream: Option<u64>,
    /// How long a cell starts new requests; the last ones are waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<TimeSpan>,
    /// How often all prompts or documents are asked: `requests` is their number times this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub passes: Option<u64>,
    /// Requests before the measured ones; they are sent the same way and not counted.
    #[serde(default)]
    #[schemars(range(max = 1_000_000))]
    pub warmup: u64,
    /// How long one request may take.
    #[serde(default = "request_timeout")]
    pub timeout: TimeSpan,
    /// How often a request is tried again that the server sent away (429, 502, 503, 504) or that found no connection; it waits
    /// 0.1 s, then twice as long each time. 0 unless told: a request that was refused is a result. Latency counts from the first
    /// try, and a verdict says how many there were.
    #[serde(default, skip_serializing_if = "super::is_default")]
    #[schemars(range(max = 20))]
    pub retries: u32,
    /// Whether answers are streamed, token by token. With `false` each comes whole, as one JSON value: then only its end
    /// is known, and TTFT, ITL and TPOT are absent.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub stream: bool,
    /// When an answer ends.
    #[serde(default)]
    pub output: Output,
    /// What the prefix cache may know of a prompt.
    #[serde(default)]
    pub cache: Cache,
    /// What the workload wants most; the notes rank by it.
    #[serde(default)]
    pub objective: Objective,
    /// Sampling temperature.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub temperature: f64,
    /// Further fields of the request's body, passed through.
    #[serde(default)]
    pub extra_body: IndexMap<String, Value>,
    /// Latency targets: `{ p95_ttft = "1500ms", p95_e2e = "3s" }`.
    #[serde(default)]
    pub slo: Slo,
}

/// The endpoint a workload asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Api {
    /// `/v1/completions`
    #[default]
    Completions,
    /// `/v1/chat/completions`
    Chat,
}

/// When an answer ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    /// At a stop token, or at `max_tokens`.
    #[default]
    Natural,
    /// At exactly `max_tokens` (`ignore_eos` and `min_tokens`).
    Exact,
}

/// What the prefix cache may know of a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cache {
    /// Prompts are sent as written; repeated ones meet a warm cache. Made ones (`synthetic`, `shared_prefix`) are new in
    /// every cell and repeat all the same.
    #[default]
    AsWritten,
    /// Every prompt begins with words never sent before.
    Fresh,
}

/// What a workload wants most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// A person waits: the most users under the SLO.
    #[default]
    Latency,
    /// Nobody waits: tokens per second.
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
