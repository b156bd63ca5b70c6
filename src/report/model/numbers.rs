//! The numbers of a cell, each looked up once: rules ask for them millions of times.

use std::sync::OnceLock;

use super::Number;
use crate::{
    manifest::LatencyKind,
    measure::{Metric, Rank, Rate},
    store::CellFile,
    unit::Percentile,
};

/// The ranks of a latency that are kept.
const RANKS: [Rank; 4] =
    [Rank::At(Percentile::P50), Rank::At(Percentile::P95), Rank::At(Percentile::P99), Rank::Mean];
const RATES: [Rate; 5] = [Rate::Output, Rate::Total, Rate::Requests, Rate::User, Rate::Goodput];

/// The numbers of one cell.
pub(in crate::report) struct Numbers(Vec<Slot>);

/// One of them.
#[derive(Default)]
struct Slot {
    number: Option<Number>,
    /// The standard error that its samples alone give its logarithm.
    sampled: OnceLock<Option<f64>>,
}

/// Where a metric is kept; `None` of a rank that few ask for.
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

    /// A number with what stands against it; absent where it was not measured.
    pub(super) fn get(&self, file: &CellFile, metric: Metric) -> Option<Number> {
        match place(metric) {
            Some(place) => self.0[place].number,
            None => number(file, metric),
        }
    }

    /// The standard error of the logarithm of a number, by its samples alone; `compute` says it once.
    pub(super) fn sampled(&self, metric: Metric, compute: impl FnOnce() -> Option<f64>) -> Option<f64> {
        match place(metric) {
            Some(place) => *self.0[place].sampled.get_or_init(compute),
            None => compute(),
        }
    }
}

fn number(file: &CellFile, metric: Metric) -> Option<Number> {
    let value = file.number(metric)?;
    Some(Number { value, excluded: metric.excluded_by(&file.verdicts) })
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
