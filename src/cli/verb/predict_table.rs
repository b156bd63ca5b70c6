//! The tables that `predict` prints: predicted cells, and predicted beside measured ones.

use serde_json::{Value, json};

use super::super::table::{aligned, number, percent};
use crate::{
    measure::Metric,
    predict::{self, Accuracy, Comparison, Spread},
    store::{CellFile, StoredRun},
};

/// Mean length of a cell's answers, in tokens.
pub(super) fn output_tokens(cell: &CellFile) -> Option<f64> {
    let summary = cell.summary.as_ref()?;
    let completed = summary.counts.completed;
    Some(summary.output_tokens? as f64 / completed as f64).filter(|_| completed > 0)
}

fn preemptions(cell: &CellFile) -> Option<u64> {
    cell.server_side.as_ref()?.engine.as_ref()?.preemptions
}

/// A predicted cell as JSON, for `--json`.
pub(super) fn json(run: &StoredRun, cell: &CellFile) -> Value {
    let basis = run.run.predicted.as_ref();
    let predicted = cell.summary.as_ref().map(|summary| {
        let accuracy = basis.map(Accuracy::of);
        let intervals = accuracy.map(|accuracy| predict::intervals(accuracy, |metric| metric.of(summary)));
        json!({"summary": summary, "output_tokens": output_tokens(cell), "preemptions": preemptions(cell),
               "accuracy": accuracy.map(Accuracy::name), "interval_90": intervals})
    });
    let hardware = basis.map(|basis| &basis.hardware);
    json!({"cell": cell.id, "workload": cell.workload, "server": cell.server, "gpu": hardware,
           "predicted": true, "outcome": cell.outcome, "reason": cell.reason, "prediction": predicted})
}

/// A predicted number with its 90 % interval: `212 (150 to 320)`.
fn with_interval(cell: &CellFile, metric: Metric, accuracy: Option<Accuracy>) -> String {
    let value = cell.number(metric);
    let spread = accuracy.and_then(|accuracy| Spread::of(metric, accuracy));
    match value.zip(spread) {
        Some((value, spread)) => {
            let [low, high] = spread.around(value);
            format!("{value:.0} ({low:.0} to {high:.0})")
        }
        None => number(value, 0),
    }
}

/// The table of predicted cells with their 90 % intervals, and below it why cells have no numbers.
pub(super) fn predicted(run: &StoredRun) -> String {
    let head = [
        "predicted cell",
        "output",
        "p50 TTFT ms",
        "p95 TTFT ms",
        "p50 E2E ms",
        "p95 E2E ms",
        "tok/s",
        "preempted",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    let mut reasons = String::new();
    let accuracy = run.run.predicted.as_ref().map(Accuracy::of);
    for cell in &run.cells {
        let metrics = [Metric::P50_TTFT, Metric::P95_TTFT, Metric::P50_E2E, Metric::P95_E2E, Metric::OUTPUT];
        let mut line = vec![cell.id.clone(), number(output_tokens(cell), 0)];
        line.extend(metrics.map(|metric| with_interval(cell, metric, accuracy)));
        line.push(preemptions(cell).map_or_else(|| "-".to_owned(), |count| count.to_string()));
        lines.push(line);
        if cell.summary.is_none() {
            let reason = cell.reason.as_deref().unwrap_or_default();
            reasons.push_str(&format!("{}: {}: {reason}\n", cell.id, cell.outcome.name()));
        }
    }
    aligned(&lines) + &reasons
}

/// A cell that was predicted and measured.
pub(super) struct Row<'a> {
    pub(super) cell: &'a str,
    /// The length of its answers, and where that is from.
    pub(super) answers: String,
    /// p50 E2E, in milliseconds.
    pub(super) latency: Option<Comparison>,
    /// Output tokens per second.
    pub(super) throughput: Option<Comparison>,
    /// Whether the calibration was fitted to it, so that it is no test of the calibration.
    pub(super) fitted: bool,
    /// Whether the measured p50 E2E lies inside the 90 % interval of the predicted one; absent where either is
    /// unknown.
    pub(super) inside: Option<bool>,
}

/// Whether a measurement lies inside the 90 % interval of its prediction.
pub(super) fn is_inside(pair: Option<Comparison>, metric: Metric, accuracy: Accuracy) -> Option<bool> {
    let (pair, spread) = pair.zip(Spread::of(metric, accuracy))?;
    let [low, high] = spread.around(pair.predicted);
    Some((low..=high).contains(&pair.measured))
}

impl Row<'_> {
    /// Whether a number was both predicted and measured.
    pub(super) fn is_compared(&self) -> bool {
        self.latency.is_some() || self.throughput.is_some()
    }
}

/// The table of predicted beside measured cells, and below it the median errors. `None` without a row.
pub(super) fn compared(rows: &[Row<'_>]) -> Option<String> {
    let head = [
        "cell",
        "answers",
        "predicted p50 E2E ms",
        "measured p50 E2E ms",
        "error",
        "predicted tok/s",
        "measured tok/s",
        "error",
        "",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for row in rows {
        let mut line = vec![row.cell.to_owned(), row.answers.clone()];
        for (pair, digits) in [(row.latency, 0), (row.throughput, 1)] {
            line.push(number(pair.map(|pair| pair.predicted), digits));
            line.push(number(pair.map(|pair| pair.measured), digits));
            line.push(pair.map_or_else(|| "-".to_owned(), |pair| format!("{:+.1} %", pair.error() * 100.0)));
        }
        let marks = [(row.fitted, "fitted"), (row.inside == Some(false), "outside 90 %")];
        let marks: Vec<&str> = marks.iter().filter(|(is_so, _)| *is_so).map(|(_, mark)| *mark).collect();
        line.push(marks.join(", "));
        lines.push(line);
    }
    let median = |fitted: bool, cells: &str| {
        let of = |pair: fn(&Row<'_>) -> Option<Comparison>| -> Vec<Comparison> {
            rows.iter().filter(|row| row.fitted == fitted).filter_map(pair).collect()
        };
        let (latency, throughput) = (of(|row| row.latency), of(|row| row.throughput));
        let error = Comparison::median_error(&latency)?;
        let of_throughput = Comparison::median_error(&throughput)
            .map_or_else(String::new, |error| format!(", of throughput {}", percent(error)));
        let count = latency.len();
        Some(format!(
            "median absolute error of p50 E2E over {count} {cells}: {}{of_throughput}\n",
            percent(error)
        ))
    };
    let any_fitted = rows.iter().any(|row| row.fitted);
    let others = if any_fitted { "cells that were not fitted" } else { "cells" };
    let medians: String =
        [median(false, others), median(true, "fitted cells")].into_iter().flatten().collect();
    let known: Vec<bool> = rows.iter().filter(|row| !row.fitted).filter_map(|row| row.inside).collect();
    let inside = known.iter().filter(|inside| **inside).count();
    let inside = match known.len() {
        0 => String::new(),
        all => format!("{inside} of {all} measured {others} lie inside the 90 % interval of p50 E2E\n"),
    };
    (!rows.is_empty()).then(|| aligned(&lines) + &medians + &inside)
}
