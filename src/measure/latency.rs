//! Computes percentiles of samples, and the mergeable histogram that is stored with them.

use std::collections::BTreeMap;

use super::summary::{Histogram, Latency};
use crate::unit::Percentile;

/// Largest value of a histogram, microseconds: 292 000 years.
const LARGEST_US: u64 = u64::MAX >> 1;

/// Returns a percentile of ascending samples by linear interpolation between order statistics (NumPy's
/// default): of n samples and for the fraction q, the value at place q (n − 1), counted from 0. `None` when
/// there are no samples.
pub fn percentile(sorted: &[f64], rank: Percentile) -> Option<f64> {
    let place = Place::of(rank, sorted.len() as u64)?;
    let at = |place: u64| sorted.get(place as usize).copied();
    Some(interpolate(at(place.low)?, at(place.high)?, place.part))
}

/// Where a percentile lies among ascending samples: between two of them, at a fraction of the way.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) low: u64,
    pub(super) high: u64,
    pub(super) part: f64,
}

impl Place {
    /// `None` when there are no samples.
    pub(super) fn of(rank: Percentile, samples: u64) -> Option<Self> {
        let last = samples.checked_sub(1)?;
        let place = rank.fraction() * last as f64;
        let low = place.floor() as u64;
        Some(Self { low, high: (low + 1).min(last), part: place - low as f64 })
    }
}

/// Interpolates between two samples, from the nearer one as NumPy does, so that rounding cannot leave their
/// range.
pub(super) fn interpolate(low: f64, high: f64, part: f64) -> f64 {
    if part < 0.5 { low + (high - low) * part } else { high - (high - low) * (1.0 - part) }
}

impl Latency {
    /// Computes the distribution of samples in milliseconds, in any order; `None` when there are none.
    pub fn of(mut samples: Vec<f64>) -> Option<Self> {
        samples.sort_by(f64::total_cmp);
        let at = |rank| percentile(&samples, rank);
        Some(Self {
            n: samples.len() as u64,
            p50_ms: at(Percentile::P50)?,
            p95_ms: at(Percentile::P95)?,
            p99_ms: at(Percentile::P99)?,
            mean_ms: samples.iter().sum::<f64>() / samples.len() as f64,
            min_ms: *samples.first()?,
            max_ms: *samples.last()?,
            histogram: Histogram::from_ms(&samples),
        })
    }

    /// Returns a percentile in milliseconds: a stored one, or for other ranks one from the histogram,
    /// accurate to 1 %. `None` without samples.
    pub fn percentile(&self, rank: Percentile) -> Option<f64> {
        let stored =
            [(Percentile::P50, self.p50_ms), (Percentile::P95, self.p95_ms), (Percentile::P99, self.p99_ms)];
        stored
            .into_iter()
            .find(|(known, _)| *known == rank && self.n > 0)
            .map(|(_, value)| value)
            .or_else(|| self.histogram.percentile(rank))
    }
}

impl Histogram {
    /// Builds a histogram of samples in milliseconds. Buckets are accurate to 1 % or one microsecond,
    /// whichever is coarser. A negative sample counts as 0.
    pub fn from_ms(samples: &[f64]) -> Self {
        let mut dense = Self::dense();
        for sample in samples {
            // Float casts saturate: negative values become 0, too large ones the maximum.
            dense.saturating_record((sample * 1e3).round() as u64);
        }
        Self::of_dense(&dense)
    }

    /// An empty HDR histogram of microseconds.
    pub(super) fn dense() -> hdrhistogram::Histogram<u64> {
        hdrhistogram::Histogram::new_with_max(LARGEST_US, 2)
            .expect("a histogram has up to five significant digits")
    }

    /// Keeps the non-empty buckets of an HDR histogram.
    pub(super) fn of_dense(dense: &hdrhistogram::Histogram<u64>) -> Self {
        let buckets = dense
            .iter_recorded()
            .map(|step| {
                let value = dense.median_equivalent(step.value_iterated_to());
                (value, step.count_at_value())
            })
            .collect();
        Self { buckets }
    }

    /// Adds the samples of another histogram. The result equals one histogram of all samples.
    pub fn merge(&mut self, other: &Self) {
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for (value, count) in self.buckets.iter().chain(&other.buckets) {
            *counts.entry(*value).or_default() += count;
        }
        self.buckets = counts.into_iter().collect();
    }

