//! The tables of a run: `cells.csv` with a row per cell, and `repeats.csv` with a row per repeat.

use std::collections::BTreeSet;

use serde_json::Value;

use super::schema::{CellFile, StoredRun};
use crate::{
    manifest::scalar_text,
    measure::{Metric, Summary},
    observe::{Durations, EngineSide, ServerSide},
};

/// Returns `cells.csv`: one row per cell, repeats pooled. The run need not be stored.
///
/// # Errors
/// When the CSV writer fails.
pub fn cells(run: &StoredRun) -> Result<Vec<u8>, csv::Error> {
    let columns = Columns::of(run);
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(harmless(columns.header(None)))?;
    for cell in &run.cells {
        let (summary, side) = (cell.summary.as_ref(), cell.server_side.as_ref());
        table.write_record(harmless(columns.row(run, cell, None, summary, side)))?;
    }
    finish(table)
}

/// Returns `repeats.csv`: the same columns and the number of the repeat, from 1. The verdicts are those of the cell.
pub(super) fn repeats(run: &StoredRun) -> Result<Vec<u8>, csv::Error> {
    let columns = Columns::of(run);
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(harmless(columns.header(Some("repeat"))))?;
    for cell in &run.cells {
        let summaries: Vec<&Summary> = if cell.repeats.is_empty() {
            cell.summary.iter().collect()
        } else {
            cell.repeats.iter().collect()
        };
        for (at, summary) in summaries.into_iter().enumerate() {
            let side = match cell.repeats.len() {
                0 => cell.server_side.as_ref(),
                _ => cell.server_side_repeats.get(at),
            };
            table.write_record(harmless(columns.row(run, cell, Some(at + 1), Some(summary), side)))?;
        }
    }
    finish(table)
}

fn finish(table: csv::Writer<Vec<u8>>) -> Result<Vec<u8>, csv::Error> {
    table.into_inner().map_err(|e| csv::Error::from(e.into_error()))
}

/// Columns after the metrics.
const AFTER_METRICS: [&str; 6] =
    ["input_tokens", "output_tokens", "window_s", "steady_s", "steady_tok_s", "p99_issue_delay_ms"];

/// Columns of the server's own metrics, warm-up included; empty where there are none.
const SERVER_SIDE: [&str; 9] = [
    "server_queue_ms",
    "server_prefill_ms",
    "server_decode_ms",
    "server_ttft_ms",
    "preemptions",
    "prefix_hit_rate",
    "kv_usage_peak",
    "server_cpu_s",
    "gpu_energy_j",
];

/// Columns of the prediction for a measured cell; empty where there is none.
const PREDICTED: [&str; 2] = ["predicted_p50_e2e_ms", "predicted_throughput_tok_s"];

/// The columns that depend on the run.
struct Columns {
    load: Vec<String>,
    server: Vec<String>,
}

impl Columns {
    fn of(run: &StoredRun) -> Self {
        let mut taken: BTreeSet<String> = ["cell", "gpu", "workload", "outcome", "verdicts"]
            .into_iter()
            // `requests` is also a load value: only the column with the number of due requests is kept.
            .chain(["repeat", "requests", "errors"])
            .chain(AFTER_METRICS)
            .chain(SERVER_SIDE)
            .chain(PREDICTED)
            .map(str::to_owned)
            .chain(Metric::COLUMNS.map(Metric::column))
            .collect();
        let mut unique = |names: Vec<&str>| -> Vec<String> {
            names.into_iter().filter(|name| taken.insert((*name).to_owned())).map(str::to_owned).collect()
        };
        // Both are always present: `rate` is empty in a closed loop, `concurrency` in an open one.
        let mut load = vec!["concurrency", "rate", "max_tokens"];
        load.extend(run.plan.load_axes.iter().map(String::as_str));
        let rest: BTreeSet<&str> =
            run.cells.iter().flat_map(|cell| cell.load.keys().map(String::as_str)).collect();
        load.extend(rest);
        Self { load: unique(load), server: unique(run.plan.server_axes.iter().map(String::as_str).collect()) }
    }

    fn header(&self, repeat: Option<&str>) -> Vec<String> {
        let mut header = vec!["cell".to_owned()];
        header.extend(repeat.map(str::to_owned));
        header.extend(["gpu", "workload", "outcome", "verdicts"].map(str::to_owned));
        header.extend(self.load.iter().chain(&self.server).cloned());
        header.extend(["requests", "errors"].map(str::to_owned));
        header.extend(Metric::COLUMNS.map(Metric::column));
        header.extend(AFTER_METRICS.map(str::to_owned));
        header.extend(SERVER_SIDE.map(str::to_owned));
        header.extend(PREDICTED.map(str::to_owned));
        header
    }

