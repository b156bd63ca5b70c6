//! One way through a plan: a server, its turns, what is stored of each.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use jiff::Timestamp;
use tokio::{sync::watch, time::Instant};

use super::{
    Ended, Event, Order, RunError,
    cell::{self, Seen},
    launch::api_key,
    loss::end_behind,
    silence::silence,
    vocabularies::Vocabularies,
};
use crate::{
    load::{self, Progress, Records},
    manifest::Manifest,
    measure::CellOutcome,
    observe::{ObservedServer, Observer},
    plan::{Cell, Group, Plan, Stop, Turn},
    secret::{Mask, environment},
    server::{self, Running, ServerOutcome, StartFailure},
    store::{Attempt, CellFile, RunFolder, StoredRun, ladder_end},
};

/// How often a cell is tried that a crash or a hang ends.
const MOST_ATTEMPTS: usize = 2;
/// The tables of a long run grow with it: writing them takes at most one part in so many of the run's time.
const TABLES_SHARE: u32 = 20;

/// A run on its way.
pub(super) struct Walk<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) plan: &'a Plan,
    pub(super) order: &'a Order,
    pub(super) folder: RunFolder,
    /// What the folder holds.
    pub(super) stored: StoredRun,
    /// Cells that are not to be measured: done by an earlier start, ended by this one, or left out of it.
    pub(super) settled: BTreeSet<String>,
    /// Before then the tables are left as they are.
    pub(super) tables_due: Instant,
    pub(super) emit: &'a mut (dyn FnMut(Event) + Send),
    pub(super) stop: watch::Receiver<bool>,
    /// What was learned of the tokens of the server that runs.
    pub(super) vocabularies: Vocabularies,
    pub(super) observer: Observer,
    /// How many files this process may have open.
    pub(super) open_files: u64,
}

/// A cell that was begun and is not stored yet.
struct Begun {
    at: Timestamp,
    repeats: Vec<Records>,
    seen: Vec<Seen>,
    attempts: Vec<Attempt>,
}

impl Begun {
    /// How often it was lost while it ran.
    fn lost(&self) -> usize {
        let ran = |attempt: &&Attempt| attempt.outcome != CellOutcome::ServerFailed;
        self.attempts.iter().filter(ran).count()
    }
}

/// How one turn ended.
enum Turned {
    Records(Records, Box<Seen>),
    Interrupted,
    /// The client could not be set up.
    Failed(String),
    /// The server died, or hung.
    Lost(Loss),
}

/// Why a turn was lost with its server.
struct Loss {
    cell: CellOutcome,
    server: ServerOutcome,
    reason: String,
    log_tail: Vec<String>,
}

