//! The servers of a run and the fate of each.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Cell;
use crate::{
    manifest::scalar_text,
    measure::CellOutcome,
    plan::Group,
    store::{ServerFile, StoredRun},
};

/// One server of the plan.
pub(crate) struct Server<'a> {
    pub(crate) group: &'a Group,
    /// `None` if it was never started.
    pub(crate) file: Option<&'a ServerFile>,
    /// Indices of its cells.
    pub(crate) cells: Vec<usize>,
    pub(crate) fate: Fate,
}

/// The fate of a server. Tables, sentences and charts show its serialized name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fate {
    /// It started, and no cell ran out of memory.
    Fits,
    /// It started, and some of its cells ran out of memory.
    EndsUnderLoad,
    /// Its KV cache cannot hold one request of `max-model-len`.
    TooSmall,
    /// Out of memory at its start.
    EndsAtStart,
    /// It was not tried, because a server that needs no more memory ran out.
    Implied,
    /// It failed for another reason than memory.
    Failed,
    /// It was not reached.
    NotReached,
}

impl Fate {
    /// Whether memory suffices; `None` if that is not known.
    pub(crate) fn fits(self) -> Option<bool> {
        match self {
            Self::Fits => Some(true),
            Self::EndsUnderLoad | Self::TooSmall | Self::EndsAtStart | Self::Implied => Some(false),
            Self::Failed | Self::NotReached => None,
        }
    }

    /// Whether memory was seen to run out.
    pub(crate) fn is_end(self) -> bool {
        matches!(self, Self::EndsUnderLoad | Self::TooSmall | Self::EndsAtStart)
    }
}

impl<'a> Server<'a> {
    /// The servers of a run, in the order of the plan.
    pub(super) fn all(run: &'a StoredRun) -> Vec<Self> {
        let files: BTreeMap<&str, &ServerFile> =
            run.servers.iter().map(|server| (server.id.as_str(), server)).collect();
        let server = |group: &'a Group| Self {
            file: files.get(group.id.as_str()).copied(),
            group,
            cells: Vec::new(),
            fate: Fate::NotReached,
        };
        run.plan.groups.iter().map(server).collect()
    }

    pub(super) fn judge(&mut self, cells: &[Cell<'_>]) {
        let outcomes: Vec<CellOutcome> = self.cells.iter().map(|at| cells[*at].file.outcome).collect();
        let has = |outcome: CellOutcome| outcomes.contains(&outcome);
        let measured = outcomes.iter().any(|outcome| outcome.is_measured());
        let implied = self.cells.iter().any(|at| cells[*at].file.proved_impossible_by.is_some());
        self.fate = if has(CellOutcome::DoesNotFit) {
            Fate::TooSmall
        } else if has(CellOutcome::Oom) {
            match measured || self.is_oom_under_load() {
                true => Fate::EndsUnderLoad,
                false => Fate::EndsAtStart,
            }
        } else if measured || has(CellOutcome::Started) {
            Fate::Fits
        } else if implied {
            Fate::Implied
        } else if outcomes.iter().all(|outcome| *outcome == CellOutcome::Skipped) {
            Fate::NotReached
        } else {
            Fate::Failed
        };
    }

    fn is_oom_under_load(&self) -> bool {
        self.file.is_some_and(|file| file.is_ready()) || self.ended_at().as_deref() == Some("load")
    }

    /// The step of its start at which memory ran out: `weights`, `kv_cache`, `graphs`.
    pub(crate) fn ended_at(&self) -> Option<String> {
        let text = self.file?.outcome.to_string();
        Some(text.strip_prefix("oom(")?.trim_end_matches(')').to_owned())
    }

    /// The value of one of its axes as text.
    pub(crate) fn value(&self, axis: &str) -> Option<String> {
        self.group.axes.get(axis).map(scalar_text)
    }

    /// The number of requests of `max-model-len` that its KV cache holds at once, by its own log.
    pub(crate) fn full_length_requests(&self) -> Option<f64> {
        self.file?.facts.max_concurrency.filter(|most| most.is_finite())
    }
}
