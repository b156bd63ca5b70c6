//! The metrics that describe a latency or a throughput, preferred one first: tools report different ones.

use crate::{
    manifest::LatencyKind,
    measure::{Metric, Rank, Rate},
    unit::Percentile,
};

/// The throughput of a cell.
pub(super) const RATES: [Metric; 3] =
    [Metric::Rate(Rate::Output), Metric::Rate(Rate::Total), Metric::Rate(Rate::Requests)];

/// A percentile of a latency.
pub(super) const fn at(percentile: Percentile, kind: LatencyKind) -> Metric {
    Metric::Latency(Rank::At(percentile), kind)
}

/// The mean of a latency.
pub(super) const fn mean(kind: LatencyKind) -> Metric {
    Metric::Latency(Rank::Mean, kind)
}

/// The middle of a latency.
pub(super) fn middle(kind: LatencyKind) -> [Metric; 2] {
    [at(Percentile::P50, kind), mean(kind)]
}

/// The tail of a latency.
pub(super) fn tail(kind: LatencyKind) -> [Metric; 2] {
    [at(Percentile::P95, kind), at(Percentile::P99, kind)]
}

/// The middle of the time between tokens.
pub(super) fn pace() -> Vec<Metric> {
    [middle(LatencyKind::Tpot), middle(LatencyKind::Itl)].concat()
}

/// The middle of the latency of a request.
pub(super) fn response() -> Vec<Metric> {
    [middle(LatencyKind::E2e), middle(LatencyKind::Ttft)].concat()
}
