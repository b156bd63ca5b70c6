//! What a server says while it starts, in the order and in the words of vLLM: how the memory is shared out, until something does
//! not fit.

use super::{
    hardware::GIB,
    memory::{Fit, Misfit},
    modelled::Modelled,
};

/// The lines of the log up to the size of the KV cache, or up to what ends the start; that itself is the misfit's own text.
pub fn lines(modelled: &Modelled, told: &Result<Fit, Misfit>) -> Vec<String> {
    if matches!(told, Err(Misfit::LongerThanModel { .. } | Misfit::Heads { .. })) {
        return Vec::new();
    }
    let mut lines = vec![format!("Starting to load model {}...", modelled.model.name)];
    if matches!(told, Err(Misfit::Weights { .. })) {
        return lines;
    }
    lines.push(format!("Model loading took {:.2} GiB memory and 0.00 seconds", modelled.weights() / GIB));
    let available = match told {
        Ok(fit) => Some(fit.kv_cache),
        Err(Misfit::KvTooSmall { available, .. }) => Some(*available),
        Err(_) => None,
    };
    lines.extend(available.map(|bytes| format!("Available KV cache memory: {:.2} GiB", bytes / GIB)));
    lines
}
