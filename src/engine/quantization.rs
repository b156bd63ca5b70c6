//! How the matrices of a model are stored, as a flag, a name or a checkpoint says.

use super::hardware::ComputeType;
use crate::manifest::WeightType;

/// How the matrices of a model are stored. Embedding, output layer and norms keep the model's own type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantization {
    /// AWQ, GPTQ or another form with groups: whole bits a weight, and a 16-bit scale and a zero point for each group of 128.
    Grouped {
        /// Bits of one weight: 2, 3, 4 or 8.
        bits: u64,
    },
    /// 8-bit floating point with a scale a tensor or channel.
    Fp8,
    /// 8-bit integers with a scale a channel.
    Int8,
    /// bitsandbytes' 4-bit NF4: a scale for each 64 weights.
    Bitsandbytes,
}

impl Quantization {
    /// Bits that one weight of a matrix takes, with its share of scales and zero points.
    pub fn bits_per_weight(self) -> f64 {
        match self {
            // A scale of 16 bits and a zero of `bits` for each group of 128, the group size AWQ and GPTQ have unless told.
            Self::Grouped { bits } => bits as f64 + (16 + bits) as f64 / 128.0,
            Self::Fp8 | Self::Int8 => 8.0,
            // A 32-bit scale for each block of 64, bitsandbytes' own default.
            Self::Bitsandbytes => 4.5,
        }
    }

    /// By the words of vLLM's `--quantization`; `None` for a word that leaves the form to the checkpoint.
    pub fn of_flag(word: &str) -> Option<Self> {
        match word {
            "awq" | "awq_marlin" | "gptq" | "gptq_marlin" => Some(Self::Grouped { bits: 4 }),
            "fp8" | "ptpc_fp8" | "fbgemm_fp8" => Some(Self::Fp8),
            "experts_int8" => Some(Self::Int8),
            "bitsandbytes" => Some(Self::Bitsandbytes),
            _ => None,
        }
    }

    /// By the words of a checkpoint's name, as hubs write them: `-AWQ`, `-GPTQ-Int8`, `-FP8`, `w4a16`, `bnb-4bit`.
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

    /// The type that matrices are multiplied in: forms with groups are unpacked to the model's own.
    pub fn compute(self, plain: WeightType) -> ComputeType {
        match self {
            Self::Fp8 => ComputeType::Fp8,
            Self::Int8 => ComputeType::Int8,
            Self::Grouped { .. } | Self::Bitsandbytes => ComputeType::Plain(plain),
        }
    }
}
