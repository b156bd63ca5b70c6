//! The tables of a run: `cells.csv` with a row per cell, and `repeats.csv` with a row per repeat.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    prediction::PredictedCell,
    schema::{CellFile, StoredRun},
};
use crate::{
    manifest::scalar_text,
    measure::{Metric, Summary},
    observe::{EngineSide, ServerSide},
};

/// Returns `cells.csv`: one row per cell, repeats pooled. The run need not be stored.
///
/// # Errors
/// When the CSV writer fails.
pub fn cells(run: &StoredRun) -> Result<Vec<u8>, csv::Error> {
    let rows = run.cells.iter().map(|cell| Row {
        cell,
        repeat: None,
        summary: cell.summary.as_ref(),
        side: cell.server_side.as_ref(),
        predicted: predicted(run, cell),
    });
    table(run, None, rows)
}

/// Returns `repeats.csv`: the same columns and the number of the repeat, from 1. The verdicts are those of
/// the cell.
pub(super) fn repeats(run: &StoredRun) -> Result<Vec<u8>, csv::Error> {
    let rows = run.cells.iter().flat_map(|cell| {
        // The only repeat of a cell is the cell.
        let is_only = cell.repeats.is_empty();
        let summaries = if is_only { cell.summary.as_slice() } else { &cell.repeats };
        summaries.iter().enumerate().map(move |(at, summary)| Row {
            cell,
            repeat: Some(at + 1),
            summary: Some(summary),
            side: if is_only { cell.server_side.as_ref() } else { cell.server_side_repeats.get(at) },
            predicted: predicted(run, cell),
        })
    });
    table(run, Some("repeat"), rows)
}

fn table<'a>(
    run: &StoredRun,
    repeat: Option<&str>,
    rows: impl Iterator<Item = Row<'a>>,
) -> Result<Vec<u8>, csv::Error> {
    let columns = Columns::of(run);
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(harmless(columns.header(repeat)))?;
    for row in rows {
        table.write_record(harmless(columns.row(run, &row)))?;
    }
    table.into_inner().map_err(|e| csv::Error::from(e.into_error()))
}

fn predicted<'a>(run: &'a StoredRun, cell: &CellFile) -> Option<&'a PredictedCell> {
    run.predictions.as_ref()?.cells.get(&cell.id)
}

/// What one row shows.
struct Row<'a> {
    cell: &'a CellFile,
    /// Number of the repeat, from 1; `None` for the whole cell.
    repeat: Option<usize>,
    summary: Option<&'a Summary>,
    side: Option<&'a ServerSide>,
    predicted: Option<&'a PredictedCell>,
}

/// The name of a column, and its value in a row; empty where there is none.
type Column = (&'static str, fn(&Row<'_>) -> String);

/// Columns before the metrics.
const COUNTS: [Column; 2] = [
    ("requests", |row| whole(row.summary.map(|s| s.counts.scheduled))),
    ("errors", |row| whole(row.summary.map(|s| s.counts.errors()))),
];

/// Columns after the metrics: the rest of the summary, the server's own metrics with warm-up included, and
/// the prediction.
const AFTER_METRICS: [Column; 17] = [
    ("input_tokens", |row| whole(row.summary.and_then(|s| s.input_tokens))),
    ("output_tokens", |row| whole(row.summary.and_then(|s| s.output_tokens))),
    ("window_s", |row| {
        let window = row.summary.and_then(|s| Some(s.window?.length_s));
        let reported = || row.cell.reported.get("window_s").copied().filter(|_| row.repeat.is_none());
        rounded(window.or_else(reported))
    }),
    ("steady_s", |row| rounded(row.summary.and_then(|s| Some(s.steady?.length_s)))),
    ("steady_tok_s", |row| rounded(row.summary.and_then(|s| s.steady_tok_s))),
    ("p99_issue_delay_ms", |row| rounded(row.summary.and_then(|s| Some(s.issue_delay.as_ref()?.p99_ms)))),
    ("server_queue_ms", |row| rounded(row.engine().and_then(|e| e.queue.as_ref()?.mean_ms))),
    ("server_prefill_ms", |row| rounded(row.engine().and_then(|e| e.prefill.as_ref()?.mean_ms))),
    ("server_decode_ms", |row| rounded(row.engine().and_then(|e| e.decode.as_ref()?.mean_ms))),
    ("server_ttft_ms", |row| rounded(row.engine().and_then(|e| e.ttft.as_ref()?.mean_ms))),
    ("preemptions", |row| whole(row.engine().and_then(|e| e.preemptions))),
    ("prefix_hit_rate", |row| rounded(row.engine().and_then(EngineSide::prefix_hit_rate))),
    ("kv_usage_peak", |row| rounded(row.engine().and_then(|e| e.kv_usage_peak))),
    ("server_cpu_s", |row| rounded(row.side.and_then(|side| Some(side.process?.cpu_s)))),
    ("gpu_energy_j", |row| rounded(row.side.and_then(ServerSide::gpu_energy_j))),
    ("predicted_p50_e2e_ms", |row| rounded(row.predicted.and_then(|cell| cell.p50_e2e_ms))),
    ("predicted_throughput_tok_s", |row| rounded(row.predicted.and_then(|cell| cell.throughput_tok_s))),
];

