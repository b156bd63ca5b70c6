//! How often, how long and how spread: what one histogram of the server grew by.

use serde::{Deserialize, Serialize};

use crate::unit::Percentile;

/// What a histogram of durations grew by between two scrapes. Its buckets are the server's own, so a percentile is only
/// as fine as they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Durations {
    /// Number of durations.
    pub count: u64,
    /// Their sum, seconds: exact, whatever the buckets are.
    pub sum_s: f64,
    /// Arithmetic mean, milliseconds; absent without durations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_ms: Option<f64>,
    /// Median, interpolated inside its bucket, milliseconds; absent where it lies in the first or the last bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// 95th percentile, in the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
    /// The buckets that hold anything, ascending.
    pub buckets: Vec<Bucket>,
}

/// One bucket: how many durations lie above `above_s` and at or below `to_s`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Lower bound, seconds.
    pub above_s: f64,
    /// Upper bound, seconds; absent for the last bucket, which has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_s: Option<f64>,
    /// How many.
    pub count: u64,
}

impl Durations {
    /// From buckets (any order, several of the same bounds added up) and the exact sum.
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

    /// A percentile in milliseconds, by linear interpolation inside the bucket that holds it, as Prometheus'
    /// `histogram_quantile` does. Absent without durations, and in the first and the last bucket: vLLM's first for a whole
    /// request ends at 300 ms and its last does not end, so that there it could be anything.
    pub fn percentile_ms(&self, rank: Percentile) -> Option<f64> {
        let total: u64 = self.buckets.iter().map(|bucket| bucket.count).sum();
        let place = rank.fraction() * total as f64;
        let mut below = 0;
        for bucket in &self.buckets {
            let seen = below + bucket.count;
            if seen as f64 >= place {
                let (from, to) = (bucket.above_s, bucket.to_s?);
                let part = (place - below as f64) / bucket.count as f64;
                return (from > 0.0).then_some((from + (to - from) * part) * 1e3);
            }
            below = seen;
        }
        None
    }

    /// Both together.
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
        // Place 5 of 10 is the third of eight in (0.1, 0.5]: 0.1 + 0.4 × 3/8.
        assert_eq!(durations.p50_ms, Some(250.0));
        assert_eq!(durations.mean_ms, Some(200.0));
        assert!((durations.p95_ms.unwrap() - 475.0).abs() < 1e-9);
    }

    #[test]
    fn in_the_first_and_the_last_bucket_and_without_durations_nothing_is_known() {
        let first = Durations::new(vec![bucket(0.0, Some(0.3), 3)], 3, 0.03);
        assert_eq!((first.p50_ms, first.mean_ms), (None, Some(10.0)));
        let open = Durations::new(vec![bucket(1.0, None, 3)], 3, 9.0);
        assert_eq!((open.p50_ms, open.mean_ms), (None, Some(3000.0)));
        let none = Durations::new(Vec::new(), 0, 0.0);
        assert_eq!((none.p50_ms, none.mean_ms), (None, None));
    }

    #[test]
    fn pooled_is_as_if_it_had_been_one() {
        let one = Durations::new(vec![bucket(0.0, Some(1.0), 1)], 1, 0.5);
        let two = Durations::new(vec![bucket(1.0, None, 1), bucket(0.0, Some(1.0), 2)], 3, 4.0);
        let both = one.pool(&two);
        assert_eq!((both.count, both.sum_s), (4, 4.5));
        assert_eq!(both.buckets, [bucket(0.0, Some(1.0), 3), bucket(1.0, None, 1)]);
    }
}
