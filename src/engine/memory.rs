//! Predicts how vLLM divides a GPU's memory at start, what is left for the KV cache, and when the server does
//! not start.
//!
//! All sizes are per GPU. With `total`, the memory that a process can have:
//!
//! - KV cache = total · gpu-memory-utilization − weights − activations − other − graphs, as
//!   `determine_available_memory` of vLLM's `gpu_worker.py` has it (graphs since version 0.21)
//! - blocks = KV cache / (block-size · KV bytes of a token), rounded down; tokens = blocks · block-size
//!
//! What vLLM measures in a profiling run is estimated here; each constant states its source.

use super::{
    hardware::{GIB, Gpu},
    model::{KvType, ModelShape},
    quantization::Quantization,
};
use crate::{
    flags::{self, Device, FlagError, Flags},
    manifest::WeightType,
};

/// Bytes of the sampler in the profiling run, per sequence and vocabulary entry. vllm-project/vllm#10511 logs
/// 1.26 GiB for 256 sequences of 128,256 logits (41), #13882 logs 1.42 GiB for 256 of 152,064 (39).
const SAMPLER_BYTES: f64 = 40.0;

/// Memory outside PyTorch's allocator, in GiB: the CUDA context and cuBLAS. Version 0.10 logs 0.07 to 0.13 on
/// one H100, version 0.31 0.26 on one A100 with its context, vllm-project/vllm#10517 0.35.
const OTHER_GIB: f64 = 0.25;

/// Memory of NCCL and the all-reduce buffers with several ranks, in GiB. In total, llm-d-benchmark logs 0.55
/// on each of two H100, vllm-project/vllm#13061 0.25, and #16570 0.34 to 0.43 on each of four.
const OTHER_RANKS_GIB: f64 = 0.25;

/// Memory of captured CUDA graphs, in MiB per layer: version 0.31 logs 0.23 GiB for a model of 32 layers.
const GRAPH_MIB_PER_LAYER: f64 = 7.0;

/// The flags that decide the division of memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `gpu-memory-utilization`.
    pub utilization: f64,
    /// `max-model-len`, by default the model's own maximum.
    pub max_model_len: u64,
    /// Whether the flags set `max-model-len`.
    pub sets_max_model_len: bool,
    /// Whether a long prompt is computed in chunks: `enable-chunked-prefill`.
    pub chunked_prefill: bool,
    /// `max-num-batched-tokens`.
    pub max_num_batched_tokens: u64,
    /// `max-num-seqs`.
    pub max_num_seqs: u64,
    /// `block-size`, in tokens.
    pub block_size: u64,
    /// `tensor-parallel-size`.
    pub tensor_parallel: u64,
    /// `pipeline-parallel-size`.
    pub pipeline_parallel: u64,
    /// GPUs of the server, over which it is split and copied.
    pub gpus: u64,
    /// `kv-cache-dtype`.
    pub kv_type: KvType,
    /// Whether CUDA graphs are captured, which `enforce-eager` prevents.
    pub graphs: bool,
    /// `kv-cache-memory-bytes`, which replaces the result of the profiling run.
    pub kv_bytes: Option<u64>,
    /// `num-gpu-blocks-override`.
    pub blocks: Option<u64>,
}

impl Settings {
    /// Reads a server's flags, with the defaults of `vllm serve` on the GPU. The model takes the number
    /// format and the quantization that the flags give it.
    ///
    /// # Errors
    /// When a flag has a value that is not understood.
    pub fn of_flags(flags: &Flags, gpu: &Gpu, model: &mut ModelShape) -> Result<Self, FlagError> {
        if let Some(word) = flags.text("dtype")
            && word != "auto"
        {
            model.dtype = WeightType::named(&word).ok_or_else(|| unread("dtype", &word))?;
        }
        if let Some(word) = flags.text("quantization")
            && let Some(form) = Quantization::of_flag(&word)
            && model.quantization.is_none()
        {
            model.quantization = Some(form);
        }
        let kv_word = flags.text("kv-cache-dtype").unwrap_or_else(|| "auto".to_owned());
        let kv_type = KvType::named(&kv_word).ok_or_else(|| unread("kv-cache-dtype", &kv_word))?;
        let set_len = flags.count("max-model-len")?;
        let max_model_len = set_len.unwrap_or(model.max_positions);
        let device = Device { name: &gpu.name, gib: gpu.memory_bytes as f64 / GIB, is_cpu: gpu.is_cpu };
        let default = |name: &str| flags::info(name).and_then(|info| info.default_on(device)).unwrap_or(1);
        let chunked = flags.enabled("enable-chunked-prefill");
        let tokens = default("max-num-batched-tokens");
        let tokens = if chunked { tokens } else { tokens.max(max_model_len) };
        let max_num_batched_tokens = flags.count("max-num-batched-tokens")?.unwrap_or(tokens);
        let max_num_seqs = flags.count("max-num-seqs")?.unwrap_or_else(|| default("max-num-seqs"));
        Ok(Self {
            utilization: flags.fraction("gpu-memory-utilization")?,
            max_model_len,
            sets_max_model_len: set_len.is_some(),
            chunked_prefill: chunked,
            max_num_batched_tokens,
            max_num_seqs: max_num_seqs.min(max_num_batched_tokens),
            block_size: flags.count("block-size")?.unwrap_or_else(|| default("block-size")),
            tensor_parallel: flags.count("tensor-parallel-size")?.unwrap_or(1),
            pipeline_parallel: flags.count("pipeline-parallel-size")?.unwrap_or(1),
            gpus: flags.gpus()?,
            kv_type,
            graphs: !flags.enabled("enforce-eager") && !gpu.is_cpu,
            kv_bytes: flags.count("kv-cache-memory-bytes")?,
            blocks: flags.count("num-gpu-blocks-override")?,
        })
    }

