//! [`EarlyEnd`]: ends the probe of a search as soon as its result is clear.
//!
//! Each SLO term says that at most the share 1 − q of requests may exceed its limit. A probe is a test of that
//! share. After n requests of which the share p exceeded the limit, it is clear on which side the true share
//! lies once
//!
//! n · KL(p, 1 − q) ≥ ln((1 + ln n) / δ), with KL(p, r) = p ln(p / r) + (1 − p) ln((1 − p) / (1 − r)).
//!
//! This is the sequential generalized likelihood ratio test (Lai, Annals of Statistics 16, 1988, which improves
//! on Wald's test of 1945 in that nobody has to say how far from the limit a share is), with the threshold of
//! Garivier and Kaufmann (Conference on Learning Theory, 2016) for a test that looks after every request. For
//! independent requests either error has a probability of about δ = 2.5 %. A share far from the limit is
//! clear soon: for p95, after 105 requests of which none exceeds, or 26 of which a third does. One near the
//! limit is not, so that the probe runs to its end, unless the percentile itself is known well enough: clearly
//! more than 1 % below the limit would miss, and clearly more than 1 % above it would meet.
//!
//! - **A load that misses** one term is clear. A load that meets the SLO has to meet every term.
//! - **Failed requests** are a term of their own: no more may fail than the highest percentile leaves out, as
//!   in [`super::missed_targets`].
//! - **ITL** pools the gaps of all requests. The gaps of one answer share its fate, so a request counts once,
//!   with the share of its gaps that exceeds. The test holds for shares as well: of all variables within
//!   [0, 1] with one mean, yes-or-no varies most (Garivier and Cappé, Conference on Learning Theory, 2011).
//! - **Requests are not independent**, since they wait in the same queue. n is reduced to n (1 − ρ) / (1 + ρ),
//!   where ρ is the correlation of successive ends (an autoregressive process of order one; Box, Jenkins and
//!   Reinsel, Time Series Analysis, section 3.2). Besides, there is a least number of requests.
//! - **The start** does not count. In a closed loop the warm-up fills the server, and a quarter of a generation
//!   (one request of every stream) has to follow before a load meets the SLO. In an open loop a queue may still
//!   grow, so half of the planned requests have to end within the limits. A miss is believed sooner: of a
//!   staggered start even the TTFT of warm-up requests counts, since they see at most the load.
//! - **The end** of a probe drains the server: requests in flight end the faster the fewer there are, which
//!   lowers their TPOT, ITL and E2E but not their TTFT. So for these latencies a whole generation has to end under
//!   the full load, unless they are clearly below 80 % of the limit, or beyond 125 %: how far does not matter then.

use std::collections::BTreeSet;

use super::samples::exceeding;
use crate::{
    load::{Outcome, Phase, Record},
    manifest::{LatencyKind, SloTerm, Start, Workload},
    plan::{Cell, Stop},
};

/// The probability of a wrong decision of one term, in either direction.
const ERROR: f64 = 0.025;
/// Fewest requests before a load misses, and fewest measured ones that it sends.
const FEWEST: f64 = 16.0;
/// The limits, as a fraction of the real one, beyond which requests are counted: the real one, two so near that a
/// percentile between them is known well enough, and two that are far.
const LIMITS: [f64; 5] = [1.0, 0.99, 1.01, 0.8, 1.25];
const REAL: usize = 0;
const LOWER: usize = 1;
const HIGHER: usize = 2;
const FAR_BELOW: usize = 3;
const FAR_ABOVE: usize = 4;
/// Of a generation: the share that has to end before a load meets, and before it misses.
const TO_MEET: f64 = 0.25;
const TO_MISS: f64 = 0.125;
/// Of an open loop's planned requests: the share that has to end before a load meets.
const OPEN_TO_MEET: f64 = 0.5;

/// Decides from finished requests whether a probe's result is clear.
#[derive(Clone, Debug)]
pub struct EarlyEnd {
    spec: std::sync::Arc<Workload>,
    terms: Vec<Term>,
    /// Requests that have to end before the load meets the SLO, or misses it.
    to_meet: f64,
    to_miss: f64,
    /// Requests of one generation; 0 in an open loop.
    generation: f64,
    /// Whether the TTFT of warm-up requests counts against the load.
    warmup_counts: bool,
    /// Requests that ended, those of the warm-up, and those that are planned at most, warm-up included.
    ended: u64,
    warmup: u64,
    planned: u64,
    /// Streams of which a request ended.
    streams: BTreeSet<u32>,
    decided: Option<String>,
}

