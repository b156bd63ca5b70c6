//! Where the numbers are unstable: ridges, cliffs, dips, long tails, repeats that disagree.

mod dip;
mod humps;
mod repeats;
mod ridge;
mod step;
mod tail;
#[cfg(test)]
mod tests;

use serde_json::Value;

use super::Rule;
use crate::{
    manifest::LatencyKind,
    measure::Summary,
    report::{
        model::{Block, Cell, Doubt, Line, Model, Noise},
        statistics::median,
    },
    unit::Percentile,
};

pub(super) const RULES: &[Rule] = &[
    ridge::ridges,
    ridge::tail_ridges,
    step::cliffs,
    dip::dips,
    step::falls,
    repeats::disagreements,
    humps::bimodal,
    tail::stalls,
    tail::long_tails,
    repeats::not_steady,
    repeats::noise,
    tail::tails,
];

/// The usable cells along a numeric axis, everything else the same.
struct Row<'m, 'a> {
    line: &'m Line,
    /// Where each stands on the axis, ascending. A load is the one that was reached: of cells that reached
    /// the same one the first is kept.
    cells: Vec<(f64, &'m Cell<'a>)>,
}

/// The rows of a block along each of its numeric axes.
fn rows<'m, 'a>(model: &'m Model<'a>, block: &'m Block<'_>) -> Vec<Row<'m, 'a>> {
    let numeric = block.axes.iter().filter(|axis| model.axes[**axis].is_numeric());
    numeric.flat_map(|axis| block.lines(*axis)).map(|line| row(model, block, line)).collect()
}

fn row<'m, 'a>(model: &'m Model<'a>, block: &Block<'_>, line: &'m Line) -> Row<'m, 'a> {
    let stands = |cell: &Cell<'_>| match Some(line.axis) == block.load_axis {
        true => cell.load.reached,
        false => model.axes[line.axis].values.get(cell.at[line.axis]?).and_then(Value::as_f64),
    };
    let mut cells: Vec<(f64, &Cell<'a>)> = Vec::new();
    for cell in line.iter(model) {
        let Some(x) = stands(cell).filter(|x| *x > 0.0) else { continue };
        if cells.last().is_none_or(|(last, _)| x > *last) {
            cells.push((x, cell));
        }
    }
    Row { line, cells }
}

/// The cells of a block that may be concluded from.
fn usable<'m, 'a>(model: &'m Model<'a>, block: &'m Block<'_>) -> impl Iterator<Item = &'m Cell<'a>> + Clone {
    let cells = block.cells.iter().map(|at| &model.cells[*at]);
    cells.filter(|cell| cell.is_usable() && Some(cell.origin) == block.origin)
}

/// What may be chance in the p95 of a latency over its p50: as if the two erred apart from each other.
fn doubt_of_tail(noise: &Noise, cell: &Cell<'_>, kind: LatencyKind) -> Doubt {
    let [tail, middle] =
        [Percentile::P95, Percentile::P50].map(|rank| noise.of_cell(cell, super::at(rank, kind)));
    Doubt { error: tail.error.hypot(middle.error), df: tail.df }
}

/// The median over the repeats of a cell of a number, over that of all together: what one odd repeat shifts
/// is no trait of the cell. 1 where it was measured once.
fn less_odd(cell: &Cell<'_>, of: impl Fn(&Summary) -> Option<f64>) -> f64 {
    let repeats: Vec<f64> = cell.file.repeats.iter().filter_map(&of).collect();
    let together = cell.file.summary.as_ref().and_then(&of).filter(|value| *value > 0.0);
    median(&repeats).zip(together).map_or(1.0, |(usual, together)| usual / together)
}

/// A percentile of a latency over its median.
fn tail_of(summary: &Summary, rank: Percentile, kind: LatencyKind) -> Option<f64> {
    let of = |rank| super::at(rank, kind).of(summary).filter(|value| *value > 0.0);
    Some(of(rank)? / of(Percentile::P50)?)
}
