//! How far a ranking may be trusted, and the sentence that says so.

use super::{Block, best::stand_in, count};
use crate::{
    measure::{Severity, VerdictKind},
    store::CellFile,
};

/// How far down the ladder of trust the ranking had to go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::report) enum Trust {
    /// Every number it needs may be ranked.
    Full,
    /// The percentiles may not be: medians stand in.
    Medians,
    /// Every cell carries a verdict: medians of what must not be compared.
    Nothing,
}

/// The cells that are compared.
pub(in crate::report) struct Ranked<'a> {
    pub(in crate::report) cells: Vec<&'a CellFile>,
    pub(in crate::report) trust: Trust,
    /// How many cells have numbers.
    pub(in crate::report) measured: usize,
    /// How many of these are not ranked.
    pub(in crate::report) left_out: usize,
}

/// The sentence under the picks: what was compared, what was left out, what stood in.
pub(in crate::report) fn basis(block: &Block<'_>, ranked: &Ranked<'_>, said: &str) -> String {
    let mut text = said.to_owned();
    match ranked.trust {
        Trust::Full if ranked.left_out > 0 => {
            text.push_str(&format!(
                "; {} of {} not ranked because of {}",
                ranked.left_out,
                count(ranked.measured, &format!("{} cell", block.done())),
                reasons(block, true)
            ));
        }
        Trust::Full => {}
        Trust::Medians if block.slo.0.is_empty() => {
            text.push_str(&format!(
                "; the throughput may not be ranked in any cell ({}), so take it as a hint",
                reasons(block, true)
            ));
        }
        Trust::Medians if stand_in(block) != "p50" => {
            text.push_str(&format!(
                "; no cell has every number it takes fit to be ranked ({}), and nobody told the medians, so the percentiles stand as they are",
                reasons(block, true)
            ));
        }
        Trust::Medians => {
            text.push_str(&format!(
                "; no cell has every number it takes fit to be ranked ({}), so p50 stands in for the percentile of each SLO term, and cells whose own percentile is beyond the SLO give way to others",
                reasons(block, true)
            ));
        }
        Trust::Nothing => {
            text.push_str(&format!(
                "; every {} cell carries a verdict against ranking it ({}), so this is an order by p50 to look at, not a result",
                block.done(),
                reasons(block, false)
            ));
        }
    }
    text.push('.');
    text
}

/// The kinds of verdict that keep cells from being ranked.
fn reasons(block: &Block<'_>, metrics_too: bool) -> String {
    let mut kinds: Vec<VerdictKind> = block
        .cells
        .iter()
        .flat_map(|cell| &cell.verdicts)
        .filter(|verdict| verdict.kind != VerdictKind::Simulated)
        .filter(|verdict| match verdict.severity {
            Severity::Cell => true,
            Severity::Metric => metrics_too,
            Severity::Note => false,
        })
        .map(|verdict| verdict.kind)
        .collect();
    kinds.sort();
    kinds.dedup();
    if kinds.is_empty() {
        return "missing numbers".into();
    }
    kinds
        .into_iter()
        .map(VerdictKind::name)
        .collect::<Vec<_>>()
        .join(", ")
}
