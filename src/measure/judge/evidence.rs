//! What the checks share: the evidence about a cell, and constructors of verdicts.

use crate::{
    load::{Outcome, Phase, Record, Records},
    manifest::LatencyKind,
    measure::{
        context::CellContext,
        summary::Summary,
        totals::ClientTotals,
        verdict::{Severity, Verdict, VerdictKind},
    },
    observe::EngineSide,
    unit::Percentile,
};

/// The metrics that depend on counts of output tokens.
pub(super) const TOKEN_METRICS: [&str; 4] = ["throughput", "total", "user", "tpot"];

#[derive(Clone, Copy)]
pub(super) struct Evidence<'a> {
    /// The summary over all repeats pooled.
    pub(super) summary: &'a Summary,
    pub(super) repeats: &'a [Summary],
    pub(super) records: &'a [Records],
    pub(super) context: &'a CellContext<'a>,
    /// The client's counts of all requests, warm-up included.
    pub(super) totals: ClientTotals,
}

impl<'a> Evidence<'a> {
    /// The engine's metrics over all repeats.
    pub(super) fn engine(self) -> Option<&'a EngineSide> {
        self.context.server.and_then(|server| server.engine.as_ref())
    }

    /// The measured requests of all repeats that completed.
    pub(super) fn completed(self) -> impl Iterator<Item = Record> + 'a {
        self.records
            .iter()
            .flatten()
            .filter(|record| record.phase == Phase::Measured && record.outcome == Outcome::Completed)
    }
}

pub(super) fn note(kind: VerdictKind, reason: String, hint: impl Into<String>) -> Verdict {
    verdict(kind, Severity::Note, Vec::new(), reason, hint)
}

pub(super) fn cell(kind: VerdictKind, reason: String, hint: impl Into<String>) -> Verdict {
    verdict(kind, Severity::Cell, Vec::new(), reason, hint)
}

pub(super) fn metric(
    kind: VerdictKind,
    touches: impl IntoIterator<Item = impl Into<String>>,
    reason: String,
    hint: impl Into<String>,
) -> Verdict {
    let touches = touches.into_iter().map(Into::into).collect();
    verdict(kind, Severity::Metric, touches, reason, hint)
}

fn verdict(
    kind: VerdictKind,
    severity: Severity,
    touches: Vec<String>,
    reason: String,
    hint: impl Into<String>,
) -> Verdict {
    Verdict { kind, severity, touches, reason, hint: hint.into() }
}

/// The names of the p95 and p99 of latencies: `p95_ttft`.
pub(super) fn tails(metrics: &[LatencyKind]) -> Vec<String> {
    let ranks = [Percentile::P95, Percentile::P99];
    metrics.iter().flat_map(|metric| ranks.map(|rank| named(rank, *metric))).collect()
}

/// The name of a percentile of a latency: `p95_ttft`.
pub(super) fn named(rank: Percentile, metric: LatencyKind) -> String {
    format!("{rank}_{}", metric.name())
}

/// Formats a share: `12.5 %`.
pub(super) fn percent(share: f64) -> String {
    let text = format!("{:.1}", share * 100.0);
    format!("{} %", text.trim_end_matches(".0"))
}

/// `1 request`, `2 requests`.
pub(super) fn requests(count: u64) -> String {
    counted(count, "request")
}

/// A number of things: `1 answer`, `2 answers`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