    /// The part of a model in the largest pipeline stage. Only the first stage has the embedding, and only
    /// the last the output layer.
    fn stage(&self, model: &ModelShape) -> ModelShape {
        let stages = self.pipeline_parallel;
        ModelShape { layers: model.layers.div_ceil(stages), tied: model.tied || stages > 1, ..model.clone() }
    }
}

/// An error about a value that vLLM may know and the memory model does not.
fn unread(flag: &str, word: &str) -> FlagError {
    FlagError::new(flag, word, "a value that the predictions know")
}

/// The division of one GPU's memory, in bytes unless stated otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Weights, including the table of rotary positions.
    pub weights: f64,
    /// Activations of the largest step.
    pub activations: f64,
    /// CUDA graphs.
    pub graphs: f64,
    /// The KV cache.
    pub kv_cache: f64,
    /// Tokens per block.
    pub block_size: u64,
    /// KV blocks.
    pub blocks: u64,
    /// The longest request, in tokens.
    pub max_model_len: u64,
    /// The most sequences in a step.
    pub max_num_seqs: u64,
}

impl Fit {
    /// The capacity of the KV cache in tokens, the `KV cache size` of vLLM's log.
    pub fn kv_tokens(&self) -> u64 {
        self.blocks * self.block_size
    }

    /// `Maximum concurrency for N tokens per request`: tokens / `max-model-len`.
    pub fn max_concurrency(&self) -> f64 {
        self.kv_tokens() as f64 / self.max_model_len as f64
    }

    /// The number of requests of `tokens` tokens, prompt and answer together, that can run at once without
    /// preemption. Each takes whole blocks, one block is reserved by vLLM, and `max-num-seqs` is the limit.
    pub fn users(&self, tokens: u64) -> u64 {
        let blocks = tokens.max(1).div_ceil(self.block_size);
        (self.blocks.saturating_sub(1) / blocks).min(self.max_num_seqs)
    }
}

/// Why a server does not start, in the words of vLLM's log.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Misfit {
    /// The weights are larger than the memory.
    #[error(
        "torch.OutOfMemoryError: CUDA out of memory. The weights take {:.2} GiB. GPU 0 has a total capacity of {:.2} GiB.",
        needed / GIB, total / GIB
    )]
    Weights {
        /// Bytes of the weights.
        needed: f64,
        /// Bytes of the GPU's memory.
        total: f64,
    },
    /// The largest step does not fit beside the weights.
    #[error(
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {:.2} GiB. GPU 0 has a total capacity of {:.2} GiB of \
         which {:.2} GiB is free.",
        needed / GIB, total / GIB, free / GIB
    )]
    Activations {
        /// Bytes of the activations.
        needed: f64,
        /// Bytes that the weights leave free.
        free: f64,
        /// Bytes of the GPU's memory.
        total: f64,
    },
    /// Not one KV block fits.
    #[error(
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the \
         engine."
    )]
    NoBlocks,
    /// One request of `max-model-len` tokens does not fit into the KV cache.
    #[error(
        "ValueError: To serve at least one request with the model's max seq len ({max_model_len}), ({:.2} GiB KV cache is \
         needed, which is larger than the available KV cache memory ({:.2} GiB). Based on the available memory, the estimated \
         maximum model length is {estimated}. Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when \
         initializing the engine.",
        needed / GIB, available / GIB
    )]
    KvTooSmall {
        /// Tokens of the longest request.
        max_model_len: u64,
        /// Bytes it needs.
        needed: f64,
        /// Bytes of the KV cache.
        available: f64,
        /// The most tokens that would fit.
        estimated: u64,
    },
    /// `max-model-len` exceeds what the model supports.
    #[error(
        "Value error, User-specified max_model_len ({max_model_len}) is greater than the derived max_model_len \
         (max_position_embeddings={max_positions})."
    )]
    LongerThanModel {
        /// The flag's value.
        max_model_len: u64,
        /// The model's maximum.
        max_positions: u64,
    },
    /// The attention heads cannot be divided among the ranks.
    #[error(
        "Value error, Total number of attention heads ({heads}) must be divisible by tensor parallel size ({tensor_parallel})."
    )]
    Heads {
        /// Query heads.
        heads: u64,
        /// `tensor-parallel-size`.
        tensor_parallel: u64,
    },
}

