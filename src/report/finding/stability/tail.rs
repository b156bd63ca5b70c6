//! How far the slowest requests, or the slowest tokens, are from the usual ones.

use super::{
    super::{Facts, Finding, Kind, at, each_block, place},
    doubt_of_tail, less_odd, tail_of, usable,
};
use crate::{
    manifest::LatencyKind,
    report::model::{Block, Cell, Doubt, Model, SAME, Streaming},
    unit::Percentile,
};

/// A tail is long when p95 is this many times p50: that of whole answers, and that of first tokens.
const LONG: [(LatencyKind, f64); 2] = [(LatencyKind::E2e, 1.3), (LatencyKind::Ttft, 2.0)];
/// Tokens stall where the p95 of ITL, or its p99, is this many times its p50.
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
    /// `None` where a verdict excludes it, or it rests on too few samples. Where nobody says on how many, it
    /// stands.
    fn of(cell: &'m Cell<'a>, rank: Percentile, kind: LatencyKind) -> Option<Self> {
        let ratio = cell.tail(rank, kind)?;
        let samples = cell.samples(at(rank, kind));
        let enough = samples.is_none_or(|samples| samples >= rank.samples_needed());
        // What came whole has neither first tokens nor gaps.
        let own = kind == LatencyKind::E2e || cell.streaming == Streaming::Streamed;
        (enough && own).then_some(Self { cell, kind, rank, ratio })
    }

    /// Whether it is longer than a limit, and not for one odd repeat alone.
    fn is_above(&self, limit: f64) -> bool {
        let less_odd = less_odd(self.cell, |repeat| tail_of(repeat, self.rank, self.kind));
        self.ratio * less_odd.min(1.0) > limit
    }

    /// The latency, its values, and where it is.
    fn facts(&self, model: &Model<'_>) -> Facts {
        let digits = model.digits(&[self.cell.index]);
        let (tail, middle) = (at(self.rank, self.kind), at(Percentile::P50, self.kind));
        let mut facts = Facts::new()
            .metric("metric", tail)
            .place("place", place(model, self.cell))
            .times("ratio", self.ratio, digits);
        for (name, metric) in [("value", tail), ("middle", middle)] {
            if let Some(value) = self.cell.ranked(metric) {
                facts = facts.measure(name, metric, value, digits);
            }
        }
        facts
    }
}

/// The p95 over p50 of a latency of every cell of a block.
fn all<'m, 'a>(model: &'m Model<'a>, block: &'m Block<'_>, kind: LatencyKind) -> Vec<Tail<'m, 'a>> {
    usable(model, block).filter_map(|cell| Tail::of(cell, Percentile::P95, kind)).collect()
}

/// The longest of some tails; of equal ones the first.
fn longest<'t, 'm, 'a>(tails: &'t [Tail<'m, 'a>]) -> Option<&'t Tail<'m, 'a>> {
    tails.iter().reduce(|best, own| if own.ratio > best.ratio { own } else { best })
}

/// Long tails of one latency: of whole answers where some of them are long, else of first tokens.
fn long_tail(model: &Model<'_>, block_at: usize, block: &Block<'_>) -> Option<Finding> {
    LONG.into_iter().find_map(|(kind, limit)| {
        let known = all(model, block, kind);
        let long: Vec<Tail<'_, '_>> = known.iter().copied().filter(|tail| tail.is_above(limit)).collect();
        let most = longest(&long)?;
        let noise = model.noise(block.workload);
        let own = doubt_of_tail(noise, most.cell, kind);
        let as_long = |tail: &&Tail<'_, '_>| {
            let log = (most.ratio / tail.ratio).ln();
            let other = doubt_of_tail(noise, tail.cell, kind);
            let doubt = Doubt { error: own.error.hypot(other.error), df: own.df };
            log < SAME || !doubt.is_beaten_by(log, long.len())
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

/// Tails that are long, in one finding for a block.
pub(super) fn long_tails(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, |at, block| long_tail(model, at, block))
}

/// How long the tails of whole answers are at most, where none is long.
pub(super) fn tails(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, |at, block| {
        if long_tail(model, at, block).is_some() {
            return None;
        }
        let known = all(model, block, LatencyKind::E2e);
        let [(_, limit), _] = LONG;
        let most = longest(&known).filter(|tail| tail.ratio <= limit)?;
        let facts = most.facts(model).count("of", usable(model, block).count());
        let cells = known.iter().map(|tail| tail.cell.index);
        Some(Finding::of_block(Kind::Tail, model, at, cells).strong_as(most.ratio).with(facts))
    })
}

/// Streams of tokens that stop now and then.
pub(super) fn stalls(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, |at, block| {
        let known = |cell: &&Cell<'_>| {
            STALLS.into_iter().any(|(rank, _)| Tail::of(cell, rank, LatencyKind::Itl).is_some())
        };
        let stalled: Vec<Tail<'_, '_>> = usable(model, block)
            .filter_map(|cell| {
                let tail = |(rank, limit)| {
                    Tail::of(cell, rank, LatencyKind::Itl).filter(|tail| tail.is_above(limit))
                };
                STALLS.into_iter().find_map(tail)
            })
            .collect();
        let most = longest(&stalled)?;
        let facts = most.facts(model).count("of", usable(model, block).filter(known).count());
        let cells = stalled.iter().map(|tail| tail.cell.index);
        Some(Finding::of_block(Kind::Stalls, model, at, cells).strong_as(most.ratio).with(facts))
    })
}
