//! Servers whose limit is known: the time to first token follows a law of the requests in flight, drawn with a
//! seed.

use std::{cmp::Reverse, collections::BinaryHeap};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use runner::{
    engine::{Engine, Gauges, NewRequest, RequestId, Token},
    search::State,
    unit::Nanos,
};

/// The limit of p95 TTFT. Long, so that the milliseconds of the virtual client do not count.
pub(crate) const LIMIT: &str = "100s";
const LIMIT_S: f64 = 100.0;
/// Time between tokens after the first.
const GAP_NS: u64 = 1_000_000_000;
/// The 95th percentile of the standard normal distribution.
const Z95: f64 = 1.645;

/// How p95 TTFT depends on the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Law {
    /// A constant and a power of the load.
    Smooth,
    /// The waiting time of a single-server queue, which rises ever more steeply.
    Queue,
    /// Flat, with a jump at the limit.
    Cliff,
    /// Smooth; every probe is off by 10 to 20 % in all of its requests.
    NoisyProbes,
    /// Smooth; every request is off by 10 to 20 %.
    NoisyRequests,
    /// Beyond the limit, within it again, and beyond it.
    NotMonotone,
    /// Smooth; the smallest load is beyond the limit.
    Never,
    /// Smooth; the largest load is within the limit.
    Always,
    /// Smooth; latency changes by up to 2 % from probe to probe, in one direction.
    Drifting,
}

impl Law {
    pub(crate) const ALL: [Self; 9] = [
        Self::Smooth,
        Self::Queue,
        Self::Cliff,
        Self::NoisyProbes,
        Self::NoisyRequests,
        Self::NotMonotone,
        Self::Never,
        Self::Always,
        Self::Drifting,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Smooth => "smooth",
            Self::Queue => "queue",
            Self::Cliff => "cliff",
            Self::NoisyProbes => "noisy-probes",
            Self::NoisyRequests => "noisy-requests",
            Self::NotMonotone => "not-monotone",
            Self::Never => "never",
            Self::Always => "always",
            Self::Drifting => "drifting",
        }
    }
}

/// A server with a law.
pub(crate) struct Server {
    law: Law,
    seed: u64,
    /// ln of the load at which p95 TTFT is the limit.
    limit: f64,
    /// The law's own parameters, uniform in [0, 1).
    shape: [f64; 3],
    /// Standard deviation of ln(latency) between requests, and between probes.
    requests: f64,
    probes: f64,
    /// Change of ln(latency) from probe to probe.
    drift: f64,
    /// Error of a good prediction, in standard deviations, and the direction of a wrong one.
    prediction: (f64, f64),
}

impl Server {
    pub(crate) fn draw(law: Law, seed: u64) -> Self {
        let mut random = random(seed, law as u64);
        let mut uniform = || uniform(&mut random);
        // Between 3 and 900.
        let limit = match law {
            Law::Never => -0.1 - 2.0 * uniform(),
            Law::Always => 1000f64.ln() + 0.1 + 2.0 * uniform(),
            _ => 3f64.ln() + uniform() * 300f64.ln(),
        };
        let shape = [uniform(), uniform(), uniform()];
        let noise = 0.1 + 0.1 * uniform();
        let drift = 0.02 * (2.0 * uniform() - 1.0);
        let prediction = (uniform() + uniform() + uniform() - 1.5, if uniform() < 0.5 { -1.0 } else { 1.0 });
        Self {
            law,
            seed,
            limit,
            shape,
            requests: if law == Law::NoisyRequests { noise } else { 0.03 },
            probes: if law == Law::NoisyProbes { noise } else { 0.0 },
            drift: if law == Law::Drifting { drift } else { 0.0 },
            prediction: (2.0 * prediction.0, prediction.1),
        }
    }

