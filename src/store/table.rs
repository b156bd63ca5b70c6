//! Cells → `cells.csv` and `repeats.csv`. An absent value is an empty field.

use std::collections::BTreeSet;

use serde_json::Value;

use super::form::{CellFile, StoredRun};
use crate::{
    manifest::scalar_text,
    measure::{Latency, Summary, VerdictKind},
};

/// What identifies a row.
const FIRST: [&str; 5] = ["cell", "gpu", "workload", "outcome", "verdicts"];
/// What was measured, after the load values and the server axes.
const MEASURED: [&str; 22] = [
    "completed",
    "errors",
    "p50_ttft_ms",
    "p95_ttft_ms",
    "p99_ttft_ms",
    "p50_itl_ms",
    "p95_itl_ms",
    "p99_itl_ms",
    "p50_tpot_ms",
    "p95_tpot_ms",
    "p99_tpot_ms",
    "p50_e2e_ms",
    "p95_e2e_ms",
    "p99_e2e_ms",
    "throughput_tok_s",
    "total_tok_s",
    "req_s",
    "user_tok_s",
    "goodput_req_s",
    "input_tokens",
    "output_tokens",
    "window_s",
];
/// The load values that always have a column.
const ALWAYS: [&str; 3] = ["concurrency", "max_tokens", "requests"];

/// The tables of a run, as text.
pub(super) struct Tables {
    /// One row per cell, repeats pooled.
    pub(super) cells: String,
    /// One row per repeat, where a cell has several.
    pub(super) repeats: Option<String>,
}

/// One column between the fixed ones: its heading, and the key of its values.
struct Column {
    heading: String,
    key: String,
    of_server: bool,
}

impl Column {
    fn value<'a>(&self, cell: &'a CellFile) -> Option<&'a Value> {
        let load = cell.load.get(&self.key).filter(|_| !self.of_server);
        load.or_else(|| cell.axes.get(&self.key))
    }
}

impl Tables {
    pub(super) fn of(run: &StoredRun) -> Self {
        let columns = columns(run);
        let row = |cell: &CellFile, repeat: Option<usize>, summary: Option<&Summary>| {
            let mut row = vec![
                cell.id.clone(),
                gpu(run, cell),
                cell.workload.clone(),
                cell.outcome.name().into(),
                verdicts(cell),
            ];
            row.extend(repeat.map(|repeat| repeat.to_string()));
            row.extend(
                columns
                    .iter()
                    .map(|column| column.value(cell).map(field).unwrap_or_default()),
            );
            row.extend(measured(summary));
            row
        };
        let headings = |repeat: Option<&'static str>| {
            let mut headings = FIRST.map(str::to_owned).to_vec();
            headings.extend(repeat.map(str::to_owned));
            headings.extend(columns.iter().map(|column| column.heading.clone()));
            headings.extend(MEASURED.map(str::to_owned));
            headings
        };
        let cells = &run.cells;
        let pooled = cells
            .iter()
            .map(|cell| row(cell, None, cell.summary.as_ref()));
        let several = cells.iter().any(|cell| !cell.repeats.is_empty());
        Self {
            cells: text(headings(None), pooled),
            repeats: several.then(|| {
                let rows = cells.iter().flat_map(|cell| {
                    let repeats = cell.repeats.iter().zip(1..);
                    repeats.map(|(summary, repeat)| row(cell, Some(repeat), Some(summary)))
                });
                text(headings(Some("repeat")), rows)
            }),
        }
    }
}

/// The load values that always have a column, load axes, other load values, and server axes. A heading that another
/// column has already gets a word before it, `server_max_tokens` say: most tools take two columns of one name for one.
fn columns(run: &StoredRun) -> Vec<Column> {
    let plan = &run.plan;
    let others: BTreeSet<&String> = run.cells.iter().flat_map(|cell| cell.load.keys()).collect();
    let mut keys = ALWAYS.to_vec();
    for key in plan.load_axes.iter().chain(others) {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    let load = keys.into_iter().map(|key| ("load", key));
    let server = plan.server_axes.iter().map(|key| ("server", key.as_str()));
    let mut columns: Vec<Column> = Vec::new();
    for (word, key) in load.chain(server) {
        let taken = FIRST.contains(&key)
            || MEASURED.contains(&key)
            || key == "repeat"
            || columns.iter().any(|column| column.heading == key);
        let heading = if taken {
            format!("{word}_{key}")
        } else {
            key.to_owned()
        };
        columns.push(Column {
            heading,
            key: key.to_owned(),
            of_server: word == "server",
        });
    }
    columns
}

/// The machine a number belongs to. What was simulated belongs to none.
fn gpu(run: &StoredRun, cell: &CellFile) -> String {
    if cell.simulated {
        return "simulated".into();
    }
    match (
        &run.plan.hardware.label,
        run.run.gpus.first(),
        &run.run.host.cpu,
    ) {
        (Some(label), _, _) => label.clone(),
        (None, Some(gpu), _) => gpu.name.clone(),
        (None, None, Some(cpu)) => format!("cpu: {cpu}"),
        (None, None, None) => "cpu".into(),
    }
}

/// The names of a cell's verdicts, each once. A simulated cell says so even where nothing was measured to be judged.
fn verdicts(cell: &CellFile) -> String {
    let mut names: Vec<&str> = cell
        .simulated
        .then(|| VerdictKind::Simulated.name())
        .into_iter()
        .collect();
    for verdict in &cell.verdicts {
        if !names.contains(&verdict.kind.name()) {
            names.push(verdict.kind.name());
        }
    }
    names.join(";")
}

fn field(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        value => scalar_text(value),
    }
}

fn measured(summary: Option<&Summary>) -> Vec<String> {
    let Some(summary) = summary else {
        return vec![String::new(); MEASURED.len()];
    };
    let number = |value: Option<f64>| value.map(|value| format!("{value:.3}")).unwrap_or_default();
    let count = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
    let latency = |latency: &Option<Latency>| {
        let latency = latency.as_ref();
        [
            number(latency.map(|latency| latency.p50_ms)),
            number(latency.map(|latency| latency.p95_ms)),
            number(latency.map(|latency| latency.p99_ms)),
        ]
    };
    let mut row = vec![
        count(Some(summary.counts.completed)),
        count(Some(summary.counts.errors())),
    ];
    for metric in [&summary.ttft, &summary.itl, &summary.tpot, &summary.e2e] {
        row.extend(latency(metric));
    }
    row.extend([
        number(summary.throughput_tok_s),
        number(summary.total_tok_s),
        number(summary.req_s),
        number(summary.user_tok_s),
        number(summary.goodput_req_s),
        count(summary.input_tokens),
        count(summary.output_tokens),
        number(summary.window.map(|window| window.length_s)),
    ]);
    row
}

fn text(headings: Vec<String>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in std::iter::once(headings).chain(rows) {
        writer
            .write_record(row)
            .expect("rows of one length go into memory");
    }
    let bytes = writer.into_inner().expect("memory takes every row");
    String::from_utf8(bytes).expect("fields are text")
}
