//! Predicted beside measured: how far each cell is from its prediction, and which are further than the rest.

mod evidence;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use serde::Serialize;

use super::{Block, blocks, count, of, place};
use crate::{
    measure::CellOutcome,
    report::number::{self, grouped, ms, percent},
    store::{AnswersFrom, Basis, CellFile, PredictedCell, Predictions, StoredRun},
};
use evidence::evidence;

/// An error of at least this is worth looking for a reason.
const FAR: f64 = 0.25;
/// A cell stands apart where it is further from the grid's median error than so many times the median distance from it (scaled as
/// a standard deviation of a normal distribution is), and than [`APART`].
const SPREADS: f64 = 3.0;
const SCALE: f64 = 1.4826;
const APART: f64 = 0.15;
/// With fewer cells than this the grid has no median error to stand apart from.
const GRID: usize = 4;
/// Up to so many cells are all shown; of more only the worst.
const SHOWN: usize = 24;
const WORST: usize = 12;
/// The most far cells that are named one by one.
const NAMED: usize = 8;

/// The section.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Beside {
    pub(in crate::report) basis: Basis,
    /// What the errors are, one sentence.
    pub(in crate::report) text: String,
    /// The cells that are shown, in the order of the plan; the worst first where not all are.
    pub(in crate::report) rows: Vec<Row>,
    /// How many cells have both.
    pub(in crate::report) compared: usize,
    /// The signed errors of the grid, one for each number.
    pub(in crate::report) medians: Vec<Median>,
    /// Cells that are far from their prediction, a sentence each.
    pub(in crate::report) far: Vec<Far>,
    /// Servers that were predicted otherwise than they turned out, a sentence each.
    pub(in crate::report) servers: Vec<String>,
    /// What was not predicted, a sentence each.
    pub(in crate::report) missing: Vec<String>,
}

/// One cell, predicted and measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Row {
    pub(in crate::report) cell: String,
    pub(in crate::report) place: String,
    /// Tokens of an answer as they were predicted with, and where that is from.
    pub(in crate::report) answers: String,
    pub(in crate::report) p50_e2e_ms: Option<f64>,
    pub(in crate::report) predicted_p50_e2e_ms: Option<f64>,
    /// (predicted − measured) / measured.
    pub(in crate::report) e2e_error: Option<f64>,
    pub(in crate::report) ttft_error: Option<f64>,
    pub(in crate::report) tpot_error: Option<f64>,
    pub(in crate::report) throughput_error: Option<f64>,
    /// Whether the constants were fitted to it: then it is no test of them.
    pub(in crate::report) fitted: bool,
}

/// The errors of one number over the grid.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Median {
    pub(in crate::report) name: &'static str,
    /// Median of the signed errors.
    pub(in crate::report) signed: f64,
    /// Median of their absolute values.
    pub(in crate::report) absolute: f64,
    /// The largest absolute one.
    pub(in crate::report) largest: f64,
    pub(in crate::report) cells: usize,
}

/// A cell that is far from its prediction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Far {
    pub(in crate::report) cell: String,
    pub(in crate::report) place: String,
    pub(in crate::report) error: f64,
    /// The sentence, with what in the cell may be why.
    pub(in crate::report) text: String,
}

/// What is known of one cell from both sides.
struct Pair<'a> {
    cell: &'a CellFile,
    predicted: &'a PredictedCell,
    row: Row,
}

/// The numbers that are compared: name, of the measured cell, of the predicted one.
type Number = (
    &'static str,
    &'static str,
    fn(&PredictedCell) -> Option<f64>,
);
const NUMBERS: [Number; 4] = [
    ("p50 E2E", "p50_e2e", |cell| cell.p50_e2e_ms),
    ("p50 TTFT", "p50_ttft", |cell| cell.p50_ttft_ms),
    ("p50 TPOT", "p50_tpot", |cell| cell.p50_tpot_ms),
    ("throughput", "throughput", |cell| cell.throughput_tok_s),
];

/// (predicted − measured) / measured of a number; absent where one of them is.
pub(in crate::report) fn error(
    cell: &CellFile,
    predicted: &PredictedCell,
    key: &str,
) -> Option<f64> {
    let (_, _, get) = NUMBERS.iter().find(|(_, known, _)| *known == key)?;
    let (predicted, measured) = (get(predicted)?, of(cell, key)?);
    (measured > 0.0).then(|| predicted / measured - 1.0)
}

