//! Runs the servers of a plan, one after the other, and on each of them its cells.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;

use super::{
    Ended, Event, RunError,
    begun::Begun,
    budget, cell,
    sweep::Sweep,
    token_counts::TokenCounts,
    turn::{Loss, TurnEnd},
};
use crate::{
    load,
    measure::CellOutcome,
    plan::{Cell, CellRepeat, Group},
    server::{self, Running, ServerOutcome, StartFailure},
    store::{Attempt, CellFile},
};

/// How often a cell is tried when its server crashes or hangs.
const MAX_ATTEMPTS: usize = 2;

impl Sweep<'_> {
    pub(super) async fn run(&mut self) -> Result<Ended, RunError> {
        self.expect()?;
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
        let id = self.stored.plan.groups[at].id.clone();
        self.stop_server(&id, running).await;
        result
    }

    /// Stops the server of a group, if it runs.
    async fn stop_server(&mut self, id: &str, running: Option<Running>) {
        if let Some(alive) = running {
            self.end(alive).await;
            (self.emit)(Event::ServerStopped { server: id.to_owned() });
        }
    }

    /// Measures the cells of one server. A server that is left in `running` has to be stopped.
    async fn cells(&mut self, at: usize, running: &mut Option<Running>) -> Result<(), RunError> {
        let mut own = self.stored.plan.groups[at].clone();
        self.store_skipped(&own)?;
        if let Some(proof) = self.proof_of_misfit(&own) {
            return self.store_impossible(&own, &proof);
        }
        let mut turns: VecDeque<CellRepeat> = own.repeats(&self.stored.plan.experiment).into();
        let experiment = &self.stored.plan.experiment;
        turns.retain(|turn| turn.repeat <= own.cells[turn.cell].repeats(experiment).at_most());
        if self.clock.is_limited() {
            turns = budget::coarse_to_fine(&own, turns.make_contiguous(), experiment.repeats.restart());
        }
        let mut begun: BTreeMap<usize, Begun> = BTreeMap::new();
        self.token_counts = TokenCounts::default();
        // Failed starts that were retried, and the number of those that went well.
        let (mut failures, mut starts): (Vec<StartFailure>, usize) = (Vec::new(), 0);
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
            if let Some(file) = self.unmeasurable(group, turn.cell, &begun) {
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
            if self.needs_restart(cell, begun.get(&turn.cell), starts) {
                self.stop_server(&group.id, running.take()).await;
            }
            let alive = match &mut *running {
                Some(alive) => alive,
                none => match self.start(group).await? {
                    Ok(alive) => {
                        starts += 1;
                        none.insert(alive)
                    }
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
            let open = begun.entry(turn.cell).or_insert_with(Begun::now);
            open.attempts.extend(failures.drain(..).map(attempt));
            match self.turn(group, turn, alive).await {
                TurnEnd::Measured(records, seen) => {
                    open.add(records, *seen, &alive.facts, starts);
                    if self.is_enough(group, cell, open)
                        && let Some(whole) = begun.remove(&turn.cell)
                    {
                        self.store_measured(group, cell, whole)?;
                    }
                }
                TurnEnd::Interrupted => break,
                TurnEnd::Failed(reason) => {
                    self.store(cell::unmeasured(group, cell, CellOutcome::Failed, reason), &[])?;
                }
                TurnEnd::Lost(loss) => {
                    if self.lose(group, cell, loss, open, running).await? {
                        turns.push_front(turn);
                    }
                }
            }
        }
        self.store_cut_short(&own, begun)
    }

    /// The file of a cell for which no server is started: its ladder ended before it, or it needs more
    /// connections than the system allows.
    fn unmeasurable(&self, group: &Group, index: usize, begun: &BTreeMap<usize, Begun>) -> Option<CellFile> {
        let cell = &group.cells[index];
        if let Some(end) = self.ladder_end(group, index, begun) {
            let file = cell::unmeasured(group, cell, CellOutcome::Skipped, end.reason);
            return Some(CellFile { ladder_ended_at: Some(end.at), ..file });
        }
        let most = cell.spec.streams().or(cell.spec.max_in_flight)?;
        let reason = load::too_many_connections(u64::from(most), self.open_files)?;
        Some(cell::unmeasured(group, cell, CellOutcome::Failed, reason))
    }

    /// Ends a server that was lost under a cell. Returns whether the repeat is tried again; otherwise the cell
    /// is stored as lost.
    async fn lose(
        &mut self,
        group: &Group,
        cell: &Cell,
        loss: Loss,
        open: &mut Begun,
        running: &mut Option<Running>,
    ) -> Result<bool, RunError> {
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
            return Ok(true);
        }
        let file = CellFile {
            attempts: std::mem::take(&mut open.attempts),
            log_tail: loss.log_tail,
            ..cell::unmeasured(group, cell, loss.cell, loss.reason)
        };
        self.store(file, &[])?;
        Ok(false)
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

    fn store_measured(&mut self, group: &Group, cell: &Cell, begun: Begun) -> Result<(), RunError> {
        let Begun { at, repeats, seen, attempts, facts, .. } = begun;
        let rule = cell.repeats(&self.stored.plan.experiment);
        let context = cell::context(group, cell, rule, &self.manifest.inputs, &facts);
        let file = CellFile { attempts, ..cell::measured(group, cell, &context, &repeats, seen, at) };
        self.store(file, &repeats)
    }

    /// Stores the cells that a spent budget cut short after enough repeats. Those that a person interrupted
    /// start over when the run is resumed.
    fn store_cut_short(&mut self, group: &Group, begun: BTreeMap<usize, Begun>) -> Result<(), RunError> {
        if !self.clock.is_limited() || *self.interrupt.borrow() {
            return Ok(());
        }
        for (index, open) in begun {
            let cell = &group.cells[index];
            if !self.settled.contains(&cell.id) && self.is_worth_storing(cell, &open) {
                self.store_measured(group, cell, open)?;
            }
        }
        Ok(())
    }

    /// Stores the failure of a server as the outcome of each of its remaining cells, except of those that
    /// earlier starts of it measured often enough.
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
            if self.settled.contains(&cell.id) {
                continue;
            }
            let mut open = begun.remove(&index).unwrap_or_else(Begun::now);
            open.attempts.extend(before.iter().cloned().map(attempt));
            if self.is_worth_storing(cell, &open) {
                open.attempts.push(attempt(failed.clone()));
                self.store_measured(group, cell, open)?;
                continue;
            }
            let after = match open.repeats.len() {
                0 => String::new(),
                measured => format!(", after {measured} of the cell's repeats"),
            };
            let file = CellFile {
                attempts: open.attempts,
                log_tail: failed.log_tail.clone(),
                ..cell::unmeasured(group, cell, outcome, format!("{reason}{after}"))
            };
            self.store(file, &[])?;
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
