//! The types of stored predictions: the basis of a predicted run, and `predicted.json` for comparison with a
//! measured one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::tool::Tool;
use crate::{measure::CellOutcome, server::ServerOutcome};

/// What predictions are based on.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Basis {
    /// Name of the hardware in the catalogue.
    pub hardware: String,
    /// Memory available to a process on each GPU, GiB.
    pub memory_gib: f64,
    /// Source of the hardware's numbers, when the catalogue gives one.
    pub source: Option<String>,
    /// The models, one entry for each configuration in which the servers run them.
    pub models: Vec<ModelBasis>,
    /// Assumed length of answers that end with a stop token, as a fraction of `max_tokens`.
    pub answers: f64,
    /// The measured run from which the constants were fitted; absent when they are the catalogue's.
    pub calibration: Option<CalibrationBasis>,
    /// A sentence on how such predictions compared with real servers; begins with `unvalidated` when none
    /// were compared.
    pub validation: String,
}

/// A model's shape, and the constants of the duration of its steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelBasis {
    /// The model.
    pub model: String,
    /// Source of its shape: `config.json`, `the catalogue` or `the manifest's catalogue`.
    pub shape_from: String,
    /// Number of parameters.
    pub parameters: u64,
    /// Memory of its weights on each GPU, GiB.
    pub weights_gib: f64,
    /// Type of its weights, and their quantization if any.
    pub weights: String,
    /// Number of GPUs that share it.
    pub tensor_parallel: u64,
    /// Memory bandwidth that a step reaches, GB/s (10⁹ bytes).
    pub bandwidth_gb_s: f64,
    /// Compute throughput that a step reaches, 10¹² operations per second.
    pub tflops: f64,
    /// Fixed overhead of a step, microseconds.
    pub step_us: f64,
    /// Overhead of a step per sequence, microseconds.
    pub sequence_us: f64,
}

/// The measured run to which constants were fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBasis {
    /// The run.
    pub run: String,
    /// The model it was measured with.
    pub model: String,
    /// Number of cells used for the fit.
    pub cells: usize,
    /// Ids of those cells, which therefore do not test the constants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fitted: Vec<String>,
    /// Median error of p50 E2E over those cells, as a fraction.
    pub median_e2e_error: f64,
}

/// `predicted.json`: predictions for a run's cells, for comparison with the measurements.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Predictions {
    /// Version of the format.
    pub format: u32,
    /// The tool that wrote it.
    pub tool: Tool,
    /// What they are based on.
    pub basis: Basis,
    /// The servers, by id.
    pub servers: BTreeMap<String, PredictedServer>,
    /// The cells, by id.
    pub cells: BTreeMap<String, PredictedCell>,
    /// Cells that could not be predicted, and why: one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

impl Predictions {
    /// Ids of the cells to which the constants were fitted.
    pub fn fitted(&self) -> &[String] {
        self.basis.calibration.as_ref().map_or(&[], |calibration| &calibration.fitted)
    }
}

/// The predicted start of a server.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictedServer {
    /// Its outcome.
    pub outcome: ServerOutcome,
    /// Why it would fail, if it would.
    pub reason: Option<String>,
    /// Capacity of its KV cache, tokens.
    pub kv_cache_tokens: Option<u64>,
}

impl PredictedServer {
    /// Whether it would become ready.
    pub fn is_ready(&self) -> bool {
        self.outcome == ServerOutcome::Ready
    }
}

/// The source of a cell's predicted answer length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswersFrom {
    /// Answers have the exact length requested: `output = "exact"`.
    Exact,
    /// Answers end with a stop token; their length is assumed.
    Assumed,
    /// Answers end with a stop token; their length is the mean of the measured ones.
    Measured,
}

/// The predicted numbers of a cell. An absent number would not be measured.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictedCell {
    /// Its outcome.
    pub outcome: CellOutcome,
    /// Why it would have no numbers, if so.
    pub reason: Option<String>,
    /// Source of the answer length.
    pub answers_from: AnswersFrom,
    /// Mean length of an answer, tokens.
    pub output_tokens: Option<f64>,
    /// Mean length of a prompt, tokens.
    pub prompt_tokens: Option<f64>,
    /// Median TTFT, milliseconds.
    pub p50_ttft_ms: Option<f64>,
    /// Median TPOT, milliseconds.
    pub p50_tpot_ms: Option<f64>,
    /// Median E2E, milliseconds.
    pub p50_e2e_ms: Option<f64>,
    /// Output tokens / window.
    pub throughput_tok_s: Option<f64>,
    /// Number of preemptions for lack of KV cache.
    pub preemptions: Option<u64>,
    /// Share of the prompt tokens found in the prefix cache, 0 to 1.
    pub prefix_hit_rate: Option<f64>,
    /// The 90 % interval of each predicted number, by the name of its column in `cells.csv`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub intervals: BTreeMap<String, [f64; 2]>,
}
