//! The dimensions of a model, and from them the size of its weights and KV cache and the operations of a
//! token.

use super::{hardware::ComputeType, quantization::Quantization};
use crate::manifest::{ExpertsSpec, WeightType};

/// A decoder-only transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelShape {
    /// Its name.
    pub name: String,
    /// Decoder layers.
    pub layers: u64,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Width of a head.
    pub head_dim: u64,
    /// Width of the feed-forward network.
    pub intermediate: u64,
    /// Rows of the embedding.
    pub vocab: u64,
    /// Whether the output layer shares the embedding's weights.
    pub tied: bool,
    /// Whether the query, key and value projections have a bias.
    pub qkv_bias: bool,
    /// Matrices per feed-forward network: 3 with a gate, else 2.
    pub ffn_matrices: u64,
    /// The experts of a mixture of experts.
    pub experts: Option<ExpertsSpec>,
    /// The longest sequence, in tokens.
    pub max_positions: u64,
    /// The type of its weights and activations.
    pub dtype: WeightType,
    /// The quantization of its matrices; absent if they are stored in `dtype`.
    pub quantization: Option<Quantization>,
    /// Whether some layers have sliding-window or latent attention. They are modelled as full attention, so
    /// memory and speed are not validated.
    pub other_attention: bool,
}

impl ModelShape {
    /// Weights of the attention matrices of one layer: (2·heads + 2·kv_heads) · head_dim · hidden.
    pub fn attention_weights(&self) -> u64 {
        2 * (self.heads + self.kv_heads) * self.head_dim * self.hidden
    }

    /// Weights of one layer's feed-forward matrices: all of them, and those that one token uses.
    pub fn ffn_weights(&self) -> (u64, u64) {
        let of = |width: u64| self.ffn_matrices * self.hidden * width;
        match &self.experts {
            None => (of(self.intermediate), of(self.intermediate)),
            Some(experts) => {
                let one = of(experts.intermediate.unwrap_or(self.intermediate));
                let beside = experts.shared.map_or(0, of) + self.hidden * experts.count;
                (one * experts.count + beside, one * experts.active.min(experts.count) + beside)
            }
        }
    }

    /// Weights of the matrices of all decoder layers.
    pub fn matrix_weights(&self) -> u64 {
        self.layers * (self.attention_weights() + self.ffn_weights().0)
    }

    /// Parameters: matrices, biases, norms (two per layer and one at the end), embedding, and the output
    /// layer unless it shares the embedding's weights.
    pub fn parameters(&self) -> u64 {
        self.matrix_weights() + self.small_weights() + self.embedding_weights()
    }

    fn small_weights(&self) -> u64 {
        let bias = if self.qkv_bias { (self.heads + 2 * self.kv_heads) * self.head_dim } else { 0 };
        self.layers * (2 * self.hidden + bias) + self.hidden
    }

    fn embedding_weights(&self) -> u64 {
        let tables = if self.tied { 1 } else { 2 };
        tables * self.vocab * self.hidden
    }

    /// Bytes of the decoder layers' matrices as stored.
    fn matrix_bytes(&self) -> f64 {
        let plain = self.dtype.bytes() as f64 * 8.0;
        let bits = self.quantization.map_or(plain, Quantization::bits_per_weight);
        self.matrix_weights() as f64 * bits / 8.0
    }

    /// Bytes of the weights on each of `tp` ranks. Matrices, embedding and output layer are split; norms are
    /// not.
    pub fn weight_bytes(&self, tp: u64) -> u64 {
        let tp = tp.max(1) as f64;
        let wide = self.dtype.bytes() as f64;
        let split = self.matrix_bytes() + self.embedding_weights() as f64 * wide;
        (split / tp + self.small_weights() as f64 * wide) as u64
    }

