//! [`Posterior`]: where the limit of a load lies, as a probability distribution, given measured loads.
//!
//! The limit is a change point x* on the axis x = ln(load): a probe below it meets the SLO, one above it does
//! not. A probe says y = ln(measured / limit) with a standard error s. Bisection by such noisy answers keeps
//! the posterior of x* (Horstein 1963; Waeber, Frazier and Henderson, "Bisection search with noisy responses",
//! SIAM Journal on Control and Optimization 51, 2013). Here the size of y counts too, not its sign alone:
//!
//! - **Mean.** At the distance u = |x − x*| the expected |y| is m = d + k·u, where d is a jump (a cliff) and k
//!   a slope. Either side has its own, or both sides are one line through zero. All are unknown, so the
//!   likelihood is averaged over small grids of them.
//! - **Misfit.** No law is a line. The true |y| is normal around m with the standard deviation M, and positive;
//!   M / m grows with u, so that a probe far away counts by its sign only. In the limit of a large M its
//!   likelihood becomes Φ(±y/σ), which is bisection.
//! - **Noise.** The variance is σ² = s² + τ². τ is what differs between probes and cannot be seen within one;
//!   it is averaged over a grid as well. A small share of probes may be off by anything.
//!
//! With the truncated normal integrated out, a probe's likelihood is
//! N(y; m, σ² + M²) · Φ((mσ² + yM²) / (Mσ√(σ² + M²))) / Φ(m/M), for a limit below the probe; for one above it,
//! −y takes the place of y.

use std::f64::consts::PI;

/// A measured load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// ln(load).
    pub(super) x: f64,
    /// ln(measured / limit): positive is beyond the limit.
    pub(super) y: f64,
    /// Standard error of `y` from the samples of this probe.
    pub(super) error: f64,
}

/// What is known of the limit before any probe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Prior {
    /// ln of the ends of the range.
    pub(super) from: f64,
    pub(super) to: f64,
    /// Mean and standard deviation of a prediction of x*.
    pub(super) predicted: Option<(f64, f64)>,
}

/// The distribution of the limit.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Posterior {
    /// Boundaries of cells of x*, ascending.
    edges: Vec<f64>,
    /// P(x* < edge), from 0 to 1.
    below: Vec<f64>,
    /// Mean of τ, the noise between probes.
    pub(super) noise: f64,
}

/// How far beyond the range the limit may lie, in ln(load); it has to be somewhere.
const BEYOND: f64 = 2.0;
/// The prior probability that the limit lies below the range, and above it.
const OUTSIDE: f64 = 0.05;
/// The weight of a prediction against no knowledge at all.
const TRUST: f64 = 0.75;
/// Cells of the first pass over the whole range, and of the second over those that matter.
const COARSE: usize = 64;
const FINE: usize = 128;
/// Posterior mass that the second pass may leave out on each side.
const NEGLIGIBLE: f64 = 1e-5;
/// The share of probes that are off by anything, and the density of their y.
const OUTLIERS: f64 = 0.002;
const OUTLIER_DENSITY: f64 = 0.1;
/// Noise between probes, with prior weights.
const NOISE: [(f64, f64); 5] = [(0.003, 0.3), (0.01, 0.2), (0.03, 0.2), (0.08, 0.15), (0.2, 0.15)];
/// Slopes d ln(latency) / d ln(load).
const SLOPES: [f64; 8] = [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 13.0, 30.0];
/// Slopes of one side, and jumps.
const SIDES: [f64; 3] = [0.3, 1.5, 8.0];
const JUMPS: [f64; 5] = [0.0, 0.12, 0.4, 1.2, 3.0];
/// The misfit: as a fraction of a jump, of a rise nearby, and the more of a rise at a distance of 1.
const MISFIT_JUMP: f64 = 0.5;
const MISFIT: f64 = 0.2;
const MISFIT_FAR: f64 = 1.5;
/// The weight of one line on both sides.
const LINE: f64 = 0.5;

impl Posterior {
    /// The distribution after some probes.
    pub(super) fn of(prior: &Prior, points: &[Point]) -> Self {
        let (low, high) = (prior.from - BEYOND, prior.to + BEYOND);
        let coarse = Self::on(prior, points, even(low, high, COARSE));
        let reach = |at: usize| coarse.edges[at.min(coarse.edges.len() - 1)];
        let first = coarse.below.iter().rposition(|below| *below <= NEGLIGIBLE).unwrap_or(0);
        let last = coarse.below.iter().position(|below| *below >= 1.0 - NEGLIGIBLE).unwrap_or(COARSE);
        let mut edges = even(reach(first.saturating_sub(1)), reach(last + 1), FINE);
        edges.insert(0, low);
        edges.push(high);
        // Jumps of the likelihood lie at the probes.
        edges.extend(points.iter().map(|point| point.x).chain([prior.from, prior.to]));
        edges.sort_by(f64::total_cmp);
        edges.dedup_by(|a, b| *a - *b < 1e-9);
        Self::on(prior, points, edges)
    }

