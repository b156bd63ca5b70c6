//! A server to model: its GPU, its model and the flags that matter.

use super::{
    Speed, Vllm,
    hardware::{Gpu, find_gpu, gpu_classes, unknown_gpu},
    kv_cache::KvCache,
    memory::{Fit, Misfit, Settings, fit, weights},
    model::ModelShape,
    model_catalogue::{find_model, unknown_model},
    model_config::model_of_config,
    model_error::{ModelError, Subject},
    scheduler::{Limits, Scheduler},
    step_time::StepTime,
};
use crate::manifest::{Catalogue, Flags};

/// A server to model.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerModel {
    /// The GPU, or each of the GPUs of a server with several.
    pub gpu: Gpu,
    /// The model, with the type and the quantization that the flags choose.
    pub model: ModelShape,
    /// The flags that decide the division of memory.
    pub settings: Settings,
}

impl ServerModel {
    /// Finds the GPU and the model, and reads the flags. The user's own catalogue goes before `config`, the
    /// text of the model's `config.json` if there is one, and that before the built-in catalogue.
    ///
    /// # Errors
    /// When the GPU, the model, or the value of a flag is unknown.
    pub fn of(
        gpu: &str,
        model: &str,
        flags: &Flags,
        own: &Catalogue,
        config: Option<&str>,
    ) -> Result<Self, ModelError> {
        let found = find_gpu(gpu, own).ok_or_else(|| {
            let wrong_class = own.gpu.iter().find(|(_, spec)| !gpu_classes().contains(&spec.class.as_str()));
            match wrong_class {
                Some((name, spec)) => ModelError {
                    subject: Subject::Gpu,
                    title: format!(
                        "`catalogue.gpu.{name}.class` is {:?}, which is not a class of GPU",
                        spec.class
                    ),
                    help: vec![format!("known classes: {}", gpu_classes().join(", "))],
                },
                None => unknown_gpu(gpu, own),
            }
        })?;
        let mut shape = match (config, own.model.contains_key(model)) {
            (Some(text), false) => model_of_config(model, text).map_err(|why| ModelError {
                title: format!("the config.json of {model} does not state its dimensions: {why}"),
                ..unknown_model(model, own)
            })?,
            _ => find_model(model, own).ok_or_else(|| unknown_model(model, own))?,
        };
        let settings = Settings::of_flags(flags, &found, &mut shape).map_err(|why| ModelError {
            subject: Subject::Flags,
            title: why.to_string(),
            help: vec!["the server itself may accept it".to_owned()],
        })?;
        Ok(Self { gpu: found, model: shape, settings })
    }

    /// Bytes of the weights on each GPU, including the table of rotary positions.
    pub fn weights(&self) -> f64 {
        weights(&self.model, &self.settings)
    }

    /// The catalogue's constants for this GPU and model.
    pub fn speed(&self) -> Speed {
        Speed::of(&self.gpu, &self.model)
    }

    /// An idle engine that schedules as vLLM does, with the KV cache of `fit` and step times at `speed`.
    pub fn engine(&self, fit: &Fit, prefix_caching: bool, speed: Speed) -> Vllm {
        let settings = &self.settings;
        let blocks = u32::try_from(fit.blocks).unwrap_or(u32::MAX);
        let block_size = u32::try_from(fit.block_size).unwrap_or(u32::MAX);
        let limits = Limits {
            max_num_seqs: fit.max_num_seqs as usize,
            max_num_batched_tokens: settings.max_num_batched_tokens,
            max_model_len: fit.max_model_len,
            chunked_prefill: settings.chunked_prefill,
        };
        let time =
            StepTime::new(self.model.clone(), settings.kv_type, settings.tensor_parallel, &self.gpu, speed);
        let cache = KvCache::new(blocks, block_size, prefix_caching);
        Vllm::new(Scheduler::new(limits, cache), time)
    }

    /// How predictions of the memory of such servers were validated, in one line.
    pub fn validation(&self) -> &'static str {
        let logged = ["RTX 3090", "RTX 4090", "L40S", "A100 40GB", "A100 80GB", "H100"];
        let is_logged = logged.contains(&self.gpu.name.as_str()) && self.settings.pipeline_parallel == 1;
        if self.model.other_attention || !is_logged {
            "unvalidated: never compared with the log of a real server of this kind"
        } else if self.model.experts.is_some() {
            "predicted; within 10 % of the one log of a mixture-of-experts server that was compared"
        } else {
            "predicted; within 10 % of the logs of real servers on this GPU"
        }
    }

    /// Divides the GPU's memory.
    ///
    /// # Errors
    /// When the server would not start.
    pub fn fit(&self) -> Result<Fit, Misfit> {
        fit(&self.gpu, &self.model, &self.settings)
    }
}