/// Predicted beside measured; `None` where nothing was predicted.
pub(in crate::report) fn beside(run: &StoredRun) -> Option<Beside> {
    let predictions = run.predictions.as_ref()?;
    let pairs = pairs(run, predictions);
    // What the constants were fitted to is no test of them, where there is another.
    let held_out: Vec<&Pair<'_>> = pairs.iter().filter(|pair| !pair.row.fitted).collect();
    let tests = match held_out.is_empty() {
        true => pairs.iter().collect(),
        false => held_out,
    };
    let medians: Vec<Median> = NUMBERS
        .iter()
        .enumerate()
        .filter_map(|(at, (name, ..))| {
            let errors: Vec<f64> = tests
                .iter()
                .filter_map(|pair| errors(&pair.row)[at])
                .collect();
            median_of(name, &errors)
        })
        .collect();
    let far = far(&pairs);
    let mut text = text(&pairs, &medians, far.len());
    let fitted = pairs.iter().filter(|pair| pair.row.fitted).count();
    if fitted > 0 {
        text.push_str(&format!(
            " The constants were fitted to {fitted} of these cells, which are no test of them{}.",
            match fitted == pairs.len() {
                true => "",
                false => " and left out of these medians",
            }
        ));
    }
    let compared = pairs.len();
    let mut rows: Vec<Row> = pairs.into_iter().map(|pair| pair.row).collect();
    if rows.len() > SHOWN {
        rows.sort_by(|a, b| size(b).total_cmp(&size(a)));
        rows.truncate(WORST);
    }
    Some(Beside {
        basis: predictions.basis.clone(),
        text,
        rows,
        compared,
        medians,
        far,
        servers: servers(run, predictions),
        missing: predictions.missing.clone(),
    })
}

fn pairs<'a>(run: &'a StoredRun, predictions: &'a Predictions) -> Vec<Pair<'a>> {
    let blocks = blocks(run);
    let mut block_of: HashMap<&str, &Block<'_>> = HashMap::new();
    for block in &blocks {
        block_of.extend(block.cells.iter().map(|cell| (cell.id.as_str(), block)));
    }
    let several = blocks
        .iter()
        .any(|block| block.workload != blocks[0].workload);
    run.cells
        .iter()
        .filter(|cell| cell.has_numbers() && cell.is_real())
        .filter_map(|cell| {
            let predicted = predictions.cells.get(&cell.id)?;
            let block = block_of.get(cell.id.as_str())?;
            let mut parts = Vec::new();
            parts.extend(several.then(|| format!("{}:", block.workload)));
            parts.push(place(block, cell));
            let mut named = parts.join(" ");
            if !block.server_label.is_empty() {
                named.push_str(&format!(", {}", block.server_label));
            }
            predicted.p50_e2e_ms?;
            Some(Pair {
                row: Row {
                    cell: cell.id.clone(),
                    place: named,
                    answers: answers(predicted),
                    p50_e2e_ms: of(cell, "p50_e2e"),
                    predicted_p50_e2e_ms: predicted.p50_e2e_ms,
                    e2e_error: error(cell, predicted, "p50_e2e"),
                    ttft_error: error(cell, predicted, "p50_ttft"),
                    tpot_error: error(cell, predicted, "p50_tpot"),
                    throughput_error: error(cell, predicted, "throughput"),
                    fitted: predictions.fitted().contains(&cell.id),
                },
                cell,
                predicted,
            })
        })
        .collect()
}

/// The length answers were predicted with, and what it is: `128 as asked`, `87 as measured`.
pub(in crate::report) fn answers(predicted: &PredictedCell) -> String {
    let from = match predicted.answers_from {
        AnswersFrom::Exact => "as asked",
        AnswersFrom::Assumed => "assumed",
        AnswersFrom::Measured => "as measured",
    };
    match predicted.output_tokens {
        Some(tokens) => format!("{} {from}", grouped(tokens, 0)),
        None => from.to_owned(),
    }
}

fn errors(row: &Row) -> [Option<f64>; 4] {
    [
        row.e2e_error,
        row.ttft_error,
        row.tpot_error,
        row.throughput_error,
    ]
}

