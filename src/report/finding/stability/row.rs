//! Cells in a row along an axis, and what the rules on neighbours share.

use serde_json::Value;

use super::super::{Facts, Unit, place, place_on};
use crate::{
    manifest::LatencyKind,
    measure::{Metric, Summary},
    report::{
        metrics::at,
        model::{Block, Cell, Doubt, Line, Model, Noise},
        statistics::median,
    },
    unit::Percentile,
};

/// The usable cells along a numeric axis, everything else equal.
pub(super) struct Row<'m, 'a> {
    pub(super) line: &'m Line,
    /// The value of each on the axis, ascending. A load is the one that was reached; of cells that reached
    /// the same one the first is kept.
    pub(super) cells: Vec<(f64, &'m Cell<'a>)>,
}

/// The rows of a block along each of its numeric axes. The probes of a search over the load make no row: it
/// measures where the latency is steep and where earlier probes were unclear, so its neighbours differ.
pub(super) fn rows<'m, 'a>(model: &'m Model<'a>, block: &'m Block<'_>) -> Vec<Row<'m, 'a>> {
    let is_even = |axis: usize| block.searches.is_empty() || Some(axis) != block.load_axis;
    let numeric = block.axes.iter().filter(|axis| model.axes[**axis].is_numeric() && is_even(**axis));
    numeric.flat_map(|axis| block.lines(*axis)).map(|line| row(model, block, line)).collect()
}

fn row<'m, 'a>(model: &'m Model<'a>, block: &Block<'_>, line: &'m Line) -> Row<'m, 'a> {
    let value = |cell: &Cell<'_>| match Some(line.axis) == block.load_axis {
        true => cell.load.reached,
        false => model.axes[line.axis].values.get(cell.at[line.axis]?).and_then(Value::as_f64),
    };
    let mut cells: Vec<(f64, &Cell<'a>)> = Vec::new();
    for cell in model.cells_at(&line.cells) {
        let Some(x) = value(cell).filter(|x| *x > 0.0) else { continue };
        if cells.last().is_none_or(|(last, _)| x > *last) {
            cells.push((x, cell));
        }
    }
    Row { line, cells }
}

/// A cell between two others on an axis.
pub(super) struct Neighbours<'m, 'a> {
    pub(super) axis: usize,
    pub(super) cells: [&'m Cell<'a>; 3],
}

impl Neighbours<'_, '_> {
    /// A number of the three cells as evidence.
    pub(super) fn facts(&self, model: &Model<'_>, metric: Metric, values: [f64; 3], unit: Unit) -> Facts {
        let [before, own, after] = self.cells;
        let digits = model.digits(&self.cells.map(|cell| cell.index));
        let on_axis = |cell: &Cell<'_>| place_on(model, cell, |axis| axis == self.axis);
        Facts::new()
            .name("axis", model.axes[self.axis].label())
            .metric("metric", metric)
            .place("place", place(model, own))
            .place("before_place", on_axis(before))
            .place("after_place", on_axis(after))
            .number("value", values[1], unit, digits)
            .number("before", values[0], unit, digits)
            .number("after", values[2], unit, digits)
    }
}

/// The doubt of the p95 of a latency over its p50, as if the two were independent.
pub(super) fn doubt_of_tail(noise: &Noise, cell: &Cell<'_>, kind: LatencyKind) -> Doubt {
    let [tail, middle] = [Percentile::P95, Percentile::P50].map(|rank| noise.of_cell(cell, at(rank, kind)));
    tail.over(middle)
}

/// The median of a number over the repeats of a cell, over the number of all repeats pooled: a single odd
/// repeat shifts the latter. 1 if the cell was measured once.
pub(super) fn less_odd(cell: &Cell<'_>, of: impl Fn(&Summary) -> Option<f64>) -> f64 {
    let repeats: Vec<f64> = cell.file.repeats.iter().filter_map(&of).collect();
    let pooled = cell.file.summary.as_ref().and_then(&of).filter(|value| *value > 0.0);
    median(&repeats).zip(pooled).map_or(1.0, |(usual, pooled)| usual / pooled)
}

/// A percentile of a latency over its median.
pub(super) fn tail_of(summary: &Summary, rank: Percentile, kind: LatencyKind) -> Option<f64> {
    let of = |rank| at(rank, kind).of(summary).filter(|value| *value > 0.0);
    Some(of(rank)? / of(Percentile::P50)?)
}
