//! What the numbers say: typed findings, each with its evidence and a sentence. Pure.
//!
//! `block` and `metric` are what everything here reads a run by. What leaves are lists of [`Insight`] (observations, load,
//! the server's side, unstable cells) and a few tables of their own (best cells, servers side by side, recipes, failures, the
//! surface where memory ends). Templates and pictures only arrange them.

mod basis;
pub(super) mod best;
mod block;
pub(super) mod caution;
mod chance;
mod delivered;
pub(super) mod effect;
pub(super) mod failure;
pub(super) mod highlight;
mod humps;
pub(super) mod knee;
mod length;
mod limit;
pub(super) mod load;
mod metric;
pub(super) mod observe;
pub(super) mod pareto;
pub(super) mod prediction;
mod profile;
mod ratios;
pub(super) mod recipe;
mod repeats;
mod ridge;
pub(super) mod scaling;
pub(super) mod server;
pub(super) mod servers;
mod slower;
pub(super) mod surface;
mod tail;
pub(super) mod turn;
pub(super) mod unstable;
pub(super) mod verdict;
mod waiting;
mod without_slo;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod truth;
#[cfg(test)]
mod truth_axis;

pub(super) use block::{
    Block, Line, blocks, concurrency, coordinate, ladder, lines, load_short, load_words, offered,
    place, rate, server_label, spoken,
};
pub(super) use metric::{Rank, Yield, may_rank, may_rank_by, metric, of, touches};

use serde::Serialize;
use serde_json::Value;

use crate::{
    manifest::{Slo, SloTerm},
    store::CellFile,
};

/// One thing worth knowing, with what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Insight {
    /// What it is about, for templates that pick: `decode_speed`, `ridge` …
    pub(in crate::report) kind: &'static str,
    /// Ids of the cells it rests on.
    pub(in crate::report) cells: Vec<String>,
    /// The numbers it rests on, by name with unit.
    pub(in crate::report) numbers: serde_json::Map<String, Value>,
    /// The sentence.
    pub(in crate::report) text: String,
}

impl Insight {
    pub(in crate::report) fn new(
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

/// `1 cell`, `2 cells`.
pub(in crate::report) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// The SLO in words: `p95_ttft ≤ 1500ms and p95_e2e ≤ 3s`.
pub(in crate::report) fn slo_text(slo: &Slo) -> String {
    let terms: Vec<String> = slo.0.iter().map(SloTerm::to_string).collect();
    terms.join(" and ")
}
