//! The duration of a step: a roofline for its matrices, one for its attention, and fixed costs.
//!
//! time = max(weights / bandwidth, matrix operations / throughput) + max(keys and values / bandwidth,
//! attention operations / throughput) + step + sequences · sequence (+ launches, with a prompt) (+ exchanges,
//! with tensor parallelism), with
//!
//! - weights = the bytes that the step reads, each matrix once; 4-bit weights are read at a fraction of the
//!   bandwidth;
//! - keys and values = those of all tokens attended to, read, and those of the new tokens, written;
//! - matrix operations = 2 · weights · tokens + 2 · vocabulary · width · sampled; attention operations = 4 ·
//!   layers · heads · head width · pairs of tokens that attend;
//! - bandwidth and throughput = what the hardware reaches, which is less than its datasheet says: [`Speed`];
//! - step = a constant, plus one per layer for its small kernels, which neither bandwidth nor throughput
//!   limits;
//! - launches: a step with prompt tokens does not run as one CUDA graph, so each layer's kernels are launched
//!   one by one;
//! - exchanges = 2 · layers · (one exchange + 2 · (ranks − 1) / ranks · tokens · width · bytes / link).
//!
//! Matrices and attention are separate kernels that run one after the other, so each has a roofline of its
//! own. The roofline is Williams, Waterman and Patterson's (2009); it is commonly applied to transformers
//! (Pope et al., "Efficiently Scaling Transformer Inference", 2022). The catalogue of hardware states the
//! sources of its constants; those here were tuned on the tuning part of `tests/data/published.toml`.

use serde::{Deserialize, Serialize};

use super::{
    hardware::Gpu,
    model::{KvType, ModelShape},
    quantization::Quantization,
    scheduler::Work,
};

/// Latency of an all-reduce between ranks, in seconds: for a few kilobytes over NVLink, NCCL's tests measure
/// 10 to 20 µs. There are two per layer.
const EXCHANGE_S: f64 = 12e-6;

/// Bandwidth between ranks in bytes per second: a fifth to a half of the datasheets of NVLink and Infinity
/// Fabric. GPUs without such a link are far slower; for them it is not validated.
const LINK: f64 = 300e9;

/// Time to launch a layer's kernels one by one, as a multiple of the layer's fixed time in a step that runs
/// as one graph.
const LAUNCHES: f64 = 5.0;

/// Fraction of the bandwidth that remains when 4-bit weights are read and unpacked.
const UNPACKING: f64 = 0.8;

/// The effective constants of the hardware, which a calibration fits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speed {
    /// Bytes per second that a step reads from memory.
    pub bandwidth: f64,
    /// Operations per second that a step computes.
    pub flops: f64,
    /// Fixed time of a step, in seconds.
    pub step_s: f64,
    /// Fixed time of each sequence in a step, in seconds.
    pub sequence_s: f64,
}

impl Speed {
    /// The catalogue's constants for a GPU and a model: datasheet × efficiency.
    pub fn of(gpu: &Gpu, shape: &ModelShape) -> Self {
        Self {
            bandwidth: gpu.bandwidth * gpu.bandwidth_efficiency,
            flops: gpu.flops(shape.compute()) * gpu.compute_efficiency,
            step_s: gpu.step_s + shape.layers as f64 * gpu.layer_s,
            sequence_s: gpu.sequence_s,
        }
    }
}

/// The step times of a model, split over `ranks` equal GPUs.
#[derive(Clone, Debug)]
pub(super) struct StepTime {
    shape: ModelShape,
    kv: KvType,
    ranks: u64,
    speed: Speed,
    launches_s: f64,
}

struct Demand {
    weight_bytes: f64,
    kv_bytes: f64,
    matrix_operations: f64,
    attention_operations: f64,
}

impl StepTime {
    pub(super) fn new(shape: ModelShape, kv: KvType, ranks: u64, gpu: &Gpu, speed: Speed) -> Self {
        let launches_s = LAUNCHES * gpu.layer_s * shape.layers as f64;
        Self { shape, kv, ranks: ranks.max(1), speed, launches_s }
    }

    fn demand(&self, work: &Work) -> Demand {
        let (shape, ranks) = (&self.shape, self.ranks);
        let kv_bytes = shape.kv_bytes_per_token(self.kv, ranks) as f64;
        Demand {
            weight_bytes: shape.step_weight_bytes(work.tokens, ranks),
            kv_bytes: kv_bytes * (work.context_tokens + work.tokens) as f64,
            matrix_operations: shape.matrix_flops_per_token(ranks) * work.tokens as f64
                + shape.output_flops(ranks) * work.sampled as f64,
            attention_operations: shape.attention_flops(work.attention_pairs, ranks),
        }
    }

