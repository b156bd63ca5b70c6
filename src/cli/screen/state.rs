//! What the screen knows of a run: what goes on now and how much is done.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::words;
use crate::{load::Progress, run::Event, server::StartPhase};

/// What goes on now.
pub(super) enum Now {
    /// Between two things.
    Nothing,
    /// A server starts.
    Starting { server: String, phase: StartPhase, line: String, since: Instant },
    /// A cell is measured.
    Measuring { cell: String, requests: Option<u64>, progress: Arc<Progress>, rate: Rate, since: Instant },
}

/// How far a run is.
pub(super) struct State {
    pub(super) cells: usize,
    pub(super) finished: usize,
    pub(super) servers: usize,
    /// Servers in the order of their first starts; one that died is started again.
    pub(super) started: Vec<String>,
    /// Whether the last start was of a server that had been started before.
    pub(super) again: bool,
    /// When the run began; absent before and after it.
    pub(super) begun: Option<Instant>,
    pub(super) interrupted: bool,
    /// How the last server that did not start ended, as its cells say it.
    lost: Option<String>,
    pub(super) now: Now,
    pub(super) manifest: String,
}

impl State {
    pub(super) fn new(manifest: &str) -> Self {
        Self {
            cells: 0,
            finished: 0,
            servers: 0,
            started: Vec::new(),
            again: false,
            begun: None,
            interrupted: false,
            lost: None,
            now: Now::Nothing,
            manifest: manifest.to_owned(),
        }
    }

    /// Takes an event in; says whether a server's start entered another phase (or was no phase at all).
    pub(super) fn take(&mut self, event: &Event, at: Instant) -> bool {
        match event {
            Event::Started { cells, servers, .. } => {
                self.cells = *cells;
                self.servers = *servers;
                self.begun = Some(at);
            }
            Event::ServerStarting { server, .. } => {
                self.again = self.started.contains(server);
                if !self.again {
                    self.started.push(server.clone());
                }
                self.now = Now::Starting {
                    server: server.clone(),
                    phase: StartPhase::Launch,
                    line: String::new(),
                    since: at,
                };
            }
            Event::ServerPhase { server, phase, line } => {
                let (changed, since) = match &self.now {
                    Now::Starting { phase: old, since, .. } => (old != phase, *since),
                    _ => (true, at),
                };
                self.now =
                    Now::Starting { server: server.clone(), phase: *phase, line: words::clean(line), since };
                return changed;
            }
            Event::CellStarted { cell, requests, progress, .. } => {
                self.now = Now::Measuring {
                    cell: cell.clone(),
                    requests: *requests,
                    progress: progress.clone(),
                    rate: Rate::default(),
                    since: at,
                };
            }
            Event::CellFinished { .. } => {
                self.finished += 1;
                self.now = Now::Nothing;
            }
            Event::Interrupted => self.interrupted = true,
            Event::Finished { .. } => {
                self.now = Now::Nothing;
                self.begun = None;
            }
            Event::ServerEnded { outcome, reason, .. } => {
                self.lost = Some(words::clean(&format!("{outcome}: {reason}")));
                self.now = Now::Nothing;
            }
            Event::ServerReady { .. } | Event::ServerStopped { .. } => self.now = Now::Nothing,
            Event::Warning(_) | Event::Predicting => {}
        }
        true
    }

    /// Whether a cell's reason is how its server ended, which was said then.
    pub(super) fn told_of_server(&self, reason: &str) -> bool {
        self.lost.as_deref() == Some(reason)
    }

    /// A guess at the time left: what each finished cell took so far, server starts included.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        let spent = now.saturating_duration_since(self.begun?);
        let rest = self.cells.checked_sub(self.finished)?;
        (self.finished > 0).then(|| spent.mul_f64(rest as f64 / self.finished as f64))
    }
}

/// Chunks per second over the last two seconds.
#[derive(Default)]
pub(super) struct Rate {
    seen: VecDeque<(Instant, u64)>,
}

impl Rate {
    /// Adds a reading; `None` until two readings are apart in time.
    pub(super) fn read(&mut self, progress: &Progress, now: Instant) -> Option<f64> {
        self.seen.push_back((now, progress.chunks.load(Relaxed)));
        while self.seen.len() > 2 && now.saturating_duration_since(self.seen[1].0) >= Duration::from_secs(2) {
            self.seen.pop_front();
        }
        let (first, chunks) = *self.seen.front()?;
        let (_, latest) = *self.seen.back()?;
        let span = now.saturating_duration_since(first).as_secs_f64();
        (span > 0.0).then(|| latest.saturating_sub(chunks) as f64 / span)
    }
}
