//! Reads results of `vllm bench serve` and `vllm bench sweep serve` (tested with vLLM 0.32).
//!
//! TPOT is defined as in this tool, (E2E − TTFT) / (n − 1); ITL is the gap between events; E2E ends at the
//! last event with `choices`. In chat, TTFT is the time of the first event, which has only the role.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde_json::Value;

use super::{
    json_field::JsonField,
    measurement::{Measurement, plain},
};
use crate::{diagnostic::Finding, manifest::LatencyKind};

/// Keys of a result that are not parameters of a sweep.
const KNOWN: &str = "date endpoint_type backend label model_id tokenizer_id num_prompts request_rate burstiness \
    max_concurrency duration completed failed total_input_tokens total_output_tokens request_throughput \
    request_goodput output_throughput total_token_throughput input_lens output_lens ttfts itls latencies \
    start_times queue_times generated_texts errors max_output_tokens_per_s max_concurrent_requests rtfx \
    run_number ramp_up_strategy ramp_up_start_rps ramp_up_end_rps speculative_decoding \
    spec_decode_acceptance_rate num_input_tokens";
/// Prefixes of the benchmark's parameters. All other parameters of a sweep are the server's.
const BENCHMARK_PARAMETERS: &str = "random_ sonnet_ sharegpt_ prefix_repetition_ custom_ hf_ dataset_ input_len output_len num_ seed \
    temperature top_ ignore_eos";
const METRICS: [(&str, LatencyKind); 4] = [
    ("ttft", LatencyKind::Ttft),
    ("tpot", LatencyKind::Tpot),
    ("itl", LatencyKind::Itl),
    ("e2el", LatencyKind::E2e),
];
const MS: &str = "a number of milliseconds";

/// Whether a JSON object is such a result.
pub(super) fn is(value: &Value) -> bool {
    value.get("output_throughput").is_some() && value.get("completed").is_some()
}

pub(super) fn row(result: &JsonField<'_>) -> Result<Measurement, Finding> {
    let completed = result
        .get("completed")
        .ok_or_else(|| result.missing("completed", "a number of requests"))?
        .count("a number of requests")?;
    let mut row = Measurement {
        completed: Some(completed),
        failed: result.count_at(&["failed"], "a number of requests")?,
        seconds: result.number_at(&["duration"], "a number of seconds")?,
        input_tokens: result.count_at(&["total_input_tokens"], "a number of tokens")?,
        output_tokens: result.count_at(&["total_output_tokens"], "a number of tokens")?,
        model: result.get("model_id").and_then(|model| model.text().map(str::to_owned)),
        at: result.get("date").and_then(|date| instant(date.text()?)),
        ..Measurement::default()
    };
    load(result, &mut row)?;
    parameters(result, &mut row);
    samples(result, &mut row)?;
    for (theirs, metric) in METRICS {
        if row.samples.contains_key(&metric) {
            continue;
        }
        for rank in ["mean", "median", "p50", "p90", "p95", "p99", "p99.9"] {
            let value = result.number_at(&[&format!("{rank}_{theirs}_ms")], MS)?;
            row.report_rank(rank, metric, value);
        }
    }
    Ok(row)
}

fn load(result: &JsonField<'_>, row: &mut Measurement) -> Result<(), Finding> {
    let most = result.number_at(&["max_concurrency"], "a number of requests")?;
    // No limit is written as `inf`.
    let rate = match result.get("request_rate") {
        Some(rate) if rate.text() == Some("inf") => None,
        Some(rate) => Some(rate.number("requests per second, or \"inf\"")?),
        None => None,
    };
    row.set_load("rate", rate);
    // With a rate the load is an open loop, and the concurrency only limits it.
    row.set_load(if rate.is_some() { "max_in_flight" } else { "concurrency" }, most);
    if rate.is_some() {
        let burstiness = result.number_at(&["burstiness"], "a number")?;
        row.set_load("burstiness", burstiness.filter(|shape| *shape != 1.0));
    }
    Ok(())
}

