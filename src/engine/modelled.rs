//! What a server is predicted from: its GPU, its model and its flags, found in the catalogues or in a `config.json`.

use super::{
    KvCache, Limits, Scheduler, Speed, StepTime, Vllm,
    hardware::{Gpu, find_gpu, gpu_classes, unknown_gpu},
    memory::{Fit, Misfit, Settings, fit, weights},
    model::ModelShape,
    model_catalogue::{find_model, unknown_model},
    model_config::model_of_config,
};
use crate::manifest::{Catalogue, Flags};

/// One server as the model of the engine sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Modelled {
    /// The GPU; each of them, with tensor parallelism.
    pub gpu: Gpu,
    /// The model, with the type and the quantization that the flags give it.
    pub model: ModelShape,
    /// What of the flags decides about memory.
    pub settings: Settings,
}

/// What is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The GPU.
    Gpu,
    /// The model's shape.
    Model,
    /// What a flag says.
    Flags,
}

/// Why something cannot be predicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// What it is about.
    pub about: About,
    /// What is not known, in a sentence.
    pub title: String,
    /// What to do, a line each.
    pub help: Vec<String>,
}

impl Modelled {
    /// Finds GPU and model, and reads the flags. `config` is the text of the model's `config.json`, where there is one: it
    /// knows better than the catalogue, and a user's own table knows better than both.
    ///
    /// # Errors
    /// What is not known, and how it is added.
    pub fn of(
        gpu: &str,
        model: &str,
        flags: &Flags,
        own: &Catalogue,
        config: Option<&str>,
    ) -> Result<Self, Unknown> {
        let found = find_gpu(gpu, own).ok_or_else(|| {
            let wrong_class = own.gpu.iter().find(|(_, spec)| !gpu_classes().contains(&spec.class));
            match wrong_class {
                Some((name, spec)) => Unknown {
                    about: About::Gpu,
                    title: format!(
                        "`catalogue.gpu.{name}.class` is {:?}, which is no class of GPU",
                        spec.class
                    ),
                    help: vec![format!("known are {}", gpu_classes().join(", "))],
                },
                None => {
                    let (title, help) = unknown_gpu(gpu, own);
                    Unknown { about: About::Gpu, title, help }
                }
            }
        })?;
        let of_config = |text: &str| {
            model_of_config(model, text).map_err(|why| Unknown {
                about: About::Model,
                title: format!("the config.json of {model} does not tell its shape: {why}"),
                help: unknown_model(model, own).1,
            })
        };
        let mut shape = match (config, own.model.contains_key(model)) {
            (Some(text), false) => of_config(text)?,
            _ => find_model(model, own).ok_or_else(|| {
                let (title, help) = unknown_model(model, own);
                Unknown { about: About::Model, title, help }
            })?,
        };
        let settings = Settings::of_flags(flags, &found, &mut shape).map_err(|error| Unknown {
            about: About::Flags,
            title: error.to_string(),
            help: vec!["the server itself may understand it".to_owned()],
        })?;
        Ok(Self { gpu: found, model: shape, settings })
    }

    /// Bytes of the weights on each GPU, with the table of rotary positions.
    pub fn weights(&self) -> f64 {
        weights(&self.model, self.settings.tensor_parallel)
    }

    /// What the hardware reaches with the model, by the catalogue.
    pub fn speed(&self) -> Speed {
        Speed::of(&self.gpu, &self.model)
    }

    /// An idle engine that schedules as vLLM does, in the KV cache of the fit, with steps as long as the roofline says at a
    /// speed.
    pub fn engine(&self, fit: &Fit, prefix_caching: bool, speed: Speed) -> Vllm {
        let settings = &self.settings;
        let blocks = u32::try_from(fit.blocks).unwrap_or(u32::MAX);
        let block_size = u32::try_from(fit.block_size).unwrap_or(u32::MAX);
        let limits = Limits {
            max_num_seqs: fit.max_num_seqs as usize,
            max_num_batched_tokens: fit.max_num_batched_tokens,
            max_model_len: fit.max_model_len,
            chunked_prefill: settings.chunked_prefill,
        };
        let time =
            StepTime::new(self.model.clone(), settings.kv_type, settings.tensor_parallel, &self.gpu, speed);
        let cache = KvCache::new(blocks, block_size, prefix_caching);
        Vllm::new(Scheduler::new(limits, cache), time)
    }

    /// Shares out the GPU's memory.
    ///
    /// # Errors
    /// How the server would fail to start.
    pub fn fit(&self) -> Result<Fit, Misfit> {
        fit(&self.gpu, &self.model, &self.settings)
    }
}
