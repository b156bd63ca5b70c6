//! The typed form of a manifest's tables. The doc comments here are what `runner schema` and the findings say, and
//! the types are the only place where the manifest's keys are named.

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

use camino::Utf8PathBuf;
use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use super::arrivals::{Arrivals, Start, StopClimbing, ThinkTime, Trace};
use super::catalogue::Catalogue;
use super::content::{ConversationFile, SharedPrefix, Synthetic};
use super::faults::Faults;
use super::scrape::ScrapeEvery;
use crate::unit::{Percentile, TimeSpan};

/// What the experiment is called, and what holds for all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Name of the results folder: letters, digits, `-`, `_` and `.`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"), length(max = 100))]
    pub name: String,
    /// The question the experiment answers; the heading of its notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Where everything that looks random comes from.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// How many times each cell is measured.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub repeats: u32,
    /// The order of the cells of one server.
    #[serde(default)]
    pub order: Order,
    /// How often the server's `/metrics`, its processes and its GPUs are looked at while a cell runs: `"1s"` unless told,
    /// `"0s"` for before and after only, `"off"` to leave `/metrics` alone altogether.
    #[serde(default)]
    pub scrape_every: ScrapeEvery,
    /// Whether a server is left out when a smaller one was out of memory at its start, with the reason in place of numbers.
    /// Smaller is one that differs in nothing but `max-model-len`, `max-num-seqs` and `max-num-batched-tokens`, and has more
    /// of none: let such axes ascend. Otherwise every server is tried, since a failed start is a measurement, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_impossible: bool,
}

/// The order in which the cells of one server are measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// As the manifest lists them, the last axis fastest; the repeats of a cell follow each other.
    #[default]
    AsWritten,
    /// In blocks that hold each cell once, every block shuffled from the seed, against drift.
    Shuffled,
}

/// What cannot be detected about the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hardware {
    /// What the machine is called in tables, `RunPod-RTX2000-16GB` say; detected when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The GPU it has, as the catalogue calls it, for predictions: `"RTX 2000 Ada"`; read from `label` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// The price of one hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub usd_per_hour: Option<f64>,
}

/// One engine process with one set of flags.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Which engine answers.
    #[serde(default)]
    pub engine: Engine,
    /// A hub id (`Qwen/Qwen2.5-1.5B-Instruct`) or the path of a local model.
    #[schemars(length(min = 1))]
    pub model: String,
    /// The words that start the engine, before the model and the flags; `["vllm", "serve"]` unless told. Words may
    /// contain `{model}`, `{host}` and `{port}`: then these are not appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub command: Option<Vec<String>>,
    /// How long a start may take once the model's files are there.
    #[serde(default = "ready_within")]
    pub ready_within: TimeSpan,
    /// How long the model's files may take to arrive.
    #[serde(default = "download_within")]
    pub download_within: TimeSpan,
    /// How long a server may take to end when asked, before it is killed.
    #[serde(default = "stop_within")]
    pub stop_within: TimeSpan,
    /// How long it may send nothing at all while requests wait, before it counts as hung and is ended. More than the
    /// longest prefill takes, and with `stream = false` more than the longest answer.
    #[serde(default = "hung_after")]
    pub hung_after: TimeSpan,
    /// Where the server runs.
    #[serde(default)]
    pub launch: Launch,
    /// Flags of `vllm serve`, passed through: `true` is `--flag`, `false` is `--no-flag`, a table is JSON,
    /// `{ unset = true }` takes an inherited flag away.
    #[serde(default)]
    pub flags: Flags,
    /// Environment variables for the server, beside the runner's own.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// How the embedded engine behaves (`engine = "sim"`, or `run --sim`).
    #[serde(default)]
    pub sim: SimScript,
}

/// Which engine a server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// `vllm serve`.
    #[default]
    Vllm,
    /// The engine embedded in this binary: no GPU, no vLLM, and never ranked with what was measured.
    Sim,
    /// Anything that speaks the OpenAI API.
    Openai,
}

/// Where a server runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Launch {
    /// `local` starts it here; `attach` uses one that already runs.
    #[serde(default)]
    pub on: LaunchOn,
    /// The address of a running server, for `attach`: `http://127.0.0.1:8000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The environment variable that holds the API key; the key itself never stands in a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
}

/// The kinds of place a server runs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LaunchOn {
    /// A process of this machine, started and ended by the runner.
    #[default]
    Local,
    /// A server that somebody else started; its flags are unverified.
    Attach,
}

/// A value of the server's environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum EnvValue {
    /// The value itself.
    Text(String),
    /// `{ unset = true }`: take an inherited variable away.
    Unset(Unset),
}

/// `{ unset = true }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unset {
    /// Always `true`.
    pub unset: bool,
}

/// Server flags by name, in the order written. Names are kept with dashes: `max_num_seqs` is `max-num-seqs`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flags(pub IndexMap<String, Flag>);