impl Walk<'_> {
    /// Whether somebody asked to stop.
    pub(super) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Every server and its cells.
    pub(super) async fn whole(&mut self) -> Result<Ended, RunError> {
        self.predict()?;
        let plan = self.plan;
        for group in &plan.groups {
            if self.is_stopped() {
                break;
            }
            self.group(group).await?;
        }
        // How long answers are that end by themselves is known now.
        self.predict()?;
        self.finish()
    }

    /// One server and its cells. Whatever ends them, the server is over when this returns.
    async fn group(&mut self, group: &Group) -> Result<(), RunError> {
        let mut running = None;
        let result = self.cells(group, &mut running).await;
        if let Some(alive) = running {
            self.end(alive).await;
            (self.emit)(Event::ServerStopped { server: group.id.clone() });
        }
        result
    }

    /// The cells of one server; what is left in `running` is still to be ended.
    async fn cells(&mut self, group: &Group, running: &mut Option<Running>) -> Result<(), RunError> {
        self.store_skipped(group)?;
        if let Some(impossible) = self.impossible(group) {
            for cell in &group.cells {
                if !self.settled.contains(&cell.id) {
                    let reason = impossible.reason.clone();
                    let file = CellFile {
                        proved_impossible_by: Some(impossible.by.clone()),
                        ..cell::unmeasured(group, cell, CellOutcome::Skipped, reason, Vec::new())
                    };
                    self.store(file, &[])?;
                }
            }
            return Ok(());
        }
        let mut turns: VecDeque<Turn> = group.turns(&self.plan.experiment).into();
        let mut begun: BTreeMap<usize, Begun> = BTreeMap::new();
        self.vocabularies = Vocabularies::default();
        // Starts that failed and were made again.
        let mut failures: Vec<StartFailure> = Vec::new();
        while let Some(turn) = turns.pop_front() {
            let cell = &group.cells[turn.cell];
            if self.settled.contains(&cell.id) {
                continue;
            }
            if self.is_stopped() {
                break;
            }
            if let Some(end) = ladder_end(group, cell, &self.stored.cells) {
                let reason = end.reason;
                let file = CellFile {
                    ladder_ended_at: Some(end.at),
                    ..cell::unmeasured(group, cell, CellOutcome::Skipped, reason, Vec::new())
                };
                self.store(file, &[])?;
                continue;
            }
            // Before a server is started for it.
            let most = cell.spec.streams().or(cell.spec.max_in_flight);
            let too_many = most.and_then(|most| load::too_many_connections(u64::from(most), self.open_files));
            if let Some(reason) = too_many {
                let file = cell::unmeasured(group, cell, CellOutcome::Failed, reason, Vec::new());
                self.store(file, &[])?;
                continue;
            }
            let alive = match &mut *running {
                Some(alive) => alive,
                none => match self.start(group).await? {
                    Ok(alive) => none.insert(alive),
                    // It was given up because we were asked to stop.
                    Err(_) if self.is_stopped() => break,
                    Err(failed) if may_be_chance(&failed, &failures) => {
                        failures.push(failed);
                        turns.push_front(turn);
                        continue;
                    }
                    Err(failed) => return self.give_up(group, &failed, &failures, begun),
                },
            };
            let open = begun.entry(turn.cell).or_insert_with(|| Begun {
                at: Timestamp::now(),
                repeats: Vec::new(),
                seen: Vec::new(),
                attempts: Vec::new(),
            });
            open.attempts.extend(failures.drain(..).map(attempt));
            match self.turn(group, turn, alive).await {
                Turned::Records(records, seen) => {
                    open.repeats.push(records);
                    open.seen.push(*seen);
                    if open.repeats.len() as u32 == self.plan.experiment.repeats
                        && let Some(whole) = begun.remove(&turn.cell)
                    {
                        self.store_measured(group, cell, alive, whole)?;
                    }
                }
                Turned::Interrupted => break,
                Turned::Failed(reason) => {
                    self.store(cell::unmeasured(group, cell, CellOutcome::Failed, reason, Vec::new()), &[])?;
                }
                Turned::Lost(loss) => {
                    (self.emit)(Event::ServerEnded {
                        server: group.id.clone(),
                        outcome: loss.server,
                        reason: loss.reason.clone(),
                        log: Some(server::log_path(&self.folder.path().join("servers").join(&group.id))),
                    });
                    // What is left of it ends before the next start.
                    if let Some(lost) = running.take() {
                        self.end(lost).await;
                    }
                    // Running out of memory is a result; a crash or a hang may have been chance.
                    if loss.cell != CellOutcome::Oom && open.lost() + 1 < MOST_ATTEMPTS {
                        open.attempts.push(loss.into_attempt());
                        turns.push_front(turn);
                    } else {
                        let file = CellFile {
                            attempts: std::mem::take(&mut open.attempts),
                            ..cell::unmeasured(group, cell, loss.cell, loss.reason, loss.log_tail)
                        };
                        self.store(file, &[])?;
                    }
                }
            }
        }
        Ok(())
    }

    fn store_skipped(&mut self, group: &Group) -> Result<(), RunError> {
        for cell in &group.cells {
            if let Some(reason) = &cell.skip
                && !self.settled.contains(&cell.id)
            {
                let reason = reason.clone();
                self.store(cell::unmeasured(group, cell, CellOutcome::Skipped, reason, Vec::new()), &[])?;
            }
        }
        Ok(())
    }

    fn store_measured(
        &mut self,
        group: &Group,
        cell: &Cell,
        running: &Running,
        begun: Begun,
    ) -> Result<(), RunError> {
        let inputs = &self.manifest.inputs;
        let file = CellFile {
            attempts: begun.attempts,
            ..cell::measured(group, cell, inputs, running, &begun.repeats, begun.seen, begun.at)
        };
        self.store(file, &begun.repeats)
    }

    /// Ends a server; what it left behind is worth a word, and the run goes on.
    pub(super) async fn end(&mut self, server: Running) {
        if let Some(left) = server.stop().await {
            (self.emit)(Event::Warning(left));
        }
    }

    /// The server cannot be had: every cell of it that is not settled says so.
    fn give_up(
        &mut self,
        group: &Group,
        failed: &StartFailure,
        before: &[StartFailure],
        mut begun: BTreeMap<usize, Begun>,
    ) -> Result<(), RunError> {
        let outcome = CellOutcome::of_start(failed.outcome);
        let reason = format!("{}: {}", failed.outcome, failed.reason);
        for (index, cell) in group.cells.iter().enumerate() {
            if !self.settled.contains(&cell.id) {
                let tail = failed.log_tail.clone();
                let lost = begun.remove(&index).map(|begun| begun.attempts);
                let starts = before.iter().cloned().map(attempt);
                let file = CellFile {
                    attempts: lost.into_iter().flatten().chain(starts).collect(),
                    ..cell::unmeasured(group, cell, outcome, reason.clone(), tail)
                };
                self.store(file, &[])?;
            }
        }
        Ok(())
    }

    /// One repeat of one cell, while the server's life is watched.
    async fn turn(&mut self, group: &Group, turn: Turn, alive: &mut Running) -> Turned {
        let cell = &group.cells[turn.cell];
        let progress = Arc::new(Progress::default());
        (self.emit)(Event::CellStarted {
            cell: cell.id.clone(),
            repeat: turn.repeat,
            repeats: self.plan.experiment.repeats,
            requests: match cell.stop {
                Stop::Requests(requests) => Some(requests),
                Stop::Duration(_) => None,
            },
            progress: progress.clone(),
        });
        let (cancel, cancelled) = watch::channel(false);
        // Watching the server borrows it, and the client needs its address: the address is copied out first.
        let seat = alive.address();
        let key = api_key(group);
        let measuring = cell::measure_once(
            cell,
            turn.repeat,
            &self.manifest.inputs,
            cell::Client {
                address: &seat,
                mask: mask(group),
                api_key: key.clone(),
                observer: &self.observer,
                observed: ObservedServer {
                    url: seat.url.clone(),
                    api_key: key,
                    every: self.plan.experiment.scrape_every,
                    processes: alive.processes(),
                },
                vocabularies: &mut self.vocabularies,
                progress: progress.clone(),
                cancel: cancelled,
                spill: self.folder.path(),
            },
        );
        let mut measuring = std::pin::pin!(measuring);
        let mut stop = self.stop.clone();
        let hung_after = group.server.hung_after;
        let mut ended = false;
        let ending = tokio::select! {
            records = &mut measuring => match records {
                Ok(cell::Driven { records, client, observation }) => {
                    ended = true;
                    match end_behind(&progress, alive).await {
                        Some(death) => Turned::Lost(death.into()),
                        // Whatever becomes of the server now, the repeat is whole.
                        None => {
                            let server = observation.end(progress.completed.load(Relaxed)).await;
                            Turned::Records(records, Box::new(Seen { client, server }))
                        }
                    }
                }
                Err(reason) => {
                    ended = true;
                    Turned::Failed(reason)
                }
            },
            crash = alive.crashed() => Turned::Lost(crash.into()),
            waiting = silence(&progress, hung_after.duration()) => Turned::Lost(Loss {
                cell: CellOutcome::Hung,
                server: ServerOutcome::Crashed,
                reason: format!(
                    "hung: nothing came for {hung_after} (server.hung_after) with {waiting} requests in flight"
                ),
                log_tail: Vec::new(),
            }),
            _ = stop.wait_for(|stop| *stop) => Turned::Interrupted,
        };
        if !ended {
            let _ = cancel.send(true);
            let _ = measuring.await;
        }
        match ending {
            Turned::Lost(loss) if loss.cell == CellOutcome::Hung => {
                Turned::Lost(Loss { log_tail: alive.log_tail(), ..loss })
            }
            other => other,
        }
    }

    fn store(&mut self, file: CellFile, records: &[Records]) -> Result<(), RunError> {
        self.folder.write_cell(&file, records)?;
        self.settled.insert(file.id.clone());
        self.stored.put_cell(file.clone());
        if Instant::now() >= self.tables_due {
            let began = Instant::now();
            self.folder.write_tables(&self.stored)?;
            self.tables_due = Instant::now() + began.elapsed() * TABLES_SHARE;
        }
        let summary = file.summary.as_ref();
        (self.emit)(Event::CellFinished {
            cell: file.id,
            outcome: file.outcome,
            reason: file.reason,
            throughput_tok_s: summary.and_then(|summary| summary.throughput_tok_s),
            p95_ttft_ms: summary.and_then(|summary| summary.ttft.as_ref()).map(|ttft| ttft.p95_ms),
            errors: summary.map_or(0, |summary| summary.counts.errors()),
        });
        Ok(())
    }

    /// Says what there is of a run that cannot go on.
    pub(super) fn cut_short(&mut self, error: &RunError) {
        if matches!(error, RunError::Store(_)) {
            let ended = "nothing more can be stored: the run ends here, its server is stopped";
            if !self.folder.is_present() {
                (self.emit)(Event::Warning(ended.to_owned()));
                return;
            }
            let whole = self.stored.cells.len();
            let cells = if whole == 1 { "cell is" } else { "cells are" };
            (self.emit)(Event::Warning(format!(
                "{ended}; {whole} finished {cells} whole in {}",
                self.folder.path()
            )));
        }
    }

    /// Writes what is written last.
    fn finish(&mut self) -> Result<Ended, RunError> {
        self.stored.run.finished_at = Some(Timestamp::now());
        self.folder.write_run(&self.stored.run)?;
        self.folder.write_tables(&self.stored)?;
        let mut outcomes: BTreeMap<CellOutcome, usize> = BTreeMap::new();
        for cell in &self.stored.cells {
            *outcomes.entry(cell.outcome).or_default() += 1;
        }
        let interrupted = self.is_stopped();
        if interrupted {
            (self.emit)(Event::Interrupted);
        }
        Ok(Ended {
            folder: self.folder.path().to_owned(),
            outcomes: outcomes.into_iter().collect(),
            interrupted,
        })
    }
}

