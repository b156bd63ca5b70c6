//! How far a number may be off by chance, and the ratio of two such numbers. 95 % throughout.
//!
//! - A percentile: the order statistics between which it lies, whatever the distribution, by the normal approximation of
//!   the binomial (Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2). Ranks are looked up in the stored
//!   histogram, so the bounds carry its 1 %. Where a cell was measured several times, what differs from run to run is in no
//!   sample of one run: the interval is at least as wide as the repeats' own percentiles make it (as of a rate).
//! - A rate: from its repeats where there are several (Student's t of their logarithms). From one repeat of a closed loop,
//!   by Little's law X = N / R: its relative error is that of the mean E2E, from the variance of the samples.
//! - A ratio: from the two intervals, by the method of variance estimates recovery on logarithms (Zou and Donner, Statistics
//!   in Medicine 27, 2008).
//!
//! All take the requests of a cell as independent. Those of a busy server are not quite, so an interval is rather too narrow
//! than too wide.

use crate::{measure::Latency, unit::Percentile};

/// The 97.5th percentile of the normal distribution.
const Z: f64 = 1.959_964;
/// The 97.5th percentiles of Student's t, for 1 to 30 degrees of freedom.
const T: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// A number, and where it lies if chance is all that is against it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::report) struct Estimate {
    pub(in crate::report) value: f64,
    /// Both above zero; `None` where the samples do not tell.
    pub(in crate::report) between: Option<(f64, f64)>,
}

impl Estimate {
    /// A percentile of a latency, milliseconds.
    pub(in crate::report) fn percentile(latency: &Latency, rank: Percentile) -> Option<Self> {
        let value = match rank {
            Percentile::P50 => latency.p50_ms,
            Percentile::P95 => latency.p95_ms,
            Percentile::P99 => latency.p99_ms,
            _ => return None,
        };
        let (n, q) = (latency.n as f64, rank.fraction());
        let spread = Z * (n * q * (1.0 - q)).sqrt();
        // Ranks count from 1.
        let (low, high) = ((n * q - spread).floor(), (n * q + spread).ceil() + 1.0);
        let at = |rank: f64| {
            (1.0..=n).contains(&rank).then_some(())?;
            at_rank(latency, rank as u64)
        };
        let between = at(low).zip(at(high)).filter(|(low, _)| *low > 0.0);
        Some(Self {
            value,
            // What the histogram rounds must not leave the number outside of its own interval.
            between: between.map(|(low, high)| (low.min(value), high.max(value))),
        })
    }

    /// A rate that was measured several times; `value` is the pooled one.
    pub(in crate::report) fn repeated(value: f64, repeats: &[f64]) -> Self {
        let n = repeats.len();
        let logs: Vec<f64> = repeats.iter().map(|rate| rate.ln()).collect();
        let mean = logs.iter().sum::<f64>() / n as f64;
        let squares: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
        let between = (n >= 2 && logs.iter().all(|log| log.is_finite())).then(|| {
            let t = T.get(n - 2).copied().unwrap_or(Z);
            let half = t * (squares / (n - 1) as f64 / n as f64).sqrt();
            (
                (mean - half).exp().min(value),
                (mean + half).exp().max(value),
            )
        });
        Self { value, between }
    }

    /// A percentile of pooled repeats, with what differs between them; `repeats` has the same percentile of each.
    pub(in crate::report) fn with_repeats(self, repeats: &[f64]) -> Self {
        let own = Self::repeated(self.value, repeats).between;
        let wider = |(low, high): (f64, f64)| match own {
            Some(own) => (low.min(own.0), high.max(own.1)),
            None => (low, high),
        };
        Self {
            value: self.value,
            between: self.between.map(wider),
        }
    }

    /// A rate that was measured once, in a closed loop whose requests took `e2e`.
    pub(in crate::report) fn by_littles_law(value: f64, e2e: &Latency) -> Self {
        let n = e2e.n as f64;
        let buckets = &e2e.histogram.buckets;
        let square: f64 = buckets
            .iter()
            .map(|(us, count)| (*us as f64 / 1e3 - e2e.mean_ms).powi(2) * *count as f64)
            .sum();
        let between = (e2e.n >= 8 && e2e.mean_ms > 0.0).then(|| {
            let half = Z * (square / (n - 1.0) / n).sqrt() / e2e.mean_ms;
            (value * (-half).exp(), value * half.exp())
        });
        Self { value, between }
    }

    /// This number over another.
    pub(in crate::report) fn over(self, other: Self) -> Self {
        let value = self.value / other.value;
        let between = self.between.zip(other.between).map(|(mine, its)| {
            let log = |number: f64| number.ln();
            let centre = log(value);
            let down = (log(self.value) - log(mine.0)).hypot(log(its.1) - log(other.value));
            let up = (log(mine.1) - log(self.value)).hypot(log(other.value) - log(its.0));
            ((centre - down).exp(), (centre + up).exp())
        });
        Self { value, between }
    }
}

