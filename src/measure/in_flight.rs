//! Computes how many requests were in flight over time.

use super::summary::Window;
use crate::{
    load::{Record, Records},
    manifest::Workload,
    unit::Nanos,
};

/// An interval of a cell's time; its length is in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) start: Nanos,
    pub(super) length: u64,
}

impl Interval {
    /// The interval between two instants; `None` when it is empty.
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

    /// Pools the windows of two repeats: the result has both lengths together.
    pub(super) fn pool(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) => Some(Self { start: a.start, length: a.length + b.length }),
            (one, other) => one.or(other),
        }
    }
}

impl From<Interval> for Window {
    fn from(interval: Interval) -> Self {
        Self { start_s: interval.start.as_secs(), length_s: interval.seconds() }
    }
}

/// The interval in which a request was in flight: from its first byte sent to its end. `None` when it was not
/// sent.
pub(super) fn flight(record: &Record) -> Option<Interval> {
    Interval::between(record.sent?, record.end)
}

/// Returns the number of overlapping intervals after each instant at which it changes, in order. Where one
/// ends as another begins, the end comes first: they do not overlap.
fn changes(intervals: impl Iterator<Item = Interval>) -> Vec<(Nanos, i64)> {
    let mut steps: Vec<(Nanos, i64)> =
        intervals.flat_map(|interval| [(interval.start, 1), (interval.end(), -1)]).collect();
    steps.sort_unstable();
    let mut level = 0;
    for (_, step) in &mut steps {
        level += *step;
        *step = level;
    }
    steps
}

fn most(intervals: impl Iterator<Item = Interval>) -> Option<u32> {
    let levels = changes(intervals).into_iter().map(|(_, level)| level);
    u32::try_from(levels.max()?).ok()
}

/// The largest number of requests in flight at once; `None` when there were none.
pub(super) fn peak(records: impl Iterator<Item = Record>) -> Option<u32> {
    most(records.filter_map(|record| flight(&record)))
}

/// The mean number of requests in flight over an interval.
pub(super) fn mean(records: &Records, interval: Interval) -> f64 {
    let overlap = |flight: Interval| {
        let end = flight.end().0.min(interval.end().0);
        end.saturating_sub(flight.start.0.max(interval.start.0))
    };
    let flights = records.iter().filter_map(|record| flight(&record));
    let busy: u64 = flights.map(overlap).sum();
    busy as f64 / interval.length as f64
}

/// The largest number of requests that were due and not yet sent: the client's own queue. `None` when there
/// were none.
pub(super) fn queue(records: impl Iterator<Item = Record>) -> Option<u32> {
    most(records.filter_map(|record| Interval::between(record.scheduled, record.sent?)))
}

/// Returns the steady window: `window` without the initial ramp-up and the final drain. It begins no earlier
/// than the first end of any request, warm-up included, because until then the server only fills up. In a
/// closed loop it lasts from the first to the last instant at which all streams were in flight, warm-up
/// included; in an open loop, or with think times, until the last request was due. `None` when that is less
/// than a hundredth of the window.
pub(super) fn steady(records: &Records, spec: &Workload, window: Interval) -> Option<Interval> {
    let flights = || records.iter().filter_map(|record| flight(&record));
    let filled = flights().map(Interval::end).min()?.max(window.start);
    let Some(streams) = spec.streams().filter(|_| spec.think_time.is_none()) else {
        let last = records.iter().map(|record| record.scheduled).max()?;
        return within(filled, last, window);
    };
    let changes = changes(flights());
    let full = |(_, level): &(Nanos, i64)| *level == i64::from(streams);
    let first = changes.iter().position(full)?;
    // The level holds until the next change, and the very last change is an end.
    let last = changes.iter().rposition(full)? + 1;
    let start = changes[first].0.max(filled);
    within(start, changes.get(last)?.0, window)
}

/// The interval from `start` to `end` within a window, unless it is less than a hundredth of it.
fn within(start: Nanos, end: Nanos, window: Interval) -> Option<Interval> {
    Interval::between(start, end.min(window.end()))
        .filter(|interval| interval.length.saturating_mul(100) >= window.length)
}
