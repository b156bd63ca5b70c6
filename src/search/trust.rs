//! Which cells a search may draw a conclusion from.

use super::ratio::Ratio;
use crate::{
    measure::{Metric, Severity, Verdict, VerdictKind},
    store::CellFile,
};

/// The share of a request's duration that a late client may take from the load without making it another load:
/// half of the width that answers have by default.
const LOST_LOAD: f64 = 0.025;
/// Resolution of the timer that samples the client's event loop, milliseconds: so much is no delay.
const RESOLUTION_MS: f64 = 1.0;
/// A delay above this, milliseconds, is a stop of the client.
const STOPPED_MS: f64 = 100.0;

/// The distance of a cell from its SLO, if a conclusion may rest on it.
///
/// A client that was late makes latencies longer and the load lower, never the other way round. So the cell
/// still says on which side of the limit its load is where the SLO was met in spite of the delay, at nearly the
/// whole load; or was missed by more than the delay. The delay then widens the error.
///
/// # Errors
/// The verdict that forbids it, as a sentence.
pub(super) fn trusted(cell: &CellFile, ratio: Ratio) -> Result<Ratio, String> {
    let (client, others): (Vec<&Verdict>, Vec<&Verdict>) =
        spoiling(cell).into_iter().partition(|verdict| is_of_the_client(verdict.kind));
    if let Some(other) = others.first() {
        return Err(reason(other));
    }
    match client.first() {
        None => Ok(ratio),
        Some(verdict) => despite_the_client(cell, ratio).ok_or_else(|| reason(verdict)),
    }
}

/// The verdict that forbids any conclusion from a cell's numbers; `None` where there is none.
pub(super) fn invalid(cell: &CellFile) -> Option<String> {
    spoiling(cell).first().map(|verdict| reason(verdict))
}

fn reason(verdict: &Verdict) -> String {
    format!("{}: {}", verdict.kind.name(), verdict.reason)
}

fn is_of_the_client(kind: VerdictKind) -> bool {
    matches!(kind, VerdictKind::ClientLate | VerdictKind::ClientSaturated)
}

/// The verdicts against a cell's numbers. What an overloaded server causes is a result: only problems of the
/// client, the prompts and the counts make a cell invalid.
fn spoiling(cell: &CellFile) -> Vec<&Verdict> {
    let metrics: Vec<Metric> = cell.slo.0.iter().map(Metric::of_term).collect();
    let spoils = |verdict: &&Verdict| {
        let is_result = matches!(
            verdict.kind,
            VerdictKind::Simulated
                | VerdictKind::Predicted
                | VerdictKind::Imported
                | VerdictKind::FewSamples
                | VerdictKind::Errors
                | VerdictKind::Retried
                | VerdictKind::ArrivalsDropped
                | VerdictKind::RateNotSustained
                | VerdictKind::NotSteady
                | VerdictKind::Preempted
                | VerdictKind::RepeatsDisagree
        );
        let one = std::slice::from_ref(*verdict);
        let touches = || metrics.iter().any(|metric| metric.excluded_by(one).is_some());
        !is_result && (verdict.severity == Severity::Cell || touches())
    };
    cell.verdicts.iter().filter(spoils).collect()
}

fn despite_the_client(cell: &CellFile, ratio: Ratio) -> Option<Ratio> {
    let summary = cell.summary.as_ref()?;
    let limit = cell.slo.0.iter().find(|term| term.key() == ratio.binding)?.limit.as_ms();
    let loops = || cell.client.iter().filter_map(|client| Some((client.loop_delay?, client.wall_s * 1e3)));
    let most =
        |of: fn(&(crate::load::LoopDelay, f64)) -> f64| loops().map(|one| of(&one)).fold(0.0, f64::max);
    let issued = summary.issue_delay.as_ref();
    let (median, tail) = (
        most(|(delay, _)| (delay.p50_ms - RESOLUTION_MS).max(0.0)) + issued.map_or(0.0, |delay| delay.p50_ms),
        most(|(delay, _)| delay.p99_ms) + issued.map_or(0.0, |delay| delay.p99_ms),
    );
    // A long stop counts by its share of the time, which the median does not show.
    let stopped =
        most(|(delay, wall_ms)| if delay.max_ms > STOPPED_MS { delay.max_ms / wall_ms } else { 0.0 });
    let measured = limit * ratio.log.exp();
    let holds = match ratio.log <= 0.0 {
        true => median / summary.e2e.as_ref()?.p50_ms + stopped <= LOST_LOAD,
        false => measured - tail > limit && stopped <= LOST_LOAD,
    };
    holds.then(|| Ratio { error: ratio.error.hypot(tail / measured), ..ratio })
}
