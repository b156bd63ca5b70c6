//! One block as tables: a grid over two axes for each metric, or one table of all metrics for a single axis.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use crate::{
    manifest::scalar_text,
    measure::CellOutcome,
    report::{
        insight::{Block, best::best, coordinate, ladder, may_rank, may_rank_by, of},
        number::{ABSENT, ms_bare, rate_bare, thousands},
        origin::Origin,
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
    /// Rows that are not there, because nobody reads so many.
    pub(in crate::report) left_out: usize,
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
const METRICS: [(&str, &str, bool); 7] = [
    ("throughput", "Throughput, tok/s", true),
    ("p50_ttft", "p50 TTFT, ms", false),
    ("p95_ttft", "p95 TTFT, ms", false),
    ("p95_e2e", "p95 E2E, ms", false),
    ("p50_tpot", "p50 TPOT, ms", false),
    ("p95_itl", "p95 ITL, ms", false),
    ("user", "User tok/s", true),
];
/// What stands for a metric that no cell has, where some have this: other tools report other ranks.
const INSTEAD: [(&str, (&str, &str, bool)); 8] = [
    ("throughput", ("req_s", "Requests per second", true)),
    ("p50_ttft", ("mean_ttft", "mean TTFT, ms", false)),
    ("p95_ttft", ("p99_ttft", "p99 TTFT, ms", false)),
    ("p95_e2e", ("p99_e2e", "p99 E2E, ms", false)),
    ("p95_e2e", ("mean_e2e", "mean E2E, ms", false)),
    ("p50_tpot", ("mean_tpot", "mean TPOT, ms", false)),
    ("p95_itl", ("p99_itl", "p99 ITL, ms", false)),
    ("p95_itl", ("mean_itl", "mean ITL, ms", false)),
];

/// TTFT of at least this part of E2E: nothing was streamed.
const WHOLE: f64 = 0.99;
/// So many rows of a table can be read; of more only those of the best cell's combination are there.
const ROWS: usize = 60;

/// The metrics that some cell of a block has, each by the rank that is there.
fn known(block: &Block<'_>) -> Vec<(&'static str, &'static str, bool)> {
    let has = |key: &str| block.cells.iter().any(|cell| of(cell, key).is_some());
    // Where nothing was streamed TTFT is E2E: one of them is enough.
    let whole = |cell: &&CellFile| {
        of(cell, "p50_ttft")
            .zip(of(cell, "p50_e2e"))
            .is_some_and(|(ttft, e2e)| ttft >= WHOLE * e2e)
    };
    let mut timed = block
        .cells
        .iter()
        .filter(|cell| of(cell, "p50_ttft").is_some())
        .peekable();
    let came_whole = timed.peek().is_some() && timed.all(whole);
    METRICS
        .into_iter()
        .filter(|(key, _, _)| !(came_whole && key.ends_with("_ttft")))
        .filter_map(|metric| {
            let instead = INSTEAD
                .into_iter()
                .filter(|(of, _)| *of == metric.0)
                .map(|(_, instead)| instead);
            std::iter::once(metric)
                .chain(instead)
                .find(|(key, _, _)| has(key))
        })
        .collect()
}

/// What the marks behind numbers mean.
pub(in crate::report) const MARKS: &str = "† this number is not ranked, ‡ nothing of this cell is ranked (see the verdicts), ! some requests failed.";
/// The same where a run has cells of several kinds.
pub(in crate::report) const KINDS: &str = "S simulated, P predicted, I imported.";

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
    let mut metrics = known(block);
    if metrics.is_empty() {
        metrics.push(METRICS[0]);
    }
    metrics
        .into_iter()
        .map(|metric| grid(block, metric, &varying, across))
        .collect()
}

/// Headings of the metrics that no cell of a block has.
pub(in crate::report) fn not_measured(block: &Block<'_>) -> Vec<&'static str> {
    METRICS
        .iter()
        .filter(|(key, _, _)| {
            let has = |key: &str| block.cells.iter().any(|cell| of(cell, key).is_some());
            let instead = INSTEAD.iter().filter(|(of, _)| of == key);
            !has(key) && !instead.into_iter().any(|(_, (key, _, _))| has(key))
        })
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

fn value(block: &Block<'_>, cell: &CellFile, (key, _, is_rate): (&str, &str, bool)) -> String {
    if !cell.outcome.is_measured() {
        return match cell.outcome {
            CellOutcome::Oom => "OOM".into(),
            other => other.name().replace('_', " "),
        };
    }
    let number = of(cell, key);
    let mut text = if key == "req_s" {
        thousands(number.map(|number| (number * 100.0).round() / 100.0))
    } else if is_rate {
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
        let letter = Origin::of(cell).letter();
        if block.mixed && !letter.is_empty() {
            text.push(' ');
            text.push_str(letter);
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
    let (rows, left_out) = readable(block, down, row_labels(block, down));
    let rows = rows
        .into_iter()
        .map(|own| Row {
            values: columns
                .iter()
                .map(|column| {
                    places
                        .get(&(own.clone(), column.clone()))
                        .map_or_else(|| ABSENT.to_owned(), |cell| value(block, cell, metric))
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
        left_out,
    }
}

/// The rows that can be read, and how many are left out: of too many those where all but the load is as in the best cell; of
/// still too many the first.
fn readable(
    block: &Block<'_>,
    axes: &[&str],
    mut rows: Vec<Vec<String>>,
) -> (Vec<Vec<String>>, usize) {
    let all = rows.len();
    if all <= ROWS {
        return (rows, 0);
    }
    let load = ladder(block);
    let best = best(block).picks.into_iter().next().and_then(|pick| {
        block
            .cells
            .iter()
            .copied()
            .find(|cell| cell.id == pick.cell)
    });
    if let Some(best) = best {
        let own = labels(best, axes);
        rows.retain(|row| {
            axes.iter()
                .zip(row.iter().zip(&own))
                .all(|(axis, (label, own))| *axis == load || label == own)
        });
    }
    rows.truncate(ROWS);
    let left_out = all - rows.len();
    (rows, left_out)
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
    let (kept, left_out) = readable(
        block,
        axes,
        cells.iter().map(|cell| labels(cell, axes)).collect(),
    );
    cells.retain(|cell| kept.contains(&labels(cell, axes)));
    let mut metrics = known(block);
    if metrics.is_empty() {
        metrics.push(METRICS[0]);
    }
    Grid {
        title: String::new(),
        row_axes: axes.iter().map(|axis| (*axis).to_owned()).collect(),
        column_axis: String::new(),
        columns: metrics
            .iter()
            .map(|(_, title, _)| (*title).to_owned())
            .collect(),
        rows: cells
            .into_iter()
            .map(|cell| Row {
                labels: labels(cell, axes),
                values: metrics
                    .iter()
                    .map(|metric| value(block, cell, *metric))
                    .collect(),
            })
            .collect(),
        left_out,
    }
}
