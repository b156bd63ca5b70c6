//! Selects the findings of the first page.

use super::{Finding, Kind, Question, Statement};
use crate::report::model::Model;

/// Findings of at least this strength come before weaker ones of their question, whatever their kind: a
/// factor of two.
const STRONG: f64 = std::f64::consts::LN_2;
/// A KV cache this full delays requests.
const FULL: f64 = 0.95;

/// The statements on a workload for the first page, at most `most`: those on its best server and on all
/// servers together, by question, the strongest first. Questions with most answers are cut first.
pub(crate) fn headlines<'s>(
    model: &Model<'_>,
    statements: &'s [Statement],
    workload: usize,
    most: usize,
) -> Vec<&'s Statement> {
    let best = model.best(workload);
    let is_own = |finding: &Finding| match (finding.workload, finding.block) {
        (Some(of), Some(block)) => of == workload && Some(block) == best,
        (Some(of), None) => of == workload,
        (None, _) => true,
    };
    let own = statements.iter().filter(|Statement { finding, .. }| {
        finding.kind.is_headline() && is_own(finding) && decides(finding)
    });
    let mut own: Vec<&Statement> = own.collect();
    // That an axis does nothing is a headline only if no axis does anything.
    let is_effect = |own: &Statement| own.finding.kind == Kind::Effect;
    let any = own.iter().any(|own| is_effect(own) && own.finding.strength > 0.0);
    own.retain(|own| !is_effect(own) || !any || own.finding.strength > 0.0);
    // Findings on the load keep the order of their kinds; elsewhere strong findings come before weak ones.
    // The sort is stable: equal ones keep the order of the kinds.
    let question = |own: &Statement| own.finding.kind.question();
    own.sort_by_key(|own| (question(own), question(own) != Question::Load && own.finding.strength < STRONG));
    let mut answers: Vec<Vec<&Statement>> =
        own.chunk_by(|a, b| question(a) == question(b)).map(<[_]>::to_vec).collect();
    for own in &mut answers {
        own.truncate(question(own[0]).most());
    }
    while answers.iter().map(Vec::len).sum::<usize>() > most {
        let Some(longest) = answers.iter_mut().max_by_key(|own| own.len()) else { break };
        longest.pop();
    }
    answers.into_iter().flatten().collect()
}

/// Whether a finding decides anything: a KV cache with free room does not.
fn decides(finding: &Finding) -> bool {
    finding.kind != Kind::KvCache
        || finding.facts.value("preemptions").is_some_and(|count| count > 0.0)
        || finding.facts.value("peak").is_some_and(|peak| peak >= FULL)
}
