//! The words of the pictures: names of metrics, what a point is, where the numbers come from.

use super::scope::Scope;
use crate::{
    manifest::{SloTerm, scalar_text},
    measure::{Severity, VerdictKind},
    report::{
        headline::gpu,
        insight::{coordinate, may_rank, may_rank_by, of, touches},
        number,
        origin::Origin,
    },
    store::{CellFile, StoredRun},
};

/// What the numbers are of: machine, model, engine.
pub(super) fn source(run: &StoredRun) -> String {
    let mut parts = vec![gpu(run)];
    let mut models: Vec<&str> = run
        .plan
        .groups
        .iter()
        .map(|group| group.server.model.as_str())
        .collect();
    models.sort_unstable();
    models.dedup();
    match models.as_slice() {
        // What was imported may not tell its model.
        [] | [""] => {}
        // Of a local path its last part is the name.
        [one] if one.starts_with(['/', '.', '~']) => {
            parts.push(one.rsplit('/').next().unwrap_or(one).to_owned());
        }
        [one] => parts.push((*one).to_owned()),
        several => parts.push(format!("{} models", several.len())),
    }
    if let Some(engine) = &run.run.engine {
        parts.push(match &engine.version {
            Some(version) => format!("{} {version}", engine.name),
            None => engine.name.clone(),
        });
    }
    parts.join(" · ")
}

/// A metric by its column name without unit, as a person says it: `p95 TTFT`.
pub(super) fn name(key: &str) -> String {
    match key {
        "throughput" => "throughput".into(),
        _ => match key.split_once('_') {
            Some((rank, metric)) => format!("{rank} {}", metric.to_uppercase()),
            None => key.into(),
        },
    }
}

/// The latencies a workload is judged by, those that some cell has: its SLO's terms, else p95 TTFT, else p95 E2E.
pub(super) fn latencies(scope: &Scope<'_>) -> Vec<(String, Option<SloTerm>)> {
    let has = |key: &str| scope.measured().any(|cell| of(cell, key).is_some());
    let terms: Vec<(String, Option<SloTerm>)> = scope
        .slo
        .0
        .iter()
        .map(|term| (term.key(), Some(*term)))
        .filter(|(key, _)| has(key))
        .collect();
    if !terms.is_empty() {
        return terms;
    }
    ["p95_ttft", "p95_e2e"]
        .into_iter()
        .find(|key| has(key))
        .map(|key| (key.to_owned(), None))
        .into_iter()
        .collect()
}

/// Where a cell stands among the cells of its workload.
pub(super) fn place(scope: &Scope<'_>, cell: &CellFile) -> String {
    let mut names = scope.varying.clone();
    if names.is_empty() {
        names = vec!["concurrency", "rate", "max_tokens"];
    }
    let parts: Vec<String> = names
        .iter()
        .filter_map(|axis| Some(format!("{axis} {}", scalar_text(coordinate(cell, axis)?))))
        .collect();
    if parts.is_empty() {
        cell.id.clone()
    } else {
        parts.join(", ")
    }
}

/// What a pointer over a cell is told, in lines.
pub(super) fn cell(scope: &Scope<'_>, cell: &CellFile) -> String {
    let mut lines = vec![place(scope, cell)];
    if !cell.outcome.is_measured() {
        lines.push(cell.outcome.name().replace('_', " "));
        return lines.join("\n");
    }
    let mut numbers = Vec::new();
    if of(cell, "throughput").is_some() {
        numbers.push(number::tok_s(of(cell, "throughput")));
    }
    for key in ["p50_ttft", "p95_ttft", "p95_itl", "p95_e2e"] {
        if let Some(value) = of(cell, key) {
            numbers.push(format!("{} {}", name(key), number::ms(Some(value))));
        }
    }
    lines.push(numbers.join(" · "));
    if scope.mixed {
        lines.push(Origin::of(cell).word().to_uppercase());
    }
    if let Some(n) = samples(cell) {
        lines.push(format!("{n} requests"));
    }
    let against: Vec<&str> = cell
        .verdicts
        .iter()
        .filter(|verdict| verdict.severity > Severity::Note)
        .map(|verdict| verdict.kind.name())
        .collect();
    if !against.is_empty() {
        let mut kinds = against;
        kinds.dedup();
        lines.push(format!("verdicts: {}", kinds.join(", ")));
    }
    lines.join("\n")
}

/// Requests that a cell's latencies rest on.
fn samples(cell: &CellFile) -> Option<u64> {
    let summary = cell.summary.as_ref()?;
    let latency = summary.ttft.as_ref().or(summary.e2e.as_ref())?;
    Some(latency.n)
}

/// A sentence on the numbers of a picture that may not be ranked; empty when all may.
pub(super) fn unranked<'a>(cells: impl Iterator<Item = &'a CellFile>, key: &str) -> String {
    let mut all = 0;
    let mut kinds: Vec<VerdictKind> = Vec::new();
    let mut hollow = 0;
    let mut few: Option<(u64, u64)> = None;
    for cell in cells.filter(|cell| of(cell, key).is_some()) {
        all += 1;
        if may_rank_by(cell, key) {
            continue;
        }
        hollow += 1;
        for verdict in &cell.verdicts {
            let counts = match verdict.severity {
                Severity::Cell => !may_rank(cell),
                Severity::Metric => {
                    verdict.touches.is_empty()
                        || verdict.touches.iter().any(|touched| touches(touched, key))
                }
                Severity::Note => false,
            };
            if !counts || verdict.kind == VerdictKind::Simulated || kinds.contains(&verdict.kind) {
                continue;
            }
            kinds.push(verdict.kind);
        }
        if let (true, Some(n)) = (kinds.contains(&VerdictKind::FewSamples), samples(cell)) {
            few = Some(few.map_or((n, n), |(low, high)| (low.min(n), high.max(n))));
        }
    }
    if hollow == 0 {
        return String::new();
    }
    let names: Vec<&str> = kinds.into_iter().map(VerdictKind::name).collect();
    let on = match few {
        Some((low, high)) if low == high => format!("; {low} requests per cell"),
        Some((low, high)) => format!("; {low} to {high} requests per cell"),
        None => String::new(),
    };
    format!(
        "{}: not ranked in {hollow} of {all} cells ({}){on}.",
        name(key),
        names.join(", ")
    )
}
