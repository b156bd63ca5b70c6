//! The outcomes of a server, the phases of its start, and the facts it reports about itself.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_with::skip_serializing_none;

/// How a server's start ended, or how a running server failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerOutcome {
    /// It serves the intended model with the intended flags.
    Ready,
    /// It ran out of memory, at the given step.
    Oom(OomAt),
    /// The KV cache cannot hold one request of `max-model-len`.
    KvTooSmall,
    /// The engine rejected its command line or a combination of flags.
    BadFlags,
    /// The model's files are missing, damaged or not supported.
    BadModel,
    /// The model cannot be downloaded: an unknown hub id, no network, no permission.
    ModelUnavailable,
    /// Another program listens on the port.
    PortTaken,
    /// The engine found no device to run on.
    NoDevice,
    /// Not ready in time.
    TimedOut,
    /// It ended or broke in any other way.
    Crashed,
    /// Another server than the intended one answers.
    NotOurs,
    /// The start was interrupted. It says nothing about the server and is never stored.
    Interrupted,
}

/// The step at which memory ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OomAt {
    /// While the weights were loaded, or before.
    Weights,
    /// While the KV cache was sized or allocated.
    KvCache,
    /// While graphs were captured or the sampler was warmed up.
    Graphs,
    /// While requests ran.
    Load,
}

/// Every outcome with its name in files and tables.
const NAMES: [(ServerOutcome, &str); 15] = [
    (ServerOutcome::Ready, "ready"),
    (ServerOutcome::Oom(OomAt::Weights), "oom(weights)"),
    (ServerOutcome::Oom(OomAt::KvCache), "oom(kv_cache)"),
    (ServerOutcome::Oom(OomAt::Graphs), "oom(graphs)"),
    (ServerOutcome::Oom(OomAt::Load), "oom(load)"),
    (ServerOutcome::KvTooSmall, "kv_too_small"),
    (ServerOutcome::BadFlags, "bad_flags"),
    (ServerOutcome::BadModel, "bad_model"),
    (ServerOutcome::ModelUnavailable, "model_unavailable"),
    (ServerOutcome::PortTaken, "port_taken"),
    (ServerOutcome::NoDevice, "no_device"),
    (ServerOutcome::TimedOut, "timed_out"),
    (ServerOutcome::Crashed, "crashed"),
    (ServerOutcome::NotOurs, "not_ours"),
    (ServerOutcome::Interrupted, "interrupted"),
];

impl ServerOutcome {
    /// The names of all outcomes, for documentation.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(_, name)| *name)
    }
}

impl fmt::Display for ServerOutcome {
    /// Writes the name for files and tables, such as `ready` or `oom(kv_cache)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(outcome, _)| outcome == self).map(|(_, name)| *name);
        f.write_str(name.expect("every outcome has a name"))
    }
}

/// A text that names no [`ServerOutcome`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown server outcome {0:?}")]
pub struct UnknownOutcome(String);

impl FromStr for ServerOutcome {
    type Err = UnknownOutcome;

    fn from_str(text: &str) -> Result<Self, UnknownOutcome> {
        let named = NAMES.iter().find(|(_, name)| *name == text).map(|(outcome, _)| *outcome);
        named.ok_or_else(|| UnknownOutcome(text.to_owned()))
    }
}

impl Serialize for ServerOutcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ServerOutcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// What a server reports about itself in its log, on `/version` and on `/v1/models`. An absent value is
/// unknown, never zero.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Version of the engine.
    pub engine_version: Option<String>,
    /// The name that requests use for the model.
    pub served_model: Option<String>,
    /// Limit on prompt plus output of one request, tokens.
    pub max_model_len: Option<u64>,
    /// Capacity of the KV cache, tokens.
    pub kv_cache_tokens: Option<u64>,
    /// Number of requests of `max_model_len` that the KV cache holds at once.
    pub max_concurrency: Option<f64>,
    /// Memory of the KV cache, GiB.
    pub kv_cache_gib: Option<f64>,
    /// Memory of the weights, GiB.
    pub weights_gib: Option<f64>,
    /// Time to download the weights, seconds.
    pub download_s: Option<f64>,
    /// Time to load the weights, seconds.
    pub load_s: Option<f64>,
    /// Time in torch.compile, seconds.
    pub compile_s: Option<f64>,
    /// Time to capture graphs, seconds.
    pub graphs_s: Option<f64>,
    /// Time to profile, create the KV cache and warm up, seconds.
    pub init_s: Option<f64>,
    /// Time from launch to ready by the runner's clock, seconds.
    pub startup_s: Option<f64>,
    /// The largest `max-model-len` that fits, as the engine estimates it, tokens.
    pub estimated_max_model_len: Option<u64>,
    /// Whether the log shows the intended flags; absent when it shows none.
    pub flags_confirmed: Option<bool>,
}

/// What a starting server is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartPhase {
    /// The process starts and has reported nothing yet.
    #[default]
    Launch,
    /// The model is downloaded.
    Download,
    /// The weights are loaded.
    Load,
    /// The model is compiled, or graphs are captured.
    Compile,
    /// The KV cache is sized, or the engine warmed up.
    Warmup,
}
