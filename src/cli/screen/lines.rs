//! Plain lines: one per event, and a line of progress when something takes long.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use super::{
    View,
    format::{counters, duration, phase_name},
    message::{Level, message},
    state::{Activity, Commands, State},
};
use crate::run::Event;

/// Silence longer than this looks like a hang.
const HEARTBEAT: Duration = Duration::from_secs(10);

pub(super) struct Lines<W> {
    out: W,
    quiet: bool,
    state: State,
    /// When the last line was written.
    last: Option<Instant>,
}

impl<W: Write + Send> Lines<W> {
    pub(super) fn new(out: W, quiet: bool, commands: Commands) -> Self {
        Self { out, quiet, state: State::new(commands), last: None }
    }

    fn line(&mut self, text: &str, now: Instant) {
        self.last = Some(now);
        // A closed stderr must not end a run that is paid for by the hour.
        let _ = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
    }
}

impl<W: Write + Send> View for Lines<W> {
    fn event(&mut self, event: Event, now: Instant) {
        if self.state.update(&event, now) {
            let (level, text) = message(&event, &self.state);
            if !self.quiet || level == Level::Problem {
                self.line(&text, now);
            }
        }
    }

    fn tick(&mut self, now: Instant) {
        let since = |start: Instant| duration(now.saturating_duration_since(start));
        let text = match (&mut self.state.now, self.state.begun) {
            (Activity::Measuring { cell, requests, progress, rate, since: start }, _) => {
                // Updated on every tick, so that it is the rate of the last two seconds.
                let rate = rate.update(progress, now);
                format!("  {cell}: {} · {}", counters(*requests, progress, rate).join(" · "), since(*start))
            }
            (Activity::Starting { server, phase, line, since: start }, _) => {
                let gap = if line.is_empty() { "" } else { " · " };
                format!("  {server}: {} · {}{gap}{line}", phase_name(*phase), since(*start))
            }
            // Between two steps: a server takes time to stop and to free its memory.
            (Activity::Idle, Some(begun)) => {
                format!("  waiting for a server to stop · {} since the start", since(begun))
            }
            (Activity::Idle, None) => return,
        };
        let silent = self.last.is_some_and(|last| now.saturating_duration_since(last) >= HEARTBEAT);
        if silent && !self.quiet {
            self.line(&text, now);
        }
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::Ordering::Relaxed};

    use super::*;
    use crate::{
        load::Progress,
        measure::CellOutcome,
        run::Ended,
        server::{Facts, ServerOutcome, StartPhase},
    };

    /// The lines of a small run, with one second between events and twelve quiet seconds in each long part.
    fn output(quiet: bool) -> String {
        let commands = Commands { resume: "runner run day.toml --resume".to_owned(), ..Commands::default() };
        let mut lines = Lines::new(Vec::new(), quiet, commands);
        let mut now = Instant::now();
        let progress = Arc::new(Progress::default());
        let phase = |phase, line: &str| Event::ServerPhase { server: "s1".into(), phase, line: line.into() };
        let finished = |cell: &str, outcome, reason: Option<&str>, throughput| Event::CellFinished {
            cell: cell.into(),
            outcome,
            reason: reason.map(Into::into),
            throughput_tok_s: throughput,
            p95_ttft_ms: throughput.map(|_| 41.6),
            errors: 0,
        };
        let starting = |server: &str| Event::ServerStarting {
            server: server.into(),
            ready_within: Duration::from_secs(600),
        };
        let first = vec![
            Event::Started {
                experiment: "day".into(),
                folder: "results/day/r1".into(),
                cells: 3,
                done: 0,
                searches: 0,
                servers: 2,
            },
            starting("s1"),
            phase(StartPhase::Load, "\x1b[31mLoading weights\x1b[0m"),
            phase(StartPhase::Load, "50%"),
        ];
        let second = vec![
            Event::ServerReady {
                server: "s1".into(),
                facts: Facts { startup_s: Some(14.25), kv_cache_tokens: Some(8192), ..Facts::default() },
            },
            Event::CellStarted {
                cell: "chat-c1".into(),
                repeat: 1,
                at_least: 1,
                at_most: 1,
                requests: Some(16),
                progress: progress.clone(),
            },
        ];
        let third = vec![
            finished("chat-c1", CellOutcome::Ok, None, Some(512.34)),
            Event::Warning("the clock jumped".into()),
            finished("chat-c2", CellOutcome::Failed, Some("every request was refused"), None),
            Event::ServerStopped { server: "s1".into() },
            starting("s2"),
            Event::ServerEnded {
                server: "s2".into(),
                outcome: ServerOutcome::KvTooSmall,
                reason: "needs 16384, has 8192".into(),
                log: Some("servers/s2/server.log".into()),
            },
            starting("s2"),
            finished("chat-c3", CellOutcome::DoesNotFit, None, None),
            Event::Finished {
                ended: Ended {
                    folder: "results/day/r1".into(),
                    outcomes: vec![
                        (CellOutcome::Ok, 1),
                        (CellOutcome::Failed, 1),
                        (CellOutcome::DoesNotFit, 1),
                    ],
                    missing: 0,
                    unanswered: 0,
                    budget_spent: None,
                    interrupted: false,
                    already_complete: false,
                },
                notes: vec!["results/day/r1/notes/capacity.md".into()],
            },
        ];
        for part in [first, second, third] {
            for event in part {
                now += Duration::from_secs(1);
                lines.event(event, now);
            }
            // Twelve seconds in which only counters move.
            for _ in 0..12 {
                now += Duration::from_secs(1);
                progress.chunks.fetch_add(100, Relaxed);
                progress.ended.store(7, Relaxed);
                progress.in_flight.store(1, Relaxed);
                lines.tick(now);
            }
        }
        String::from_utf8(lines.out).unwrap()
    }

    #[test]
    fn a_run_in_plain_lines() {
        insta::assert_snapshot!(output(false), @r"
        day: 3 cells on 2 servers → results/day/r1
        server 1/2 s1: starting, ready within 10m 00s
        server s1: loading the weights · Loading weights
          s1: loading the weights · 11s · 50%
        server s1: ready after 14.2 s · KV cache 8192 tokens
        cell 1/3 chat-c1: 16 requests
          chat-c1: 7/16 requests · 100 chunks/s · 1 in flight · 10s
        cell 1/3 chat-c1: ok · 512.3 tok/s · p95 TTFT 42 ms
        warning: the clock jumped
        cell 2/3 chat-c2: failed · every request was refused
        server s1: stopped
        server 2/2 s2: starting, ready within 10m 00s
        server s2: kv_too_small · needs 16384, has 8192 · log: servers/s2/server.log
        server 2/2 s2: starting again, ready within 10m 00s
        cell 3/3 chat-c3: does_not_fit
        finished: 3 cells (1 ok, 1 failed, 1 does_not_fit)
        results: results/day/r1
        note:    results/day/r1/notes/capacity.md
        open:    results/day/r1/report.html
        next:    runner run day.toml --resume   # measures 1 failed cell again
        ");
    }

    #[test]
    fn quiet_prints_only_failures_and_warnings() {
        insta::assert_snapshot!(output(true), @r"
        warning: the clock jumped
        cell 2/3 chat-c2: failed · every request was refused
        ");
    }
}
