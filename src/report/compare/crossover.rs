//! Where a ratio crosses 1 along the load.

use serde::Serialize;

use crate::report::{
    model::SAME,
    statistics::{critical, mean_variance},
};

/// The assumed standard deviation of the logarithm of a ratio from run to run, which no sample shows: 5 % on
/// each side.
const ASSUMED: f64 = 0.05 * std::f64::consts::SQRT_2;

/// The ratio at one load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Point {
    /// Requests in flight, or per second.
    pub(super) load: f64,
    /// Run over anchor.
    pub(super) ratio: f64,
    /// Standard error of the logarithm of the ratio, from its samples; 0 if they give none.
    #[serde(skip)]
    pub(super) error: f64,
}

/// Where a ratio crosses 1 along the load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Crossover {
    /// The least load.
    pub(super) first: Point,
    /// The largest load.
    pub(super) last: Point,
    /// The last load on the side of the first one.
    pub(super) from: f64,
    /// The next load.
    pub(super) to: f64,
}

/// Finds the crossover of some ratios, one of `tests` searches: at some load, the mean logarithms below and
/// above it have opposite signs, each beyond chance, and so do both ends.
pub(super) fn crossover(mut points: Vec<Point>, tests: usize) -> Option<Crossover> {
    points.sort_by(|a, b| a.load.total_cmp(&b.load));
    let loads: Vec<Point> = points.chunk_by(|a, b| a.load == b.load).filter_map(pooled).collect();
    let (first, last) = (*loads.first()?, *loads.last()?);
    let side = |point: &Point| point.ratio.ln().signum();
    let ends = [first, last].iter().all(|point| point.ratio.ln().abs() >= SAME);
    if !ends || side(&first) == side(&last) {
        return None;
    }
    // Each split is two tests.
    let least = critical(tests * 2 * (loads.len() - 1), f64::INFINITY);
    let sure = |half: &[Point]| {
        pooled(half).is_some_and(|own| {
            let log = own.ratio.ln().abs();
            log >= SAME && log > least * own.error.hypot(ASSUMED / (half.len() as f64).sqrt())
        })
    };
    let split = (1..loads.len()).find(|at| {
        let (before, after) = loads.split_at(*at);
        let opposite = match (pooled(before), pooled(after)) {
            (Some(one), Some(other)) => side(&one) != side(&other) && side(&one) == side(&first),
            _ => false,
        };
        opposite && sure(before) && sure(after)
    })?;
    // The ratio itself crosses between the two loads; a split next to it may still be beyond chance.
    let crossing = (1..loads.len()).filter(|at| side(&loads[at - 1]) != side(&loads[*at]));
    let at = crossing.min_by_key(|at| at.abs_diff(split))?;
    Some(Crossover { first, last, from: loads[at - 1].load, to: loads[at].load })
}

/// Pools several ratios: their geometric mean, with its error, at the last load.
fn pooled(points: &[Point]) -> Option<Point> {
    let n = points.len() as f64;
    let logs: Vec<f64> = points.iter().map(|point| point.ratio.ln()).collect();
    let mean = mean_variance(&logs).map_or_else(|| logs.first().copied(), |(mean, _)| Some(mean))?;
    let square: f64 = points.iter().map(|point| point.error.powi(2)).sum();
    Some(Point { load: points.last()?.load, ratio: mean.exp(), error: square.sqrt() / n })
}

#[cfg(test)]
mod tests {
    use rand_chacha::{
        ChaCha8Rng,
        rand_core::{Rng, SeedableRng},
    };

    use super::*;

    fn points(ratios: &[(f64, f64)]) -> Vec<Point> {
        ratios.iter().map(|(load, ratio)| Point { load: *load, ratio: *ratio, error: 0.0 }).collect()
    }

    #[test]
    fn a_crossover_is_found_with_its_place_and_a_zigzag_is_none() {
        let found =
            crossover(points(&[(1.0, 1.5), (8.0, 1.4), (32.0, 1.01), (64.0, 0.8), (128.0, 0.6)]), 1).unwrap();
        assert_eq!((found.first.ratio, found.last.ratio), (1.5, 0.6));
        assert_eq!((found.from, found.to), (32.0, 64.0));
        for none in [
            points(&[(1.0, 1.4), (8.0, 0.8), (32.0, 1.3), (64.0, 0.7)]),
            points(&[(1.0, 1.4), (8.0, 1.3), (32.0, 1.2)]),
            points(&[(1.0, 1.1), (8.0, 1.0), (32.0, 0.9)]),
            points(&[(4.0, 1.4)]),
            points(&[]),
        ] {
            assert_eq!(crossover(none, 1), None);
        }
    }

    /// Sum of twelve uniform numbers less six: as good as normal.
    fn normal(random: &mut ChaCha8Rng) -> f64 {
        (0..12).map(|_| f64::from(random.next_u32()) / f64::from(u32::MAX)).sum::<f64>() - 6.0
    }

    #[test]
    fn noise_alone_crosses_nothing_and_a_clear_crossing_is_found() {
        const TIMES: usize = 1000;
        for noise in [0.0, 0.02, 0.05, 0.1] {
            let mut random = ChaCha8Rng::seed_from_u64(7);
            let (mut false_ones, mut found) = (0, 0);
            for _ in 0..TIMES {
                let mut drawn = |truth: [f64; 6]| {
                    let mut load = 0.5;
                    let each = truth.map(|log| {
                        load *= 2.0;
                        let noise = noise * std::f64::consts::SQRT_2 * normal(&mut random);
                        (load, (log + noise).exp())
                    });
                    crossover(points(&each), 5)
                };
                false_ones += usize::from(drawn([0.0; 6]).is_some());
                false_ones += usize::from(drawn([0.3; 6]).is_some());
                found += usize::from(drawn([0.5, 0.5, 0.4, -0.4, -0.5, -0.5]).is_some());
            }
            assert!(false_ones <= TIMES / 100, "noise {noise}: {false_ones} of {}", 2 * TIMES);
            assert!(found >= TIMES * 95 / 100, "noise {noise}: {found} of {TIMES}");
        }
    }
}
