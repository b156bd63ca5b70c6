//! What makes two starts of one run comparable.

use super::RunFile;

/// What differs between the machines and engines of two starts of a run, a line each (`gpu: A → B`); empty when
/// their numbers may stand in one table. What only one of them knows is not taken for a difference, except a GPU.
pub fn fingerprint_difference(old: &RunFile, new: &RunFile) -> Vec<String> {
    let known = |what: &str, old: Option<String>, new: Option<String>| match (old, new) {
        (Some(old), Some(new)) if old != new => Some(format!("{what}: {old} → {new}")),
        _ => None,
    };
    let engine = |run: &RunFile| run.engine.as_ref().map(|engine| engine.name.clone());
    let version = |run: &RunFile| run.engine.as_ref().and_then(|engine| engine.version.clone());
    let processor = |run: &RunFile| run.host.as_ref()?.cpu.clone();
    let memory = |run: &RunFile| run.host.as_ref()?.memory_gib.map(|gib| format!("{gib} GiB"));
    [
        known("simulated", Some(old.simulated.to_string()), Some(new.simulated.to_string())),
        known(
            "predicted",
            Some(old.predicted.is_some().to_string()),
            Some(new.predicted.is_some().to_string()),
        ),
        known("gpu", Some(gpus(old)), Some(gpus(new))),
        known("engine", engine(old), engine(new)),
        known("engine version", version(old), version(new)),
        known(
            "platform",
            old.host.as_ref().map(|host| host.platform.clone()),
            new.host.as_ref().map(|host| host.platform.clone()),
        ),
        known("processor", processor(old), processor(new)),
        known(
            "processor cores",
            old.host.as_ref().map(|host| host.cores.to_string()),
            new.host.as_ref().map(|host| host.cores.to_string()),
        ),
        known("memory", memory(old), memory(new)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn gpus(run: &RunFile) -> String {
    if run.gpus.is_empty() {
        return "none".into();
    }
    let names: Vec<String> = run
        .gpus
        .iter()
        .map(|gpu| match gpu.memory_mib {
            Some(mib) => format!("{} ({mib} MiB)", gpu.name),
            None => gpu.name.clone(),
        })
        .collect();
    names.join(" + ")
}
