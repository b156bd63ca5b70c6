//! How long a step takes: a roofline for its matrices and one for its attention, and what the rest of it adds.
//!
//! time = max(weights / bandwidth, matrix operations / throughput) + max(keys and values / bandwidth, attention operations /
//! throughput) + step + sequences · sequence (+ launches, with a prompt) (+ exchanges, with tensor parallelism), with
//!
//! - weights = those that the step reads (each matrix once, whatever the number of tokens), and as many more as if a weight of
//!   4 bits were read at a part of the bandwidth; keys and values = of all tokens attended to + those of the new ones, written;
//! - matrix operations = 2 · weights · tokens + 2 · vocabulary · width · sampled; attention operations = 4 · layers · heads ·
//!   head width · pairs of tokens that attend;
//! - bandwidth and throughput what a kind of hardware reaches, not what its datasheet says: [`Speed`];
//! - step = a constant and one for each layer, whose small kernels neither bandwidth nor throughput bounds;
//! - launches: a step with tokens of a prompt does not run as one CUDA graph, so each layer's kernels are launched one by one;
//! - exchanges = 2 · layers · (one exchange + 2 · (ranks − 1) / ranks · tokens · width · bytes / link).
//!
//! The matrices and the attention are other kernels, one after the other: what one leaves of the memory's time the other cannot
//! use. The roofline is Williams, Waterman and Patterson's (2009); its use for a transformer's steps is common (Pope et al.,
//! "Efficiently Scaling Transformer Inference", 2022). The constants have their sources in the catalogue of hardware; those here
//! are from the part to tune from of `tests/data/published.toml`.

use serde::{Deserialize, Serialize};

use super::{
    hardware::Gpu,
    model::{KvType, ModelShape},
    quantization::Quantization,
    scheduler::Work,
};

/// What one exchange between ranks adds, seconds: an all-reduce of a few kilobytes over NVLink takes 10 to 20 µs by NCCL's own
/// tests. Two of them end every layer.
const EXCHANGE_S: f64 = 12e-6;

/// Bytes per second that an exchange moves between ranks: NVLink and Infinity Fabric, a fifth to a half of their datasheets'.
/// Cards without such a link are far slower. Unvalidated for them.
const LINK: f64 = 300e9;

/// Launching a layer's kernels one by one takes so many times what the layer adds to a step that runs as one graph.
const LAUNCHES: f64 = 5.0;

/// Part of the bandwidth at which matrices of 4-bit groups are read and unpacked, of what plain ones are.
const UNPACKING: f64 = 0.8;

/// What a kind of hardware reaches: the few constants that a calibration fits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speed {
    /// Bytes per second that a step reads from memory.
    pub bandwidth: f64,
    /// Operations per second that a step computes.
    pub flops: f64,
    /// What every step takes beside, seconds.
    pub step_s: f64,
    /// What every sequence in a step takes beside, seconds.
    pub sequence_s: f64,
}

impl Speed {
    /// A GPU's by the catalogue, for a model of some type of number: datasheet times efficiency.
    pub fn of(gpu: &Gpu, shape: &ModelShape) -> Self {
        Self {
            bandwidth: gpu.bandwidth * gpu.bandwidth_efficiency,
            flops: gpu.flops(shape.compute()) * gpu.compute_efficiency,
            step_s: gpu.step_s + shape.layers as f64 * gpu.layer_s,
            sequence_s: gpu.sequence_s,
        }
    }
}

/// A model on hardware.
#[derive(Clone, Debug)]
pub struct StepTime {
    shape: ModelShape,
    kv: KvType,
    ranks: u64,
    speed: Speed,
    launches_s: f64,
}

/// What a step asks of each rank.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// Bytes of the matrices.
    pub weight_bytes: f64,
    /// Bytes of keys and values, read and written.
    pub kv_bytes: f64,
    /// Operations with the matrices.
    pub matrix_operations: f64,
    /// Operations of the attention.
    pub attention_operations: f64,
}

impl StepTime {
    /// A model with keys and values of a type, split over so many equal ranks of a GPU, at a speed.
    pub fn new(shape: ModelShape, kv: KvType, ranks: u64, gpu: &Gpu, speed: Speed) -> Self {
        let launches_s = LAUNCHES * gpu.layer_s * shape.layers as f64;
        Self { shape, kv, ranks: ranks.max(1), speed, launches_s }
    }

    /// Bytes that a step moves and operations it takes, on each rank.
    pub fn demand(&self, work: &Work) -> Demand {
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

    /// How long a step takes, seconds.
    pub fn seconds(&self, work: &Work) -> f64 {
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

    /// What the ranks take to add up what each has of so many tokens, seconds.
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
    fn a_step_that_decodes_one_sequence_reads_its_weights_and_pays_for_its_layers() {
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
        let (one, asked) = (time.seconds(&decode(1, 1)), time.seconds(&prefill(1)));
        assert!(((asked - one) - 5.0 * 32.0 * 35e-6).abs() < 1e-9, "{asked}");
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
