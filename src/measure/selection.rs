//! The distribution of the gaps between tokens, exact and in bounded memory.
//!
//! A cell of a million requests with 256 tokens each has 255 million gaps. Sorting them peaks at 2.0 GB,
//! twice what the whole client may take (`cargo bench --bench load -- million --million`); selecting them, as
//! here, at 3.3 MB, in less than half the time, with the same percentiles. A histogram alone would move
//! percentiles by up to its bucket width, 1 %.
//!
//! Up to [`SORTED`] samples (8 MB) are sorted. More are selected by their digits: the samples are read once
//! for every 16 bits, and counted only where they agree with a wanted sample so far. That takes 0.5 MB for
//! each of at most six wanted samples, and three readings in all while no gap is longer than 4 s.

use super::{
    latency::{Place, interpolate},
    summary::{Histogram, Latency},
};
use crate::unit::Percentile;

/// Up to this many samples are sorted.
const SORTED: usize = 1 << 20;
/// Bits of a sample that each reading resolves.
const DIGIT: u32 = 16;

/// Returns the distribution of samples in nanoseconds; `None` when there are none. `read` must pass the same
/// samples to the function it is given each time it is called.
pub(super) fn latency(read: impl Fn(&mut dyn FnMut(u64))) -> Option<Latency> {
    bounded(read, SORTED)
}

fn bounded(read: impl Fn(&mut dyn FnMut(u64)), sorted: usize) -> Option<Latency> {
    let (mut n, mut sum, mut min, mut max) = (0u64, 0u128, u64::MAX, 0);
    let mut samples = Vec::new();
    let mut dense = Histogram::dense();
    read(&mut |sample| {
        n += 1;
        sum += u128::from(sample);
        (min, max) = (min.min(sample), max.max(sample));
        if samples.len() < sorted {
            samples.push(sample);
        }
        dense.saturating_record((sample as f64 / 1e3).round() as u64);
    });
    let mut ranks = Vec::new();
    for rank in [Percentile::P50, Percentile::P95, Percentile::P99] {
        ranks.push(Place::of(rank, n)?);
    }
    let places: Vec<u64> = ranks.iter().flat_map(|place| [place.low, place.high]).collect();
    let wanted: Vec<u64> = if n <= sorted as u64 {
        samples.sort_unstable();
        places.iter().map(|place| samples[*place as usize]).collect()
    } else {
        drop(samples);
        select(places, max, read)
    };
    let ms = |index: usize| {
        let (low, high) = (wanted[2 * index] as f64 / 1e6, wanted[2 * index + 1] as f64 / 1e6);
        interpolate(low, high, ranks[index].part)
    };
    Some(Latency {
        n,
        p50_ms: ms(0),
        p95_ms: ms(1),
        p99_ms: ms(2),
        mean_ms: sum as f64 / n as f64 / 1e6,
        min_ms: min as f64 / 1e6,
        max_ms: max as f64 / 1e6,
        histogram: Histogram::of_dense(&dense),
    })
}

/// Returns the samples at `places` of the sorted order, by radix selection from the highest digit down.
fn select(places: Vec<u64>, max: u64, read: impl Fn(&mut dyn FnMut(u64))) -> Vec<u64> {
    // For each place: the digits found so far, and the place among the samples that begin with them.
    let mut found: Vec<(u64, u64)> = places.into_iter().map(|place| (0, place)).collect();
    let digits = (u64::BITS - max.leading_zeros()).div_ceil(DIGIT);
    for shift in (0..digits).rev().map(|digit| digit * DIGIT) {
        let mut prefixes: Vec<u64> = found.iter().map(|(prefix, _)| *prefix).collect();
        prefixes.dedup();
        let mut counts = vec![vec![0u64; 1 << DIGIT]; prefixes.len()];
        read(&mut |sample| {
            let (prefix, digit) = ((sample >> shift) >> DIGIT, (sample >> shift) as u16);
            if let Some(at) = prefixes.iter().position(|own| *own == prefix) {
                counts[at][usize::from(digit)] += 1;
            }
        });
        for (prefix, place) in &mut found {
            let Some(at) = prefixes.iter().position(|own| own == prefix) else {
                continue;
            };
            for (digit, count) in (0u64..).zip(&counts[at]) {
                if *place < *count {
                    *prefix = *prefix << DIGIT | digit;
                    break;
                }
                *place -= count;
            }
        }
    }
    found.into_iter().map(|(sample, _)| sample).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> impl Strategy<Value = u64> {
        prop_oneof![0u64..4000, 10_000_000u64..10_020_000, 0u64..100_000_000_000, any::<u64>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn selected_percentiles_are_those_of_the_sorted_samples(samples in prop::collection::vec(sample(), 0..60)) {
            let read = |take: &mut dyn FnMut(u64)| samples.iter().for_each(|sample| take(*sample));
            let in_ms = samples.iter().map(|sample| *sample as f64 / 1e6).collect();
            let (selected, sorted) = (bounded(read, 0), bounded(read, usize::MAX));
            prop_assert_eq!(&selected, &sorted);
            let simple = Latency::of(in_ms);
            let of = |latency: &Option<Latency>| latency.as_ref().map(|l| (l.n, [l.p50_ms, l.p95_ms, l.p99_ms, l.min_ms, l.max_ms]));
            prop_assert_eq!(of(&selected), of(&simple));
            if let (Some(selected), Some(simple)) = (selected, simple) {
                prop_assert!((selected.mean_ms - simple.mean_ms).abs() <= 1e-9 * simple.mean_ms);
                prop_assert_eq!(selected.histogram, simple.histogram);
            }
        }
    }
}
