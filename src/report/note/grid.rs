//! One block as tables: a grid over two axes for each metric, or one table of all metrics for a single axis.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use crate::{
    manifest::scalar_text,
    measure::CellOutcome,
    report::{
        insight::{Block, coordinate, ladder, may_rank, may_rank_by, of},
        number::{ABSENT, ms_bare, rate_bare},
    },
    store::CellFile,
};

/// A table with formatted cells.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Grid {
    /// `Throughput, tok/s`; empty for the table of all metrics.
    pub(in crate::report) title: String,
    /// Names of the columns that say where a row stands.
    pub(in crate::report) row_axes: Vec<String>,
    /// The axis across; empty for the table of all metrics.
    pub(in crate::report) column_axis: String,
    /// Headings of the other columns.
    pub(in crate::report) columns: Vec<String>,
    pub(in crate::report) rows: Vec<Row>,
}

/// One row of a [`Grid`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Row {
    /// Values of `row_axes`.
    pub(in crate::report) labels: Vec<String>,
    /// Formatted values; `OOM` and the like where there is none.
    pub(in crate::report) values: Vec<String>,
}

/// The metrics of the grids: column name without unit, heading, whether it is a rate.
const METRICS: [(&str, &str, bool); 6] = [
    ("throughput", "Throughput, tok/s", true),
    ("p50_ttft", "p50 TTFT, ms", false),
    ("p95_ttft", "p95 TTFT, ms", false),
    ("p95_e2e", "p95 E2E, ms", false),
    ("p50_tpot", "p50 TPOT, ms", false),
    ("user", "User tok/s", true),
];

/// What the marks behind numbers mean.
pub(in crate::report) const MARKS: &str = "† this number is not ranked, ‡ nothing of this cell is ranked (see the verdicts), ! some requests failed.";

/// The tables of a block.
pub(in crate::report) fn grids(block: &Block<'_>) -> Vec<Grid> {
    let mut varying: Vec<&str> = block
        .axes
        .iter()
        .copied()
        .filter(|axis| distinct(block, axis).len() > 1)
        .collect();
    if varying.len() < 2 {
        if varying.is_empty() {
            varying = vec![ladder(block), "max_tokens"];
            // Everything at once has neither streams nor a rate.
            varying.retain(|axis| {
                block
                    .cells
                    .iter()
                    .any(|cell| coordinate(cell, axis).is_some())
            });
        }
        return vec![table(block, &varying)];
    }
    // Concurrency and rate read best downwards; otherwise the last axis goes across.
    let across = varying
        .iter()
        .rposition(|axis| *axis != "concurrency" && *axis != "rate")
        .map(|at| varying.remove(at));
    let Some(across) = across else {
        return vec![table(block, &varying)];
    };
    let mut grids: Vec<Grid> = Vec::new();
    let mut absent = Vec::new();
    for metric in METRICS {
        if block.cells.iter().any(|cell| of(cell, metric.0).is_some()) {
            grids.push(grid(block, metric, &varying, across));
        } else {
            absent.push(metric);
        }
    }
    if grids.is_empty() {
        grids.push(grid(block, absent[0], &varying, across));
    }
    grids
}

/// Headings of the metrics that no cell of a block has.
pub(in crate::report) fn not_measured(block: &Block<'_>) -> Vec<&'static str> {
    METRICS
        .iter()
        .filter(|(key, _, _)| !block.cells.iter().any(|cell| of(cell, key).is_some()))
        .map(|(_, title, _)| *title)
        .collect()
}

fn distinct(block: &Block<'_>, axis: &str) -> Vec<String> {
    let mut known: HashSet<String> = HashSet::new();
    let mut values: Vec<(Option<f64>, String)> = Vec::new();
    for cell in &block.cells {
        if let Some(value) = coordinate(cell, axis) {
            let text = scalar_text(value);
            if known.insert(text.clone()) {
                values.push((value.as_f64(), text));
            }
        }
    }
    if values.iter().all(|(number, _)| number.is_some()) {
        values.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal));
    }
    values.into_iter().map(|(_, text)| text).collect()
}

fn labels(cell: &CellFile, axes: &[&str]) -> Vec<String> {
    axes.iter()
        .map(|axis| coordinate(cell, axis).map_or_else(|| ABSENT.to_owned(), scalar_text))
        .collect()
}

fn value(cell: &CellFile, (key, _, is_rate): (&str, &str, bool)) -> String {
    if !cell.outcome.is_measured() {
        return match cell.outcome {
            CellOutcome::Oom => "OOM".into(),
            other => other.name().replace('_', " "),
        };
    }
    let number = of(cell, key);
    let mut text = if is_rate {
        rate_bare(number)
    } else {
        ms_bare(number)
    };
    if number.is_some() {
        if !may_rank(cell) {
            text.push_str(" ‡");
        } else if !may_rank_by(cell, key) {
            text.push_str(" †");
        }
        if cell.outcome == CellOutcome::Degraded {
            text.push_str(" !");
        }
    }
    text
}

/// Rows in ascending order of their axes, as far as these are numeric.
fn row_labels(block: &Block<'_>, axes: &[&str]) -> Vec<Vec<String>> {
    let order: Vec<Vec<String>> = axes.iter().map(|axis| distinct(block, axis)).collect();
    let mut known: HashSet<Vec<String>> = HashSet::new();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for cell in &block.cells {
        let own = labels(cell, axes);
        if known.insert(own.clone()) {
            rows.push(own);
        }
    }
    rows.sort_by_cached_key(|row| {
        row.iter()
            .zip(&order)
            .map(|(label, known)| known.iter().position(|text| text == label))
            .collect::<Vec<_>>()
    });
    rows
}

fn grid(block: &Block<'_>, metric: (&str, &str, bool), down: &[&str], across: &str) -> Grid {
    let columns = distinct(block, across);
    let mut places: HashMap<(Vec<String>, String), &CellFile> = HashMap::new();
    for cell in &block.cells {
        let column = labels(cell, &[across]).swap_remove(0);
        places.entry((labels(cell, down), column)).or_insert(cell);
    }
    let rows = row_labels(block, down)
        .into_iter()
        .map(|own| Row {
            values: columns
                .iter()
                .map(|column| {
                    places
                        .get(&(own.clone(), column.clone()))
                        .map_or_else(|| ABSENT.to_owned(), |cell| value(cell, metric))
                })
                .collect(),
            labels: own,
        })
        .collect();
    Grid {
        title: metric.1.into(),
        row_axes: down.iter().map(|axis| (*axis).to_owned()).collect(),
        column_axis: across.into(),
        columns,
        rows,
    }
}

fn table(block: &Block<'_>, axes: &[&str]) -> Grid {
    let order = row_labels(block, axes);
    let mut cells: Vec<&CellFile> = block.cells.clone();
    let order: HashMap<&Vec<String>, usize> = order
        .iter()
        .enumerate()
        .map(|(at, row)| (row, at))
        .collect();
    cells.sort_by_cached_key(|cell| order.get(&labels(cell, axes)).copied());
    Grid {
        title: String::new(),
        row_axes: axes.iter().map(|axis| (*axis).to_owned()).collect(),
        column_axis: String::new(),
        columns: METRICS
            .iter()
            .map(|(_, title, _)| (*title).to_owned())
            .collect(),
        rows: cells
            .into_iter()
            .map(|cell| Row {
                labels: labels(cell, axes),
                values: METRICS.iter().map(|metric| value(cell, *metric)).collect(),
            })
            .collect(),
    }
}
