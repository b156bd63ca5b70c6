//! The data of the page: every cell with its numbers, distributions, timeline, verdicts and log. Texts that many cells share
//! are kept once.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::{
    measure::{CellOutcome, Latency, Metric, Point, Rate, Severity, Verdict},
    plan::Role,
    report::{
        finding::{PREDICTED, prediction, prediction_error},
        model::{Cell, Model},
        number::signed,
        origin::badge,
    },
    store::PredictedCell,
};

/// From this number of cells on, distributions and timelines are kept coarser: the page must open in seconds.
const MANY: usize = 1000;

/// The metrics in the order of the table's columns: rates first.
fn metrics() -> Vec<Metric> {
    let first = [Rate::Output, Rate::Requests, Rate::Goodput].map(Metric::Rate);
    let rest = Metric::COLUMNS.into_iter().filter(|metric| !first.contains(metric));
    first.into_iter().chain(rest).collect()
}

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
pub(super) fn of_run(model: &Model<'_>) -> String {
    let run = model.run;
    let bins = if run.cells.len() > MANY { 20 } else { 48 };
    let points = if run.cells.len() > MANY { 20 } else { 60 };
    let axes = axes(model);
    let predictions = run.predictions.as_ref();
    let metrics = metrics();
    let (mut texts, mut verdicts) = (Pool::default(), Pool::default());
    let mut cells = String::new();
    for cell in &model.cells {
        let mut row = self::cell(model, (&axes, &metrics), cell, (bins, points), &mut texts, &mut verdicts);
        if let Some(predicted) = predictions.and_then(|all| all.cells.get(cell.id())) {
            row["predicted"] = self::predicted(cell, predicted);
        }
        if !cells.is_empty() {
            cells.push(',');
        }
        cells.push_str(&row.to_string());
    }
    let known = |metric: &&Metric| model.cells.iter().any(|cell| cell.shown(**metric).is_some());
    let heading = |metric: &Metric| json!({ "key": metric.key(), "name": metric.label(), "unit": metric.unit().symbol() });
    let servers = model.servers.iter().enumerate().map(|(at, _)| server(model, at, &mut texts));
    let servers: Map<String, Value> = servers.collect();
    let mut data = json!({
        "best": best(model),
        "source": model.machine(),
        "badge": badge(run),
        "run": run.run.name,
        "engine": run.run.engine,
        "measured": model.cells.iter().filter(|cell| cell.file.outcome.is_measured()).count(),
        "axes": axes,
        "metrics": metrics.iter().filter(known).map(heading).collect::<Vec<_>>(),
        "servers": servers,
        "texts": texts.items,
        "verdicts": verdicts.items,
    });
    if let Some(predictions) = predictions {
        data["prediction"] =
            json!({ "hardware": predictions.basis.hardware, "validation": predictions.basis.validation });
    }
    let rest = data.to_string();
    let rest = rest.strip_prefix('{').unwrap_or(&rest);
    format!("{{\"cells\":[{cells}],{rest}")
}

/// The recommended cell of each workload.
fn best(model: &Model<'_>) -> Vec<Value> {
    let of = |workload: usize| {
        let block = model.best(workload)?;
        let cell = &model.cells[model.ranking(block).first()?];
        Some(json!({ "workload": model.workloads[workload].name, "cell": cell.id() }))
    };
    (0..model.workloads.len()).filter_map(of).collect()
}

/// What was predicted of a cell: each number with its error, and the length of its answers.
fn predicted(cell: &Cell<'_>, predicted: &PredictedCell) -> Value {
    let numbers = PREDICTED.into_iter().filter_map(|metric| {
        let off = prediction_error(cell, predicted, metric).map(|error| signed(Some(error)));
        Some((metric.key(), json!([significant(prediction(predicted, metric)?), off])))
    });
    json!({
        "outcome": predicted.outcome.name(),
        "reason": predicted.reason,
        "answers": predicted.output_tokens,
        "answers_from": predicted.answers_from,
        "m": numbers.collect::<Map<String, Value>>(),
    })
}

