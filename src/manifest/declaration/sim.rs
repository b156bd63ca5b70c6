//! `[server.sim]`: how the embedded engine behaves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    manifest::{catalogue::Catalogue, faults::Faults},
    unit::TimeSpan,
};

/// Timing and limits of the embedded engine. Times are those of the engine, without what a client adds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SimScript {
    /// Time from the start of a request to its first token. Default: `"40ms"`.
    pub ttft: TimeSpan,
    /// Time between tokens when no other request runs. Default: `"8ms"`.
    pub per_token: TimeSpan,
    /// Time that each further running request adds to every token. Default: `"100us"`.
    pub per_token_load: TimeSpan,
    /// Random variation of every time, as a fraction of it, drawn from the seed. Default: 0.05.
    #[schemars(range(min = 0, max = 1))]
    pub jitter: f64,
    /// Time from the process's start until the server is ready. Default: `"300ms"`.
    pub startup: TimeSpan,
    /// Size of the KV cache, in tokens. Below `max-model-len` the start fails as vLLM's does. Default: no
    /// limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_tokens: Option<u64>,
    /// Name of a GPU in the catalogue to rehearse: memory is allocated as in vLLM, servers that would not fit
    /// fail to start, and a roofline model gives the length of every step instead of the times above.
    /// Default: no GPU, everything fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// Copy of the manifest's `[catalogue]`; set it there.
    #[serde(skip_serializing_if = "super::is_default")]
    pub catalogue: Catalogue,
    /// Faults to simulate.
    #[serde(skip_serializing_if = "super::is_default")]
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