    /// Number of samples.
    pub fn samples(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// Returns a percentile in milliseconds, accurate to 1 %, without interpolation; `None` when empty.
    pub fn percentile(&self, rank: Percentile) -> Option<f64> {
        let place = rank.fraction() * self.samples().checked_sub(1)? as f64;
        let mut seen = 0;
        self.buckets
            .iter()
            .find(|(_, count)| {
                seen += count;
                seen as f64 > place
            })
            .map(|(value, _)| *value as f64 / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rank(text: &str) -> Percentile {
        text.parse().unwrap()
    }

    #[test]
    fn percentiles_are_those_of_numpy() {
        // numpy.percentile([1, 2, 4, 8], [50, 95, 99]) = [3.0, 7.4, 7.88]
        let samples = [1.0, 2.0, 4.0, 8.0];
        assert_eq!(percentile(&samples, Percentile::P50), Some(3.0));
        assert!((percentile(&samples, Percentile::P95).unwrap() - 7.4).abs() < 1e-12);
        assert!((percentile(&samples, Percentile::P99).unwrap() - 7.88).abs() < 1e-12);
        assert_eq!(percentile(&[5.0], Percentile::P99), Some(5.0));
        assert_eq!(percentile(&[], Percentile::P50), None);
    }

    #[test]
    fn no_samples_are_no_latency() {
        assert_eq!(Latency::of(Vec::new()), None);
        assert_eq!(Histogram::default().percentile(Percentile::P50), None);
    }

    #[test]
    fn a_latency_keeps_its_extremes_and_its_number() {
        let latency = Latency::of(vec![30.0, 10.0, 20.0]).unwrap();
        assert_eq!((latency.n, latency.p50_ms), (3, 20.0));
        assert_eq!((latency.min_ms, latency.mean_ms, latency.max_ms), (10.0, 20.0, 30.0));
        assert_eq!(latency.histogram.samples(), 3);
    }

    #[test]
    fn a_histogram_of_nothing_but_zero_has_one_bucket() {
        assert_eq!(Histogram::from_ms(&[0.0, -1.0, 0.0004]).buckets, [(0, 3)]);
    }

    proptest! {
        #[test]
        fn a_percentile_is_the_weighted_mean_of_its_two_neighbours(
            mut samples in prop::collection::vec(0.0..1e6f64, 1..60), q in 0.1..99.9f64
        ) {
            samples.sort_by(f64::total_cmp);
            // Another way to the same number: every sample weighs by its distance to the place.
            let q = rank(&format!("p{q}"));
            let place = q.fraction() * (samples.len() - 1) as f64;
            let naive: f64 = samples
                .iter()
                .enumerate()
                .map(|(index, sample)| sample * (1.0 - (index as f64 - place).abs()).max(0.0))
                .sum();
            let got = percentile(&samples, q).unwrap();
            prop_assert!((got - naive).abs() <= 1e-9 * (1.0 + naive), "{got} {naive}");
            prop_assert!(samples[0] <= got && got <= samples[samples.len() - 1]);
        }

        #[test]
        fn a_higher_percentile_is_never_smaller(
            mut samples in prop::collection::vec(0.0..1e6f64, 1..60), a in 0.1..99.9f64, b in 0.1..99.9f64
        ) {
            samples.sort_by(f64::total_cmp);
            let at = |q: f64| percentile(&samples, rank(&format!("p{q}"))).unwrap();
            prop_assert!(at(a.min(b)) <= at(a.max(b)) * (1.0 + 1e-12));
        }

        #[test]
        fn merged_histograms_are_the_histogram_of_the_union(
            a in prop::collection::vec(0.0..1e7f64, 0..50), b in prop::collection::vec(0.0..1e7f64, 0..50)
        ) {
            let mut merged = Histogram::from_ms(&a);
            merged.merge(&Histogram::from_ms(&b));
            prop_assert_eq!(merged, Histogram::from_ms(&[a, b].concat()));
        }

        #[test]
        fn a_bucket_is_within_one_percent_or_a_microsecond(sample in 0.0..1e9f64) {
            let kept = Histogram::from_ms(&[sample]).percentile(Percentile::P50).unwrap();
            prop_assert!((kept - sample).abs() <= 0.01 * sample + 0.001, "{kept} {sample}");
        }
    }
}
