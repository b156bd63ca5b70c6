//! Cells without numbers, and where memory ends over the server axes.

use serde::Serialize;

use super::{
    insight::{count, server_label},
    number::grouped,
};
use crate::{
    manifest::scalar_text,
    measure::CellOutcome,
    store::{CellFile, ServerFile, StoredRun},
};

/// Lines of a log that a note shows.
const LOG_LINES: usize = 8;

/// Cells that ended the same way for the same reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Failure {
    /// The cell outcome's word, or `not_run` for a cell of the plan that has not been measured yet. For an attempt at a
    /// cell that was tried again: how that attempt ended.
    pub(super) outcome: String,
    pub(super) workload: String,
    /// The server's axes, or its id; empty when the run has one server.
    pub(super) server: String,
    pub(super) cells: Vec<String>,
    pub(super) reason: String,
    /// Most common errors of requests: text and number.
    pub(super) errors: Vec<(String, u64)>,
    /// The end of the log, at most eight lines.
    pub(super) log_tail: Vec<String>,
}

/// Every cell without numbers and every attempt that was made again, grouped, in the order of the plan.
pub(super) fn failures(run: &StoredRun) -> Vec<Failure> {
    let mut found: Vec<Failure> = Vec::new();
    for cell in &run.cells {
        for attempt in &cell.attempts {
            let reason = format!("{} (first attempt, made again)", attempt.reason);
            add(
                &mut found,
                Failure {
                    outcome: attempt.outcome.name().into(),
                    workload: cell.workload.clone(),
                    server: server_label(run, &cell.server),
                    cells: vec![cell.id.clone()],
                    reason,
                    errors: Vec::new(),
                    log_tail: last_lines(&attempt.log_tail),
                },
            );
        }
    }
    for cell in run.cells.iter().filter(|cell| !cell.outcome.is_measured()) {
        let server = run.servers.iter().find(|server| server.id == cell.server);
        add(
            &mut found,
            Failure {
                outcome: cell.outcome.name().into(),
                workload: cell.workload.clone(),
                server: server_label(run, &cell.server),
                cells: vec![cell.id.clone()],
                reason: reason(cell, server),
                errors: cell.errors.clone(),
                log_tail: log_tail(cell, server),
            },
        );
    }
    for group in &run.plan.groups {
        for cell in &group.cells {
            if run.cells.iter().any(|stored| stored.id == cell.id) {
                continue;
            }
            let (outcome, reason) = match &cell.skip {
                Some(reason) => (CellOutcome::Skipped.name(), reason.clone()),
                None => (
                    "not_run",
                    "Not measured yet: the run ended before it.".into(),
                ),
            };
            add(
                &mut found,
                Failure {
                    outcome: outcome.into(),
                    workload: cell.workload.clone(),
                    server: server_label(run, &group.id),
                    cells: vec![cell.id.clone()],
                    reason,
                    errors: Vec::new(),
                    log_tail: Vec::new(),
                },
            );
        }
    }
    found
}

fn add(found: &mut Vec<Failure>, new: Failure) {
    let same = found.iter_mut().find(|old| {
        old.outcome == new.outcome
            && old.workload == new.workload
            && old.server == new.server
            && old.reason == new.reason
            && old.errors == new.errors
    });
    match same {
        Some(old) => old.cells.extend(new.cells),
        None => found.push(new),
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

/// Where memory ends, over the server axes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Surface {
    /// The axis down, or several joined; `server` when there is none.
    pub(super) rows_axis: String,
    /// The axis across; empty when there is one axis or none.
    pub(super) columns_axis: String,
    /// Values of the axis across.
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<SurfaceRow>,
    /// The result in one sentence.
    pub(super) text: String,
}

/// One row of the surface.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct SurfaceRow {
    pub(super) label: String,
    /// One per column: `fits`, `OOM at start (kv_cache)` …; a dash where the plan has no such server.
    pub(super) cells: Vec<String>,
}

