//! Compares the machine and engine of a resumed run with those of its first start.

use super::schema::RunFile;

/// Reads a value of a run; `None` where it is unknown.
type Value = fn(&RunFile) -> Option<String>;

/// Returns the differences between the machines and engines of two starts of a run, one per line (`gpu: A →
/// B`); empty when their numbers are comparable. A value that only one of them knows is no difference, except
/// for a GPU.
pub fn fingerprint_difference(old: &RunFile, new: &RunFile) -> Vec<String> {
    let values: [(&str, Value); 9] = [
        ("simulated", |run| Some(run.simulated.to_string())),
        ("predicted", |run| Some(run.predicted.is_some().to_string())),
        ("gpu", |run| Some(gpus(run))),
        ("engine", |run| Some(run.engine.as_ref()?.name.clone())),
        ("engine version", |run| run.engine.as_ref()?.version.clone()),
        ("platform", |run| Some(run.host.as_ref()?.platform.clone())),
        ("processor", |run| run.host.as_ref()?.cpu.clone()),
        ("processor cores", |run| Some(run.host.as_ref()?.cores.to_string())),
        ("memory", |run| Some(format!("{} GiB", run.host.as_ref()?.memory_gib?))),
    ];
    let difference = |(name, value): (&str, Value)| {
        let (old, new) = (value(old)?, value(new)?);
        (old != new).then(|| format!("{name}: {old} → {new}"))
    };
    values.into_iter().filter_map(difference).collect()
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
