//! `searches.csv`: one row per search.

use std::collections::BTreeSet;

use super::answer::{Answer, State};
use crate::{manifest::scalar_text, plan::Goal};

/// The columns that every table has; one for each other axis of the searches follows.
const COLUMNS: [&str; 14] = [
    "search",
    "workload",
    "server",
    "axis",
    "objective",
    "found",
    "feasible",
    "infeasible",
    "confidence",
    "binding",
    "probes",
    "starts",
    "requests",
    "state",
];

/// Returns `searches.csv`: one row per search, in the order of the plan. An absent value is an empty field.
///
/// # Errors
/// When the CSV writer fails.
pub fn table(answers: &[Answer]) -> Result<Vec<u8>, csv::Error> {
    let axes: BTreeSet<&String> = answers.iter().flat_map(|answer| answer.search.axes.keys()).collect();
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(COLUMNS.iter().copied().chain(axes.iter().map(|name| name.as_str())))?;
    for answer in answers {
        let own = axes.iter().map(|name| answer.search.axes.get(*name).map(scalar_text).unwrap_or_default());
        table.write_record(row(answer).into_iter().chain(own))?;
    }
    table.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

fn row(answer: &Answer) -> [String; COLUMNS.len()] {
    let search = &answer.search;
    let (axis, objective, confidence) = match &search.goal {
        Goal::Load { axis, confidence, .. } => {
            (axis.key().to_owned(), "largest meets-slo".to_owned(), Some(*confidence))
        }
        Goal::Value { axis, find, that, .. } => {
            (axis.clone(), format!("{} {}", find.name(), that.name()), None)
        }
        Goal::Best { axes, objective, .. } => {
            let axes: Vec<&str> = axes.iter().map(|axis| axis.axis.as_str()).collect();
            (axes.join(";"), objective.name().to_owned(), None)
        }
    };
    let found: Vec<String> = answer.found.iter().flatten().map(scalar_text).collect();
    [
        search.name.clone(),
        search.workload.clone().unwrap_or_default(),
        answer.server().unwrap_or_default().to_owned(),
        axis,
        objective,
        found.join(";"),
        number(answer.feasible),
        number(answer.infeasible),
        // An answer that rests on no noise has no confidence.
        number(confidence.filter(|_| answer.state == State::Found || answer.state == State::Wide)),
        answer.binding.clone().unwrap_or_default(),
        answer.probes.len().to_string(),
        answer.starts.to_string(),
        answer.requests.to_string(),
        answer.state.name().to_owned(),
    ]
}

/// A number as the manifest would write it, with at most six decimals: 64, not 64.0.
fn number(number: Option<f64>) -> String {
    number.map_or_else(String::new, |number| {
        format!("{number:.6}").trim_end_matches('0').trim_end_matches('.').to_owned()
    })
}
