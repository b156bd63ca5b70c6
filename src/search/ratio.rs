//! [`Ratio`]: how far a cell is from its SLO.

use crate::{
    manifest::{LatencyKind, Slo, SloTerm},
    measure::{Latency, Summary},
};

/// A measured number is never more certain than this, as a fraction: stored histograms are accurate to 1 %.
const LEAST_ERROR: f64 = 0.005;
/// The largest |ln(measured / limit)|: farther away says no more.
const MOST: f64 = 7.0;

/// How far a load is from the SLO.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    /// ln(measured / limit) of the term that is closest to or farthest beyond its limit: negative meets it.
    pub log: f64,
    /// Standard error of `log`, from the number of samples.
    pub error: f64,
    /// The term: `p95_ttft`, or `errors` where too many requests failed.
    pub binding: String,
}

impl Ratio {
    /// How far a cell is from its SLO: the term that is closest to its limit, or farthest beyond it. `None` where
    /// no term was measured.
    ///
    /// A failed request is later than any limit. Where more requests failed than lie beyond the percentile of a
    /// term, the term is missed ([`crate::measure::missed_targets`]); `errors` binds then, and its ratio is that
    /// of the two shares.
    pub fn of(summary: &Summary, slo: &Slo) -> Option<Self> {
        let latencies = slo.0.iter().filter_map(|term| latency(summary, term));
        let all = latencies.chain(slo.0.iter().filter_map(|term| errors(summary, term)));
        all.max_by(|a, b| a.log.total_cmp(&b.log))
    }
}

fn latency(summary: &Summary, term: &SloTerm) -> Option<Ratio> {
    let latency = summary.latency(term.metric)?;
    let measured = latency.percentile(term.percentile)?;
    let samples = match term.metric {
        // The gaps of one answer share its fate, so that it counts as one sample.
        LatencyKind::Itl => latency.n.min(summary.counts.completed),
        _ => latency.n,
    };
    let log = (measured / term.limit.as_ms()).ln().clamp(-MOST, MOST);
    let error = error(latency, measured, term.percentile.fraction(), samples as f64);
    Some(Ratio { log, error, binding: term.key() })
}

/// The standard error of ln(percentile) of `n` samples, from the order statistics one standard deviation of
/// the binomial rank, √(n q (1 − q)), away on either side: whatever the distribution (Conover, Practical
/// Nonparametric Statistics, 3rd ed., section 3.2). The farther one counts.
fn error(latency: &Latency, measured: f64, q: f64, n: f64) -> f64 {
    let spread = (q * (1.0 - q) / n.max(1.0)).sqrt();
    let distance = |q: f64| at(latency, q).map_or(0.0, |value| (value / measured).ln().abs());
    // Without a sample above, the highest one stands in for it.
    let error = distance(q - spread).max(distance(q + spread));
    if error.is_finite() { error.clamp(LEAST_ERROR, 1.0) } else { 1.0 }
}

/// The sample below which a fraction of all lies, milliseconds.
fn at(latency: &Latency, fraction: f64) -> Option<f64> {
    let buckets = &latency.histogram.buckets;
    let rank = fraction.clamp(0.0, 1.0) * latency.histogram.samples() as f64;
    let mut seen = 0;
    let reached = |(_, count): &&(u64, u64)| {
        seen += count;
        seen as f64 >= rank
    };
    buckets.iter().find(reached).or(buckets.last()).map(|(us, _)| *us as f64 / 1e3)
}

/// The share of failed requests against the share that may be later than the limit.
fn errors(summary: &Summary, term: &SloTerm) -> Option<Ratio> {
    let (failed, all) = (summary.counts.errors() as f64, summary.counts.scheduled as f64);
    if failed == 0.0 {
        return None;
    }
    let share = failed / all;
    Some(Ratio {
        log: (share / (1.0 - term.percentile.fraction())).ln().clamp(-MOST, MOST),
        // Of a binomial share p, by the delta method: √((1 − p) / (p n)); with all failed, as if one had not.
        error: ((1.0 - share).max(1.0 / all) / failed).sqrt().max(LEAST_ERROR),
        binding: "errors".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::measure::Counts;

    fn summary(ttft_ms: Vec<f64>, failed: u64) -> Summary {
        let completed = ttft_ms.len() as u64;
        let counts = Counts { scheduled: completed + failed, completed, ..Counts::default() };
        Summary { counts, ttft: Latency::of(ttft_ms), ..Summary::default() }
    }

    fn slo() -> Slo {
        serde_json::from_value(json!({ "p95_ttft": "100ms", "p50_ttft": "60ms", "p95_itl": "5ms" })).unwrap()
    }

    #[test]
    fn the_worst_term_binds_with_the_error_of_its_rank() {
        // p50 = 50 of 60 allowed, p95 = 95 of 100 allowed.
        let many =
            Ratio::of(&summary((1..=10_000).map(|n| f64::from(n) / 100.0).collect(), 0), &slo()).unwrap();
        assert_eq!(many.binding, "p95_ttft");
        assert!((many.log - 0.95f64.ln()).abs() < 1e-3);
        let few = Ratio::of(&summary((1..=100).map(f64::from).collect(), 0), &slo()).unwrap();
        // A rank of 95 ± 2.2 in a hundred samples that are 1 apart.
        assert!((0.02..0.04).contains(&few.error), "{few:?}");
        assert!(many.error < 0.012, "{many:?}");
    }

    #[test]
    fn failed_requests_bind_when_they_are_more_than_the_percentile_allows() {
        let fast = || vec![10.0; 90];
        let within = Ratio::of(&summary(fast(), 3), &slo()).unwrap();
        assert!(within.log < 0.0, "{within:?}");
        let beyond = Ratio::of(&summary(fast(), 10), &slo()).unwrap();
        assert_eq!(beyond.binding, "errors");
        assert!((beyond.log - 2f64.ln()).abs() < 1e-9);
        let all = Ratio::of(&summary(vec![], 8), &slo()).unwrap();
        assert!(all.log > 2.9 && all.error > 0.0, "{all:?}");
        assert_eq!(Ratio::of(&summary(vec![], 0), &slo()), None);
    }

    #[test]
    fn its_sign_is_that_of_missed_targets() {
        for (samples, failed) in
            [(vec![10.0; 50], 0), (vec![101.0; 50], 0), (vec![70.0; 50], 0), (vec![10.0; 50], 5)]
        {
            let summary = summary(samples, failed);
            let slo = serde_json::from_value(json!({ "p95_ttft": "100ms", "p50_ttft": "60ms" })).unwrap();
            let missed = !crate::measure::missed_targets(&summary, &slo).is_empty();
            assert_eq!(Ratio::of(&summary, &slo).unwrap().log > 0.0, missed);
        }
    }
}
