//! Statistics for reports, each with its source. All work on logarithms: ratios of 2 and ½ are equally far
//! from 1, and a spread is relative.

use crate::{measure::Latency, unit::Percentile};

pub(super) use crate::measure::{mean_variance, t_quantile};

/// The probability that a family of tests makes any false claim in a run.
const FALSE_CLAIMS: f64 = 0.002;
/// The 97.5th percentile of the normal distribution.
pub(super) const Z975: f64 = 1.959_964;

/// The number of standard errors that is beyond chance for one of `tests` tests: the family makes a false
/// claim in at most 0.2 % of runs (Bonferroni). `df` are the degrees of freedom of the standard error.
pub(super) fn critical(tests: usize, df: f64) -> f64 {
    t_quantile(FALSE_CLAIMS / tests.max(1) as f64, df)
}

/// The median: the mean of the middle two of an even number. `None` without numbers.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// At most `most` of the places below `len`, evenly spread: the first, the last and `must` are among them.
pub(crate) fn evenly(len: usize, most: usize, must: Option<usize>) -> Vec<usize> {
    if len <= most || most < 2 {
        return (0..len).collect();
    }
    let mut places: Vec<usize> = (0..most).map(|at| at * (len - 1) / (most - 1)).collect();
    if let Some(must) = must.filter(|must| !places.contains(must))
        // The nearest one inside gives way.
        && let Some(nearest) = (1..most - 1).min_by_key(|at| places[*at].abs_diff(must))
    {
        places[nearest] = must;
        places.sort_unstable();
    }
    places
}

/// The item with the largest number; of equal ones the first.
pub(crate) fn largest<T>(items: impl IntoIterator<Item = (T, f64)>) -> Option<(T, f64)> {
    items.into_iter().reduce(|best, own| if own.1 > best.1 { own } else { best })
}

/// A number with its 95 % confidence interval.
///
/// - A percentile: the order statistics between which it lies, whatever the distribution, by the normal
///   approximation of the binomial (Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2). Ranks
///   are looked up in the stored histogram, so the bounds carry its 1 %. Where a cell was repeated the
///   interval is at least as wide as the repeats' own percentiles make it: what differs from run to run is in
///   no sample of one run.
/// - A rate: from its repeats where there are several (Student's t of their logarithms). From one repeat of a
///   closed loop, by
///   Little's law X = N / R: its relative error is that of the mean E2E, from the variance of the samples.
/// - A ratio: from the two intervals, by the method of variance estimates recovery on logarithms (Zou and
///   Donner, Statistics
///   in Medicine 27, 2008).
///
/// All assume independent requests. Those of a busy server are not quite independent, so an interval is
/// rather too narrow than too wide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    pub(super) value: f64,
    /// The interval, both ends above zero; `None` if the samples do not give one.
    pub(super) between: Option<(f64, f64)>,
}

impl Estimate {
    /// A number without an interval.
    pub(super) fn alone(value: f64) -> Self {
        Self { value, between: None }
    }

    /// A percentile of a latency, in milliseconds.
    pub(super) fn percentile(latency: &Latency, rank: Percentile) -> Option<Self> {
        let value = latency.percentile(rank)?;
        let (n, q) = (latency.n as f64, rank.fraction());
        let spread = Z975 * (n * q * (1.0 - q)).sqrt();
        // Ranks count from 1.
        let (low, high) = ((n * q - spread).floor(), (n * q + spread).ceil() + 1.0);
        let at = |rank: f64| {
            (1.0..=n).contains(&rank).then_some(())?;
            at_rank(latency, rank as u64)
        };
        let between = at(low).zip(at(high)).filter(|(low, _)| *low > 0.0);
        Some(Self {
            value,
            // The histogram rounds: its bounds must not exclude the number itself.
            between: between.map(|(low, high)| (low.min(value), high.max(value))),
        })
    }

    /// A rate that was measured several times; `value` is that of the pooled repeats.
    pub(super) fn repeated(value: f64, repeats: &[f64]) -> Self {
        let logs: Vec<f64> = repeats.iter().map(|rate| rate.ln()).collect();
        let known = logs.iter().all(|log| log.is_finite());
        let between = mean_variance(&logs).filter(|_| known).map(|(mean, variance)| {
            let n = logs.len() as f64;
            let half = t_quantile(0.05, n - 1.0) * (variance / n).sqrt();
            ((mean - half).exp().min(value), (mean + half).exp().max(value))
        });
        Self { value, between }
    }

