//! A condition on a comparison: `p95_ttft_ms > +10%` for a metric of cells, `chat < -5%` for the answer of a
//! search.

use std::str::FromStr;

use super::{AnswerJudgement, AnswerPair, Change, Comparison, Found, Judgement, Pair};
use crate::report::number::grouped;

/// Fails a comparison if a metric, or the answer of a search, changed by more than a limit in one direction.
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
        "{0:?} is not a gate: write a metric that `compare` lists or the name of a search, `>` or `<`, and a change in \
         percent, such as \"p95_ttft_ms > +10%\" or \"chat < -5%\""
    )]
    Syntax(String),
    /// No pair of cells has the metric: a gate that checks nothing must not hold.
    #[error(
        "--fail-on: no cell has {metric} in both runs, so the gate would check nothing (it is absent, or excluded by a verdict such as few_samples); both have {known}"
    )]
    UnknownMetric {
        /// The metric of the gate.
        metric: String,
        /// The metrics and the searches that both runs have.
        known: String,
    },
    /// No search of the name has an answer in both runs that can be compared.
    #[error(
        "--fail-on: the search {name} has no answers that can be compared, so the gate would check nothing: {why}"
    )]
    NoAnswer {
        /// The name of the search.
        name: String,
        /// What is missing.
        why: String,
    },
}

impl FromStr for Gate {
    type Err = GateError;

    fn from_str(text: &str) -> Result<Self, GateError> {
        let parse = || {
            let (metric, rest) = text.split_at(text.find(['<', '>'])?);
            let percent: f64 = rest[1..].trim().strip_suffix('%')?.trim().parse().ok()?;
            let metric = metric.trim();
            let plain = |c: char| c.is_alphanumeric() || "_-.".contains(c);
            let is_valid = !metric.is_empty() && metric.chars().all(plain) && percent.is_finite();
            let (above, change) = (rest.starts_with('>'), percent / 100.0);
            is_valid.then(|| Self { metric: metric.to_owned(), above, change })
        };
        parse().ok_or_else(|| GateError::Syntax(text.to_owned()))
    }
}

impl Gate {
    /// Returns a sentence for each cell, or for each answer of a search, that fails. A change within the noise
    /// never fails, and neither do answers whose intervals overlap. A change that cannot be told from noise does:
    /// for lack of samples, or because a side was predicted.
    ///
    /// # Errors
    /// If no pair of cells has the metric, or no search of the name has an answer in both runs.
    pub fn failures(&self, comparison: &Comparison) -> Result<Vec<String>, GateError> {
        let cells: Vec<(&Pair, &Change)> =
            comparison.cells.iter().filter_map(|cell| Some((cell, cell.change(&self.metric)?))).collect();
        if cells.is_empty() && comparison.answers.iter().any(|own| own.name == self.metric) {
            return self.failed_answers(comparison);
        }
        if cells.is_empty() {
            let changes = comparison.cells.iter().flat_map(|cell| &cell.changes);
            let searches = comparison.answers.iter().map(|own| own.name.clone());
            let mut known: Vec<String> = changes.map(|change| change.column.name()).chain(searches).collect();
            known.sort_unstable();
            known.dedup();
            return Err(GateError::UnknownMetric { metric: self.metric.clone(), known: known.join(", ") });
        }
        let fails =
            |change: &Change| self.is_beyond(change.ratio) && change.judgement != Judgement::WithinNoise;
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

    /// Whether a ratio is beyond the limit.
    fn is_beyond(&self, ratio: f64) -> bool {
        let part = ratio - 1.0;
        if self.above { part > self.change } else { part < self.change }
    }

    /// The answers of the search of this name that fail: by the middles of both answers, where these do not
    /// overlap.
    fn failed_answers(&self, comparison: &Comparison) -> Result<Vec<String>, GateError> {
        let own = || comparison.answers.iter().filter(|own| own.name == self.metric);
        let known: Vec<(&AnswerPair, f64)> = own().filter_map(|own| Some((own, own.ratio?))).collect();
        if known.is_empty() {
            let why = |own: &AnswerPair| match own.differs.as_slice() {
                [] => format!("{} against {}", own.run.state, own.anchor.state),
                all => format!(
                    "other {}",
                    all.iter().map(|own| own.key.as_str()).collect::<Vec<_>>().join(" and ")
                ),
            };
            let why = own().next().map(why).unwrap_or_default();
            return Err(GateError::NoAnswer { name: self.metric.clone(), why });
        }
        let fails = |(own, ratio): &(&AnswerPair, f64)| {
            self.is_beyond(*ratio) && own.judgement != AnswerJudgement::NotToldApart
        };
        let sentence = |(own, ratio): (&AnswerPair, f64)| {
            let place = if own.place.is_empty() { String::new() } else { format!(" ({})", own.place) };
            let change = (ratio - 1.0) * 100.0;
            format!(
                "{}{place} changed by {change:+.1} %: {} against {}",
                own.name,
                ends(&own.run),
                ends(&own.anchor)
            )
        };
        Ok(known.into_iter().filter(fails).map(sentence).collect())
    }
}

/// Both ends of an answer: `118 to 124`, `all up to 64`, `none from 1 on`.
fn ends(found: &Found) -> String {
    match &found.text {
        (Some(low), Some(high)) if low == high => low.clone(),
        (Some(low), Some(high)) => format!("{low} to {high}"),
        (Some(low), None) => format!("all up to {low}"),
        (None, Some(high)) => format!("none from {high} on"),
        (None, None) => found.state.replace('_', " "),
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
        assert_eq!("chat-rag > 0%".parse(), Ok(Gate { metric: "chat-rag".into(), above: true, change: 0.0 }));
        let below: Gate = "throughput_tok_s<-5 %".parse().unwrap();
        assert!(!below.above && (below.change + 0.05).abs() < 1e-12);
        for text in ["", "p95_ttft_ms", "> 10%", "p95 > 10", "p95_ttft_ms > ten%", "a b > 1%", "chat < -5"] {
            let reason = text.parse::<Gate>().unwrap_err().to_string();
            assert!(reason.contains("is not a gate"), "{text}: {reason}");
        }
    }
}
