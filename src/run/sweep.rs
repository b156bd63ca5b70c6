//! [`Sweep`]: a run in progress, and how its cells and its end are stored.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tokio::{sync::watch, time::Instant};

use super::{Ended, Event, Order, RunError, token_counts::TokenCounts};
use crate::{
    load::Records,
    manifest::Manifest,
    observe::Observer,
    plan::Plan,
    server::Running,
    store::{CellFile, RunFolder, StoredRun},
};

/// Writing the tables, which grow with the run, takes at most this fraction (1/20) of its time.
const TABLES_SHARE: u32 = 20;

pub(super) struct Sweep<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) plan: &'a Plan,
    pub(super) order: &'a Order,
    pub(super) folder: RunFolder,
    /// The content of the folder.
    pub(super) stored: StoredRun,
    /// Ids of the cells that need no measurement: done earlier, finished by this start, or left out by
    /// `--only`.
    pub(super) settled: BTreeSet<String>,
    pub(super) tables_due: Instant,
    pub(super) emit: &'a mut (dyn FnMut(Event) + Send),
    pub(super) stop: watch::Receiver<bool>,
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
        self.folder.write_run(&self.stored.run)?;
        self.folder.write_tables(&self.stored)?;
        let interrupted = self.is_stopped();
        if interrupted {
            (self.emit)(Event::Interrupted);
        }
        Ok(Ended::of(&self.stored, interrupted))
    }
}
