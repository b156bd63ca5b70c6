//! What `predict` prints for people: cells in a table, or beside what was measured.

use std::collections::HashMap;

use serde_json::json;

use crate::{
    predict::{Against, Calibration, Comparison, Measured},
    store::{CellFile, StoredRun},
};

/// One cell, and what it would measure.
pub(super) struct Row<'a> {
    run: &'a StoredRun,
    cell: &'a CellFile,
    /// What was measured of it.
    measured: Option<&'a Measured>,
}

impl<'a> Row<'a> {
    /// Every cell of a predicted run, beside what was measured of it.
    pub(super) fn all(run: &'a StoredRun, against: Option<&'a Against>) -> Vec<Self> {
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
                    table.of(group, planned)
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
               "measured_p50_e2e_ms": self.measured.and_then(Measured::p50_e2e_ms),
               "measured_throughput_tok_s": self.measured.and_then(Measured::throughput_tok_s)})
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
                let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0}"));
                let (ttft, e2e) = (summary.ttft.as_ref(), summary.e2e.as_ref());
                line.push(ms(row.output_tokens()));
                line.push(ms(ttft.map(|latency| latency.p50_ms)));
                line.push(ms(ttft.map(|latency| latency.p95_ms)));
                line.push(ms(e2e.map(|latency| latency.p50_ms)));
                line.push(ms(e2e.map(|latency| latency.p95_ms)));
                line.push(ms(summary.throughput_tok_s));
                line.push(row.preemptions().map_or_else(|| "-".to_owned(), |n| n.to_string()));
            }
            None => {
                line.extend(["-"; 7].map(str::to_owned));
                let reason = row.cell.reason.as_deref().unwrap_or_default();
                notes.push_str(&format!("{}: {}: {reason}\n", row.cell.id, row.cell.outcome.name()));
            }
        }
        lines.push(line);
    }
    aligned(&lines) + &notes
}

/// The table of predicted beside measured; a cell that the calibration was fitted to is no test of it, and says so.
pub(super) fn compared(rows: &[Row<'_>], calibration: Option<&Calibration>) -> Result<String, &'static str> {
    let mut lines = vec![
        [
            "cell",
            "output",
            "predicted p50 E2E ms",
            "measured",
            "error",
            "predicted tok/s",
            "measured",
            "error",
            "",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    // Errors of p50 E2E and of throughput: of the fitted cells, and of the others.
    let mut errors: [[Vec<Comparison>; 2]; 2] = Default::default();
    for row in rows {
        let (Some(measured), Some(summary)) = (row.measured, row.cell.summary.as_ref()) else {
            continue;
        };
        let e2e = summary.e2e.as_ref().map(|latency| latency.p50_ms);
        let fitted = calibration.is_some_and(|known| known.fitted.contains(&row.cell.id));
        let output = row.output_tokens();
        let mut line =
            vec![row.cell.id.clone(), output.map_or_else(|| "-".to_owned(), |tokens| format!("{tokens:.0}"))];
        let pairs =
            [(e2e, measured.p50_e2e_ms(), 0), (summary.throughput_tok_s, measured.throughput_tok_s(), 1)];
        for (which, (predicted, measured, digits)) in pairs.into_iter().enumerate() {
            let shown = |number: Option<f64>| {
                number.map_or_else(|| "-".to_owned(), |number| format!("{number:.digits$}"))
            };
            line.extend([shown(predicted), shown(measured)]);
            let both = predicted.zip(measured);
            let one = both.map(|(predicted, measured)| Comparison { predicted, measured });
            line.push(one.map_or_else(|| "-".to_owned(), |one| format!("{:+.1} %", one.error() * 100.0)));
            errors[usize::from(fitted)][which].extend(one);
        }
        line.push(if fitted { "fitted" } else { "" }.to_owned());
        lines.push(line);
    }
    let [others, fitted] = errors;
    let said = |[e2e, throughput]: &[Vec<Comparison>; 2], cells: &str| {
        let median = Comparison::median_error(e2e)?;
        let of_throughput =
            Comparison::median_error(throughput).map(|median| format!(", of throughput {}", percent(median)));
        Some(format!(
            "median absolute error of p50 E2E over {} {cells}: {}{}\n",
            e2e.len(),
            percent(median),
            of_throughput.unwrap_or_default()
        ))
    };
    let held_out = if fitted[0].is_empty() { "cells" } else { "cells that were not fitted" };
    let lines_below = [said(&others, held_out), said(&fitted, "fitted cells")];
    if lines_below.iter().all(Option::is_none) {
        return Err(
            "no row of the table is one cell's: columns concurrency or rate, max_tokens, the axes and workload are matched \
             where the table has them; --only leaves cells out that would match twice",
        );
    }
    Ok(aligned(&lines) + &lines_below.into_iter().flatten().collect::<String>())
}

/// Columns under each other, numbers to the right.
pub(super) fn aligned(lines: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let widths = lines.iter().filter_map(|line| line.get(column));
        widths.map(|text| text.chars().count()).max().unwrap_or_default()
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
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

/// A part as people read it.
pub(super) fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}
