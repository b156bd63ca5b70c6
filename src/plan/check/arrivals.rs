//! Rules for the arrival model of a workload.

use serde_json::{Map, Value};

use super::WorkloadCheck;
use crate::{
    diagnostic::Finding,
    manifest::{Arrivals, Source, TraceLine, Workload},
    plan::Stop,
};

/// Keys that only some arrival models use, with whether this workload's model does.
fn keys(spec: &Workload) -> [(&'static str, bool); 10] {
    let arrivals = spec.arrivals;
    let closed = !arrivals.is_open();
    [
        ("concurrency", closed),
        ("requests_per_stream", closed),
        // In an open loop it is the pause between the turns of a conversation.
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

/// Keys that an arrival model requires, each with an example.
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

/// The help for a key that belongs to other models.
fn used_by(key: &str) -> &'static str {
    match key {
        "concurrency" | "requests_per_stream" | "think_time" | "start" => {
            "only a closed loop uses it: remove it, or remove `arrivals`"
        }
        "rate" => {
            "only an open loop uses it: arrivals = \"poisson\", \"constant\", \"gamma\", \"ramp\" or \"bursts\""
        }
        "burstiness" => "only arrivals = \"gamma\" uses it",
        "ramp_to" => "only arrivals = \"ramp\" uses it",
        "burst" => "only arrivals = \"bursts\" uses it",
        "trace" => "only arrivals = \"trace\" uses it",
        _ => "only an open loop uses it; in a closed loop, `concurrency` limits the requests in flight",
    }
}

impl WorkloadCheck<'_> {
    /// Checks the arrivals. `written` holds the keys of the workload's table.
    pub(in crate::plan) fn arrivals(&mut self, stop: Stop, written: Option<&Map<String, Value>>) {
        let (name, spec) = (self.name, self.spec);
        let arrivals = spec.arrivals;
        let is_set = |key: &str| written.is_some_and(|written| written.contains_key(key));
        for (key, is_used) in keys(spec) {
            if is_set(key) && !is_used {
                self.found.push(
                    Finding::error(format!(
                        "workload `{name}`: arrivals = \"{arrivals}\" does not use `{key}`"
                    ))
                    .at(&self.at(&[key]), "has no effect")
                    .help(used_by(key)),
                );
            }
        }
        for (key, example) in needed(arrivals) {
            if !is_set(key) {
                self.found.push(
                    Finding::error(format!("workload `{name}`: arrivals = \"{arrivals}\" needs `{key}`"))
                        .at(&self.at(&["arrivals"]), format!("no `{key}`"))
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
                let shown = if key == "trace" { "trace.speed" } else { key };
                self.found.push(
                    Finding::error(format!("workload `{name}`: `{shown}` must be above 0"))
                        .at(&self.at(&[key]), "no request would ever start"),
                );
            }
        }
        if arrivals == Arrivals::AtOnce {
            if let Stop::Duration(_) = stop {
                self.found.push(
                    Finding::error(format!(
                        "workload `{name}`: arrivals = \"at-once\" needs a number of requests, not a duration"
                    ))
                    .at(&self.at(&["duration"]), "no number of requests")
                    .help("requests = 1000, or passes = 1"),
                );
            }
            if spec.warmup > 0 {
                self.found.push(
                    Finding::error(format!(
                        "workload `{name}`: arrivals = \"at-once\" cannot have a warm-up"
                    ))
                    .at(&self.at(&["warmup"]), "would be sent together with the measured requests")
                    .help("remove it, or use a closed loop of many streams"),
                );
            }
        }
        if arrivals == Arrivals::Trace {
            self.trace(stop);
        }
    }

    fn trace(&mut self, stop: Stop) {
        let (name, spec) = (self.name, self.spec);
        let Some(trace) = &spec.trace else {
            return;
        };
        let lines = match self.manifest.inputs.trace(trace) {
            Ok(lines) => lines,
            Err(error) => {
                self.found.push(
                Finding::error(format!("workload `{name}`: {error}"))
                    .at(&self.at(&["trace"]), "this trace")
                    .help("one JSON object per line: {\"timestamp\": 0, \"input_length\": 512, \"output_length\": 64}, in milliseconds; or CSV with Timestamp (s), Request tokens, Response tokens"),
            );
                return;
            }
        };
        let is_whole = |line: &TraceLine| line.input_tokens.is_some() && line.output_tokens.is_some();
        if matches!(spec.source(), Ok(Source::Trace(_))) && !lines.iter().all(is_whole) {
            self.found.push(
            Finding::error(format!(
                "workload `{name}`: the trace lacks the length of some prompt or answer"
            ))
            .at(&self.at(&["trace"]), "and the workload has no other prompts")
            .help("add input_length and output_length to every line, or prompts and max_tokens to the workload"),
        );
        }
        let lines = lines.len() as u64;
        let wanted = match stop {
            Stop::Requests(requests) => spec.warmup.saturating_add(requests),
            Stop::Duration(_) => spec.warmup.saturating_add(1),
        };
        if wanted > lines {
            self.found.push(
            Finding::error(format!(
                "workload `{name}`: the trace has {lines} arrivals, but {wanted} are needed, warm-up included"
            ))
            .at(&self.at(&["trace"]), "too short")
            .help("without `requests` or `duration`, the whole trace is replayed"),
        );
        }
    }
}
