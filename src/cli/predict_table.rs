//! What `predict` prints for people: cells in a table, or beside what was measured.

use std::collections::HashMap;

use serde_json::json;

use crate::{
    predict::{Against, Comparison},
    store::{CellFile, StoredRun},
};

/// One cell, and what it would measure.
pub(super) struct Row<'a> {
    run: &'a StoredRun,
    cell: &'a CellFile,
    /// The median E2E that was measured, milliseconds.
    measured: Option<f64>,
}

impl<'a> Row<'a> {
    /// Every cell of a predicted run, beside what was measured of it.
    pub(super) fn all(run: &'a StoredRun, against: Option<&Against>) -> Vec<Self> {
        let planned = run.plan.groups.iter().flat_map(|group| {
            let cells = group.cells.iter();
            cells.map(move |cell| (cell.id.as_str(), (group, cell)))
        });
        let planned: HashMap<&str, _> = planned.collect();
        run.cells
            .iter()
            .map(|cell| Self {
                run,
                cell,
                measured: against.and_then(|table| {
                    let (group, planned) = planned.get(cell.id.as_str())?;
                    table.p50_e2e_ms(group, planned)
                }),
            })
            .collect()
    }

    /// Tokens of an answer, in the mean.
    fn output_tokens(&self) -> Option<f64> {
        let summary = self.cell.summary.as_ref()?;
        let completed = summary.counts.completed;
        Some(summary.output_tokens? as f64 / completed as f64).filter(|_| completed > 0)
    }

    fn preemptions(&self) -> Option<u64> {
        let side = self.cell.server_side.as_ref()?;
        side.engine.as_ref()?.preemptions
    }

    /// For a machine.
    pub(super) fn json(&self) -> serde_json::Value {
        let predicted = self.cell.summary.as_ref().map(|summary| {
            json!({"summary": summary, "output_tokens": self.output_tokens(), "preemptions": self.preemptions()})
        });
        let hardware = self.run.run.predicted.as_ref().map(|basis| &basis.hardware);
        json!({"cell": self.cell.id, "workload": self.cell.workload, "server": self.cell.server, "gpu": hardware,
               "predicted": true, "outcome": self.cell.outcome, "reason": self.cell.reason, "prediction": predicted,
               "measured_p50_e2e_ms": self.measured})
    }
}

/// The table of what is predicted.
pub(super) fn table(rows: &[Row<'_>]) -> String {
    let mut lines = vec![
        [
            "predicted cell",
            "output",
            "p50 TTFT ms",
            "p95 TTFT ms",
            "p50 E2E ms",
            "p95 E2E ms",
            "tok/s",
            "preempted",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let mut notes = String::new();
    for row in rows {
        let mut line = vec![row.cell.id.clone()];
        match &row.cell.summary {
            Some(summary) => {
                let ms = |value: Option<f64>| {
                    value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0}"))
                };
                let (ttft, e2e) = (summary.ttft.as_ref(), summary.e2e.as_ref());
                line.push(ms(row.output_tokens()));
                line.push(ms(ttft.map(|latency| latency.p50_ms)));
                line.push(ms(ttft.map(|latency| latency.p95_ms)));
                line.push(ms(e2e.map(|latency| latency.p50_ms)));
                line.push(ms(e2e.map(|latency| latency.p95_ms)));
                line.push(ms(summary.throughput_tok_s));
                line.push(
                    row.preemptions()
                        .map_or_else(|| "-".to_owned(), |n| n.to_string()),
                );
            }
            None => {
                line.extend(["-"; 7].map(str::to_owned));
                let reason = row.cell.reason.as_deref().unwrap_or_default();
                notes.push_str(&format!(
                    "{}: {}: {reason}\n",
                    row.cell.id,
                    row.cell.outcome.name()
                ));
            }
        }
        lines.push(line);
    }
    aligned(&lines) + &notes
}

/// The table of predicted beside measured.
pub(super) fn compared(rows: &[Row<'_>]) -> Result<String, &'static str> {
    let mut lines = vec![
        [
            "cell",
            "output",
            "predicted p50 E2E ms",
            "measured p50 E2E ms",
            "error",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let mut all = Vec::new();
    for row in rows {
        let Some(measured_ms) = row.measured else {
            continue;
        };
        let latency = row
            .cell
            .summary
            .as_ref()
            .and_then(|summary| summary.e2e.as_ref());
        let (Some(latency), Some(output)) = (latency, row.output_tokens()) else {
            continue;
        };
        let predicted_ms = latency.p50_ms;
        let one = Comparison {
            predicted_ms,
            measured_ms,
        };
        lines.push(vec![
            row.cell.id.clone(),
            format!("{output:.0}"),
            format!("{predicted_ms:.0}"),
            format!("{measured_ms:.0}"),
            format!("{:+.1} %", one.error() * 100.0),
        ]);
        all.push(one);
    }
    let Some(median) = Comparison::median_error(&all) else {
        return Err(
            "no row of the table is one cell's: columns concurrency or rate, max_tokens, the axes and workload are matched \
             where the table has them; --only leaves cells out that would match twice",
        );
    };
    Ok(format!(
        "{}median absolute error of p50 E2E over {} cells: {}\n",
        aligned(&lines),
        all.len(),
        percent(median)
    ))
}

/// Columns under each other, numbers to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let widths = lines.iter().filter_map(|line| line.get(column));
        widths
            .map(|text| text.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..lines.first().map_or(0, Vec::len)).map(width).collect();
    let mut out = String::new();
    for line in lines {
        for (column, (text, width)) in line.iter().zip(&widths).enumerate() {
            out.push_str(&match column {
                0 => format!("{text:<width$}"),
                _ => format!("  {text:>width$}"),
            });
        }
        out.push('\n');
    }
    out
}

/// A part as people read it.
pub(super) fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}
