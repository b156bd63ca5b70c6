//! Collects the samples of a summary from records. Repeats are pooled here, sample by sample.

use std::collections::BTreeMap;

use super::{
    context::CellContext,
    in_flight::{self, Interval},
    latency::percentile,
    selection,
    summary::{AskedSpread, Counts, Latency, OutputLength, Starts, Summary},
};
use crate::{
    load::{Outcome, Phase, Record, Records},
    manifest::{LatencyKind, Slo, Start, Workload},
    unit::{Nanos, Percentile},
};

/// The latencies of one completed request, milliseconds.
struct Times {
    /// Absent for an answer that was not streamed.
    ttft: Option<f64>,
    e2e: f64,
    /// Absent for fewer than two tokens, without a token count, and for an answer that was not streamed.
    tpot: Option<f64>,
}

/// The instant from which a request's latency counts: in an open loop when it was due, in a closed loop when
/// it was sent. A request that was never sent has only the former.
fn origin(record: &Record, spec: &Workload) -> Nanos {
    if spec.arrivals.is_open() { record.scheduled } else { record.sent.unwrap_or(record.scheduled) }
}

/// The measured records, without warm-up.
fn measured(records: &Records) -> impl Iterator<Item = Record> + '_ {
    records.iter().filter(|record| record.phase == Phase::Measured)
}

/// The window: first origin to last end of the measured requests; `None` when it is empty.
pub(super) fn window(records: &Records, spec: &Workload) -> Option<Interval> {
    let (first, last) = measured(records)
        .map(|record| (origin(&record, spec), record.end))
        .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
    Interval::between(first, last)
}

/// The distribution of gaps between chunks, over all requests that have latencies.
pub(super) fn itl(repeats: &[&Records]) -> Option<Latency> {
    selection::latency(|take: &mut dyn FnMut(u64)| {
        for record in repeats.iter().flat_map(|records| measured(records)) {
            if is_timed(&record) {
                record.chunks.gaps().for_each(&mut *take);
            }
        }
    })
}

/// Whether a request has latencies: it completed and has output.
fn is_timed(record: &Record) -> bool {
    record.outcome == Outcome::Completed && record.sent.is_some() && !record.chunks.is_empty()
}

impl Times {
    /// Computes the latencies; `None` when the request has none.
    fn of(record: &Record, spec: &Workload) -> Option<Self> {
        if !is_timed(record) {
            return None;
        }
        let origin = origin(record, spec);
        let (first, last) = (record.chunks.first()?, record.chunks.last()?);
        let tokens = record.usage.map(|usage| usage.completion_tokens);
        let streamed = !record.whole;
        let tpot = tokens.filter(|n| *n >= 2 && streamed).map(|n| last.ms_since(first) / (n - 1) as f64);
        Some(Self { ttft: streamed.then(|| first.ms_since(origin)), e2e: last.ms_since(origin), tpot })
    }

    /// Whether the request meets every term of an SLO: a term on ITL is compared with that percentile of the
    /// request's own gaps, any other with its single value. An answer of one token has no gap that could be
    /// too long. `None` when a term needs a token count or the stamps of a stream, and there are none.
    fn meets(&self, slo: &Slo, record: &Record) -> Option<bool> {
        let mut all = true;
        for term in &slo.0 {
            if record.whole && term.metric != LatencyKind::E2e {
                return None;
            }
            let value = match term.metric {
                LatencyKind::Tpot => {
                    record.usage?;
                    self.tpot
                }
                LatencyKind::Itl => {
                    let gaps = record.chunks.gaps().map(|gap| gap as f64 / 1e6);
                    let mut gaps: Vec<f64> = gaps.collect();
                    gaps.sort_by(f64::total_cmp);
                    percentile(&gaps, term.percentile)
                }
                kind => self.of_kind(kind),
            };
            all &= value.is_none_or(|value| value <= term.limit.as_ms());
        }
        Some(all)
    }

    /// A latency that is one number for a request: any but ITL.
    fn of_kind(&self, kind: LatencyKind) -> Option<f64> {
        match kind {
            LatencyKind::Ttft => self.ttft,
            LatencyKind::E2e => Some(self.e2e),
            LatencyKind::Tpot => self.tpot,
            LatencyKind::Itl => None,
        }
    }
}