/// The test of one share.
#[derive(Clone, Debug)]
struct Term {
    /// `None` for failed requests.
    latency: Option<SloTerm>,
    /// The share that may exceed.
    allowed: f64,
    /// Of measured requests, for each of [`LIMITS`].
    measured: [Shares; LIMITS.len()],
    /// Of warm-up and measured requests, for the real limit.
    all: Shares,
}

/// The exceeding shares of successive requests.
#[derive(Clone, Copy, Debug, Default)]
struct Shares {
    n: f64,
    sum: f64,
    squares: f64,
    /// The sum of products of successive shares.
    products: f64,
    last: f64,
}

impl EarlyEnd {
    /// The test of a cell's result; `None` for a cell that is no probe of a search, or has no SLO.
    pub fn of(cell: &Cell) -> Option<Self> {
        let slo = &cell.spec.slo.0;
        cell.search.as_ref().filter(|_| !slo.is_empty() && !cell.is_start_only())?;
        let least = slo.iter().map(|term| 1.0 - term.percentile.fraction()).fold(1.0, f64::min);
        let latencies = slo.iter().map(|term| (Some(*term), 1.0 - term.percentile.fraction()));
        let terms = latencies.chain([(None, least)]).map(|(latency, allowed)| Term {
            latency,
            allowed,
            measured: Default::default(),
            all: Shares::default(),
        });
        let streams = cell.spec.streams().map(f64::from);
        let planned = match cell.stop {
            Stop::Requests(requests) => requests,
            // The number of requests is not known.
            Stop::Duration(_) => u64::MAX,
        };
        Some(Self {
            spec: cell.spec.clone(),
            terms: terms.collect(),
            to_meet: streams.map_or(OPEN_TO_MEET * planned as f64, |streams| TO_MEET * streams),
            to_miss: streams.map_or(FEWEST, |streams| (TO_MISS * streams).max(FEWEST)),
            generation: streams.unwrap_or(0.0),
            // With think times it is not known which streams have a request in flight.
            warmup_counts: cell.start() == Some(Start::Staggered) && cell.spec.think_time.is_none(),
            ended: 0,
            warmup: cell.spec.warmup,
            streams: BTreeSet::new(),
            planned: planned.saturating_add(cell.spec.warmup),
            decided: None,
        })
    }

    /// Takes a finished request, in the order in which requests end. Returns whether the result is clear.
    pub fn take(&mut self, record: &Record) -> bool {
        self.ended += 1;
        self.streams.insert(record.stream);
        for term in &mut self.terms {
            let shares = match &term.latency {
                None => Some([f64::from(record.outcome != Outcome::Completed); LIMITS.len()]),
                Some(latency) => {
                    let limits = LIMITS.map(|part| part * latency.limit.as_ms());
                    exceeding(record, &self.spec, latency.metric, limits)
                }
            };
            let Some(shares) = shares else { continue };
            let is_measured = record.phase == Phase::Measured;
            if is_measured {
                term.measured.iter_mut().zip(shares).for_each(|(sum, share)| sum.add(share));
            }
            if is_measured || self.warmup_counts && term.is_of_start() {
                term.all.add(shares[REAL]);
            }
        }
        if self.decided.is_none() {
            self.decided = self.missed().or_else(|| self.met()).or_else(|| self.near());
        }
        self.decided.is_some()
    }

    /// Why the probe ended before its last request; `None` where it did not.
    pub fn reason(&self) -> Option<&str> {
        self.decided.as_deref().filter(|_| self.ended < self.planned)
    }

    fn missed(&self) -> Option<String> {
        // A probe without measured requests has no numbers. A stream has its next request in flight by now.
        let sent = self.ended + self.streams.len() as u64;
        let has_numbers = sent as f64 >= self.warmup as f64 + FEWEST;
        let (term, shares) = self.terms.iter().find_map(|term| {
            let is_far = term.is_of_start() || term.measured[FAR_ABOVE].is_above(term.allowed);
            let least = if is_far { self.to_miss } else { self.to_miss.max(self.generation) };
            let shares = [Some(term.measured[REAL]), has_numbers.then_some(term.all)];
            let mut shares = shares.into_iter().flatten();
            let missed = shares.find(|shares| shares.n >= least && shares.is_above(term.allowed));
            missed.map(|shares| (term, shares))
        })?;
        let share = format!("{:.0} % of {:.0} requests", shares.mean() * 100.0, shares.n);
        Some(match &term.latency {
            Some(latency) => format!("clearly misses {}: {share} exceed {}", latency.key(), latency.limit),
            None => format!("clearly misses the SLO: {share} failed"),
        })
    }

