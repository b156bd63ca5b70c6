//! Computes when requests are due from an arrival model, a seed and a stop condition, before the clock
//! starts.

use std::time::Duration;

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::error::LoadError;
use crate::{
    manifest::{Arrivals, Inputs, Output, Start, ThinkTime},
    plan::{Cell, Stop},
    unit::Nanos,
};

/// The most arrivals of one schedule. Each takes eight bytes.
pub const MOST_ARRIVALS: usize = 10_000_000;
/// Assumed length of an answer that ends with a stop token, at most, tokens: `max_tokens` may be far beyond
/// it.
const NATURAL_TOKENS: u32 = 64;
/// Number of the random stream for gaps and think times; prompts use another one.
const STREAM: u64 = u64::from_le_bytes(*b"arrivals");

/// When requests start.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// A fixed number of streams, each of which sends its next request when its last one has ended.
    Closed(Closed),
    /// Requests at instants that do not depend on the answers.
    Open(Open),
}

/// A closed loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Closed {
    /// Number of streams.
    pub streams: u32,
    /// How they start.
    pub start: Start,
    /// How long a stream waits before its next request.
    pub think: Option<ThinkTime>,
    /// Approximate tokens of an answer: a staggered start is spread over the time that these take.
    pub answer_tokens: u32,
    /// Seed of exponential think times.
    pub seed: u64,
}

/// An open loop.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    /// When each request is due, warm-up included: time since the epoch, ascending.
    pub due: Vec<Nanos>,
    /// The most requests in flight; further arrivals are dropped.
    pub max_in_flight: Option<u32>,
    /// Time between an answer and the next turn of a conversation.
    pub think: Option<ThinkTime>,
    /// Seed of exponential think times.
    pub seed: u64,
}

/// Computes the schedule of one repeat of a cell, counted from 1.
///
/// # Errors
/// When the arrival model lacks a number, a trace cannot be read or is too short, or there are more than
/// [`MOST_ARRIVALS`] arrivals.
pub fn schedule(cell: &Cell, inputs: &Inputs, repeat: u32) -> Result<Schedule, LoadError> {
    let spec = &cell.spec;
    let seed = cell.seed.wrapping_add(u64::from(repeat));
    if let Some(streams) = spec.streams() {
        return Ok(Schedule::Closed(Closed {
            streams,
            start: cell.start().unwrap_or(Start::Together),
            think: spec.think_time,
            answer_tokens: match spec.output {
                Output::Exact => cell.max_tokens,
                Output::Natural => cell.max_tokens.min(NATURAL_TOKENS),
            },
            seed,
        }));
    }
    let missing = |key| LoadError::MissingKey { arrivals: spec.arrivals, key };
    let rate = || spec.rate.ok_or(missing("rate"));
    let model = match spec.arrivals {
        Arrivals::Closed | Arrivals::AtOnce => Model::AtOnce,
        Arrivals::Constant => Model::Constant { rate: rate()? },
        // A gamma distribution of shape 1 is the exponential one.
        Arrivals::Poisson => Model::Gamma { rate: rate()?, shape: 1.0 },
        Arrivals::Gamma => {
            Model::Gamma { rate: rate()?, shape: spec.burstiness.ok_or(missing("burstiness"))? }
        }
        Arrivals::Ramp => Model::Ramp { from: rate()?, to: spec.ramp_to.ok_or(missing("ramp_to"))? },
        Arrivals::Bursts => {
            Model::Bursts { rate: rate()?, size: u64::from(spec.burst.ok_or(missing("burst"))?) }
        }
        Arrivals::Trace => {
            let trace = spec.trace.as_ref().ok_or(missing("trace"))?;
            let lines = inputs.trace(trace).map_err(|error| LoadError::Trace(error.to_string()))?;
            Model::Instants(lines.iter().map(|line| line.at_s / trace.speed).collect())
        }
    };
    Ok(Schedule::Open(Open {
        due: due(&model, spec.warmup, cell.stop, seed)?,
        max_in_flight: spec.max_in_flight,
        think: spec.think_time,
        seed,
    }))
}

/// An arrival model with its numbers; rates per second.
#[derive(Clone, Debug, PartialEq)]
enum Model {
    Constant { rate: f64 },
    Gamma { rate: f64, shape: f64 },
    Ramp { from: f64, to: f64 },
    Bursts { rate: f64, size: u64 },
    AtOnce,
    Instants(Vec<f64>),
}

