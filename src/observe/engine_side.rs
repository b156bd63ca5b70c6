//! Two scrapes, and those between them → what the engine did in a cell.

use serde::{Deserialize, Serialize};

use super::{
    durations::Durations,
    server_side::GaugePoint,
    snapshot::{Cumulative, Snapshot, grown},
};

/// What the engine's own metrics grew by from before a repeat to after it, warm-up included. Absent is unknown: the
/// server does not have the metric, or its counter fell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineSide {
    /// Seconds between the two scrapes.
    pub span_s: f64,
    /// Whether nothing ran and nothing waited in the last scrape, so that every request is counted.
    pub settled: bool,
    /// Requests that ended (`request_success_total`, whatever the reason).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Prompt tokens (`prompt_tokens_total`), those found in the prefix cache included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u64>,
    /// Output tokens (`generation_tokens_total`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation_tokens: Option<u64>,
    /// How often a running request was put back into the queue for want of KV cache (`num_preemptions_total`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preemptions: Option<u64>,
    /// Prompt tokens that were looked for in the prefix cache (`prefix_cache_queries_total`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_queries: Option<u64>,
    /// Those that were found (`prefix_cache_hits_total`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_hits: Option<u64>,
    /// Time in the queue, per request (`request_queue_time_seconds`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Durations>,
    /// From the queue to the first token, per request (`request_prefill_time_seconds`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill: Option<Durations>,
    /// From the first token to the last, per request (`request_decode_time_seconds`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode: Option<Durations>,
    /// From arrival to the first token by the server's clock (`time_to_first_token_seconds`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft: Option<Durations>,
    /// Gaps between tokens (`inter_token_latency_seconds`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub itl: Option<Durations>,
    /// Mean gap of each request (`request_time_per_output_token_seconds`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpot: Option<Durations>,
    /// From arrival to the last token by the server's clock (`e2e_request_latency_seconds`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e2e: Option<Durations>,
    /// Most requests that ran in a scrape during the repeat; absent when none fell into it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_peak: Option<f64>,
    /// Most requests that waited in a scrape during the repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_peak: Option<f64>,
    /// Largest part of the KV cache in use in a scrape during the repeat, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_usage_peak: Option<f64>,
}

impl EngineSide {
    /// What changed from `before` to `after`, and the peaks of the gauges `during`.
    pub(super) fn between(before: &Snapshot, during: &[GaugePoint], after: &Snapshot, span_s: f64) -> Self {
        // The page before was readable, so a counter that is missing there did not exist yet: client libraries make a
        // labelled one at its first use, and it begins at nothing.
        let counter = |get: fn(&Snapshot) -> Option<f64>| {
            grown(get(before).unwrap_or(0.0), get(after)?).map(|grown| grown.round() as u64)
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

    /// Whether a counter fell in between: the server began anew, and nothing of it can be subtracted.
    pub(super) fn restarted(before: &Snapshot, after: &Snapshot) -> bool {
        let counters: [fn(&Snapshot) -> Option<f64>; 4] =
            [|s| s.prompt_tokens, |s| s.generation_tokens, |s| s.finished, |s| s.prefix_queries];
        counters.iter().any(|get| matches!((get(before), get(after)), (Some(then), Some(now)) if now < then))
    }

    /// Part of the prompt tokens that the prefix cache held, 0 to 1; absent when none was looked for.
    pub fn prefix_hit_rate(&self) -> Option<f64> {
        let queries = self.prefix_queries.filter(|queries| *queries > 0)?;
        Some(self.prefix_hits? as f64 / queries as f64)
    }

    /// Two repeats as one: a sum of which a part is unknown is unknown.
    pub(super) fn pool(&self, other: &Self) -> Self {
        let sum = |get: fn(&Self) -> Option<u64>| Some(get(self)? + get(other)?);
        let most = |get: fn(&Self) -> Option<f64>| {
            [get(self), get(other)].into_iter().flatten().max_by(f64::total_cmp)
        };
        let both =
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
            queue: both(|s| &s.queue),
            prefill: both(|s| &s.prefill),
            decode: both(|s| &s.decode),
            ttft: both(|s| &s.ttft),
            itl: both(|s| &s.itl),
            tpot: both(|s| &s.tpot),
            e2e: both(|s| &s.e2e),
            running_peak: most(|s| s.running_peak),
            waiting_peak: most(|s| s.waiting_peak),
            kv_usage_peak: most(|s| s.kv_usage_peak),
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
    fn counters_are_subtracted_and_gauges_peak_between() {
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
        // What the page does not have is absent, never zero.
        assert_eq!((side.generation_tokens, side.preemptions), (None, None));
        assert_eq!((side.waiting_peak, side.ttft), (None, None));
    }

    #[test]
    fn without_a_scrape_in_between_there_is_no_peak() {
        let side = EngineSide::between(&page(1.0, 0.0, 0.0), &[], &page(2.0, 0.0, 0.0), 0.1);
        assert_eq!(side.running_peak, None);
    }

    #[test]
    fn a_counter_that_fell_is_absent_and_the_server_began_anew() {
        let (before, after) = (page(100.0, 10.0, 0.0), page(40.0, 0.0, 0.0));
        assert!(EngineSide::restarted(&before, &after));
        let side = EngineSide::between(&before, &[], &after, 1.0);
        assert_eq!((side.prompt_tokens, side.prefix_hits), (None, None));
        assert_eq!(side.prefix_hit_rate(), None);
    }

    #[test]
    fn a_sum_of_which_a_part_is_unknown_is_unknown() {
        let known = EngineSide { preemptions: Some(2), running_peak: Some(3.0), ..EngineSide::default() };
        let pooled = known.pool(&EngineSide::default());
        assert_eq!((pooled.preemptions, pooled.running_peak), (None, Some(3.0)));
        assert_eq!(known.pool(&known).preemptions, Some(4));
    }
}
