//! Reads vLLM's metrics from one page of `/metrics`, whatever their labels.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::{
    durations::{Bucket, Durations},
    exposition::samples,
};

/// vLLM's metrics on one page, summed over engines and labels. A metric that is not on the page is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Snapshot {
    pub(super) running: Option<f64>,
    pub(super) waiting: Option<f64>,
    /// Part of the KV cache in use, 0 to 1, of the engine with the fullest cache.
    pub(super) kv_usage: Option<f64>,
    pub(super) prompt_tokens: Option<f64>,
    pub(super) generation_tokens: Option<f64>,
    pub(super) preemptions: Option<f64>,
    pub(super) prefix_queries: Option<f64>,
    pub(super) prefix_hits: Option<f64>,
    /// Requests that ended, for whatever reason.
    pub(super) finished: Option<f64>,
    pub(super) queue: Option<Cumulative>,
    pub(super) prefill: Option<Cumulative>,
    pub(super) decode: Option<Cumulative>,
    pub(super) ttft: Option<Cumulative>,
    pub(super) itl: Option<Cumulative>,
    pub(super) tpot: Option<Cumulative>,
    pub(super) e2e: Option<Cumulative>,
}

/// The engine's gauges at one scrape.
#[skip_serializing_none]
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GaugePoint {
    /// Seconds since the first scrape of the repeat.
    pub t_s: f64,
    /// Requests that ran.
    pub running: Option<f64>,
    /// Requests that waited.
    pub waiting: Option<f64>,
    /// Part of the KV cache in use, 0 to 1.
    pub kv_usage: Option<f64>,
}

/// A histogram since the server's start.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cumulative {
    /// Upper bounds in ascending order, each with the number of values at or below it.
    at_most: Vec<(f64, f64)>,
    sum: f64,
    count: f64,
}

/// Prefixes of vLLM's metrics: its own, that of systems without colons, and none.
const PREFIXES: [&str; 3] = ["vllm:", "vllm_", ""];

/// The largest plausible value, 2⁵³. Beyond it a float cannot count.
const MAX_VALUE: f64 = 9_007_199_254_740_992.0;
/// The largest plausible finite bound of a bucket, seconds.
const MAX_BOUND: f64 = 1e9;
/// Limit on the buckets of one histogram; a real one has about thirty.
const MAX_BUCKETS: usize = 512;

/// Whether a value is plausible. Negative, infinite and huge values count as unknown, not as zero.
fn is_plausible(value: f64) -> bool {
    (0.0..=MAX_VALUE).contains(&value)
}

impl Snapshot {
    /// Reads a page; `None` when it has none of the metrics under any name.
    pub(super) fn read(page: &str) -> Option<Self> {
        // A page uses one prefix. Names without a prefix count only when no name has one.
        PREFIXES.iter().find_map(|prefix| {
            let mut snapshot = Self::default();
            for sample in samples(page) {
                if let Some(name) = sample.name.strip_prefix(prefix) {
                    snapshot.add(name, sample.le, sample.value);
                }
            }
            snapshot.remove_implausible_sums();
            (snapshot != Self::default()).then_some(snapshot)
        })
    }

    fn add(&mut self, name: &str, le: Option<f64>, value: f64) {
        let name = name.strip_suffix("_total").unwrap_or(name);
        if !is_plausible(value) {
            return;
        }
        if let Some(gauge) = self.gauge(name) {
            *gauge.get_or_insert(0.0) += value;
        } else if matches!(name, "kv_cache_usage_perc" | "gpu_cache_usage_perc") && value <= 1.0 {
            self.kv_usage = Some(self.kv_usage.map_or(value, |other| other.max(value)));
        } else if let Some((base, part)) = name.rsplit_once('_')
            && matches!(part, "bucket" | "sum" | "count")
            && let Some(histogram) = self.histogram(base)
        {
            let histogram = histogram.get_or_insert_default();
            match (part, le) {
                ("sum", _) => histogram.sum += value,
                ("count", _) => histogram.count += value,
                (_, Some(le)) => histogram.add(le, value),
                (_, None) => {}
            }
        }
    }

