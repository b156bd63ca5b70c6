//! The verdicts of all cells, said once each.

use std::cmp::Reverse;

use serde::Serialize;

use super::count;
use crate::{
    measure::{Severity, Verdict},
    store::StoredRun,
};

/// One kind of verdict, with every cell it was given to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct VerdictRow {
    pub(in crate::report) kind: &'static str,
    pub(in crate::report) severity: Severity,
    /// What must not be concluded.
    pub(in crate::report) means: String,
    pub(in crate::report) cells: Vec<String>,
    /// `all 12 cells`, or a few names.
    pub(in crate::report) where_text: String,
    /// The reason as the first of these cells has it.
    pub(in crate::report) reason: String,
    pub(in crate::report) hint: String,
}

/// All verdicts, gravest first.
pub(in crate::report) fn verdicts(run: &StoredRun) -> Vec<VerdictRow> {
    let mut rows: Vec<VerdictRow> = Vec::new();
    let mut touched: Vec<Vec<String>> = Vec::new();
    for cell in &run.cells {
        for verdict in &cell.verdicts {
            let same = rows.iter().position(|row| {
                row.kind == verdict.kind.name() && row.severity == verdict.severity
            });
            match same {
                Some(at) => {
                    let row = &mut rows[at];
                    if row.cells.last() != Some(&cell.id) {
                        row.cells.push(cell.id.clone());
                    }
                    for metric in &verdict.touches {
                        if !touched[at].contains(metric) {
                            touched[at].push(metric.clone());
                        }
                    }
                }
                None => {
                    rows.push(row(&cell.id, verdict));
                    touched.push(verdict.touches.clone());
                }
            }
        }
    }
    for (row, touched) in rows.iter_mut().zip(&mut touched) {
        touched.sort();
        row.means = means(row.severity, touched);
        row.where_text = if row.cells.len() == run.cells.len() && row.cells.len() > 1 {
            format!("all {}", count(row.cells.len(), "cell"))
        } else if row.cells.len() <= 3 {
            row.cells.join(", ")
        } else {
            format!(
                "{} and {} more",
                row.cells[..2].join(", "),
                row.cells.len() - 2
            )
        };
    }
    rows.sort_by_key(|row| Reverse(row.severity));
    rows
}

fn row(cell: &str, verdict: &Verdict) -> VerdictRow {
    VerdictRow {
        kind: verdict.kind.name(),
        severity: verdict.severity,
        means: String::new(),
        cells: vec![cell.to_owned()],
        where_text: String::new(),
        reason: verdict.reason.clone(),
        hint: verdict.hint.clone(),
    }
}

fn means(severity: Severity, touched: &[String]) -> String {
    match severity {
        Severity::Note => "Read the numbers with this in mind.".into(),
        Severity::Metric if touched.is_empty() => "Do not rank by the metric it names.".into(),
        Severity::Metric => format!("Do not rank by {}.", touched.join(", ")),
        Severity::Cell => "Conclude nothing from these cells.".into(),
    }
}
