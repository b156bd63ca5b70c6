//! A server without noise: latencies follow a law, throughput follows from them by Little's law.

use crate::{
    manifest::LatencyKind,
    measure::{Metric, Rank, Rate},
};

/// How latency grows with the requests in flight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shape {
    /// Hardly at all.
    Linear,
    /// Beyond a load all share the engine, with a rounded corner.
    Rounded(f64),
    /// Beyond a load all share the engine, with a sharp corner.
    Sharp(f64),
    /// Beyond a load requests wait for their turn: TTFT grows, the time per token does not.
    Queueing(f64),
    /// Requests are served one at a time.
    Flat,
    /// Beyond a load throughput falls.
    Falling(f64),
    /// Beyond a load latency is this many times as long.
    Cliff(f64, f64),
}

impl Shape {
    /// The duration of a request over that of one that is alone.
    fn slower(self, load: f64) -> f64 {
        match self {
            Self::Linear => 1.0,
            Self::Rounded(corner) => (1.0 + (load / corner).powi(3)).cbrt(),
            Self::Sharp(corner) | Self::Queueing(corner) => (load / corner).max(1.0),
            Self::Flat => load,
            Self::Falling(corner) => (load / corner).max(1.0).powf(1.4),
            Self::Cliff(corner, factor) => match load > corner {
                true => factor,
                false => 1.0,
            },
        }
    }

    /// The load at which throughput bends.
    pub(super) fn corner(self) -> Option<f64> {
        match self {
            Self::Linear | Self::Flat => None,
            Self::Rounded(corner)
            | Self::Sharp(corner)
            | Self::Queueing(corner)
            | Self::Falling(corner)
            | Self::Cliff(corner, _) => Some(corner),
        }
    }
}

/// The law of one grid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Law {
    pub(super) shape: Shape,
    /// The relative growth of every latency with each further request in flight.
    pub(super) drift: f64,
    /// The time to the first token of an empty prompt, and the time each prompt token adds, milliseconds.
    pub(super) ttft: f64,
    pub(super) per_prompt_token: f64,
    /// Milliseconds per token.
    pub(super) tpot: f64,
    /// The time per token grows with this power of the length of answers over the shortest.
    pub(super) by_length: f64,
    /// TTFT grows with this power of the length of answers over the shortest.
    pub(super) held_up: f64,
    /// The standard deviation of the logarithm of a request's latency.
    pub(super) spread: f64,
    /// The part of gaps between tokens that are six times as long.
    pub(super) long_gaps: f64,
    /// Requests per second that an open loop carries.
    pub(super) capacity: f64,
}

/// The place of a cell, and what is planted there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    /// Requests in flight, or due requests per second.
    pub(super) load: f64,
    pub(super) is_open: bool,
    pub(super) tokens: f64,
    /// The shortest answer of the grid.
    pub(super) shortest: f64,
    pub(super) prompt: f64,
    /// Factor on every latency.
    pub(super) slower: f64,
    /// Factor on the slowest tenth of the requests.
    pub(super) tail: f64,
    /// Requests of a repeat.
    pub(super) requests: u64,
}

/// The truth of a cell: medians in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) spot: Spot,
    pub(super) ttft: f64,
    pub(super) tpot: f64,
    pub(super) e2e: f64,
    pub(super) spread: f64,
    pub(super) long_gaps: f64,
    /// Requests per second, over the whole time of a cell.
    pub(super) requests_s: f64,
    /// Requests per second while requests arrive.
    pub(super) carried_s: f64,
    /// The most that an open loop carries.
    pub(super) capacity_s: f64,
}

/// How much longer a long gap is.
pub(super) const LONG_GAP: f64 = 6.0;
/// Standard normal quantiles of the ranks that are kept.
pub(super) const Z95: f64 = 1.644_854;
pub(super) const Z99: f64 = 2.326_348;

