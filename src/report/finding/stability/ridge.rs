//! Cells that stand out from both of their neighbours on an axis: by a latency, or by how long its tail is.

use super::{
    super::{Facts, Finding, Kind, Unit, at, middle, place, place_on, tail},
    doubt_of_tail, less_odd, rows, tail_of,
};
use crate::{
    manifest::LatencyKind,
    measure::Metric,
    report::model::{Block, Cell, Doubt, Model, Noise, Streaming},
    unit::Percentile,
};

/// A latency is a ridge when it is this many times the larger of its neighbours'.
const RIDGE: f64 = 1.25;
/// The same of a median TTFT, which goes up and down with the load in any engine.
const MEDIAN_TTFT_RIDGE: f64 = 1.5;
/// A tail is a ridge when its p95 over p50 is this many times that of both neighbours.
const TAIL_RIDGE: f64 = 1.2;
/// The same of TTFT.
const TTFT_TAIL_RIDGE: f64 = 1.5;

/// One number of three cells that follow each other on an axis.
struct Compared {
    /// The latency; of a tail its p95.
    metric: Metric,
    values: [f64; 3],
    /// What may be chance in the middle one over the larger of the others.
    doubt: Doubt,
    /// The least jump that matters.
    least: f64,
    /// What is left of the middle one without an odd repeat.
    less_odd: f64,
}

impl Compared {
    /// The middle one over the larger of the others.
    fn jump(&self) -> f64 {
        self.values[1] / self.values[0].max(self.values[2])
    }
}

/// Three cells and their number; the middle one may stand out.
struct Candidate<'m, 'a> {
    axis: usize,
    cells: [&'m Cell<'a>; 3],
    number: Compared,
}

/// What a latency of three cells is compared by.
type Compare = fn(&Noise, LatencyKind, [&Cell<'_>; 3]) -> Vec<Compared>;

fn all(values: [Option<f64>; 3]) -> Option<[f64; 3]> {
    let [Some(before), Some(own), Some(after)] = values else { return None };
    Some([before, own, after]).filter(|values| values.iter().all(|value| *value > 0.0))
}

/// Its tail and its middle, by the first metric of each that all three may be ranked by.
fn sizes(noise: &Noise, kind: LatencyKind, three: [&Cell<'_>; 3]) -> Vec<Compared> {
    let of_middle = if kind == LatencyKind::Ttft { MEDIAN_TTFT_RIDGE } else { RIDGE };
    let first = |(metrics, least): ([Metric; 2], f64)| {
        metrics.into_iter().find_map(|metric| {
            let values = all(three.map(|cell| cell.ranked(metric)))?;
            let doubt = noise.of_extreme(three[1], &[three[0], three[2]], metric);
            let less_odd = less_odd(three[1], |repeat| metric.of(repeat));
            Some(Compared { metric, values, doubt, least, less_odd })
        })
    };
    [(tail(kind), RIDGE), (middle(kind), of_middle)].into_iter().filter_map(first).collect()
}

/// How long its tail is.
fn tails(noise: &Noise, kind: LatencyKind, three: [&Cell<'_>; 3]) -> Vec<Compared> {
    let [before, own, after] = three.map(|cell| doubt_of_tail(noise, cell, kind));
    let doubt = Doubt { error: own.error.hypot(before.error.max(after.error)), df: own.df };
    let least = if kind == LatencyKind::Ttft { TTFT_TAIL_RIDGE } else { TAIL_RIDGE };
    let values = all(three.map(|cell| cell.tail(Percentile::P95, kind)));
    let less_odd = less_odd(three[1], |repeat| tail_of(repeat, Percentile::P95, kind));
    let compared = |values| Compared { metric: at(Percentile::P95, kind), values, doubt, least, less_odd };
    values.map(compared).into_iter().collect()
}

/// Everything in a block that might stand out.
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
            // What came whole has no TTFT of its own.
            let kinds = match cells.iter().all(|cell| cell.streaming == Streaming::Streamed) {
                true => &[LatencyKind::E2e, LatencyKind::Ttft][..],
                false => &[LatencyKind::E2e],
            };
            let numbers = kinds.iter().flat_map(|kind| compare(noise, *kind, cells));
            found.extend(numbers.map(|number| Candidate { axis: row.line.axis, cells, number }));
        }
    }
    found
}

/// The cells of a block that stand out beyond chance, each by what it stands out most by.
fn standing_out(model: &Model<'_>, at: usize, kind: Kind, compare: Compare) -> Vec<Finding> {
    let all = candidates(model, &model.blocks[at], compare);
    let tests = all.len();
    let mut found: Vec<&Candidate<'_, '_>> = Vec::new();
    for own in &all {
        let jump = own.number.jump();
        let is_large = jump * own.number.less_odd.min(1.0) > own.number.least;
        if !is_large || !own.number.doubt.is_beaten_by(jump.ln(), tests) {
            continue;
        }
        match found.iter_mut().find(|known| known.cells[1].index == own.cells[1].index) {
            Some(known) if jump > known.number.jump() => *known = own,
            Some(_) => {}
            None => found.push(own),
        }
    }
    found.into_iter().map(|own| finding(model, at, kind, own)).collect()
}

fn finding(model: &Model<'_>, at: usize, kind: Kind, found: &Candidate<'_, '_>) -> Finding {
    let ([before, own, after], number) = (found.cells, &found.number);
    let digits = model.digits(&found.cells.map(|cell| cell.index));
    let on_axis = |cell: &Cell<'_>| place_on(model, cell, |axis| axis == found.axis);
    let unit = if kind == Kind::Ridge { number.metric.unit().into() } else { Unit::Times };
    let mut facts = Facts::new()
        .name("axis", model.axes[found.axis].label())
        .metric("metric", number.metric)
        .place("place", place(model, own))
        .place("before_place", on_axis(before))
        .place("after_place", on_axis(after))
        .number("value", number.values[1], unit, digits)
        .number("before", number.values[0], unit, digits)
        .number("after", number.values[2], unit, digits)
        .times("jump", number.jump(), digits);
    if let Some(samples) = own.samples(number.metric) {
        facts = facts.plain("samples", samples as f64);
    }
    Finding::of_block(kind, model, at, [own.index]).strong_as(number.jump()).with(facts)
}

/// Cells with a latency above that of both neighbours.
pub(super) fn ridges(model: &Model<'_>) -> Vec<Finding> {
    (0..model.blocks.len()).flat_map(|at| standing_out(model, at, Kind::Ridge, sizes)).collect()
}

/// Cells with a tail longer than that of both neighbours, whatever the latency itself does.
pub(super) fn tail_ridges(model: &Model<'_>) -> Vec<Finding> {
    (0..model.blocks.len()).flat_map(|at| standing_out(model, at, Kind::TailRidge, tails)).collect()
}