/// How far a row is off, in logarithms: half and twice weigh the same.
fn size(row: &Row) -> f64 {
    row.e2e_error.map_or(0.0, |error| (1.0 + error).ln().abs())
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

fn median_of(name: &'static str, errors: &[f64]) -> Option<Median> {
    let absolute: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
    Some(Median {
        name,
        signed: median(errors)?,
        absolute: median(&absolute)?,
        largest: absolute.iter().copied().fold(0.0, f64::max),
        cells: errors.len(),
    })
}

/// `+12 %`, `−3 %`.
pub(in crate::report) fn signed(error: f64) -> String {
    number::signed(Some(error))
}

fn text(pairs: &[Pair<'_>], medians: &[Median], far: usize) -> String {
    let Some(e2e) = medians.iter().find(|median| median.name == "p50 E2E") else {
        return "No cell has been measured yet that was predicted.".into();
    };
    let mut text = format!(
        "Over {} the prediction of p50 E2E is off by {} in the median ({} signed)",
        count(e2e.cells, "cell"),
        percent(Some(e2e.absolute)),
        signed(e2e.signed)
    );
    if let Some(rate) = medians.iter().find(|median| median.name == "throughput") {
        text.push_str(&format!(
            ", that of throughput by {} ({} signed)",
            percent(Some(rate.absolute)),
            signed(rate.signed)
        ));
    }
    text.push('.');
    if e2e.signed.abs() > FAR && e2e.cells >= GRID {
        text.push_str(
            " The whole grid is off to one side: the constants are not those of this machine; `runner calibrate` fits them to it.",
        );
    }
    if pairs.len() >= GRID && far == 0 {
        text.push_str(" No cell stands apart from the others.");
    }
    text
}

/// Cells further than [`FAR`] from their prediction that stand clearly apart from the grid, worst first.
fn far(pairs: &[Pair<'_>]) -> Vec<Far> {
    let logs: Vec<f64> = pairs
        .iter()
        .filter_map(|pair| pair.row.e2e_error)
        .map(|error| (1.0 + error).ln())
        .collect();
    let Some(middle) = median(&logs) else {
        return Vec::new();
    };
    let distances: Vec<f64> = logs.iter().map(|log| (log - middle).abs()).collect();
    let spread = SCALE * median(&distances).unwrap_or(0.0);
    let apart = (SPREADS * spread).max((1.0 + APART).ln());
    let stands_apart =
        |error: f64| logs.len() < GRID || ((1.0 + error).ln() - middle).abs() > apart;
    let mut found: Vec<(&Pair<'_>, f64)> = pairs
        .iter()
        .filter_map(|pair| Some((pair, pair.row.e2e_error?)))
        .filter(|(_, error)| error.abs() > FAR && stands_apart(*error))
        .collect();
    found.sort_by(|a, b| size(&b.0.row).total_cmp(&size(&a.0.row)));
    let more = found.len().saturating_sub(NAMED);
    let mut out: Vec<Far> = found
        .into_iter()
        .take(NAMED)
        .map(|(pair, error)| Far {
            cell: pair.cell.id.clone(),
            place: pair.row.place.clone(),
            error,
            text: sentence(pair, error),
        })
        .collect();
    if let (true, Some(last)) = (more > 0, out.last_mut()) {
        last.text
            .push_str(&format!(" So are {}.", count(more, "more cell")));
    }
    out
}

fn sentence(pair: &Pair<'_>, error: f64) -> String {
    let because = evidence(pair, error);
    format!(
        "{}: predicted p50 E2E {}, measured {} ({}). {}",
        pair.row.place,
        ms(pair.row.predicted_p50_e2e_ms),
        ms(pair.row.p50_e2e_ms),
        signed(error),
        match because.is_empty() {
            true => "Nothing in the cell says why.".to_owned(),
            false => format!("In the cell: {}.", because.join("; ")),
        }
    )
}

/// Servers whose start, or whose KV cache, turned out otherwise.
fn servers(run: &StoredRun, predictions: &Predictions) -> Vec<String> {
    const KV_OFF: f64 = 0.1;
    let mut out = Vec::new();
    for server in &run.servers {
        let Some(predicted) = predictions.servers.get(&server.id) else {
            continue;
        };
        let label = super::server_label(run, &server.id);
        let named = match label.is_empty() {
            true => "The server".to_owned(),
            false => format!("The server with {label}"),
        };
        let (got, told) = (
            CellOutcome::of_start(server.outcome),
            CellOutcome::of_start(predicted.outcome),
        );
        match (server.is_ready(), predicted.is_ready()) {
            (true, false) => out.push(format!(
                "{named} started, and was predicted to end as {}.",
                predicted.outcome
            )),
            (false, true) if got.is_on_oom_surface() => out.push(format!(
                "{named} ended as {}, and was predicted to start.",
                server.outcome
            )),
            (false, false) if got != told => out.push(format!(
                "{named} ended as {}, and was predicted to end as {}.",
                server.outcome, predicted.outcome
            )),
            _ => {}
        }
        if let (Some(got), Some(told)) = (server.facts.kv_cache_tokens, predicted.kv_cache_tokens)
            && got > 0
        {
            let error = told as f64 / got as f64 - 1.0;
            if error.abs() > KV_OFF {
                out.push(format!(
                    "{named} said that its KV cache holds {} tokens; {} were predicted ({}).",
                    grouped(got as f64, 0),
                    grouped(told as f64, 0),
                    signed(error)
                ));
            }
        }
    }
    out
}
