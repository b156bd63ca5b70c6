//! The part of a search's range that skip conditions leave.

use super::number::tidy;

/// How close the end of a range of reals comes to where a skip condition begins to apply, as a fraction.
const PRECISION: f64 = 1e-6;

/// Returns the part of a range that is not skipped: one end is moved inward where the other is not skipped, and
/// `None` inside says that both are. Whole numbers and values with a distance pass `step`. `is_skipped` returns
/// `None` where it cannot tell, which ends the search for the end.
pub(super) fn unskipped(
    (from, to): (f64, f64),
    step: Option<f64>,
    mut is_skipped: impl FnMut(f64) -> Option<bool>,
) -> Option<Option<(f64, f64)>> {
    Some(match (is_skipped(from)?, is_skipped(to)?) {
        (false, false) => Some((from, to)),
        (true, true) => None,
        (false, true) => Some((from, last(from, to, step, &mut is_skipped)?)),
        (true, false) => Some((last(to, from, step, &mut is_skipped)?, to)),
    })
}

/// The last number between `good` and `bad` that is not skipped, where skipping begins once.
fn last(
    mut good: f64,
    mut bad: f64,
    step: Option<f64>,
    is_skipped: &mut impl FnMut(f64) -> Option<bool>,
) -> Option<f64> {
    loop {
        let middle = match step {
            Some(step) => {
                let steps = ((bad - good) / step).round();
                if steps.abs() <= 1.0 {
                    return Some(good);
                }
                tidy(good + (steps / 2.0).trunc() * step)
            }
            None if (bad - good).abs() <= PRECISION * good.abs() => break,
            None => good.midpoint(bad),
        };
        if is_skipped(middle)? {
            bad = middle;
        } else {
            good = middle;
        }
    }
    // The number that the condition names, where that is allowed.
    let short: f64 = format!("{good:.4e}").parse().unwrap_or(good);
    Some(if is_skipped(short)? { good } else { short })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_where_skipping_begins() {
        let within =
            |range, step, skip: fn(f64) -> bool| unskipped(range, step, |at| Some(skip(at))).unwrap();
        for limit in 1..=40 {
            let limit = f64::from(limit);
            let range = unskipped((1.0, 41.0), Some(1.0), |at| Some(at > limit)).unwrap();
            assert_eq!(range, Some((1.0, limit)));
            let range = unskipped((1.0, 41.0), Some(1.0), |at| Some(at <= limit)).unwrap();
            assert_eq!(range, Some((limit + 1.0, 41.0)));
        }
        assert_eq!(within((1.0, 41.0), Some(1.0), |_| true), None);
        assert_eq!(within((1.0, 41.0), Some(1.0), |_| false), Some((1.0, 41.0)));
        assert_eq!(within((0.5, 0.95), Some(0.01), |at| at > 0.9), Some((0.5, 0.9)));
        assert_eq!(within((0.1, 100.0), None, |at| at > 12.5), Some((0.1, 12.5)));
        let (_, to) = within((0.1, 100.0), None, |at| at >= 12.5).unwrap();
        assert!(to < 12.5 && to > 12.49, "{to}");
        assert_eq!(unskipped((1.0, 4.0), Some(1.0), |_| None), None);
    }
}
