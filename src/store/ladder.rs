//! Decides whether a ladder (cells of increasing load) goes on.

use super::CellFile;
use crate::{
    manifest::{Slo, StopClimbing},
    measure::{self, CellOutcome, Summary},
    plan::{Cell, Group},
};

/// Throughput has fallen when it is below this share of the previous cell's.
const FALLS_BELOW: f64 = 0.98;

/// The end of a ladder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LadderEnd {
    /// Id of the cell at which it ended.
    pub at: String,
    /// Why it ended, as a sentence.
    pub reason: String,
}

/// Returns where the ladder of a cell ended before reaching it, judged by the stored cells; `None` while it
/// goes on. A cell that is not stored, because it was left out, does not end the ladder.
pub fn ladder_end(group: &Group, cell: &Cell, done: &[CellFile]) -> Option<LadderEnd> {
    let rule = cell.spec.stop_climbing?;
    let (below, stored) = rung_below(group, cell, done)?;
    if let Some(at) = &stored.ladder_ended_at {
        return Some(LadderEnd { at: at.clone(), reason: stored.reason.clone().unwrap_or_default() });
    }
    let why = match (&stored.summary, rule) {
        _ if stored.outcome == CellOutcome::Skipped => return None,
        (None, _) => format!("it ended as {}", stored.outcome.name()),
        (Some(summary), StopClimbing::SloLost) => missed(summary, &stored.slo)?,
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

fn missed(summary: &Summary, slo: &Slo) -> Option<String> {
    let terms: Vec<String> = measure::missed_targets(summary, slo)
        .into_iter()
        .map(|target| match target.measured_ms {
            Some(ms) => format!("{} was {ms:.0} ms, its limit is {}", target.term.key(), target.term.limit),
            None => format!(
                "{} was missed because {} of {} requests did not complete",
                target.term.key(),
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