impl<'a> Row<'a> {
    fn engine(&self) -> Option<&'a EngineSide> {
        self.side?.engine.as_ref()
    }

    fn metric(&self, metric: Metric) -> String {
        rounded(match self.repeat {
            Some(_) => self.summary.and_then(|summary| metric.of(summary)),
            // Numbers imported without samples belong to the cell as a whole, not to a repeat.
            None => self.cell.number(metric),
        })
    }
}

/// The columns that depend on the run.
struct Columns {
    load: Vec<String>,
    server: Vec<String>,
    /// Whether the plan has searches.
    has_searches: bool,
}

impl Columns {
    fn of(run: &StoredRun) -> Self {
        let mut taken: BTreeSet<String> =
            ["cell", "gpu", "workload", "outcome", "verdicts", "search", "repeat"]
                .into_iter()
                // `requests` is also a load value: only the column with the number of due requests is kept.
                .chain(COUNTS.iter().chain(&AFTER_METRICS).map(|(name, _)| *name))
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
        Self {
            load: unique(load),
            server: unique(run.plan.server_axes.iter().map(String::as_str).collect()),
            has_searches: !run.plan.searches.is_empty(),
        }
    }

    fn header(&self, repeat: Option<&str>) -> Vec<String> {
        let name = |column: &Column| column.0.to_owned();
        let mut header = vec!["cell".to_owned()];
        header.extend(repeat.map(str::to_owned));
        header.extend(["gpu", "workload", "outcome", "verdicts"].map(str::to_owned));
        header.extend(self.has_searches.then(|| "search".to_owned()));
        header.extend(self.load.iter().chain(&self.server).cloned());
        header.extend(COUNTS.iter().map(name));
        header.extend(Metric::COLUMNS.map(Metric::column));
        header.extend(AFTER_METRICS.iter().map(name));
        header
    }

    fn row(&self, run: &StoredRun, row: &Row<'_>) -> Vec<String> {
        let cell = row.cell;
        let mut fields = vec![cell.id.clone()];
        fields.extend(row.repeat.map(|repeat| repeat.to_string()));
        fields.extend([gpu(run, cell), cell.workload.clone(), cell.outcome.name().into(), verdicts(cell)]);
        fields.extend(self.has_searches.then(|| search_name(run, cell)));
        let load = self.load.iter().map(|name| cell.load.get(name).or_else(|| cell.axes.get(name)));
        fields.extend(load.chain(self.server.iter().map(|name| cell.axes.get(name))).map(value));
        fields.extend(COUNTS.iter().map(|(_, value)| value(row)));
        fields.extend(Metric::COLUMNS.map(|metric| row.metric(metric)));
        fields.extend(AFTER_METRICS.iter().map(|(_, value)| value(row)));
        fields
    }
}

/// Replaces control characters, which a terminal would obey when the table is shown with `cat`. Line breaks
/// and tabs are kept.
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

/// The name of the search that a cell is a probe of; empty for other cells.
fn search_name(run: &StoredRun, cell: &CellFile) -> String {
    let own = run.plan.searches.iter().find(|search| Some(&search.id) == cell.search.as_ref());
    own.map(|search| search.name.clone()).unwrap_or_default()
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
