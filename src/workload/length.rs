//! Draws lengths from their distributions.

use rand_chacha::rand_core::Rng;

use crate::manifest::{Distribution, Length, Moments};

/// After this many draws outside the bounds, the last one is clamped to them.
const MOST_DRAWS: usize = 1000;

/// Draws a length, in tokens, within its bounds.
pub(super) fn draw(length: &Length, random: &mut impl Rng) -> u32 {
    match length {
        Length::Fixed(tokens) => *tokens,
        Length::Drawn(Distribution::Uniform([least, most])) => {
            least + below(random, u64::from(most - least) + 1) as u32
        }
        Length::Drawn(Distribution::Normal(moments)) => {
            within(moments, || moments.mean + moments.stddev * normal(random))
        }
        Length::Drawn(Distribution::Lognormal(moments)) => {
            // Mean m and deviation s are those of the lengths, not of their logarithms: σ² = ln(1 + s²/m²), μ
            // = ln m − σ²/2.
            let variance = (moments.stddev / moments.mean).powi(2).ln_1p();
            let middle = moments.mean.ln() - variance / 2.0;
            within(moments, || (middle + variance.sqrt() * normal(random)).exp())
        }
        Length::Drawn(Distribution::Histogram(rows)) => {
            let whole: f64 = rows.iter().map(|(_, weight)| weight).sum();
            let mut at = unit(random) * whole;
            let mut last = length.bounds().1;
            for (tokens, weight) in rows.iter().filter(|(_, weight)| *weight > 0.0) {
                last = *tokens;
                if at < *weight {
                    break;
                }
                at -= weight;
            }
            last
        }
    }
}

/// A uniform whole number below a bound: the high half of a product. Its bias is below 2⁻³² here.
pub(super) fn below(random: &mut impl Rng, bound: u64) -> u64 {
    ((u128::from(random.next_u64()) * u128::from(bound)) >> 64) as u64
}

/// A uniform number, at least 0 and below 1.
fn unit(random: &mut impl Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A standard normal number, by the Box–Muller transform.
fn normal(random: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - unit(random)).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(random)).cos()
}

fn within(moments: &Moments, mut draw: impl FnMut() -> f64) -> u32 {
    let (least, most) = (f64::from(moments.min), f64::from(moments.most()));
    let mut drawn = draw().round();
    for _ in 0..MOST_DRAWS {
        if (least..=most).contains(&drawn) {
            break;
        }
        drawn = draw().round();
    }
    drawn.clamp(least, most) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    use serde_json::json;

    use super::*;

    fn many(form: serde_json::Value) -> Vec<u32> {
        let length: Length = serde_json::from_value(form).unwrap();
        let mut random = ChaCha8Rng::seed_from_u64(3);
        (0..20_000).map(|_| draw(&length, &mut random)).collect()
    }

    fn moments(drawn: &[u32]) -> (f64, f64) {
        let n = drawn.len() as f64;
        let mean = drawn.iter().map(|d| f64::from(*d)).sum::<f64>() / n;
        let square = drawn.iter().map(|d| (f64::from(*d) - mean).powi(2));
        (mean, (square.sum::<f64>() / n).sqrt())
    }

    #[test]
    fn draws_have_the_moments_asked_for() {
        // Tolerances: five standard errors of 20,000 draws, or more.
        for (form, mean, deviation) in [
            (json!(7), 7.0, 0.0),
            (json!({ "uniform": [100, 300] }), 200.0, 58.02),
            (json!({ "normal": { "mean": 500, "stddev": 50 } }), 500.0, 50.0),
            (json!({ "lognormal": { "mean": 500, "stddev": 300, "max": 100000 } }), 500.0, 300.0),
            (json!({ "histogram": [[100, 3], [500, 1]] }), 200.0, 173.2),
        ] {
            let (m, d) = moments(&many(form.clone()));
            assert!((m - mean).abs() <= 0.03 * mean, "{form}: mean {m}");
            assert!((d - deviation).abs() <= 0.08 * deviation, "{form}: deviation {d}");
        }
        let both = many(json!({ "uniform": [1, 2] }));
        assert!(both.contains(&1) && both.contains(&2));
        assert!(!many(json!({ "histogram": [[9, 0], [5, 2]] })).contains(&9));
    }

    proptest! {
        #[test]
        fn no_draw_leaves_its_bounds(
            seed: u64, mean in 1.0..5000.0f64, spread in 0.0..2.0f64, below in 0.0..1.0f64, above in 0.0..3.0f64,
        ) {
            let stddev = mean * spread;
            let min = (mean * below).max(1.0) as u32;
            let max = (mean * (1.0 + above)).ceil() as u32;
            for kind in ["normal", "lognormal"] {
                let form = json!({ kind: { "mean": mean, "stddev": stddev, "min": min, "max": max } });
                let length: Length = serde_json::from_value(form).unwrap();
                prop_assert_eq!(length.check(), Ok(()));
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                for _ in 0..20 {
                    prop_assert!((min..=max).contains(&draw(&length, &mut random)));
                }
            }
        }
    }
}
