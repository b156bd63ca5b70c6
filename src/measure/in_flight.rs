//! How many requests were in flight, and when.

use super::summary::Window;
use crate::{
    load::{Record, Records},
    manifest::Workload,
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
            (Some(a), Some(b)) => Some(Self { start: a.start, length: a.length + b.length }),
            (one, other) => one.or(other),
        }
    }
}

impl From<Stretch> for Window {
    fn from(stretch: Stretch) -> Self {
        Self { start_s: stretch.start.as_secs(), length_s: stretch.seconds() }
    }
}

/// When a request was in flight: from its first byte sent to its end. `None` when it never was.
pub(super) fn flight(record: &Record) -> Option<Stretch> {
    Stretch::between(record.sent?, record.end)
}

/// How many of some stretches overlap after every change of it, in order. Where one ends as another begins, the end comes
/// first: they did not overlap.
fn changes(stretches: impl Iterator<Item = Stretch>) -> Vec<(Nanos, i64)> {
    let mut steps: Vec<(Nanos, i64)> =
        stretches.flat_map(|stretch| [(stretch.start, 1), (stretch.end(), -1)]).collect();
    steps.sort_unstable();
    let mut level = 0;
    for (_, step) in &mut steps {
        level += *step;
        *step = level;
    }
    steps
}

fn most(stretches: impl Iterator<Item = Stretch>) -> Option<u32> {
    let levels = changes(stretches).into_iter().map(|(_, level)| level);
    u32::try_from(levels.max()?).ok()
}

/// The most requests that were in flight at once; `None` when none ever was.
pub(super) fn peak(records: impl Iterator<Item = Record>) -> Option<u32> {
    most(records.filter_map(|record| flight(&record)))
}

/// How many requests were in flight on average over a part of the time.
pub(super) fn mean(records: &Records, part: Stretch) -> f64 {
    let overlap = |flight: Stretch| {
        let end = flight.end().0.min(part.end().0);
        end.saturating_sub(flight.start.0.max(part.start.0))
    };
    let flights = records.iter().filter_map(|record| flight(&record));
    let busy: u64 = flights.map(overlap).sum();
    busy as f64 / part.length as f64
}

/// The most requests that were due and not yet sent: the client's own queue. `None` when none ever was.
pub(super) fn queue(records: impl Iterator<Item = Record>) -> Option<u32> {
    most(records.filter_map(|record| Stretch::between(record.scheduled, record.sent?)))
}

/// The part of `window` that is neither the start burst nor the drain. It begins no sooner than the first end of any
/// request, warm-up included: until then the server only fills. In a closed loop it goes from the first to the last
/// instant at which all streams, warm-up included, were in flight; in an open loop, and in one whose streams think, to the
/// last instant at which a request was due. `None` when that is too little of the window to say anything.
pub(super) fn steady(records: &Records, spec: &Workload, window: Stretch) -> Option<Stretch> {
    let flights = || records.iter().filter_map(|record| flight(&record));
    let filled = flights().map(Stretch::end).min()?.max(window.start);
    let Some(streams) = spec.streams().filter(|_| spec.think_time.is_none()) else {
        let last = records.iter().map(|record| record.scheduled).max()?;
        return part(filled, last, window);
    };
    let changes = changes(flights());
    let full = |(_, level): &(Nanos, i64)| *level == i64::from(streams);
    let first = changes.iter().position(full)?;
    // The level holds until the next change, and the last change of all is an end.
    let last = changes.iter().rposition(full)? + 1;
    let start = changes[first].0.max(filled);
    part(start, changes.get(last)?.0, window)
}

/// What lies in a window, unless it is less than a hundredth of it.
fn part(start: Nanos, end: Nanos, window: Stretch) -> Option<Stretch> {
    Stretch::between(start, end.min(window.end()))
        .filter(|part| part.length.saturating_mul(100) >= window.length)
}
