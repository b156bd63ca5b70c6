//! How long a step takes: a roofline, and what every step and every sequence adds.
//!
//! time = max(bytes / bandwidth, operations / throughput) + step + sequences · sequence (+ 2 · layers · exchange with
//! tensor parallelism), with
//!
//! - bytes = the weights that the step reads (each matrix once, whatever the number of tokens) + the keys and values of
//!   all tokens attended to + those of the new ones, written;
//! - operations = 2 · weights · tokens + 2 · vocabulary · width · sampled + 4 · layers · heads · head width · pairs of tokens
//!   that attend;
//! - bandwidth and throughput what a kind of hardware reaches, not what its datasheet says: [`Speed`].
//!
//! The roofline is Williams, Waterman and Patterson's (2009); its use for a transformer's steps is common (Pope et al.,
//! "Efficiently Scaling Transformer Inference", 2022). The constants have their sources in the catalogue of hardware.

use serde::{Deserialize, Serialize};

use super::{
    hardware::Gpu,
    model::{KvType, ModelShape},
    scheduler::Work,
};

/// What one exchange between ranks adds, seconds: an all-reduce of a few kilobytes over NVLink or PCIe takes 10 to 20 µs by
/// NCCL's own tests. Two of them end every layer. Unvalidated.
const EXCHANGE_S: f64 = 15e-6;

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
            step_s: gpu.step_s,
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
}

impl StepTime {
    /// A model with keys and values of a type, split over so many equal ranks.
    pub fn new(shape: ModelShape, kv: KvType, ranks: u64, speed: Speed) -> Self {
        Self {
            shape,
            kv,
            ranks: ranks.max(1),
            speed,
        }
    }

    /// Bytes that a step moves and operations it takes, on each rank.
    pub fn demand(&self, work: &Work) -> (f64, f64) {
        let (shape, ranks) = (&self.shape, self.ranks);
        let kv_bytes = shape.kv_bytes_per_token(self.kv, ranks) as f64;
        let bytes = shape.step_weight_bytes(work.tokens, ranks)
            + kv_bytes * (work.context_tokens + work.tokens) as f64;
        let operations = shape.matrix_flops_per_token(ranks) * work.tokens as f64
            + shape.output_flops(ranks) * work.sampled as f64
            + shape.attention_flops(work.attention_pairs, ranks);
        (bytes, operations)
    }

    /// How long a step takes, seconds.
    pub fn seconds(&self, work: &Work) -> f64 {
        let (bytes, operations) = self.demand(work);
        let speed = &self.speed;
        let exchange = if self.ranks > 1 {
            2.0 * self.shape.layers as f64 * EXCHANGE_S
        } else {
            0.0
        };
        (bytes / speed.bandwidth).max(operations / speed.flops)
            + speed.step_s
            + speed.sequence_s * work.sequences as f64
            + exchange
    }
}