impl Law {
    pub(super) fn at(&self, spot: Spot) -> Numbers {
        let in_flight = if spot.is_open { 1.0 } else { spot.load };
        let drifts = 1.0 + self.drift * (in_flight - 1.0);
        let longer = spot.tokens / spot.shortest;
        let ttft = (self.ttft + self.per_prompt_token * spot.prompt) * drifts * longer.powf(self.held_up);
        let tpot = self.tpot * drifts * longer.powf(self.by_length);
        let whole = ttft + (spot.tokens - 1.0) * tpot;
        let times = if spot.is_open { 1.0 } else { self.shape.slower(spot.load) };
        let queues = matches!(self.shape, Shape::Queueing(_));
        let waits = if queues { (times - 1.0) * whole } else { 0.0 };
        let shared = if queues { 1.0 } else { times };
        let [ttft, tpot] = [(ttft * shared + waits) * spot.slower, tpot * shared * spot.slower];
        let mut numbers = Numbers {
            spot,
            ttft,
            tpot,
            e2e: ttft + (spot.tokens - 1.0) * tpot,
            spread: self.spread,
            long_gaps: self.long_gaps,
            requests_s: 0.0,
            carried_s: 0.0,
            capacity_s: self.capacity / spot.slower,
        };
        if spot.is_open {
            self.arrive(&mut numbers);
        } else {
            numbers.requests_s = spot.load / numbers.mean(LatencyKind::E2e) * 1e3;
            numbers.carried_s = numbers.requests_s;
        }
        numbers
    }

    /// The waiting time of scheduled arrivals: longer the nearer the rate is to the capacity, and beyond it
    /// half of the time by which the server falls behind.
    fn arrive(&self, numbers: &mut Numbers) {
        let (rate, capacity) = (numbers.spot.load, numbers.capacity_s);
        let n = numbers.spot.requests as f64;
        let busy = (rate / capacity).min(0.95);
        let queue = numbers.e2e * (0.2 * busy * busy / (1.0 - busy)).min(1.0);
        let behind = (n / capacity - n / rate).max(0.0) / 2.0 * 1e3;
        numbers.ttft += queue + behind;
        numbers.e2e += queue + behind;
        numbers.carried_s = rate.min(capacity);
        numbers.requests_s = n / (n / numbers.carried_s + numbers.e2e / 1e3);
    }
}

impl Numbers {
    fn median(&self, kind: LatencyKind) -> f64 {
        match kind {
            LatencyKind::Ttft => self.ttft,
            LatencyKind::Tpot | LatencyKind::Itl => self.tpot,
            LatencyKind::E2e => self.e2e,
        }
    }

    fn mean(&self, kind: LatencyKind) -> f64 {
        let tail = 1.0 + 0.1 * (self.spot.tail - 1.0);
        self.median(kind) * (self.spread * self.spread / 2.0).exp() * tail
    }

    /// The true value of a metric; `None` if no check needs it.
    pub(super) fn of(&self, metric: Metric) -> Option<f64> {
        let latency = |rank: Rank, kind: LatencyKind| match rank {
            Rank::Mean => self.mean(kind),
            Rank::At(rank) => {
                let z = match rank.fraction() {
                    own if own > 0.98 => Z99,
                    own if own > 0.9 => Z95,
                    _ => return self.median(kind),
                };
                let tail = match kind {
                    LatencyKind::Itl if self.long_gaps > 0.0 => LONG_GAP,
                    LatencyKind::Itl => 1.0,
                    _ => self.spot.tail,
                };
                self.median(kind) * (self.spread * z).exp() * tail
            }
        };
        Some(match metric {
            Metric::Latency(rank, kind) => latency(rank, kind),
            Metric::Rate(Rate::Output) => self.requests_s * self.spot.tokens,
            Metric::Rate(Rate::Total) => self.requests_s * (self.spot.tokens + self.spot.prompt),
            Metric::Rate(Rate::Requests) => self.requests_s,
            Metric::Rate(Rate::User) => 1e3 / self.tpot,
            Metric::Rate(Rate::Goodput) => return None,
        })
    }

    /// The standard error of the logarithm of a metric, from `n` samples.
    pub(super) fn sampling(&self, metric: Metric, n: u64) -> f64 {
        let factor = match metric {
            Metric::Latency(Rank::At(rank), _) => match rank.fraction() {
                own if own > 0.98 => 3.73,
                own if own > 0.9 => 2.11,
                _ => 1.253,
            },
            Metric::Latency(Rank::Mean, _) => 1.0,
            // Arrivals differ by chance, too.
            Metric::Rate(_) if self.spot.is_open => return 1.0 / (n as f64).sqrt(),
            Metric::Rate(_) => 1.0,
        };
        factor * self.spread / (n as f64).sqrt()
    }
}
