//! Reads CSV tables with one row per point of a grid: any table with known column names, this tool's own
//! `cells.csv`, and the `summary.csv` of `vllm bench sweep serve`.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use csv::StringRecord;
use serde_json::{Map, Value, json};

use super::{
    File, Options,
    json_field::JsonField,
    measurement::{Measurement, plain, rank},
    vllm,
};
use crate::{
    diagnostic::{Finding, Findings, Place, Source},
    flags,
    manifest::{LatencyKind, nearest},
    measure::Metric,
};

/// The meaning of a column.
enum Column {
    Workload,
    Gpu,
    Model,
    Outcome,
    Load(&'static str),
    Server(String),
    Completed,
    Failed,
    Seconds,
    InputTokens,
    OutputTokens,
    /// A metric, and the factor to its unit.
    Number(Metric, f64),
    Ignored,
}

/// Names of columns that are not metrics.
const KNOWN: [&str; 8] =
    ["workload", "gpu", "model", "concurrency", "rate", "max_tokens", "requests", "outcome"];

impl Column {
    fn of(name: &str, options: &Options) -> Option<Self> {
        let plain = name.trim().to_lowercase();
        let is_among = |axes: &[String]| axes.iter().any(|axis| axis == name.trim());
        if is_among(&options.axes) {
            return Some(Self::Server(name.trim().to_owned()));
        }
        if let Some(flag) = flags::info(&plain).filter(|flag| flag.tuning) {
            return Some(Self::Server(flag.name.clone()));
        }
        Some(match plain.as_str() {
            "workload" => Self::Workload,
            "gpu" | "hardware" | "device" => Self::Gpu,
            "model" | "model_id" => Self::Model,
            "outcome" => Self::Outcome,
            "concurrency" | "max_concurrency" | "users" | "streams" => Self::Load("concurrency"),
            "rate" | "request_rate" => Self::Load("rate"),
            "max_tokens" | "max_new_tokens" | "output_len" => Self::Load("max_tokens"),
            "prompt_tokens" | "input_len" => Self::Load("synthetic.input_tokens"),
            "synthetic.input_tokens" => Self::Load("synthetic.input_tokens"),
            "requests" | "n_requests" | "num_requests" | "num_prompts" => Self::Completed,
            "errors" | "failed" => Self::Failed,
            "window_s" | "total_time_s" | "wall_clock_s" | "duration_s" => Self::Seconds,
            "input_tokens" => Self::InputTokens,
            "output_tokens" | "total_tokens" => Self::OutputTokens,
            "output_tok_s" | "tok_s" | "tokens_per_second" => Self::Number(Metric::OUTPUT, 1.0),
            "" | "cell" | "verdicts" | "steady_s" | "steady_tok_s" | "arrivals" | "warmup" => Self::Ignored,
            _ => match metric(&plain).or_else(|| latency(&plain)) {
                Some((metric, factor)) => Self::Number(metric, factor),
                None if is_among(&options.optional_axes) => Self::Server(name.trim().to_owned()),
                None => return None,
            },
        })
    }
}

/// Parses a column of this tool's own tables.
fn metric(name: &str) -> Option<(Metric, f64)> {
    Metric::parse(name).filter(|metric| metric.column() == name).map(|metric| (metric, 1.0))
}

/// Parses `p95_latency_ms` and the like: the metric, and the factor to milliseconds.
fn latency(name: &str) -> Option<(Metric, f64)> {
    let (name, factor) = [("_ms", 1.0), ("_us", 1e-3), ("_s", 1e3)]
        .into_iter()
        .find_map(|(unit, factor)| Some((name.strip_suffix(unit)?, factor)))?;
    let (word, kind) = name.split_once('_')?;
    let kind = match kind {
        "latency" | "e2el" | "request_latency" => LatencyKind::E2e,
        name => LatencyKind::ALL.into_iter().find(|kind| kind.name() == name)?,
    };
    Some((Metric::Latency(rank(word)?, kind), factor))
}

/// Reads the rows of a table. Errors and unknown columns go to `findings`.
pub(super) fn rows(file: &File, options: &Options, findings: &mut Findings) -> Vec<Measurement> {
    let File { name, text } = file;
    let source = Arc::new(Source { name: name.clone(), text: text.clone() });
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(text.as_bytes());
    let header = match reader.headers() {
        Ok(header) => header.clone(),
        Err(error) => {
            findings.push(Finding::error(format!("{name} is not a CSV table: {error}")));
            return Vec::new();
        }
    };
    let of_vllm = ["output_throughput", "completed"].map(|own| header.iter().any(|name| name == own));
    let columns: Vec<Option<Column>> = header.iter().map(|name| Column::of(name, options)).collect();
    if of_vllm != [true, true] {
        check_header(&source, &header, &columns, &options.axes, findings);
        if findings.has_errors() {
            return Vec::new();
        }
    }
    let mut rows = Vec::new();
    // The values of each row in unknown columns.
    let mut left_out: Vec<Vec<Option<String>>> = Vec::new();
    let mut record = StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(false) => {
                if of_vllm != [true, true] {
                    check_repeats(&source, &header, &rows, &left_out, findings);
                }
                return rows;
            }
            Ok(true) => {}
            Err(error) => {
                findings.push(Finding::error(format!("{name} is not a CSV table: {error}")));
                return rows;
            }
        }
        let start = record.position().map_or(0, |at| at.byte() as usize);
        let place = Place { source: source.clone(), span: line(text, start) };
        let row = if of_vllm == [true, true] {
            from_vllm(&place, &header, &record)
        } else {
            row(&place, &header, &columns, &record)
        };
        match row {
            Ok(row) => {
                let unknown = record.iter().zip(&columns);
                let unknown = unknown.map(|(text, column)| column.is_none().then(|| text.to_owned()));
                left_out.push(unknown.collect());
                rows.push(row);
            }
            Err(finding) => findings.push(finding),
        }
    }
}

