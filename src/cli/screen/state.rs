//! The progress of a run: what it is doing now, how much is done, and how long the rest may take.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::format::clean;
use crate::{load::Progress, run::Event, server::StartPhase};

/// Commands to suggest at the end of a run, quoted for a shell.
#[derive(Clone, Debug, Default)]
pub struct Commands {
    /// Continues this run.
    pub resume: String,
    /// Measures the cells that `--only` left out.
    pub measure_rest: String,
}

/// What a run is doing.
pub(super) enum Activity {
    /// Between two steps.
    Idle,
    /// A server starts.
    Starting { server: String, phase: StartPhase, line: String, since: Instant },
    /// A cell is measured.
    Measuring { cell: String, requests: Option<u64>, progress: Arc<Progress>, rate: Rate, since: Instant },
}

/// The progress of a run, as far as events tell it.
pub(super) struct State {
    /// Cells to measure in this start of the run.
    pub(super) cells: usize,
    pub(super) finished: usize,
    pub(super) servers: usize,
    /// Servers in the order of their first starts; one that died is started again.
    pub(super) started: Vec<String>,
    /// Whether the last start was of a server that had been started before.
    pub(super) again: bool,
    /// When the run began; absent before and after it.
    pub(super) begun: Option<Instant>,
    /// When the last cell finished, and the mean time of a cell so far.
    pace: Option<(Instant, Duration)>,
    pub(super) interrupted: bool,
    /// Outcome and reason of the last server that failed, as its cells repeat it.
    failure: Option<String>,
    pub(super) now: Activity,
    pub(super) commands: Commands,
}

impl State {
    pub(super) fn new(commands: Commands) -> Self {
        Self {
            cells: 0,
            finished: 0,
            servers: 0,
            started: Vec::new(),
            again: false,
            begun: None,
            pace: None,
            interrupted: false,
            failure: None,
            now: Activity::Idle,
            commands,
        }
    }

    /// Updates the state with an event. Returns whether it is news: a server's start reports each phase many
    /// times.
    pub(super) fn update(&mut self, event: &Event, at: Instant) -> bool {
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
                self.now = Activity::Starting {
                    server: server.clone(),
                    phase: StartPhase::Launch,
                    line: String::new(),
                    since: at,
                };
            }
            Event::ServerPhase { server, phase, line } => {
                let (changed, since) = match &self.now {
                    Activity::Starting { phase: old, since, .. } => (old != phase, *since),
                    _ => (true, at),
                };
                self.now =
                    Activity::Starting { server: server.clone(), phase: *phase, line: clean(line), since };
                return changed;
            }
            Event::CellStarted { cell, requests, progress, .. } => {
                self.now = Activity::Measuring {
                    cell: cell.clone(),
                    requests: *requests,
                    progress: progress.clone(),
                    rate: Rate::default(),
                    since: at,
                };
            }
            Event::CellFinished { .. } => {
                self.finished += 1;
                let spent = self.begun.map(|begun| at.saturating_duration_since(begun));
                self.pace = spent.map(|spent| (at, spent / self.finished as u32));
                self.now = Activity::Idle;
            }
            // The signal and the run both report it.
            Event::Interrupted => return !std::mem::replace(&mut self.interrupted, true),
            Event::Finished { .. } => {
                self.now = Activity::Idle;
                self.begun = None;
            }
            Event::ServerEnded { outcome, reason, .. } => {
                self.failure = Some(clean(&format!("{outcome}: {reason}")));
                self.now = Activity::Idle;
            }
            Event::ServerReady { .. } | Event::ServerStopped { .. } => self.now = Activity::Idle,
            // A probe is one more cell to measure.
            Event::Probe { .. } => self.cells += 1,
            Event::Warning(_) | Event::Predicting | Event::Answered(_) => {}
        }
        true
    }

    /// Whether a cell's reason is the server's failure, which was printed already.
    pub(super) fn is_server_failure(&self, reason: &str) -> bool {
        self.failure.as_deref() == Some(reason)
    }

    /// An estimate of the time left, from the mean time of the finished cells with their server starts. It
    /// counts down while a cell runs, and waits for a cell that takes longer than the mean.
    pub(super) fn time_left(&self, now: Instant) -> Option<Duration> {
        let (last, mean) = self.pace?;
        let later = self.cells.checked_sub(self.finished + 1)?;
        let current = mean.saturating_sub(now.saturating_duration_since(last));
        Some(mean * later as u32 + current)
    }
}

/// Chunks per second over the last two seconds.
#[derive(Default)]
pub(super) struct Rate {
    seen: VecDeque<(Instant, u64)>,
}

impl Rate {
    /// Adds a reading and returns the rate; `None` until two readings are apart in time.
    pub(super) fn update(&mut self, progress: &Progress, now: Instant) -> Option<f64> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::CellOutcome;

    #[test]
    fn the_time_left_counts_down_within_a_cell() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut state = State::new(Commands::default());
        let started = Event::Started {
            experiment: "e".into(),
            folder: "f".into(),
            cells: 4,
            done: 0,
            searches: 0,
            servers: 1,
        };
        state.update(&started, start);
        assert_eq!(state.time_left(at(9)), None, "nothing is known before the first cell is finished");
        let finished = Event::CellFinished {
            cell: "c".into(),
            outcome: CellOutcome::Ok,
            reason: None,
            throughput_tok_s: None,
            p95_ttft_ms: None,
            errors: 0,
        };
        state.update(&finished, at(10));
        let left = |state: &State, s| state.time_left(at(s)).map(|left| left.as_secs());
        assert_eq!([10, 14, 20, 35].map(|s| left(&state, s)), [Some(30), Some(26), Some(20), Some(20)]);
        state.update(&finished, at(40));
        assert_eq!(left(&state, 40), Some(40), "the estimate is renewed when a cell finishes");
        state.update(&finished, at(41));
        state.update(&finished, at(42));
        assert_eq!(left(&state, 42), None);
    }
}
