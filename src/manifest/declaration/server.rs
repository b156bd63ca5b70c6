//! `[server]`: one engine process with one set of flags.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sim::SimScript;
use crate::{flags::Flags, unit::TimeSpan};

/// One engine process with one set of flags.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// The engine that serves the model.
    #[serde(default)]
    pub engine: Engine,
    /// A hub id (`Qwen/Qwen2.5-1.5B-Instruct`) or the path of a local model.
    #[schemars(length(min = 1))]
    pub model: String,
    /// The command that starts the engine, as a list of words; the model and the flags are appended. Words
    /// may contain `{model}`, `{host}` and `{port}`, which are then not appended. Default: `["vllm",
    /// "serve"]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub command: Option<Vec<String>>,
    /// Timeout of the start, counted from when the model's files are complete. Default: `"10m"`.
    #[serde(default = "ready_within")]
    pub ready_within: TimeSpan,
    /// Timeout of the download of the model's files. Default: `"1h"`.
    #[serde(default = "download_within")]
    pub download_within: TimeSpan,
    /// How long the server may take to exit before it is killed. Default: `"30s"`.
    #[serde(default = "stop_within")]
    pub stop_within: TimeSpan,
    /// How long the server may send nothing while requests wait before it counts as hung and is stopped. Must
    /// exceed the longest prefill, and with `stream = false` the longest answer. Default: `"5m"`.
    #[serde(default = "hung_after")]
    pub hung_after: TimeSpan,
    /// Where the server runs.
    #[serde(default)]
    pub launch: Launch,
    /// Flags of `vllm serve`, passed through: `true` is `--flag`, `false` is `--no-flag`, a list repeats the
    /// value, a table becomes JSON, and `{ unset = true }` removes an inherited flag.
    #[serde(default)]
    pub flags: Flags,
    /// Environment variables of the server, in addition to the runner's own.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// Behaviour of the embedded engine (`engine = "sim"`, or `run --sim`).
    #[serde(default)]
    pub sim: SimScript,
}

/// The engine of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// `vllm serve`.
    #[default]
    Vllm,
    /// The engine embedded in runner, without GPU and vLLM. Its results are never ranked with measured ones.
    Sim,
    /// Any server with an OpenAI-compatible API.
    Openai,
}

/// Where a server runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Launch {
    /// `local` starts the server on this machine; `attach` uses a running one.
    #[serde(default)]
    pub on: LaunchOn,
    /// Address of the running server, for `attach`: `http://127.0.0.1:8000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Name of the environment variable that holds the API key. The key itself must not stand in a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
}

/// Whether a server is started or already runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LaunchOn {
    /// A process on this machine that runner starts and stops.
    #[default]
    Local,
    /// A server that is already running; its flags cannot be verified.
    Attach,
}

/// The value of an environment variable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum EnvValue {
    /// The value.
    Text(String),
    /// `{ unset = true }`: removes an inherited variable.
    Unset(Unset),
}

/// `{ unset = true }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unset {
    /// Always `true`.
    pub unset: bool,
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