/// Takes the parameters of a sweep: every key that is not a result's own.
fn parameters(result: &JsonField<'_>, row: &mut Measurement) {
    let keys = result.value().as_object().into_iter().flatten();
    for (key, value) in keys {
        let own = KNOWN.split(' ').any(|known| known == key)
            || METRICS.iter().any(|(name, _)| key.ends_with(&format!("_{name}_ms")));
        if own || value.is_null() || value.is_array() || value.is_object() {
            continue;
        }
        let value = value.as_f64().map_or_else(|| value.clone(), plain);
        let is_benchmarks = BENCHMARK_PARAMETERS.split(' ').any(|start| key.starts_with(start));
        match key.as_str() {
            "random_output_len" | "output_len" => row.load.insert("max_tokens".into(), value),
            "random_input_len" | "input_len" => row.load.insert("synthetic.input_tokens".into(), value),
            _ if is_benchmarks => row.load.insert(key.clone(), value),
            _ => row.server.insert(key.replace('_', "-"), value),
        };
    }
}

/// Takes the samples of the completed requests from a detailed result.
fn samples(result: &JsonField<'_>, row: &mut Measurement) -> Result<(), Finding> {
    let list = |key: &str| -> Result<Option<Vec<f64>>, Finding> {
        let Some(field) = result.get(key) else {
            return Ok(None);
        };
        let each = field.items();
        let numbers: Result<Vec<f64>, Finding> =
            each.iter().map(|item| item.number("a number of seconds")).collect();
        numbers.map(Some)
    };
    let completed = row.completed.map(|completed| completed as usize);
    // The lists include failed requests, which only the list of errors identifies.
    let failed: Vec<bool> = match result.get("errors") {
        Some(errors) => {
            errors.items().iter().map(|error| error.text().is_some_and(|text| !text.is_empty())).collect()
        }
        None => Vec::new(),
    };
    let of_completed = |values: Vec<f64>| -> Option<Vec<f64>> {
        let kept: Vec<f64> = match failed.len() == values.len() {
            true => values
                .into_iter()
                .zip(&failed)
                .filter(|(_, failed)| !**failed)
                .map(|(value, _)| value)
                .collect(),
            false => values,
        };
        (Some(kept.len()) == completed).then_some(kept)
    };
    let ms = |seconds: &[f64]| -> Vec<f64> { seconds.iter().map(|s| s * 1e3).collect() };
    let ttft = list("ttfts")?.and_then(of_completed);
    let e2e = list("latencies")?.and_then(of_completed);
    let tokens = list("output_lens")?.and_then(of_completed);
    if let (Some(ttft), Some(e2e), Some(tokens)) = (&ttft, &e2e, &tokens) {
        let tpot = ttft
            .iter()
            .zip(e2e)
            .zip(tokens)
            .filter(|(_, n)| **n >= 2.0)
            .map(|((ttft, e2e), n)| (e2e - ttft) / (n - 1.0) * 1e3);
        row.samples.insert(LatencyKind::Tpot, tpot.collect());
    }
    if let Some(ttft) = ttft {
        row.samples.insert(LatencyKind::Ttft, ms(&ttft));
    }
    if let Some(e2e) = e2e {
        row.samples.insert(LatencyKind::E2e, ms(&e2e));
    }
    if let Some(lists) = result.get("itls") {
        let mut gaps = Vec::new();
        for item in lists.items().iter().flat_map(JsonField::items) {
            gaps.push(item.number("a number of seconds")? * 1e3);
        }
        row.samples.insert(LatencyKind::Itl, gaps);
    }
    row.samples.retain(|_, samples| !samples.is_empty());
    Ok(())
}

/// Parses `20261124-021617` as UTC; the file does not state its time zone.
fn instant(text: &str) -> Option<Timestamp> {
    let at = DateTime::strptime("%Y%m%d-%H%M%S", text).ok()?;
    TimeZone::UTC.to_timestamp(at).ok()
}
