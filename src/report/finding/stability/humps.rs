//! Inter-token latencies of two sizes: usually decode steps, and decode steps delayed by a prefill.

use super::super::{Facts, Finding, Kind, place};
use crate::{
    manifest::LatencyKind,
    measure::{Histogram, Summary},
    report::{
        metrics::at,
        model::{Block, Cell, Model, Streaming},
        statistics::{critical, largest, median},
    },
    unit::Percentile,
};

/// The fewest gaps that show a shape.
const FEWEST: f64 = 200.0;
/// Width of a bin of the smoothed histogram, as a logarithm: about a tenth.
const STEP: f64 = 0.1;
/// The smaller hump holds at least this part of the gaps.
const PART: f64 = 0.05;
/// The valley is at most this part of the lower peak.
const VALLEY: f64 = 0.5;
/// The peaks are at least this far apart, as a ratio.
const APART: f64 = 1.5;
/// Gaps shorter than this, milliseconds, are chunks that arrived in one read, not steps of the engine.
const TOGETHER_MS: f64 = 0.2;

/// Two peaks, and the part of the gaps above the valley between them.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Humps {
    low_ms: f64,
    valley_ms: f64,
    high_ms: f64,
    above: f64,
}

impl Humps {
    /// The part of the gaps in the smaller hump.
    fn smaller(&self) -> f64 {
        self.above.min(1.0 - self.above)
    }

    /// Whether most repeats have both humps. Repeats that merely differ have one each.
    fn is_of_repeats(&self, repeats: &[Summary]) -> bool {
        let valley = (self.valley_ms * 1e3) as u64;
        let smaller = |one: &Summary| {
            let buckets = &one.itl.as_ref()?.histogram.buckets;
            let count = |above: bool| -> u64 {
                buckets.iter().filter(|(us, _)| (*us >= valley) == above).map(|(_, gaps)| gaps).sum()
            };
            let (below, above) = (count(false), count(true));
            Some(below.min(above) as f64 / (below + above).max(1) as f64)
        };
        let parts: Vec<f64> = repeats.iter().filter_map(smaller).collect();
        median(&parts).is_none_or(|part| part >= PART)
    }
}

/// The gaps in bins of equal logarithmic width, with an empty bin at each end so that every peak has
/// neighbours.
fn steps(histogram: &Histogram) -> Vec<f64> {
    let gaps = histogram.buckets.iter().map(|(us, gaps)| (*us as f64 / 1e3, *gaps as f64));
    let mut counts = Vec::new();
    for (ms, gaps) in gaps.filter(|(ms, _)| *ms >= TOGETHER_MS) {
        let step = ((ms / TOGETHER_MS).ln() / STEP).floor() as usize + 1;
        counts.resize(counts.len().max(step + 2), 0.0);
        counts[step] += gaps;
    }
    counts
}

/// The plainest two humps of a histogram, one of `cells`; `None` if there is one hump only, or too few gaps
/// to tell.
fn humps(histogram: &Histogram, cells: usize) -> Option<Humps> {
    let counts = steps(histogram);
    let all: f64 = counts.iter().sum();
    if all < FEWEST {
        return None;
    }
    let of = |step: Option<usize>| step.and_then(|step| counts.get(step)).copied().unwrap_or(0.0);
    let smooth: Vec<f64> = (0..counts.len())
        .map(|step| (of(step.checked_sub(1)) + 2.0 * of(Some(step)) + of(Some(step + 1))) / 4.0)
        .collect();
    let is_peak = |step: &usize| smooth[*step] > smooth[step - 1] && smooth[*step] >= smooth[step + 1];
    let peaks: Vec<usize> = (1..smooth.len() - 1).filter(is_peak).collect();
    let tests = cells * peaks.len() * peaks.len().saturating_sub(1) / 2;
    let middle = |step: usize| TOGETHER_MS * ((step as f64 - 0.5) * STEP).exp();
    let pair = |low: usize, high: usize| {
        let valley = (low..=high).min_by(|a, b| smooth[*a].total_cmp(&smooth[*b]))?;
        let (peak, floor) = (smooth[low].min(smooth[high]), smooth[valley]);
        let own = Humps {
            low_ms: middle(low),
            valley_ms: middle(valley),
            high_ms: middle(high),
            above: counts[valley..].iter().sum::<f64>() / all,
        };
        // Counts err by their square root.
        let is_beyond = peak - floor > critical(tests, f64::INFINITY) * (peak + floor).sqrt();
        let is_plain = floor <= VALLEY * peak && own.high_ms / own.low_ms >= APART && own.smaller() >= PART;
        (is_beyond && is_plain).then_some(own)
    };
    let pairs = peaks.iter().flat_map(|low| peaks.iter().map(move |high| (*low, *high)));
    let found = pairs.filter(|(low, high)| low < high).filter_map(|(low, high)| pair(low, high));
    largest(found.map(|own| (own, own.smaller()))).map(|(own, _)| own)
}

