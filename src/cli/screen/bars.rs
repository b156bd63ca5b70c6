//! Bars that move, for a terminal.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    Face,
    state::{Now, State},
    words::{self, Weight},
};
use crate::run::Event;

/// Often enough for an eye, far too seldom to matter to a core.
const PACE: Duration = Duration::from_millis(200);

pub(super) struct Bars {
    state: State,
    all: MultiProgress,
    sweep: ProgressBar,
    now: ProgressBar,
}

impl Bars {
    pub(super) fn new(manifest: &str) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        let now = all.add(ProgressBar::new(0).with_style(spinner()));
        let sweep = all.add(ProgressBar::new(0).with_style(bar()));
        Self { state: State::new(manifest), all, sweep, now }
    }

    fn draw(&mut self, at: Instant) {
        match &mut self.state.now {
            Now::Nothing => {
                self.now.set_style(spinner());
                self.now.set_message(String::new());
            }
            Now::Starting { server, phase, line, since } => {
                self.now.set_style(spinner());
                let gap = if line.is_empty() { "" } else { " · " };
                self.now.set_message(format!(
                    "{} · {server} · {}{gap}{line}",
                    words::phase_name(*phase),
                    words::span(at.saturating_duration_since(*since)),
                ));
            }
            Now::Measuring { cell, requests, progress, rate, since } => {
                self.now.set_style(if requests.is_some() { bar() } else { spinner() });
                self.now.set_length(requests.unwrap_or_default());
                self.now.set_position(progress.ended.load(Relaxed));
                let rate = rate.read(progress, at);
                self.now.set_message(format!(
                    "{cell} · {} · {}",
                    words::counters(*requests, progress, rate),
                    words::span(at.saturating_duration_since(*since)),
                ));
            }
        }
        self.now.tick();
        self.sweep.set_length(self.state.cells as u64);
        self.sweep.set_position(self.state.finished as u64);
        let left = match self.state.left(at) {
            Some(left) => format!(" · about {} left", words::span(left)),
            None => String::new(),
        };
        self.sweep.set_message(format!("{}/{} cells{left}", self.state.finished, self.state.cells));
    }
}

impl Face for Bars {
    fn event(&mut self, event: Event, at: Instant) {
        self.state.take(&event, at);
        match &event {
            // A phase moves the spinner; a cell that begins moves its bar: neither leaves a line behind.
            Event::ServerPhase { .. } | Event::CellStarted { .. } => {
                self.draw(at);
                return;
            }
            Event::Finished { .. } => {
                self.now.finish_and_clear();
                self.sweep.finish_and_clear();
            }
            _ => {}
        }
        if let Some((weight, text)) = words::say(&event, &self.state) {
            // indicatif writes past anstream: whether there is colour is asked here.
            let colour = anstream::stderr().current_choice() != anstream::ColorChoice::Never;
            for line in text.lines() {
                let line = match weight {
                    Weight::Wrong if colour => format!("\x1b[31m{line}\x1b[0m"),
                    Weight::Result if colour => format!("\x1b[33m{line}\x1b[0m"),
                    _ => line.to_owned(),
                };
                // A closed terminal must not end a run that is paid for by the hour.
                let _ = self.all.println(line);
            }
        }
        if !matches!(event, Event::Finished { .. }) {
            self.draw(at);
        }
    }

    fn tick(&mut self, now: Instant) {
        if self.state.begun.is_some() && !self.sweep.is_finished() {
            self.draw(now);
        }
    }

    fn pace(&self) -> Duration {
        PACE
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        // A run that fails before its end must not leave half a bar above the error.
        self.now.finish_and_clear();
        self.sweep.finish_and_clear();
    }
}

fn bar() -> ProgressStyle {
    style("{bar:24} {wide_msg}")
}

fn spinner() -> ProgressStyle {
    style("{spinner} {wide_msg}")
}

fn style(template: &str) -> ProgressStyle {
    // The templates above are constants; a bar without style is better than no run.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
}