/// The value of one server flag.
#[derive(Clone, Debug, PartialEq)]
pub enum Flag {
    /// `--flag`
    On,
    /// `--no-flag`
    Off,
    /// `--flag value`
    Value(Value),
    /// `--flag value value`
    Many(Vec<Value>),
    /// `--flag '{"json": 1}'`
    Json(serde_json::Map<String, Value>),
    /// Not passed at all, whatever was inherited.
    Unset,
}

impl Flags {
    /// The canonical spelling of a flag's name: dashes, no leading dashes.
    pub fn canonical(name: &str) -> String {
        name.trim_start_matches('-').replace('_', "-")
    }

    /// The flag's value by its canonical name; `None` when it is not passed.
    pub fn get(&self, name: &str) -> Option<&Flag> {
        self.0.get(name).filter(|flag| **flag != Flag::Unset)
    }

    /// A flag that is a whole number.
    pub fn integer(&self, name: &str) -> Option<u64> {
        match self.get(name)? {
            Flag::Value(value) => value
                .as_u64()
                .or_else(|| value.as_str().and_then(|text| text.parse().ok())),
            _ => None,
        }
    }

    /// A flag that is one word.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.get(name)? {
            Flag::Value(value) => Some(scalar_text(value)),
            Flag::Many(values) => values.first().map(scalar_text),
            _ => None,
        }
    }
}

/// A scalar as it stands on a command line or in a table: strings bare, everything else as JSON.
pub fn scalar_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Flag {
    /// The flag as a manifest value.
    pub fn to_value(&self) -> Value {
        match self {
            Flag::On => Value::Bool(true),
            Flag::Off => Value::Bool(false),
            Flag::Value(value) => value.clone(),
            Flag::Many(values) => Value::Array(values.clone()),
            Flag::Json(map) => Value::Object(map.clone()),
            Flag::Unset => serde_json::json!({ "unset": true }),
        }
    }

    /// Reads a manifest value as a flag.
    pub fn from_value(value: Value) -> Result<Self, String> {
        Ok(match value {
            Value::Bool(true) => Flag::On,
            Value::Bool(false) => Flag::Off,
            Value::Null => return Err("a flag needs a value".into()),
            Value::Array(values) => {
                if values.iter().any(|v| v.is_array() || v.is_object()) {
                    return Err("a flag's list holds strings and numbers only".into());
                }
                Flag::Many(values)
            }
            Value::Object(map) if map.len() == 1 && map.get("unset") == Some(&true.into()) => {
                Flag::Unset
            }
            Value::Object(map) => Flag::Json(map),
            scalar => Flag::Value(scalar),
        })
    }
}

impl Serialize for Flags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, flag)| (name, flag.to_value())))
    }
}

impl<'de> Deserialize<'de> for Flags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = IndexMap::<String, Value>::deserialize(deserializer)?;
        let mut flags = IndexMap::new();
        for (name, value) in raw {
            let flag = Flag::from_value(value)
                .map_err(|reason| de::Error::custom(format!("flag {name:?}: {reason}")))?;
            flags.insert(Self::canonical(&name), flag);
        }
        Ok(Self(flags))
    }
}

impl JsonSchema for Flags {
    fn schema_name() -> Cow<'static, str> {
        "Flags".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": {
                "anyOf": [
                    { "type": "boolean" }, { "type": "string" }, { "type": "integer" }, { "type": "number" },
                    { "type": "array", "items": { "anyOf": [
                        { "type": "string" }, { "type": "integer" }, { "type": "number" }, { "type": "boolean" } ] } },
                    { "type": "object", "additionalProperties": true }
                ]
            }
        })
    }
}

/// The scripted schedule of the embedded engine. Every time is what the engine takes, not what a client sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SimScript {
    /// From the start of a request's turn to its first token.
    pub ttft: TimeSpan,
    /// From one token to the next, when nothing else runs.
    pub per_token: TimeSpan,
    /// What each further request in flight adds to every token.
    pub per_token_load: TimeSpan,
    /// How far a time may stray, as a fraction of it, seeded.
    #[schemars(range(min = 0, max = 1))]
    pub jitter: f64,
    /// From the process's start until it is ready.
    pub startup: TimeSpan,
    /// Tokens that fit in the KV cache; below `max-model-len` it ends as vLLM would. Absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_tokens: Option<u64>,
    /// The GPU that is rehearsed, as the catalogue calls it: memory is shared out as vLLM does, what would not start
    /// does not, and a step takes as long as a roofline says, in place of the times above. Absent: no GPU, and anything fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// The manifest's own `[catalogue]`, carried along; write it there.
    #[serde(skip_serializing_if = "is_default")]
    pub catalogue: Catalogue,
    /// What goes wrong on request, to rehearse it.
    #[serde(skip_serializing_if = "is_default")]
    pub faults: Faults,
}