/// Names of columns that number the repeats of a point.
const REPEATS: &str =
    "repeat repetition run run_id iteration trial seed timestamp date time file filename path id";

/// Finds unknown columns that distinguish rows of one point, which would be averaged as repeats. A column
/// with numbers that occur only once is taken for a measurement.
fn check_repeats(
    source: &Arc<Source>,
    header: &StringRecord,
    rows: &[Measurement],
    left_out: &[Vec<Option<String>>],
    findings: &mut Findings,
) {
    let point =
        |row: &Measurement| json!([row.workload, row.gpu, row.model, row.server, row.load]).to_string();
    for (at, name) in header.iter().enumerate() {
        let texts: Option<Vec<&str>> = left_out.iter().map(|row| row.get(at)?.as_deref()).collect();
        let Some(texts) = texts.filter(|_| REPEATS.split(' ').all(|repeat| repeat != name.to_lowercase()))
        else {
            continue;
        };
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for text in &texts {
            *seen.entry(text).or_default() += 1;
        }
        let measured = seen.iter().any(|(text, times)| *times < 2 && text.parse::<f64>().is_ok());
        let mut values: BTreeMap<String, &str> = BTreeMap::new();
        let differs = rows.iter().zip(&texts).find_map(|(row, text)| {
            let first = *values.entry(point(row)).or_insert(text);
            (first != *text).then_some((first, *text))
        });
        let Some((one, other)) = differs.filter(|_| !measured) else {
            continue;
        };
        let place = Place { source: source.clone(), span: line(&source.text, 0) };
        findings.push(
            Finding::error(format!(
                "{}: rows differ only in the unknown column `{name}` ({one:?} and {other:?}), so they would be averaged as repeats",
                source.name
            ))
            .at(&place, "its columns")
            .help(format!(
                "if `{name}` is a server setting, import with --axis {name}; otherwise remove the column"
            )),
        );
    }
}

/// The byte range of the line that begins at `start`, after line breaks.
fn line(text: &str, start: usize) -> Range<usize> {
    let start = start.min(text.len());
    let rest = text.get(start..).unwrap_or_default();
    let skipped = rest.len() - rest.trim_start_matches(['\n', '\r']).len();
    let own = rest[skipped..].lines().next().unwrap_or_default().len();
    start + skipped..start + skipped + own
}

