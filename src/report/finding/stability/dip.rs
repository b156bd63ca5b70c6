//! Throughput below that of both neighbours on an axis.

use super::{
    super::{Facts, Finding, Kind, place, place_on},
    less_odd, rows,
};
use crate::{
    measure::Metric,
    report::model::{Block, Curve, Doubt, Model, Point},
};

/// Throughput is a dip when it is below this part of the smaller of its two neighbours.
const DIP: f64 = 0.9;

/// Three points of a curve in a row.
struct Three {
    axis: usize,
    brings: Metric,
    points: [Point; 3],
}

impl Three {
    /// What the middle one brings over the smaller of the others, and what of it may be chance.
    fn ratio(&self) -> (f64, Doubt) {
        let [before, own, after] = self.points;
        let doubt = Doubt {
            error: own.doubt.error.hypot(before.doubt.error.max(after.doubt.error)),
            df: own.doubt.df,
        };
        (own.value / before.value.min(after.value), doubt)
    }
}

/// Along every axis the cells that may be compared, by three; along the load only where it grows.
fn threes(model: &Model<'_>, block: &Block<'_>) -> Vec<Three> {
    let mut found = Vec::new();
    for row in rows(model, block) {
        let Some(curve) = Curve::of(model, row.line) else { continue };
        let is_load = Some(row.line.axis) == block.load_axis;
        let comes =
            |three: &&[Point]| !is_load || three[0].load < three[1].load && three[1].load < three[2].load;
        found.extend(curve.points.windows(3).filter(comes).map(|three| Three {
            axis: row.line.axis,
            brings: curve.brings,
            points: [three[0], three[1], three[2]],
        }));
    }
    found
}

/// Cells that bring less than both cells beside them.
pub(super) fn dips(model: &Model<'_>) -> Vec<Finding> {
    let of_block = |(at, block): (usize, &Block<'_>)| -> Vec<Finding> {
        let all = threes(model, block);
        let is_dip = |three: &&Three| {
            let (ratio, doubt) = three.ratio();
            let less_odd = less_odd(&model.cells[three.points[1].cell], |repeat| three.brings.of(repeat));
            ratio * less_odd.max(1.0) < DIP && doubt.is_beaten_by(ratio.ln(), all.len())
        };
        all.iter().filter(is_dip).map(|three| dip(model, at, three)).collect()
    };
    model.blocks.iter().enumerate().flat_map(of_block).collect()
}

fn dip(model: &Model<'_>, at: usize, three: &Three) -> Finding {
    let cells = three.points.map(|point| point.cell);
    let [before, own, after] = cells.map(|cell| &model.cells[cell]);
    let values = three.points.map(|point| point.value);
    let digits = model.digits(&cells);
    let (ratio, _) = three.ratio();
    let on_axis = |cell| place_on(model, cell, |axis| axis == three.axis);
    let facts = Facts::new()
        .name("axis", model.axes[three.axis].label())
        .metric("metric", three.brings)
        .place("place", place(model, own))
        .place("before_place", on_axis(before))
        .place("after_place", on_axis(after))
        .measure("value", three.brings, values[1], digits)
        .measure("before", three.brings, values[0], digits)
        .measure("after", three.brings, values[2], digits)
        .times("ratio", ratio, digits);
    Finding::of_block(Kind::Dip, model, at, [own.index]).strong_as(ratio).with(facts)
}