    fn row(
        &self,
        run: &StoredRun,
        cell: &CellFile,
        repeat: Option<usize>,
        summary: Option<&Summary>,
        side: Option<&ServerSide>,
    ) -> Vec<String> {
        let mut row = vec![cell.id.clone()];
        row.extend(repeat.map(|repeat| repeat.to_string()));
        row.push(gpu(run, cell));
        row.push(cell.workload.clone());
        row.push(cell.outcome.name().to_owned());
        row.push(verdicts(cell));
        for name in &self.load {
            row.push(value(cell.load.get(name).or_else(|| cell.axes.get(name))));
        }
        for name in &self.server {
            row.push(value(cell.axes.get(name)));
        }
        row.push(whole(summary.map(|s| s.counts.scheduled)));
        row.push(whole(summary.map(|s| s.counts.errors())));
        for metric in Metric::COLUMNS {
            // Numbers imported without samples belong to the cell as a whole, not to a repeat.
            let number = match repeat {
                Some(_) => summary.and_then(|summary| metric.of(summary)),
                None => cell.number(metric),
            };
            row.push(rounded(number));
        }
        let window = summary.and_then(|s| Some(s.window?.length_s));
        row.push(whole(summary.and_then(|s| s.input_tokens)));
        row.push(whole(summary.and_then(|s| s.output_tokens)));
        row.push(rounded(match repeat {
            Some(_) => window,
            None => window.or_else(|| cell.reported.get("window_s").copied()),
        }));
        row.push(rounded(summary.and_then(|s| s.steady).map(|window| window.length_s)));
        row.push(rounded(summary.and_then(|s| s.steady_tok_s)));
        let delay = summary.and_then(|s| s.issue_delay.as_ref());
        row.push(rounded(delay.map(|delay| delay.p99_ms)));
        let engine = side.and_then(|side| side.engine.as_ref());
        let mean = |get: fn(&EngineSide) -> &Option<Durations>| {
            rounded(engine.and_then(|engine| get(engine).as_ref()?.mean_ms))
        };
        row.push(mean(|engine| &engine.queue));
        row.push(mean(|engine| &engine.prefill));
        row.push(mean(|engine| &engine.decode));
        row.push(mean(|engine| &engine.ttft));
        row.push(whole(engine.and_then(|engine| engine.preemptions)));
        row.push(rounded(engine.and_then(EngineSide::prefix_hit_rate)));
        row.push(rounded(engine.and_then(|engine| engine.kv_usage_peak)));
        row.push(rounded(side.and_then(|side| side.process).map(|process| process.cpu_s)));
        row.push(rounded(side.and_then(ServerSide::gpu_energy_j)));
        let predicted = run.predictions.as_ref().and_then(|all| all.cells.get(&cell.id));
        row.push(rounded(predicted.and_then(|cell| cell.p50_e2e_ms)));
        row.push(rounded(predicted.and_then(|cell| cell.throughput_tok_s)));
        row
    }
}

/// Replaces control characters, which a terminal would obey when the table is shown with `cat`. Line breaks and tabs are
/// kept.
fn harmless(row: Vec<String>) -> Vec<String> {
    let shown = |c: char| {
        if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c }
    };
    row.into_iter().map(|text| text.chars().map(shown).collect()).collect()
}

/// The hardware of a cell. Simulated and predicted cells are marked as such.
fn gpu(run: &StoredRun, cell: &CellFile) -> String {
    if run.run.simulated || cell.simulated {
        return "simulated".into();
    }
    if let Some(basis) = &run.run.predicted {
        return format!("predicted: {}", basis.hardware);
    }
    run.machine().unwrap_or_default()
}

/// The kinds of a cell's verdicts, each once.
fn verdicts(cell: &CellFile) -> String {
    let kinds: BTreeSet<_> = cell.verdicts.iter().map(|verdict| verdict.kind).collect();
    let names: Vec<&str> = kinds.into_iter().map(|kind| kind.name()).collect();
    names.join(";")
}

fn value(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(value) => scalar_text(value),
    }
}

fn whole(number: Option<u64>) -> String {
    number.map(|n| n.to_string()).unwrap_or_default()
}

fn rounded(number: Option<f64>) -> String {
    number.map(|x| format!("{x:.3}")).unwrap_or_default()
}
