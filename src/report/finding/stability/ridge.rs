//! Cells that stand out from both neighbours on an axis: by a latency, or by the length of its tail.

use super::{
    super::{Finding, Kind, Unit},
    row::{Neighbours, doubt_of_tail, less_odd, rows, tail_of},
};
use crate::{
    manifest::LatencyKind,
    measure::Metric,
    report::{
        metrics::{at, middle, tail},
        model::{Block, Cell, Doubt, Model, Noise},
    },
    unit::Percentile,
};

/// A latency is a ridge if it is this many times the larger of its neighbours'.
const RIDGE: f64 = 1.25;
/// The limit of a median TTFT, which varies with the load in any engine.
const MEDIAN_TTFT_RIDGE: f64 = 1.5;
/// A tail is a ridge if its p95 over p50 is this many times that of both neighbours.
const TAIL_RIDGE: f64 = 1.2;
/// The limit of a tail of TTFT.
const TTFT_TAIL_RIDGE: f64 = 1.5;

/// One number of three neighbouring cells.
struct Compared {
    /// The latency; of a tail its p95.
    metric: Metric,
    values: [f64; 3],
    /// The doubt of the middle one over the larger of the others.
    doubt: Doubt,
    /// The smallest jump that matters.
    least: f64,
    /// The part of the middle one that remains without an odd repeat.
    less_odd: f64,
}

impl Compared {
    /// The middle one over the larger of the others.
    fn jump(&self) -> f64 {
        self.values[1] / self.values[0].max(self.values[2])
    }
}

/// Three cells whose middle one may stand out by a number.
struct Candidate<'m, 'a> {
    place: Neighbours<'m, 'a>,
    number: Compared,
}

/// The numbers by which a latency of three cells is compared.
type Compare = fn(&Noise, LatencyKind, [&Cell<'_>; 3]) -> Vec<Compared>;

/// Three numbers, if all are known and positive.
fn all(values: [Option<f64>; 3]) -> Option<[f64; 3]> {
    let [Some(before), Some(own), Some(after)] = values else { return None };
    Some([before, own, after]).filter(|values| values.iter().all(|value| *value > 0.0))
}

/// The tail and the middle of a latency, each by the first metric by which all three cells may be ranked.
fn sizes(noise: &Noise, kind: LatencyKind, three: [&Cell<'_>; 3]) -> Vec<Compared> {
    let of_middle = if kind == LatencyKind::Ttft { MEDIAN_TTFT_RIDGE } else { RIDGE };
    let first = |(metrics, least): ([Metric; 2], f64)| {
        metrics.into_iter().find_map(|metric| {
            let values = all(three.map(|cell| cell.ranked(metric)))?;
            let [before, own, after] = three.map(|cell| noise.of_cell(cell, metric));
            let less_odd = less_odd(three[1], |repeat| metric.of(repeat));
            Some(Compared { metric, values, doubt: own.over_extreme([before, after]), least, less_odd })
        })
    };
    [(tail(kind), RIDGE), (middle(kind), of_middle)].into_iter().filter_map(first).collect()
}

/// The length of the tail of a latency.
fn tails(noise: &Noise, kind: LatencyKind, three: [&Cell<'_>; 3]) -> Vec<Compared> {
    let [before, own, after] = three.map(|cell| doubt_of_tail(noise, cell, kind));
    let doubt = own.over_extreme([before, after]);
    let least = if kind == LatencyKind::Ttft { TTFT_TAIL_RIDGE } else { TAIL_RIDGE };
    let values = all(three.map(|cell| cell.tail(Percentile::P95, kind)));
    let less_odd = less_odd(three[1], |repeat| tail_of(repeat, Percentile::P95, kind));
    let compared = |values| Compared { metric: at(Percentile::P95, kind), values, doubt, least, less_odd };
    values.map(compared).into_iter().collect()
}

/// Every number of a block that may stand out.
fn candidates<'m, 'a>(
    model: &'m Model<'a>,
    block: &'m Block<'_>,
    compare: Compare,
) -> Vec<Candidate<'m, 'a>> {
    let noise = model.noise(block.workload);
    let mut found = Vec::new();
    for row in rows(model, block) {
        for three in row.cells.windows(3) {
            let cells = [three[0].1, three[1].1, three[2].1];
            let kinds = [LatencyKind::E2e, LatencyKind::Ttft].into_iter();
            let kinds = kinds.filter(|kind| cells.iter().all(|cell| cell.has_own(*kind)));
            let numbers = kinds.flat_map(|kind| compare(noise, kind, cells));
            let axis = row.line.axis;
            found.extend(numbers.map(|number| Candidate { place: Neighbours { axis, cells }, number }));
        }
    }
    found
}

/// The cells of a block that stand out beyond chance, each by the number by which it stands out most.
fn standing_out(
    model: &Model<'_>,
    (at, block): (usize, &Block<'_>),
    kind: Kind,
    compare: Compare,
) -> Vec<Finding> {
    let all = candidates(model, block, compare);
    let cell = |own: &Candidate<'_, '_>| own.place.cells[1].index;
    let mut found: Vec<&Candidate<'_, '_>> = Vec::new();
    for own in &all {
        let jump = own.number.jump();
        let is_large = jump * own.number.less_odd.min(1.0) > own.number.least;
        if !is_large || !own.number.doubt.is_beaten_by(jump.ln(), all.len()) {
            continue;
        }
        match found.iter_mut().find(|known| cell(known) == cell(own)) {
            Some(known) if jump > known.number.jump() => *known = own,
            Some(_) => {}
            None => found.push(own),
        }
    }
    let finding = |own: &Candidate<'_, '_>| {
        let (number, middle) = (&own.number, own.place.cells[1]);
        let digits = model.digits(&own.place.cells.map(|cell| cell.index));
        let unit = if kind == Kind::Ridge { number.metric.unit().into() } else { Unit::Times };
        let facts = own
            .place
            .facts(model, number.metric, number.values, unit)
            .times("jump", number.jump(), digits)
            .plain("samples", middle.samples(number.metric).map(|samples| samples as f64));
        Finding::of_block(kind, model, at, [middle.index]).strong_as(number.jump()).with(facts)
    };
    found.into_iter().map(finding).collect()
}

/// Cells with a latency above that of both neighbours.
pub(super) fn ridges(model: &Model<'_>, at: usize, block: &Block<'_>) -> Vec<Finding> {
    standing_out(model, (at, block), Kind::Ridge, sizes)
}

/// Cells with a longer tail than both neighbours, whatever the latency itself does.
pub(super) fn tail_ridges(model: &Model<'_>, at: usize, block: &Block<'_>) -> Vec<Finding> {
    standing_out(model, (at, block), Kind::TailRidge, tails)
}
