//! The cells of one workload on one server, where each stands, and the lines along one axis.

use std::collections::HashMap;

use serde_json::Value;

use crate::{
    manifest::{Objective, Slo, Workload, scalar_text},
    report::{number::grouped, origin::is_mixed},
    store::{CellFile, StoredRun},
};

/// The cells of one workload on one server: what a grid shows and what is ranked together.
pub(in crate::report) struct Block<'a> {
    pub(in crate::report) workload: &'a str,
    pub(in crate::report) server: &'a str,
    /// Its server axes, `max-model-len 4096`; empty when there is one server only.
    pub(in crate::report) server_label: String,
    /// Load axes of this workload, in the order of the manifest.
    pub(in crate::report) axes: Vec<&'a str>,
    /// In the order of the plan.
    pub(in crate::report) cells: Vec<&'a CellFile>,
    pub(in crate::report) objective: Objective,
    pub(in crate::report) slo: &'a Slo,
    /// What a rate counts: `requests`, or `conversations` where these arrive and their turns follow.
    pub(in crate::report) arriving: &'static str,
    /// The rate at the end of each cell whose rate is a ramp, by the cell's id.
    pub(in crate::report) ramps: HashMap<&'a str, f64>,
    /// Whether the run has cells of several kinds (measured, simulated, predicted, imported): then each says its own.
    pub(in crate::report) mixed: bool,
}

impl Block<'_> {
    /// What was done to have its numbers, as a participle: `measured`, or `predicted`.
    pub(in crate::report) fn done(&self) -> &'static str {
        match self.cells.iter().any(|cell| cell.predicted) {
            true => "predicted",
            false => "measured",
        }
    }
}

/// All blocks, workloads in the order of the plan, then servers in the order of the plan.
pub(in crate::report) fn blocks(run: &StoredRun) -> Vec<Block<'_>> {
    let mixed = is_mixed(run);
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
                arriving: "requests",
                ramps: HashMap::new(),
                mixed,
            }),
        }
    }
    let specs: HashMap<&str, &Workload> = run
        .plan
        .groups
        .iter()
        .flat_map(|group| &group.cells)
        .map(|cell| (cell.id.as_str(), cell.spec.as_ref()))
        .collect();
    for block in &mut blocks {
        for cell in &block.cells {
            let Some(spec) = specs.get(cell.id.as_str()) else {
                continue;
            };
            if spec.has_turns() {
                block.arriving = "conversations";
            }
            if let Some(to) = spec.ramp_to {
                block.ramps.insert(&cell.id, to);
            }
        }
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
pub(in crate::report) fn server_label(run: &StoredRun, id: &str) -> String {
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

/// What people call an axis: the plain word of a standard one whose path says little, else the path itself.
pub(in crate::report) fn spoken(axis: &str) -> &str {
    match axis {
        "synthetic.input_tokens" => "prompt tokens",
        "synthetic.output_tokens" | "shared_prefix.output_tokens" => "answer tokens",
        "shared_prefix.prefix_tokens" => "shared prompt tokens",
        "shared_prefix.suffix_tokens" => "own prompt tokens",
        "shared_prefix.groups" => "groups of prompts",
        path => path,
    }
}

/// The value of an axis in a cell.
pub(in crate::report) fn coordinate<'a>(cell: &'a CellFile, axis: &str) -> Option<&'a Value> {
    cell.axes
        .get(axis)
        .or_else(|| cell.load.get(axis))
        .filter(|value| !value.is_null())
}

/// Requests kept in flight.
pub(in crate::report) fn concurrency(cell: &CellFile) -> Option<f64> {
    coordinate(cell, "concurrency").and_then(Value::as_f64)
}

/// Requests due per second, in an open loop.
pub(in crate::report) fn rate(cell: &CellFile) -> Option<f64> {
    coordinate(cell, "rate").and_then(Value::as_f64)
}

/// The load of a cell in words: `16 users`, `5 requests per second`, `2 to 50 conversations per second`; `None` without one.
pub(in crate::report) fn load_words(block: &Block<'_>, cell: &CellFile) -> Option<String> {
    let number = |number: f64| grouped(number, if number.fract() == 0.0 { 0 } else { 2 });
    let noun = |one: f64, word: &str| match one == 1.0 {
        true => word.trim_end_matches('s').to_owned(),
        false => word.to_owned(),
    };
    if let Some(users) = concurrency(cell) {
        return Some(format!("{} {}", number(users), noun(users, "users")));
    }
    let from = rate(cell)?;
    let span = block.ramps.get(cell.id.as_str()).map_or_else(
        || number(from),
        |to| format!("{} to {}", number(from), number(*to)),
    );
    Some(format!("{span} {} per second", noun(from, block.arriving)))
}

/// The same for a table: `16`, `5 req/s`.
pub(in crate::report) fn load_short(block: &Block<'_>, cell: &CellFile) -> Option<String> {
    let words = load_words(block, cell)?;
    let short = words
        .trim_end_matches(" users")
        .trim_end_matches(" user")
        .replace("requests per second", "req/s")
        .replace("request per second", "req/s")
        .replace(" per second", "/s");
    Some(short)
}

/// How much was asked for: the streams of a closed loop, the rate of an open one.
pub(in crate::report) fn offered(cell: &CellFile) -> Option<f64> {
    concurrency(cell).or_else(|| rate(cell))
}

/// The axis along which more is asked for: `rate` where every cell of the block has one, else `concurrency`.
pub(in crate::report) fn ladder(block: &Block<'_>) -> &'static str {
    if block.cells.iter().all(|cell| rate(cell).is_some()) {
        "rate"
    } else {
        "concurrency"
    }
}

/// Where a cell stands: `concurrency 16, max_tokens 64`.
pub(in crate::report) fn place(block: &Block<'_>, cell: &CellFile) -> String {
    let mut names = block.axes.clone();
    if names.is_empty() {
        names = vec!["concurrency", "rate", "arrivals", "max_tokens"];
    }
    let parts: Vec<String> = names
        .iter()
        .filter_map(|axis| {
            let value = scalar_text(coordinate(cell, axis)?);
            Some(format!("{} {value}", spoken(axis)))
        })
        .collect();
    if parts.is_empty() {
        cell.id.clone()
    } else {
        parts.join(", ")
    }
}

/// Cells along one axis, everything else fixed, ascending where the axis is numeric. Measured cells only; lines of
/// one cell too.
pub(in crate::report) struct Line<'a> {
    /// The other axes: `max_tokens 64`; empty when there are none.
    pub(in crate::report) fixed: String,
    pub(in crate::report) cells: Vec<&'a CellFile>,
}

pub(in crate::report) fn lines<'a>(block: &Block<'a>, axis: &str) -> Vec<Line<'a>> {
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
            .filter_map(|other| {
                let value = scalar_text(coordinate(cell, other)?);
                Some(format!("{} {value}", spoken(other)))
            })
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
