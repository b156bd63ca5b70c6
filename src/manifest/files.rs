//! Reads the input files that a manifest names, and looks for its models.

use std::{env, fs};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;

use super::{
    bounded,
    inputs::{Input, Inputs},
    path::Path,
    read::sha256,
    sweep::Sweep,
    tree::Node,
};
use crate::diagnostic::{Finding, Findings, Place};

/// Reads every file of prompts, documents, conversations or a trace that the manifest or an axis names.
pub(crate) fn inputs(
    root: &Node,
    workloads: &[String],
    global: &Sweep,
    own: &[Sweep],
    folder: &Utf8Path,
    findings: &mut Findings,
) -> Inputs {
    let mut inputs = Inputs::default();
    for (name, sweep) in workloads.iter().zip(own) {
        for kind in ["prompts", "documents", "conversations", "trace"] {
            let table = ["workload", name, kind];
            let file = ["workload", name, kind, "file"];
            let mut named: Vec<(String, Place)> = Vec::new();
            if let Some(node) = root.get(&file)
                && let Some(text) = node.text()
            {
                named.push((text.to_owned(), node.place.clone()));
            }
            let values = [&table[..], &file[..]]
                .into_iter()
                .flat_map(|path| [global, sweep].into_iter().flat_map(move |sweep| axis_values(sweep, path)));
            for (value, place) in values {
                if let Some(text) = value.get("file").unwrap_or(&value).as_str() {
                    named.push((text.to_owned(), place));
                }
            }
            for (text, place) in named {
                read(&text, &place, folder, &mut inputs, findings);
            }
        }
    }
    inputs
}

/// The values that axes give to a path.
fn axis_values(sweep: &Sweep, path: &[&str]) -> Vec<(Value, Place)> {
    let path = Path::of(path);
    sweep
        .factors
        .iter()
        .flat_map(|factor| &factor.points)
        .flat_map(|point| {
            point
                .sets
                .iter()
                .filter(|(set, _)| *set == path)
                .map(|(_, value)| (value.clone(), point.place.clone()))
        })
        .collect()
}

fn read(name: &str, place: &Place, folder: &Utf8Path, inputs: &mut Inputs, findings: &mut Findings) {
    let path = folder.join(name);
    let bytes = match bounded::read(&path, bounded::LONGEST_INPUT) {
        Ok(bytes) => bytes,
        Err(error) => {
            findings.push(
                Finding::error(format!("cannot read {path}: {error}"))
                    .at(place, "named here")
                    .help("paths are relative to the manifest's folder"),
            );
            return;
        }
    };
    let sha256 = sha256(&bytes);
    match String::from_utf8(bytes) {
        Ok(text) => {
            inputs.0.insert(Utf8PathBuf::from(name), Input::new(sha256, text));
        }
        Err(_) => findings.push(
            Finding::error(format!("{path} is not UTF-8"))
                .at(place, "named here")
                .help("save the file as UTF-8"),
        ),
    }
}

/// Looks for the models. A missing path is an error; a hub id that is not in the cache is a note.
pub(crate) fn models(root: &Node, sweep: &Sweep, findings: &mut Findings) {
    let engine = root.get(&["server", "engine"]).and_then(Node::text).unwrap_or("vllm");
    let attached = root.get(&["server", "launch", "on"]).and_then(Node::text) == Some("attach");
    if engine != "vllm" || attached {
        return;
    }
    let mut named = axis_values(sweep, &["server", "model"]);
    if let Some(node) = root.get(&["server", "model"]) {
        named.insert(0, (node.to_value(), node.place.clone()));
    }
    for (value, place) in named {
        let Some(model) = value.as_str() else {
            continue;
        };
        if is_path(model) {
            if !expand_home(model).exists() {
                findings.push(
                    Finding::error(format!("there is no model at {model}"))
                        .at(&place, "no such folder")
                        .help("a local model is a folder with a config.json; a hub id is written organisation/name"),
                );
            }
        } else if !in_hub_cache(model) {
            findings.push(
                Finding::note(format!("{model} is not in this machine's Hugging Face cache"))
                    .at(&place, "the first start downloads it")
                    .help(format!("its size is not known; to download it now: hf download {model}")),
            );
        }
    }
}

fn is_path(model: &str) -> bool {
    ["/", "./", "../", "~/"].iter().any(|prefix| model.starts_with(prefix))
}

/// Replaces a leading `~/` with the home folder.
pub(crate) fn expand_home(path: &str) -> Utf8PathBuf {
    match (path.strip_prefix("~/"), env::var("HOME")) {
        (Some(rest), Ok(home)) => Utf8PathBuf::from(home).join(rest),
        _ => path.into(),
    }
}

/// The path and text of a model's `config.json`: of a local model, or of the newest snapshot in the hub's
/// cache. `None` when there is none.
pub(crate) fn config_of_model(model: &str) -> Option<(Utf8PathBuf, String)> {
    let candidates = if is_path(model) || Utf8Path::new(model).join("config.json").exists() {
        vec![expand_home(model)]
    } else {
        let entries = fs::read_dir(snapshots(model)?).ok()?;
        let mut found: Vec<Utf8PathBuf> =
            entries.flatten().filter_map(|entry| Utf8PathBuf::from_path_buf(entry.path()).ok()).collect();
        found.sort_by_key(|path| path.metadata().and_then(|data| data.modified()).ok());
        found.reverse();
        found
    };
    candidates.into_iter().find_map(|folder| {
        let path = folder.join("config.json");
        let text = fs::read_to_string(&path).ok()?;
        Some((path, text))
    })
}

/// Whether the hub's cache holds a snapshot of a model.
fn in_hub_cache(model: &str) -> bool {
    snapshots(model)
        .and_then(|folder| fs::read_dir(folder).ok())
        .is_some_and(|mut entries| entries.next().is_some())
}

/// The folder of a model's snapshots, in the layout that huggingface_hub documents.
fn snapshots(model: &str) -> Option<Utf8PathBuf> {
    let cache = env::var("HF_HUB_CACHE")
        .map(Utf8PathBuf::from)
        .or_else(|_| {
            env::var("HF_HOME").map(|home| Utf8PathBuf::from(home).join("hub")).or_else(|_| {
                env::var("HOME").map(|home| Utf8PathBuf::from(home).join(".cache/huggingface/hub"))
            })
        })
        .ok()?;
    Some(cache.join(format!("models--{}", model.replace('/', "--"))).join("snapshots"))
}