/// Computes when requests are due: `warmup` arrivals, then those before `stop`. A duration counts from the
/// first measured arrival.
fn due(model: &Model, warmup: u64, stop: Stop, seed: u64) -> Result<Vec<Nanos>, LoadError> {
    let (measured, span) = match stop {
        Stop::Requests(requests) => (Some(requests), None),
        Stop::Duration(span) => (None, Some(span.duration())),
    };
    let wanted = measured.map(|requests| warmup.saturating_add(requests));
    let mut random = random(seed);
    let mut seconds = 0.0;
    let mut due: Vec<Nanos> = Vec::new();
    let mut last = None;
    for index in 0u64.. {
        if wanted == Some(index) {
            break;
        }
        seconds = match model {
            Model::Constant { rate } => index as f64 / rate,
            Model::Gamma { rate, shape } => seconds + gamma(*shape, &mut random) / (shape * rate),
            Model::Ramp { from, to } => match index.checked_sub(warmup) {
                // Warm-up arrives at the initial rate.
                None => index as f64 / from,
                Some(measured_index) => {
                    let length = match (measured, span) {
                        (Some(requests), _) => 2.0 * requests as f64 / (from + to),
                        (None, Some(span)) => span.as_secs_f64(),
                        (None, None) => f64::INFINITY,
                    };
                    match ramp(*from, *to, length, measured_index as f64) {
                        Some(at) => warmup as f64 / from + at,
                        // A falling rate has reached zero.
                        None => break,
                    }
                }
            },
            Model::Bursts { rate, size } => (index / size * size) as f64 / rate,
            Model::AtOnce => 0.0,
            Model::Instants(instants) => match instants.get(index as usize) {
                Some(at) => *at,
                None if span.is_some() => break,
                None => {
                    let needed = wanted.unwrap_or(index);
                    return Err(LoadError::ShortTrace { available: instants.len(), needed });
                }
            },
        };
        let at = Nanos((seconds * 1e9).round() as u64);
        if index == warmup {
            last = span.map(|span| at.0.saturating_add(span.as_nanos() as u64));
        }
        if last.is_some_and(|last| at.0 >= last) {
            break;
        }
        if due.len() == MOST_ARRIVALS {
            return Err(LoadError::TooManyArrivals(MOST_ARRIVALS));
        }
        due.push(at);
    }
    Ok(due)
}

/// When the `count`-th arrival is due while the rate goes linearly from `from` to `to` within `length`
/// seconds: the t with from t + (to − from) t² / (2 length) = count. `None` when there is no such t.
fn ramp(from: f64, to: f64, length: f64, count: f64) -> Option<f64> {
    let root = from * from + 2.0 * (to - from) * count / length;
    (root >= 0.0).then(|| 2.0 * count / (from + root.sqrt()))
}

fn random(seed: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(STREAM);
    random
}

