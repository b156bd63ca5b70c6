//! Searches in plain words.

use super::{Goal, Search};
use crate::manifest::{Slo, That, scalar_text};

impl Search {
    /// The search as a sentence: `chat: most concurrency from 1 to 1000 that meets p95_ttft ≤ 500ms, within 5 %,
    /// on model-1f3a9c20`. `slo` holds the targets of the workload whose load is searched.
    pub fn describe(&self, slo: &Slo) -> String {
        let goal = match &self.goal {
            Goal::Load { axis, from, to, within, .. } => {
                let terms: Vec<String> = slo.0.iter().map(ToString::to_string).collect();
                let terms = if terms.is_empty() { "the SLO".to_owned() } else { terms.join(" and ") };
                let within = percent(*within);
                format!("most {} from {from} to {to} that meets {terms}, within {within}", axis.key())
            }
            Goal::Value { column, find, that, from, to, step, .. } => {
                let works = match that {
                    That::Fits => "with which the server starts",
                    That::Survives => "with which the server starts and the workloads run through",
                    That::MeetsSlo => "with which the workloads meet their SLO",
                };
                format!("{} {column} from {from} to {to} in steps of {step} {works}", find.name())
            }
            Goal::Best { axes, objective, starts } => {
                let axes: Vec<String> = axes
                    .iter()
                    .map(|axis| format!("{} ({} values)", axis.column, axis.values.len()))
                    .collect();
                let objective = objective.name().replace('_', " ");
                format!("best server for {objective} over {}, in at most {starts} starts", axes.join(" × "))
            }
        };
        let with: Vec<String> =
            self.axes.iter().map(|(name, value)| format!("{name}={}", scalar_text(value))).collect();
        let with = if with.is_empty() { String::new() } else { format!(", with {}", with.join(" ")) };
        let on = self.server.as_ref().map_or_else(String::new, |server| format!(", on {server}"));
        format!("{}: {goal}{with}{on}", self.id)
    }
}

/// A fraction as a percentage.
fn percent(fraction: f64) -> String {
    format!("{} %", super::number::tidy(fraction * 100.0))
}
