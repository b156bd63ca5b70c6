//! Summary and records → verdicts: which numbers may be trusted, why not, and what would help.
//!
//! Every threshold stands as a constant beside the check that uses it.

mod answers;
mod client;
mod rate;
mod server;
mod steadiness;
mod trust;

use super::{
    context::CellContext,
    summary::Summary,
    totals::{ClientTotals, totals},
    verdict::{Severity, Verdict, VerdictKind},
};
use crate::{
    load::{Outcome, Phase, Record, Records},
    manifest::LatencyKind,
    unit::Percentile,
};

/// The numbers that rest on a count of output tokens.
const OF_TOKENS: [&str; 4] = ["throughput", "total", "user", "tpot"];

/// Everything a check may look at.
#[derive(Clone, Copy)]
struct Case<'a> {
    /// Of the pooled repeats.
    summary: &'a Summary,
    /// Of each repeat.
    repeats: &'a [Summary],
    /// The records of each repeat.
    records: &'a [Records],
    context: &'a CellContext<'a>,
    /// Of every request, warm-up included.
    totals: ClientTotals,
}

/// What is to be said of a cell, in the order of [`VerdictKind`]; at most one verdict of a kind, but for
/// [`VerdictKind::FewSamples`], of which there is one per percentile.
///
/// `summary` is of the pooled repeats, `repeats` of each, and `repeats_records` are what they were made of.
pub fn judge(
    summary: &Summary,
    repeats: &[Summary],
    repeats_records: &[Records],
    context: &CellContext<'_>,
) -> Vec<Verdict> {
    let case = Case { summary, repeats, records: repeats_records, context, totals: totals(repeats_records) };
    let mut verdicts = trust::few_samples(case);
    verdicts.extend(
        [
            trust::simulated,
            trust::errors,
            trust::retried,
            trust::warm_cache,
            server::cache_contaminated,
            trust::flags_unverified,
            answers::short_output,
            answers::input_length,
            token_counts,
            answers::not_streamed,
            client::client_late,
            client::client_saturated,
            client::arrivals_dropped,
            client::concurrency_not_reached,
            rate::rate_not_sustained,
            steadiness::not_steady,
            server::preempted,
            steadiness::repeats_disagree,
        ]
        .into_iter()
        .filter_map(|check| check(case)),
    );
    verdicts.sort_by_key(|verdict| verdict.kind);
    verdicts
}

/// What the answers say of themselves goes before what the server's counters say of them.
fn token_counts(case: Case<'_>) -> Option<Verdict> {
    answers::token_counts(case).or_else(|| server::counters_disagree(case))
}

impl<'a> Case<'a> {
    /// The measured requests that completed, of all repeats.
    fn completed(self) -> impl Iterator<Item = Record> + 'a {
        self.records
            .iter()
            .flatten()
            .filter(|record| record.phase == Phase::Measured && record.outcome == Outcome::Completed)
    }
}

fn note(kind: VerdictKind, reason: String, hint: impl Into<String>) -> Verdict {
    verdict(kind, Severity::Note, Vec::new(), reason, hint)
}

fn cell(kind: VerdictKind, reason: String, hint: impl Into<String>) -> Verdict {
    verdict(kind, Severity::Cell, Vec::new(), reason, hint)
}

fn metric(
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

/// The name of a percentile of a latency: `p95_ttft`.
fn named(rank: Percentile, metric: LatencyKind) -> String {
    format!("{rank}_{}", metric.name())
}

/// A share as people read it: `12.5 %`.
fn percent(share: f64) -> String {
    let text = format!("{:.1}", share * 100.0);
    format!("{} %", text.trim_end_matches(".0"))
}

/// `1 request`, `2 requests`.
fn requests(count: u64) -> String {
    format!("{count} request{}", if count == 1 { "" } else { "s" })
}
