//! A server's flags and a kind of hardware → the model of vLLM that they make.

use crate::{
    engine::{
        Speed, Vllm,
        hardware::{GIB, Gpu, find_gpu},
        memory::{Fit, Misfit},
        model::ModelShape,
        modelled::{Modelled, Unknown},
    },
    manifest::{Catalogue, Engine, EnvValue, Hardware, LaunchOn, Server, config_of_model},
};

/// GiB of KV cache on a CPU, unless told (`VLLM_CPU_KVCACHE_SPACE`).
const CPU_KV_GIB: f64 = 4.0;

/// The GPU that a server runs on, by what was written and seen: the one that is rehearsed, `hardware.gpu`, a label that the
/// catalogue knows, or the one that was `seen`. `None` for a server of which that is not known: an attached one, another
/// engine, and the embedded one when it answers from a script.
pub fn gpu_of<'a>(
    server: &'a Server,
    hardware: &'a Hardware,
    own: &Catalogue,
    seen: Option<&'a str>,
) -> Option<&'a str> {
    if server.engine == Engine::Sim {
        return server.sim.gpu.as_deref();
    }
    if server.engine != Engine::Vllm || server.launch.on == LaunchOn::Attach {
        return None;
    }
    let known = |name: &&str| find_gpu(name, own).is_some();
    hardware.gpu.as_deref().or_else(|| hardware.label.as_deref().filter(known)).or_else(|| seen.filter(known))
}

/// A server on hardware, and whether it would start.
#[derive(Clone, Debug)]
pub struct Placed {
    /// What is known of it.
    pub modelled: Modelled,
    /// The machine it would be, or how its start would fail.
    pub machine: Result<Machine, Misfit>,
    /// Where the model's shape is from.
    pub shape_from: &'static str,
}

impl Placed {
    /// Finds GPU and model in the catalogues, the user's own first; a `config.json` of the model knows better than the
    /// built-in one.
    ///
    /// # Errors
    /// What is not known, and how it is added.
    pub fn new(server: &Server, gpu: &str, own: &Catalogue) -> Result<Self, Unknown> {
        let config = config_of_model(&server.model);
        let text = config.as_ref().map(|(_, text)| text.as_str());
        let mut modelled = Modelled::of(gpu, &server.model, &server.flags, own, text)?;
        if modelled.gpu.is_cpu {
            let gib = match server.env.get("VLLM_CPU_KVCACHE_SPACE") {
                Some(EnvValue::Text(text)) => text.parse().unwrap_or(CPU_KV_GIB),
                _ => CPU_KV_GIB,
            };
            let bytes = Some((gib * GIB) as u64);
            modelled.settings.kv_bytes = modelled.settings.kv_bytes.or(bytes);
        }
        let shape_from = match (own.model.contains_key(&server.model), text) {
            (true, _) => "the manifest's catalogue",
            (false, Some(_)) => "config.json",
            (false, None) => "the catalogue",
        };
        Ok(Self { machine: Machine::of(&modelled, server), modelled, shape_from })
    }

    /// The same, with constants of its own.
    pub fn with_speed(self, speed: Speed) -> Self {
        Self { machine: self.machine.map(|machine| machine.with_speed(speed)), ..self }
    }
}

/// A model on hardware, under a server's flags.
#[derive(Clone, Debug)]
pub struct Machine {
    modelled: Modelled,
    fit: Fit,
    prefix_caching: bool,
    speed: Speed,
}

impl Machine {
    /// By a server's flags, and vLLM's defaults where it has none.
    ///
    /// # Errors
    /// How the server would fail to start.
    pub fn of(modelled: &Modelled, server: &Server) -> Result<Self, Misfit> {
        Ok(Self {
            fit: modelled.fit()?,
            prefix_caching: server.flags.enabled("enable-prefix-caching"),
            speed: modelled.speed(),
            modelled: modelled.clone(),
        })
    }

    /// The same, with constants of its own.
    pub fn with_speed(&self, speed: Speed) -> Self {
        Self { speed, ..self.clone() }
    }

    /// What the hardware reaches.
    pub fn speed(&self) -> Speed {
        self.speed
    }

    /// An idle engine.
    pub fn engine(&self) -> Vllm {
        self.modelled.engine(&self.fit, self.prefix_caching, self.speed)
    }

    /// The hardware.
    pub fn gpu(&self) -> &Gpu {
        &self.modelled.gpu
    }

    /// The model.
    pub fn model(&self) -> &ModelShape {
        &self.modelled.model
    }

    /// How its memory is shared out.
    pub fn fit(&self) -> &Fit {
        &self.fit
    }
}
