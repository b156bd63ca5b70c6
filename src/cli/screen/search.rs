//! The lines about searches: the bracket as it closes, and the answer.

use super::format::clean;
use crate::{
    manifest::{That, scalar_text},
    plan::Goal,
    search::{Answer, State},
};

/// The line for a search that measures its next probe.
pub(super) fn probing(values: &[serde_json::Value], answer: &Answer) -> String {
    let values: Vec<String> = values.iter().map(scalar_text).collect();
    let number = answer.probes.len() + 1;
    let mut text = format!("search {}: probe {number} at {}", clean(&answer.search.id), values.join(", "));
    if let Goal::Best { starts, .. } = &answer.search.goal {
        text.push_str(&format!(" (at most {starts} starts)"));
        return text;
    }
    let known = [(answer.feasible, works(answer)), (answer.infeasible, fails(answer))];
    let known: Vec<String> =
        known.into_iter().filter_map(|(value, verb)| Some(format!("{} {verb}", shown(value?)))).collect();
    if !known.is_empty() {
        text.push_str(&format!("; so far {}", known.join(", ")));
    }
    text
}

/// The line for a search that ends.
pub(super) fn answered(answer: &Answer) -> String {
    let found = answer.found.iter().flatten().map(scalar_text).collect::<Vec<_>>().join(", ");
    let both = answer.feasible.zip(answer.infeasible);
    let mut text = match (answer.state, both) {
        (State::Found | State::Wide, Some((low, high)))
            if matches!(answer.search.goal, Goal::Load { .. }) =>
        {
            format!("the limit is between {} and {}", shown(low), shown(high))
        }
        (State::Found, _) => found,
        (State::All, _) => format!("every value {}, up to {found}", works(answer)),
        (State::None, _) => format!("no value {}", works(answer)),
        (State::CannotTell, _) => "cannot tell".to_owned(),
        (State::Wide, _) => "not as narrow as asked".to_owned(),
        (State::Unfinished, _) => "no answer yet".to_owned(),
    };
    if let Some(binding) = answer.binding.as_ref().filter(|_| answer.state != State::All) {
        text.push_str(&format!(", by {}", clean(binding)));
    }
    if !answer.reason.is_empty() {
        text.push_str(&format!("; {}", clean(&answer.reason)));
    }
    format!(
        "search {}: {text} ({} probes, {} requests)",
        clean(&answer.search.id),
        answer.probes.len(),
        answer.requests
    )
}

fn works(answer: &Answer) -> &'static str {
    match &answer.search.goal {
        Goal::Value { that: That::Fits, .. } => "fits",
        Goal::Value { that: That::Survives, .. } => "survives",
        _ => "meets the SLO",
    }
}

fn fails(answer: &Answer) -> &'static str {
    match &answer.search.goal {
        Goal::Value { that: That::MeetsSlo, .. } | Goal::Load { .. } | Goal::Best { .. } => "misses it",
        Goal::Value { .. } => "does not",
    }
}

fn shown(number: f64) -> String {
    format!("{:.6}", number).trim_end_matches('0').trim_end_matches('.').to_owned()
}
