//! How a server ended, and what it said about itself while it started.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How the start (or the life) of a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerOutcome {
    /// It serves our model with our flags.
    Ready,
    /// Out of memory; at which step.
    Oom(OomAt),
    /// The KV cache cannot hold one request of `max-model-len`.
    KvTooSmall,
    /// The engine refused its command line or a combination of flags.
    BadFlags,
    /// The model's files cannot be used.
    BadModel,
    /// The model cannot be had: an unknown hub id, no network, no permission.
    ModelUnavailable,
    /// Something else holds the port.
    PortTaken,
    /// The engine found no device to run on.
    NoDevice,
    /// Not ready in time.
    TimedOut,
    /// It ended, or broke, in a way that has no other name here.
    Crashed,
    /// Something else than our server answers on the port.
    NotOurs,
    /// Somebody asked to stop while it started: it says nothing of the server, and is never stored.
    Interrupted,
}

/// The step of a start at which memory ran out.
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

const ALL: [ServerOutcome; 15] = [
    ServerOutcome::Ready,
    ServerOutcome::Oom(OomAt::Weights),
    ServerOutcome::Oom(OomAt::KvCache),
    ServerOutcome::Oom(OomAt::Graphs),
    ServerOutcome::Oom(OomAt::Load),
    ServerOutcome::KvTooSmall,
    ServerOutcome::BadFlags,
    ServerOutcome::BadModel,
    ServerOutcome::ModelUnavailable,
    ServerOutcome::PortTaken,
    ServerOutcome::NoDevice,
    ServerOutcome::TimedOut,
    ServerOutcome::Crashed,
    ServerOutcome::NotOurs,
    ServerOutcome::Interrupted,
];

impl fmt::Display for ServerOutcome {
    /// The word for files and tables: `ready`, `oom(kv_cache)`, `kv_too_small`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::Oom(OomAt::Weights) => "oom(weights)",
            Self::Oom(OomAt::KvCache) => "oom(kv_cache)",
            Self::Oom(OomAt::Graphs) => "oom(graphs)",
            Self::Oom(OomAt::Load) => "oom(load)",
            Self::KvTooSmall => "kv_too_small",
            Self::BadFlags => "bad_flags",
            Self::BadModel => "bad_model",
            Self::ModelUnavailable => "model_unavailable",
            Self::PortTaken => "port_taken",
            Self::NoDevice => "no_device",
            Self::TimedOut => "timed_out",
            Self::Crashed => "crashed",
            Self::NotOurs => "not_ours",
            Self::Interrupted => "interrupted",
        })
    }
}

impl FromStr for ServerOutcome {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        ALL.into_iter()
            .find(|outcome| outcome.to_string() == text)
            .ok_or_else(|| format!("unknown server outcome {text:?}"))
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

/// What a server says about itself in its log, on `/version` and on `/v1/models`. Absent is unknown, never zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Version of the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
    /// The name requests use for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_model: Option<String>,
    /// Longest prompt and output of one request together, tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_model_len: Option<u64>,
    /// Tokens that fit in the KV cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_cache_tokens: Option<u64>,
    /// Requests of `max_model_len` that fit in the KV cache at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<f64>,
    /// Memory of the KV cache, GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_cache_gib: Option<f64>,
    /// Memory of the weights, GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights_gib: Option<f64>,
    /// Seconds to download the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download_s: Option<f64>,
    /// Seconds to load the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_s: Option<f64>,
    /// Seconds in torch.compile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compile_s: Option<f64>,
    /// Seconds to capture graphs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graphs_s: Option<f64>,
    /// Seconds to profile, create the KV cache and warm up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_s: Option<f64>,
    /// Seconds from launch to ready, by the runner's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_s: Option<f64>,
    /// The largest `max-model-len` that the engine says would fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_max_model_len: Option<u64>,
    /// Whether the log shows our flags; absent when it shows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags_confirmed: Option<bool>,
}

/// What a starting server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartPhase {
    /// The process starts; nothing was said yet.
    Launch,
    /// The model's files arrive.
    Download,
    /// The weights are loaded.
    Load,
    /// The model is compiled, graphs are captured.
    Compile,
    /// The KV cache is sized and the engine warmed up.
    Warmup,
}
