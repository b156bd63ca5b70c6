//! Gaps between chunks that fall into two humps: most often decode steps, and decode steps that a prefill held up.

use super::{Block, Insight, count, place};
use crate::{
    measure::Histogram,
    report::number::{ms, percent},
    store::CellFile,
};

/// Fewer gaps than this show no shape.
const FEWEST: u64 = 200;
/// Width of a step of the smoothed histogram, as a logarithm: about a tenth.
const STEP: f64 = 0.1;
/// The smaller hump holds at least this part of the gaps.
const PART: f64 = 0.05;
/// The valley is at most this part of the lower peak.
const VALLEY: f64 = 0.5;
/// The peaks are at least this far apart, as a ratio.
const APART: f64 = 1.5;
/// Gaps shorter than this are chunks that one read brought together, no pace of the engine.
const TOGETHER_MS: f64 = 0.2;

/// Two peaks, and how much lies above the valley between them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::report) struct Humps {
    pub(in crate::report) low_ms: f64,
    pub(in crate::report) high_ms: f64,
    /// The part of the gaps beyond the valley.
    pub(in crate::report) part: f64,
}

/// The humps of a histogram; `None` where there is one, or too few gaps to tell.
pub(in crate::report) fn humps(histogram: &Histogram) -> Option<Humps> {
    let gaps: Vec<(f64, u64)> = histogram
        .buckets
        .iter()
        .map(|(us, gaps)| (*us as f64 / 1e3, *gaps))
        .filter(|(ms, _)| *ms >= TOGETHER_MS)
        .collect();
    let all: u64 = gaps.iter().map(|(_, gaps)| gaps).sum();
    if all < FEWEST {
        return None;
    }
    let step = |ms: f64| ((ms / TOGETHER_MS).ln() / STEP).floor() as usize;
    let last = gaps.iter().map(|(ms, _)| step(*ms)).max()?;
    // One empty step at each end, so that a peak there has neighbours.
    let mut heights = vec![0.0; last + 3];
    for (ms, gaps) in &gaps {
        heights[step(*ms) + 1] += *gaps as f64 / all as f64;
    }
    let at = |index: usize| heights.get(index).copied().unwrap_or_default();
    let smooth: Vec<f64> = (0..heights.len())
        .map(|index| {
            let before = index.checked_sub(1).map_or(0.0, at);
            (before + 2.0 * at(index) + at(index + 1)) / 4.0
        })
        .collect();
    let peaks: Vec<usize> = (1..smooth.len() - 1)
        .filter(|&index| smooth[index] > smooth[index - 1] && smooth[index] >= smooth[index + 1])
        .collect();
    let middle = |index: usize| TOGETHER_MS * ((index as f64 - 0.5) * STEP).exp();
    let mut best: Option<Humps> = None;
    for (nth, &low) in peaks.iter().enumerate() {
        for &high in &peaks[nth + 1..] {
            let valley = (low..=high).min_by(|a, b| smooth[*a].total_cmp(&smooth[*b]))?;
            let above: f64 = heights[valley..].iter().sum();
            let part = above.min(1.0 - above);
            let deep = smooth[valley] <= VALLEY * smooth[low].min(smooth[high]);
            let apart = middle(high) / middle(low) >= APART;
            if deep
                && apart
                && part >= PART
                && best.is_none_or(|known| part > known.part.min(1.0 - known.part))
            {
                best = Some(Humps {
                    low_ms: middle(low),
                    high_ms: middle(high),
                    part: above,
                });
            }
        }
    }
    best
}

/// The cells of a block with two humps, in one sentence.
pub(in crate::report) fn two_humped(block: &Block<'_>) -> Option<Insight> {
    let shaped: Vec<(&CellFile, Humps)> = block
        .cells
        .iter()
        .filter_map(|cell| {
            let itl = cell.summary.as_ref()?.itl.as_ref()?;
            Some((*cell, humps(&itl.histogram)?))
        })
        .collect();
    let (cell, most) = shaped.iter().max_by(|a, b| {
        a.1.part
            .min(1.0 - a.1.part)
            .total_cmp(&b.1.part.min(1.0 - b.1.part))
    })?;
    let cells: Vec<&CellFile> = shaped.iter().map(|(cell, _)| *cell).collect();
    Some(Insight::new(
        "two_humped_itl",
        &cells,
        &[
            ("low_ms", most.low_ms),
            ("high_ms", most.high_ms),
            ("part_above", most.part),
        ],
        format!(
            "ITL has two humps in {}, most plainly at {}: around {} and around {}, with {} of the gaps in the upper one. A mean or a median of it describes neither{}.",
            count(shaped.len(), "cell"),
            place(block, cell),
            ms(Some(most.low_ms)),
            ms(Some(most.high_ms)),
            percent(Some(most.part)),
            if most.part < 0.5 {
                "; often the upper one is decode steps that a prefill held up"
            } else {
                ""
            }
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(parts: &[(f64, f64, u64)]) -> Histogram {
        // Evenly over a few percent around each middle.
        let samples: Vec<f64> = parts
            .iter()
            .flat_map(|(middle, spread, n)| {
                (0..*n).map(move |at| middle * (1.0 + spread * (at as f64 / *n as f64 - 0.5)))
            })
            .collect();
        Histogram::from_ms(&samples)
    }

    #[test]
    fn two_paces_are_two_humps_and_one_is_one() {
        let two = humps(&histogram(&[(8.0, 0.2, 800), (60.0, 0.2, 200)])).unwrap();
        assert!((two.part - 0.2).abs() < 0.01, "{two:?}");
        assert!(
            (7.0..9.0).contains(&two.low_ms) && (52.0..68.0).contains(&two.high_ms),
            "{two:?}"
        );
        assert_eq!(humps(&histogram(&[(8.0, 0.2, 1000)])), None);
        assert_eq!(
            humps(&histogram(&[(8.0, 1.5, 1000)])),
            None,
            "broad is not two-humped"
        );
        assert_eq!(
            humps(&histogram(&[(8.0, 0.2, 980), (60.0, 0.2, 20)])),
            None,
            "a tail is no hump"
        );
        assert_eq!(
            humps(&histogram(&[(8.0, 0.2, 80), (60.0, 0.2, 80)])),
            None,
            "too few"
        );
        assert_eq!(
            humps(&histogram(&[(0.01, 0.2, 500), (8.0, 0.2, 500)])),
            None,
            "read together"
        );
        assert_eq!(humps(&Histogram::default()), None);
    }
}
