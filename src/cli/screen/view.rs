//! [`View`]: one way to show events.

use std::time::{Duration, Instant};

use crate::run::Event;

/// A way to show events. The caller passes the time, so that tests need no clock.
pub(super) trait View: Send {
    /// Shows an event.
    fn event(&mut self, event: Event, now: Instant);
    /// Shows the progress since the last event.
    fn tick(&mut self, now: Instant);
    /// The time between two ticks.
    fn interval(&self) -> Duration;
}
