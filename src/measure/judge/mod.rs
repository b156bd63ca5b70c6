//! The checks that decide which numbers of a cell may be trusted. Each returns a verdict with its reason and
//! a hint.
//!
//! Every threshold is a constant next to the check that uses it.

mod answers;
mod client;
mod evidence;
mod rate;
mod server;
mod steadiness;
mod trust;

pub use trust::few_samples;

use super::{context::CellContext, summary::Summary, totals::totals, verdict::Verdict};
use crate::load::Records;
use evidence::Evidence;

/// Runs every check on a cell and returns its verdicts, ordered by [`super::VerdictKind`]: at most one of
/// each kind, except
/// [`super::VerdictKind::FewSamples`] with one per percentile.
///
/// `summary` covers the pooled repeats, `repeats` are the summaries of each, and `records` are the records of
/// each.
pub fn judge(
    summary: &Summary,
    repeats: &[Summary],
    records: &[Records],
    context: &CellContext<'_>,
) -> Vec<Verdict> {
    let evidence = Evidence { summary, repeats, records, context, totals: totals(records) };
    let samples = |_, metric| summary.latency(metric).map(|latency| latency.n);
    let mut verdicts = few_samples(&context.spec.slo, " (`requests`, or more `repeats`)", samples);
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
            steadiness::wide_interval,
        ]
        .into_iter()
        .filter_map(|check| check(evidence)),
    );
    verdicts.sort_by_key(|verdict| verdict.kind);
    verdicts
}

/// Checks token counts by the answers first, then by the server's counters.
fn token_counts(evidence: Evidence<'_>) -> Option<Verdict> {
    answers::token_counts(evidence).or_else(|| server::counters_disagree(evidence))
}
