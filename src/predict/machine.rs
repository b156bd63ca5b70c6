//! A server's flags and a kind of hardware → the model of vLLM that they make.

use crate::{
    engine::{
        KvCache, Limits, Scheduler, Speed, StepTime, Vllm,
        hardware::{GIB, Gpu},
        memory::{Misfit, Settings, fit},
        model::{KvType, ModelShape},
    },
    manifest::{Flag, Server},
};

/// A model on hardware, under a server's flags.
#[derive(Clone, Debug)]
pub struct Machine {
    gpu: Gpu,
    shape: ModelShape,
    kv: KvType,
    ranks: u64,
    limits: Limits,
    /// Tokens that fit in the KV cache.
    kv_tokens: u64,
    block_size: u64,
    prefix_caching: bool,
    speed: Speed,
}

impl Machine {
    /// By a server's flags, and vLLM's defaults where it has none.
    ///
    /// # Errors
    /// A sentence when the server would not start: no room for the weights, or for one request.
    pub fn new(server: &Server, gpu: &Gpu, shape: &ModelShape) -> Result<Self, String> {
        let flags = &server.flags;
        let number = |name: &str| flags.integer(name).filter(|value| *value > 0);
        let on = |name: &str| match flags.get(name) {
            Some(Flag::Off) => Some(false),
            Some(_) => Some(true),
            None => None,
        };
        let kv = flags
            .text("kv-cache-dtype")
            .and_then(|word| KvType::named(&word))
            .unwrap_or_default();
        let ranks = number("tensor-parallel-size").unwrap_or(1);
        let max_model_len = number("max-model-len").unwrap_or(shape.max_positions);
        let chunked_prefill = on("enable-chunked-prefill").unwrap_or(true);
        // As vLLM's API server chooses them: cards of 70 GiB and more get larger steps.
        let large = gpu.memory_bytes as f64 >= 70.0 * GIB;
        let max_num_batched_tokens =
            number("max-num-batched-tokens").unwrap_or(if large { 8192 } else { 2048 });
        let max_num_seqs = number("max-num-seqs").unwrap_or(if large { 1024 } else { 256 });
        let block_size = number("block-size").unwrap_or(if gpu.is_cpu { 128 } else { 16 });
        let kv_tokens = match number("num-gpu-blocks-override") {
            Some(blocks) => blocks * block_size,
            None => kv_tokens(server, gpu, shape, kv, ranks)?,
        };
        if kv_tokens < max_model_len {
            return Err(format!(
                "the KV cache holds {kv_tokens} tokens, one request of max-model-len needs {max_model_len}; vLLM would not \
                 start"
            ));
        }
        Ok(Self {
            gpu: gpu.clone(),
            shape: shape.clone(),
            kv,
            ranks,
            limits: Limits {
                max_num_seqs: max_num_seqs as usize,
                max_num_batched_tokens,
                max_model_len,
                chunked_prefill,
            },
            kv_tokens,
            block_size,
            prefix_caching: on("enable-prefix-caching").unwrap_or(true),
            speed: Speed::of(gpu, shape),
        })
    }

    /// The same, with constants of its own.
    pub fn with_speed(&self, speed: Speed) -> Self {
        Self {
            speed,
            ..self.clone()
        }
    }

    /// What the hardware reaches.
    pub fn speed(&self) -> Speed {
        self.speed
    }

    /// An idle engine.
    pub fn engine(&self) -> Vllm {
        let blocks = u32::try_from(self.kv_tokens / self.block_size).unwrap_or(u32::MAX);
        let cache = KvCache::new(blocks, self.block_size as u32, self.prefix_caching);
        let time = StepTime::new(self.shape.clone(), self.kv, self.ranks, self.speed);
        Vllm::new(Scheduler::new(self.limits, cache), time)
    }

    /// The hardware.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The model.
    pub fn model(&self) -> &ModelShape {
        &self.shape
    }

    /// Tokens that fit in the KV cache.
    pub fn kv_tokens(&self) -> u64 {
        self.kv_tokens
    }
}

/// Tokens that fit in the KV cache, by the model of vLLM's memory.
fn kv_tokens(
    server: &Server,
    gpu: &Gpu,
    shape: &ModelShape,
    kv: KvType,
    ranks: u64,
) -> Result<u64, String> {
    if gpu.is_cpu {
        // GiB by vLLM's own variable; 4 unless told.
        let gib = match server.env.get("VLLM_CPU_KVCACHE_SPACE") {
            Some(crate::manifest::EnvValue::Text(text)) => text.parse().unwrap_or(4.0),
            _ => 4.0,
        };
        return Ok((gib * GIB / shape.kv_bytes_per_token(kv, ranks) as f64) as u64);
    }
    // The flags may give the model another type; its shape stays.
    let mut shape = shape.clone();
    let settings = Settings::of_flags(&server.flags, gpu, &mut shape)?;
    match fit(gpu, &shape, &settings) {
        Ok(fit) => Ok(fit.kv_tokens()),
        // The caller compares with the longest request itself.
        Err(Misfit::KvTooSmall { estimated, .. }) => Ok(estimated),
        Err(misfit) => Err(misfit.to_string()),
    }
}
