//! What the numbers say: typed findings with their evidence, and no words.
//!
//! A rule is a function from the model to findings; [`RULES`] is the one list of them. To add a finding: a variant of
//! [`Kind`], a rule, and a macro of the kind's name in `templates/findings.md.j2`. A test holds the three against each other.

mod answer;
mod caution;
mod data;
mod effect;
mod engine;
mod facts;
mod kind;
mod length;
mod load;
mod memory;
mod prediction;
mod select;
#[cfg(test)]
mod sentences;
mod stability;
mod value;
mod words;

pub(in crate::report) use answer::usd_per_million;
pub(in crate::report) use caution::verdict_rows;
pub(in crate::report) use engine::engine_rows;
#[cfg(test)]
pub(in crate::report) use facts::Fact;
pub(in crate::report) use facts::{Coordinate, Facts, Unit};
pub(in crate::report) use kind::{Kind, Question};
pub(in crate::report) use prediction::{
    PREDICTED, PredictionRow, prediction, prediction_error, prediction_medians, prediction_rows,
};
pub(in crate::report) use select::headlines;
pub(in crate::report) use words::{Speech, Words};

use std::collections::HashSet;

use super::model::{Block, Cell, Model};
use crate::{
    manifest::LatencyKind,
    measure::{Metric, Rank},
    plan::{Quantity as Counted, Role},
    unit::Percentile,
};

/// One thing worth knowing, with what it rests on.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::report) struct Finding {
    pub(in crate::report) kind: Kind,
    /// Its workload; `None` where it is about the run.
    pub(in crate::report) workload: Option<usize>,
    /// Its block; `None` where it is about several servers.
    pub(in crate::report) block: Option<usize>,
    /// Places of the cells it rests on.
    pub(in crate::report) cells: Vec<usize>,
    /// How much it says, as the size of a logarithm: 0.69 is a factor of two; 0 where nothing differs.
    pub(in crate::report) strength: f64,
    /// The evidence.
    pub(in crate::report) facts: Facts,
}

impl Finding {
    /// A finding on a block.
    pub(in crate::report) fn of_block(
        kind: Kind,
        model: &Model<'_>,
        block: usize,
        cells: impl IntoIterator<Item = usize>,
    ) -> Self {
        Self {
            kind,
            workload: Some(model.blocks[block].workload),
            block: Some(block),
            cells: cells.into_iter().collect(),
            strength: 0.0,
            facts: Facts::new(),
        }
    }

    /// A finding on a workload over all its servers.
    pub(in crate::report) fn of_workload(
        kind: Kind,
        workload: usize,
        cells: impl IntoIterator<Item = usize>,
    ) -> Self {
        Self {
            kind,
            workload: Some(workload),
            block: None,
            cells: cells.into_iter().collect(),
            strength: 0.0,
            facts: Facts::new(),
        }
    }

    /// A finding on the run.
    pub(in crate::report) fn of_run(kind: Kind, cells: impl IntoIterator<Item = usize>) -> Self {
        Self {
            kind,
            workload: None,
            block: None,
            cells: cells.into_iter().collect(),
            strength: 0.0,
            facts: Facts::new(),
        }
    }

    /// The same with its strength: of a ratio, the size of its logarithm.
    pub(in crate::report) fn strong_as(self, ratio: f64) -> Self {
        let strength = match ratio > 0.0 && ratio.is_finite() {
            true => ratio.ln().abs(),
            false => 0.0,
        };
        Self { strength, ..self }
    }

    /// The same with its evidence.
    pub(in crate::report) fn with(self, facts: Facts) -> Self {
        Self { facts, ..self }
    }
}

