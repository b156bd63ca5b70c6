//! Compares the machine and engine of a resumed run with those of its first start.

use super::schema::RunFile;

/// Returns the differences between the machines and engines of two starts of a run, one per line (`gpu: A → B`); empty when
/// their numbers are comparable. A value that only one of them knows is no difference, except for a GPU.
pub fn fingerprint_difference(old: &RunFile, new: &RunFile) -> Vec<String> {
    let differs = |what: &str, old: Option<String>, new: Option<String>| match (old, new) {
        (Some(old), Some(new)) if old != new => Some(format!("{what}: {old} → {new}")),
        _ => None,
    };
    let engine = |run: &RunFile| run.engine.as_ref().map(|engine| engine.name.clone());
    let version = |run: &RunFile| run.engine.as_ref().and_then(|engine| engine.version.clone());
    let processor = |run: &RunFile| run.host.as_ref()?.cpu.clone();
    let memory = |run: &RunFile| run.host.as_ref()?.memory_gib.map(|gib| format!("{gib} GiB"));
    [
        differs("simulated", Some(old.simulated.to_string()), Some(new.simulated.to_string())),
        differs(
            "predicted",
            Some(old.predicted.is_some().to_string()),
            Some(new.predicted.is_some().to_string()),
        ),
        differs("gpu", Some(gpus(old)), Some(gpus(new))),
        differs("engine", engine(old), engine(new)),
        differs("engine version", version(old), version(new)),
        differs(
            "platform",
            old.host.as_ref().map(|host| host.platform.clone()),
            new.host.as_ref().map(|host| host.platform.clone()),
        ),
        differs("processor", processor(old), processor(new)),
        differs(
            "processor cores",
            old.host.as_ref().map(|host| host.cores.to_string()),
            new.host.as_ref().map(|host| host.cores.to_string()),
        ),
        differs("memory", memory(old), memory(new)),
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
