//! What the engine did during a repeat, from its metrics before, during and after it.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::{
    durations::Durations,
    snapshot::{Cumulative, GaugePoint, Snapshot, growth},
};

/// The growth of the engine's metrics from before a repeat to after it, warm-up included. An absent value is
/// unknown: the server does not have the metric, or its counter fell.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineSide {
    /// Seconds between the two scrapes.
    pub span_s: f64,
    /// Whether no request ran or waited at the last scrape, so that every request is counted.
    pub settled: bool,
    /// Requests that ended, for whatever reason (`request_success_total`).
    pub requests: Option<u64>,
    /// Prompt tokens, including those found in the prefix cache (`prompt_tokens_total`).
    pub prompt_tokens: Option<u64>,
    /// Output tokens (`generation_tokens_total`).
    pub generation_tokens: Option<u64>,
    /// How often a running request went back to the queue because the KV cache was full
    /// (`num_preemptions_total`).
    pub preemptions: Option<u64>,
    /// Prompt tokens looked up in the prefix cache (`prefix_cache_queries_total`).
    pub prefix_queries: Option<u64>,
    /// Prompt tokens found in the prefix cache (`prefix_cache_hits_total`).
    pub prefix_hits: Option<u64>,
    /// Time in the queue per request (`request_queue_time_seconds`).
    pub queue: Option<Durations>,
    /// Time from the queue to the first token per request (`request_prefill_time_seconds`).
    pub prefill: Option<Durations>,
    /// Time from the first token to the last per request (`request_decode_time_seconds`).
    pub decode: Option<Durations>,
    /// Time from arrival to the first token by the server's clock (`time_to_first_token_seconds`).
    pub ttft: Option<Durations>,
    /// Time between consecutive tokens (`inter_token_latency_seconds`).
    pub itl: Option<Durations>,
    /// Mean time between tokens per request (`request_time_per_output_token_seconds`).
    pub tpot: Option<Durations>,
    /// Time from arrival to the last token by the server's clock (`e2e_request_latency_seconds`).
    pub e2e: Option<Durations>,
    /// Peak of running requests over the scrapes during the repeat; absent without such a scrape.
    pub running_peak: Option<f64>,
    /// Peak of waiting requests over the scrapes during the repeat.
    pub waiting_peak: Option<f64>,
    /// Peak part of the KV cache in use over the scrapes during the repeat, 0 to 1.
    pub kv_usage_peak: Option<f64>,
}

/// The growth between two pages of `/metrics` that are `span_s` seconds apart; `None` when a page has none of
/// the metrics, or the server restarted in between.
///
/// ```
/// let before = "vllm:prompt_tokens_total 100\nvllm:generation_tokens_total 40\n";
/// let after = "vllm:prompt_tokens_total 160\nvllm:generation_tokens_total 90\n";
/// let engine = runner::observe::between_pages(before, after, 2.0).expect("both pages have metrics");
/// assert_eq!((engine.prompt_tokens, engine.generation_tokens), (Some(60), Some(50)));
/// assert_eq!(engine.preemptions, None);
/// ```
pub fn between_pages(before: &str, after: &str, span_s: f64) -> Option<EngineSide> {
    let (before, after) = (Snapshot::read(before)?, Snapshot::read(after)?);
    (!EngineSide::restarted(&before, &after)).then(|| EngineSide::between(&before, &[], &after, span_s))
}

impl EngineSide {
    /// The growth from `before` to `after`, with the peaks of the gauges `during` the repeat.
    pub(super) fn between(before: &Snapshot, during: &[GaugePoint], after: &Snapshot, span_s: f64) -> Self {
        // A counter that is missing on the page before did not exist yet and starts at 0: client libraries
        // create labelled counters at their first use.
        let counter = |get: fn(&Snapshot) -> Option<f64>| {
            growth(get(before).unwrap_or(0.0), get(after)?).map(|growth| growth.round() as u64)
        };
        let peak = |get: fn(&GaugePoint) -> Option<f64>| during.iter().filter_map(get).max_by(f64::total_cmp);
        let histogram =
            |get: fn(&Snapshot) -> &Option<Cumulative>| get(after).as_ref()?.since(get(before).as_ref());
        Self {
            span_s,
            settled: after.idle() == Some(true),
            requests: counter(|s| s.finished),
            prompt_tokens: counter(|s| s.prompt_tokens),
            generation_tokens: counter(|s| s.generation_tokens),
            preemptions: counter(|s| s.preemptions),
            prefix_queries: counter(|s| s.prefix_queries),
            prefix_hits: counter(|s| s.prefix_hits),
            queue: histogram(|s| &s.queue),
            prefill: histogram(|s| &s.prefill),
            decode: histogram(|s| &s.decode),
            ttft: histogram(|s| &s.ttft),
            itl: histogram(|s| &s.itl),
            tpot: histogram(|s| &s.tpot),
            e2e: histogram(|s| &s.e2e),
            running_peak: peak(|point| point.running),
            waiting_peak: peak(|point| point.waiting),
            kv_usage_peak: peak(|point| point.kv_usage),
        }
    }

    /// Whether a counter fell: the server restarted in between, so that counters cannot be subtracted.
    pub(super) fn restarted(before: &Snapshot, after: &Snapshot) -> bool {
        let counters: [fn(&Snapshot) -> Option<f64>; 4] =
            [|s| s.prompt_tokens, |s| s.generation_tokens, |s| s.finished, |s| s.prefix_queries];
        counters.iter().any(|get| matches!((get(before), get(after)), (Some(then), Some(now)) if now < then))
    }

