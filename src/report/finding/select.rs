//! Which findings the first page shows.

use super::{Finding, Kind, Question};
use crate::report::model::Model;

/// A finding of this strength comes before weaker ones of its question, whatever its kind: a factor of two.
const STRONG: f64 = std::f64::consts::LN_2;
/// A KV cache this full holds back requests.
const FULL: f64 = 0.95;

/// The findings of a workload for the first page, at most `most`: those of its best server and of all servers together, by
/// question, the strongest first. Questions with most answers give way first.
pub(in crate::report) fn headlines<'f>(
    model: &Model<'_>,
    findings: &'f [Finding],
    workload: usize,
    most: usize,
) -> Vec<&'f Finding> {
    let best = model.best(workload);
    let own: Vec<&Finding> = findings
        .iter()
        .filter(|finding| finding.kind.is_headline())
        .filter(|finding| match (finding.workload, finding.block) {
            (Some(of), Some(block)) => of == workload && Some(block) == best,
            (Some(of), None) => of == workload,
            (None, _) => true,
        })
        .filter(|finding| decides(finding))
        .collect();
    // That an axis does nothing is a headline only where no axis does anything.
    let any = own.iter().any(|finding| finding.kind == Kind::Effect && finding.strength > 0.0);
    let mut questions: Vec<Question> = own.iter().map(|finding| finding.kind.question()).collect();
    questions.sort_unstable();
    questions.dedup();
    let mut answers: Vec<Vec<&Finding>> = questions
        .iter()
        .map(|question| {
            let mut own: Vec<&Finding> = own
                .iter()
                .copied()
                .filter(|finding| finding.kind.question() == *question)
                .filter(|finding| finding.kind != Kind::Effect || !any || finding.strength > 0.0)
                .collect();
            // What is asked first of the load is answered first; elsewhere what is strong comes before what is weak. Stable: of
            // equal ones the order of the kinds.
            if *question != Question::Load {
                own.sort_by_key(|finding| finding.strength < STRONG);
            }
            own.truncate(question.most());
            own
        })
        .collect();
    while answers.iter().map(Vec::len).sum::<usize>() > most {
        let Some(longest) = answers.iter_mut().max_by_key(|own| own.len()) else { break };
        longest.pop();
    }
    answers.into_iter().flatten().collect()
}

/// Whether a finding decides anything: a KV cache with room does not.
fn decides(finding: &Finding) -> bool {
    finding.kind != Kind::KvCache
        || finding.facts.value("preemptions").is_some_and(|count| count > 0.0)
        || finding.facts.value("peak").is_some_and(|peak| peak >= FULL)
}
