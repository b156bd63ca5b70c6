//! The data of the page: every cell with its numbers, distributions, timeline, verdicts and log. Texts that many cells share
//! are kept once.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::{
    measure::{CellOutcome, Latency, Point, Severity, Verdict},
    report::{
        headline::gpu,
        insight::{
            Block, blocks, coordinate,
            highlight::highlights,
            may_rank, may_rank_by, of,
            prediction::{answers, error, signed},
            server_label,
            servers::in_order,
            slo_text,
        },
        note::values::statements,
        origin::{Origin, badge, is_mixed},
    },
    store::{CellFile, PredictedCell, StoredRun},
};

/// From this number of cells on, distributions and timelines are kept coarser: the page must open in seconds.
const MANY: usize = 1000;

/// What a cell's page shows in numbers and the table in columns: key, heading, unit.
const METRICS: [(&str, &str, &str); 13] = [
    ("throughput", "throughput", "tok/s"),
    ("req_s", "request rate", "req/s"),
    ("goodput", "goodput", "req/s"),
    ("p50_ttft", "p50 TTFT", "ms"),
    ("p95_ttft", "p95 TTFT", "ms"),
    ("p99_ttft", "p99 TTFT", "ms"),
    ("p50_itl", "p50 ITL", "ms"),
    ("p95_itl", "p95 ITL", "ms"),
    ("p50_tpot", "p50 TPOT", "ms"),
    ("p50_e2e", "p50 E2E", "ms"),
    ("p95_e2e", "p95 E2E", "ms"),
    ("user", "user", "tok/s"),
    ("total", "total", "tok/s"),
];

/// Texts by their place in a list, each once.
#[derive(Default)]
struct Pool {
    places: HashMap<String, usize>,
    items: Vec<Value>,
}

impl Pool {
    fn place(&mut self, item: Value) -> usize {
        let key = item.to_string();
        if let Some(place) = self.places.get(&key) {
            return *place;
        }
        let place = self.items.len();
        self.places.insert(key, place);
        self.items.push(item);
        place
    }
}

/// Everything the script needs, as JSON. The cells are written one by one: as one value, ten thousand of them would take half
/// a gigabyte of memory.
pub(super) fn of_run(run: &StoredRun) -> String {
    let bins = if run.cells.len() > MANY { 20 } else { 48 };
    let points = if run.cells.len() > MANY { 20 } else { 60 };
    let axes = axes(run);
    let predictions = run.predictions.as_ref();
    let mixed = is_mixed(run);
    let blocks = blocks(run);
    let (mut texts, mut verdicts) = (Pool::default(), Pool::default());
    let mut cells = String::new();
    for cell in &run.cells {
        let mut row = self::cell(
            &axes,
            cell,
            mixed,
            (bins, points),
            &mut texts,
            &mut verdicts,
        );
        if let Some(predicted) = predictions.and_then(|all| all.cells.get(&cell.id)) {
            row["predicted"] = self::predicted(cell, predicted);
        }
        if !cells.is_empty() {
            cells.push(',');
        }
        cells.push_str(&row.to_string());
    }
    let known = |key: &str| run.cells.iter().any(|cell| of(cell, key).is_some());
    let metrics: Vec<Value> = METRICS
        .iter()
        .filter(|(key, _, _)| known(key))
        .map(|(key, name, unit)| json!({ "key": key, "name": name, "unit": unit }))
        .collect();
    let mut data = json!({
        "statements": statements(run, &blocks),
        "highlights": stand_out(run, &blocks),
        "source": gpu(run),
        "usd_per_hour": run.plan.hardware.usd_per_hour,
        "badge": badge(run),
        "run": run.run.name,
        "engine": run.run.engine,
        "measured": run.cells.iter().filter(|cell| cell.outcome.is_measured()).count(),
        "axes": axes,
        "metrics": metrics,
        "servers": run.plan.groups.iter().map(|group| server(run, group, &mut texts)).collect::<Map<String, Value>>(),
        "texts": texts.items,
        "verdicts": verdicts.items,
    });
    if let Some(predictions) = predictions {
        let basis = &predictions.basis;
        data["prediction"] = json!(format!(
            "Predicted for {}: {}.",
            basis.hardware, basis.validation
        ));
    }
    let rest = data.to_string();
    let rest = rest.strip_prefix('{').unwrap_or(&rest);
    format!("{{\"cells\":[{cells}],{rest}")
}

