//! What the numbers say: typed findings, each with its evidence and a sentence. Pure.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

use crate::{
    manifest::{Objective, Slo, SloTerm, scalar_text},
    measure::{Severity, Summary, VerdictKind},
    store::{CellFile, StoredRun},
};

/// One thing worth knowing, with what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Insight {
    /// What it is about, for templates that pick: `decode_speed`, `ridge` …
    pub(super) kind: &'static str,
    /// Ids of the cells it rests on.
    pub(super) cells: Vec<String>,
    /// The numbers it rests on, by name with unit.
    pub(super) numbers: serde_json::Map<String, Value>,
    /// The sentence.
    pub(super) text: String,
}

impl Insight {
    pub(super) fn new(
        kind: &'static str,
        cells: &[&CellFile],
        numbers: &[(&str, f64)],
        text: String,
    ) -> Self {
        Self {
            kind,
            cells: cells.iter().map(|cell| cell.id.clone()).collect(),
            numbers: numbers
                .iter()
                .map(|(name, number)| ((*name).to_owned(), Value::from(*number)))
                .collect(),
            text,
        }
    }
}

/// The cells of one workload on one server: what a grid shows and what is ranked together.
pub(super) struct Block<'a> {
    pub(super) workload: &'a str,
    pub(super) server: &'a str,
    /// Its server axes, `max-model-len 4096`; empty when there is one server only.
    pub(super) server_label: String,
    /// Load axes of this workload, in the order of the manifest.
    pub(super) axes: Vec<&'a str>,
    /// In the order of the plan.
    pub(super) cells: Vec<&'a CellFile>,
    pub(super) objective: Objective,
    pub(super) slo: &'a Slo,
}

/// All blocks, workloads in the order of the plan, then servers in the order of the plan.
pub(super) fn blocks(run: &StoredRun) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut known: HashMap<(&str, &str), usize> = HashMap::new();
    for cell in &run.cells {
        let key = (cell.workload.as_str(), cell.server.as_str());
        let at = *known.entry(key).or_insert(blocks.len());
        match blocks.get_mut(at) {
            Some(block) => block.cells.push(cell),
            None => blocks.push(Block {
                workload: &cell.workload,
                server: &cell.server,
                server_label: server_label(run, &cell.server),
                axes: Vec::new(),
                cells: vec![cell],
                objective: cell.objective,
                slo: &cell.slo,
            }),
        }
    }
    for block in &mut blocks {
        block.axes = run
            .plan
            .load_axes
            .iter()
            .map(String::as_str)
            .filter(|axis| {
                block
                    .cells
                    .iter()
                    .any(|cell| coordinate(cell, axis).is_some())
            })
            .collect();
    }
    let mut order: HashMap<&str, usize> = HashMap::new();
    for block in &blocks {
        let next = order.len();
        order.entry(block.workload).or_insert(next);
    }
    blocks.sort_by_key(|block| order.get(block.workload).copied());
    blocks
}

/// The values of a server's axes; empty when the run has one server, its id when it has no axes.
pub(super) fn server_label(run: &StoredRun, id: &str) -> String {
    if run.plan.groups.len() < 2 {
        return String::new();
    }
    let axes = run
        .plan
        .groups
        .iter()
        .find(|group| group.id == id)
        .map(|group| &group.axes);
    let parts: Vec<String> = run
        .plan
        .server_axes
        .iter()
        .filter_map(|axis| Some(format!("{axis} {}", scalar_text(axes?.get(axis)?))))
        .collect();
    if parts.is_empty() {
        id.to_owned()
    } else {
        parts.join(", ")
    }
}

/// The value of an axis in a cell.
pub(super) fn coordinate<'a>(cell: &'a CellFile, axis: &str) -> Option<&'a Value> {
    cell.axes
        .get(axis)
        .or_else(|| cell.load.get(axis))
        .filter(|value| !value.is_null())
}

/// Requests kept in flight.
pub(super) fn concurrency(cell: &CellFile) -> Option<f64> {
    coordinate(cell, "concurrency").and_then(Value::as_f64)
}

/// Requests due per second, in an open loop.
pub(super) fn rate(cell: &CellFile) -> Option<f64> {
    coordinate(cell, "rate").and_then(Value::as_f64)
}

/// How much was asked for: the streams of a closed loop, the rate of an open one.
pub(super) fn offered(cell: &CellFile) -> Option<f64> {
    concurrency(cell).or_else(|| rate(cell))
}