    fn met(&self) -> Option<String> {
        let met = |term: &Term| {
            let is_far = term.is_of_start() || term.measured[FAR_BELOW].is_below(term.allowed);
            let least = if is_far { self.to_meet } else { self.to_meet.max(self.generation) };
            let shares = &term.measured[REAL];
            term.is_absent() || shares.n >= least && shares.is_below(term.allowed)
        };
        let measured = self.terms.last().map_or(0.0, |failures| failures.measured[REAL].n);
        let all = self.terms.iter().all(met);
        all.then(|| format!("clearly meets the SLO after {measured:.0} measured requests"))
    }

    /// One term is as good as at its limit, and no other is worse.
    fn near(&self) -> Option<String> {
        let least = self.to_meet.max(self.generation);
        let is_no_worse = |term: &Term| {
            let shares = &term.measured[HIGHER];
            term.is_absent() || shares.n >= least && shares.is_below(term.allowed)
        };
        let near = self.terms.iter().find_map(|term| {
            let shares = &term.measured[LOWER];
            term.latency.filter(|_| shares.is_above(term.allowed)).map(|latency| (latency.key(), shares.n))
        });
        let (key, n) = near.filter(|_| self.terms.iter().all(is_no_worse))?;
        Some(format!("{key} is within 1 % of its limit, after {n:.0} measured requests"))
    }
}

impl Term {
    /// Whether it is about the start of an answer, which the end of the probe does not touch.
    fn is_of_start(&self) -> bool {
        self.latency.is_none_or(|latency| latency.metric == LatencyKind::Ttft)
    }

    /// Whether no answer has this latency: those of one token have no gap that could be too long.
    fn is_absent(&self) -> bool {
        let is_of_gaps = |term: SloTerm| matches!(term.metric, LatencyKind::Itl | LatencyKind::Tpot);
        self.measured[REAL].n == 0.0 && self.latency.is_some_and(is_of_gaps)
    }
}

impl Shares {
    fn add(&mut self, share: f64) {
        if self.n > 0.0 {
            self.products += share * self.last;
        }
        self.n += 1.0;
        self.sum += share;
        self.squares += share * share;
        self.last = share;
    }

    fn mean(&self) -> f64 {
        self.sum / self.n.max(1.0)
    }

    /// The correlation of successive shares, at least 0; 0 where they do not vary.
    fn correlation(&self) -> f64 {
        let mean = self.mean();
        let variance = self.squares / self.n.max(1.0) - mean * mean;
        if self.n < 3.0 || variance < 1e-9 {
            return 0.0;
        }
        ((self.products / (self.n - 1.0) - mean * mean) / variance).clamp(0.0, 0.95)
    }

    /// Whether the true share is clearly above `allowed`, or clearly below it.
    fn is_above(&self, allowed: f64) -> bool {
        self.mean() > allowed && self.is_clear(allowed)
    }

    fn is_below(&self, allowed: f64) -> bool {
        self.n > 0.0 && self.mean() < allowed && self.is_clear(allowed)
    }

    /// Whether it is clear on which side of `allowed` the true share lies.
    fn is_clear(&self, allowed: f64) -> bool {
        let correlation = self.correlation();
        let n = self.n * (1.0 - correlation) / (1.0 + correlation);
        n >= 1.0 && n * divergence(self.mean(), allowed) >= ((1.0 + n.ln()) / ERROR).ln()
    }
}

