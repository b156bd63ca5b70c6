//! Cells whose slowest requests, or slowest tokens, are far from the usual ones.

use super::{Block, Insight, coordinate, count, ladder, lines, of, place};
use crate::{
    manifest::scalar_text,
    measure::VerdictKind,
    report::number::{ms, times},
    store::CellFile,
};

/// A tail is long when p95 is this many times p50: the whole answer, and its first token.
const TAIL_E2E: f64 = 1.3;
const TAIL_TTFT: f64 = 2.0;
/// Tokens stall where the p95 of ITL, or its p99, is this many times its p50.
const STALL_P95: f64 = 3.0;
const STALL_P99: f64 = 5.0;
/// So many long tails are told one by one.
const TOLD: usize = 3;

/// The definitions for the reader.
pub(super) fn thresholds() -> String {
    format!(
        "a p95 E2E above {} its p50, a p95 TTFT above {} its p50, a p95 ITL above {} or a p99 ITL above {} its p50",
        times(TAIL_E2E),
        times(TAIL_TTFT),
        times(STALL_P95),
        times(STALL_P99)
    )
}

/// p95 over p50 of one latency of a cell.
pub(super) fn tail(cell: &CellFile, metric: &str) -> Option<f64> {
    let (p50, p95) = (
        of(cell, &format!("p50_{metric}"))?,
        of(cell, &format!("p95_{metric}"))?,
    );
    (p50 > 0.0).then_some(p95 / p50)
}

/// Long tails, stalls, and cells that were not steady.
pub(super) fn tails(block: &Block<'_>, found: &mut Vec<Insight>) {
    let measured = || {
        block
            .cells
            .iter()
            .copied()
            .filter(|cell| cell.outcome.is_measured())
    };
    let mut long: Vec<Insight> = Vec::new();
    for cell in measured() {
        // Where nothing was streamed TTFT is E2E: one sentence is enough.
        let own = [("e2e", TAIL_E2E), ("ttft", TAIL_TTFT)]
            .into_iter()
            .find_map(|(metric, limit)| {
                Some((metric, tail(cell, metric).filter(|own| *own > limit)?))
            });
        let told = found
            .iter()
            .any(|zone| zone.kind.ends_with("ridge") && zone.cells.contains(&cell.id));
        if let Some((metric, ratio)) = own.filter(|_| !told) {
            let name = metric.to_uppercase();
            let of = |rank: &str| of(cell, &format!("{rank}_{metric}"));
            long.push(Insight::new(
                "long_tail",
                &[cell],
                &[("ratio", ratio)],
                format!(
                    "Long tail at {}: p95 {name} {} is {} the p50 of {}.{}",
                    place(block, cell),
                    ms(of("p95")),
                    times(ratio),
                    ms(of("p50")),
                    cold(block, cell, metric)
                ),
            ));
        }
    }
    found.extend(shortened(block, long));
    found.extend(stalls(block, &measured().collect::<Vec<_>>()));
    for cell in measured() {
        for verdict in &cell.verdicts {
            if verdict.kind == VerdictKind::NotSteady {
                found.push(Insight::new(
                    "not_steady",
                    &[cell],
                    &[],
                    format!(
                        "Not steady at {}: {}.",
                        place(block, cell),
                        verdict.reason.trim_end_matches('.')
                    ),
                ));
            }
        }
    }
}

/// Many long tails in one sentence, with the longest in full.
fn shortened(block: &Block<'_>, long: Vec<Insight>) -> Vec<Insight> {
    if long.len() <= TOLD {
        return long;
    }
    let ratio = |zone: &Insight| {
        zone.numbers
            .get("ratio")
            .and_then(serde_json::Value::as_f64)
    };
    let ordered = |a: &&Insight, b: &&Insight| {
        ratio(a)
            .partial_cmp(&ratio(b))
            .unwrap_or(std::cmp::Ordering::Equal)
    };
    let (Some(least), Some(most)) = (long.iter().min_by(ordered), long.iter().max_by(ordered))
    else {
        return long;
    };
    let (Some(low), Some(high)) = (ratio(least), ratio(most)) else {
        return long;
    };
    let mut whole = most.clone();
    whole.cells = long.iter().flat_map(|zone| zone.cells.clone()).collect();
    whole.text = format!(
        "Tails are long in {} of {}: p95 is {} to {} its p50. {}",
        long.len(),
        count(block.cells.len(), "cell"),
        times(low),
        times(high),
        most.text
    );
    vec![whole]
}

/// Where the stream of tokens stops now and then, in one sentence.
fn stalls(block: &Block<'_>, measured: &[&CellFile]) -> Option<Insight> {
    let own = |cell: &CellFile| {
        let p50 = of(cell, "p50_itl").filter(|p50| *p50 > 0.0)?;
        [("p95", STALL_P95), ("p99", STALL_P99)]
            .into_iter()
            .find_map(|(rank, limit)| {
                let tail = of(cell, &format!("{rank}_itl"))?;
                (tail > limit * p50).then_some((rank, tail, p50))
            })
    };
    let stalled: Vec<(&CellFile, (&str, f64, f64))> = measured
        .iter()
        .filter_map(|cell| Some((*cell, own(cell)?)))
        .collect();
    let over = |one: &(&CellFile, (&str, f64, f64))| one.1.1 / one.1.2;
    let most = stalled.iter().max_by(|a, b| over(a).total_cmp(&over(b)))?;
    let (cell, (rank, tail, p50)) = most;
    let cells: Vec<&CellFile> = stalled.iter().map(|(cell, _)| *cell).collect();
    Some(Insight::new(
        "stalls",
        &cells,
        &[("tail_ms", *tail), ("p50_ms", *p50), ("ratio", over(most))],
        format!(
            "Tokens stall in {} of {}: {rank} ITL is {} at {}, {} the p50 of {}. As a rule such a step carries the prompt of \
             another request.",
            stalled.len(),
            count(measured.len(), "cell"),
            ms(Some(*tail)),
            place(block, cell),
            times(over(most)),
            ms(Some(*p50))
        ),
    ))
}

/// A tail at the least load that the next one does not have is not the load's.
fn cold(block: &Block<'_>, cell: &CellFile, metric: &str) -> String {
    let axis = ladder(block);
    let key = format!("p95_{metric}");
    let line = lines(block, axis)
        .into_iter()
        .find(|line| line.cells.first().is_some_and(|first| first.id == cell.id));
    let next = line.and_then(|line| {
        let next = *line.cells.get(1)?;
        Some((next, of(next, &key)?))
    });
    match (next, of(cell, &key)) {
        (Some((next, other)), Some(own)) if other < own => format!(
            " With more load, at {axis} {}, it is {}: as a rule that is a cold start, no trait of this load.",
            coordinate(next, axis).map(scalar_text).unwrap_or_default(),
            ms(Some(other))
        ),
        _ => String::new(),
    }
}
