//! Cells without numbers, grouped by how and why they ended.

use std::collections::HashMap;

use super::Grid;
use crate::{measure::CellOutcome, store::ServerFile};

/// The most lines of a log that are shown.
const LOG_LINES: usize = 8;

/// How a cell without numbers ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ended {
    /// With an outcome.
    As(CellOutcome),
    /// In an attempt with an outcome, after which the cell was tried again.
    Attempt(CellOutcome),
    /// The run ended before it.
    NotRun,
}

impl Ended {
    /// The name in templates.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::As(outcome) | Self::Attempt(outcome) => outcome.name(),
            Self::NotRun => "not_run",
        }
    }
}

/// Cells that ended the same way for the same reason.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure<'a> {
    pub(crate) ended: Ended,
    /// Distinct names of their workloads.
    pub(crate) workloads: Vec<&'a str>,
    /// Distinct indices of their servers.
    pub(crate) servers: Vec<usize>,
    /// Ids of the cells, in the order of the plan.
    pub(crate) cells: Vec<&'a str>,
    /// The reason, if it was recorded.
    pub(crate) reason: Option<&'a str>,
    /// The most common errors of requests, with their numbers.
    pub(crate) errors: &'a [(String, u64)],
    /// The end of the log of the first cell.
    pub(crate) log_tail: &'a [String],
}

/// Cells with equal keys are one failure.
type Key<'a> = (Ended, Option<&'a str>, &'a [(String, u64)]);

/// A cell: its id, workload and server.
type Owner<'a> = (&'a str, &'a str, Option<usize>);

/// Distinct failures in the order in which they were found.
#[derive(Default)]
struct Found<'a> {
    failures: Vec<Failure<'a>>,
    known: HashMap<Key<'a>, usize>,
}

impl<'a> Found<'a> {
    fn add(&mut self, (id, workload, server): Owner<'a>, key: Key<'a>, log_tail: &'a [String]) {
        let (ended, reason, errors) = key;
        let at = *self.known.entry(key).or_insert(self.failures.len());
        if at == self.failures.len() {
            self.failures.push(Failure {
                ended,
                workloads: Vec::new(),
                servers: Vec::new(),
                cells: Vec::new(),
                reason,
                errors,
                log_tail: &log_tail[log_tail.len().saturating_sub(LOG_LINES)..],
            });
        }
        let failure = &mut self.failures[at];
        // A cell may fail in the same way several times.
        if failure.cells.last() != Some(&id) {
            failure.cells.push(id);
        }
        if !failure.workloads.contains(&workload) {
            failure.workloads.push(workload);
        }
        if let Some(server) = server.filter(|server| !failure.servers.contains(server)) {
            failure.servers.push(server);
        }
    }
}

/// Every failed attempt that was repeated, every cell that ended without numbers, and every planned cell that
/// was not run.
pub(crate) fn failures<'a>(grid: &Grid<'a>) -> Vec<Failure<'a>> {
    let mut found = Found::default();
    for cell in &grid.cells {
        let owner = (cell.id(), cell.file.workload.as_str(), cell.server);
        for attempt in &cell.file.attempts {
            let key = (Ended::Attempt(attempt.outcome), Some(attempt.reason.as_str()), [].as_slice());
            found.add(owner, key, &attempt.log_tail);
        }
    }
    let has_none = |outcome: CellOutcome| !outcome.is_measured() && outcome != CellOutcome::Started;
    for cell in grid.cells.iter().filter(|cell| has_none(cell.file.outcome)) {
        let owner = (cell.id(), cell.file.workload.as_str(), cell.server);
        let server = cell.server.and_then(|at| grid.servers[at].file);
        let own = cell.file.reason.as_deref();
        let reason = own
            .or_else(|| server?.reason.as_deref())
            .or_else(|| cell.file.errors.first().map(|(error, _)| error.as_str()));
        let log_tail = match server {
            Some(ServerFile { log_tail, .. }) if cell.file.log_tail.is_empty() => log_tail,
            _ => &cell.file.log_tail,
        };
        found.add(owner, (Ended::As(cell.file.outcome), reason, &cell.file.errors), log_tail);
    }
    for (server, cell) in grid.missing() {
        let owner = (cell.id.as_str(), cell.workload.as_str(), Some(server));
        let ended = if cell.skip.is_some() { Ended::As(CellOutcome::Skipped) } else { Ended::NotRun };
        found.add(owner, (ended, cell.skip.as_deref(), &[]), &[]);
    }
    found.failures
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{fixtures, model::Model};

    #[test]
    fn cells_that_were_not_run_are_one_group_whatever_their_server() {
        let mut run = fixtures::oom_surface();
        // Two of the six servers are never reached.
        run.cells.truncate(4);
        run.servers.truncate(4);
        let model = Model::of(&run);
        let found = failures(&model);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].ended, Ended::As(CellOutcome::Oom));
        assert_eq!((found[0].servers.as_slice(), found[0].log_tail.len()), ([3].as_slice(), 2));
        assert_eq!((found[1].ended.name(), found[1].reason), ("not_run", None));
        assert_eq!((found[1].servers.as_slice(), found[1].cells.len()), ([4, 5].as_slice(), 2));
    }

    #[test]
    fn other_outcomes_and_other_reasons_are_groups_of_their_own() {
        let mut run = fixtures::oom_surface();
        run.cells[5].reason = Some("another reason".into());
        let model = Model::of(&run);
        let found = failures(&model);
        let ended: Vec<&str> = found.iter().map(|failure| failure.ended.name()).collect();
        assert_eq!(ended, ["oom", "does_not_fit", "oom"]);
        assert_eq!(failures(&Model::of(&fixtures::streamed())), []);
    }
}