/// What was predicted of a cell: each number with its error, and the length of its answers.
fn predicted(cell: &CellFile, predicted: &PredictedCell) -> Value {
    let numbers: Map<String, Value> = [
        ("p50_ttft", predicted.p50_ttft_ms),
        ("p50_tpot", predicted.p50_tpot_ms),
        ("p50_e2e", predicted.p50_e2e_ms),
        ("throughput", predicted.throughput_tok_s),
    ]
    .into_iter()
    .filter_map(|(key, value)| {
        let off = error(cell, predicted, key).map(signed);
        Some((key.to_owned(), json!([significant(value?), off])))
    })
    .collect();
    json!({
        "outcome": predicted.outcome.name(),
        "reason": predicted.reason,
        "answers": answers(predicted),
        "m": numbers,
    })
}

/// What stands out, as in the notes, for each workload.
fn stand_out(run: &StoredRun, blocks: &[Block<'_>]) -> Vec<Value> {
    let mut workloads: Vec<&str> = blocks.iter().map(|block| block.workload).collect();
    workloads.dedup();
    workloads
        .into_iter()
        .map(|workload| {
            let (server, found) = highlights(run, blocks, workload);
            json!({
                "workload": workload,
                "server": server,
                "best": in_order(blocks, workload)
                    .first()
                    .and_then(|(_, best)| best.picks.first())
                    .map(|pick| pick.cell.clone()),
                "texts": found.into_iter().map(|insight| insight.text).collect::<Vec<_>>(),
            })
        })
        .collect()
}

/// The axes of the run, load first, and what every cell has where nothing varies.
fn axes(run: &StoredRun) -> Vec<&str> {
    let mut axes: Vec<&str> = run
        .plan
        .load_axes
        .iter()
        .chain(&run.plan.server_axes)
        .map(String::as_str)
        .collect();
    for always in ["concurrency", "rate", "max_tokens"] {
        let known = run
            .cells
            .iter()
            .any(|cell| cell.load.get(always).is_some_and(|value| !value.is_null()));
        if known && !axes.contains(&always) {
            axes.push(always);
        }
    }
    axes
}

fn server(run: &StoredRun, group: &crate::plan::Group, texts: &mut Pool) -> (String, Value) {
    let stored = run.servers.iter().find(|server| server.id == group.id);
    let value = json!({
        "label": server_label(run, &group.id),
        "model": group.server.model,
        "argv": stored.map(|server| &server.argv),
        "outcome": stored.map(|server| server.outcome.to_string()),
        "reason": stored.and_then(|server| server.reason.as_ref()),
        "kv_cache_tokens": stored.and_then(|server| server.facts.kv_cache_tokens),
        "startup_s": stored.and_then(|server| server.facts.startup_s),
        "log": stored.filter(|server| !server.log_tail.is_empty()).map(|server| texts.place(json!(server.log_tail))),
    });
    (group.id.clone(), value)
}

fn cell(
    axes: &[&str],
    cell: &CellFile,
    mixed: bool,
    (bins, points): (usize, usize),
    texts: &mut Pool,
    verdicts: &mut Pool,
) -> Value {
    let mut row = Map::new();
    let mut put = |key: &str, value: Value| {
        let empty = value.is_null()
            || value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(Map::is_empty)
            || value.as_str().is_some_and(str::is_empty);
        if !empty {
            row.insert(key.to_owned(), value);
        }
    };
    put("id", json!(cell.id));
    put("workload", json!(cell.workload));
    put("server", json!(cell.server));
    put("outcome", json!(cell.outcome.name()));
    put(
        "reason",
        cell.reason
            .as_ref()
            .map_or(Value::Null, |reason| json!(texts.place(json!(reason)))),
    );
    put("slo", json!(slo_text(&cell.slo)));
    put(
        "origin",
        match mixed && cell.has_numbers() {
            true => json!(Origin::of(cell).word()),
            false => Value::Null,
        },
    );
    let places: Map<String, Value> = axes
        .iter()
        .filter_map(|axis| Some(((*axis).to_owned(), coordinate(cell, axis)?.clone())))
        .collect();
    put("at", Value::Object(places));
    let mut numbers = Map::new();
    let mut unranked = Vec::new();
    for (key, _, _) in METRICS {
        let Some(value) = of(cell, key) else { continue };
        numbers.insert(key.to_owned(), json!(significant(value)));
        if may_rank(cell) && !may_rank_by(cell, key) {
            unranked.push(key);
        }
    }
    put("m", Value::Object(numbers));
    put("unranked", json!(unranked));
    if cell.outcome.is_measured() && !may_rank(cell) {
        put("void", json!(true));
    }
    put(
        "verdicts",
        json!(
            cell.verdicts
                .iter()
                .map(|verdict| verdicts.place(self::verdict(verdict)))
                .collect::<Vec<_>>()
        ),
    );
    put("errors", json!(cell.errors));
    put(
        "log",
        if cell.log_tail.is_empty() {
            Value::Null
        } else {
            json!(texts.place(json!(cell.log_tail)))
        },
    );
    put(
        "attempts",
        json!(
            cell.attempts
                .iter()
                .map(|attempt| json!({
                    "outcome": attempt.outcome.name(),
                    "reason": attempt.reason,
                    "log": texts.place(json!(attempt.log_tail)),
                }))
                .collect::<Vec<_>>()
        ),
    );
    if let Some(summary) = &cell.summary {
        put("requests", json!(summary.counts.scheduled));
        put(
            "failed",
            if summary.counts.errors() > 0 || cell.outcome == CellOutcome::Degraded {
                json!(summary.counts.errors())
            } else {
                Value::Null
            },
        );
        let latencies = [
            ("ttft", &summary.ttft),
            ("itl", &summary.itl),
            ("tpot", &summary.tpot),
            ("e2e", &summary.e2e),
        ];
        let shapes: Map<String, Value> = latencies
            .into_iter()
            .filter_map(|(name, latency)| Some((name.to_owned(), shape(latency.as_ref()?, bins)?)))
            .collect();
        put("shapes", Value::Object(shapes));
        let window = cell
            .repeats
            .last()
            .map_or(summary.window, |last| last.window);
        put(
            "window",
            json!(window.map(|window| [
                short(window.start_s),
                short(window.start_s + window.length_s)
            ])),
        );
        put(
            "tokens_per_chunk",
            json!(summary.tokens_per_chunk.map(significant)),
        );
    }
    put("timeline", timeline(&cell.timeline, points));
    if let Some(side) = &cell.server_side {
        let every = side.timeline.len().div_ceil(points).max(1);
        let gauges: Vec<Value> = side
            .timeline
            .iter()
            .step_by(every)
            .map(|point| json!([short(point.t_s), point.waiting, point.kv_usage.map(short)]))
            .collect();
        put("gauges", json!(gauges));
        put(
            "preemptions",
            json!(side.engine.as_ref().and_then(|engine| engine.preemptions)),
        );
    }
    Value::Object(row)
}

fn verdict(verdict: &Verdict) -> Value {
    let severity = match verdict.severity {
        Severity::Note => "note",
        Severity::Metric => "metric",
        Severity::Cell => "cell",
    };
    json!({
        "kind": verdict.kind.name(),
        "severity": severity,
        "touches": verdict.touches,
        "reason": verdict.reason,
        "hint": verdict.hint,
    })
}

/// A distribution in at most `bins` steps of equal ratio, with its percentiles.
fn shape(latency: &Latency, bins: usize) -> Option<Value> {
    let buckets = &latency.histogram.buckets;
    let low = (buckets.first()?.0.max(1)) as f64;
    let high = (buckets.last()?.0.max(1)) as f64;
    let bins = if high > low { bins } else { 1 };
    let mut counts = vec![0u64; bins];
    for (value, count) in buckets {
        let part = if high > low {
            ((*value).max(1) as f64 / low).ln() / (high / low).ln()
        } else {
            0.0
        };
        counts[((part * bins as f64) as usize).min(bins - 1)] += count;
    }
    let percentiles = [latency.p50_ms, latency.p95_ms, latency.p99_ms].map(significant);
    Some(json!({
        "n": latency.n,
        "p": percentiles,
        "from": low / 1e3,
        "to": high / 1e3,
        "counts": counts,
    }))
}

/// Time, requests in flight and chunks per second in at most `most` points: means of neighbours.
fn timeline(points: &[Point], most: usize) -> Value {
    if points.len() < 2 {
        return Value::Null;
    }
    let every = points.len().div_ceil(most).max(1);
    let means: Vec<[f64; 3]> = points
        .chunks(every)
        .map(|part| {
            let mean = |get: fn(&Point) -> f64| {
                short(part.iter().map(get).sum::<f64>() / part.len() as f64)
            };
            [
                mean(|point| point.t_s),
                mean(|point| point.in_flight),
                mean(|point| point.chunks_s),
            ]
        })
        .collect();
    json!(means)
}

/// Six significant digits: more would say nothing and fill the page.
fn significant(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powf(5.0 - value.abs().log10().floor());
    (value * scale).round() / scale
}

/// Three digits after the point.
fn short(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
