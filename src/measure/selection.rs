//! Exact percentiles of more numbers than memory holds, by reading them several times.
//!
//! The first reading counts by size, to one part in 1024. Each further one counts only inside the few ranges that hold a
//! wanted order statistic, 65 536 times finer, until a range is one nanosecond wide: after two readings for gaps below
//! a minute. What is kept is half a megabyte of counts, and half a megabyte for each of at most six ranges.

use super::{
    latency::{Place, interpolate},
    summary::{Histogram, Latency},
};
use crate::unit::Percentile;

/// Up to this many samples are sorted: simpler, and faster.
const SORTED: usize = 1 << 20;
/// Bits of a sample that the first counts keep.
const KEPT: u32 = 10;
/// Bits that each further reading resolves.
const RESOLVED: u32 = 16;

/// Calls the function given with every sample, nanoseconds; the same ones each time.
pub(super) trait Reading: Fn(&mut dyn FnMut(u64)) {}

impl<T: Fn(&mut dyn FnMut(u64))> Reading for T {}

/// The distribution of samples; `None` when there are none.
pub(super) fn latency(read: impl Reading) -> Option<Latency> {
    bounded(read, SORTED)
}

fn bounded(read: impl Reading, sorted: usize) -> Option<Latency> {
    let mut all = All::new(sorted);
    let mut dense = Histogram::dense();
    read(&mut |sample| {
        all.add(sample);
        dense.saturating_record((sample as f64 / 1e3).round() as u64);
    });
    let ranks = [Percentile::P50, Percentile::P95, Percentile::P99];
    let places = ranks.map(|rank| Place::of(rank, all.n));
    let mut wanted: Vec<u64> = places.iter().flatten().flat_map(|place| [place.low, place.high]).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let found = match &mut all.kept {
        Kept::Samples(samples) => {
            samples.sort_unstable();
            let at = |place: &u64| samples.get(*place as usize).copied();
            wanted.iter().map(at).collect()
        }
        Kept::Counts(counts) => select(counts, &wanted, &read),
    };
    let value = |place: u64| -> Option<f64> {
        let found = found.get(wanted.binary_search(&place).ok()?)?;
        Some((*found)? as f64 / 1e6)
    };
    let at = |place: Option<Place>| {
        let place = place?;
        Some(interpolate(value(place.low)?, value(place.high)?, place.part))
    };
    Some(Latency {
        n: all.n,
        p50_ms: at(places[0])?,
        p95_ms: at(places[1])?,
        p99_ms: at(places[2])?,
        mean_ms: all.sum as f64 / all.n as f64 / 1e6,
        min_ms: all.min as f64 / 1e6,
        max_ms: all.max as f64 / 1e6,
        histogram: Histogram::of_dense(&dense),
    })
}

/// What one reading says.
struct All {
    n: u64,
    sum: u128,
    min: u64,
    max: u64,
    kept: Kept,
    /// The most samples that are kept as they are.
    most: usize,
}

/// The samples while they are few, then their number by size: see [`class`].
enum Kept {
    Samples(Vec<u64>),
    Counts(Vec<u64>),
}

impl All {
    fn new(most: usize) -> Self {
        Self { n: 0, sum: 0, min: u64::MAX, max: 0, kept: Kept::Samples(Vec::new()), most }
    }

    fn add(&mut self, sample: u64) {
        self.n += 1;
        self.sum += u128::from(sample);
        self.min = self.min.min(sample);
        self.max = self.max.max(sample);
        match &mut self.kept {
            Kept::Samples(samples) if samples.len() < self.most => samples.push(sample),
            Kept::Samples(samples) => {
                let mut counts = vec![0; class(u64::MAX) + 1];
                for sample in samples.iter().chain([&sample]) {
                    counts[class(*sample)] += 1;
                }
                self.kept = Kept::Counts(counts);
            }
            Kept::Counts(counts) => counts[class(sample)] += 1,
        }
    }
}

/// The class of a sample's size: its first bits and how many follow them.
fn class(sample: u64) -> usize {
    let rest = (u64::BITS - sample.leading_zeros()).saturating_sub(KEPT + 1);
    ((rest as usize) << KEPT) + (sample >> rest) as usize
}

/// The samples of a class: the first one, and how many bits of them vary.
fn range(class: usize) -> (u64, u32) {
    let rest = ((class >> KEPT) as u32).saturating_sub(1);
    let first = (class - ((rest as usize) << KEPT)) as u64;
    (first << rest, rest)
}

/// A range that holds wanted samples.
struct Range {
    start: u64,
    /// How many bits of its samples vary.
    bits: u32,
    /// Samples before it.
    before: u64,
    counts: Vec<u64>,
}

impl Range {
    fn new(start: u64, bits: u32, before: u64) -> Self {
        Self { start, bits, before, counts: vec![0; 1 << bits.min(RESOLVED)] }
    }

    /// Bits that its counts do not tell apart.
    fn coarse(&self) -> u32 {
        self.bits.saturating_sub(RESOLVED)
    }

    fn add(&mut self, sample: u64) {
        let inside = sample.wrapping_sub(self.start);
        if inside.checked_shr(self.bits).unwrap_or(0) == 0 {
            let part = inside >> self.coarse();
            self.counts[part as usize] += 1;
        }
    }
}

/// The samples at ascending places of the sorted order.
fn select(counts: &[u64], wanted: &[u64], read: &impl Reading) -> Vec<Option<u64>> {
    let mut found = vec![None; wanted.len()];
    // Which wanted sample is looked for in which range: the index of a range for each.
    let mut seats: Vec<Option<usize>> = vec![None; wanted.len()];
    let mut ranges: Vec<Range> = Vec::new();
    for (seat, place) in seats.iter_mut().zip(wanted) {
        let Some((class, before)) = holder(counts, 0, *place) else {
            continue;
        };
        let (start, bits) = range(class);
        *seat = Some(seat_of(&mut ranges, start, bits, before));
    }
    while !ranges.is_empty() {
        read(&mut |sample| {
            for range in &mut ranges {
                range.add(sample);
            }
        });
        let mut finer = Vec::new();
        for ((seat, place), found) in seats.iter_mut().zip(wanted).zip(&mut found) {
            let Some(range) = seat.take().map(|seat| &ranges[seat]) else {
                continue;
            };
            let Some((part, before)) = holder(&range.counts, range.before, *place) else {
                continue;
            };
            let start = range.start + ((part as u64) << range.coarse());
            if range.coarse() == 0 {
                *found = Some(start);
            } else {
                *seat = Some(seat_of(&mut finer, start, range.coarse(), before));
            }
        }
        ranges = finer;
    }
    found
}

/// The count that holds the sample at a place, and how many samples are before it.
fn holder(counts: &[u64], mut before: u64, place: u64) -> Option<(usize, u64)> {
    for (index, count) in counts.iter().enumerate() {
        if place < before + count {
            return Some((index, before));
        }
        before += count;
    }
    None
}

fn seat_of(ranges: &mut Vec<Range>, start: u64, bits: u32, before: u64) -> usize {
    if let Some(seat) = ranges.iter().position(|range| range.start == start) {
        return seat;
    }
    ranges.push(Range::new(start, bits, before));
    ranges.len() - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> impl Strategy<Value = u64> {
        prop_oneof![0u64..4000, 10_000_000u64..10_020_000, 0u64..100_000_000_000, any::<u64>(),]
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

        #[test]
        fn every_sample_lies_in_the_range_of_its_class(sample in sample()) {
            let (start, bits) = range(class(sample));
            prop_assert!(start <= sample && (sample - start).checked_shr(bits).unwrap_or(0) == 0);
        }
    }
}