/// The cells of a block whose ITL has two humps; the one with the plainest is described.
pub(super) fn bimodal(model: &Model<'_>, block_at: usize, block: &Block<'_>) -> Option<Finding> {
    let p50 = at(Percentile::P50, LatencyKind::Itl);
    let is_known = |cell: &&Cell<'_>| cell.streaming == Streaming::Streamed && cell.ranked(p50).is_some();
    let known: Vec<&Cell<'_>> = model.usable(block).filter(is_known).collect();
    let of_cell = |cell: &&Cell<'_>| {
        let itl = cell.file.summary.as_ref()?.itl.as_ref()?;
        let own = humps(&itl.histogram, known.len())?;
        own.is_of_repeats(&cell.file.repeats).then_some((cell.index, own))
    };
    let found: Vec<(usize, Humps)> = known.iter().filter_map(of_cell).collect();
    let ((cell, most), _) = largest(found.iter().map(|own| (*own, own.1.smaller())))?;
    let ratio = most.high_ms / most.low_ms;
    let digits = model.digits(&[cell]);
    let facts = Facts::new()
        .place("place", place(model, &model.cells[cell]))
        .measure("low", p50, most.low_ms, digits)
        .measure("high", p50, most.high_ms, digits)
        .times("ratio", ratio, digits)
        .part("above", most.above)
        .count("of", known.len());
    let cells = found.iter().map(|(cell, _)| *cell);
    Some(Finding::of_block(Kind::BimodalItl, model, block_at, cells).strong_as(ratio).with(facts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(parts: &[(f64, f64, u32)]) -> Histogram {
        // Evenly over a few percent around each middle.
        let one = |(middle, spread, n): &(f64, f64, u32)| -> Vec<f64> {
            let at = |at: u32| middle * (1.0 + spread * (f64::from(at) / f64::from(*n) - 0.5));
            (0..*n).map(at).collect()
        };
        Histogram::from_ms(&parts.iter().flat_map(one).collect::<Vec<f64>>())
    }

    #[test]
    fn two_paces_are_two_humps_and_one_is_one() {
        let two = humps(&histogram(&[(8.0, 0.2, 800), (60.0, 0.2, 200)]), 1).unwrap();
        assert!((two.above - 0.2).abs() < 0.01, "{two:?}");
        assert!((7.0..9.0).contains(&two.low_ms) && (52.0..68.0).contains(&two.high_ms), "{two:?}");
        for one in [
            &[(8.0, 0.2, 1000)][..],
            &[(8.0, 1.5, 1000)],
            // A tail, too few, and chunks that one read brought together.
            &[(8.0, 0.2, 980), (60.0, 0.2, 20)],
            &[(8.0, 0.2, 80), (60.0, 0.2, 80)],
            &[(0.01, 0.2, 500), (8.0, 0.2, 500)],
        ] {
            assert_eq!(humps(&histogram(one), 1), None, "{one:?}");
        }
        assert_eq!(humps(&Histogram::default(), 1), None);
    }
}
