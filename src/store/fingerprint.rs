//! Whether two starts of a run may be mixed, or two runs be compared.

use super::form::{Gpu, RunFile};

/// What differs between the fingerprints of two runs, each as `key: before → after`; empty when nothing does. The
/// fingerprint is the GPUs, the engine and its version, the class of the host, and the format that the tool writes.
/// What one of the two does not know is no difference.
pub fn fingerprint_difference(old: &RunFile, new: &RunFile) -> Vec<String> {
    let version = |run: &RunFile| run.engine.as_ref()?.version.clone();
    let engine = |run: &RunFile| run.engine.as_ref().map(|engine| engine.name.clone());
    let some = |text: String| Some(text);
    [
        (
            "format",
            some(old.format.to_string()),
            some(new.format.to_string()),
        ),
        (
            "simulated",
            some(old.simulated.to_string()),
            some(new.simulated.to_string()),
        ),
        ("gpu", some(gpus(&old.gpus)), some(gpus(&new.gpus))),
        ("engine", engine(old), engine(new)),
        ("engine version", version(old), version(new)),
        (
            "platform",
            some(old.host.platform.clone()),
            some(new.host.platform.clone()),
        ),
        ("cpu", old.host.cpu.clone(), new.host.cpu.clone()),
        (
            "cores",
            some(old.host.cores.to_string()),
            some(new.host.cores.to_string()),
        ),
        ("memory", memory(old), memory(new)),
    ]
    .into_iter()
    .filter_map(|(key, before, after)| {
        let (before, after) = before.zip(after)?;
        (before != after).then(|| format!("{key}: {before} → {after}"))
    })
    .collect()
}

fn memory(run: &RunFile) -> Option<String> {
    Some(format!("{} GiB", run.host.memory_gib?))
}

/// `NVIDIA L4`, `2 × NVIDIA L4`, `NVIDIA L4 + NVIDIA A10`, `none`.
fn gpus(gpus: &[Gpu]) -> String {
    let mut counted: Vec<(&str, usize)> = Vec::new();
    for gpu in gpus {
        match counted.iter_mut().find(|(name, _)| *name == gpu.name) {
            Some((_, count)) => *count += 1,
            None => counted.push((&gpu.name, 1)),
        }
    }
    let words: Vec<String> = counted
        .into_iter()
        .map(|(name, count)| match count {
            1 => name.to_owned(),
            _ => format!("{count} × {name}"),
        })
        .collect();
    if words.is_empty() {
        "none".into()
    } else {
        words.join(" + ")
    }
}
