//! Progress bars, for a terminal.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use terminal_size::terminal_size_of;

use super::{
    View,
    format::{counters, duration, fit, phase_name},
    message::{Level, message},
    state::{Activity, Commands, State},
};
use crate::run::Event;

/// The time between two draws: often enough for an eye, and no load on a core.
const INTERVAL: Duration = Duration::from_millis(200);
const DRAWS_PER_SECOND: u8 = 5;
/// The size that is assumed where the terminal does not tell.
const DEFAULT_SIZE: (u16, u16) = (80, 24);
/// Columns at the right that stay empty: the terminal echoes `^C` at the cursor, and this is room for two.
const MARGIN: usize = 5;

pub(super) struct Bars {
    state: State,
    all: MultiProgress,
    sweep: ProgressBar,
    current: ProgressBar,
    terminal: Terminal,
}

impl Bars {
    pub(super) fn new(commands: Commands) -> Self {
        let terminal = Terminal::default();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(terminal.clone()), DRAWS_PER_SECOND);
        let all = MultiProgress::with_draw_target(target);
        let current = all.add(ProgressBar::new(0).with_style(spinner()));
        let sweep = all.add(ProgressBar::new(0).with_style(bar(0)));
        Self { state: State::new(commands), all, sweep, current, terminal }
    }

    fn draw(&mut self, at: Instant) {
        let columns = usize::from(self.terminal.width()).saturating_sub(MARGIN);
        // A narrow line needs its columns for the numbers.
        let bar_width = if columns < 100 { columns / 8 } else { 24 };
        let since = |instant: Instant| duration(at.saturating_duration_since(instant));
        match &mut self.state.now {
            Activity::Idle => {
                self.current.set_style(spinner());
                self.current.set_message(String::new());
            }
            Activity::Starting { server, phase, line, since: start } => {
                self.current.set_style(spinner());
                let gap = if line.is_empty() { "" } else { " · " };
                let phase = phase_name(*phase);
                let text = format!("{phase} · {server} · {}{gap}{line}", since(*start));
                self.current.set_message(text.chars().take(columns.saturating_sub(2)).collect::<String>());
            }
            Activity::Measuring { cell, requests, progress, rate, since: start } => {
                let rate = rate.update(progress, at);
                let mut parts = counters(*requests, progress, rate);
                parts.push(since(*start));
                let taken = match requests {
                    Some(requests) => {
                        self.current.set_style(bar(bar_width));
                        self.current.set_length(*requests);
                        self.current.set_position(progress.ended.load(Relaxed));
                        bar_width + 1
                    }
                    None => {
                        self.current.set_style(spinner());
                        2
                    }
                };
                self.current.set_message(fit(cell, &parts, columns.saturating_sub(taken)));
            }
        }
        self.current.tick();
        self.sweep.set_style(bar(bar_width));
        self.sweep.set_length(self.state.cells as u64);
        self.sweep.set_position(self.state.finished as u64);
        let left = match self.state.time_left(at) {
            Some(left) => format!(" · about {} left", duration(left)),
            None => String::new(),
        };
        self.sweep.set_message(format!("{}/{} cells{left}", self.state.finished, self.state.cells));
    }

    fn clear(&self) {
        self.current.finish_and_clear();
        self.sweep.finish_and_clear();
    }
}

impl View for Bars {
    fn event(&mut self, event: Event, at: Instant) {
        let is_news = self.state.update(&event, at);
        match &event {
            // These move the bars and need no line of their own.
            Event::ServerPhase { .. } | Event::CellStarted { .. } => return self.draw(at),
            _ if !is_news => return,
            Event::Finished { .. } => self.clear(),
            _ => {}
        }
        let (level, text) = message(&event, &self.state);
        // indicatif writes past anstream, which would remove the colour.
        let colour = anstream::stderr().current_choice() != anstream::ColorChoice::Never;
        for line in text.lines() {
            let line = match level {
                Level::Problem if colour => format!("\x1b[31m{line}\x1b[0m"),
                Level::Result if colour => format!("\x1b[33m{line}\x1b[0m"),
                _ => line.to_owned(),
            };
            // A closed terminal must not end a run that is paid for by the hour.
            let _ = match event {
                Event::Finished { .. } => self.terminal.write(&format!("{line}\n")),
                _ => self.all.println(line),
            };
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

    fn interval(&self) -> Duration {
        INTERVAL
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        // A run that fails before its end must not leave half a bar above the error.
        self.clear();
        self.terminal.end_line();
    }
}

fn bar(width: usize) -> ProgressStyle {
    style(&format!("{{bar:{width}}} {{msg}}"))
}

fn spinner() -> ProgressStyle {
    style("{spinner} {msg}")
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants but for a width; a default bar is better than no run.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
}

/// The terminal on stderr, for indicatif.
///
/// indicatif fills the last row with spaces, so that the next text begins in the next row. There the terminal
/// would also echo `^C`, and the row above would not be cleared by the next draw. So the spaces are held back
/// until text follows.
#[derive(Clone, Debug, Default)]
struct Terminal {
    held_back: Arc<AtomicUsize>,
}

impl Terminal {
    fn size() -> (u16, u16) {
        terminal_size_of(io::stderr()).map_or(DEFAULT_SIZE, |(width, height)| (width.0, height.0))
    }

    fn write(&self, text: &str) -> io::Result<()> {
        io::stderr().write_all(text.as_bytes())
    }

    /// Moves the cursor, or clears its row. Nothing has to be filled then.
    fn control(&self, n: usize, sequence: &str) -> io::Result<()> {
        if n == 0 {
            return Ok(());
        }
        self.held_back.store(0, Relaxed);
        self.write(sequence)
    }

    /// Moves to the next row, if text stands in this one.
    fn end_line(&self) {
        if self.held_back.swap(0, Relaxed) > 0 {
            // A closed terminal needs no line break.
            let _ = self.write("\n");
        }
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        Self::size().0
    }

    fn height(&self) -> u16 {
        Self::size().1
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.control(n, &format!("\x1b[{n}A"))
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.control(n, &format!("\x1b[{n}B"))
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.control(n, &format!("\x1b[{n}C"))
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.control(n, &format!("\x1b[{n}D"))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.control(1, "\r\x1b[2K")
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(&format!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        if text.bytes().all(|byte| byte == b' ') {
            self.held_back.fetch_add(text.len(), Relaxed);
            return Ok(());
        }
        let filler = " ".repeat(self.held_back.swap(0, Relaxed));
        self.write(&format!("{filler}{text}"))
    }

    fn flush(&self) -> io::Result<()> {
        io::stderr().flush()
    }
}