/// The sample of a rank, from 1; `None` beyond the last.
fn at_rank(latency: &Latency, rank: u64) -> Option<f64> {
    let mut below = 0;
    for (us, count) in &latency.histogram.buckets {
        below += count;
        if below >= rank {
            return Some(*us as f64 / 1e3);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use rand_chacha::{
        ChaCha8Rng,
        rand_core::{Rng, SeedableRng},
    };

    use super::*;
    use crate::measure::Histogram;

    fn uniform(random: &mut ChaCha8Rng) -> f64 {
        f64::from(random.next_u32()) / f64::from(u32::MAX)
    }

    /// A latency of samples that are spread exponentially, with a mean of 100 ms.
    fn latency(random: &mut ChaCha8Rng, n: usize) -> Latency {
        let mut samples: Vec<f64> = (0..n)
            .map(|_| -100.0 * (1.0 - uniform(random) * 0.999_999).ln())
            .collect();
        samples.sort_by(f64::total_cmp);
        let at = |rank| crate::measure::percentile(&samples, rank).unwrap();
        Latency {
            n: n as u64,
            p50_ms: at(Percentile::P50),
            p95_ms: at(Percentile::P95),
            p99_ms: at(Percentile::P99),
            mean_ms: samples.iter().sum::<f64>() / n as f64,
            min_ms: samples[0],
            max_ms: samples[n - 1],
            histogram: Histogram::from_ms(&samples),
        }
    }

    #[test]
    fn intervals_hold_the_truth_about_as_often_as_they_say() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let (median, p95) = (100.0 * 2f64.ln(), 100.0 * 20f64.ln());
        let mut held = [0; 4];
        const TIMES: u32 = 300;
        for _ in 0..TIMES {
            let (one, other) = (latency(&mut random, 200), latency(&mut random, 200));
            let estimates = [
                (Estimate::percentile(&one, Percentile::P50), median),
                (Estimate::percentile(&one, Percentile::P95), p95),
                (
                    Some(Estimate::by_littles_law(1000.0 / one.mean_ms, &one)),
                    10.0,
                ),
                (
                    Some(
                        Estimate::percentile(&one, Percentile::P50)
                            .unwrap()
                            .over(Estimate::percentile(&other, Percentile::P50).unwrap()),
                    ),
                    1.0,
                ),
            ];
            for (held, (estimate, truth)) in held.iter_mut().zip(estimates) {
                let (low, high) = estimate.unwrap().between.unwrap();
                *held += u32::from(low <= truth && truth <= high);
            }
        }
        for held in held {
            let share = f64::from(held) / f64::from(TIMES);
            assert!((0.92..=0.99).contains(&share), "{share}");
        }
    }

    /// Two cells that do the same, three runs each, and each run a few per cent slower or quicker as a whole.
    #[test]
    fn what_differs_from_run_to_run_is_no_difference_between_two_cells() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let (mut with, mut without) = (0, 0);
        const TIMES: u32 = 200;
        for _ in 0..TIMES {
            let mut cell = || {
                let runs: Vec<Vec<f64>> = (0..3)
                    .map(|_| {
                        let run = 0.94 + 0.12 * uniform(&mut random);
                        (0..200)
                            .map(|_| run * (95.0 + 10.0 * uniform(&mut random)))
                            .collect()
                    })
                    .collect();
                let median = |samples: &[f64]| {
                    let latency = Latency::of(samples.to_vec()).unwrap();
                    Estimate::percentile(&latency, Percentile::P50).unwrap()
                };
                let repeats: Vec<f64> = runs.iter().map(|run| median(run).value).collect();
                let pooled = median(&runs.concat());
                (pooled, pooled.with_repeats(&repeats))
            };
            let (one, other) = (cell(), cell());
            let holds = |ratio: Estimate| ratio.between.is_some_and(|(a, b)| a <= 1.0 && 1.0 <= b);
            without += u32::from(holds(one.0.over(other.0)));
            with += u32::from(holds(one.1.over(other.1)));
        }
        let share = |held: u32| f64::from(held) / f64::from(TIMES);
        assert!(share(without) < 0.8, "{}", share(without));
        assert!(share(with) >= 0.93, "{}", share(with));
    }

    #[test]
    fn few_samples_have_no_interval_at_the_tail() {
        let latency = latency(&mut ChaCha8Rng::seed_from_u64(2), 16);
        assert!(
            Estimate::percentile(&latency, Percentile::P50)
                .unwrap()
                .between
                .is_some()
        );
        assert!(
            Estimate::percentile(&latency, Percentile::P95)
                .unwrap()
                .between
                .is_none()
        );
        assert!(Estimate::repeated(5.0, &[5.0]).between.is_none());
    }

    #[test]
    fn repeats_give_student_s_interval() {
        let estimate = Estimate::repeated(10.0, &[9.0, 10.0, 11.0]);
        let (low, high) = estimate.between.unwrap();
        // ln: mean 2.299, standard error 0.0580, t = 4.303.
        assert!(
            (low - 7.76).abs() < 0.03 && (high - 12.8).abs() < 0.1,
            "{low} {high}"
        );
    }
}
