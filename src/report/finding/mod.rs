//! Rules that look for findings in a run: what it recommends, what each axis does, and where its numbers are
//! doubtful.
//!
//! A rule is a function from the model to findings; `RULES` lists them all. To add a finding, write a variant
//! of [`Kind`], a rule, and a macro of the kind's name in `templates/findings.md.j2`. A test compares the
//! three.

mod answer;
mod caution;
mod data;
mod effect;
mod engine;
mod facts;
mod kind;
mod length;
mod load;
mod memory;
mod prediction;
mod rule;
mod select;
#[cfg(test)]
mod sentences;
mod stability;
mod value;
mod words;

pub(crate) use answer::{latencies, usd_per_million};
pub(crate) use caution::verdict_rows;
pub(crate) use engine::{EngineRow, engine_rows};
#[cfg(test)]
pub(crate) use facts::Fact;
pub(crate) use facts::{Coordinate, Facts, Unit};
pub(crate) use kind::{Kind, Question};
pub(crate) use prediction::{
    PREDICTED, PredictionRow, prediction, prediction_error, prediction_medians, prediction_rows,
};
pub(crate) use rule::{Finding, Rule, both, place, place_of_line, place_on};
pub(crate) use select::headlines;
pub(crate) use words::{Macros, Statement, Words};

use std::collections::HashSet;

use super::model::Model;

/// Every rule, by the question it answers.
const RULES: [&[Rule]; 11] = [
    answer::RULES,
    effect::RULES,
    load::RULES,
    length::RULES,
    stability::RULES,
    memory::RULES,
    engine::RULES,
    value::RULES,
    data::RULES,
    prediction::RULES,
    caution::RULES,
];

/// Applies every rule and drops the findings that another one supersedes. Ordered by workload and kind; of
/// one kind the strongest comes first.
pub(crate) fn findings(model: &Model<'_>) -> Vec<Finding> {
    let all: Vec<Finding> = RULES.iter().copied().flatten().flat_map(|rule| rule.apply(model)).collect();
    let mut found: Vec<Finding> = all.iter().filter(|own| !is_superseded(own, &all)).cloned().collect();
    // The sort is stable: equally strong findings keep the order of the rules.
    found.sort_by(|a, b| {
        (a.workload, a.kind).cmp(&(b.workload, b.kind)).then(b.strength.total_cmp(&a.strength))
    });
    found
}

/// Whether a finding on the same block makes this one superfluous.
fn is_superseded(finding: &Finding, all: &[Finding]) -> bool {
    all.iter()
        .filter(|other| other.workload == finding.workload && other.block == finding.block)
        .filter(|other| other.kind.supersedes().contains(&finding.kind))
        .any(|other| {
            other.kind.is_of_block() || {
                let known: HashSet<usize> = other.cells.iter().copied().collect();
                finding.cells.iter().all(|cell| known.contains(cell))
            }
        })
}
