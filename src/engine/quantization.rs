//! Quantization of a model's matrices, by a flag, a name or a checkpoint.

use super::hardware::ComputeType;
use crate::manifest::WeightType;

/// Quantization of a model's matrices. Embedding, output layer and norms keep the model's own type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantization {
    /// AWQ, GPTQ and similar: a 16-bit scale and a zero point per group of 128 weights.
    Grouped {
        /// Bits per weight: 2, 3, 4 or 8.
        bits: u64,
    },
    /// 8-bit floating point with a scale per tensor or channel.
    Fp8,
    /// 8-bit integers with a scale per channel.
    Int8,
    /// 4-bit NF4 of bitsandbytes, with a scale per 64 weights.
    Bitsandbytes,
}

impl Quantization {
    /// Bits per weight, including its share of scales and zero points.
    pub fn bits_per_weight(self) -> f64 {
        match self {
            // A 16-bit scale and a zero point of `bits` per group; 128 is the default group size of AWQ and
            // GPTQ.
            Self::Grouped { bits } => bits as f64 + (16 + bits) as f64 / 128.0,
            Self::Fp8 | Self::Int8 => 8.0,
            // A 32-bit scale per 64 weights, the default of bitsandbytes.
            Self::Bitsandbytes => 4.5,
        }
    }

    /// Parses a value of vLLM's `--quantization`; `None` if it leaves the choice to the checkpoint.
    pub fn of_flag(word: &str) -> Option<Self> {
        match word {
            "awq" | "awq_marlin" | "gptq" | "gptq_marlin" => Some(Self::Grouped { bits: 4 }),
            "fp8" | "ptpc_fp8" | "fbgemm_fp8" => Some(Self::Fp8),
            "experts_int8" => Some(Self::Int8),
            "bitsandbytes" => Some(Self::Bitsandbytes),
            _ => None,
        }
    }

    /// Recognizes the quantization in a checkpoint's name: `-AWQ`, `-GPTQ-Int8`, `-FP8`, `w4a16`, `bnb-4bit`.
    pub fn of_name(name: &str) -> Option<Self> {
        let name = name.to_lowercase();
        let has = |word: &str| name.contains(word);
        if has("fp8") {
            Some(Self::Fp8)
        } else if has("w8a8") {
            Some(Self::Int8)
        } else if has("bnb-4bit") {
            Some(Self::Bitsandbytes)
        } else if has("awq") || has("gptq") || has("w4a16") || has("w8a16") || has("int4") {
            let bits = if has("int8") || has("8bit") || has("w8a16") { 8 } else { 4 };
            Some(Self::Grouped { bits })
        } else {
            None
        }
    }

    /// The number format of matrix products. Grouped weights are unpacked to the model's own type.
    pub fn compute(self, plain: WeightType) -> ComputeType {
        match self {
            Self::Fp8 => ComputeType::Fp8,
            Self::Int8 => ComputeType::Int8,
            Self::Grouped { .. } | Self::Bitsandbytes => ComputeType::Plain(plain),
        }
    }
}
