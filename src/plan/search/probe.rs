//! [`probe`]: adds what one value of a search measures to a plan.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    Declared, Goal, Ids, Search, TuneAxis,
    expand::{Combination, load_cell, tried},
    varying::varying,
};
use crate::{
    diagnostic::{Finding, Findings},
    manifest::{Manifest, Path},
    plan::{Cell, Group, Plan, columns::Columns, expansion::Expansion, identity},
};

/// Adds the cells of one probe to a plan and returns the indices of their group and of the cells in it. Cells
/// and groups that the plan already has are not added again. The group is added where the probe has a server
/// of its own. `values` has one value for each axis of the search. `attempt` counts from 1: a probe that is
/// measured again is another cell, with another seed.
///
/// A candidate for the server with the most users has one cell that only starts it, and searches for the most
/// load of its own, which are added to the plan: `tune/3/chat` is the one of the third candidate.
///
/// A cell that a skip condition excludes has [`Cell::skip`]; of the cells of a server, only if none is left.
///
/// # Errors
/// When the values make no valid server or workload, or when the manifest has no such search.
pub fn probe(
    manifest: &Manifest,
    plan: &mut Plan,
    search: &str,
    values: &[Value],
    attempt: u32,
) -> Result<(usize, Vec<usize>), Findings> {
    let question = plan.searches.iter().find(|known| known.id == search).cloned();
    let question = question.ok_or_else(|| not_there(manifest, search))?;
    let declared = Declared::read(manifest, &mut Findings::default());
    let columns = Columns::new(manifest, declared.paths());
    let mut findings = Findings::default();
    let values: Vec<Value> = values.iter().map(|value| question.goal.value(value)).collect();
    let mut expansion = Expansion::new(manifest, &columns, &mut findings);
    let added = match &question.goal {
        Goal::Load { .. } => {
            let pins = candidate(plan, &question);
            let load = values.first().and_then(Value::as_f64).unwrap_or_default();
            let cell = load_cell(&mut expansion, &declared, &question, &pins, load).flatten();
            cell.zip(question.server.clone()).map(|(cell, server)| (server, vec![cell], Vec::new()))
        }
        Goal::Value { .. } | Goal::Best { .. } => {
            let pins = pins(&question.goal, &values);
            let paths: Vec<&Path> = pins.iter().map(|(path, _)| path).collect();
            let varying = varying(manifest, &columns, &paths, None);
            let combination =
                Combination { goal: &question.goal, pins: &pins, varying: &varying, fixed: &question.axes };
            let prefix = format!("{search}/{}/", candidates(plan, search) + 1);
            let mut ids = Ids::new(&declared);
            let tried = tried(&mut expansion, &declared, &combination, (&prefix, &mut ids)).flatten();
            tried.map(|tried| (tried.server, tried.cells, tried.searches))
        }
    };
    let group = added.as_ref().and_then(|(server, ..)| expansion.groups.swap_remove(server));
    match added.zip(group) {
        Some(((_, cells, searches), group)) if !findings.has_errors() => {
            Ok(add(plan, group, cells, searches, (search, attempt)))
        }
        _ if findings.has_errors() => Err(findings),
        _ => Err(not_there(manifest, search)),
    }
}

/// A plan with the first value of every search, which shows what the searches start and send.
pub fn with_first_probes(manifest: &Manifest, plan: &Plan) -> Plan {
    let mut sample = plan.clone();
    for search in &plan.searches {
        let values: Vec<Value> = match &search.goal {
            Goal::Load { from, .. } | Goal::Value { from, .. } => vec![Value::from(*from)],
            Goal::Best { axes, .. } => axes.iter().filter_map(|axis| axis.values.first().cloned()).collect(),
        };
        // The plan was made by checking these values.
        let _ = probe(manifest, &mut sample, &search.id, &values, 1);
    }
    sample
}

fn not_there(manifest: &Manifest, search: &str) -> Findings {
    let finding = Finding::error(format!("the manifest has no search `{search}`"));
    Findings::from(
        finding
            .at(&manifest.place(&[]), "has changed since the run began")
            .help("restore the manifest, or start a new run"),
    )
}

/// The values of the searched axes, by path.
fn pins(goal: &Goal, values: &[Value]) -> Vec<(Path, Value)> {
    let axes: Vec<&str> = match goal {
        Goal::Load { .. } => Vec::new(),
        Goal::Value { axis, .. } => vec![axis],
        Goal::Best { axes, .. } => axes.iter().map(|axis| axis.axis.as_str()).collect(),
    };
    let paths = axes.into_iter().filter_map(|axis| Path::parse(axis).ok());
    paths.zip(values.iter().cloned()).collect()
}

/// What makes the server of a search on a candidate for the best server.
fn candidate(plan: &Plan, search: &Search) -> Vec<(Path, Value)> {
    let parent = plan.searches.iter().find(|known| search.is_of_candidate() && known.id == search.root());
    let Some(Goal::Best { axes, .. }) = parent.map(|parent| &parent.goal) else { return Vec::new() };
    let value = |axis: &TuneAxis| {
        let path = Path::parse(&axis.axis).ok()?;
        Some((path, search.axes.get(&axis.column)?.clone()))
    };
    axes.iter().filter_map(value).collect()
}

/// The number of candidates for the best server that have searches of their own.
fn candidates(plan: &Plan, search: &str) -> usize {
    let own = plan.searches.iter().filter(|known| known.is_of_candidate() && known.root() == search);
    let servers: BTreeSet<_> = own.map(|known| &known.server).collect();
    servers.len()
}

fn add(
    plan: &mut Plan,
    group: Group,
    cells: Vec<Cell>,
    searches: Vec<Search>,
    (search, attempt): (&str, u32),
) -> (usize, Vec<usize>) {
    let at = match plan.groups.iter().position(|known| known.id == group.id) {
        Some(at) => {
            // Another search may vary other axes and come to the same server.
            for (column, value) in group.axes {
                plan.groups[at].axes.entry(column).or_insert(value);
            }
            at
        }
        None => {
            plan.groups.push(group);
            plan.groups.len() - 1
        }
    };
    let server = &plan.groups[at].id;
    let is_new = |more: &Search| {
        let mut same = plan.searches.iter().filter(|known| known.server.as_ref() == Some(server));
        !same.any(|known| known.root() == more.root() && known.name == more.name && known.axes == more.axes)
    };
    let new: Vec<Search> = searches.into_iter().filter(is_new).collect();
    plan.searches.extend(new);
    // With several searches over servers, two may try the same server: each measures it for itself.
    let names: BTreeSet<&String> =
        plan.searches.iter().filter(|known| known.server.is_none()).map(|known| &known.name).collect();
    let is_shared = names.len() > 1;
    let own = &mut plan.groups[at].cells;
    let mut indices = Vec::new();
    for mut cell in cells {
        cell.search = Some(search.to_owned());
        cell.attempt = Some(attempt);
        if is_shared {
            identity::renew(&mut cell, &json!({ "search": search }));
        }
        if attempt > 1 {
            identity::renew(&mut cell, &json!({ "attempt": attempt }));
        }
        let place = own.iter().position(|known| known.id == cell.id);
        indices.push(place.unwrap_or_else(|| {
            own.push(cell);
            own.len() - 1
        }));
    }
    (at, indices)
}
