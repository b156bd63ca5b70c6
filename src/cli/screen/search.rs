//! The lines about searches: the bracket as it closes, and the answer.

use super::{super::output::counted, format::clean};
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
pub(in crate::cli) fn answered(answer: &Answer) -> String {
    let found = answer.found.iter().flatten().map(scalar_text).collect::<Vec<_>>().join(", ");
    let by = answer.binding.as_ref().map(|binding| format!(" ({})", clean(binding))).unwrap_or_default();
    let end = answer.infeasible.map(shown).unwrap_or_default();
    let mut text = match (&answer.search.goal, answer.state) {
        (_, State::All) => format!("every value up to {found} {}", works(answer)),
        (_, State::None) => format!("no value {}{by}", works(answer)),
        (_, State::CannotTell) => "cannot tell".to_owned(),
        (_, State::Unfinished) => "no answer yet".to_owned(),
        (Goal::Load { axis, .. }, State::Found | State::Wide) => {
            match (answer.feasible.map(shown), answer.infeasible.map(shown)) {
                (Some(low), Some(high)) => {
                    format!("the SLO is met up to a {} between {low} and {high}{by}", axis.key())
                }
                (Some(low), None) => {
                    format!("the SLO is met at a {} of {low}, and the limit is above", axis.key())
                }
                (None, Some(high)) => {
                    format!("the SLO is missed at a {} of {high}{by}, and the limit is below", axis.key())
                }
                (None, None) => "cannot tell".to_owned(),
            }
        }
        (Goal::Value { column, find, .. }, State::Found | State::Wide) => {
            format!(
                "the {} {column} that {} is {found}; {end} {}{by}",
                find.name(),
                works(answer),
                fails(answer)
            )
        }
        (Goal::Best { axes, .. }, State::Found | State::Wide) => {
            let columns: Vec<&str> = axes.iter().map(|axis| axis.column.as_str()).collect();
            format!("the best {} found is {found}", columns.join(", "))
        }
    };
    if answer.state == State::Wide {
        text.push_str(", wider than asked");
    }
    if !answer.reason.is_empty() {
        text.push_str(&format!("; {}", clean(&answer.reason)));
    }
    format!(
        "search {}: {text} · {}, {}",
        clean(&answer.search.id),
        counted(answer.probes.len(), "probe"),
        counted(answer.requests as usize, "request")
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
    format!("{number:.6}").trim_end_matches('0').trim_end_matches('.').to_owned()
}
