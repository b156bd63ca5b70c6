//! Runs the servers of a plan, one after the other, and on each of them its cells.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;

use super::{
    Ended, Event, RunError, budget,
    cell::{self, Seen},
    sweep::Sweep,
    token_counts::TokenCounts,
    turn::TurnEnd,
};
use crate::{
    load::{self, Records},
    measure::CellOutcome,
    plan::{Cell, CellRepeat, Group},
    server::{self, Running, ServerOutcome, StartFailure},
    store::{Attempt, CellFile, ladder_end},
};

/// How often a cell is tried when its server crashes or hangs.
const MAX_ATTEMPTS: usize = 2;

/// A cell of which some repeats are measured.
struct Begun {
    at: Timestamp,
    repeats: Vec<Records>,
    seen: Vec<Seen>,
    attempts: Vec<Attempt>,
}

impl Begun {
    /// How many attempts a crash or a hang ended while the cell ran.
    fn lost(&self) -> usize {
        let ran = |attempt: &&Attempt| attempt.outcome != CellOutcome::ServerFailed;
        self.attempts.iter().filter(ran).count()
    }
}

impl Sweep<'_> {
    pub(super) async fn run(&mut self) -> Result<Ended, RunError> {
        self.predict()?;
        let groups = self.stored.plan.groups.len();
        let searches = self.stored.plan.searches.iter().any(|search| search.server.is_none());
        for group in 0..groups {
            if self.is_stopped() {
                break;
            }
            self.clock.share_among(groups - group + usize::from(searches));
            self.group(group).await?;
        }
        self.clock.share_among(1);
        self.search_servers().await?;
        // The lengths of natural answers are known now.
        self.predict()?;
        self.finish()
    }

    /// Runs one server, by its index in the plan, and its cells. The server is stopped when this returns, whatever happened.
    pub(super) async fn group(&mut self, at: usize) -> Result<(), RunError> {
        let mut running = None;
        let result = self.cells(at, &mut running).await;
        if let Some(alive) = running {
            self.end(alive).await;
            (self.emit)(Event::ServerStopped { server: self.stored.plan.groups[at].id.clone() });
        }
        result
    }

    /// Measures the cells of one server. A server that is left in `running` has to be stopped.
    async fn cells(&mut self, at: usize, running: &mut Option<Running>) -> Result<(), RunError> {
        let mut own = self.stored.plan.groups[at].clone();
        self.store_skipped(&own)?;
        if let Some(proof) = self.proof_of_misfit(&own) {
            return self.store_impossible(&own, &proof);
        }
        let mut turns: VecDeque<CellRepeat> = own.repeats(&self.stored.plan.experiment).into();
        turns.retain(|turn| turn.repeat <= self.repeats_of(&own.cells[turn.cell]));
        if self.clock.is_limited() {
            turns = budget::coarse_to_fine(&own, turns.make_contiguous());
        }
        let mut begun: BTreeMap<usize, Begun> = BTreeMap::new();
        self.token_counts = TokenCounts::default();
        // Failed starts that were retried.
        let mut failures: Vec<StartFailure> = Vec::new();
        loop {
            let Some(turn) = turns.pop_front() else {
                turns = if self.is_stopped() { break } else { self.probe_load(at)?.into() };
                if turns.is_empty() {
                    break;
                }
                own = self.stored.plan.groups[at].clone();
                continue;
            };
            let group = &own;
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
                    ..cell::unmeasured(group, cell, CellOutcome::Skipped, reason)
                };
                self.store(file, &[])?;
                continue;
            }
            if !self.has_time_for(group, cell) {
                // A search goes nowhere without its next probe.
                if cell.search.is_some() {
                    break;
                }
                continue;
            }
            // Checked before a server is started for the cell.
            let most = cell.spec.streams().or(cell.spec.max_in_flight);
            let too_many = most.and_then(|most| load::too_many_connections(u64::from(most), self.open_files));
            if let Some(reason) = too_many {
                let file = cell::unmeasured(group, cell, CellOutcome::Failed, reason);
                self.store(file, &[])?;
                continue;
            }
            let alive = match &mut *running {
                Some(alive) => alive,
                none => match self.start(group).await? {
                    Ok(alive) => none.insert(alive),
                    // The start was abandoned because the person asked to stop.
                    Err(_) if self.is_stopped() => break,
                    Err(failed) if is_worth_retry(&failed, &failures) => {
                        failures.push(failed);
                        turns.push_front(turn);
                        continue;
                    }
                    Err(failed) => return self.give_up(group, &failed, &failures, begun),
                },
            };
            if cell.is_start_only() {
                self.store(
                    CellFile::without_numbers(group, cell, CellOutcome::Started, None, Timestamp::now()),
                    &[],
                )?;
                continue;
            }
            let open = begun.entry(turn.cell).or_insert_with(|| Begun {
                at: Timestamp::now(),
                repeats: Vec::new(),
                seen: Vec::new(),
                attempts: Vec::new(),
            });
            open.attempts.extend(failures.drain(..).map(attempt));
            match self.turn(group, turn, alive).await {
                TurnEnd::Measured(records, seen) => {
                    open.repeats.push(records);
                    open.seen.push(*seen);
                    if open.repeats.len() as u32 == self.repeats_of(cell)
                        && let Some(whole) = begun.remove(&turn.cell)
                    {
                        self.store_measured(group, cell, alive, whole)?;
                    }
                }
                TurnEnd::Interrupted => break,
                TurnEnd::Failed(reason) => {
                    self.store(cell::unmeasured(group, cell, CellOutcome::Failed, reason), &[])?;
                }
                TurnEnd::Lost(loss) => {
                    (self.emit)(Event::ServerEnded {
                        server: group.id.clone(),
                        outcome: loss.server,
                        reason: loss.reason.clone(),
                        log: Some(server::log_path(&self.folder.path().join("servers").join(&group.id))),
                    });
                    // Its processes have to end before the next start.
                    if let Some(lost) = running.take() {
                        self.end(lost).await;
                    }
                    // Running out of memory is a result; a crash or a hang may have been chance.
                    if loss.cell != CellOutcome::Oom && open.lost() + 1 < MAX_ATTEMPTS {
                        open.attempts.push(loss.into_attempt());
                        turns.push_front(turn);
                    } else {
                        let file = CellFile {
                            attempts: std::mem::take(&mut open.attempts),
                            log_tail: loss.log_tail,
                            ..cell::unmeasured(group, cell, loss.cell, loss.reason)
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
                self.store(cell::unmeasured(group, cell, CellOutcome::Skipped, reason), &[])?;
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

    /// Stores the failure of a server as the outcome of each of its remaining cells.
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
                let lost = begun.remove(&index).map(|begun| begun.attempts);
                let starts = before.iter().cloned().map(attempt);
                let file = CellFile {
                    attempts: lost.into_iter().flatten().chain(starts).collect(),
                    log_tail: failed.log_tail.clone(),
                    ..cell::unmeasured(group, cell, outcome, reason.clone())
                };
                self.store(file, &[])?;
            }
        }
        Ok(())
    }
}

/// Whether a failed start is worth a retry: it crashed or timed out, and did so for the first time.
fn is_worth_retry(failed: &StartFailure, before: &[StartFailure]) -> bool {
    matches!(failed.outcome, ServerOutcome::Crashed | ServerOutcome::TimedOut)
        && before.iter().all(|one| one.outcome != failed.outcome)
}

/// A failed start as an attempt at a cell.
fn attempt(failed: StartFailure) -> Attempt {
    Attempt {
        outcome: CellOutcome::ServerFailed,
        reason: format!("{}: {}", failed.outcome, failed.reason),
        log_tail: failed.log_tail,
        ended_at: Timestamp::now(),
    }
}