/// The Kullback-Leibler divergence between two shares, in nats.
fn divergence(p: f64, r: f64) -> f64 {
    let part = |p: f64, r: f64| if p > 0.0 { p * (p / r).ln() } else { 0.0 };
    part(p, r) + part(1.0 - p, 1.0 - r)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{load::Usage, unit::Nanos};

    /// A probe of a closed or an open loop.
    fn probe(load: serde_json::Value, slo: serde_json::Value, requests: u64) -> Cell {
        let mut spec = json!({ "prompts": ["Hello"], "slo": slo });
        spec.as_object_mut().unwrap().extend(load.as_object().unwrap().clone());
        serde_json::from_value(json!({
            "id": "chat", "workload": "chat", "spec": spec, "stop": { "requests": requests },
            "max_tokens": 8, "axes": {}, "seed": 7, "search": "chat",
        }))
        .unwrap()
    }

    fn closed(streams: u32, warmup: u64, start: &str) -> Cell {
        let load = json!({ "concurrency": streams, "warmup": warmup, "start": start });
        probe(load, json!({ "p95_ttft": "100ms" }), 2000)
    }

    /// A request with a time to first token, and gaps between its further tokens, milliseconds.
    fn request(phase: Phase, ttft: f64, gaps: &[f64]) -> Record {
        let mut at = ttft;
        let mut record = Record { phase, sent: Some(Nanos(0)), ..Record::completed() };
        let ns = |ms: f64| Nanos((ms * 1e6) as u64);
        record.chunks.push(ns(at));
        for gap in gaps {
            at += gap;
            record.chunks.push(ns(at));
        }
        let completion_tokens = 1 + gaps.len() as u64;
        record.usage = Some(Usage { prompt_tokens: 4, completion_tokens, cached_tokens: None });
        record.end = ns(at);
        record
    }

    /// The number of requests until the result is clear, of those that an iterator gives.
    fn until_clear(cell: &Cell, records: impl Iterator<Item = Record>) -> Option<(usize, String)> {
        let mut early = EarlyEnd::of(cell).unwrap();
        let at = records.take(4000).position(|record| early.take(&record))?;
        Some((at + 1, early.reason().unwrap().to_owned()))
    }

    fn measured(ttft: impl Fn(u64) -> f64) -> impl Iterator<Item = Record> {
        (0..).map(move |number| request(Phase::Measured, ttft(number), &[]))
    }

    /// Uniform in [0, 1) from a number, by multiplication with the golden ratio's bits.
    fn chance(number: u64, seed: u64) -> f64 {
        let mut bits = (number + seed * 7_919).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (bits >> 11) as f64 / (1u64 << 53) as f64
    }

    #[test]
    fn only_probes_with_targets_are_tested() {
        let cell = closed(8, 0, "together");
        assert!(EarlyEnd::of(&Cell { search: None, ..cell.clone() }).is_none());
        assert!(EarlyEnd::of(&probe(json!({ "concurrency": 8 }), json!({}), 100)).is_none());
        assert!(EarlyEnd::of(&cell).is_some());
    }

    #[test]
    fn what_is_far_from_the_limit_is_clear_soon_and_what_is_near_is_not() {
        let cell = closed(8, 0, "together");
        let (meets, reason) = until_clear(&cell, measured(|_| 50.0)).unwrap();
        assert!((100..=110).contains(&meets) && reason.starts_with("clearly meets"), "{meets} {reason}");
        let (misses, reason) = until_clear(&cell, measured(|_| 150.0)).unwrap();
        assert!(misses <= 16 && reason.starts_with("clearly misses p95_ttft"), "{misses} {reason}");
        let third =
            until_clear(&cell, measured(|number| if number % 3 == 0 { 150.0 } else { 50.0 })).unwrap();
        assert!(third.0 <= 40, "{third:?}");
        // One in twenty is the limit itself.
        assert_eq!(until_clear(&cell, measured(|number| if number % 20 == 7 { 150.0 } else { 50.0 })), None);
        // Latencies from 95 to 100.26 ms, of which one in twenty is beyond 100: no need to know on which side.
        let (near, reason) = until_clear(&cell, measured(|number| 95.0 + 5.26 * chance(number, 1))).unwrap();
        assert!(near < 600 && reason.starts_with("p95_ttft is within 1 %"), "{near} {reason}");
    }

    #[test]
    fn the_errors_are_as_rare_as_stated() {
        let cell = closed(8, 0, "together");
        let wrong = |share: f64, word: &str| {
            let runs = 100;
            let law = |seed| measured(move |number| if chance(number, seed) < share { 150.0 } else { 50.0 });
            let wrong = (0..runs).filter(|seed| {
                until_clear(&cell, law(*seed)).is_some_and(|(_, reason)| reason.contains(word))
            });
            wrong.count() as f64 / runs as f64
        };
        // Just within the limit and just beyond it, the hardest cases: the stated error and chance.
        assert!(wrong(0.049, "misses") < ERROR + 0.03);
        assert!(wrong(0.051, "meets") < ERROR + 0.03);
        assert_eq!(wrong(0.2, "meets"), 0.0);
    }

    #[test]
    fn the_start_does_not_fool_it() {
        // A server that is fast until all of its 400 streams are there.
        let cell = closed(400, 400, "staggered");
        let warmup = || (0..400).map(|_| request(Phase::Warmup, 50.0, &[]));
        let (n, reason) = until_clear(&cell, warmup().chain(measured(|_| 150.0))).unwrap();
        assert!(n > 400 && reason.contains("misses"), "{n} {reason}");
        // A quarter of a generation is needed to meet.
        let (n, _) = until_clear(&closed(1000, 0, "together"), measured(|_| 50.0)).unwrap();
        assert_eq!(n, 250);
        // A staggered warm-up that is too slow already is a miss, and one that starts together is not.
        // It ends once measured requests are in flight: 208 of 208 streams have sent their next one.
        let slow = || (0..400).map(|stream| Record { stream, ..request(Phase::Warmup, 150.0, &[]) });
        assert_eq!(until_clear(&cell, slow()).unwrap().0, 208);
        assert_eq!(until_clear(&closed(400, 400, "together"), slow()), None);
        // In an open loop the queue may still grow.
        let open =
            probe(json!({ "rate": 10.0, "arrivals": "poisson" }), json!({ "p95_ttft": "100ms" }), 2000);
        assert_eq!(until_clear(&open, measured(|_| 50.0)).unwrap().0, 1000);
        assert_eq!(until_clear(&open, measured(|_| 150.0)).unwrap().0, 16);
    }

    #[test]
    fn every_term_has_to_be_met_and_one_is_enough_to_miss() {
        let slo = json!({ "p95_ttft": "100ms", "p90_itl": "10ms", "p50_e2e": "1s" });
        let cell = probe(json!({ "concurrency": 4 }), slo, 2000);
        let with = |gaps: &'static [f64]| (0..).map(|_| request(Phase::Measured, 50.0, gaps));
        let (_, reason) = until_clear(&cell, with(&[8.0, 8.0, 12.0])).unwrap();
        assert!(reason.starts_with("clearly misses p90_itl: 33 %"), "{reason}");
        assert!(until_clear(&cell, with(&[8.0; 3])).unwrap().1.starts_with("clearly meets"));
        // Answers of one token have no gaps.
        assert!(until_clear(&cell, with(&[])).unwrap().1.starts_with("clearly meets"));
        let failing =
            (0..).map(|_| Record { outcome: Outcome::Rejected(429), ..request(Phase::Measured, 1.0, &[]) });
        let (_, reason) = until_clear(&cell, failing).unwrap();
        assert_eq!(reason, "clearly misses the SLO: 100 % of 16 requests failed");
    }

    #[test]
    fn latencies_that_the_end_of_a_probe_lowers_need_a_whole_generation() {
        let cell = probe(json!({ "concurrency": 200 }), json!({ "p95_e2e": "100ms" }), 2000);
        let e2e = |ms: f64| (0..).map(move |_| request(Phase::Measured, 10.0, &[ms - 10.0]));
        assert_eq!(until_clear(&cell, e2e(110.0)).unwrap().0, 200);
        assert_eq!(until_clear(&cell, e2e(90.0)).unwrap().0, 200);
        // Far from the limit, less is enough.
        assert_eq!(until_clear(&cell, e2e(200.0)).unwrap().0, 25);
        assert!(until_clear(&cell, e2e(50.0)).unwrap().0 < 110);
    }

    #[test]
    fn requests_that_are_slow_together_count_as_fewer() {
        let cell = closed(8, 0, "together");
        let in_runs = |length: u64| {
            measured(move |number| if (number / length).is_multiple_of(8) { 150.0 } else { 50.0 })
        };
        let (alone, _) = until_clear(&cell, in_runs(1).skip(1)).unwrap();
        let (together, _) = until_clear(&cell, in_runs(3).skip(3)).unwrap();
        assert!(together > 3 * alone / 2, "{alone} {together}");
    }

    #[test]
    fn a_probe_that_sent_everything_did_not_end_early() {
        let cell = probe(json!({ "concurrency": 8 }), json!({ "p95_ttft": "100ms" }), 16);
        let mut early = EarlyEnd::of(&cell).unwrap();
        for record in measured(|_| 150.0).take(16) {
            early.take(&record);
        }
        assert_eq!(early.reason(), None);
    }
}
