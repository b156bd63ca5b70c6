//! What a rule is, what it returns, and what rules share: where a cell stands.

use super::facts::{Coordinate, Facts};
use super::kind::Kind;
use crate::{
    measure::Metric,
    plan::{Quantity, Role},
    report::model::{Block, Cell, Line, Model},
};

/// A statement about a run, with its evidence. It has no words: templates turn it into a sentence.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finding {
    pub(crate) kind: Kind,
    /// Index of its workload; `None` if it is about the whole run.
    pub(crate) workload: Option<usize>,
    /// Index of its block; `None` if it is about several servers.
    pub(crate) block: Option<usize>,
    /// Indices of the cells it rests on.
    pub(crate) cells: Vec<usize>,
    /// Size of the effect, as the absolute value of a logarithm: 0.69 is a factor of two, 0 no difference.
    pub(crate) strength: f64,
    /// The evidence.
    pub(crate) facts: Facts,
}

impl Finding {
    /// A finding on the whole run.
    pub(crate) fn of_run(kind: Kind, cells: impl IntoIterator<Item = usize>) -> Self {
        let cells = cells.into_iter().collect();
        Self { kind, workload: None, block: None, cells, strength: 0.0, facts: Facts::new() }
    }

    /// A finding on a workload over all its servers.
    pub(crate) fn of_workload(kind: Kind, workload: usize, cells: impl IntoIterator<Item = usize>) -> Self {
        Self { workload: Some(workload), ..Self::of_run(kind, cells) }
    }

    /// A finding on a block.
    pub(crate) fn of_block(
        kind: Kind,
        model: &Model<'_>,
        block: usize,
        cells: impl IntoIterator<Item = usize>,
    ) -> Self {
        Self { block: Some(block), ..Self::of_workload(kind, model.blocks[block].workload, cells) }
    }

    /// Sets the strength from a ratio.
    pub(crate) fn strong_as(self, ratio: f64) -> Self {
        let strength = if ratio > 0.0 && ratio.is_finite() { ratio.ln().abs() } else { 0.0 };
        Self { strength, ..self }
    }

    /// Sets the evidence.
    pub(crate) fn with(self, facts: Facts) -> Self {
        Self { facts, ..self }
    }
}

/// A rule, by what it looks at in one call.
#[derive(Clone, Copy)]
pub(crate) enum Rule {
    /// The whole run.
    Run(fn(&Model<'_>) -> Vec<Finding>),
    /// One workload.
    Workload(fn(&Model<'_>, usize) -> Option<Finding>),
    /// One block.
    Block(fn(&Model<'_>, usize, &Block<'_>) -> Option<Finding>),
    /// One block, with a finding for each of several of its cells or lines.
    Several(fn(&Model<'_>, usize, &Block<'_>) -> Vec<Finding>),
}

impl Rule {
    /// Returns the findings of the rule on a run.
    pub(crate) fn apply(self, model: &Model<'_>) -> Vec<Finding> {
        let blocks = model.blocks.iter().enumerate();
        match self {
            Self::Run(rule) => rule(model),
            Self::Workload(rule) => (0..model.workloads.len()).filter_map(|at| rule(model, at)).collect(),
            Self::Block(rule) => blocks.filter_map(|(at, block)| rule(model, at, block)).collect(),
            Self::Several(rule) => blocks.flat_map(|(at, block)| rule(model, at, block)).collect(),
        }
    }
}

/// A cell's values on the load axes that vary; of a load, the one that was reached.
pub(crate) fn place(model: &Model<'_>, cell: &Cell<'_>) -> Vec<Coordinate> {
    place_on(model, cell, |axis| model.axes[axis].role == Role::Load)
}

/// A cell's values on some axes; of a load, the one that was reached.
pub(crate) fn place_on(
    model: &Model<'_>,
    cell: &Cell<'_>,
    wanted: impl Fn(usize) -> bool,
) -> Vec<Coordinate> {
    let coordinate = |axis: usize| {
        let own = &model.axes[axis];
        let quantity = own.quantity();
        let value = match (quantity, cell.load.reached, cell.load.configured) {
            (Quantity::Concurrency, Some(reached), Some(configured)) if reached < configured => {
                reached.to_string()
            }
            _ => own.text(cell.at[axis]?),
        };
        Some(Coordinate { axis: own.label().to_owned(), quantity: quantity.name(), value })
    };
    let found: Vec<Coordinate> =
        (0..model.axes.len()).filter(|axis| wanted(*axis)).filter_map(coordinate).collect();
    if !found.is_empty() || cell.load.configured.is_none() {
        return found;
    }
    // A load that does not vary still tells a reader under which load the cell ran.
    let quantity = cell.load.quantity();
    let value = cell.load.reached.unwrap_or_default().to_string();
    vec![Coordinate { axis: quantity.to_owned(), quantity, value }]
}

/// The values that the cells of a line share: on every load axis but the line's own. Empty if there is no
/// other.
pub(crate) fn place_of_line(model: &Model<'_>, block: &Block<'_>, line: &Line) -> Vec<Coordinate> {
    let is_other = |axis: usize| axis != line.axis && block.axes.contains(&axis);
    let first = line.cells.first().filter(|_| block.axes.iter().any(|axis| is_other(*axis)));
    first.map_or_else(Vec::new, |cell| place_on(model, &model.cells[*cell], is_other))
}

/// The first of some metrics by which both cells may be ranked, with its value in each.
pub(crate) fn both(metrics: &[Metric], one: &Cell<'_>, other: &Cell<'_>) -> Option<(Metric, f64, f64)> {
    metrics.iter().find_map(|metric| {
        Some((*metric, one.ranked(*metric).filter(|ms| *ms > 0.0)?, other.ranked(*metric)?))
    })
}
