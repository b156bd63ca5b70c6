//! `cells.csv` and `repeats.csv`: one row per cell, or per repeat. An absent value is an empty field.

use serde_json::Value;

use super::{
    folder::{RunFolder, StoreError},
    form::{CellFile, StoredRun},
};
use crate::{
    manifest::scalar_text,
    measure::{Latency, Summary},
};

/// Load values that always have a column.
const ALWAYS: [&str; 3] = ["concurrency", "max_tokens", "requests"];

type Part<T> = fn(&Summary) -> Option<T>;
const LATENCIES: [Part<Latency>; 4] = [
    |s| s.ttft.clone(),
    |s| s.itl.clone(),
    |s| s.tpot.clone(),
    |s| s.e2e.clone(),
];
const PERCENTILES: [fn(&Latency) -> f64; 3] = [|l| l.p50_ms, |l| l.p95_ms, |l| l.p99_ms];
const RATES: [Part<f64>; 5] = [
    |s| s.throughput_tok_s,
    |s| s.total_tok_s,
    |s| s.req_s,
    |s| s.user_tok_s,
    |s| s.goodput_req_s,
];
const COUNTS: [Part<u64>; 2] = [|s| s.input_tokens, |s| s.output_tokens];

impl RunFolder {
    /// Writes the tables anew from what is stored.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_tables(&self, run: &StoredRun) -> Result<(), StoreError> {
        let rows = run
            .cells
            .iter()
            .map(|cell| (cell, None, cell.summary.as_ref()));
        self.write_text("cells.csv", &table(run, rows, false))?;
        if run.cells.iter().any(|cell| !cell.repeats.is_empty()) {
            let rows = run.cells.iter().flat_map(|cell| {
                let repeats = cell.repeats.iter().enumerate();
                repeats.map(move |(index, summary)| (cell, Some(index + 1), Some(summary)))
            });
            self.write_text("repeats.csv", &table(run, rows, true))?;
        }
        Ok(())
    }
}

/// What the `gpu` column says.
fn gpu(run: &StoredRun) -> String {
    if run.run.simulated {
        return "simulated".into();
    }
    let label = run.plan.hardware.label.clone();
    let seen = || run.run.gpus.first().map(|gpu| gpu.name.clone());
    let cpu = || run.run.host.cpu.as_ref().map(|cpu| format!("cpu: {cpu}"));
    label
        .or_else(seen)
        .or_else(cpu)
        .unwrap_or_else(|| "cpu".into())
}

fn table<'a>(
    run: &StoredRun,
    rows: impl Iterator<Item = (&'a CellFile, Option<usize>, Option<&'a Summary>)>,
    repeats: bool,
) -> String {
    let mut load: Vec<String> = ALWAYS.iter().map(|name| (*name).to_owned()).collect();
    for name in &run.plan.load_axes {
        if !load.contains(name) {
            load.push(name.clone());
        }
    }
    let gpu = gpu(run);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut head: Vec<String> = ["cell", "gpu", "workload", "outcome", "verdicts"]
        .map(str::to_owned)
        .to_vec();
    if repeats {
        head.push("repeat".into());
    }
    head.extend(load.iter().cloned());
    head.extend(run.plan.server_axes.iter().cloned());
    head.extend(["completed".to_owned(), "errors".to_owned()]);
    for metric in ["ttft", "itl", "tpot", "e2e"] {
        head.extend(["p50", "p95", "p99"].map(|p| format!("{p}_{metric}_ms")));
    }
    head.extend(
        [
            "throughput_tok_s",
            "total_tok_s",
            "req_s",
            "user_tok_s",
            "goodput_req_s",
            "input_tokens",
            "output_tokens",
            "window_s",
        ]
        .map(str::to_owned),
    );
    // A vector of bytes takes every row, so writing cannot fail.
    let _ = writer.write_record(&head);
    for (cell, repeat, summary) in rows {
        let verdicts: Vec<&str> = cell
            .verdicts
            .iter()
            .map(|verdict| verdict.kind.name())
            .collect();
        let mut row = vec![
            cell.id.clone(),
            gpu.clone(),
            cell.workload.clone(),
            cell.outcome.name().to_owned(),
            verdicts.join(";"),
        ];
        if repeats {
            row.push(repeat.map_or_else(String::new, |number| number.to_string()));
        }
        let value = |name: &String| {
            let value: Option<&Value> = cell.load.get(name).or_else(|| cell.axes.get(name));
            value.map_or_else(String::new, scalar_text)
        };
        row.extend(load.iter().map(value));
        row.extend(run.plan.server_axes.iter().map(value));
        row.push(summary.map_or_else(String::new, |s| s.counts.completed.to_string()));
        row.push(summary.map_or_else(String::new, |s| s.counts.errors().to_string()));
        for latency in LATENCIES {
            let latency: Option<Latency> = summary.and_then(latency);
            for part in PERCENTILES {
                row.push(number(latency.as_ref().map(part)));
            }
        }
        for rate in RATES {
            row.push(number(summary.and_then(rate)));
        }
        for count in COUNTS {
            row.push(
                summary
                    .and_then(count)
                    .map_or_else(String::new, |n| n.to_string()),
            );
        }
        row.push(number(
            summary.and_then(|s| s.window).map(|window| window.length_s),
        ));
        let _ = writer.write_record(&row);
    }
    String::from_utf8(writer.into_inner().unwrap_or_else(|_| Vec::new()))
        .unwrap_or_else(|_| String::new())
}

/// Three decimals: a microsecond, or a thousandth of a token per second.
fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| format!("{value:.3}"))
}
