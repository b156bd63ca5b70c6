//! How many requests were in flight, and when.

use super::summary::Window;
use crate::{
    load::{Record, Records},
    unit::Nanos,
};

/// A part of a cell's time: from where, and how many nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) start: Nanos,
    pub(super) length: u64,
}

impl Stretch {
    /// From one instant to another; `None` when that is no time at all.
    pub(super) fn between(start: Nanos, end: Nanos) -> Option<Self> {
        let length = end.0.checked_sub(start.0).filter(|length| *length > 0)?;
        Some(Self { start, length })
    }

    pub(super) fn end(self) -> Nanos {
        Nanos(self.start.0 + self.length)
    }

    pub(super) fn contains(self, instant: Nanos) -> bool {
        self.start <= instant && instant <= self.end()
    }

    pub(super) fn seconds(self) -> f64 {
        self.length as f64 / 1e9
    }

    /// Two parts as one, of their lengths together: how the windows of repeats are pooled.
    pub(super) fn pool(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) => Some(Self {
                start: a.start,
                length: a.length + b.length,
            }),
            (one, other) => one.or(other),
        }
    }
}

impl From<Stretch> for Window {
    fn from(stretch: Stretch) -> Self {
        Self {
            start_s: stretch.start.as_secs(),
            length_s: stretch.seconds(),
        }
    }
}

/// When a request was in flight: from its first byte sent to its end. `None` when it never was.
pub(super) fn flight(record: &Record) -> Option<Stretch> {
    Stretch::between(record.sent?, record.end)
}

/// The number in flight after every change of it, in order. Where one request ends as another begins, the end comes
/// first: they were not in flight together.
fn changes(records: impl Iterator<Item = Record>) -> Vec<(Nanos, i64)> {
    let mut steps: Vec<(Nanos, i64)> = records
        .filter_map(|record| flight(&record))
        .flat_map(|flight| [(flight.start, 1), (flight.end(), -1)])
        .collect();
    steps.sort_unstable();
    let mut level = 0;
    for (_, step) in &mut steps {
        level += *step;
        *step = level;
    }
    steps
}

/// The most requests that were in flight at once; `None` when none ever was.
pub(super) fn peak(records: impl Iterator<Item = Record>) -> Option<u32> {
    let most = changes(records).into_iter().map(|(_, level)| level).max()?;
    u32::try_from(most).ok()
}

/// The part of `window` from the first to the last instant at which `asked` requests, warm-up included, were in
/// flight. `None` when that was never so.
pub(super) fn steady(records: &Records, asked: u32, window: Stretch) -> Option<Stretch> {
    let changes = changes(records.iter());
    let full = |(_, level): &(Nanos, i64)| *level == i64::from(asked);
    let first = changes.iter().position(full)?;
    // The level holds until the next change, and the last change of all is an end.
    let last = changes.iter().rposition(full)? + 1;
    let start = changes[first].0.max(window.start);
    let end = changes.get(last)?.0.min(window.end());
    Stretch::between(start, end)
}
