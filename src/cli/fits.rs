//! Whether a plan's servers fit on their GPU: the engine model, asked before anything starts.

use std::fmt;

use serde_json::{Value, json};

use crate::{
    diagnostic::{Finding, Findings},
    engine::{
        hardware::{GIB, find_gpu},
        memory::{Fit, Misfit, basis},
        modelled::{About, Modelled, Unknown},
    },
    manifest::{Engine, LaunchOn, Manifest, Server, Source, Workload, config_of_model},
    plan::{Cell, Group},
};

/// What is predicted of one server.
pub(super) struct GroupFit {
    modelled: Modelled,
    fit: Result<Fit, Misfit>,
    /// The longest request of its cells, prompt and answer, tokens; absent where prompts have no known length.
    request_tokens: Option<u64>,
}

/// The GPU that a server runs on, by what was written: the one that is rehearsed, `hardware.gpu`, or a label that the
/// catalogue knows. The embedded engine without a GPU has none.
fn gpu_of<'a>(manifest: &'a Manifest, server: &'a Server) -> Option<&'a str> {
    if server.engine == Engine::Sim {
        return server.sim.gpu.as_deref();
    }
    if server.engine != Engine::Vllm || server.launch.on == LaunchOn::Attach {
        return None;
    }
    let hardware = &manifest.hardware;
    let known = |label: &&str| find_gpu(label, &manifest.catalogue).is_some();
    hardware
        .gpu
        .as_deref()
        .or_else(|| hardware.label.as_deref().filter(known))
}

fn modelled(manifest: &Manifest, server: &Server) -> Option<Result<Modelled, Unknown>> {
    let gpu = gpu_of(manifest, server)?;
    let config = config_of_model(&server.model);
    let text = config.as_ref().map(|(_, text)| text.as_str());
    let own = &manifest.catalogue;
    Some(Modelled::of(gpu, &server.model, &server.flags, own, text))
}

/// What the engine model does not know of a plan's servers, each once: an error where a GPU is rehearsed, since the server
/// would not start, and a note elsewhere.
pub(super) fn unknown(manifest: &Manifest, groups: &[Group]) -> Findings {
    let mut findings = Findings::default();
    let mut said: Vec<Unknown> = Vec::new();
    for group in groups {
        let Some(Err(unknown)) = modelled(manifest, &group.server) else {
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
pub(super) fn of(manifest: &Manifest, group: &Group) -> Option<GroupFit> {
    let modelled = modelled(manifest, &group.server)?.ok()?;
    let lengths: Option<Vec<u64>> = group
        .cells
        .iter()
        .map(|cell: &Cell| request_tokens(manifest, &cell.spec))
        .collect();
    Some(GroupFit {
        fit: modelled.fit(),
        modelled,
        request_tokens: lengths.and_then(|all| all.into_iter().max()),
    })
}

/// The longest request of a workload, prompt and answer, tokens, where the manifest decides its length.
fn request_tokens(manifest: &Manifest, spec: &Workload) -> Option<u64> {
    let answer = u64::from(manifest.inputs.longest_output(spec)?);
    let prompt = match spec.source().ok()? {
        Source::Synthetic(made) => u64::from(made.input_tokens.bounds().1),
        Source::SharedPrefix(made) => {
            u64::from(made.prefix_tokens) + u64::from(made.suffix_tokens.bounds().1)
        }
        _ => return None,
    };
    Some(prompt + answer)
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
                if let Some(tokens) = self.request_tokens {
                    value["request_tokens"] = json!(tokens);
                    value["users"] = json!(fit.users(tokens));
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
        let on = if cards > 1 {
            format!("{cards} × {}", gpu.name)
        } else {
            gpu.name.clone()
        };
        match &self.fit {
            Err(misfit) => write!(f, "does not fit on {on}: {misfit}")?,
            Ok(fit) => {
                write!(
                    f,
                    "fits on {on}: {:.2} GiB of weights, {:.2} GiB of KV cache for {} tokens; at once {} users of {} tokens",
                    fit.weights / GIB,
                    fit.kv_cache / GIB,
                    fit.kv_tokens(),
                    fit.users(fit.max_model_len),
                    fit.max_model_len
                )?;
                if let Some(tokens) = self.request_tokens {
                    write!(
                        f,
                        ", {} of {tokens} as the workloads ask",
                        fit.users(tokens)
                    )?;
                }
            }
        }
        write!(f, " ({})", basis(gpu, &self.modelled.model))
    }
}
