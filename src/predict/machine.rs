//! A server that fits on its GPU, ready to be simulated.

use crate::engine::{
    Speed, Vllm,
    memory::{Fit, Misfit},
    server_model::ServerModel,
};

/// A server that fits on its GPU.
#[derive(Clone, Debug)]
pub struct Machine {
    server: ServerModel,
    fit: Fit,
    prefix_caching: bool,
    speed: Speed,
}

impl Machine {
    /// Divides the GPU's memory.
    ///
    /// # Errors
    /// When the server would not start.
    pub fn of(server: &ServerModel, prefix_caching: bool) -> Result<Self, Misfit> {
        Ok(Self { fit: server.fit()?, prefix_caching, speed: server.speed(), server: server.clone() })
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
        self.server.engine(&self.fit, self.prefix_caching, self.speed)
    }
}