    /// Part of the looked-up prompt tokens that the prefix cache held, 0 to 1; absent when none was looked
    /// up.
    pub fn prefix_hit_rate(&self) -> Option<f64> {
        let queries = self.prefix_queries.filter(|queries| *queries > 0)?;
        Some(self.prefix_hits? as f64 / queries as f64)
    }

    /// Pools two repeats. A sum with an unknown part is unknown.
    pub(super) fn pool(&self, other: &Self) -> Self {
        let sum = |get: fn(&Self) -> Option<u64>| Some(get(self)? + get(other)?);
        let max = |get: fn(&Self) -> Option<f64>| {
            [get(self), get(other)].into_iter().flatten().max_by(f64::total_cmp)
        };
        let pooled =
            |get: fn(&Self) -> &Option<Durations>| Some(get(self).as_ref()?.pool(get(other).as_ref()?));
        Self {
            span_s: self.span_s + other.span_s,
            settled: self.settled && other.settled,
            requests: sum(|s| s.requests),
            prompt_tokens: sum(|s| s.prompt_tokens),
            generation_tokens: sum(|s| s.generation_tokens),
            preemptions: sum(|s| s.preemptions),
            prefix_queries: sum(|s| s.prefix_queries),
            prefix_hits: sum(|s| s.prefix_hits),
            queue: pooled(|s| &s.queue),
            prefill: pooled(|s| &s.prefill),
            decode: pooled(|s| &s.decode),
            ttft: pooled(|s| &s.ttft),
            itl: pooled(|s| &s.itl),
            tpot: pooled(|s| &s.tpot),
            e2e: pooled(|s| &s.e2e),
            running_peak: max(|s| s.running_peak),
            waiting_peak: max(|s| s.waiting_peak),
            kv_usage_peak: max(|s| s.kv_usage_peak),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(tokens: f64, hits: f64, running: f64) -> Snapshot {
        let text = format!(
            "vllm:prompt_tokens_total {tokens}\nvllm:prefix_cache_queries_total {tokens}\n\
             vllm:prefix_cache_hits_total {hits}\nvllm:num_requests_running {running}\n"
        );
        Snapshot::read(&text).unwrap()
    }

    #[test]
    fn counters_are_subtracted_and_gauges_peak() {
        let during = [4.0, 2.0].map(|running| GaugePoint {
            t_s: 1.0,
            running: Some(running),
            waiting: None,
            kv_usage: None,
        });
        let side = EngineSide::between(&page(100.0, 10.0, 0.0), &during, &page(200.0, 35.0, 0.0), 2.0);
        assert_eq!((side.prompt_tokens, side.prefix_hits), (Some(100), Some(25)));
        assert_eq!(side.prefix_hit_rate(), Some(0.25));
        assert_eq!(side.running_peak, Some(4.0));
        assert!(side.settled);
        // A metric that is not on the page is absent, never zero.
        assert_eq!((side.generation_tokens, side.preemptions), (None, None));
        assert_eq!((side.waiting_peak, side.ttft), (None, None));
    }

    #[test]
    fn without_a_scrape_in_between_there_is_no_peak() {
        let side = EngineSide::between(&page(1.0, 0.0, 0.0), &[], &page(2.0, 0.0, 0.0), 0.1);
        assert_eq!(side.running_peak, None);
    }

    #[test]
    fn a_counter_that_fell_is_absent_and_shows_a_restart() {
        let (before, after) = (page(100.0, 10.0, 0.0), page(40.0, 0.0, 0.0));
        assert!(EngineSide::restarted(&before, &after));
        let side = EngineSide::between(&before, &[], &after, 1.0);
        assert_eq!((side.prompt_tokens, side.prefix_hits), (None, None));
        assert_eq!(side.prefix_hit_rate(), None);
    }

    #[test]
    fn a_sum_with_an_unknown_part_is_unknown() {
        let known = EngineSide { preemptions: Some(2), running_peak: Some(3.0), ..EngineSide::default() };
        let pooled = known.pool(&EngineSide::default());
        assert_eq!((pooled.preemptions, pooled.running_peak), (None, Some(3.0)));
        assert_eq!(known.pool(&known).preemptions, Some(4));
    }

    #[test]
    fn implausible_values_are_unknown_and_the_rest_can_be_stored() {
        let page = |value: &str, bound: &str| {
            format!(
                "vllm:num_requests_running {value}\nvllm:num_requests_waiting 1\nvllm:kv_cache_usage_perc {value}\n\
                 vllm:prompt_tokens_total{{a=\"1\"}} {value}\nvllm:prompt_tokens_total{{a=\"2\"}} {value}\n\
                 vllm:e2e_request_latency_seconds_bucket{{le=\"{bound}\"}} 1\n\
                 vllm:e2e_request_latency_seconds_bucket{{le=\"+Inf\"}} 2\n\
                 vllm:e2e_request_latency_seconds_sum {value}\nvllm:e2e_request_latency_seconds_count 2\n"
            )
        };
        let zero = "vllm:num_requests_waiting 1";
        for value in ["+Inf", "-Inf", "-1", "1e300", "9e15", "18446744073709551616"] {
            for bound in ["-Inf", "NaN", "-3", "1e300", "0.5"] {
                let side = between_pages(zero, &page(value, bound), 1.0).unwrap();
                assert_eq!(side.prompt_tokens, None, "{value}");
                assert_eq!(side.kv_usage_peak, None);
                let text = serde_json::to_string(&side).unwrap();
                assert_eq!(serde_json::from_str::<EngineSide>(&text).unwrap(), side);
                let pooled = side.pool(&side);
                let text = serde_json::to_string(&pooled).unwrap();
                assert_eq!(serde_json::from_str::<EngineSide>(&text).unwrap(), pooled);
            }
        }
    }
}
