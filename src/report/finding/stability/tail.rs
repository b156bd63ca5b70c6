//! How far the slowest requests, or the slowest tokens, are from the usual ones.

use super::{
    super::{Facts, Finding, Kind, place},
    row::{doubt_of_tail, less_odd, tail_of},
};
use crate::{
    manifest::LatencyKind,
    report::{
        metrics::at,
        model::{Block, Cell, Model, SAME},
        statistics::largest,
    },
    unit::Percentile,
};

/// A tail is long if p95 is this many times p50: limits for whole answers and for first tokens.
const LONG: [(LatencyKind, f64); 2] = [(LatencyKind::E2e, 1.3), (LatencyKind::Ttft, 2.0)];
/// A stream stalls if a percentile of ITL is this many times its p50.
const STALLS: [(Percentile, f64); 2] = [(Percentile::P95, 3.0), (Percentile::P99, 5.0)];

/// A percentile of a latency over its median.
#[derive(Clone, Copy)]
struct Tail<'m, 'a> {
    cell: &'m Cell<'a>,
    kind: LatencyKind,
    rank: Percentile,
    ratio: f64,
}

impl<'m, 'a> Tail<'m, 'a> {
    /// `None` if a verdict excludes it or it rests on too few samples. An unknown number of samples counts as
    /// enough.
    fn of(cell: &'m Cell<'a>, rank: Percentile, kind: LatencyKind) -> Option<Self> {
        let ratio = cell.tail(rank, kind)?;
        let samples = cell.samples(at(rank, kind));
        let enough = samples.is_none_or(|samples| samples >= rank.samples_needed());
        (enough && cell.has_own(kind)).then_some(Self { cell, kind, rank, ratio })
    }

    /// Whether it is longer than a limit, and not because of a single odd repeat.
    fn is_above(&self, limit: f64) -> bool {
        let less_odd = less_odd(self.cell, |repeat| tail_of(repeat, self.rank, self.kind));
        self.ratio * less_odd.min(1.0) > limit
    }

    fn facts(&self, model: &Model<'_>) -> Facts {
        let digits = model.digits(&[self.cell.index]);
        let (tail, middle) = (at(self.rank, self.kind), at(Percentile::P50, self.kind));
        Facts::new()
            .metric("metric", tail)
            .place("place", place(model, self.cell))
            .times("ratio", self.ratio, digits)
            .measure("value", tail, self.cell.ranked(tail), digits)
            .measure("middle", middle, self.cell.ranked(middle), digits)
    }
}

/// The p95 over p50 of a latency of every cell of a block.
fn all<'m, 'a>(model: &'m Model<'a>, block: &'m Block<'_>, kind: LatencyKind) -> Vec<Tail<'m, 'a>> {
    model.usable(block).filter_map(|cell| Tail::of(cell, Percentile::P95, kind)).collect()
}

/// The longest of some tails.
fn longest<'m, 'a>(tails: &[Tail<'m, 'a>]) -> Option<Tail<'m, 'a>> {
    largest(tails.iter().map(|own| (*own, own.ratio))).map(|(own, _)| own)
}

/// Long tails of one latency: of whole answers if some are long, else of first tokens.
pub(super) fn long_tail(model: &Model<'_>, block_at: usize, block: &Block<'_>) -> Option<Finding> {
    LONG.into_iter().find_map(|(kind, limit)| {
        let known = all(model, block, kind);
        let long: Vec<Tail<'_, '_>> = known.iter().copied().filter(|tail| tail.is_above(limit)).collect();
        let most = longest(&long)?;
        let noise = model.noise(block.workload);
        let own = doubt_of_tail(noise, most.cell, kind);
        let as_long = |tail: &&Tail<'_, '_>| {
            let log = (most.ratio / tail.ratio).ln();
            log < SAME || !own.over(doubt_of_tail(noise, tail.cell, kind)).is_beaten_by(log, long.len())
        };
        let cells: Vec<usize> = long.iter().map(|tail| tail.cell.index).collect();
        let least = long.iter().map(|tail| tail.ratio).fold(most.ratio, f64::min);
        let facts = most
            .facts(model)
            .times("least", least, model.digits(&cells))
            .count("of", known.len())
            .count("tied", long.iter().filter(as_long).count());
        let finding = Finding::of_block(Kind::LongTail, model, block_at, cells);
        Some(finding.strong_as(most.ratio).with(facts))
    })
}

/// The longest tail of whole answers, if no tail is long.
pub(super) fn tails(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    if long_tail(model, at, block).is_some() {
        return None;
    }
    let known = all(model, block, LatencyKind::E2e);
    let [(_, limit), _] = LONG;
    let most = longest(&known).filter(|tail| tail.ratio <= limit)?;
    let facts = most.facts(model).count("of", model.usable(block).count());
    let cells = known.iter().map(|tail| tail.cell.index);
    Some(Finding::of_block(Kind::Tail, model, at, cells).strong_as(most.ratio).with(facts))
}

/// Streams of tokens that stall now and then.
pub(super) fn stalls(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let tails = |cell| STALLS.map(|(rank, limit)| (Tail::of(cell, rank, LatencyKind::Itl), limit));
    let stalled =
        |cell| tails(cell).into_iter().find_map(|(tail, limit)| tail.filter(|own| own.is_above(limit)));
    let known = model.usable(block).filter(|cell| tails(cell).iter().any(|(tail, _)| tail.is_some()));
    let found: Vec<Tail<'_, '_>> = model.usable(block).filter_map(stalled).collect();
    let most = longest(&found)?;
    let facts = most.facts(model).count("of", known.count());
    let cells = found.iter().map(|tail| tail.cell.index);
    Some(Finding::of_block(Kind::Stalls, model, at, cells).strong_as(most.ratio).with(facts))
}
