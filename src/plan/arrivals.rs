//! What is wrong with when a workload's requests start.

use serde_json::{Map, Value};

use super::Stop;
use crate::{
    diagnostic::Finding,
    manifest::{Arrivals, Manifest, Source, TraceLine, Workload},
};

/// The keys that belong to some arrival models only, with those models.
fn keys(spec: &Workload) -> [(&'static str, bool); 10] {
    let arrivals = spec.arrivals;
    let closed = !arrivals.is_open();
    [
        ("concurrency", closed),
        ("requests_per_stream", closed),
        // In an open loop a person thinks between the turns of a conversation.
        ("think_time", closed || spec.has_turns()),
        ("start", closed),
        ("rate", arrivals.has_rate()),
        ("burstiness", arrivals == Arrivals::Gamma),
        ("ramp_to", arrivals == Arrivals::Ramp),
        ("burst", arrivals == Arrivals::Bursts),
        ("trace", arrivals == Arrivals::Trace),
        ("max_in_flight", !closed),
    ]
}

/// The keys that a model cannot do without, each with an example.
fn needed(arrivals: Arrivals) -> Vec<(&'static str, &'static str)> {
    let mut keys = Vec::new();
    if arrivals.has_rate() {
        keys.push(("rate", "rate = 10, requests per second"));
    }
    match arrivals {
        Arrivals::Gamma => keys.push(("burstiness", "burstiness = 0.5; 1 is Poisson")),
        Arrivals::Ramp => keys.push(("ramp_to", "ramp_to = 50, the rate at the end")),
        Arrivals::Bursts => keys.push(("burst", "burst = 8, requests at one instant")),
        Arrivals::Trace => keys.push(("trace", "trace = { file = \"trace.jsonl\" }")),
        _ => {}
    }
    keys
}

/// What a key of another model is for.
fn belongs(key: &str) -> &'static str {
    match key {
        "concurrency" | "requests_per_stream" | "think_time" | "start" => {
            "it belongs to a closed loop: take it away, or take `arrivals` away"
        }
        "rate" => {
            "an open loop has a rate: arrivals = \"poisson\", \"constant\", \"gamma\", \"ramp\" or \"bursts\""
        }
        "burstiness" => "it belongs to arrivals = \"gamma\"",
        "ramp_to" => "it belongs to arrivals = \"ramp\"",
        "burst" => "it belongs to arrivals = \"bursts\"",
        "trace" => "it belongs to arrivals = \"trace\"",
        _ => "it belongs to an open loop; in a closed one `concurrency` is the most in flight",
    }
}

/// What is wrong with the arrivals of a workload, of which `given` holds the keys that were written.
pub(super) fn arrivals(
    manifest: &Manifest,
    name: &str,
    spec: &Workload,
    stop: Stop,
    given: Option<&Map<String, Value>>,
    found: &mut Vec<Finding>,
) {
    let arrivals = spec.arrivals;
    let model = arrivals.name();
    let at = |key: &str| manifest.place(&["workload", name, key]);
    let is_given = |key: &str| given.is_some_and(|given| given.contains_key(key));
    for (key, belongs_here) in keys(spec) {
        if is_given(key) && !belongs_here {
            found.push(
                Finding::error(format!("workload `{name}`: arrivals = \"{model}\" has no `{key}`"))
                    .at(&at(key), "changes nothing here")
                    .help(belongs(key)),
            );
        }
    }
    for (key, example) in needed(arrivals) {
        if !is_given(key) {
            found.push(
                Finding::error(format!("workload `{name}`: arrivals = \"{model}\" needs `{key}`"))
                    .at(&at("arrivals"), format!("no `{key}`"))
                    .help(example),
            );
        }
    }
    let positive = [
        ("rate", spec.rate),
        ("burstiness", spec.burstiness),
        ("ramp_to", spec.ramp_to),
        ("trace", spec.trace.as_ref().map(|trace| trace.speed)),
    ];
    for (key, value) in positive {
        if value.is_some_and(|value| value.is_nan() || value <= 0.0) {
            let key = if key == "trace" { "trace.speed" } else { key };
            found.push(
                Finding::error(format!("workload `{name}`: `{key}` is not above zero"))
                    .at(&at(key.split('.').next().unwrap_or(key)), "nothing would ever start"),
            );
        }
    }
    if arrivals == Arrivals::AtOnce {
        if let Stop::Duration(_) = stop {
            found.push(
                Finding::error(format!(
                    "workload `{name}`: everything at once ends with a number of requests, not with a duration"
                ))
                .at(&at("duration"), "requests without end")
                .help("requests = 1000, or passes = 1"),
            );
        }
        if spec.warmup > 0 {
            found.push(
                Finding::error(format!("workload `{name}`: nothing comes before everything at once"))
                    .at(&at("warmup"), "would be sent at the same instant")
                    .help("take it away, or measure a closed loop of many streams"),
            );
        }
    }
    if arrivals == Arrivals::Trace {
        trace(manifest, name, spec, stop, found);
    }
}

fn trace(manifest: &Manifest, name: &str, spec: &Workload, stop: Stop, found: &mut Vec<Finding>) {
    let at = |key: &str| manifest.place(&["workload", name, key]);
    let Some(trace) = &spec.trace else {
        return;
    };
    let lines = match manifest.inputs.trace(trace) {
        Ok(lines) => lines,
        Err(reason) => {
            found.push(
                Finding::error(format!("workload `{name}`: {reason}"))
                    .at(&at("trace"), "this trace")
                    .help("one JSON object a line: {\"timestamp\": 0, \"input_length\": 512, \"output_length\": 64}, in milliseconds; or CSV with Timestamp (s), Request tokens, Response tokens"),
            );
            return;
        }
    };
    let is_whole = |line: &TraceLine| line.input_tokens.is_some() && line.output_tokens.is_some();
    if matches!(spec.source(), Ok(Source::Trace(_))) && !lines.iter().all(is_whole) {
        found.push(
            Finding::error(format!(
                "workload `{name}`: the trace does not say how long every prompt and answer is"
            ))
            .at(&at("trace"), "and nothing else says what is asked")
            .help("give it input_length and output_length in every line, or the workload prompts and max_tokens"),
        );
    }
    let lines = lines.len() as u64;
    let wanted = match stop {
        Stop::Requests(requests) => spec.warmup.saturating_add(requests),
        Stop::Duration(_) => spec.warmup.saturating_add(1),
    };
    if wanted > lines {
        found.push(
            Finding::error(format!(
                "workload `{name}`: the trace has {lines} arrivals, and {wanted} are asked for, warm-up included"
            ))
            .at(&at("trace"), "too short")
            .help("without a stop the whole trace is replayed"),
        );
    }
}