/// From the model to what it says.
pub(in crate::report) type Rule = fn(&Model<'_>) -> Vec<Finding>;

/// Every rule, by the file that asks its question.
const RULES: [&[Rule]; 11] = [
    answer::RULES,
    effect::RULES,
    load::RULES,
    length::RULES,
    stability::RULES,
    memory::RULES,
    engine::RULES,
    value::RULES,
    data::RULES,
    prediction::RULES,
    caution::RULES,
];

/// Everything the numbers say, in the order of the kinds, less what another finding makes superfluous. Of equal kinds the
/// strongest comes first.
pub(in crate::report) fn findings(model: &Model<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = RULES.iter().copied().flatten().flat_map(|rule| rule(model)).collect();
    let superfluous: Vec<bool> = found.iter().map(|finding| is_superfluous(finding, &found)).collect();
    let mut superfluous = superfluous.into_iter();
    found.retain(|_| !superfluous.next().unwrap_or(false));
    // Stable: of equally strong ones the first.
    found.sort_by(|a, b| {
        (a.workload, a.kind).cmp(&(b.workload, b.kind)).then(b.strength.total_cmp(&a.strength))
    });
    found
}

fn is_superfluous(finding: &Finding, all: &[Finding]) -> bool {
    all.iter()
        .filter(|other| other.workload == finding.workload && other.block == finding.block)
        .filter(|other| other.kind.supersedes().contains(&finding.kind))
        .any(|other| {
            other.kind.is_of_block() || {
                let known: HashSet<usize> = other.cells.iter().copied().collect();
                finding.cells.iter().all(|cell| known.contains(cell))
            }
        })
}

/// Where a cell stands on the load axes that vary in its block, each with the load that was reached.
pub(in crate::report) fn place(model: &Model<'_>, cell: &Cell<'_>) -> Vec<Coordinate> {
    place_on(model, cell, |axis| model.axes[axis].role == Role::Load)
}

/// The same on some axes.
pub(in crate::report) fn place_on(
    model: &Model<'_>,
    cell: &Cell<'_>,
    wanted: impl Fn(usize) -> bool,
) -> Vec<Coordinate> {
    let coordinate = |axis: usize| {
        let own = &model.axes[axis];
        let quantity = own.quantity();
        let value = match (quantity, cell.load.reached, cell.load.asked) {
            (Counted::Concurrency, Some(reached), Some(asked)) if reached < asked => reached.to_string(),
            _ => own.text(cell.at[axis]?),
        };
        Some(Coordinate { axis: own.label().to_owned(), quantity: quantity.name(), value })
    };
    let found: Vec<Coordinate> =
        (0..model.axes.len()).filter(|axis| wanted(*axis)).filter_map(coordinate).collect();
    if !found.is_empty() || cell.load.asked.is_none() {
        return found;
    }
    // A load that does not vary says where a cell stands all the same.
    let counted = if cell.load.is_open { Counted::Rate } else { Counted::Concurrency };
    let axis = counted.name();
    let value = cell.load.reached.unwrap_or_default().to_string();
    vec![Coordinate { axis: axis.to_owned(), quantity: axis, value }]
}

/// The place of a line: where its cells stand on every load axis but its own; empty where there is no other.
pub(in crate::report) fn place_of_line(
    model: &Model<'_>,
    block: &Block<'_>,
    line: &super::model::Line,
) -> Vec<Coordinate> {
    let Some(first) = line.cells.first().map(|at| &model.cells[*at]) else {
        return Vec::new();
    };
    let others = |axis: usize| axis != line.axis && block.axes.contains(&axis);
    match block.axes.iter().any(|axis| *axis != line.axis) {
        true => place_on(model, first, others),
        false => Vec::new(),
    }
}

fn at(percentile: Percentile, kind: LatencyKind) -> Metric {
    Metric::Latency(Rank::At(percentile), kind)
}

/// The middle of a latency: tools report different ones.
pub(in crate::report) fn middle(kind: LatencyKind) -> [Metric; 2] {
    [at(Percentile::P50, kind), Metric::Latency(Rank::Mean, kind)]
}

/// The tail of a latency.
pub(in crate::report) fn tail(kind: LatencyKind) -> [Metric; 2] {
    [at(Percentile::P95, kind), at(Percentile::P99, kind)]
}

/// The first of some metrics that two cells both have and that may be ranked, with the two values.
pub(in crate::report) fn both(
    metrics: &[Metric],
    one: &Cell<'_>,
    other: &Cell<'_>,
) -> Option<(Metric, f64, f64)> {
    metrics.iter().find_map(|metric| {
        Some((*metric, one.ranked(*metric).filter(|ms| *ms > 0.0)?, other.ranked(*metric)?))
    })
}

/// For every block what a rule on one says.
pub(in crate::report) fn each_block(
    model: &Model<'_>,
    rule: impl Fn(usize, &Block<'_>) -> Option<Finding>,
) -> Vec<Finding> {
    model.blocks.iter().enumerate().filter_map(|(at, block)| rule(at, block)).collect()
}
