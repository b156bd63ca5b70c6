//! Reads summaries of AIPerf (`profile_export_aiperf.json`, tested with 0.10.0 and schema 1.3): one
//! measurement per file.
//!
//! Its inter-token latency is one number per request, (E2E − TTFT) / (n − 1), which is this tool's TPOT; its
//! inter-chunk latency is this tool's ITL.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde_json::Value;

use super::{json_field::JsonField, measurement::Measurement};
use crate::{
    diagnostic::Finding,
    manifest::LatencyKind,
    measure::{Metric, Rate},
};

const METRICS: [(&str, LatencyKind); 4] = [
    ("time_to_first_token", LatencyKind::Ttft),
    ("inter_token_latency", LatencyKind::Tpot),
    ("inter_chunk_latency", LatencyKind::Itl),
    ("request_latency", LatencyKind::E2e),
];

const RATES: [(&str, Rate, &str); 3] = [
    ("output_token_throughput", Rate::Output, "tokens per second"),
    ("total_token_throughput", Rate::Total, "tokens per second"),
    ("request_throughput", Rate::Requests, "requests per second"),
];

/// Whether a JSON document is such a summary.
pub(super) fn is(value: &Value) -> bool {
    let root = value.get("records").unwrap_or(value);
    value.get("input_config").is_some()
        && root.get("request_latency").is_some_and(|latency| latency.get("unit").is_some())
}

/// The tool, with its version if the summary states it.
pub(super) fn client(summary: &JsonField<'_>) -> String {
    match summary.get("aiperf_version").and_then(|version| version.text()) {
        Some(version) => format!("AIPerf {version}"),
        None => "AIPerf".into(),
    }
}

pub(super) fn row(summary: &JsonField<'_>) -> Result<Measurement, Finding> {
    // Older versions put the metrics one level down.
    let metrics = summary.get("records").unwrap_or_else(|| summary.clone());
    let count = |key: &str| metrics.count_at(&[key, "avg"], "a whole number");
    let at = summary.get("start_time").and_then(|at| at.text());
    let mut row = Measurement {
        completed: count("request_count")?,
        failed: count("error_request_count")?,
        seconds: match metrics.get("benchmark_duration") {
            Some(duration) => {
                let seconds = duration.number_at(&["avg"], "a number of seconds")?;
                seconds.map(|seconds| seconds * to_ms(&duration).unwrap_or(1e3) / 1e3)
            }
            None => None,
        },
        input_tokens: count("total_isl")?,
        output_tokens: count("total_output_tokens")?.or(count("total_osl")?),
        model: model(summary),
        at: at.and_then(instant),
        ..Measurement::default()
    };
    load(summary, &mut row)?;
    for (theirs, metric) in METRICS {
        let Some(stats) = metrics.get(theirs) else {
            continue;
        };
        let factor = to_ms(&stats).ok_or_else(|| stats.wrong("a metric in s, ms, us or ns"))?;
        for rank in ["avg", "p50", "p90", "p95", "p99"] {
            let value = stats.number_at(&[rank], "a number")?;
            row.report_rank(rank, metric, value.map(|value| value * factor));
        }
    }
    for (theirs, rate, expected) in RATES {
        row.report(Metric::Rate(rate), metrics.number_at(&[theirs, "avg"], expected)?);
    }
    let user = metrics.number_at(&["output_token_throughput_per_user", "p50"], "tokens per second")?;
    row.report(Metric::Rate(Rate::User), user);
    Ok(row)
}

fn to_ms(stats: &JsonField<'_>) -> Option<f64> {
    match stats.get("unit")?.text()? {
        "s" | "sec" | "seconds" => Some(1e3),
        "ms" => Some(1.0),
        "us" | "µs" => Some(1e-3),
        "ns" => Some(1e-6),
        _ => None,
    }
}

fn model(summary: &JsonField<'_>) -> Option<String> {
    let config = summary.get("input_config")?;
    let newer = config.at(&["models", "items"]);
    let older = config.at(&["endpoint", "model_names"]);
    let first = newer.or(older)?.items().into_iter().next()?;
    let name = first.get("name").unwrap_or(first);
    name.text().map(str::to_owned)
}

/// Takes the load from the measured phase, or from the load generator in older versions.
fn load(summary: &JsonField<'_>, row: &mut Measurement) -> Result<(), Finding> {
    let config = summary.get("input_config");
    let phases = config.as_ref().and_then(|config| config.get("phases"));
    let measured = phases.map(|phases| phases.items()).and_then(|phases| {
        phases.into_iter().rev().find(|phase| {
            phase.get("exclude_from_results").is_none_or(|excluded| excluded.value() != &Value::Bool(true))
        })
    });
    let Some(source) = measured.or_else(|| config.as_ref()?.get("loadgen")) else {
        return Ok(());
    };
    let rate = match source.number_at(&["request_rate"], "requests per second")? {
        Some(rate) => Some(rate),
        None => source.number_at(&["rate"], "requests per second")?,
    };
    let most = source.number_at(&["concurrency"], "a number of requests")?;
    row.set_load("rate", rate);
    row.set_load(if rate.is_some() { "max_in_flight" } else { "concurrency" }, most);
    let Some(config) = config else { return Ok(()) };
    let mean = |kind: &str| config.number_at(&["input", "prompt", kind, "mean"], "a number of tokens");
    // Only synthetic prompts have a configured length.
    row.set_load("max_tokens", mean("output_tokens")?);
    row.set_load("synthetic.input_tokens", mean("input_tokens")?);
    Ok(())
}

/// Parses `2026-07-03T04:23:09.561350`, as UTC if it has no time zone.
fn instant(text: &str) -> Option<Timestamp> {
    text.parse::<Timestamp>().ok().or_else(|| {
        let at: DateTime = text.parse().ok()?;
        TimeZone::UTC.to_timestamp(at).ok()
    })
}