    /// The distribution on given cells.
    fn on(prior: &Prior, points: &[Point], edges: Vec<f64>) -> Self {
        let cells: Vec<(f64, f64)> = edges
            .windows(2)
            .map(|edge| {
                let middle = f64::midpoint(edge[0], edge[1]);
                let mass = prior.mass(edge[0], edge[1]).max(f64::MIN_POSITIVE).ln();
                (middle, mass)
            })
            .collect();
        // For every noise, the log weight of every cell.
        let by_noise: Vec<Vec<f64>> = NOISE
            .iter()
            .map(|(noise, weight)| {
                cells
                    .iter()
                    .map(|(x, mass)| mass + weight.ln() + log_likelihood(*x, *noise, points))
                    .collect()
            })
            .collect();
        let top = by_noise.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
        let mass = |logs: &[f64]| logs.iter().map(|log| (log - top).exp()).sum::<f64>();
        let total: f64 = by_noise.iter().map(|logs| mass(logs)).sum();
        let noise = NOISE.iter().zip(&by_noise).map(|((noise, _), logs)| noise * mass(logs) / total).sum();
        let mut sum = 0.0;
        let mut below = vec![0.0];
        for cell in 0..cells.len() {
            sum += by_noise.iter().map(|logs| (logs[cell] - top).exp()).sum::<f64>() / total;
            below.push(sum.min(1.0));
        }
        Self { edges, below, noise }
    }

    /// P(x* < x).
    pub(super) fn below(&self, x: f64) -> f64 {
        let after = self.edges.partition_point(|edge| *edge <= x);
        match (after.checked_sub(1), self.edges.get(after)) {
            (None, _) => 0.0,
            (_, None) => 1.0,
            (Some(before), Some(edge)) => {
                let part = (x - self.edges[before]) / (edge - self.edges[before]);
                self.below[before] + part * (self.below[after] - self.below[before])
            }
        }
    }

    /// The x with P(x* < x) = p.
    pub(super) fn quantile(&self, p: f64) -> f64 {
        let after = self.below.partition_point(|below| *below < p).clamp(1, self.below.len() - 1);
        let (low, high) = (self.below[after - 1], self.below[after]);
        let part = if high > low { ((p - low) / (high - low)).clamp(0.0, 1.0) } else { 0.5 };
        self.edges[after - 1] + part * (self.edges[after] - self.edges[after - 1])
    }
}

impl Prior {
    /// The prior probability of x* between two points.
    fn mass(&self, low: f64, high: f64) -> f64 {
        let overlap = |from: f64, to: f64| (high.min(to) - low.max(from)).max(0.0) / (to - from);
        let flat = OUTSIDE * overlap(self.from - BEYOND, self.from)
            + OUTSIDE * overlap(self.to, self.to + BEYOND)
            + (1.0 - 2.0 * OUTSIDE) * overlap(self.from, self.to.max(self.from + 1e-9));
        match self.predicted {
            None => flat,
            Some((mean, deviation)) => {
                let normal = |x: f64| phi((x - mean) / deviation);
                TRUST * (normal(high) - normal(low)) + (1.0 - TRUST) * flat
            }
        }
    }
}

fn even(low: f64, high: f64, cells: usize) -> Vec<f64> {
    (0..=cells).map(|at| low + (high - low) * at as f64 / cells as f64).collect()
}

/// ln of the likelihood of all probes if the limit is at `x`.
fn log_likelihood(x: f64, noise: f64, points: &[Point]) -> f64 {
    let mut lines = [1.0; SLOPES.len()];
    let mut sides = [[1.0; SIDES.len() * JUMPS.len()]; 2];
    for point in points {
        let u = point.x - x;
        let (distance, y, side) = if u < 0.0 { (-u, -point.y, 0) } else { (u, point.y, 1) };
        let variance = point.error * point.error + noise * noise;
        for (line, slope) in lines.iter_mut().zip(SLOPES) {
            *line *= likelihood(y, variance, distance, slope, 0.0);
        }
        for (at, product) in sides[side].iter_mut().enumerate() {
            *product *= likelihood(y, variance, distance, SIDES[at / JUMPS.len()], JUMPS[at % JUMPS.len()]);
        }
    }
    let mean = |products: &[f64]| products.iter().sum::<f64>() / products.len() as f64;
    (LINE * mean(&lines) + (1.0 - LINE) * mean(&sides[0]) * mean(&sides[1])).max(f64::MIN_POSITIVE).ln()
}

/// The likelihood of one probe whose y points away from the limit; the formula is in the module's docs.
fn likelihood(y: f64, variance: f64, distance: f64, slope: f64, jump: f64) -> f64 {
    let rise = (slope * distance).max(1e-4);
    let mean = jump + rise;
    let misfit = MISFIT_JUMP * jump + (MISFIT + MISFIT_FAR * distance) * rise;
    let total = variance + misfit * misfit;
    let off = y - mean;
    let exponent = 0.5 * off * off / total;
    // Less likely than an outlier.
    if exponent > 20.0 {
        return OUTLIERS * OUTLIER_DENSITY;
    }
    let z = (mean * variance + y * misfit * misfit) / (misfit * (variance * total).sqrt());
    let density = (-exponent).exp() / (2.0 * PI * total).sqrt() * phi(z) / phi(mean / misfit);
    (1.0 - OUTLIERS) * density + OUTLIERS * OUTLIER_DENSITY
}

/// The standard normal distribution function, with an absolute error below 0.00014 (Bowling et al., Journal of
/// Industrial Engineering and Management 2, 2009).
pub(super) fn phi(z: f64) -> f64 {
    if z.abs() > 6.0 {
        return if z > 0.0 { 1.0 } else { 0.0 };
    }
    1.0 / (1.0 + (-z * (1.5976 + 0.070_565_992 * z * z)).exp())
}
