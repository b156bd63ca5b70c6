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