fn check_header(
    source: &Arc<Source>,
    header: &StringRecord,
    columns: &[Option<Column>],
    axes: &[String],
    findings: &mut Findings,
) {
    let place = Place { source: source.clone(), span: line(&source.text, 0) };
    let has_numbers = columns.iter().flatten().any(|column| matches!(column, Column::Number(..)));
    if !has_numbers {
        findings.push(
            Finding::error(format!("{} has no column with a latency or a throughput", source.name))
                .at(&place, "its columns")
                .help("it needs columns such as concurrency, max_tokens, p50_ttft_ms, p95_e2e_ms, throughput_tok_s"),
        );
    }
    let numbers = Metric::COLUMNS.map(Metric::column);
    let known: Vec<&str> = KNOWN.into_iter().chain(numbers.iter().map(String::as_str)).collect();
    for (name, column) in header.iter().zip(columns) {
        if column.is_some() {
            continue;
        }
        let mut finding = Finding::note(format!("{}: the unknown column `{name}` was left out", source.name));
        if let Some(near) = nearest(name, &known) {
            finding = finding.help(format!("did you mean `{near}`?"));
        }
        findings.push(finding.help(format!("if it is a server setting, add --axis {name}")));
    }
    for axis in axes {
        if !header.iter().any(|name| name.trim() == axis) {
            findings.push(
                Finding::error(format!("{} has no column `{axis}`", source.name)).at(&place, "its columns"),
            );
        }
    }
}

fn row(
    place: &Place,
    header: &StringRecord,
    columns: &[Option<Column>],
    record: &StringRecord,
) -> Result<Measurement, Finding> {
    let mut row = Measurement::default();
    for ((name, column), text) in header.iter().zip(columns).zip(record) {
        let Some(column) = column.as_ref().filter(|_| !text.is_empty()) else {
            continue;
        };
        let wrong = |expected: &str| {
            Finding::error(format!("{place}: `{name}` is {text:?}, but must be {expected}"))
                .at(place, "this row")
        };
        let number = |expected: &str| {
            let number: Option<f64> = text.parse().ok();
            number.filter(|number| number.is_finite()).ok_or_else(|| wrong(expected))
        };
        let count = || text.parse::<u64>().map_err(|_| wrong("a whole number"));
        match column {
            Column::Workload => row.workload = Some(text.to_owned()),
            Column::Gpu => row.gpu = Some(text.to_owned()),
            Column::Model => row.model = Some(text.to_owned()),
            Column::Outcome => {
                let outcome = serde_json::from_value(json!(text));
                row.outcome =
                    Some(outcome.map_err(|_| wrong("the outcome of a cell (ok, degraded, oom …)"))?);
            }
            Column::Load(key) => row.set_load(key, Some(number("a number")?)),
            Column::Server(key) => {
                row.server.insert(key.clone(), scalar(text));
            }
            Column::Completed => row.completed = Some(count()?),
            Column::Failed => row.failed = Some(count()?),
            Column::Seconds => row.seconds = Some(number("a number of seconds")?),
            Column::InputTokens => row.input_tokens = Some(count()?),
            Column::OutputTokens => row.output_tokens = Some(count()?),
            Column::Number(metric, factor) => {
                let value = number("a number")?;
                row.report(*metric, Some(value * factor));
            }
            Column::Ignored => {}
        }
    }
    // `requests` includes those that failed.
    if let (Some(due), Some(failed)) = (row.completed, row.failed) {
        row.completed = due.checked_sub(failed);
    }
    Ok(row)
}

fn scalar(text: &str) -> Value {
    match text.to_lowercase().as_str() {
        "true" => json!(true),
        "false" => json!(false),
        _ => text.parse().map_or_else(|_| json!(text), plain),
    }
}

/// Reads a line of `summary.csv` as the JSON object it was made from.
fn from_vllm(place: &Place, header: &StringRecord, record: &StringRecord) -> Result<Measurement, Finding> {
    let object: Map<String, Value> = header
        .iter()
        .zip(record)
        .filter(|(name, text)| !name.is_empty() && !text.is_empty())
        .map(|(name, text)| {
            let value = if text.starts_with('[') {
                serde_json::from_str(text).unwrap_or_else(|_| json!(text))
            } else {
                scalar(text)
            };
            (name.to_owned(), value)
        })
        .collect();
    let object = Value::Object(object);
    let shown = place.to_string();
    vllm::row(&JsonField::root(&shown, &object))
}
