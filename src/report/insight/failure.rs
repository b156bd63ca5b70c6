//! Cells without numbers: how each ended and why, said once for all that ended the same way.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::server_label;
use crate::{
    measure::CellOutcome,
    store::{CellFile, ServerFile, StoredRun},
};

/// Lines of a log that a note shows.
const LOG_LINES: usize = 8;

/// Cells that ended the same way for the same reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Failure {
    /// The cell outcome's word, or `not_run` for a cell of the plan that has not been measured yet. For an attempt at a
    /// cell that was tried again: how that attempt ended.
    pub(in crate::report) outcome: String,
    pub(in crate::report) workload: String,
    /// The server's axes, or its id; empty when the run has one server.
    pub(in crate::report) server: String,
    pub(in crate::report) cells: Vec<String>,
    pub(in crate::report) reason: String,
    /// Most common errors of requests: text and number.
    pub(in crate::report) errors: Vec<(String, u64)>,
    /// The end of the log, at most eight lines.
    pub(in crate::report) log_tail: Vec<String>,
}

/// Every cell without numbers and every attempt that was made again, grouped, in the order of the plan.
pub(in crate::report) fn failures(run: &StoredRun) -> Vec<Failure> {
    let mut found = Found::default();
    let servers: HashMap<&str, &ServerFile> = run
        .servers
        .iter()
        .map(|server| (server.id.as_str(), server))
        .collect();
    for cell in &run.cells {
        for attempt in &cell.attempts {
            let reason = format!("{} (first attempt, made again)", attempt.reason);
            found.add(Failure {
                outcome: attempt.outcome.name().into(),
                workload: cell.workload.clone(),
                server: server_label(run, &cell.server),
                cells: vec![cell.id.clone()],
                reason,
                errors: Vec::new(),
                log_tail: last_lines(&attempt.log_tail),
            });
        }
    }
    for cell in run.cells.iter().filter(|cell| !cell.outcome.is_measured()) {
        let server = servers.get(cell.server.as_str()).copied();
        found.add(Failure {
            outcome: cell.outcome.name().into(),
            workload: cell.workload.clone(),
            server: server_label(run, &cell.server),
            cells: vec![cell.id.clone()],
            reason: reason(cell, server),
            errors: cell.errors.clone(),
            log_tail: log_tail(cell, server),
        });
    }
    let stored: HashSet<&str> = run.cells.iter().map(|cell| cell.id.as_str()).collect();
    for group in &run.plan.groups {
        for cell in &group.cells {
            if stored.contains(cell.id.as_str()) {
                continue;
            }
            let (outcome, reason) = match &cell.skip {
                Some(reason) => (CellOutcome::Skipped.name(), reason.clone()),
                None => (
                    "not_run",
                    "Not measured yet: the run ended before it.".into(),
                ),
            };
            found.add(Failure {
                outcome: outcome.into(),
                workload: cell.workload.clone(),
                server: server_label(run, &group.id),
                cells: vec![cell.id.clone()],
                reason,
                errors: Vec::new(),
                log_tail: Vec::new(),
            });
        }
    }
    found.failures
}

/// Failures in the order they were met, each kind once.
#[derive(Default)]
struct Found {
    failures: Vec<Failure>,
    known: HashMap<Kind, usize>,
}

/// What makes two failures the same: outcome, workload, server, reason and errors.
type Kind = (String, String, String, String, Vec<(String, u64)>);

impl Found {
    fn add(&mut self, new: Failure) {
        let kind = (
            new.outcome.clone(),
            new.workload.clone(),
            new.server.clone(),
            new.reason.clone(),
            new.errors.clone(),
        );
        match self.known.get(&kind) {
            Some(at) => self.failures[*at].cells.extend(new.cells),
            None => {
                self.known.insert(kind, self.failures.len());
                self.failures.push(new);
            }
        }
    }
}

fn reason(cell: &CellFile, server: Option<&ServerFile>) -> String {
    cell.reason
        .clone()
        .or_else(|| server.and_then(|server| server.reason.clone()))
        .or_else(|| cell.errors.first().map(|(error, _)| error.clone()))
        .unwrap_or_else(|| "No reason was recorded; see the server's log.".into())
}

fn log_tail(cell: &CellFile, server: Option<&ServerFile>) -> Vec<String> {
    let lines = match server {
        _ if !cell.log_tail.is_empty() => &cell.log_tail,
        Some(server) => &server.log_tail,
        None => return Vec::new(),
    };
    last_lines(lines)
}

fn last_lines(lines: &[String]) -> Vec<String> {
    lines[lines.len().saturating_sub(LOG_LINES)..].to_vec()
}
