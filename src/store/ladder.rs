//! Whether a ladder of cells is climbed any further.

use super::CellFile;
use crate::{
    manifest::{Slo, StopClimbing},
    measure::{self, CellOutcome, Summary},
    plan::{Cell, Group},
};

/// Throughput falls when it is below this part of what it was one rung lower.
const FALLS_BELOW: f64 = 0.98;

/// Where a ladder ended, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LadderEnd {
    /// The cell at which it ended.
    pub at: String,
    /// Why, as a sentence.
    pub reason: String,
}

/// Where the ladder below a cell ended, by the cells that are done; `None` while it goes on. A rung that is not among them,
/// because it was left out, ends nothing.
pub fn ladder_end(group: &Group, cell: &Cell, done: &[CellFile]) -> Option<LadderEnd> {
    let rule = cell.spec.stop_climbing?;
    let (below, stored) = rung_below(group, cell, done)?;
    if let Some(at) = &stored.ladder_ended_at {
        return Some(LadderEnd { at: at.clone(), reason: stored.reason.clone().unwrap_or_default() });
    }
    let why = match (&stored.summary, rule) {
        _ if stored.outcome == CellOutcome::Skipped => return None,
        (None, _) => format!("it ended as {}", stored.outcome.name()),
        (Some(summary), StopClimbing::SloLost) => lost(summary, &stored.slo)?,
        (Some(summary), StopClimbing::ThroughputFalls) => {
            let (_, before) = rung_below(group, below, done)?;
            falls(before.summary.as_ref()?, summary)?
        }
    };
    Some(LadderEnd { at: below.id.clone(), reason: format!("climbing ended at {}: {why}", below.id) })
}

fn rung_below<'a>(group: &'a Group, cell: &Cell, done: &'a [CellFile]) -> Option<(&'a Cell, &'a CellFile)> {
    let id = cell.rung_below.as_ref()?;
    let below = group.cells.iter().find(|below| below.id == *id)?;
    let stored = done.iter().find(|stored| stored.id == *id)?;
    Some((below, stored))
}

fn lost(summary: &Summary, slo: &Slo) -> Option<String> {
    let terms: Vec<String> = measure::lost(summary, slo)
        .into_iter()
        .map(|lost| match lost.measured_ms {
            Some(ms) => format!("{} was {ms:.0} ms, its limit is {}", lost.term.key(), lost.term.limit),
            None => format!(
                "{} was lost because {} of {} requests did not complete",
                lost.term.key(),
                summary.counts.errors(),
                summary.counts.scheduled
            ),
        })
        .collect();
    (!terms.is_empty()).then(|| terms.join("; "))
}

fn falls(before: &Summary, now: &Summary) -> Option<String> {
    let (before, now) = (before.throughput_tok_s?, now.throughput_tok_s?);
    (now < before * FALLS_BELOW).then(|| format!("throughput fell from {before:.1} to {now:.1} tok/s"))
}
