//! Entries of the catalogue of GPUs and models: the built-in one, and a manifest's own `[catalogue]`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Your own GPUs and models, for predictions. They take precedence over built-in ones of the same name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// GPUs by name, for `hardware.gpu`, `server.sim.gpu` and `--sim=NAME`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gpu: BTreeMap<String, GpuSpec>,
    /// Models by name, for `server.model`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub model: BTreeMap<String, ModelSpec>,
}

/// One kind of GPU, with the numbers of its datasheet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GpuSpec {
    /// Memory that a process can allocate, in GiB: a little less than the nominal size.
    #[schemars(range(min = 0.1, max = 100_000))]
    pub memory_gib: f64,
    /// Memory bandwidth of the datasheet, in GB/s (10⁹ bytes per second).
    #[schemars(range(min = 0.1, max = 1_000_000))]
    pub bandwidth_gb_s: f64,
    /// Dense matrix throughput of the datasheet, without sparsity, in TFLOPS.
    pub tflops: Tflops,
    /// The class whose efficiencies apply by default: `turing`, `ampere-gddr`, `ada`, `ampere-hbm`, `hopper`,
    /// `cdna3` or `cpu`.
    #[serde(default = "any_class")]
    pub class: String,
    /// Fraction of the bandwidth that a decoding step reaches. Default: that of the class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 1))]
    pub bandwidth_efficiency: Option<f64>,
    /// Fraction of the throughput that prefill reaches. Default: that of the class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 1))]
    pub compute_efficiency: Option<f64>,
    /// Fixed overhead of a step, in µs. Default: that of the class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000_000))]
    pub step_us: Option<f64>,
    /// Overhead that each sequence adds to a step, in µs. Default: that of the class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000_000))]
    pub sequence_us: Option<f64>,
    /// Price of one hour, in US dollars.
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

/// Dense throughput by number format, in TFLOPS. Leave out the formats that the GPU does not support.
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
    /// Key and value heads. Default: as many as query heads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub kv_heads: Option<u64>,
    /// Width of a head. Default: `hidden` / `heads`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub head_dim: Option<u64>,
    /// Inner width of the feed-forward network.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub intermediate: u64,
    /// Size of the vocabulary: the rows of the embedding.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub vocab: u64,
    /// Whether the output layer shares the weights of the embedding.
    #[serde(default)]
    pub tied: bool,
    /// Whether the query, key and value projections have a bias.
    #[serde(default)]
    pub qkv_bias: bool,
    /// Whether the feed-forward network is gated: three matrices instead of two. Default: true.
    #[serde(default = "yes")]
    pub gated: bool,
    /// The experts of a mixture-of-experts model; leave out for a dense model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experts: Option<ExpertsSpec>,
    /// The longest sequence that the model supports, in tokens.
    #[schemars(range(min = 1))]
    pub max_positions: u64,
    /// Number format of the stored weights.
    #[serde(default)]
    pub dtype: WeightType,
    /// Other names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// Where the numbers come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// The experts of a mixture-of-experts model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpertsSpec {
    /// Experts in each layer.
    #[schemars(range(min = 1, max = 100_000))]
    pub count: u64,
    /// Experts that each token uses.
    #[schemars(range(min = 1, max = 100_000))]
    pub active: u64,
    /// Inner width of one expert. Default: the model's `intermediate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intermediate: Option<u64>,
    /// Inner width of the shared expert that every token uses, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<u64>,
}

/// Number formats of weights.
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

    /// The format of a name in vLLM's `--dtype` or a config.json.
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
