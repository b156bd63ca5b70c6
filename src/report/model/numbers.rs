//! The numbers of a cell, each looked up once: rules read them millions of times.

use std::sync::OnceLock;

use crate::{
    manifest::LatencyKind,
    measure::{Metric, Rank, Rate, VerdictKind},
    store::CellFile,
    unit::Percentile,
};

/// The ranks of a latency that are kept.
const RANKS: [Rank; 4] =
    [Rank::At(Percentile::P50), Rank::At(Percentile::P95), Rank::At(Percentile::P99), Rank::Mean];
const RATES: [Rate; 5] = [Rate::Output, Rate::Total, Rate::Requests, Rate::User, Rate::Goodput];

/// A number, and whether conclusions may rest on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Number {
    pub(crate) value: f64,
    /// The verdict that excludes it; `None` if it may be ranked.
    pub(crate) excluded: Option<VerdictKind>,
}

/// The numbers of one cell.
pub(crate) struct Numbers(Vec<Slot>);

/// A number with its standard error.
#[derive(Default)]
struct Slot {
    number: Option<Number>,
    /// The standard error of its logarithm, from its samples alone.
    sampled: OnceLock<Option<f64>>,
}

/// The index of a metric; `None` for a rank that is rarely used.
fn place(metric: Metric) -> Option<usize> {
    match metric {
        Metric::Latency(rank, kind) => {
            let rank = RANKS.iter().position(|own| *own == rank)?;
            Some(kind as usize * RANKS.len() + rank)
        }
        Metric::Rate(rate) => Some(LatencyKind::ALL.len() * RANKS.len() + rate as usize),
    }
}

impl Numbers {
    pub(super) fn of(file: &CellFile) -> Self {
        let latencies =
            LatencyKind::ALL.into_iter().flat_map(|kind| RANKS.map(|rank| Metric::Latency(rank, kind)));
        let all = latencies.chain(RATES.map(Metric::Rate));
        Self(all.map(|metric| Slot { number: number(file, metric), ..Slot::default() }).collect())
    }

    /// Returns a number; `None` if it was not measured.
    pub(super) fn get(&self, file: &CellFile, metric: Metric) -> Option<Number> {
        match place(metric) {
            Some(place) => self.0[place].number,
            None => number(file, metric),
        }
    }

    /// Returns the standard error of the logarithm of a number, from its samples alone; computed once.
    pub(super) fn sampled(&self, metric: Metric, compute: impl FnOnce() -> Option<f64>) -> Option<f64> {
        match place(metric) {
            Some(place) => *self.0[place].sampled.get_or_init(compute),
            None => compute(),
        }
    }
}

/// A probe that ended early was stopped because of what its first requests showed, so its numbers are biased and
/// rest on few samples: they decide the search and nothing else.
fn number(file: &CellFile, metric: Metric) -> Option<Number> {
    let value = file.number(metric)?;
    let early = file.ended_early.as_ref().map(|_| VerdictKind::FewSamples);
    Some(Number { value, excluded: metric.excluded_by(&file.verdicts).or(early) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    #[test]
    fn every_number_is_kept_at_its_own_place() {
        for run in [fixtures::grid(), fixtures::streamed()] {
            for cell in &run.cells {
                let numbers = Numbers::of(cell);
                for metric in Metric::COLUMNS {
                    assert_eq!(numbers.get(cell, metric), number(cell, metric), "{metric:?}");
                }
            }
        }
    }
}
