//! Throughput below that of both neighbours on an axis.

use super::{
    super::{Finding, Kind},
    row::{Neighbours, less_odd, rows},
};
use crate::{
    measure::Metric,
    report::model::{Block, Curve, Doubt, Model, Point},
};

/// Throughput is a dip below this part of the smaller of its two neighbours.
const DIP: f64 = 0.9;

/// Three consecutive points of a curve.
struct Three {
    axis: usize,
    brings: Metric,
    points: [Point; 3],
}

impl Three {
    /// The throughput of the middle point over the smaller of the others, and its doubt.
    fn ratio(&self) -> (f64, Doubt) {
        let [before, own, after] = self.points;
        (own.value / before.value.min(after.value), own.doubt.over_extreme([before.doubt, after.doubt]))
    }
}

/// All triples of comparable cells along every axis; along the load only where it grows.
fn threes(model: &Model<'_>, block: &Block<'_>) -> Vec<Three> {
    let mut found = Vec::new();
    for row in rows(model, block) {
        let Some(curve) = Curve::of(model, row.line) else { continue };
        let axis = row.line.axis;
        let grows = |three: &&[Point]| {
            Some(axis) != block.load_axis || three[0].load < three[1].load && three[1].load < three[2].load
        };
        let threes = curve.points.windows(3).filter(grows);
        found.extend(threes.map(|own| Three {
            axis,
            brings: curve.brings,
            points: [own[0], own[1], own[2]],
        }));
    }
    found
}

/// Cells with a lower throughput than both neighbours.
pub(super) fn dips(model: &Model<'_>, at: usize, block: &Block<'_>) -> Vec<Finding> {
    let all = threes(model, block);
    let is_dip = |three: &&Three| {
        let (ratio, doubt) = three.ratio();
        let less_odd = less_odd(&model.cells[three.points[1].cell], |repeat| three.brings.of(repeat));
        ratio * less_odd.max(1.0) < DIP && doubt.is_beaten_by(ratio.ln(), all.len())
    };
    let finding = |three: &Three| {
        let cells = three.points.map(|point| &model.cells[point.cell]);
        let digits = model.digits(&three.points.map(|point| point.cell));
        let (ratio, _) = three.ratio();
        let facts = Neighbours { axis: three.axis, cells }
            .facts(model, three.brings, three.points.map(|point| point.value), three.brings.unit().into())
            .times("ratio", ratio, digits);
        Finding::of_block(Kind::Dip, model, at, [cells[1].index]).strong_as(ratio).with(facts)
    };
    all.iter().filter(is_dip).map(finding).collect()
}
