//! Rules for a workload with its axes applied.

use super::WorkloadCheck;
use crate::{
    diagnostic::Finding,
    manifest::{Api, LatencyKind, Manifest, SloTerm, Workload},
    plan::Stop,
};

/// Returns when a cell stops.
///
/// # Errors
/// When the workload has no rule for it, or several.
pub(in crate::plan) fn stop(manifest: &Manifest, name: &str, spec: &Workload) -> Result<Stop, Finding> {
    let mut rules: Vec<(&str, Stop)> = Vec::new();
    if let Some(requests) = spec.requests {
        rules.push(("requests", Stop::Requests(requests)));
    }
    if let Some(each) = spec.requests_per_stream {
        rules.push(("requests_per_stream", Stop::Requests(each * u64::from(spec.concurrency))));
    }
    if let Some(duration) = spec.duration {
        rules.push(("duration", Stop::Duration(duration)));
    }
    if let Some(passes) = spec.passes {
        // Prompts that cannot be counted are a finding of their own.
        let count = manifest.inputs.count(spec).ok().flatten().unwrap_or(1);
        rules.push(("passes", Stop::Requests(passes * count)));
    }
    if rules.is_empty()
        && let Some(trace) = &spec.trace
    {
        // The whole trace. A trace that cannot be read is a finding of its own.
        let lines = manifest.inputs.trace(trace).map_or(1, |lines| lines.len());
        let measured = (lines as u64).saturating_sub(spec.warmup).max(1);
        rules.push(("trace", Stop::Requests(measured)));
    }
    match rules.as_slice() {
        [(_, stop)] => Ok(*stop),
        [] => Err(Finding::error(format!("workload `{name}` does not say when to stop"))
            .at(&manifest.place(&["workload", name]), "")
            .help("set one of requests, requests_per_stream, duration, passes")),
        [_, (second, _), ..] => {
            let names: Vec<&str> = rules.iter().map(|(rule, _)| *rule).collect();
            Err(Finding::error(format!(
                "workload `{name}` has two rules for when to stop: {}",
                names.join(" and ")
            ))
            .at(&manifest.place(&["workload", name, second]), "the second rule")
            .help("remove one of them"))
        }
    }
}

impl WorkloadCheck<'_> {
    /// Checks everything but the arrivals. `max_model_len` is the server's, where a flag sets it.
    pub(in crate::plan) fn workload(&mut self, stop: Stop, max_model_len: Option<u64>) {
        let (name, spec) = (self.name, self.spec);
        self.prompts(max_model_len);
        if spec.system.is_some() && spec.api != Api::Chat {
            self.found.push(
                Finding::error(format!("workload `{name}`: a system message needs api = \"chat\""))
                    .at(&self.at(&["system"]), "completions have no messages"),
            );
        }
        for (field, why, hint) in [
            (
                "stream",
                "runner sets it to measure latencies",
                "write `stream = false` in the workload itself",
            ),
            ("stream_options", "runner sets it to count tokens", "remove it"),
            ("prompt", "runner sets it from the workload's prompts", "remove it"),
            ("messages", "runner sets it from the workload's prompts", "remove it"),
        ] {
            if spec.extra_body.contains_key(field) {
                self.found.push(
                    Finding::error(format!("workload `{name}`: `extra_body.{field}` is not allowed"))
                        .at(&self.at(&["extra_body", field]), why)
                        .help(hint),
                );
            }
        }
        let needs_stream = |term: &&SloTerm| term.metric != LatencyKind::E2e;
        if !spec.stream
            && let Some(term) = spec.slo.0.iter().find(needs_stream)
        {
            let key = term.key();
            self.found.push(
                Finding::warning(format!("workload `{name}`: `{key}` cannot be measured without streaming"))
                    .at(&self.at(&["slo", &key]), "needs the time of a token")
                    .help("target E2E, or remove `stream = false`"),
            );
        }
        if let (Stop::Requests(requests), Some(streams)) = (stop, spec.streams())
            && requests < u64::from(streams)
        {
            self.found.push(
                Finding::warning(format!(
                    "workload `{name}`: {requests} measured requests in all cannot reach a concurrency of {streams}"
                ))
                .at(&self.at(&[]), "fewer requests than streams")
                .help("raise `requests` or `passes`, lower `concurrency`, or use requests_per_stream"),
            );
        }
    }
}
