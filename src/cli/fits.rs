//! Whether a plan's servers fit on their GPU: the engine model, asked before anything starts.

use std::fmt;

use serde_json::{Value, json};

use crate::{
    diagnostic::{Finding, Findings},
    engine::{
        hardware::GIB,
        memory::{Fit, Misfit, basis},
        modelled::{About, Modelled, Unknown},
    },
    manifest::{Engine, Manifest, Server, Source},
    plan::{Cell, Group},
    predict::{self, Placed},
};

/// What is predicted of one server.
pub(super) struct GroupFit {
    modelled: Modelled,
    fit: Result<Fit, Misfit>,
    /// What a request of its cells takes in the KV cache, tokens.
    request: Option<RequestTokens>,
}

/// Tokens of a request, prompt and answer.
#[derive(Clone, Copy)]
struct RequestTokens {
    tokens: u64,
    /// Whether it is the longest one, or one with a prompt of mean length.
    longest: bool,
}

fn placed(manifest: &Manifest, server: &Server) -> Option<Result<Placed, Unknown>> {
    let own = &manifest.catalogue;
    let gpu = predict::gpu_of(server, &manifest.hardware, own, None)?;
    Some(Placed::new(server, gpu, own))
}

/// What the engine model does not know of a plan's servers, each once: an error where a GPU is rehearsed, since the server
/// would not start, and a note elsewhere.
pub(super) fn unknown(manifest: &Manifest, groups: &[Group]) -> Findings {
    let mut findings = Findings::default();
    let mut said: Vec<Unknown> = Vec::new();
    for group in groups {
        let Some(Err(unknown)) = placed(manifest, &group.server) else {
            continue;
        };
        if said.contains(&unknown) {
            continue;
        }
        let rehearsed = group.server.engine == Engine::Sim;
        let finding = if rehearsed || unknown.about == About::Gpu {
            Finding::error(&unknown.title)
        } else {
            Finding::note(format!("not predicted: {}", unknown.title))
        };
        let path: &[&str] = match unknown.about {
            About::Model => &["server", "model"],
            About::Flags => &["server", "flags"],
            About::Gpu if rehearsed => &["server", "sim", "gpu"],
            About::Gpu => &["hardware", "gpu"],
        };
        let finding = finding.at(&manifest.place(path), "");
        findings.push(unknown.help.iter().fold(finding, Finding::help));
        said.push(unknown);
    }
    findings
}

/// What is predicted of a server; `None` where its GPU or its model is not known.
pub(super) fn of(manifest: &Manifest, group: &Group, placed: &Placed) -> GroupFit {
    let requests: Option<Vec<RequestTokens>> =
        group.cells.iter().map(|cell| request_tokens(manifest, cell)).collect();
    GroupFit {
        fit: placed.modelled.fit(),
        modelled: placed.modelled.clone(),
        request: requests.and_then(|all| all.into_iter().max_by_key(|request| request.tokens)),
    }
}

/// The longest request of a cell where the manifest decides its length, else one with a prompt of mean length, as the embedded
/// engine counts it.
fn request_tokens(manifest: &Manifest, cell: &Cell) -> Option<RequestTokens> {
    let spec = &cell.spec;
    let answer = u64::from(manifest.inputs.longest_output(spec)?);
    let made = match spec.source().ok()? {
        Source::Synthetic(made) => Some(u64::from(made.input_tokens.bounds().1)),
        Source::SharedPrefix(made) => {
            Some(u64::from(made.prefix_tokens) + u64::from(made.suffix_tokens.bounds().1))
        }
        _ => None,
    };
    let prompt = match made {
        Some(longest) => longest,
        None => predict::mean_prompt_tokens(cell, &manifest.inputs).ok()?.ceil() as u64,
    };
    Some(RequestTokens { tokens: prompt + answer, longest: made.is_some() })
}

impl GroupFit {
    /// The same, for a machine.
    pub(super) fn value(&self) -> Value {
        let basis = basis(&self.modelled.gpu, &self.modelled.model);
        let mut value = json!({ "predicted": true, "basis": basis, "gpu": self.modelled.gpu.name });
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
                        json!(if request.longest { "longest" } else { "mean prompt" });
                    value["users"] = json!(fit.users(request.tokens));
                }
            }
        }
        value
    }
}

impl fmt::Display for GroupFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gpu = &self.modelled.gpu;
        let cards = self.modelled.settings.tensor_parallel;
        let on = if cards > 1 { format!("{cards} × {}", gpu.name) } else { gpu.name.clone() };
        match &self.fit {
            Err(misfit) => write!(f, "does not fit on {on}: {misfit}")?,
            Ok(fit) => {
                write!(
                    f,
                    "fits on {on}: {:.2} GiB of weights, {:.2} GiB of KV cache for {} tokens; room at once for {} users of {} tokens",
                    fit.weights / GIB,
                    fit.kv_cache / GIB,
                    fit.kv_tokens(),
                    fit.users(fit.max_model_len),
                    fit.max_model_len
                )?;
                if let Some(request) = self.request {
                    let tokens = request.tokens;
                    let prompts = match request.longest {
                        true => "",
                        false => " with prompts of mean length",
                    };
                    write!(f, ", or {} of {tokens} as the workloads ask{prompts}", fit.users(tokens))?;
                }
            }
        }
        write!(f, " ({})", basis(gpu, &self.modelled.model))
    }
}
