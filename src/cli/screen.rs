//! Shows what happens while a plan is run. One thread owns the terminal: nothing that measures waits for it.

mod bars;
mod lines;
mod state;
mod words;

use std::{
    io::{IsTerminal, Write},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::run::Event;
use bars::Bars;
use lines::Lines;

/// How to show a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bars that move, for a terminal.
    Bars,
    /// One line per event, and a sign of life at least every ten seconds.
    Lines,
    /// Only what went wrong.
    Quiet,
}

impl Kind {
    /// The kind that fits stderr.
    pub fn of_stderr(quiet: bool) -> Self {
        if quiet {
            Self::Quiet
        } else if std::io::stderr().is_terminal() {
            Self::Bars
        } else {
            Self::Lines
        }
    }
}

/// A way to show events. Instants are given, so that nothing here reads a clock.
trait Face: Send {
    /// Something happened.
    fn event(&mut self, event: Event, now: Instant);
    /// Time passed.
    fn tick(&mut self, now: Instant);
    /// How long after a tick the next one is wanted.
    fn pace(&self) -> Duration;
}

/// The screen of one run. When dropped it has shown everything.
pub struct Screen {
    events: Option<Sender<Event>>,
    thread: Option<JoinHandle<()>>,
}

impl Screen {
    /// A screen on stderr. `manifest` is the file as the person named it, for the command that comes next.
    pub fn new(kind: Kind, manifest: &str) -> Self {
        match kind {
            Kind::Bars => Self::with(Box::new(Bars::new(manifest))),
            Kind::Lines | Kind::Quiet => Self::on(anstream::stderr(), kind, manifest),
        }
    }

    /// A screen of plain lines on any writer; [`Kind::Bars`] is [`Kind::Lines`] here.
    pub fn on(out: impl Write + Send + 'static, kind: Kind, manifest: &str) -> Self {
        Self::with(Box::new(Lines::new(out, kind == Kind::Quiet, manifest)))
    }

    fn with(face: Box<dyn Face>) -> Self {
        let (events, inbox) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("screen".into())
            .spawn(move || show(face, &inbox))
            .inspect_err(|error| {
                let _ = writeln!(
                    anstream::stderr(),
                    "warning: the run is not shown: no thread can be started for it: {error}"
                );
            })
            .ok();
        Self { events: Some(events), thread }
    }

    /// Shows an event, soon. Never waits.
    pub fn show(&mut self, event: Event) {
        // The screen may be gone (no thread, a closed terminal); the run goes on.
        if let Some(events) = &self.events {
            let _ = events.send(event);
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.events = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn show(mut face: Box<dyn Face>, inbox: &mpsc::Receiver<Event>) {
    let mut due = Instant::now() + face.pace();
    loop {
        match inbox.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(event) => face.event(event, Instant::now()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        if now >= due {
            face.tick(now);
            due = now + face.pace();
        }
    }
}