/// The shares of a request that exceed given limits, milliseconds: of its gaps for ITL, else all or nothing.
/// `None` for a request without this latency, such as one that failed.
pub(super) fn exceeding<const N: usize>(
    record: &Record,
    spec: &Workload,
    kind: LatencyKind,
    limits_ms: [f64; N],
) -> Option<[f64; N]> {
    if kind == LatencyKind::Itl {
        let gaps = record.chunks.len().checked_sub(1).filter(|gaps| *gaps > 0 && is_timed(record))?;
        return Some(limits_ms.map(|limit| {
            let late = record.chunks.gaps().filter(|gap| *gap as f64 / 1e6 > limit).count();
            late as f64 / gaps as f64
        }));
    }
    let value = Times::of(record, spec)?.of_kind(kind)?;
    Some(limits_ms.map(|limit| f64::from(value > limit)))
}

#[derive(Default)]
pub(super) struct Samples {
    counts: Counts,
    window: Option<Interval>,
    steady: Option<Interval>,
    ttft: Vec<f64>,
    tpot: Vec<f64>,
    e2e: Vec<f64>,
    issue_delay: Vec<f64>,
    user_tok_s: Vec<f64>,
    /// Output tokens of each completed request with a token count.
    tokens: Vec<u64>,
    /// `max_tokens` of the same requests.
    max_tokens: Vec<u32>,
    /// Chunks of those requests that were streamed.
    chunks: u64,
    /// Output tokens of those requests that were streamed.
    streamed_tokens: u64,
    /// Number of those requests that returned fewer tokens than `max_tokens`.
    shorter: u64,
    input_tokens: u64,
    cached_tokens: Option<u64>,
    /// Number of completed requests without a token count.
    uncounted: u64,
    /// Output tokens that arrived in the steady window.
    steady_tokens: f64,
    /// Number of requests that met every SLO term.
    good: u64,
    /// Number of completed requests for which that cannot be decided.
    unjudged: u64,
    peak: Option<u32>,
    queue: Option<u32>,
    starts: Option<Starts>,
}

impl Samples {
    /// Adds the samples of one repeat's measured requests, and the lengths of its windows.
    pub(super) fn gather(&mut self, records: &Records, context: &CellContext<'_>) {
        for record in measured(records) {
            self.add(&record, context);
        }
        let window = window(records, context.spec);
        let steady = window.and_then(|window| in_flight::steady(records, context.spec, window));
        if let Some(steady) = steady {
            // The end of the warm-up counts too: its requests were in flight.
            self.steady_tokens += records.iter().map(|record| tokens_in(&record, steady)).sum::<f64>();
        }
        self.window = Interval::pool(self.window, window);
        self.steady = Interval::pool(self.steady, steady);
        self.peak = self.peak.max(in_flight::peak(measured(records)));
        match context.start {
            Some(how) => {
                let starts = starts(records, how).into_iter().chain(self.starts);
                self.starts = starts.max_by(|a, b| a.spread_s.total_cmp(&b.spread_s));
            }
            None => self.queue = self.queue.max(in_flight::queue(measured(records))),
        }
    }

    fn add(&mut self, record: &Record, context: &CellContext<'_>) {
        self.counts.scheduled += 1;
        let name = record.outcome.to_string();
        *self.counts.by_outcome.entry(name).or_default() += 1;
        if let Some(sent) = record.sent {
            self.issue_delay.push(sent.ms_since(record.scheduled));
        }
        if record.outcome != Outcome::Completed {
            return;
        }
        self.counts.completed += 1;
        match record.usage {
            None => self.uncounted += 1,
            Some(usage) => {
                self.tokens.push(usage.completion_tokens);
                self.max_tokens.push(record.max_tokens);
                if !record.whole {
                    self.chunks += record.chunks.len() as u64;
                    self.streamed_tokens += usage.completion_tokens;
                }
                self.shorter += u64::from(usage.completion_tokens < u64::from(record.max_tokens));
                self.input_tokens += usage.prompt_tokens;
                if let Some(cached) = usage.cached_tokens {
                    *self.cached_tokens.get_or_insert(0) += cached;
                }
            }
        }
        let Some(times) = Times::of(record, context.spec) else {
            self.unjudged += 1;
            return;
        };
        match times.meets(&context.spec.slo, record) {
            Some(met) => self.good += u64::from(met),
            None => self.unjudged += 1,
        }
        self.ttft.extend(times.ttft);
        self.e2e.push(times.e2e);
        self.tpot.extend(times.tpot);
        // Tokens that arrived all at once have no rate.
        self.user_tok_s.extend(times.tpot.filter(|tpot| *tpot > 0.0).map(|tpot| 1e3 / tpot));
    }

