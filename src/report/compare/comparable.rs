//! What should be the same in two runs before their numbers are laid side by side.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{
    manifest::{Flags, Server, scalar_text},
    plan::{Cell, Group},
    store::StoredRun,
};

/// Keys of a workload that say how a number is judged, how long it is waited for or how often it is asked, not what is
/// asked. How many samples there are is what the intervals tell.
pub(crate) const JUDGED: [&str; 8] =
    ["slo", "objective", "timeout", "requests", "requests_per_stream", "duration", "passes", "warmup"];

/// Something that differs and should not, by its key: `flags.max-num-seqs`, `workload.chat.api`, `engine_version`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The key, as `--despite` takes it.
    pub key: String,
    /// Its value in the run; `unset` where it has none.
    pub run: String,
    /// Its value in the anchor.
    pub anchor: String,
}

impl Difference {
    /// Whether one of the words allows it: the key itself, or what it begins with before a dot.
    pub fn is_allowed(&self, despite: &[String]) -> bool {
        despite.iter().any(|word| {
            self.key.strip_prefix(word.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }
}

/// A cell with its server; what was imported was never planned.
pub(crate) type Placed<'a> = (&'a Group, Option<&'a Cell>);

/// What differs between two runs as wholes: the engine, its version, the client, and whether one was only simulated or
/// predicted. The machine is what most comparisons are about, so it never counts.
pub(crate) fn of_runs(run: &StoredRun, anchor: &StoredRun) -> BTreeSet<Difference> {
    let engine = |run: &StoredRun| run.run.engine.as_ref().map(|engine| engine.name.clone());
    let version = |run: &StoredRun| run.run.engine.as_ref()?.version.clone();
    let client = |run: &StoredRun| match &run.run.imported {
        Some(imported) => Some(imported.client.clone()),
        None => Some(format!("{} {}", run.run.tool.name, run.run.tool.version)),
    };
    let simulated = |run: &StoredRun| {
        let any = run.run.simulated || run.cells.iter().any(|cell| cell.simulated);
        Some(any.to_string())
    };
    let predicted = |run: &StoredRun| Some(run.run.predicted.is_some().to_string());
    [
        ("engine", engine(run), engine(anchor)),
        ("engine_version", version(run), version(anchor)),
        ("client", client(run), client(anchor)),
        ("simulated", simulated(run), simulated(anchor)),
        ("predicted", predicted(run), predicted(anchor)),
    ]
    .into_iter()
    .filter_map(|(key, run, anchor)| difference(key.to_owned(), run, anchor))
    .collect()
}

/// What differs between two cells beside the axes that join them: their servers' models, flags and environments, and what
/// their workloads ask.
pub(crate) fn of_cells(
    run: Placed<'_>,
    anchor: Placed<'_>,
    joined: &BTreeSet<String>,
) -> BTreeSet<Difference> {
    let (mine, its) = (&run.0.server, &anchor.0.server);
    let mut found = BTreeSet::new();
    // The model of an import may be unknown.
    let model = |server: &Server| Some(server.model.clone()).filter(|model| !model.is_empty());
    found.extend(difference("model".into(), model(mine), model(its)));
    let (Some(mine_planned), Some(its_planned)) = (run.1, anchor.1) else {
        // Of a server that somebody else started nothing more is known.
        return found;
    };
    let flags = |flags: &Flags| -> BTreeMap<String, String> {
        let texts = flags.passed().map(|(name, flag)| (name.to_owned(), scalar_text(&flag.to_value())));
        texts.collect()
    };
    found.extend(between("flags", &flags(&mine.flags), &flags(&its.flags)));
    let env = |env: &Value| -> BTreeMap<String, String> { texts(env) };
    found.extend(between("env", &env(&json!(mine.env)), &env(&json!(its.env))));
    let spec = |cell: &Cell| -> BTreeMap<String, String> {
        let mut spec = texts(&json!(*cell.spec));
        spec.retain(|key, _| !JUDGED.contains(&key.as_str()) && !joined.contains(key));
        spec
    };
    let prefix = format!("workload.{}", mine_planned.workload);
    found.extend(between(&prefix, &spec(mine_planned), &spec(its_planned)));
    found
}

/// The keys of an object with their values as text.
fn texts(object: &Value) -> BTreeMap<String, String> {
    let keys = object.as_object().into_iter().flatten();
    keys.map(|(key, value)| (key.clone(), scalar_text(value))).collect()
}

fn between(
    prefix: &str,
    run: &BTreeMap<String, String>,
    anchor: &BTreeMap<String, String>,
) -> Vec<Difference> {
    let keys: BTreeSet<&String> = run.keys().chain(anchor.keys()).collect();
    let unset = || "unset".to_owned();
    keys.into_iter()
        .filter_map(|key| {
            difference(
                format!("{prefix}.{key}"),
                Some(run.get(key).cloned().unwrap_or_else(unset)),
                Some(anchor.get(key).cloned().unwrap_or_else(unset)),
            )
        })
        .collect()
}

/// What only one of the two knows is no difference.
fn difference(key: String, run: Option<String>, anchor: Option<String>) -> Option<Difference> {
    let (run, anchor) = run.zip(anchor)?;
    (run != anchor).then_some(Difference { key, run, anchor })
}
