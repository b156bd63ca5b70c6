//! [`Sweep`]: a run in progress, and how its cells and its end are stored.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use tokio::{sync::watch, time::Instant};

use super::{Ended, Event, Order, RunError, budget::Clock, token_counts::TokenCounts};
use crate::{
    load::Records,
    manifest::Manifest,
    observe::Observer,
    plan::{Cell, Group, Stop},
    search,
    server::Running,
    store::{CellFile, RunFolder, StoreError, StoredRun},
};

/// Writing the tables, which grow with the run, takes at most this fraction (1/20) of its time.
const TABLES_SHARE: u32 = 20;

pub(super) struct Sweep<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) order: &'a Order,
    pub(super) folder: RunFolder,
    /// The content of the folder. Its plan grows by the probes of searches.
    pub(super) stored: StoredRun,
    /// Ids of the cells that need no measurement: done earlier, finished by this start, or left out by
    /// `--only`.
    pub(super) settled: BTreeSet<String>,
    pub(super) tables_due: Instant,
    pub(super) emit: &'a mut (dyn FnMut(Event) + Send),
    /// Turns true when the person asks to stop.
    pub(super) interrupt: watch::Receiver<bool>,
    /// Turns true when the person asks to stop, or the budget is spent.
    pub(super) stop: watch::Receiver<bool>,
    pub(super) clock: Clock,
    /// The vocabularies of the running server.
    pub(super) token_counts: TokenCounts,
    pub(super) observer: Observer,
    /// The limit of open files of this process.
    pub(super) open_files: u64,
}

impl Sweep<'_> {
    pub(super) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Whether a cell is expected to end within the budget. Its duration is that of the longest stored cell of
    /// its workload on its server, per repeat, or the one it is declared with.
    pub(super) fn has_time_for(&self, group: &Group, cell: &Cell) -> bool {
        if !self.clock.is_limited() {
            return true;
        }
        let declared = match cell.stop {
            Stop::Duration(span) => span.duration(),
            Stop::Requests(_) => Duration::ZERO,
        };
        let same = |stored: &&CellFile| stored.workload == cell.workload && stored.server == group.id;
        let measured = self.stored.cells.iter().filter(same).filter(|stored| stored.outcome.is_measured());
        let lasted = measured.map(|stored| {
            let took = stored.finished_at.duration_since(stored.started_at).as_secs_f64();
            Duration::from_secs_f64(took.max(0.0) / stored.repeats.len().max(1) as f64)
        });
        self.clock.allows(lasted.max().unwrap_or_default().max(declared))
    }

    /// Stops a server. Processes that it left behind are reported, and the run goes on.
    pub(super) async fn end(&mut self, server: Running) {
        if let Some(warning) = server.stop().await {
            (self.emit)(Event::Warning(warning));
        }
    }

    pub(super) fn store(&mut self, file: CellFile, records: &[Records]) -> Result<(), RunError> {
        self.folder.write_cell(&file, records)?;
        self.settled.insert(file.id.clone());
        self.stored.put_cell(file.clone());
        if Instant::now() >= self.tables_due {
            let began = Instant::now();
            self.write_tables()?;
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

    /// The budget, in words, where it ended the run before everything was measured.
    fn budget_spent(&self) -> Option<String> {
        let left_out = || Ended::of(&self.stored, false).missing > 0 || self.unanswered() > 0;
        let is_over = self.clock.is_limited() && !*self.interrupt.borrow() && left_out();
        is_over.then(|| self.clock.words.clone())
    }

    fn write_tables(&self) -> Result<(), StoreError> {
        self.folder.write_tables(&self.stored)?;
        if self.stored.plan.searches.is_empty() {
            return Ok(());
        }
        self.folder.write_searches(search::table(&search::answers(&self.stored)))
    }

    /// Reports what is stored of a run that cannot go on.
    pub(super) fn report_cut_short(&mut self, error: &RunError) {
        if matches!(error, RunError::Store(_)) {
            let kept = if self.folder.is_present() {
                let cells = self.stored.cells.len();
                format!("; the {cells} cells finished so far are stored in {}", self.folder.path())
            } else {
                String::new()
            };
            (self.emit)(Event::Warning(format!(
                "the results can no longer be stored: the run ends here, its server is stopped{kept}"
            )));
        }
    }

    /// Writes the files that depend on all cells.
    pub(super) fn finish(&mut self) -> Result<Ended, RunError> {
        self.stored.run.finished_at = Some(Timestamp::now());
        self.stored.run.budget_spent = self.budget_spent();
        self.folder.write_run(&self.stored.run)?;
        self.write_tables()?;
        self.report_answers();
        let interrupted = *self.interrupt.borrow();
        if interrupted {
            (self.emit)(Event::Interrupted);
        }
        Ok(Ended { unanswered: self.unanswered(), ..Ended::of(&self.stored, interrupted) })
    }
}