    /// ln(p95 TTFT / limit) at a load, at the time of a probe, without noise.
    fn log(&self, load: f64, time: u64) -> f64 {
        let u = load.ln() - self.limit;
        let [a, b, c] = self.shape;
        let own = match self.law {
            Law::Queue => {
                // Utilization at the limit; from 0.99 on the queue grows in proportion to the load.
                let at_limit = 0.5 + 0.45 * a;
                let busy = at_limit * u.exp();
                let wait = |busy: f64| if busy < 0.99 { 1.0 / (1.0 - busy) } else { 100.0 * busy / 0.99 };
                (wait(busy) / wait(at_limit)).ln()
            }
            Law::Cliff if u <= 0.0 => -0.15 - 1.2 * a + 0.1 * u,
            Law::Cliff => 0.2 + 2.0 * b + 0.3 * u,
            Law::NotMonotone => {
                let (again, last) = (0.2 + 0.6 * a, 0.5 + 1.2 * a + 0.5 * b);
                if u <= 0.0 || again < u && u <= last { -0.3 - 0.5 * c } else { 0.3 + 0.5 * c }
            }
            _ => {
                let flat = 0.1 + 0.5 * a;
                (flat + (1.0 - flat) * ((1.0 + 2.0 * b) * u).exp()).ln()
            }
        };
        own + self.drift * time as f64
    }

    /// Whether the lower end is within the limit and the upper one beyond it, at the time of a probe.
    pub(crate) fn is_between(&self, low: Option<f64>, high: Option<f64>, state: State, time: u64) -> bool {
        let is_within = |load: f64| self.log(load, time) <= 1e-9;
        match state {
            State::None => !is_within(1.0),
            State::All => is_within(1000.0),
            _ => low.is_none_or(is_within) && high.is_none_or(|load| !is_within(load)),
        }
    }

    /// A prediction of the limit with its 90 % interval, off by `wrong` in ln(load).
    pub(crate) fn prediction(&self, wrong: f64) -> [f64; 3] {
        const DEVIATION: f64 = 0.15;
        let (error, direction) = self.prediction;
        let center = self.limit + DEVIATION * error + wrong * direction;
        [-Z95, 0.0, Z95].map(|z| (center + z * DEVIATION).exp())
    }

    /// An engine for one probe.
    pub(crate) fn engine(&self, time: u64) -> LawEngine<'_> {
        let mut random = random(self.seed, 1000 + time);
        let off = self.probes * normal(&mut random);
        LawEngine { server: self, time, off, random, arrived: 0, running: 0, tokens: BinaryHeap::new() }
    }
}

/// An engine whose time to first token follows the law of its server.
pub(crate) struct LawEngine<'a> {
    server: &'a Server,
    time: u64,
    off: f64,
    random: ChaCha8Rng,
    arrived: u64,
    running: usize,
    /// Time, request and number of the next token of each, and how many follow.
    tokens: BinaryHeap<Reverse<(Nanos, u64, u64, u64)>>,
}

impl Engine for LawEngine<'_> {
    fn admit(&mut self, now: Nanos, request: NewRequest<'_>) -> RequestId {
        let number = self.arrived;
        self.arrived += 1;
        self.running += 1;
        let log = self.server.log(self.running as f64, self.time) + self.off;
        let spread = self.server.requests * (normal(&mut self.random) - Z95);
        let first = Nanos(now.0 + (LIMIT_S * 1e9 * (log + spread).exp()) as u64);
        self.tokens.push(Reverse((first, number, 1, request.output_tokens - 1)));
        RequestId(number)
    }

    fn cancel(&mut self, _: Nanos, request: RequestId) {
        let before = self.tokens.len();
        self.tokens.retain(|Reverse((_, number, ..))| *number != request.0);
        self.running -= before - self.tokens.len();
    }

    fn next_at(&self) -> Option<Nanos> {
        self.tokens.peek().map(|Reverse((at, ..))| *at)
    }

    fn next_token(&mut self, now: Nanos) -> Option<Token> {
        let Reverse((at, request, number, left)) =
            *self.tokens.peek().filter(|Reverse((at, ..))| *at <= now)?;
        self.tokens.pop();
        let last = left == 0;
        if last {
            self.running -= 1;
        } else {
            self.tokens.push(Reverse((Nanos(at.0 + GAP_NS), request, number + 1, left - 1)));
        }
        Some(Token { at, request: RequestId(request), number, last, began: at })
    }

    fn gauges(&self) -> Gauges {
        Gauges { running: self.running, ..Gauges::default() }
    }
}

fn random(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(stream);
    random
}

/// Uniform in (0, 1).
fn uniform(random: &mut ChaCha8Rng) -> f64 {
    ((random.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// Standard normal, by the Box–Muller transform.
fn normal(random: &mut ChaCha8Rng) -> f64 {
    (-2.0 * uniform(random).ln()).sqrt() * (std::f64::consts::TAU * uniform(random)).cos()
}