    /// The duration of a step, in seconds.
    pub(super) fn seconds(&self, work: &Work) -> f64 {
        let (demand, speed) = (self.demand(work), &self.speed);
        let unpacking = match self.shape.quantization {
            Some(Quantization::Grouped { bits: ..=4 } | Quantization::Bitsandbytes) => UNPACKING,
            _ => 1.0,
        };
        let matrices =
            (demand.weight_bytes / (speed.bandwidth * unpacking)).max(demand.matrix_operations / speed.flops);
        let attention = (demand.kv_bytes / speed.bandwidth).max(demand.attention_operations / speed.flops);
        let launches = match work.prefill_tokens {
            0 => 0.0,
            _ => self.launches_s,
        };
        matrices
            + attention
            + speed.step_s
            + speed.sequence_s * work.sequences as f64
            + launches
            + self.exchanges(work.tokens)
    }

    /// The duration of the all-reduces over `tokens` tokens, in seconds.
    fn exchanges(&self, tokens: u64) -> f64 {
        if self.ranks == 1 {
            return 0.0;
        }
        let shape = &self.shape;
        let bytes = (tokens * shape.hidden * shape.dtype.bytes()) as f64;
        let travels = 2.0 * (self.ranks - 1) as f64 / self.ranks as f64;
        2.0 * shape.layers as f64 * (EXCHANGE_S + travels * bytes / LINK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{hardware::find_gpu, model_catalogue::find_model},
        manifest::Catalogue,
    };

    fn steps(model: &str, ranks: u64) -> (StepTime, Speed) {
        let own = Catalogue::default();
        let gpu = find_gpu("H100", &own).unwrap();
        let shape = find_model(model, &own).unwrap();
        let speed = Speed::of(&gpu, &shape);
        (StepTime::new(shape, KvType::Auto, ranks, &gpu, speed), speed)
    }

    fn decode(sequences: u64, context: u64) -> Work {
        Work {
            sequences,
            tokens: sequences,
            prefill_tokens: 0,
            context_tokens: sequences * context,
            attention_pairs: sequences * context,
            sampled: sequences,
        }
    }

    fn prefill(tokens: u64) -> Work {
        Work {
            sequences: 1,
            tokens,
            prefill_tokens: tokens,
            context_tokens: tokens,
            attention_pairs: tokens * tokens / 2,
            sampled: 1,
        }
    }

    #[test]
    fn decoding_one_sequence_takes_the_weights_and_the_layers() {
        let (time, speed) = steps("Llama-3.1-8B", 1);
        let work = decode(1, 1);
        let reads = time.demand(&work).weight_bytes / speed.bandwidth;
        let rest = time.seconds(&work) - reads;
        // 600 µs a step and 35 for each of 32 layers, and a little for the sequence and its keys.
        assert!(rest > 1.72e-3 && rest < 1.74e-3, "{rest}");
    }

    #[test]
    fn a_prompt_is_launched_layer_by_layer() {
        let (time, _) = steps("Llama-3.1-8B", 1);
        let (one, prompt) = (time.seconds(&decode(1, 1)), time.seconds(&prefill(1)));
        assert!(((prompt - one) - 5.0 * 32.0 * 35e-6).abs() < 1e-9, "{prompt}");
    }

    #[test]
    fn matrices_and_attention_do_not_hide_each_other() {
        let (time, speed) = steps("Llama-3.1-8B", 1);
        let mut work = prefill(8192);
        let alone = time.seconds(&work);
        work.context_tokens += 400_000;
        let keys = 400_000.0 * 131_072.0 / speed.bandwidth;
        let attention = time.demand(&prefill(8192)).attention_operations / speed.flops;
        let more = time.seconds(&work) - alone;
        assert!(more > 0.9 * (keys - attention), "{more} of {keys}");
    }

    #[test]
    fn four_bits_are_read_more_slowly_than_they_are_small_and_ranks_exchange_what_they_have() {
        let reads = |model| {
            let (time, _) = steps(model, 1);
            time.seconds(&decode(1, 1))
        };
        let (plain, quantized) = (reads("Llama-3.1-8B"), reads("Llama-3.1-8B-AWQ"));
        assert!(quantized < plain && quantized > 0.4 * plain, "{quantized}");
        let (two, _) = steps("Llama-3.1-8B", 2);
        let (few, many) = (two.exchanges(1), two.exchanges(8192));
        assert!(few > 64.0 * 12e-6 && many > 10.0 * few, "{few} {many}");
        assert_eq!(steps("Llama-3.1-8B", 1).0.exchanges(8192), 0.0);
    }
}
