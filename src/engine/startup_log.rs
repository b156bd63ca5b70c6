//! The lines that vLLM logs about its memory while it starts.

use super::{
    hardware::GIB,
    memory::{Fit, Misfit},
    server_model::ServerModel,
};

/// The lines up to the size of the KV cache, or up to the failure, whose own text is that of the [`Misfit`].
pub fn lines(server: &ServerModel, fit: &Result<Fit, Misfit>) -> Vec<String> {
    if matches!(fit, Err(Misfit::LongerThanModel { .. } | Misfit::Heads { .. })) {
        return Vec::new();
    }
    let mut lines = vec![format!("Starting to load model {}...", server.model.name)];
    if matches!(fit, Err(Misfit::Weights { .. })) {
        return lines;
    }
    lines.push(format!("Model loading took {:.2} GiB memory and 0.00 seconds", server.weights() / GIB));
    let available = match fit {
        Ok(fit) => Some(fit.kv_cache),
        Err(Misfit::KvTooSmall { available, .. }) => Some(*available),
        Err(_) => None,
    };
    lines.extend(available.map(|bytes| format!("Available KV cache memory: {:.2} GiB", bytes / GIB)));
    lines
}
