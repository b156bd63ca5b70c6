//! What was predicted, and what that rests on: provenance of a predicted run, and the light file that lays predictions beside a
//! measured one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::schema::Tool;
use crate::{measure::CellOutcome, server::ServerOutcome};

/// What predictions rest on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Basis {
    /// The hardware, as the catalogue calls it.
    pub hardware: String,
    /// Memory that a process can have on each card, GiB.
    pub memory_gib: f64,
    /// Where the hardware's numbers come from, when the catalogue says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The models, each once for every way in which the servers run it.
    pub models: Vec<ModelBasis>,
    /// How long answers are taken to be that end by themselves, as part of `max_tokens`.
    pub answers: f64,
    /// The measured run whose constants are used; absent where they are the catalogue's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationBasis>,
    /// What of it was ever held against a real server, in a sentence; it begins with `unvalidated` where nothing was.
    pub validation: String,
}

impl Basis {
    /// Whether nothing of this kind was ever held against a real server.
    pub fn is_unvalidated(&self) -> bool {
        self.validation.starts_with("unvalidated")
    }
}

/// A model's shape, and what its steps are as long as.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelBasis {
    /// The model.
    pub model: String,
    /// Where its shape comes from: `config.json`, `the catalogue` or `the manifest's catalogue`.
    pub shape_from: String,
    /// Its parameters.
    pub parameters: u64,
    /// Memory of its weights on each card, GiB.
    pub weights_gib: f64,
    /// The type of its weights; with the quantization where it has one.
    pub weights: String,
    /// Cards that share it.
    pub tensor_parallel: u64,
    /// Bandwidth that a step reaches, GB/s (10⁹ bytes).
    pub bandwidth_gb_s: f64,
    /// Throughput that a step reaches, 10¹² operations a second.
    pub tflops: f64,
    /// What every step takes beside, microseconds.
    pub step_us: f64,
    /// What each sequence adds to a step, microseconds.
    pub sequence_us: f64,
}

/// The measured run that constants were fitted to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBasis {
    /// The run.
    pub run: String,
    /// The model it was measured with.
    pub model: String,
    /// Cells they were fitted to.
    pub cells: usize,
    /// Their ids: they are no test of the constants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fitted: Vec<String>,
    /// Median error of p50 E2E that was left there, as a fraction.
    pub median_e2e_error: f64,
}

/// `predicted.json`: predictions of a run's cells, to be laid beside what was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Predictions {
    /// Version of this form.
    pub format: u32,
    /// The tool that wrote it.
    pub tool: Tool,
    /// What they rest on.
    pub basis: Basis,
    /// The servers, by their ids.
    pub servers: BTreeMap<String, PredictedServer>,
    /// The cells, by their ids.
    pub cells: BTreeMap<String, PredictedCell>,
    /// What could not be predicted, and why: a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

impl Predictions {
    /// Ids of the cells that the constants were fitted to.
    pub fn fitted(&self) -> &[String] {
        self.basis.calibration.as_ref().map_or(&[], |known| &known.fitted)
    }
}

/// How a server would start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictedServer {
    /// How.
    pub outcome: ServerOutcome,
    /// Why, when it would not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Tokens that would fit in its KV cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_cache_tokens: Option<u64>,
}

impl PredictedServer {
    /// Whether it would serve.
    pub fn is_ready(&self) -> bool {
        self.outcome == ServerOutcome::Ready
    }
}

/// Where the length of a cell's answers was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswersFrom {
    /// They are as long as asked for: `output = "exact"`.
    Exact,
    /// They end by themselves, and were taken to be so long.
    Assumed,
    /// They end by themselves; they are as long as the measured ones were in the mean.
    Measured,
}

/// What one cell would measure. Absent is what it would not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictedCell {
    /// How it would end.
    pub outcome: CellOutcome,
    /// Why, when it would have no numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where the length of the answers is from.
    pub answers_from: AnswersFrom,
    /// Mean length of an answer, tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<f64>,
    /// Mean length of a prompt, tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<f64>,
    /// Median TTFT, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ttft_ms: Option<f64>,
    /// Median TPOT, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_tpot_ms: Option<f64>,
    /// Median E2E, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_e2e_ms: Option<f64>,
    /// Output tokens / window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput_tok_s: Option<f64>,
    /// How often a running request would be put back for want of KV cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preemptions: Option<u64>,
    /// Part of the prompt tokens that the prefix cache would hold, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_hit_rate: Option<f64>,
}