    /// A sum over labels may be implausible although its parts are not.
    fn remove_implausible_sums(&mut self) {
        for gauge in [
            &mut self.running,
            &mut self.waiting,
            &mut self.prompt_tokens,
            &mut self.generation_tokens,
            &mut self.preemptions,
            &mut self.prefix_queries,
            &mut self.prefix_hits,
            &mut self.finished,
        ] {
            gauge.take_if(|value| !is_plausible(*value));
        }
        for histogram in [
            &mut self.queue,
            &mut self.prefill,
            &mut self.decode,
            &mut self.ttft,
            &mut self.itl,
            &mut self.tpot,
            &mut self.e2e,
        ] {
            histogram.take_if(|histogram| {
                let mut at_most = histogram.at_most.iter();
                !(is_plausible(histogram.sum)
                    && is_plausible(histogram.count)
                    && at_most.all(|(_, value)| is_plausible(*value)))
            });
        }
    }

    /// The counter or gauge of a name. Has vLLM's names since 0.6, the older ones last.
    fn gauge(&mut self, name: &str) -> Option<&mut Option<f64>> {
        Some(match name {
            "num_requests_running" => &mut self.running,
            "num_requests_waiting" => &mut self.waiting,
            "prompt_tokens" => &mut self.prompt_tokens,
            "generation_tokens" => &mut self.generation_tokens,
            "num_preemptions" => &mut self.preemptions,
            "prefix_cache_queries" | "gpu_prefix_cache_queries" => &mut self.prefix_queries,
            "prefix_cache_hits" | "gpu_prefix_cache_hits" => &mut self.prefix_hits,
            "request_success" => &mut self.finished,
            _ => return None,
        })
    }

    fn histogram(&mut self, name: &str) -> Option<&mut Option<Cumulative>> {
        Some(match name {
            "request_queue_time_seconds" => &mut self.queue,
            "request_prefill_time_seconds" => &mut self.prefill,
            "request_decode_time_seconds" => &mut self.decode,
            "time_to_first_token_seconds" => &mut self.ttft,
            // Before 0.11 the second name meant the gaps between tokens.
            "inter_token_latency_seconds" | "time_per_output_token_seconds" => &mut self.itl,
            "request_time_per_output_token_seconds" => &mut self.tpot,
            "e2e_request_latency_seconds" => &mut self.e2e,
            _ => return None,
        })
    }

    /// Whether no request runs or waits; `None` when the page does not say.
    pub(super) fn idle(&self) -> Option<bool> {
        Some(self.running? == 0.0 && self.waiting.is_none_or(|waiting| waiting == 0.0))
    }
}

impl Cumulative {
    fn add(&mut self, le: f64, value: f64) {
        if le != f64::INFINITY && !(0.0..=MAX_BOUND).contains(&le) {
            return;
        }
        match self.at_most.binary_search_by(|(bound, _)| bound.total_cmp(&le)) {
            Ok(at) => self.at_most[at].1 += value,
            Err(at) if self.at_most.len() < MAX_BUCKETS => self.at_most.insert(at, (le, value)),
            Err(_) => {}
        }
    }

    /// The growth since an earlier scrape; `None` when a count fell, so that it is not the same histogram any
    /// more.
    pub(super) fn since(&self, before: Option<&Self>) -> Option<Durations> {
        let zero = Self::default();
        let before = before.unwrap_or(&zero);
        let count = growth(before.count, self.count)?;
        let sum = growth(before.sum, self.sum)?;
        let mut buckets = Vec::with_capacity(self.at_most.len());
        let (mut above_s, mut below) = (0.0, 0.0);
        for (bound, now) in &self.at_most {
            let then = match before.at_most.binary_search_by(|(b, _)| b.total_cmp(bound)) {
                Ok(at) => before.at_most[at].1,
                // Only an empty histogram may lack a bound in the earlier scrape.
                Err(_) if before.count == 0.0 => 0.0,
                Err(_) => return None,
            };
            let at_most = growth(then, *now)?;
            buckets.push(Bucket {
                above_s,
                to_s: bound.is_finite().then_some(*bound),
                count: growth(below, at_most)? as u64,
            });
            (above_s, below) = (*bound, at_most);
        }
        Some(Durations::new(buckets, count as u64, sum))
    }
}

