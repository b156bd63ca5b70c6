//! Measures a law: summaries of repeats and cells, with the noise of runs and of few samples.

use std::collections::HashMap;

use super::{
    dice::Dice,
    law::{LONG_GAP, Numbers, Z95, Z99},
};
use crate::{
    manifest::{LatencyKind, Start},
    measure::{Histogram, Latency, Metric, Starts, Summary, Window, normal_quantile},
    report::fixtures,
};

/// The most buckets of a histogram.
const BUCKETS: u64 = 60;
/// The most gaps between tokens that are kept for a cell.
const GAPS: u64 = 4000;
/// The quantile from which a sample belongs to the slowest tenth.
const SLOW_TENTH: f64 = 1.281_552;

/// Draws samples.
pub(super) struct Sampler {
    pub(super) dice: Dice,
    /// The quantiles of so many buckets.
    quantiles: HashMap<u64, Vec<f64>>,
}

impl Sampler {
    pub(super) fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), quantiles: HashMap::new() }
    }

    /// The factor by which one run is slower than another, for a standard deviation of its logarithm.
    pub(super) fn run(&mut self, noise: f64) -> f64 {
        (noise * self.dice.normal()).exp()
    }

    fn quantiles(&mut self, buckets: u64) -> &[f64] {
        self.quantiles.entry(buckets).or_insert_with(|| {
            let z = |at: u64| {
                let part = (at as f64 + 0.5) / buckets as f64;
                if part < 0.5 { -normal_quantile(part) } else { normal_quantile(1.0 - part) }
            };
            (0..buckets).map(z).collect()
        })
    }

    /// The errors of the kept ranks of `n` samples, in standard deviations of a request: p50, p95, p99 (a
    /// Brownian bridge over the density), and the mean.
    fn errors(&mut self, n: u64) -> [f64; 4] {
        let mut at = [0.5, 0.45, 0.04, 0.01].map(|step: f64| step.sqrt() * self.dice.normal());
        for place in 1..4 {
            at[place] += at[place - 1];
        }
        let end = at[3];
        let root = (n as f64).sqrt();
        let bridge = |at: f64, part: f64, density: f64| (at - part * end) / density / root;
        let median = bridge(at[0], 0.5, 0.3989);
        let mean = 0.8 * median / 1.2533 + 0.6 * self.dice.normal() / root;
        [median, bridge(at[1], 0.95, 0.1031), bridge(at[2], 0.99, 0.0267), mean]
    }

    /// A lognormal latency. `tail` is a factor on its slowest tenth.
    fn latency(&mut self, n: u64, median: f64, spread: f64, tail: f64) -> Latency {
        let [e50, e95, e99, e_mean] = self.errors(n).map(|error| error * spread);
        let buckets = n.min(BUCKETS);
        let own = self.quantiles(buckets).iter().zip(0..);
        let buckets = own.map(|(z, at)| {
            let slow = if *z > SLOW_TENTH { tail } else { 1.0 };
            let us = median * 1e3 * (spread * z + e50).exp() * slow;
            (us.round() as u64, n * (at + 1) / buckets - n * at / buckets)
        });
        let histogram = Histogram { buckets: buckets.collect() };
        let at = |z: f64, error: f64, tail: f64| median * (spread * z + error).exp() * tail;
        // The ranks stand in their order, whatever each is off by.
        let p50 = at(0.0, e50, 1.0);
        let p95 = at(Z95, e95, tail).max(p50);
        let p99 = at(Z99, e99, tail).max(p95);
        Latency {
            n,
            p50_ms: p50,
            p95_ms: p95,
            p99_ms: p99,
            mean_ms: at(spread / 2.0, e_mean, 1.0 + 0.1 * (tail - 1.0)),
            min_ms: histogram.buckets.first().map_or(p50, |own| own.0 as f64 / 1e3),
            max_ms: histogram.buckets.last().map_or(p99, |own| own.0 as f64 / 1e3).max(p99),
            histogram,
        }
    }

    /// Gaps between tokens, a part of them long.
    fn gaps(&mut self, n: u64, median: f64, spread: f64, long: f64) -> Latency {
        let mut latency = self.latency(n, median, spread, 1.0);
        if long > 0.0 {
            let above: Vec<(u64, u64)> = latency
                .histogram
                .buckets
                .iter()
                .map(|(us, count)| ((*us as f64 * LONG_GAP) as u64, (*count as f64 * long) as u64))
                .filter(|(_, count)| *count > 0)
                .collect();
            for (_, count) in &mut latency.histogram.buckets {
                *count -= (*count as f64 * long) as u64;
            }
            latency.histogram.buckets.extend(above);
            latency.histogram.buckets.sort_unstable();
            latency.n = latency.histogram.samples();
            latency.p95_ms *= LONG_GAP;
            latency.p99_ms *= LONG_GAP;
            latency.max_ms *= LONG_GAP;
            latency.mean_ms *= 1.0 + long * (LONG_GAP - 1.0);
        }
        latency
    }

    /// The summary of `n` requests in a run that is this many times as slow as the law.
    pub(super) fn summary(&mut self, law: &Numbers, n: u64, run: f64, steady: bool, how: Start) -> Summary {
        let spot = law.spot;
        let ms = |kind: LatencyKind| {
            let [median, _] = crate::report::metrics::middle(kind);
            law.of(median).unwrap_or_default() * run
        };
        let mut own = fixtures::summary(n);
        let ttft = self.latency(n, ms(LatencyKind::Ttft), law.spread, spot.tail);
        let tpot = self.latency(n, ms(LatencyKind::Tpot), law.spread, spot.tail);
        let e2e = self.latency(n, ms(LatencyKind::E2e), law.spread, spot.tail);
        let gaps = (n * (spot.tokens as u64 - 1)).clamp(1, GAPS);
        own.itl = Some(self.gaps(gaps, ms(LatencyKind::Itl), law.spread, law.long_gaps));
        own.user_tok_s = Some(1e3 / tpot.p50_ms);
        own.output_tokens = Some(n * spot.tokens as u64);
        own.input_tokens = Some(n * spot.prompt as u64);
        let requests_s = match spot.is_open {
            // Beyond its capacity a server is as slow as the run is, below it arrivals differ by chance.
            true => {
                let arrivals = (self.dice.normal() / (n as f64).sqrt()).exp();
                (spot.load * arrivals).min(law.capacity_s / run)
            }
            false => spot.load / e2e.mean_ms * 1e3,
        };
        let repeats = n as f64 / spot.requests as f64;
        let drain = if spot.is_open { repeats * e2e.p50_ms / 1e3 } else { 0.0 };
        let length_s = n as f64 / requests_s + drain;
        own.window = Some(Window { start_s: 0.0, length_s });
        own.req_s = Some(n as f64 / length_s);
        own.throughput_tok_s = Some(n as f64 / length_s * spot.tokens);
        own.total_tok_s = Some(n as f64 / length_s * (spot.tokens + spot.prompt));
        if steady && !spot.is_open {
            own.steady = Some(Window { start_s: 0.1 * length_s, length_s: 0.8 * length_s });
            own.steady_tok_s = own.throughput_tok_s;
        }
        if !spot.is_open {
            own.peak_in_flight = Some(spot.load as u32);
            own.starts = Some(Starts { how, spread_s: 0.1 });
        }
        (own.ttft, own.tpot, own.e2e) = (Some(ttft), Some(tpot), Some(e2e));
        own
    }
}

/// The numbers of a summary as another tool reports them.
pub(super) fn reported(summary: &Summary) -> impl Iterator<Item = (String, f64)> {
    Metric::COLUMNS.into_iter().filter_map(|metric| Some((metric.column(), metric.of(summary)?)))
}
