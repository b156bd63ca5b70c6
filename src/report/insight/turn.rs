//! A ratio that is above 1 with little load and below with much, or the other way.

/// A ratio this close to 1 takes no side.
const SAME: f64 = 0.05;
/// Both ends are at least this far from 1, as the size of a logarithm.
const FAR: f64 = 0.13;

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
    let far = |ratio: f64| ratio.ln().abs() >= FAR;
    let opposite = (first.1 > 1.0) != (last.1 > 1.0);
    if points.len() < 3 || !far(first.1) || !far(last.1) || !opposite {
        return None;
    }
    let clear: Vec<&(f64, f64)> = points
        .iter()
        .filter(|(_, ratio)| ratio.ln().abs() > SAME)
        .collect();
    let mut changes = clear
        .windows(2)
        .filter(|pair| (pair[0].1 > 1.0) != (pair[1].1 > 1.0));
    let (one, other) = (changes.next()?, changes.next());
    other.is_none().then_some(Turn {
        first,
        last,
        between: (one[0].0, one[1].0),
    })
}

/// One ratio for each load, least first; of several the one in the middle.
fn by_load(all: &[(f64, f64)]) -> Vec<(f64, f64)> {
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
    }
}