/// Whether a start that failed may go well when it is made again: it crashed or hung, and not for the second time.
fn may_be_chance(failed: &StartFailure, before: &[StartFailure]) -> bool {
    matches!(failed.outcome, ServerOutcome::Crashed | ServerOutcome::TimedOut)
        && before.iter().all(|one| one.outcome != failed.outcome)
}

/// A start that failed, among the attempts at a cell.
fn attempt(failed: StartFailure) -> Attempt {
    Attempt {
        outcome: CellOutcome::ServerFailed,
        reason: format!("{}: {}", failed.outcome, failed.reason),
        log_tail: failed.log_tail,
        ended_at: Timestamp::now(),
    }
}

impl Loss {
    fn into_attempt(self) -> Attempt {
        Attempt {
            outcome: self.cell,
            reason: self.reason,
            log_tail: self.log_tail,
            ended_at: Timestamp::now(),
        }
    }
}

impl From<server::Crash> for Loss {
    fn from(crash: server::Crash) -> Self {
        Self {
            cell: match crash.outcome {
                ServerOutcome::Oom(_) => CellOutcome::Oom,
                _ => CellOutcome::Crashed,
            },
            server: crash.outcome,
            reason: crash.reason,
            log_tail: crash.log_tail,
        }
    }
}

fn mask(group: &Group) -> Mask {
    let named = group.server.launch.api_key_env.as_deref();
    Mask::of(environment(), named.as_slice())
}
