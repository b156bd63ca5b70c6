//! The data of the page: every cell with its numbers, distributions, timeline, verdicts and log. Texts that
//! cells share are written once.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::{
    manifest::LatencyKind,
    measure::{CellOutcome, Latency, Metric, Point, Rate, Verdict},
    observe::GaugePoint,
    plan::Role,
    report::{
        finding::{PREDICTED, prediction, prediction_error},
        model::{Cell, Model, slo_text},
        number::signed,
        origin::badge,
    },
    store::PredictedCell,
};

/// The most cells with detailed distributions and timelines: the page must open in seconds.
const MANY: usize = 1000;

/// The metrics in the order of the columns of the table: rates first.
fn metrics() -> Vec<Metric> {
    let first = [Rate::Output, Rate::Requests, Rate::Goodput].map(Metric::Rate);
    let rest = Metric::COLUMNS.into_iter().filter(|metric| !first.contains(metric));
    first.into_iter().chain(rest).collect()
}

/// A list of distinct values.
#[derive(Default)]
struct Pool {
    places: HashMap<String, usize>,
    items: Vec<Value>,
}

impl Pool {
    /// Returns the index of a value, which is added if it is new.
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

/// Returns everything the script needs, as JSON. Cells are written one by one: as a single value, ten
/// thousand would take half a gigabyte of memory.
pub(super) fn of_run(model: &Model<'_>) -> String {
    let run = model.run;
    let is_large = run.cells.len() > MANY;
    let mut rows = Rows {
        model,
        axes: axes(model),
        metrics: metrics(),
        bins: if is_large { 20 } else { 48 },
        points: if is_large { 20 } else { 60 },
        texts: Pool::default(),
        verdicts: Pool::default(),
    };
    let mut cells = String::new();
    for cell in &model.cells {
        cells.push_str(if cells.is_empty() { "" } else { "," });
        cells.push_str(&rows.row(cell).to_string());
    }
    let known = |metric: &&Metric| model.cells.iter().any(|cell| cell.shown(**metric).is_some());
    let heading = |metric: &Metric| json!({ "key": metric.key(), "name": metric.label(), "unit": metric.unit().symbol() });
    let servers = (0..model.servers.len()).map(|at| server(model, at, &mut rows.texts));
    let servers: Map<String, Value> = servers.collect();
    let mut data = json!({
        "best": best(model),
        "source": model.machine(),
        "badge": badge(run),
        "run": run.run.name,
        "engine": run.run.engine,
        "measured": model.cells.iter().filter(|cell| cell.file.outcome.is_measured()).count(),
        "axes": rows.axes,
        "metrics": rows.metrics.iter().filter(known).map(heading).collect::<Vec<_>>(),
        "servers": servers,
        "texts": rows.texts.items,
        "verdicts": rows.verdicts.items,
    });
    if let Some(predictions) = &run.predictions {
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

/// The prediction of a cell: each number with its error, and the length of its answers.
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

/// The axes of the run, load first, and the load values that do not vary.
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

/// The state that the rows of all cells share.
struct Rows<'m, 'a> {
    model: &'m Model<'a>,
    axes: Vec<String>,
    metrics: Vec<Metric>,
    /// The most steps of a distribution, and the most points of a timeline.
    bins: usize,
    points: usize,
    texts: Pool,
    verdicts: Pool,
}

impl Rows<'_, '_> {
    /// One cell. Absent and empty values are left out.
    fn row(&mut self, own: &Cell<'_>) -> Value {
        let cell = own.file;
        let coordinate = |axis: &String| {
            cell.axes.get(axis).or_else(|| cell.load.get(axis)).filter(|value| !value.is_null())
        };
        let at: Map<String, Value> =
            self.axes.iter().filter_map(|axis| Some((axis.clone(), coordinate(axis)?.clone()))).collect();
        let numbers = || self.metrics.iter().filter_map(|metric| Some((metric, own.number(*metric)?)));
        let m: Map<String, Value> =
            numbers().map(|(metric, number)| (metric.key(), json!(significant(number.value)))).collect();
        let is_void = own.excluded().is_some();
        let unranked = numbers().filter(|(_, number)| !is_void && number.excluded.is_some());
        let unranked: Vec<String> = unranked.map(|(metric, _)| metric.key()).collect();
        let verdicts: Vec<usize> =
            cell.verdicts.iter().map(|verdict| self.verdicts.place(self::verdict(verdict))).collect();
        let searches = self.model.run.plan.searches.iter();
        let search = cell.search.as_ref().and_then(|id| searches.clone().find(|own| own.id == *id));
        let reason = cell.reason.as_ref().map(|reason| self.texts.place(json!(reason)));
        let log = (!cell.log_tail.is_empty()).then(|| self.texts.place(json!(cell.log_tail)));
        let attempts = cell.attempts.iter().map(|attempt| {
            json!({
                "outcome": attempt.outcome.name(),
                "reason": attempt.reason,
                "log": self.texts.place(json!(attempt.log_tail)),
            })
        });
        let attempts: Vec<Value> = attempts.collect();
        let origin = (self.model.is_mixed && own.has_numbers()).then(|| own.origin.word());
        let predicted = self.model.run.predictions.as_ref().and_then(|all| all.cells.get(own.id()));
        let summary = cell.summary.as_ref();
        let failed = summary.map(|summary| summary.counts.errors());
        let failed = failed.filter(|failed| *failed > 0 || cell.outcome == CellOutcome::Degraded);
        let shape =
            |kind: LatencyKind| Some((kind.name().to_owned(), shape(summary?.latency(kind)?, self.bins)?));
        let window = summary.and_then(|own| cell.repeats.last().map_or(own.window, |last| last.window));
        let side = cell.server_side.as_ref();
        let mut row = json!({
            "id": cell.id,
            "workload": cell.workload,
            "server": cell.server,
            "outcome": cell.outcome.name(),
            "reason": reason,
            "search": search.map(|search| &search.name),
            "ended_early": cell.ended_early,
            "set_aside": own.is_set_aside.then_some(true),
            "slo": slo_text(&cell.slo),
            "origin": origin,
            "at": at,
            "m": m,
            "unranked": unranked,
            "void": (cell.outcome.is_measured() && is_void).then_some(true),
            "verdicts": verdicts,
            "errors": cell.errors,
            "log": log,
            "attempts": attempts,
            "requests": summary.map(|summary| summary.counts.scheduled),
            "failed": failed,
            "shapes": LatencyKind::ALL.into_iter().filter_map(shape).collect::<Map<_, _>>(),
            "window": window.map(|own| [short(own.start_s), short(own.start_s + own.length_s)]),
            "tokens_per_chunk": summary.and_then(|summary| summary.tokens_per_chunk).map(significant),
            "timeline": timeline(&cell.timeline, self.points),
            "gauges": gauges(side.map_or(&[], |side| &side.timeline), self.points),
            "preemptions": side.and_then(|side| side.engine.as_ref()?.preemptions),
            "predicted": predicted.map(|predicted| self::predicted(own, predicted)),
        });
        if let Value::Object(row) = &mut row {
            row.retain(|_, value| match value {
                Value::Null => false,
                Value::Array(items) => !items.is_empty(),
                Value::Object(values) => !values.is_empty(),
                Value::String(text) => !text.is_empty(),
                Value::Bool(_) | Value::Number(_) => true,
            });
        }
        row
    }
}

/// Time, waiting requests and KV cache usage in at most about `most` points.
fn gauges(points: &[GaugePoint], most: usize) -> Vec<Value> {
    let every = points.len().div_ceil(most).max(1);
    let shown = points.iter().step_by(every);
    shown.map(|point| json!([short(point.t_s), point.waiting, point.kv_usage.map(short)])).collect()
}

fn verdict(verdict: &Verdict) -> Value {
    json!({
        "kind": verdict.kind.name(),
        "severity": verdict.severity,
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

/// Time, requests in flight and chunks per second in at most `most` points, each the mean of its neighbours.
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

/// Rounds to six significant digits.
fn significant(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powf(5.0 - value.abs().log10().floor());
    (value * scale).round() / scale
}

/// Rounds to three decimals.
fn short(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
