//! A server that fits on its GPU, ready to be simulated.

use crate::{
    engine::{
        Speed, Vllm,
        memory::{Fit, Misfit},
        server_model::ServerModel,
    },
    manifest::Server,
};

/// A server that fits on its GPU.
#[derive(Clone, Debug)]
pub struct Machine {
    modelled: ServerModel,
    fit: Fit,
    prefix_caching: bool,
    speed: Speed,
}

impl Machine {
    /// Divides the GPU's memory by the server's flags and vLLM's defaults.
    ///
    /// # Errors
    /// When the server would not start.
    pub fn of(modelled: &ServerModel, server: &Server) -> Result<Self, Misfit> {
        Ok(Self {
            fit: modelled.fit()?,
            prefix_caching: server.flags.enabled("enable-prefix-caching"),
            speed: modelled.speed(),
            modelled: modelled.clone(),
        })
    }

    /// Replaces the catalogue's constants.
    pub fn with_speed(&self, speed: Speed) -> Self {
        Self { speed, ..self.clone() }
    }

    /// The effective constants of the hardware.
    pub fn speed(&self) -> Speed {
        self.speed
    }

    /// An idle engine.
    pub fn engine(&self) -> Vllm {
        self.modelled.engine(&self.fit, self.prefix_caching, self.speed)
    }
}
