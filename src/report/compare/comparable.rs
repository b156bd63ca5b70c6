//! What must be equal in two runs before their numbers are compared.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    manifest::{Flags, Server, scalar_text},
    plan::{Cell, Group},
    report::model::{Cell as ModelCell, Model},
    store::StoredRun,
};

/// Keys of a workload that do not change its requests: how numbers are judged, how long to wait, and how many
/// requests to send. The intervals account for the number of samples.
pub(crate) const JUDGED: [&str; 8] =
    ["slo", "objective", "timeout", "requests", "requests_per_stream", "duration", "passes", "warmup"];

/// A difference that should not be, by its key: `flags.max-num-seqs`, `workload.chat.api`, `engine_version`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// The key, as `--despite` takes it.
    pub key: String,
    /// Its value in the run, or `unset`.
    pub run: String,
    /// Its value in the anchor.
    pub anchor: String,
}

impl Difference {
    /// Whether one of the words allows it: its key, or the part of the key before a dot.
    pub fn is_allowed(&self, despite: &[String]) -> bool {
        despite.iter().any(|word| {
            self.key.strip_prefix(word.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }
}

/// A server and a planned cell; imported cells were never planned.
pub(crate) type Placed<'a> = (&'a Group, Option<&'a Cell>);

/// The server and the planned cell of a cell; an imported one was not planned.
pub(super) fn placed<'a>(model: &Model<'a>, cell: &ModelCell<'a>) -> Option<Placed<'a>> {
    let server = model.servers.get(cell.server?)?;
    (cell.plan.is_some() || model.run.run.imported.is_some()).then_some((server.group, cell.plan))
}

/// The differences between two runs as a whole: engine, version, client, and whether one is simulated or
/// predicted. The machine never counts, because most comparisons are about it.
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

/// The differences between two cells except for the axes that join them: model, flags and environment of
/// their servers, and their workloads.
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
        // Nothing more is known about the server of an import.
        return found;
    };
    let flags = |flags: &Flags| -> BTreeMap<String, String> {
        let texts = flags.passed().map(|(name, flag)| (name.to_owned(), scalar_text(&flag.to_value())));
        texts.collect()
    };
    found.extend(between("flags", &flags(&mine.flags), &flags(&its.flags)));
    found.extend(between("env", &texts(&json!(mine.env)), &texts(&json!(its.env))));
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

/// A value that only one run knows is no difference.
fn difference(key: String, run: Option<String>, anchor: Option<String>) -> Option<Difference> {
    let (run, anchor) = run.zip(anchor)?;
    (run != anchor).then_some(Difference { key, run, anchor })
}