/// The axis along which more is asked for: `rate` where every cell of the block has one, else `concurrency`.
pub(super) fn ladder(block: &Block<'_>) -> &'static str {
    if block.cells.iter().all(|cell| rate(cell).is_some()) {
        "rate"
    } else {
        "concurrency"
    }
}

/// Where a cell stands: `concurrency 16, max_tokens 64`.
pub(super) fn place(block: &Block<'_>, cell: &CellFile) -> String {
    let mut names = block.axes.clone();
    if names.is_empty() {
        names = vec!["concurrency", "rate", "arrivals", "max_tokens"];
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

/// A number of a summary by its column name without unit: `p95_ttft`, or `throughput`, `user`, `goodput`.
/// Latencies in milliseconds. What is not finite is absent.
pub(super) fn metric(summary: &Summary, key: &str) -> Option<f64> {
    let value = match key {
        "throughput" => summary.throughput_tok_s,
        "total" => summary.total_tok_s,
        "user" => summary.user_tok_s,
        "goodput" => summary.goodput_req_s,
        "req_s" => summary.req_s,
        _ => {
            let (percentile, metric) = SloTerm::parse_key(key).ok()?;
            let latency = match metric.name() {
                "ttft" => &summary.ttft,
                "itl" => &summary.itl,
                "tpot" => &summary.tpot,
                _ => &summary.e2e,
            };
            latency.as_ref()?.percentile(percentile)
        }
    };
    value.filter(|number| number.is_finite())
}

/// The same of a cell that was measured; where it was imported without samples, as it was reported.
pub(super) fn of(cell: &CellFile, key: &str) -> Option<f64> {
    let own = cell
        .summary
        .as_ref()
        .and_then(|summary| metric(summary, key));
    own.or_else(|| {
        if cell.reported.is_empty() {
            return None;
        }
        let column = match key {
            "throughput" | "total" | "user" => format!("{key}_tok_s"),
            "goodput" => "goodput_req_s".into(),
            "req_s" => "req_s".into(),
            latency => format!("{latency}_ms"),
        };
        cell.reported
            .get(&column)
            .copied()
            .filter(|number| number.is_finite())
    })
}

/// Whether a cell may be ranked at all. A simulated cell may, among its like.
pub(super) fn may_rank(cell: &CellFile) -> bool {
    cell.outcome.is_measured()
        && !cell.verdicts.iter().any(|verdict| {
            verdict.severity == Severity::Cell && verdict.kind != VerdictKind::Simulated
        })
}

/// Whether a number of a cell may be ranked: no verdict takes away the cell or this metric.
pub(super) fn may_rank_by(cell: &CellFile, key: &str) -> bool {
    may_rank(cell)
        && !cell.verdicts.iter().any(|verdict| {
            verdict.severity == Severity::Metric
                && verdict.kind != VerdictKind::Simulated
                && (verdict.touches.is_empty()
                    || verdict.touches.iter().any(|touched| touches(touched, key)))
        })
}

/// `p95_ttft` touches itself; `ttft` touches all its percentiles; `throughput` touches `throughput_tok_s`.
pub(super) fn touches(touched: &str, key: &str) -> bool {
    let touched = touched
        .trim_end_matches("_ms")
        .trim_end_matches("_tok_s")
        .trim_end_matches("_req_s");
    touched == key
        || key
            .strip_suffix(touched)
            .is_some_and(|rest| rest.ends_with('_'))
}

/// Cells along one axis, everything else fixed, ascending where the axis is numeric. Measured cells only; lines of
/// one cell too.
pub(super) struct Line<'a> {
    /// The other axes: `max_tokens 64`; empty when there are none.
    pub(super) fixed: String,
    pub(super) cells: Vec<&'a CellFile>,
}

pub(super) fn lines<'a>(block: &Block<'a>, axis: &str) -> Vec<Line<'a>> {
    let mut lines: Vec<Line<'a>> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for cell in &block.cells {
        if !cell.outcome.is_measured() || coordinate(cell, axis).is_none() {
            continue;
        }
        let fixed: Vec<String> = block
            .axes
            .iter()
            .filter(|other| **other != axis)
            .filter_map(|other| Some(format!("{other} {}", scalar_text(coordinate(cell, other)?))))
            .collect();
        let fixed = fixed.join(", ");
        match known.get(&fixed) {
            Some(at) => lines[*at].cells.push(cell),
            None => {
                known.insert(fixed.clone(), lines.len());
                lines.push(Line {
                    fixed,
                    cells: vec![cell],
                });
            }
        }
    }
    for line in &mut lines {
        let keyed: Option<Vec<(f64, &CellFile)>> = line
            .cells
            .iter()
            .map(|cell| Some((coordinate(cell, axis)?.as_f64()?, *cell)))
            .collect();
        if let Some(mut keyed) = keyed {
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            line.cells = keyed.into_iter().map(|(_, cell)| cell).collect();
        }
    }
    lines
}

/// `1 cell`, `2 cells`.
pub(super) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// The SLO in words: `p95_ttft ≤ 1500ms and p95_e2e ≤ 3s`.
pub(super) fn slo_text(slo: &Slo) -> String {
    let terms: Vec<String> = slo.0.iter().map(SloTerm::to_string).collect();
    terms.join(" and ")
}