    /// Computes the summary. `itl` is the distribution of gaps. When one request lacks a token count, the
    /// sums of tokens are absent.
    pub(super) fn summary(mut self, itl: Option<Latency>, context: &CellContext<'_>) -> Summary {
        let completed = self.counts.completed;
        let seconds = self.window.map(Interval::seconds);
        let rate = |amount: Option<u64>| Some(amount? as f64 / seconds?);
        let all_counted = completed > 0 && self.uncounted == 0;
        let output_tokens = all_counted.then(|| self.tokens.iter().sum::<u64>());
        let input_tokens = all_counted.then_some(self.input_tokens);
        let total = output_tokens.zip(input_tokens).map(|(output, input)| output + input);
        let has_goodput = completed > 0 && !context.spec.slo.0.is_empty() && self.unjudged == 0;
        self.user_tok_s.sort_by(f64::total_cmp);
        Summary {
            window: self.window.map(Into::into),
            steady: self.steady.map(Into::into),
            user_tok_s: percentile(&self.user_tok_s, Percentile::P50),
            output_tokens,
            input_tokens,
            cached_tokens: self.cached_tokens,
            throughput_tok_s: rate(output_tokens),
            total_tok_s: rate(total),
            steady_tok_s: self
                .steady
                .filter(|_| all_counted)
                .map(|steady| self.steady_tokens / steady.seconds()),
            req_s: rate((completed > 0).then_some(completed)),
            goodput_req_s: rate(has_goodput.then_some(self.good)),
            tokens_per_chunk: (self.chunks > 0).then(|| self.streamed_tokens as f64 / self.chunks as f64),
            output_length: output_length(&mut self.tokens, &mut self.max_tokens, self.shorter),
            peak_in_flight: self.peak,
            peak_queue: self.queue,
            starts: self.starts,
            ttft: Latency::of(self.ttft),
            itl,
            tpot: Latency::of(self.tpot),
            e2e: Latency::of(self.e2e),
            issue_delay: Latency::of(self.issue_delay),
            counts: self.counts,
        }
    }
}

/// How the streams of a repeat started; `None` when there were none.
fn starts(records: &Records, how: Start) -> Option<Starts> {
    let mut first: BTreeMap<u32, Nanos> = BTreeMap::new();
    for record in records {
        let at = first.entry(record.stream).or_insert(record.scheduled);
        *at = record.scheduled.min(*at);
    }
    let (earliest, latest) = (first.values().min()?, first.values().max()?);
    Some(Starts { how, spread_s: latest.ms_since(*earliest) / 1e3 })
}

/// Output tokens of a completed request that arrived within an interval: its chunks there, times the
/// request's tokens per chunk. All tokens of an answer that was not streamed arrive at its end.
fn tokens_in(record: &Record, interval: Interval) -> f64 {
    let Some(usage) =
        record.usage.filter(|_| record.outcome == Outcome::Completed && !record.chunks.is_empty())
    else {
        return 0.0;
    };
    let inside = record.chunks.iter().filter(|at| interval.contains(*at)).count();
    inside as f64 * usage.completion_tokens as f64 / record.chunks.len() as f64
}

/// Compares requested with returned lengths.
fn output_length(tokens: &mut [u64], max_tokens: &mut [u32], shorter: u64) -> Option<OutputLength> {
    tokens.sort_unstable();
    max_tokens.sort_unstable();
    let returned: Vec<f64> = tokens.iter().map(|n| *n as f64).collect();
    let (least, most) = (*max_tokens.first()?, *max_tokens.last()?);
    let requested: Vec<f64> = max_tokens.iter().map(|n| f64::from(*n)).collect();
    let spread = percentile(&requested, Percentile::P50).map(|p50| AskedSpread { min: least, p50 });
    Some(OutputLength {
        asked: most,
        asked_spread: spread.filter(|_| least < most),
        min: *tokens.first()?,
        p50: percentile(&returned, Percentile::P50)?,
        max: *tokens.last()?,
        shorter,
    })
}
