//! `[server.sim]`: how the embedded engine behaves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    manifest::{catalogue::Catalogue, faults::Faults},
    unit::TimeSpan,
};

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
    #[serde(skip_serializing_if = "super::is_default")]
    pub catalogue: Catalogue,
    /// What goes wrong on request, to rehearse it.
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