/// The axes of the run, load first, and what every cell has where nothing varies.
fn axes(model: &Model<'_>) -> Vec<String> {
    let load = model.axes.iter().filter(|axis| axis.role == Role::Load);
    let server = model.axes.iter().filter(|axis| axis.role == Role::Server);
    let mut axes: Vec<String> = load.chain(server).map(|axis| axis.name.clone()).collect();
    for always in ["concurrency", "rate", "max_tokens"] {
        let has = |cell: &Cell<'_>| cell.file.load.get(always).is_some_and(|value| !value.is_null());
        if model.cells.iter().any(has) && !axes.iter().any(|axis| axis == always) {
            axes.push(always.to_owned());
        }
    }
    axes
}

fn server(model: &Model<'_>, at: usize, texts: &mut Pool) -> (String, Value) {
    let server = &model.servers[at];
    let stored = server.file;
    let value = json!({
        "label": model.server_label(Some(at)),
        "model": server.group.server.model,
        "argv": stored.map(|server| &server.argv),
        "outcome": stored.map(|server| server.outcome.to_string()),
        "reason": stored.and_then(|server| server.reason.as_ref()),
        "kv_cache_tokens": stored.and_then(|server| server.facts.kv_cache_tokens),
        "startup_s": stored.and_then(|server| server.facts.startup_s),
        "log": stored.filter(|server| !server.log_tail.is_empty()).map(|server| texts.place(json!(server.log_tail))),
    });
    (server.group.id.clone(), value)
}

fn cell(
    model: &Model<'_>,
    (axes, metrics): (&[String], &[Metric]),
    own: &Cell<'_>,
    (bins, points): (usize, usize),
    texts: &mut Pool,
    verdicts: &mut Pool,
) -> Value {
    let cell = own.file;
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
    put("reason", cell.reason.as_ref().map_or(Value::Null, |reason| json!(texts.place(json!(reason)))));
    let slo: Vec<String> = cell.slo.0.iter().map(ToString::to_string).collect();
    put("slo", json!(slo.join(" and ")));
    let word = (model.is_mixed && own.has_numbers()).then(|| own.origin.word());
    put("origin", json!(word));
    let coordinate =
        |axis: &String| cell.axes.get(axis).or_else(|| cell.load.get(axis)).filter(|value| !value.is_null());
    let places: Map<String, Value> =
        axes.iter().filter_map(|axis| Some((axis.clone(), coordinate(axis)?.clone()))).collect();
    put("at", Value::Object(places));
    let mut numbers = Map::new();
    let mut unranked = Vec::new();
    for metric in metrics {
        let Some(number) = own.number(*metric) else { continue };
        let key = metric.key();
        if own.excluded().is_none() && number.excluded.is_some() {
            unranked.push(key.clone());
        }
        numbers.insert(key, json!(significant(number.value)));
    }
    put("m", Value::Object(numbers));
    put("unranked", json!(unranked));
    if cell.outcome.is_measured() && own.excluded().is_some() {
        put("void", json!(true));
    }
    put(
        "verdicts",
        json!(cell.verdicts.iter().map(|verdict| verdicts.place(self::verdict(verdict))).collect::<Vec<_>>()),
    );
    put("errors", json!(cell.errors));
    put("log", if cell.log_tail.is_empty() { Value::Null } else { json!(texts.place(json!(cell.log_tail))) });
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
        let latencies =
            [("ttft", &summary.ttft), ("itl", &summary.itl), ("tpot", &summary.tpot), ("e2e", &summary.e2e)];
        let shapes: Map<String, Value> = latencies
            .into_iter()
            .filter_map(|(name, latency)| Some((name.to_owned(), shape(latency.as_ref()?, bins)?)))
            .collect();
        put("shapes", Value::Object(shapes));
        let window = cell.repeats.last().map_or(summary.window, |last| last.window);
        put(
            "window",
            json!(window.map(|window| [short(window.start_s), short(window.start_s + window.length_s)])),
        );
        put("tokens_per_chunk", json!(summary.tokens_per_chunk.map(significant)));
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
        put("preemptions", json!(side.engine.as_ref().and_then(|engine| engine.preemptions)));
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
        let part = if high > low { ((*value).max(1) as f64 / low).ln() / (high / low).ln() } else { 0.0 };
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
            let mean = |get: fn(&Point) -> f64| short(part.iter().map(get).sum::<f64>() / part.len() as f64);
            [mean(|point| point.t_s), mean(|point| point.in_flight), mean(|point| point.chunks_s)]
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
