//! The page of `/metrics`, with vLLM's names and buckets.

use std::fmt::Write;

use crate::{engine::Gauges, unit::Nanos};

/// Bucket bounds in seconds, as in vLLM 0.32.
const TTFT: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];
const PER_TOKEN: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
];
const PER_REQUEST: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
    960.0, 1920.0, 7680.0,
];

/// The counters that `/metrics` shows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) engine: Gauges,
    pub(super) prompt_tokens: u64,
    pub(super) generation_tokens: u64,
    /// Requests that ended at their `max_tokens`.
    pub(super) length: u64,
    /// Requests that ended before that.
    pub(super) stop: u64,
    pub(super) aborted: u64,
}

/// A Prometheus histogram of durations.
#[derive(Clone, Debug)]
pub(super) struct Durations {
    bounds: &'static [f64],
    /// One more than there are bounds, for durations above the last.
    counts: Vec<u64>,
    sum_s: f64,
}

impl Durations {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum_s: 0.0 }
    }

    fn add(&mut self, from: Nanos, to: Nanos) {
        let seconds = to.ms_since(from) / 1e3;
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.counts[bucket] += 1;
        self.sum_s += seconds;
    }

    fn write(&self, name: &str, label: &str, out: &mut String) {
        let _ = writeln!(out, "# TYPE vllm:{name} histogram");
        let bounds = self.bounds.iter().map(f64::to_string);
        let mut below = 0;
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(&self.counts) {
            below += count;
            let _ = writeln!(out, "vllm:{name}_bucket{{{label},le=\"{bound}\"}} {below}");
        }
        let _ = writeln!(out, "vllm:{name}_count{{{label}}} {below}");
        let _ = writeln!(out, "vllm:{name}_sum{{{label}}} {}", self.sum_s);
    }
}

/// The timestamps of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestTimes {
    pub(super) arrived: Nanos,
    pub(super) first: Option<Nanos>,
    pub(super) last: Nanos,
}

/// The histograms of all requests.
#[derive(Clone, Debug)]
pub(super) struct Times {
    ttft: Durations,
    itl: Durations,
    tpot: Durations,
    queue: Durations,
    prefill: Durations,
    decode: Durations,
    e2e: Durations,
}

impl Times {
    pub(super) fn new() -> Self {
        Self {
            ttft: Durations::new(TTFT),
            itl: Durations::new(PER_TOKEN),
            tpot: Durations::new(PER_TOKEN),
            queue: Durations::new(PER_REQUEST),
            prefill: Durations::new(PER_REQUEST),
            decode: Durations::new(PER_REQUEST),
            e2e: Durations::new(PER_REQUEST),
        }
    }

    /// Counts a token that is emitted at `at`, of a request that was scheduled first at `began`. As in vLLM,
    /// the request's own times count with its last token.
    pub(super) fn token(
        &mut self,
        request: &mut RequestTimes,
        began: Nanos,
        at: Nanos,
        number: u64,
        last: bool,
    ) {
        let first = match request.first {
            None => {
                self.ttft.add(request.arrived, at);
                at
            }
            Some(first) => {
                self.itl.add(request.last, at);
                first
            }
        };
        request.first = Some(first);
        request.last = at;
        if last {
            self.queue.add(request.arrived, began);
            self.prefill.add(began, first);
            self.decode.add(first, at);
            self.e2e.add(request.arrived, at);
            let gaps = number.saturating_sub(1);
            let mean = (at.0 - first.0).checked_div(gaps).unwrap_or_default();
            self.tpot.add(Nanos(0), Nanos(mean));
        }
    }
}

pub(super) fn page(model: &str, counters: &Counters, times: &Times) -> String {
    let model = model.replace('\\', "\\\\").replace('"', "\\\"");
    let label = format!("engine=\"sim\",model_name=\"{model}\"");
    let mut out = String::new();
    let mut plain = |name: &str, kind: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(out, "# TYPE vllm:{name} {kind}\nvllm:{name}{{{label}}} {value}");
    };
    plain("num_requests_running", "gauge", &counters.engine.running);
    plain("num_requests_waiting", "gauge", &counters.engine.waiting);
    // Without a scripted size, there is no cache.
    if let Some(usage) = counters.engine.kv_usage {
        plain("kv_cache_usage_perc", "gauge", &usage);
    }
    for (name, value) in [
        ("prompt_tokens_total", counters.prompt_tokens),
        ("generation_tokens_total", counters.generation_tokens),
        ("num_preemptions_total", counters.engine.preemptions),
    ] {
        plain(name, "counter", &value);
    }
    if let Some((queries, hits)) = counters.engine.prefix {
        plain("prefix_cache_queries_total", "counter", &queries);
        plain("prefix_cache_hits_total", "counter", &hits);
    }
    out.push_str("# TYPE vllm:request_success_total counter\n");
    for (reason, value) in [("length", counters.length), ("stop", counters.stop), ("abort", counters.aborted)]
    {
        let _ = writeln!(out, "vllm:request_success_total{{{label},finished_reason=\"{reason}\"}} {value}");
    }
    for (name, durations) in [
        ("time_to_first_token_seconds", &times.ttft),
        ("inter_token_latency_seconds", &times.itl),
        ("request_time_per_output_token_seconds", &times.tpot),
        ("request_queue_time_seconds", &times.queue),
        ("request_prefill_time_seconds", &times.prefill),
        ("request_decode_time_seconds", &times.decode),
        ("e2e_request_latency_seconds", &times.e2e),
    ] {
        durations.write(name, &label, &mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_requests_times_add_up_and_count_with_its_last_token() {
        let mut times = Times::new();
        let mut request = RequestTimes { arrived: Nanos(0), first: None, last: Nanos(0) };
        times.token(&mut request, Nanos(100 * MS), Nanos(140 * MS), 1, false);
        let [ttft, e2e] = [&times.ttft, &times.e2e].map(|durations| durations.counts.iter().sum::<u64>());
        assert_eq!((ttft, e2e), (1, 0));
        times.token(&mut request, Nanos(100 * MS), Nanos(150 * MS), 2, false);
        times.token(&mut request, Nanos(100 * MS), Nanos(160 * MS), 3, true);
        let sums =
            [&times.queue, &times.prefill, &times.decode, &times.e2e, &times.ttft, &times.itl, &times.tpot]
                .map(|durations| (durations.sum_s * 1e3).round());
        assert_eq!(sums, [100.0, 40.0, 20.0, 160.0, 140.0, 20.0, 10.0]);
    }

    #[test]
    fn buckets_are_cumulative_and_a_bound_belongs_to_its_bucket() {
        let mut durations = Durations::new(&[0.3, 0.5]);
        for ms in [300, 301, 9000] {
            durations.add(Nanos(0), Nanos(ms * MS));
        }
        let mut out = String::new();
        durations.write("x", "a=\"b\"", &mut out);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[1], "vllm:x_bucket{a=\"b\",le=\"0.3\"} 1");
        assert_eq!(lines[2], "vllm:x_bucket{a=\"b\",le=\"0.5\"} 2");
        assert_eq!(lines[3], "vllm:x_bucket{a=\"b\",le=\"+Inf\"} 3");
        assert_eq!(lines[4], "vllm:x_count{a=\"b\"} 3");
    }
}
