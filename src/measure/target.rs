//! Compares a cell with its latency targets.

use super::summary::Summary;
use crate::manifest::{Slo, SloTerm};

/// A latency target that a cell did not meet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MissedTarget {
    /// The target.
    pub term: SloTerm,
    /// The measured percentile of completed requests, milliseconds. Absent when so many requests failed that
    /// it would not represent all of them.
    pub measured_ms: Option<f64>,
}

/// Returns the targets that a cell missed. A failed request counts as later than any limit, so a target is
/// missed when more requests failed than lie beyond its percentile.
pub fn missed_targets(summary: &Summary, slo: &Slo) -> Vec<MissedTarget> {
    let failed = summary.counts.errors() as f64 / summary.counts.scheduled.max(1) as f64;
    slo.0
        .iter()
        .filter_map(|term| {
            let latency = summary.latency(term.metric);
            let is_representative = failed <= 1.0 - term.percentile.fraction();
            let measured_ms =
                latency.filter(|_| is_representative).and_then(|latency| latency.percentile(term.percentile));
            // Answers of one token have no gap that could be too long.
            let is_met = match measured_ms {
                Some(ms) => ms <= term.limit.as_ms(),
                None => is_representative && latency.is_none() && summary.counts.completed > 0,
            };
            (!is_met).then_some(MissedTarget { term: *term, measured_ms })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::measure::{Counts, Latency};

    fn summary(ttft_ms: &[f64], failed: u64) -> Summary {
        let completed = ttft_ms.len() as u64;
        let mut summary: Summary = serde_json::from_value(json!({
            "counts": { "scheduled": 0, "completed": 0, "by_outcome": {} }
        }))
        .unwrap();
        summary.counts = Counts { scheduled: completed + failed, completed, ..Counts::default() };
        summary.ttft = Latency::of(ttft_ms.to_vec());
        summary
    }

    fn missed(summary: &Summary) -> Vec<(String, Option<f64>)> {
        let slo = serde_json::from_value(json!({ "p50_ttft": "20ms", "p90_ttft": "40ms", "p95_itl": "1ms" }));
        missed_targets(summary, &slo.unwrap())
            .into_iter()
            .map(|target| (target.term.key(), target.measured_ms))
            .collect()
    }

    #[test]
    fn a_target_is_missed_by_its_percentile_or_by_failed_requests() {
        let samples: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(missed(&summary(&samples, 0)), []);
        let late: Vec<f64> = samples.iter().map(|ms| ms * 2.0).collect();
        assert_eq!(missed(&summary(&late, 0)), [("p50_ttft".into(), Some(21.0))]);
        // Of 23, three failed: more than a tenth, and fewer than half.
        let missed_terms = missed(&summary(&samples, 3));
        assert_eq!(missed_terms, [("p90_ttft".into(), None), ("p95_itl".into(), None)]);
        // Nothing completed: nothing was met.
        assert_eq!(missed(&summary(&[], 4)).len(), 3);
    }
}
