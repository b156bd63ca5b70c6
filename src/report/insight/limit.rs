//! Which term of an SLO gives way first: what a little more load than the best cell has is beyond, and what it still keeps.

use super::{Block, Insight, best::Best, ladder, lines, of, place};
use crate::{
    manifest::SloTerm,
    report::{
        headline::latency_name,
        number::{listed, ms},
    },
};

/// The terms that the next step of the load breaks; `None` without an SLO, where the best cell does not meet it, or where more was not tried.
pub(in crate::report) fn limit(block: &Block<'_>, best: &Best) -> Option<Insight> {
    let pick = best
        .picks
        .first()
        .filter(|_| best.meets_slo == Some(true))?;
    let line = lines(block, ladder(block))
        .into_iter()
        .find(|line| line.cells.iter().any(|cell| cell.id == pick.cell))?;
    let at = line.cells.iter().position(|cell| cell.id == pick.cell)?;
    let next = *line.cells.get(at + 1)?;
    let told: Vec<(&SloTerm, f64)> = block
        .slo
        .0
        .iter()
        .filter_map(|term| Some((term, of(next, &term.key())?)))
        .collect();
    let (broken, kept): (Vec<_>, Vec<_>) = told
        .into_iter()
        .partition(|(term, value)| *value > term.limit.as_ms());
    let each = |terms: &[(&SloTerm, f64)], word: &str| -> Vec<String> {
        let said = terms.iter().map(|(term, value)| {
            format!(
                "{} is {}, {word} its target of {}",
                latency_name(&term.key()),
                ms(Some(*value)),
                term.limit
            )
        });
        said.collect()
    };
    let worst = broken
        .iter()
        .map(|(term, value)| value / term.limit.as_ms())
        .max_by(f64::total_cmp)?;
    let mut parts = vec![listed(&each(&broken, "beyond"))];
    if !kept.is_empty() {
        parts.push(listed(&each(&kept, "within")));
    }
    Some(Insight::new(
        "limit",
        &[next],
        &[("of_limit", worst)],
        format!(
            "What gives way first: at {}, the next step, {}.",
            place(block, next),
            parts.join(", while ")
        ),
    ))
}