/// Bytes of the activations in the profiling run, the larger of two parts:
/// - a step of `max-num-batched-tokens` through a layer: T · (3 · hidden + 3 · width / tp) · bytes. That is
///   the residual and the layer's input and output, the gate's two results and their product;
///   vllm-project/vllm#10517 logs 109.8 kB per token for Llama-3.1-8B at two lengths, the formula gives
///   110.6. In a mixture of experts, a token has the results of `active` experts.
/// - sampling of `max-num-seqs` sequences: S · vocab · 40.
fn activations(model: &ModelShape, settings: &Settings) -> f64 {
    let tp = settings.tensor_parallel.max(1) as f64;
    let bytes = model.dtype.bytes() as f64;
    let hidden = model.hidden as f64;
    let per_token = match &model.experts {
        None => 3.0 * hidden + 3.0 * model.intermediate as f64 / tp,
        Some(experts) => {
            let width = experts.intermediate.unwrap_or(model.intermediate) as f64 / tp;
            3.0 * hidden + experts.active as f64 * ((2.0 * width).max(hidden) + width)
        }
    };
    let step = settings.max_num_batched_tokens as f64 * per_token * bytes;
    let sampler = settings.max_num_seqs as f64 * model.vocab as f64 * SAMPLER_BYTES;
    step.max(sampler)
}

/// Bytes of the weights on each GPU, including the table of rotary positions: cosines and sines,
/// head_dim per position. Llama-3.1-8B is logged as 14.9889 GiB (vllm-project/vllm#17122), of which the table
/// is 0.0313.
pub fn weights(model: &ModelShape, settings: &Settings) -> f64 {
    let rotary = (model.max_positions * model.head_dim * model.dtype.bytes()) as f64;
    settings.stage(model).weight_bytes(settings.tensor_parallel) as f64 + rotary
}

/// Divides the memory of one GPU.
///
/// # Errors
/// When the server would not start.
pub fn fit(gpu: &Gpu, model: &ModelShape, settings: &Settings) -> Result<Fit, Misfit> {
    let tp = settings.tensor_parallel.max(1);
    if !model.heads.is_multiple_of(tp) {
        return Err(Misfit::Heads { heads: model.heads, tensor_parallel: tp });
    }
    if settings.sets_max_model_len && settings.max_model_len > model.max_positions {
        return Err(Misfit::LongerThanModel {
            max_model_len: settings.max_model_len,
            max_positions: model.max_positions,
        });
    }
    let total = gpu.memory_bytes as f64;
    let other = match (gpu.is_cpu, tp * settings.pipeline_parallel) {
        (true, _) => 0.0,
        (false, 1) => OTHER_GIB * GIB,
        (false, _) => (OTHER_GIB + OTHER_RANKS_GIB) * GIB,
    };
    let weights = weights(model, settings);
    if weights + other > total {
        return Err(Misfit::Weights { needed: weights, total });
    }
    let activations = activations(model, settings);
    let free = total - weights - other;
    if activations > free {
        return Err(Misfit::Activations { needed: activations, free, total });
    }
    let stage = settings.stage(model);
    let graphs =
        if settings.graphs { stage.layers as f64 * GRAPH_MIB_PER_LAYER * 1024.0 * 1024.0 } else { 0.0 };
    let budget = total * settings.utilization;
    let kv_cache =
        settings.kv_bytes.map_or(budget - weights - activations - other - graphs, |bytes| bytes as f64);
    let per_token = stage.kv_bytes_per_token(settings.kv_type, tp);
    let per_block = (per_token * settings.block_size) as f64;
    let blocks = settings.blocks.unwrap_or((kv_cache.max(0.0) / per_block) as u64);
    if blocks == 0 {
        return Err(Misfit::NoBlocks);
    }
    // One block is reserved: a recorded server with 8 blocks of 128 tokens estimates 896 tokens.
    let estimated = (blocks - 1) * settings.block_size;
    if settings.max_model_len > estimated {
        return Err(Misfit::KvTooSmall {
            max_model_len: settings.max_model_len,
            needed: (settings.max_model_len.div_ceil(settings.block_size)) as f64 * per_block,
            available: kv_cache.max(0.0),
            estimated,
        });
    }
    Ok(Fit {
        weights,
        activations,
        graphs,
        kv_cache,
        block_size: settings.block_size,
        blocks,
        max_model_len: settings.max_model_len,
        max_num_seqs: settings.max_num_seqs,
    })
}

#[cfg(test)]
mod tests;