    /// Bytes of weights that a step over `tokens` tokens reads on each of `tp` ranks: the matrices and the
    /// output layer. Of a mixture of experts, it reads the number that so many tokens are expected to use if
    /// all are equally likely: count · (1 − (1 − active/count)^tokens).
    pub fn step_weight_bytes(&self, tokens: u64, tp: u64) -> f64 {
        let tp = tp.max(1) as f64;
        let wide = self.dtype.bytes() as f64;
        let output = self.vocab as f64 * self.hidden as f64 * wide;
        let mut matrices = self.matrix_bytes();
        if let Some(experts) = &self.experts {
            let (count, active) = (experts.count as f64, experts.active as f64);
            let used = 1.0 - (1.0 - (active / count).min(1.0)).powf(tokens as f64);
            let one = self.ffn_matrices * self.hidden * experts.intermediate.unwrap_or(self.intermediate);
            let all = self.layers as f64 * one as f64 * count;
            let bytes_per_weight = matrices / self.matrix_weights() as f64;
            matrices -= all * (1.0 - used) * bytes_per_weight;
        }
        (matrices + output) / tp + self.small_weights() as f64 * wide
    }

    /// Key and value heads on each of `tp` ranks, at least one.
    pub fn kv_heads_per_rank(&self, tp: u64) -> u64 {
        self.kv_heads.div_ceil(tp.max(1)).max(1)
    }

    /// Bytes of one token in the KV cache of each of `tp` ranks: 2 · layers · kv_heads · head_dim · bytes.
    pub fn kv_bytes_per_token(&self, kv: KvType, tp: u64) -> u64 {
        let bytes = match kv {
            KvType::Auto => self.dtype.bytes(),
            KvType::Fp8 => 1,
            KvType::Plain(plain) => plain.bytes(),
        };
        2 * self.layers * self.kv_heads_per_rank(tp) * self.head_dim * bytes
    }

    /// Operations of one token in the decoder layers' matrices on each of `tp` ranks: two per weight it uses.
    pub fn matrix_flops_per_token(&self, tp: u64) -> f64 {
        let weights = self.layers * (self.attention_weights() + self.ffn_weights().1);
        2.0 * weights as f64 / tp.max(1) as f64
    }

    /// Operations of the output layer for one sampled position, on each of `tp` ranks: 2 · vocab · hidden.
    pub fn output_flops(&self, tp: u64) -> f64 {
        2.0 * self.vocab as f64 * self.hidden as f64 / tp.max(1) as f64
    }

    /// Operations of the attention of one token over `context` tokens, on each of `tp` ranks: 4 · layers ·
    /// heads · head_dim · context, for the scores and for the weighted sum.
    pub fn attention_flops(&self, context: u64, tp: u64) -> f64 {
        4.0 * (self.layers * self.heads * self.head_dim) as f64 * context as f64 / tp.max(1) as f64
    }

    /// The number format of its matrix products.
    pub fn compute(&self) -> ComputeType {
        self.quantization.map_or(ComputeType::Plain(self.dtype), |q| q.compute(self.dtype))
    }
}

/// The number format of the KV cache: `--kv-cache-dtype`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvType {
    /// The model's own format.
    #[default]
    Auto,
    /// 8-bit floating point.
    Fp8,
    /// Another unquantized format.
    Plain(WeightType),
}

impl KvType {
    /// Parses a value of `--kv-cache-dtype`.
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "auto" => Some(Self::Auto),
            _ if word.starts_with("fp8") => Some(Self::Fp8),
            _ => WeightType::named(word).map(Self::Plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::model_catalogue::find_model, manifest::Catalogue};

    fn shape(name: &str) -> ModelShape {
        find_model(name, &Catalogue::default()).unwrap_or_else(|| panic!("{name}"))
    }

    #[test]
    fn kv_bytes_and_ranks_follow_the_heads() {
        let model = shape("Qwen/Qwen2.5-1.5B");
        assert_eq!(model.kv_bytes_per_token(KvType::Auto, 1), 28_672);
        assert_eq!(model.kv_bytes_per_token(KvType::Fp8, 1), 14_336);
        // Two heads on four ranks: one on each.
        assert_eq!(model.kv_bytes_per_token(KvType::Auto, 4), 14_336);
        let moe = shape("Qwen/Qwen3-30B-A3B");
        assert!(moe.step_weight_bytes(1, 1) < 0.2 * moe.step_weight_bytes(10_000, 1));
        assert!(moe.matrix_flops_per_token(1) < 7e9);
    }
}
