//! The value of a [`Metric`] in a summary, and the verdicts that exclude it. Everything that lists metrics
//! iterates [`Metric::COLUMNS`]; to add a metric, add it there and to the match in each of its methods.

use super::{
    Latency, Summary,
    verdict::{Severity, Verdict, VerdictKind},
};
use crate::manifest::{Metric, Rank, Rate};

impl Metric {
    /// Returns the metric's value in a summary, in its unit; `None` where it was not measured or is not
    /// finite.
    pub fn of(self, summary: &Summary) -> Option<f64> {
        let value = match self {
            Self::Latency(Rank::At(percentile), kind) => summary.latency(kind)?.percentile(percentile),
            Self::Latency(Rank::Mean, kind) => summary.latency(kind).map(|own| own.mean_ms),
            Self::Rate(Rate::Output) => summary.throughput_tok_s,
            Self::Rate(Rate::Total) => summary.total_tok_s,
            Self::Rate(Rate::Requests) => summary.req_s,
            Self::Rate(Rate::User) => summary.user_tok_s,
            Self::Rate(Rate::Goodput) => summary.goodput_req_s,
        };
        value.filter(|number| number.is_finite())
    }

    /// The distribution that the metric is a statistic of; `None` for a rate.
    pub fn distribution(self, summary: &Summary) -> Option<&Latency> {
        match self {
            Self::Latency(_, kind) => summary.latency(kind),
            Self::Rate(_) => None,
        }
    }

    /// Returns the verdict that excludes this metric of a cell from rankings; `None` where none does.
    /// Simulated cells may be ranked among each other.
    pub fn excluded_by(self, verdicts: &[Verdict]) -> Option<VerdictKind> {
        let counts = |verdict: &&Verdict| match verdict.severity {
            _ if verdict.kind == VerdictKind::Simulated => false,
            Severity::Cell => true,
            Severity::Metric => {
                let touched = |name: &String| self.is_named_by(name);
                verdict.touches.is_empty() || verdict.touches.iter().any(touched)
            }
            Severity::Note => false,
        };
        verdicts.iter().filter(counts).max_by_key(|verdict| verdict.severity).map(|verdict| verdict.kind)
    }

    /// Whether a name in [`Verdict::touches`] means this metric: its own name, with or without unit, or the
    /// bare name of its latency. Called for every number of every cell, so it does not allocate.
    fn is_named_by(self, name: &str) -> bool {
        let bare =
            ["_ms", "_tok_s", "_req_s"].iter().find_map(|unit| name.strip_suffix(unit)).unwrap_or(name);
        match self {
            Self::Latency(rank, kind) => match bare.rsplit_once('_') {
                None => bare == kind.name(),
                Some((own, of)) if of == kind.name() => match rank {
                    Rank::Mean => own == "mean",
                    Rank::At(percentile) => own.parse() == Ok(percentile),
                },
                Some(_) => false,
            },
            Self::Rate(Rate::Requests) => name == "req_s",
            Self::Rate(rate) => bare == rate.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_excludes_what_it_names() {
        let verdict = |severity, touches: &[&str]| Verdict {
            kind: VerdictKind::FewSamples,
            severity,
            touches: touches.iter().map(|name| (*name).to_owned()).collect(),
            reason: String::new(),
            hint: String::new(),
        };
        let excluded = |touches: &[&str], metric: Metric| {
            metric.excluded_by(&[verdict(Severity::Metric, touches)]).is_some()
        };
        assert!(excluded(&["p95_ttft"], Metric::P95_TTFT));
        assert!(!excluded(&["p95_ttft"], Metric::P50_TTFT));
        assert!(excluded(&["ttft"], Metric::P50_TTFT));
        assert!(!excluded(&["ttft"], Metric::P50_E2E));
        assert!(excluded(&["throughput_tok_s"], Metric::OUTPUT));
        assert!(Metric::OUTPUT.excluded_by(&[verdict(Severity::Cell, &[])]).is_some());
        assert!(Metric::OUTPUT.excluded_by(&[verdict(Severity::Note, &[])]).is_none());
    }
}