    /// Widens the interval of a percentile of pooled repeats by the differences between them; `repeats` has
    /// the percentile of each.
    pub(super) fn with_repeats(self, repeats: &[f64]) -> Self {
        let own = Self::repeated(self.value, repeats).between;
        let wider = |(low, high): (f64, f64)| match own {
            Some(own) => (low.min(own.0), high.max(own.1)),
            None => (low, high),
        };
        Self { value: self.value, between: self.between.map(wider) }
    }

    /// The mean of a latency in milliseconds, with its interval from the variance of the samples.
    pub(super) fn mean(latency: &Latency) -> Self {
        Self::by_littles_law(latency.mean_ms, latency)
    }

    /// A rate that was measured once, in a closed loop with the latency `e2e`.
    pub(super) fn by_littles_law(value: f64, e2e: &Latency) -> Self {
        let between = relative_error(e2e).map(|error| {
            let half = Z975 * error;
            (value * (-half).exp(), value * half.exp())
        });
        Self { value, between }
    }

    /// Divides this number by another.
    pub(super) fn over(self, other: Self) -> Self {
        let value = self.value / other.value;
        let between = self.between.zip(other.between).map(|(mine, its)| {
            let centre = value.ln();
            let down = (self.value.ln() - mine.0.ln()).hypot(its.1.ln() - other.value.ln());
            let up = (mine.1.ln() - self.value.ln()).hypot(other.value.ln() - its.0.ln());
            ((centre - down).exp(), (centre + up).exp())
        });
        Self { value, between }
    }

    /// Divides a constant by this number.
    pub(super) fn under(self, constant: f64) -> Self {
        let of = |number: f64| constant / number;
        Self { value: of(self.value), between: self.between.map(|(low, high)| (of(high), of(low))) }
    }

    /// The standard error of its logarithm, from the width of its interval.
    pub(super) fn log_error(self) -> Option<f64> {
        let (low, high) = self.between?;
        Some((high / low).ln() / 2.0 / Z975)
    }
}

/// The relative standard error of a mean latency, from the stored histogram; `None` for fewer than eight
/// samples.
pub(super) fn relative_error(latency: &Latency) -> Option<f64> {
    let n = latency.n as f64;
    let square: f64 = latency
        .histogram
        .buckets
        .iter()
        .map(|(us, count)| (*us as f64 / 1e3 - latency.mean_ms).powi(2) * *count as f64)
        .sum();
    (latency.n >= 8 && latency.mean_ms > 0.0).then(|| (square / (n - 1.0) / n).sqrt() / latency.mean_ms)
}

/// The sample of a rank, which counts from 1.
fn at_rank(latency: &Latency, rank: u64) -> Option<f64> {
    let mut below = 0;
    latency.histogram.buckets.iter().find_map(|(us, count)| {
        below += count;
        (below >= rank).then_some(*us as f64 / 1e3)
    })
}

#[cfg(test)]
mod tests {
    use rand_chacha::{
        ChaCha8Rng,
        rand_core::{Rng, SeedableRng},
    };

    use super::*;
    use crate::measure::Histogram;

    #[test]
    fn more_tests_and_fewer_degrees_of_freedom_ask_for_more() {
        assert!(critical(1, 30.0) < critical(100, 30.0));
        assert!(critical(10, 30.0) < critical(10, 4.0));
    }

    fn uniform(random: &mut ChaCha8Rng) -> f64 {
        f64::from(random.next_u32()) / f64::from(u32::MAX)
    }

    /// A latency of samples that are spread exponentially, with a mean of 100 ms.
    fn latency(random: &mut ChaCha8Rng, n: usize) -> Latency {
        let mut samples: Vec<f64> =
            (0..n).map(|_| -100.0 * (1.0 - uniform(random) * 0.999_999).ln()).collect();
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
                (Some(Estimate::by_littles_law(1000.0 / one.mean_ms, &one)), 10.0),
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
                        (0..200).map(|_| run * (95.0 + 10.0 * uniform(&mut random))).collect()
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
        assert!(Estimate::percentile(&latency, Percentile::P50).unwrap().between.is_some());
        assert!(Estimate::percentile(&latency, Percentile::P95).unwrap().between.is_none());
        assert!(Estimate::repeated(5.0, &[5.0]).between.is_none());
    }

    #[test]
    fn repeats_give_student_s_interval() {
        let estimate = Estimate::repeated(10.0, &[9.0, 10.0, 11.0]);
        let (low, high) = estimate.between.unwrap();
        // ln: mean 2.299, standard error 0.0580, t = 4.303.
        assert!((low - 7.76).abs() < 0.03 && (high - 12.8).abs() < 0.1, "{low} {high}");
    }
}
