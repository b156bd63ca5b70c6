//! Predicts whether a server fits into its GPU's memory, and how many users fit into its KV cache.

use std::fmt;

use serde_json::{Value, json};

use super::{Placed, mean_prompt_tokens};
use crate::{
    engine::{
        hardware::GIB,
        memory::{Fit, Misfit},
        server_model::ServerModel,
    },
    manifest::{Manifest, Source},
    plan::{Cell, Group},
};

/// The predicted memory of one server.
#[derive(Clone, Debug)]
pub struct MemoryFit {
    server: ServerModel,
    fit: Result<Fit, Misfit>,
    /// The largest request of the server's cells.
    request: Option<RequestTokens>,
}

/// Tokens of a request, prompt and answer together.
#[derive(Clone, Copy, Debug)]
struct RequestTokens {
    tokens: u64,
    /// Whether no request is longer; otherwise its prompt has the mean length.
    is_longest: bool,
}

impl MemoryFit {
    /// Predicts the memory of a group's server.
    pub fn of(manifest: &Manifest, group: &Group, placed: &Placed) -> Self {
        let requests: Option<Vec<RequestTokens>> =
            group.cells.iter().map(|cell| request_tokens(manifest, cell)).collect();
        Self {
            fit: placed.server.fit(),
            server: placed.server.clone(),
            request: requests.and_then(|all| all.into_iter().max_by_key(|request| request.tokens)),
        }
    }

    /// The prediction as JSON, for `plan --json`.
    pub fn json(&self) -> Value {
        let basis = self.server.validation();
        let mut value = json!({ "predicted": true, "basis": basis, "gpu": self.server.gpu.name });
        match &self.fit {
            Err(misfit) => {
                value["fits"] = json!(false);
                value["why"] = json!(misfit.to_string());
            }
            Ok(fit) => {
                value["fits"] = json!(true);
                value["kv_tokens"] = json!(fit.kv_tokens());
                value["kv_cache_gib"] = json!(fit.kv_cache / GIB);
                value["weights_gib"] = json!(fit.weights / GIB);
                value["activations_gib"] = json!(fit.activations / GIB);
                value["graphs_gib"] = json!(fit.graphs / GIB);
                value["max_concurrency"] = json!(fit.max_concurrency());
                value["users_at_max_model_len"] = json!(fit.users(fit.max_model_len));
                if let Some(request) = self.request {
                    value["request_tokens"] = json!(request.tokens);
                    value["request_tokens_of"] =
                        json!(if request.is_longest { "longest" } else { "mean prompt" });
                    value["users"] = json!(fit.users(request.tokens));
                }
            }
        }
        value
    }
}

/// The longest request of a cell where the manifest decides its length; otherwise one whose prompt has the
/// mean length in tokens of the embedded engine.
fn request_tokens(manifest: &Manifest, cell: &Cell) -> Option<RequestTokens> {
    let spec = &cell.spec;
    let answer = u64::from(manifest.inputs.longest_output(spec)?);
    let longest = match spec.source().ok()? {
        Source::Synthetic(synthetic) => Some(u64::from(synthetic.input_tokens.bounds().1)),
        Source::SharedPrefix(shared) => {
            Some(u64::from(shared.prefix_tokens) + u64::from(shared.suffix_tokens.bounds().1))
        }
        _ => None,
    };
    let prompt = match longest {
        Some(longest) => longest,
        None => mean_prompt_tokens(cell, &manifest.inputs).ok()?.ceil() as u64,
    };
    Some(RequestTokens { tokens: prompt + answer, is_longest: longest.is_some() })
}

impl fmt::Display for MemoryFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gpu = &self.server.gpu;
        let gpus = self.server.settings.gpus;
        let on = if gpus > 1 { format!("{gpus} × {}", gpu.name) } else { gpu.name.clone() };
        match &self.fit {
            Err(misfit) => write!(f, "does not fit on {on}: {misfit}")?,
            Ok(fit) => {
                write!(
                    f,
                    "fits on {on}: {:.2} GiB of weights, {:.2} GiB of KV cache for {} tokens; room for {} concurrent requests of {} tokens",
                    fit.weights / GIB,
                    fit.kv_cache / GIB,
                    fit.kv_tokens(),
                    fit.users(fit.max_model_len),
                    fit.max_model_len
                )?;
                if let Some(request) = self.request {
                    let length = if request.is_longest {
                        "the workloads' longest"
                    } else {
                        "the workloads' mean prompt"
                    };
                    write!(f, ", or {} of {} ({length})", fit.users(request.tokens), request.tokens)?;
                }
            }
        }
        write!(f, " ({})", self.server.validation())
    }
}
