//! Checks that a server keeps up with the arrival rate of an open loop.

use super::evidence::{Evidence, cell};
use crate::{
    load::Records,
    manifest::Arrivals,
    measure::verdict::{Verdict, VerdictKind},
};

/// Allowed surplus of arrivals over ends, as a share of the arrivals.
const MAY_GROW: f64 = 0.05;
/// Allowed surplus in standard deviations of a Poisson count: that much is chance.
const CHANCE: f64 = 3.0;
/// With a growing queue, requests of the last quarter take this many times as long as those of the first.
/// Long answers at a constant speed also fill a server, but do not take longer at the end.
const SLOWER: f64 = 1.2;

/// Arrivals and ends of one repeat while requests were due.
struct Pace {
    /// Length of the second half of the schedule, seconds.
    seconds: f64,
    /// Requests that were due in it.
    arrived: u64,
    ended: u64,
    /// Median time of a request that was due in the first quarter of the schedule, milliseconds.
    early_ms: f64,
    /// Median time of a request that was due in the last quarter, milliseconds.
    late_ms: f64,
}

impl Pace {
    fn of(records: &Records) -> Option<Self> {
        let spans: Vec<(u64, u64)> = records
            .iter()
            .filter(|record| record.sent.is_some())
            .map(|record| (record.scheduled.0, record.end.0))
            .collect();
        let first = spans.iter().map(|(due, _)| *due).min()?;
        let last = spans.iter().map(|(due, _)| *due).max()?;
        // Until the first answer ends, a server only fills up.
        let filled = spans.iter().map(|(_, end)| *end).min()?;
        let middle = filled + last.checked_sub(filled)? / 2;
        let inside = |at: u64| middle < at && at <= last;
        let quarter = (last - first) / 4;
        Some(Self {
            seconds: (last - middle) as f64 / 1e9,
            arrived: spans.iter().filter(|(due, _)| inside(*due)).count() as u64,
            ended: spans.iter().filter(|(_, end)| inside(*end)).count() as u64,
            early_ms: median(&spans, |due| due <= first + quarter)?,
            late_ms: median(&spans, |due| due >= last - quarter)?,
        })
    }

    /// By how many requests the server's backlog grew.
    fn growth(&self) -> f64 {
        self.arrived as f64 - self.ended as f64
    }

    fn falls_behind(&self) -> bool {
        let arrived = self.arrived as f64;
        self.growth() > (arrived * MAY_GROW).max(CHANCE * arrived.sqrt())
            && self.late_ms > SLOWER * self.early_ms
    }
}

/// Median time of the requests whose due time is selected, milliseconds.
fn median(spans: &[(u64, u64)], is_selected: impl Fn(u64) -> bool) -> Option<f64> {
    let selected = spans.iter().filter(|(due, _)| is_selected(*due));
    let mut times: Vec<u64> = selected.map(|(due, end)| end.saturating_sub(*due)).collect();
    times.sort_unstable();
    times.get(times.len() / 2).map(|time| *time as f64 / 1e6)
}

/// Checks the repeat that fell behind most.
pub(super) fn rate_not_sustained(evidence: Evidence<'_>) -> Option<Verdict> {
    let spec = evidence.context.spec;
    // No server keeps up with all requests at once.
    if !spec.arrivals.is_open() || spec.arrivals == Arrivals::AtOnce {
        return None;
    }
    let worst = evidence
        .records
        .iter()
        .filter_map(Pace::of)
        .filter(Pace::falls_behind)
        .max_by(|a, b| a.growth().total_cmp(&b.growth()))?;
    let Pace { seconds, arrived, ended, early_ms, late_ms } = worst;
    let (arriving, ending) = (arrived as f64 / seconds, ended as f64 / seconds);
    Some(cell(
        VerdictKind::RateNotSustained,
        format!(
            "requests arrived faster than they ended: {arriving:.1} and {ending:.1} per second in the second half of the schedule, \
             so {} more were in flight at its end; the median request took {late_ms:.0} ms in the last quarter, {early_ms:.0} ms in \
             the first",
            arrived.saturating_sub(ended)
        ),
        format!(
            "the queue, and with it latency, grows for as long as requests arrive, so these numbers do not describe this rate: set \
             a `rate` below {ending:.1}, or find the server's maximum with a closed loop"
        ),
    ))
}
