//! A condition on a comparison: `p95_ttft_ms > +10%`.

use std::str::FromStr;

use super::{Comparison, Judgement};
use crate::report::number::grouped;

/// When a comparison fails: a metric changed by more than this, one way.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    metric: String,
    /// Whether more than the limit fails, or less.
    above: bool,
    /// The limit as a part of the anchor's value: 0.1 for `+10%`.
    change: f64,
}

impl FromStr for Gate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is not a gate: write a column of cells.csv, `>` or `<`, and a change in percent, such as \
                 \"p95_ttft_ms > +10%\" or \"throughput_tok_s < -5%\""
            )
        };
        let at = text.find(['<', '>']).ok_or_else(wrong)?;
        let (metric, rest) = text.split_at(at);
        let percent = rest[1..].trim().strip_suffix('%').ok_or_else(wrong)?;
        let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
        let metric = metric.trim();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if metric.is_empty() || !metric.chars().all(plain) || !percent.is_finite() {
            return Err(wrong());
        }
        Ok(Self { metric: metric.to_owned(), above: rest.starts_with('>'), change: percent / 100.0 })
    }
}

impl Gate {
    /// The cells that fail, a sentence each. What lies within the noise fails no gate; what cannot be told from noise, for
    /// want of samples or because a side was only predicted, does.
    ///
    /// # Errors
    /// A sentence when no cell has the metric: a gate that looks at nothing must not hold.
    pub fn failures(&self, comparison: &Comparison) -> Result<Vec<String>, String> {
        let cells: Vec<_> =
            comparison.cells.iter().filter_map(|cell| Some((cell, cell.change(&self.metric)?))).collect();
        if cells.is_empty() {
            let changes = comparison.cells.iter().flat_map(|cell| &cell.changes);
            let mut known: Vec<String> = changes.map(|change| change.column.name()).collect();
            known.sort_unstable();
            known.dedup();
            return Err(format!(
                "--fail-on: no cell has {} in both runs, so the gate would check nothing; both have {}",
                self.metric,
                known.join(", ")
            ));
        }
        Ok(cells
            .into_iter()
            .filter(|(_, change)| change.judgement != Judgement::WithinNoise)
            .filter(|(_, change)| {
                let part = change.ratio - 1.0;
                if self.above { part > self.change } else { part < self.change }
            })
            .map(|(cell, change)| {
                format!(
                    "{} of {} ({}) changed by {:+.1} %: {} against {}",
                    self.metric,
                    cell.workload,
                    cell.label,
                    (change.ratio - 1.0) * 100.0,
                    digits(change.run),
                    digits(change.anchor)
                )
            })
            .collect())
    }
}

/// A number with as many digits as a person compares.
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
            let reason = text.parse::<Gate>().unwrap_err();
            assert!(reason.contains("is not a gate"), "{text}: {reason}");
        }
    }
}