/// Uniform in (0, 1), with 53 random bits.
fn uniform(random: &mut ChaCha8Rng) -> f64 {
    ((random.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// Exponential with mean 1, by inversion.
fn exponential(random: &mut ChaCha8Rng) -> f64 {
    -uniform(random).ln()
}

/// Standard normal, by the Box–Muller transform.
fn normal(random: &mut ChaCha8Rng) -> f64 {
    let radius = (2.0 * exponential(random)).sqrt();
    radius * (std::f64::consts::TAU * uniform(random)).cos()
}

/// Gamma with scale 1: Marsaglia and Tsang, "A simple method for generating gamma variables" (2000), with
/// their boost for shapes below 1. Implemented here so that the same seed gives the same schedule in every
/// version.
fn gamma(shape: f64, random: &mut ChaCha8Rng) -> f64 {
    if shape == 1.0 {
        return exponential(random);
    }
    if shape < 1.0 {
        let boost = uniform(random).powf(1.0 / shape);
        return gamma(shape + 1.0, random) * boost;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(random);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && uniform(random).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

/// Draws the think times of one stream or conversation.
pub struct Think {
    think: ThinkTime,
    random: ChaCha8Rng,
}

impl Think {
    /// The think times of the stream or conversation with a number; `None` when the workload has none.
    pub fn of(think: Option<ThinkTime>, seed: u64, number: u64) -> Option<Self> {
        let mut random = random(seed);
        random.set_stream(STREAM.wrapping_add(1 + number));
        Some(Self { think: think?, random })
    }

    /// Draws the next think time.
    pub fn draw(&mut self) -> Duration {
        match self.think {
            ThinkTime::Fixed(span) => span.duration(),
            ThinkTime::Exponential(mean) => mean.mean.duration().mul_f64(exponential(&mut self.random)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::unit::TimeSpan;

    fn ms(model: &Model, warmup: u64, stop: Stop) -> Vec<f64> {
        let due = due(model, warmup, stop, 7).unwrap();
        due.into_iter().map(Nanos::as_ms).collect()
    }

    fn for_ms(length: u64) -> Stop {
        Stop::Duration(TimeSpan::from_millis(length))
    }

    #[test]
    fn regular_models_are_exact() {
        let constant = Model::Constant { rate: 100.0 };
        assert_eq!(ms(&constant, 0, Stop::Requests(4)), [0.0, 10.0, 20.0, 30.0]);
        assert_eq!(ms(&constant, 0, for_ms(30)), [0.0, 10.0, 20.0]);
        // A duration counts from the first measured arrival, here at 20 ms.
        assert_eq!(ms(&constant, 2, for_ms(20)), [0.0, 10.0, 20.0, 30.0]);
        // The millionth arrival is where it belongs: no error adds up.
        let third = Model::Constant { rate: 3.0 };
        let due = due(&third, 0, Stop::Requests(1_000_001), 7).unwrap();
        assert_eq!(due[1_000_000], Nanos(333_333_333_333_333));
        let bursts = Model::Bursts { rate: 100.0, size: 3 };
        assert_eq!(ms(&bursts, 0, Stop::Requests(7)), [0.0, 0.0, 0.0, 30.0, 30.0, 30.0, 60.0]);
        assert_eq!(ms(&Model::AtOnce, 0, Stop::Requests(3)), [0.0; 3]);
        let trace = Model::Instants(vec![0.0, 0.5, 0.5, 2.0]);
        assert_eq!(ms(&trace, 1, Stop::Requests(2)), [0.0, 500.0, 500.0]);
        assert_eq!(ms(&trace, 0, for_ms(1000)), [0.0, 500.0, 500.0]);
        let short = super::due(&trace, 1, Stop::Requests(4), 7).unwrap_err();
        assert_eq!(short, LoadError::ShortTrace { available: 4, needed: 5 });
    }

    #[test]
    fn a_ramp_is_linear_in_both_directions() {
        // From 10 to 30 per second in 10 s: 200 arrivals; the k-th at the t with 10 t + t² = k.
        let ramp = Model::Ramp { from: 10.0, to: 30.0 };
        let by_requests = ms(&ramp, 0, Stop::Requests(200));
        assert_eq!(by_requests, ms(&ramp, 0, for_ms(10_000)));
        assert_eq!(by_requests.len(), 200);
        assert_eq!(by_requests[11], 1000.0);
        assert_eq!(by_requests[75], 5000.0);
        // Downwards, and after a warm-up at the first rate.
        let down = Model::Ramp { from: 30.0, to: 10.0 };
        let due = ms(&down, 3, Stop::Requests(200));
        assert_eq!(due.len(), 203);
        assert_eq!(due[3], 100.0);
        // 30 t − t² = 125 at t = 5.
        assert_eq!(due[3 + 125], 5100.0);
    }

    #[test]
    fn a_schedule_that_is_too_long_is_an_error() {
        let fast = Model::Constant { rate: 1e6 };
        let error = due(&fast, 0, Stop::Duration(TimeSpan::from_secs(3600)), 7).unwrap_err();
        assert_eq!(error, LoadError::TooManyArrivals(MOST_ARRIVALS));
    }

    /// Mean and coefficient of variation of the gaps of many arrivals at 50 per second.
    fn gaps(shape: f64, seed: u64) -> (f64, f64) {
        let model = Model::Gamma { rate: 50.0, shape };
        let due = due(&model, 0, Stop::Requests(20_000), seed).unwrap();
        let gaps: Vec<f64> = due.windows(2).map(|pair| pair[1].ms_since(pair[0])).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        (mean, variance.sqrt() / mean)
    }

    #[test]
    fn gaps_have_the_mean_of_the_rate_and_the_variation_of_the_shape() {
        for shape in [0.25, 0.5, 1.0, 4.0] {
            let (mean, variation) = gaps(shape, 7);
            let wanted = 1.0 / f64::sqrt(shape);
            // Six standard errors of the mean of 20,000 gaps.
            assert!((mean / 20.0 - 1.0).abs() < 6.0 * wanted / f64::sqrt(2e4), "{shape}: {mean}");
            assert!((variation / wanted - 1.0).abs() < 0.06, "{shape}: {variation}");
        }
    }

    fn any_model() -> impl Strategy<Value = Model> {
        let rate = || 0.5..500.0f64;
        prop_oneof![
            rate().prop_map(|rate| Model::Constant { rate }),
            (rate(), 0.2..5.0f64).prop_map(|(rate, shape)| Model::Gamma { rate, shape }),
            (rate(), rate()).prop_map(|(from, to)| Model::Ramp { from, to }),
            (rate(), 1u64..9).prop_map(|(rate, size)| Model::Bursts { rate, size }),
            Just(Model::AtOnce),
        ]
    }

    proptest! {
        #[test]
        fn schedules_are_ascending_complete_and_the_same_for_the_same_seed(
            model in any_model(), warmup in 0u64..20, requests in 1u64..200, seed in any::<u64>()
        ) {
            let stop = Stop::Requests(requests);
            let first = due(&model, warmup, stop, seed).unwrap();
            prop_assert_eq!(first.len() as u64, warmup + requests);
            prop_assert!(first.is_sorted());
            prop_assert_eq!(&first, &due(&model, warmup, stop, seed).unwrap());
            if matches!(model, Model::Gamma { .. }) {
                prop_assert_ne!(first, due(&model, warmup, stop, seed.wrapping_add(1)).unwrap());
            }
        }

        #[test]
        fn a_duration_admits_what_is_due_within_it(
            model in any_model(), warmup in 0u64..20, length in 1u64..4000, seed in any::<u64>()
        ) {
            prop_assume!(model != Model::AtOnce);
            let due = due(&model, warmup, for_ms(length), seed).unwrap();
            prop_assert!(due.is_sorted());
            prop_assert!(due.len() as u64 > warmup);
            let measured = &due[warmup as usize..];
            prop_assert!(measured.iter().all(|at| at.0 - measured[0].0 < length * 1_000_000));
        }
    }
}