/// A counter's growth; `None` when it fell, because the server restarted in between.
pub(super) fn growth(before: f64, after: f64) -> Option<f64> {
    (after >= before).then_some(after - before)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &str = include_str!("../../tests/recorded/vllm/get-metrics-after.txt");

    #[test]
    fn a_recorded_page_of_vllm_is_read() {
        let page = Snapshot::read(RECORDED).unwrap();
        assert_eq!(page.idle(), Some(true));
        assert_eq!((page.prompt_tokens, page.generation_tokens), (Some(298.0), Some(103.0)));
        assert_eq!((page.finished, page.preemptions), (Some(14.0), Some(0.0)));
        assert_eq!((page.prefix_queries, page.prefix_hits), (Some(298.0), Some(0.0)));
        assert_eq!(page.kv_usage, Some(0.0));
        let ttft = page.ttft.unwrap().since(None).unwrap();
        assert_eq!(ttft.count, 14);
        assert!((ttft.mean_ms.unwrap() - 1_696.937_561 / 14.0).abs() < 1e-6);
        // 7 of 14 values are at most 10 ms, so the median is the end of that bucket.
        assert!((ttft.p50_ms.unwrap() - 10.0).abs() < 1e-9);
        let all = [page.queue, page.prefill, page.decode, page.itl, page.tpot, page.e2e];
        assert!(all.iter().all(Option::is_some), "{all:?}");
    }

    #[test]
    fn a_page_of_buckets_costs_no_more_than_its_length() {
        use std::fmt::Write as _;

        let mut page = String::new();
        for number in (0..100_000).rev() {
            writeln!(page, "vllm:e2e_request_latency_seconds_bucket{{le=\"{number}\"}} 1").unwrap();
        }
        let read = Snapshot::read(&page).unwrap();
        assert_eq!(read.e2e.unwrap().at_most.len(), MAX_BUCKETS);
    }

    #[test]
    fn engines_are_summed_and_the_fullest_cache_counts() {
        let page = "vllm:num_requests_running{engine=\"0\"} 3\nvllm:num_requests_running{engine=\"1\"} 4\n\
                    vllm:kv_cache_usage_perc{engine=\"0\"} 0.2\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.9\n\
                    vllm:time_to_first_token_seconds_bucket{engine=\"0\",le=\"1\"} 1\n\
                    vllm:time_to_first_token_seconds_bucket{engine=\"1\",le=\"1\"} 2\n\
                    vllm:time_to_first_token_seconds_count{engine=\"0\"} 1\n\
                    vllm:time_to_first_token_seconds_count{engine=\"1\"} 2\n";
        let page = Snapshot::read(page).unwrap();
        assert_eq!((page.running, page.kv_usage), (Some(7.0), Some(0.9)));
        assert_eq!(page.waiting, None);
        assert_eq!(page.ttft.unwrap().since(None).unwrap().count, 3);
    }

    #[test]
    fn prefix_and_suffix_are_optional_but_prefixes_do_not_mix() {
        let bare = Snapshot::read("num_requests_running 1\nprompt_tokens 5").unwrap();
        assert_eq!((bare.running, bare.prompt_tokens), (Some(1.0), Some(5.0)));
        let under = Snapshot::read("vllm_prompt_tokens_total 5\nprompt_tokens_total 7").unwrap();
        assert_eq!(under.prompt_tokens, Some(5.0));
    }

    #[test]
    fn a_page_without_known_metrics_is_no_snapshot() {
        assert_eq!(Snapshot::read("python_info{version=\"3\"} 1"), None);
        assert_eq!(Snapshot::read("llamacpp:prompt_tokens_total 3"), None);
        assert_eq!(Snapshot::read("<html>404</html>"), None);
        assert_eq!(Snapshot::read("vllm:num_requests_running NaN"), None);
    }

    #[test]
    fn a_histogram_that_fell_has_no_growth() {
        let at = |count: &str| {
            let text = format!(
                "vllm:e2e_request_latency_seconds_count {count}\nvllm:e2e_request_latency_seconds_sum {count}\n\
                 vllm:e2e_request_latency_seconds_bucket{{le=\"+Inf\"}} {count}"
            );
            Snapshot::read(&text).unwrap().e2e.unwrap()
        };
        assert_eq!(at("5").since(Some(&at("3"))).unwrap().count, 2);
        assert_eq!(at("2").since(Some(&at("3"))), None);
        assert_eq!(growth(3.0, 2.0), None);
    }
}