impl Default for SimScript {
    fn default() -> Self {
        Self {
            ttft: TimeSpan::from_millis(40),
            per_token: TimeSpan::from_millis(8),
            per_token_load: TimeSpan::from(std::time::Duration::from_micros(100)),
            jitter: 0.05,
            startup: TimeSpan::from_millis(300),
            kv_tokens: None,
            gpu: None,
            catalogue: Catalogue::default(),
            faults: Faults::default(),
        }
    }
}

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
    #[serde(default, skip_serializing_if = "is_default")]
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
    #[serde(default, skip_serializing_if = "is_default")]
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

/// Where prompts come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Prompts {
    /// The prompts themselves.
    Inline(#[schemars(length(min = 1))] Vec<String>),
    /// A JSONL file.
    File(PromptFile),
}

/// A JSONL file of prompts: one object a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptFile {
    /// The file, from the manifest's folder.
    #[schemars(with = "String")]
    pub file: Utf8PathBuf,
    /// The field that holds the prompt.
    #[serde(default = "prompt_field")]
    pub field: String,
    /// The field that holds how many tokens the answer has, exactly, in place of `max_tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_field: Option<String>,
}

/// Where documents come from: one text file, cut at a separator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Documents {
    /// The file, from the manifest's folder.
    #[schemars(with = "String")]
    pub file: Utf8PathBuf,
    /// The text between two documents; without it the file is one document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub separator: Option<String>,
}

/// Latency targets. A request's part of the goodput meets every one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slo(pub Vec<SloTerm>);

/// One latency target: a percentile of a metric and its limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SloTerm {
    /// The percentile that has to hold.
    pub percentile: Percentile,
    /// Of which latency.
    pub metric: Metric,
    /// The most it may be.
    pub limit: TimeSpan,
}

/// A latency that an SLO may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Origin to the first chunk that carries output.
    Ttft,
    /// Between consecutive chunks that carry output.
    Itl,
    /// Per output token after the first.
    Tpot,
    /// Origin to the last chunk that carries output.
    E2e,
}

impl Metric {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 4] = [Self::Ttft, Self::Itl, Self::Tpot, Self::E2e];

    /// The name in manifests and column names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ttft => "ttft",
            Self::Itl => "itl",
            Self::Tpot => "tpot",
            Self::E2e => "e2e",
        }
    }
}

impl SloTerm {
    /// The term's name in a manifest: `p95_ttft`.
    pub fn key(&self) -> String {
        format!("{}_{}", self.percentile, self.metric.name())
    }

    /// Reads a name such as `p95_ttft`.
    pub fn parse_key(key: &str) -> Result<(Percentile, Metric), String> {
        let reason = || {
            format!(
                "{key:?} is not a target; write a percentile and a metric: p95_ttft, p99_itl, p50_tpot, \"p99.9_e2e\""
            )
        };
        let (percentile, metric) = key.split_once('_').ok_or_else(reason)?;
        let percentile = Percentile::from_str(percentile).map_err(|_| reason())?;
        let metric = Metric::ALL
            .into_iter()
            .find(|m| m.name() == metric)
            .ok_or_else(reason)?;
        Ok((percentile, metric))
    }
}

impl fmt::Display for SloTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ≤ {}", self.key(), self.limit)
    }
}

impl Serialize for Slo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|term| (term.key(), term.limit)))
    }
}

impl<'de> Deserialize<'de> for Slo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IndexMap::<String, TimeSpan>::deserialize(deserializer)?
            .into_iter()
            .map(|(key, limit)| {
                let (percentile, metric) = SloTerm::parse_key(&key).map_err(de::Error::custom)?;
                Ok(SloTerm {
                    percentile,
                    metric,
                    limit,
                })
            })
            .collect::<Result<_, _>>()
            .map(Slo)
    }
}

impl JsonSchema for Slo {
    fn schema_name() -> Cow<'static, str> {
        "Slo".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let span = generator.subschema_for::<TimeSpan>();
        json_schema!({
            "type": "object",
            "patternProperties": { "^p[0-9]+(\\.[0-9]+)?_(ttft|itl|tpot|e2e)$": span },
            "additionalProperties": false
        })
    }
}

/// A key added later stays out of the canonical form while it has its default, so that older ids hold.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_yes(value: &bool) -> bool {
    *value
}

fn yes() -> bool {
    true
}

fn default_seed() -> u64 {
    1
}

fn one() -> u32 {
    1
}

fn ready_within() -> TimeSpan {
    TimeSpan::from_secs(600)
}

fn download_within() -> TimeSpan {
    TimeSpan::from_secs(3600)
}

fn stop_within() -> TimeSpan {
    TimeSpan::from_secs(30)
}

fn hung_after() -> TimeSpan {
    TimeSpan::from_secs(300)
}

fn request_timeout() -> TimeSpan {
    TimeSpan::from_secs(600)
}

fn prompt_field() -> String {
    "prompt".into()
}
