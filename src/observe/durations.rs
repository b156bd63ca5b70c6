//! Count, sum and spread of durations: the growth of one of the server's histograms.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::unit::Percentile;

/// The growth of a histogram of durations between two scrapes. The buckets are the server's own and limit the
/// resolution of percentiles.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Durations {
    /// Number of durations.
    pub count: u64,
    /// Exact sum, seconds.
    pub sum_s: f64,
    /// Arithmetic mean, milliseconds; absent without durations.
    pub mean_ms: Option<f64>,
    /// Median, interpolated within its bucket, milliseconds; absent in the first and the last bucket.
    pub p50_ms: Option<f64>,
    /// 95th percentile, interpolated in the same way, milliseconds.
    pub p95_ms: Option<f64>,
    /// The non-empty buckets, ascending.
    pub buckets: Vec<Bucket>,
}

/// One bucket: the number of durations above `above_s` and at or below `to_s`.
#[skip_serializing_none]
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Lower bound, seconds.
    pub above_s: f64,
    /// Upper bound, seconds; the last bucket has none.
    pub to_s: Option<f64>,
    /// Number of durations.
    pub count: u64,
}

impl Durations {
    /// Sorts buckets, merges those with the same bounds, and computes the percentiles.
    pub(super) fn new(mut buckets: Vec<Bucket>, count: u64, sum_s: f64) -> Self {
        buckets.sort_by(|a, b| a.above_s.total_cmp(&b.above_s));
        buckets.dedup_by(|next, kept| {
            let same = next.above_s == kept.above_s && next.to_s == kept.to_s;
            if same {
                kept.count += next.count;
            }
            same
        });
        buckets.retain(|bucket| bucket.count > 0);
        let mut durations = Self {
            count,
            sum_s,
            mean_ms: (count > 0).then(|| sum_s * 1e3 / count as f64),
            p50_ms: None,
            p95_ms: None,
            buckets,
        };
        durations.p50_ms = durations.percentile_ms(Percentile::P50);
        durations.p95_ms = durations.percentile_ms(Percentile::P95);
        durations
    }

    /// A percentile in milliseconds, by linear interpolation within its bucket as in Prometheus'
    /// `histogram_quantile`. Absent without durations, and in the first and the last bucket, which are too
    /// wide: vLLM's first one for a whole request ends at 300 ms, and its last one has no end.
    pub fn percentile_ms(&self, rank: Percentile) -> Option<f64> {
        let total: u64 = self.buckets.iter().map(|bucket| bucket.count).sum();
        let position = rank.fraction() * total as f64;
        let mut below = 0;
        for bucket in &self.buckets {
            let up_to = below + bucket.count;
            if up_to as f64 >= position {
                let (from, to) = (bucket.above_s, bucket.to_s?);
                let part = (position - below as f64) / bucket.count as f64;
                return (from > 0.0).then_some((from + (to - from) * part) * 1e3);
            }
            below = up_to;
        }
        None
    }

    pub(super) fn pool(&self, other: &Self) -> Self {
        let buckets = self.buckets.iter().chain(&other.buckets).copied().collect();
        Self::new(buckets, self.count + other.count, self.sum_s + other.sum_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(above_s: f64, to_s: Option<f64>, count: u64) -> Bucket {
        Bucket { above_s, to_s, count }
    }

    #[test]
    fn a_percentile_is_interpolated_and_the_mean_is_exact() {
        let durations = Durations::new(vec![bucket(0.0, Some(0.1), 2), bucket(0.1, Some(0.5), 8)], 10, 2.0);
        // The 5th of 10 is the third of eight in (0.1, 0.5]: 0.1 + 0.4 × 3/8.
        assert_eq!(durations.p50_ms, Some(250.0));
        assert_eq!(durations.mean_ms, Some(200.0));
        assert!((durations.p95_ms.unwrap() - 475.0).abs() < 1e-9);
    }

    #[test]
    fn percentiles_in_the_first_and_the_last_bucket_are_unknown() {
        let first = Durations::new(vec![bucket(0.0, Some(0.3), 3)], 3, 0.03);
        assert_eq!((first.p50_ms, first.mean_ms), (None, Some(10.0)));
        let open = Durations::new(vec![bucket(1.0, None, 3)], 3, 9.0);
        assert_eq!((open.p50_ms, open.mean_ms), (None, Some(3000.0)));
        let none = Durations::new(Vec::new(), 0, 0.0);
        assert_eq!((none.p50_ms, none.mean_ms), (None, None));
    }

    #[test]
    fn pooling_adds_counts_and_buckets() {
        let one = Durations::new(vec![bucket(0.0, Some(1.0), 1)], 1, 0.5);
        let two = Durations::new(vec![bucket(1.0, None, 1), bucket(0.0, Some(1.0), 2)], 3, 4.0);
        let both = one.pool(&two);
        assert_eq!((both.count, both.sum_s), (4, 4.5));
        assert_eq!(both.buckets, [bucket(0.0, Some(1.0), 3), bucket(1.0, None, 1)]);
    }
}
