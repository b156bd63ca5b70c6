//! A condition on a comparison: `p95_ttft_ms > +10%`.

use std::str::FromStr;

use super::{Change, Comparison, Judgement, Pair};
use crate::report::number::grouped;

/// Fails a comparison if a metric changed by more than a limit in one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    metric: String,
    /// Whether a change above the limit fails, or one below.
    above: bool,
    /// The limit as a part of the anchor's value: 0.1 for `+10%`.
    change: f64,
}

/// Why a gate cannot be checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// The text is not a gate.
    #[error(
        "{0:?} is not a gate: write a metric that `compare` lists, `>` or `<`, and a change in percent, such as \
         \"p95_ttft_ms > +10%\" or \"throughput_tok_s < -5%\""
    )]
    Syntax(String),
    /// No pair of cells has the metric: a gate that checks nothing must not hold.
    #[error(
        "--fail-on: no cell has {metric} in both runs, so the gate would check nothing (it is absent, or excluded by a verdict such as few_samples); both have {known}"
    )]
    UnknownMetric {
        /// The metric of the gate.
        metric: String,
        /// The metrics that both runs have.
        known: String,
    },
}

impl FromStr for Gate {
    type Err = GateError;

    fn from_str(text: &str) -> Result<Self, GateError> {
        let parse = || {
            let (metric, rest) = text.split_at(text.find(['<', '>'])?);
            let percent: f64 = rest[1..].trim().strip_suffix('%')?.trim().parse().ok()?;
            let metric = metric.trim();
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let is_valid = !metric.is_empty() && metric.chars().all(plain) && percent.is_finite();
            let (above, change) = (rest.starts_with('>'), percent / 100.0);
            is_valid.then(|| Self { metric: metric.to_owned(), above, change })
        };
        parse().ok_or_else(|| GateError::Syntax(text.to_owned()))
    }
}

impl Gate {
    /// Returns a sentence for each cell that fails. A change within the noise never fails. One that cannot be
    /// told from noise does: for lack of samples, or because a side was predicted.
    ///
    /// # Errors
    /// If no pair of cells has the metric.
    pub fn failures(&self, comparison: &Comparison) -> Result<Vec<String>, GateError> {
        let cells: Vec<(&Pair, &Change)> =
            comparison.cells.iter().filter_map(|cell| Some((cell, cell.change(&self.metric)?))).collect();
        if cells.is_empty() {
            let changes = comparison.cells.iter().flat_map(|cell| &cell.changes);
            let mut known: Vec<String> = changes.map(|change| change.column.name()).collect();
            known.sort_unstable();
            known.dedup();
            return Err(GateError::UnknownMetric { metric: self.metric.clone(), known: known.join(", ") });
        }
        let fails = |change: &Change| {
            let part = change.ratio - 1.0;
            let is_beyond = if self.above { part > self.change } else { part < self.change };
            is_beyond && change.judgement != Judgement::WithinNoise
        };
        let sentence = |(cell, change): (&Pair, &Change)| {
            format!(
                "{} of {} ({}) changed by {:+.1} %: {} against {}",
                self.metric,
                cell.workload,
                cell.label,
                (change.ratio - 1.0) * 100.0,
                digits(change.run),
                digits(change.anchor)
            )
        };
        Ok(cells.into_iter().filter(|(_, change)| fails(change)).map(sentence).collect())
    }
}

/// A number with three decimals below ten, else one.
fn digits(number: f64) -> String {
    grouped(number, if number.abs() < 10.0 { 3 } else { 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_a_metric_a_side_and_a_change() {
        assert_eq!(
            "p95_ttft_ms > +10%".parse(),
            Ok(Gate { metric: "p95_ttft_ms".into(), above: true, change: 0.1 })
        );
        let below: Gate = "throughput_tok_s<-5 %".parse().unwrap();
        assert!(!below.above && (below.change + 0.05).abs() < 1e-12);
        for text in ["", "p95_ttft_ms", "> 10%", "p95 > 10", "p95_ttft_ms > ten%", "a b > 1%"] {
            let reason = text.parse::<Gate>().unwrap_err().to_string();
            assert!(reason.contains("is not a gate"), "{text}: {reason}");
        }
    }
}
