//! A ratio that is above 1 with little load and below with much, or the other way.

/// A ratio this close to 1 takes no side.
const SAME: f64 = 0.05;
/// Both ends are at least this far from 1, as the size of a logarithm.
const FAR: f64 = 0.13;
/// Or there are this many loads and this many clear ones on either side, the sides in the mean this far from 1, and this many standard
/// errors from each other: where it crosses over was looked for, so it takes more than a test of one place would.
const MANY: usize = 6;
const SEVERAL: usize = 2;
const NEARER: f64 = 0.05;
const SURE: f64 = 5.0;

/// Where one side stops being better. Every point is a load and the ratio there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::report) struct Turn {
    pub(in crate::report) first: (f64, f64),
    pub(in crate::report) last: (f64, f64),
    /// The loads between which it crosses over.
    pub(in crate::report) between: (f64, f64),
}

/// The turn of some ratios; `None` where both ends are on one side, where it goes to and fro, or where there are too few to say.
pub(in crate::report) fn turn(all: &[(f64, f64)]) -> Option<Turn> {
    let points = by_load(all);
    let (first, last) = (*points.first()?, *points.last()?);
    let clear: Vec<&(f64, f64)> = points
        .iter()
        .filter(|(_, ratio)| ratio.ln().abs() > SAME)
        .collect();
    let mut changes = clear
        .windows(2)
        .filter(|pair| (pair[0].1 > 1.0) != (pair[1].1 > 1.0));
    let (one, None) = (changes.next()?, changes.next()) else {
        return None;
    };
    let between = (one[0].0, one[1].0);
    let far = |ratio: f64| ratio.ln().abs() >= FAR;
    let opposite = (first.1 > 1.0) != (last.1 > 1.0);
    if points.len() >= 3 && far(first.1) && far(last.1) && opposite {
        return Some(Turn {
            first,
            last,
            between,
        });
    }
    // Less far, but several in a row on either side, and the sides far apart beside what is within them: then what is furthest on each
    // is told.
    let side = |before: bool| -> Vec<(f64, f64)> {
        let own = clear
            .iter()
            .filter(|point| (point.0 <= between.0) == before);
        own.map(|point| **point).collect()
    };
    let (before, after) = (side(true), side(false));
    let furthest = |side: &[(f64, f64)]| {
        let by = |a: &&(f64, f64), b: &&(f64, f64)| a.1.ln().abs().total_cmp(&b.1.ln().abs());
        side.iter().max_by(by).copied()
    };
    let several = points.len() >= MANY && before.len() >= SEVERAL && after.len() >= SEVERAL;
    let logs = |before: bool| -> Vec<f64> {
        let own = all.iter().filter(|point| (point.0 <= between.0) == before);
        own.map(|point| point.1.ln()).collect()
    };
    let (one, other) = (logs(true), logs(false));
    let near = [&one, &other].map(|logs| mean(logs).abs());
    let sure = near.iter().all(|mean| *mean >= NEARER) && t_statistic(&one, &other)? >= SURE;
    (several && sure).then_some(())?;
    Some(Turn {
        first: furthest(&before)?,
        last: furthest(&after)?,
        between,
    })
}

fn mean(logs: &[f64]) -> f64 {
    logs.iter().sum::<f64>() / logs.len() as f64
}

/// How far the means of two samples are apart, in standard errors, with the spread that both share (Student's t).
fn t_statistic(one: &[f64], other: &[f64]) -> Option<f64> {
    let squares = |logs: &[f64]| {
        logs.iter()
            .map(|log| (log - mean(logs)).powi(2))
            .sum::<f64>()
    };
    let (n, m) = (one.len() as f64, other.len() as f64);
    let degrees = n + m - 2.0;
    let spread = (degrees > 0.0).then(|| (squares(one) + squares(other)) / degrees)?;
    Some((mean(one) - mean(other)).abs() / (spread * (1.0 / n + 1.0 / m)).sqrt())
}

/// One ratio for each load, least first; of several the one in the middle.
pub(super) fn by_load(all: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut sorted = all.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    sorted
        .chunk_by(|a, b| a.0 == b.0)
        .map(|same| same[same.len() / 2])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_told_and_a_zigzag_is_not() {
        let points = [
            (1.0, 1.4),
            (8.0, 1.1),
            (32.0, 1.01),
            (64.0, 0.9),
            (128.0, 0.7),
        ];
        let found = turn(&points).unwrap();
        assert_eq!((found.first, found.last), (points[0], points[4]));
        assert_eq!(found.between, (8.0, 64.0));
        assert_eq!(
            turn(&[(1.0, 1.4), (8.0, 0.8), (32.0, 1.3), (64.0, 0.7)]),
            None
        );
        assert_eq!(turn(&[(1.0, 1.4), (8.0, 1.3), (32.0, 1.2)]), None);
        assert_eq!(turn(&[(1.0, 1.05), (8.0, 1.0), (32.0, 0.95)]), None);
        // Not far from 1 at either end, and yet on one side and then on the other.
        let engines = [
            (1.0, 0.96),
            (2.0, 0.92),
            (4.0, 0.90),
            (8.0, 1.03),
            (16.0, 1.08),
            (32.0, 1.12),
            (64.0, 1.08),
        ];
        let found = turn(&engines).unwrap();
        assert_eq!((found.first, found.last), (engines[2], engines[5]));
        assert_eq!(found.between, (4.0, 16.0));
    }
}