/// The surface; `None` when no server and no cell met the end of memory.
pub(super) fn surface(run: &StoredRun) -> Option<Surface> {
    let out = |cell: &CellFile| cell.outcome.is_on_oom_surface();
    let groups = &run.plan.groups;
    let dead = |id: &str| run.cells.iter().any(|cell| cell.server == id && out(cell));
    let hit = groups.iter().filter(|group| dead(&group.id)).count();
    if hit == 0 {
        return None;
    }
    let axes = &run.plan.server_axes;
    let (down, across) = match axes.split_last() {
        Some((last, rest)) if !rest.is_empty() => (rest, Some(last)),
        _ => (axes.as_slice(), None),
    };
    let spelled = |group: &crate::plan::Group, axis: &String| {
        group
            .axes
            .get(axis)
            .map_or_else(|| super::number::ABSENT.to_owned(), scalar_text)
    };
    let label = |group: &crate::plan::Group| {
        if down.is_empty() {
            return group.id.clone();
        }
        down.iter()
            .map(|axis| spelled(group, axis))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut columns: Vec<String> = Vec::new();
    let mut rows: Vec<SurfaceRow> = Vec::new();
    for group in groups {
        let column = across.map_or_else(|| "memory".to_owned(), |axis| spelled(group, axis));
        if !columns.contains(&column) {
            columns.push(column);
        }
        if !rows.iter().any(|row| row.label == label(group)) {
            rows.push(SurfaceRow {
                label: label(group),
                cells: Vec::new(),
            });
        }
    }
    for row in &mut rows {
        row.cells = vec![super::number::ABSENT.to_owned(); columns.len()];
        for group in groups.iter().filter(|group| label(group) == row.label) {
            let column = across.map_or_else(|| "memory".to_owned(), |axis| spelled(group, axis));
            if let Some(at) = columns.iter().position(|known| *known == column) {
                row.cells[at] = fate(run, &group.id);
            }
        }
    }
    Some(Surface {
        rows_axis: if down.is_empty() {
            "server".into()
        } else {
            down.join(", ")
        },
        columns_axis: across.cloned().unwrap_or_default(),
        columns,
        rows,
        text: format!(
            "Memory did not suffice in {} of {}.",
            hit,
            count(groups.len(), "server")
        ),
    })
}

/// What became of one server, in a few words.
fn fate(run: &StoredRun, id: &str) -> String {
    let server = run.servers.iter().find(|server| server.id == id);
    let cells: Vec<&CellFile> = run.cells.iter().filter(|cell| cell.server == id).collect();
    let has = |outcome: CellOutcome| cells.iter().any(|cell| cell.outcome == outcome);
    let measured = cells
        .iter()
        .filter(|cell| cell.outcome.is_measured())
        .count();
    if has(CellOutcome::DoesNotFit) {
        return match server.and_then(|server| server.facts.estimated_max_model_len) {
            Some(length) => format!(
                "does not fit (largest max-model-len: {})",
                grouped(length as f64, 0)
            ),
            None => "does not fit".into(),
        };
    }
    if has(CellOutcome::Oom) {
        let lost = cells
            .iter()
            .filter(|cell| cell.outcome == CellOutcome::Oom)
            .count();
        return match server.map(|server| server.outcome) {
            _ if measured > 0 => format!(
                "OOM under load in {} of {}",
                lost,
                count(cells.len(), "cell")
            ),
            Some(outcome) => match outcome.to_string().strip_prefix("oom(") {
                Some(step) => format!("OOM at {}", step.trim_end_matches(')')),
                None => "OOM".into(),
            },
            None => "OOM".into(),
        };
    }
    if measured == 0 {
        return match server {
            Some(server) if !cells.is_empty() => format!("no result ({})", server.outcome),
            _ if !cells.is_empty() => "no result".into(),
            _ => "not run".into(),
        };
    }
    match server
        .and_then(|server| server.facts.max_concurrency)
        .filter(|most| most.is_finite())
    {
        Some(most) => format!("fits ({} full-length requests at once)", grouped(most, 1)),
        None => "fits".into(),
    }
}
