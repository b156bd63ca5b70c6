//! Reads reports of GuideLLM (`benchmarks.json`, tested with 0.3.1 and 0.5.0): one measurement per benchmark.
//!
//! Its inter-token latency is one number per request, (E2E − TTFT) / (n − 1), which is this tool's TPOT. Its
//! own TPOT includes the time to the first token and is ignored. Requests that the end of the benchmark cut
//! off are left out.

use jiff::Timestamp;
use serde_json::Value;

use super::{json_field::JsonField, measurement::Measurement};
use crate::{diagnostic::Finding, manifest::LatencyKind};

/// GuideLLM's name of a metric, this tool's, and the factor to milliseconds.
const METRICS: [(&str, LatencyKind, f64); 3] = [
    ("time_to_first_token_ms", LatencyKind::Ttft, 1.0),
    ("inter_token_latency_ms", LatencyKind::Tpot, 1.0),
    ("request_latency", LatencyKind::E2e, 1e3),
];

/// Whether a JSON document is such a report.
pub(super) fn is(value: &Value) -> bool {
    let first = value.get("benchmarks").and_then(|list| list.get(0));
    first.is_some_and(|first| first.get("metrics").is_some())
}

/// The tool, with its version if the report states it.
pub(super) fn client(report: &JsonField<'_>) -> String {
    let version = report.at(&["metadata", "guidellm_version"]).and_then(|version| version.text());
    match version {
        Some(version) => format!("GuideLLM {version}"),
        None => "GuideLLM".into(),
    }
}

pub(super) fn rows(report: &JsonField<'_>) -> Result<Vec<Measurement>, Finding> {
    let benchmarks =
        report.get("benchmarks").ok_or_else(|| report.missing("benchmarks", "a list of benchmarks"))?;
    benchmarks.items().iter().map(|benchmark| row(report, benchmark)).collect()
}

fn row(report: &JsonField<'_>, benchmark: &JsonField<'_>) -> Result<Measurement, Finding> {
    let metrics =
        benchmark.get("metrics").ok_or_else(|| benchmark.missing("metrics", "an object of metrics"))?;
    let totals = benchmark
        .get("request_totals")
        .or_else(|| metrics.get("request_totals"))
        .or_else(|| benchmark.at(&["run_stats", "requests_made"]));
    let count = |key: &str| match &totals {
        Some(totals) => totals.count_at(&[key], "a number of requests"),
        None => Ok(None),
    };
    let number = |key: &str| benchmark.number_at(&[key], "a number of seconds");
    let (start, end) = (number("start_time")?, number("end_time")?);
    let tokens = |key: &str| -> Result<Option<u64>, Finding> {
        let sum = metrics.number_at(&[key, "successful", "total_sum"], "a number of tokens")?;
        // A sum of floats may be 127.99999999999997 for 128 tokens.
        Ok(sum.map(|sum| sum.round() as u64))
    };
    let text = |field: Option<JsonField<'_>>| field.and_then(|f| f.text().map(str::to_owned));
    let mut row = Measurement {
        completed: count("successful")?,
        failed: count("errored")?,
        seconds: number("duration")?.or(end.zip(start).map(|(end, start)| end - start)),
        input_tokens: tokens("prompt_token_count")?,
        output_tokens: tokens("output_token_count")?,
        model: text(benchmark.at(&["config", "backend", "model"]))
            .or_else(|| text(benchmark.at(&["worker", "backend_model"])))
            .or_else(|| text(report.at(&["args", "model"]))),
        at: start.and_then(|start| Timestamp::from_millisecond((start * 1e3) as i64).ok()),
        ..Measurement::default()
    };
    load(report, benchmark, &mut row)?;
    for (theirs, metric, to_ms) in METRICS {
        if let Some(samples) = samples(benchmark, theirs, to_ms, row.completed)? {
            row.samples.insert(metric, samples);
            continue;
        }
        let Some(stats) = metrics.at(&[theirs, "successful"]) else {
            continue;
        };
        // A metric without a request has zeros.
        if stats.count_at(&["count"], "a number of requests")? == Some(0) {
            continue;
        }
        let expected = "a number";
        let ms = |value: Option<f64>| value.map(|value| value * to_ms);
        for rank in ["mean", "median"] {
            row.report_rank(rank, metric, ms(stats.number_at(&[rank], expected)?));
        }
        if let Some(ranks) = stats.get("percentiles") {
            for rank in ["p50", "p90", "p95", "p99"] {
                row.report_rank(rank, metric, ms(ranks.number_at(&[rank], expected)?));
            }
        }
    }
    Ok(row)
}

fn load(report: &JsonField<'_>, benchmark: &JsonField<'_>, row: &mut Measurement) -> Result<(), Finding> {
    let strategy = benchmark
        .at(&["config", "strategy"])
        .or_else(|| benchmark.at(&["args", "strategy"]))
        .ok_or_else(|| benchmark.missing("config.strategy", "how requests were started"))?;
    let kind = strategy.get("type_").and_then(|kind| kind.text()).ok_or_else(|| {
        strategy.missing("type_", "synchronous, concurrent, constant, poisson or throughput")
    })?;
    let most = strategy.number_at(&["max_concurrency"], "a number of requests")?;
    match kind {
        "synchronous" => row.set_load("concurrency", Some(1.0)),
        "concurrent" => {
            let streams = strategy.number_at(&["streams"], "a number of requests")?;
            row.set_load("concurrency", streams.or(most));
        }
        "throughput" => row.set_load("max_in_flight", most),
        _ => {
            row.set_load("rate", strategy.number_at(&["rate"], "requests per second")?);
            row.set_load("max_in_flight", most);
        }
    }
    let data = benchmark
        .at(&["request_loader", "data"])
        .or_else(|| benchmark.at(&["config", "requests", "data"]))
        .or_else(|| report.at(&["args", "data"]));
    let data = data.map(|data| data.value().to_string()).unwrap_or_default();
    row.set_load("max_tokens", length(&data, "output_tokens"));
    row.set_load("synthetic.input_tokens", length(&data, "prompt_tokens"));
    Ok(())
}

/// Finds a fixed length in the description of synthetic data: `prompt_tokens=128,output_tokens=128`, or the
/// same in JSON.
fn length(data: &str, key: &str) -> Option<f64> {
    if data.contains(&format!("{key}_stdev")) || data.contains(&format!("{key}_min")) {
        return None;
    }
    let (_, rest) = data.split_once(key)?;
    let digits: String = rest
        .trim_start_matches(|c: char| !c.is_ascii_digit())
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().ok()
}

/// The samples of a metric, if the report contains all completed requests instead of a selection.
fn samples(
    benchmark: &JsonField<'_>,
    key: &str,
    to_ms: f64,
    completed: Option<u64>,
) -> Result<Option<Vec<f64>>, Finding> {
    let Some(requests) = benchmark.at(&["requests", "successful"]) else {
        return Ok(None);
    };
    let requests = requests.items();
    if requests.is_empty() || Some(requests.len() as u64) != completed {
        return Ok(None);
    }
    let mut samples = Vec::new();
    for request in requests {
        samples.extend(request.number_at(&[key], "a number")?.map(|value| value * to_ms));
    }
    Ok((!samples.is_empty()).then_some(samples))
}
