//! Computes a [`Summary`] from records, and the cell's outcome from a summary.

use std::collections::BTreeMap;

use super::{
    context::CellContext,
    outcome::CellOutcome,
    samples::{self, Samples},
    summary::Summary,
};
use crate::load::{Outcome, Phase, Records};

/// Computes the summary of one repeat from its measured requests.
pub fn summarize(records: &Records, context: &CellContext<'_>) -> Summary {
    summarize_all(&[records], context)
}

/// Computes one summary of several repeats: samples are pooled, the lengths of windows added, and rates taken
/// over the sum.
pub fn pool(repeats: &[Records], context: &CellContext<'_>) -> Summary {
    summarize_all(&repeats.iter().collect::<Vec<_>>(), context)
}

fn summarize_all(repeats: &[&Records], context: &CellContext<'_>) -> Summary {
    let mut samples = Samples::default();
    for records in repeats {
        samples.gather(records, context);
    }
    samples.summary(samples::itl(repeats), context)
}

/// The outcome of a cell by its counts: whether all, some or no requests completed.
pub fn outcome(summary: &Summary) -> CellOutcome {
    match (summary.counts.completed, summary.counts.errors()) {
        (0, _) => CellOutcome::Failed,
        (_, 0) => CellOutcome::Ok,
        _ => CellOutcome::Degraded,
    }
}

/// Why a cell is not ok: its most common error.
pub fn reason(outcome: CellOutcome, errors: &[(String, u64)]) -> Option<String> {
    let first = errors.first().filter(|_| outcome != CellOutcome::Ok);
    first.map(|(error, count)| format!("{count} × {error}"))
}

/// Returns the five most common errors of failed requests with their number, the most common first, such as
/// `rejected(429): too many requests`. After ten thousand distinct messages new ones are ignored: such
/// messages differ in every request.
pub fn common_errors(repeats: &[Records]) -> Vec<(String, u64)> {
    const MOST: usize = 5;
    const MOST_DISTINCT: usize = 10_000;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for record in repeats.iter().flatten() {
        if record.phase == Phase::Measured && record.outcome != Outcome::Completed {
            let text = match &record.error {
                Some(error) => format!("{}: {error}", record.outcome),
                None => record.outcome.to_string(),
            };
            if counts.len() < MOST_DISTINCT || counts.contains_key(&text) {
                *counts.entry(text).or_default() += 1;
            }
        }
    }
    let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.truncate(MOST);
    counts
}
