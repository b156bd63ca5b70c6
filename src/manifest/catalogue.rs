//! What a catalogue of GPUs and models says of one: the built-in one, and the tables of a manifest's own.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// GPUs and models of your own, for the predictions. A name that the built-in catalogue has too is yours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// GPUs by the name that `hardware.gpu`, `server.sim.gpu` and `--sim=NAME` call them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gpu: BTreeMap<String, GpuSpec>,
    /// Models by the name that `server.model` calls them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub model: BTreeMap<String, ModelSpec>,
}

/// One kind of GPU, as its datasheet has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GpuSpec {
    /// Memory that the driver lets a process have, GiB: a little less than what the card is sold with.
    #[schemars(range(min = 0.1, max = 100_000))]
    pub memory_gib: f64,
    /// Memory bandwidth of the datasheet, GB/s (10⁹ bytes).
    #[schemars(range(min = 0.1, max = 1_000_000))]
    pub bandwidth_gb_s: f64,
    /// Dense matrix throughput of the datasheet, without sparsity.
    pub tflops: Tflops,
    /// The class that the efficiencies come from: `turing`, `ampere-gddr`, `ada`, `ampere-hbm`, `hopper`, `cdna3` or `cpu`.
    #[serde(default = "any_class")]
    pub class: String,
    /// Part of the bandwidth that a decoding step reaches; the class's unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 1))]
    pub bandwidth_efficiency: Option<f64>,
    /// Part of the throughput that a prefill reaches; the class's unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 1))]
    pub compute_efficiency: Option<f64>,
    /// What every step takes beside memory and compute, µs; the class's unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000_000))]
    pub step_us: Option<f64>,
    /// What each sequence adds to a step, µs; the class's unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000_000))]
    pub sequence_us: Option<f64>,
    /// What an hour costs, where a price is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub usd_per_hour: Option<f64>,
    /// Other names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// Where the numbers come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Dense throughput by type of number, 10¹² operations a second. What is absent the GPU cannot do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tflops {
    /// Single precision, without tensor cores.
    #[schemars(range(min = 0.001))]
    pub fp32: f64,
    /// TF32 on tensor cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tf32: Option<f64>,
    /// Half precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fp16: Option<f64>,
    /// bfloat16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bf16: Option<f64>,
    /// 8-bit floating point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fp8: Option<f64>,
    /// 8-bit integers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub int8: Option<f64>,
}

/// The shape of a decoder-only transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Decoder layers.
    #[schemars(range(min = 1, max = 10_000))]
    pub layers: u64,
    /// Width of the residual stream.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub hidden: u64,
    /// Query heads.
    #[schemars(range(min = 1, max = 100_000))]
    pub heads: u64,
    /// Key and value heads; as many as query heads unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub kv_heads: Option<u64>,
    /// Width of a head; hidden / heads unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub head_dim: Option<u64>,
    /// Width between the matrices of the feed-forward network.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub intermediate: u64,
    /// Tokens of the vocabulary, as many as the embedding has rows.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub vocab: u64,
    /// Whether the output layer is the embedding again.
    #[serde(default)]
    pub tied: bool,
    /// Whether query, key and value have a bias.
    #[serde(default)]
    pub qkv_bias: bool,
    /// Whether the feed-forward network has a gate, three matrices in place of two; yes unless told.
    #[serde(default = "yes")]
    pub gated: bool,
    /// The experts of a mixture; absent for a dense model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experts: Option<ExpertsSpec>,
    /// The longest sequence the model was made for, tokens.
    #[schemars(range(min = 1))]
    pub max_positions: u64,
    /// The type its weights are stored in.
    #[serde(default)]
    pub dtype: WeightType,
    /// Other names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// Where the numbers come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// The feed-forward networks of a mixture of experts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpertsSpec {
    /// Experts in each layer.
    #[schemars(range(min = 1, max = 100_000))]
    pub count: u64,
    /// Experts that a token passes through.
    #[schemars(range(min = 1, max = 100_000))]
    pub active: u64,
    /// Width of one expert; `intermediate` unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intermediate: Option<u64>,
    /// Width of the expert that every token passes through, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<u64>,
}

/// The types of number that weights are stored and computed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WeightType {
    /// Single precision, 4 bytes.
    Float32,
    /// Half precision, 2 bytes.
    Float16,
    /// bfloat16, 2 bytes.
    #[default]
    Bfloat16,
}

impl WeightType {
    /// Bytes of one number.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Float32 => 4,
            Self::Float16 | Self::Bfloat16 => 2,
        }
    }

    /// The type by the names that vLLM's `--dtype` and a config.json have for it.
    pub fn named(name: &str) -> Option<Self> {
        match name.trim_start_matches("torch.") {
            "float32" | "float" => Some(Self::Float32),
            "float16" | "half" => Some(Self::Float16),
            "bfloat16" => Some(Self::Bfloat16),
            _ => None,
        }
    }
}

fn any_class() -> String {
    "ada".to_owned()
}

fn yes() -> bool {
    true
}
