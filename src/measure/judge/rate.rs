//! Whether a server keeps up with the rate of an open loop.

use super::{Case, cell};
use crate::{
    load::Records,
    manifest::Arrivals,
    measure::verdict::{Verdict, VerdictKind},
};

/// More requests may come than end, by this share of those that come.
const MAY_GROW: f64 = 0.05;
/// And by this many standard deviations of a Poisson number of them: that much is chance.
const CHANCE: f64 = 3.0;
/// A request of the last quarter takes this many times as long as one of the first, when there is a queue that grows. Long
/// answers of an even speed fill a server as well, and take no longer in the end.
const SLOWER: f64 = 1.2;

/// What came and what ended while requests were due, in one repeat.
struct Pace {
    /// Length of the second half of the time in which requests were due, seconds.
    seconds: f64,
    came: u64,
    ended: u64,
    /// Median time of a request that was due in the first quarter, and in the last, milliseconds.
    early_ms: f64,
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
        // Until the first answer ends, a server only fills.
        let filled = spans.iter().map(|(_, end)| *end).min()?;
        let middle = filled + last.checked_sub(filled)? / 2;
        let inside = |at: u64| middle < at && at <= last;
        let quarter = (last - first) / 4;
        Some(Self {
            seconds: (last - middle) as f64 / 1e9,
            came: spans.iter().filter(|(due, _)| inside(*due)).count() as u64,
            ended: spans.iter().filter(|(_, end)| inside(*end)).count() as u64,
            early_ms: median(&spans, |due| due <= first + quarter)?,
            late_ms: median(&spans, |due| due >= last - quarter)?,
        })
    }

    /// How many more were there in the end.
    fn grown(&self) -> f64 {
        self.came as f64 - self.ended as f64
    }

    fn falls_behind(&self) -> bool {
        let came = self.came as f64;
        self.grown() > (came * MAY_GROW).max(CHANCE * came.sqrt()) && self.late_ms > SLOWER * self.early_ms
    }
}

fn median(spans: &[(u64, u64)], is_meant: impl Fn(u64) -> bool) -> Option<f64> {
    let meant = spans.iter().filter(|(due, _)| is_meant(*due));
    let mut times: Vec<u64> = meant.map(|(due, end)| end.saturating_sub(*due)).collect();
    times.sort_unstable();
    times.get(times.len() / 2).map(|time| *time as f64 / 1e6)
}

/// Says it of the repeat that fell behind most.
pub(super) fn rate_not_sustained(case: Case<'_>) -> Option<Verdict> {
    let spec = case.context.spec;
    // Nobody keeps up with everything at once.
    if !spec.arrivals.is_open() || spec.arrivals == Arrivals::AtOnce {
        return None;
    }
    let worst = case
        .records
        .iter()
        .filter_map(Pace::of)
        .filter(Pace::falls_behind)
        .max_by(|a, b| a.grown().total_cmp(&b.grown()))?;
    let Pace { seconds, came, ended, early_ms, late_ms } = worst;
    let (arriving, ending) = (came as f64 / seconds, ended as f64 / seconds);
    Some(cell(
        VerdictKind::RateNotSustained,
        format!(
            "requests came faster than they ended: {arriving:.1} and {ending:.1} per second in the second half of the time in which \
             they were due, so {} more were there at its end; one of the last quarter took {late_ms:.0} ms in the median, one of the \
             first {early_ms:.0} ms",
            came.saturating_sub(ended)
        ),
        format!(
            "the queue, and with it latency, grows for as long as requests come, so these are no numbers of a server at this rate: ask \
             for a `rate` below {ending:.1}, or find with a closed loop what it can do"
        ),
    ))
}
