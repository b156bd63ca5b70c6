//! Quantiles of distributions, means and variances, each with its source.

use std::f64::consts::PI;

/// The quantile of the standard normal distribution for an upper tail of `tail` (0 to 0.5), by the rational
/// approximation of Abramowitz and Stegun, 26.2.23: absolute error below 0.00045.
pub(crate) fn normal_quantile(tail: f64) -> f64 {
    let t = (-2.0 * tail.max(f64::MIN_POSITIVE).ln()).sqrt();
    let over = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let under = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    t - over / under
}

/// The quantile of Student's t with `df` degrees of freedom for a probability of `tails` in both tails
/// together, by Hill's algorithm 396 (Communications of the ACM 13, 1970).
pub(crate) fn t_quantile(tails: f64, df: f64) -> f64 {
    if !df.is_finite() {
        return normal_quantile(tails / 2.0);
    }
    let n = df.max(1.0);
    if n < 1.5 {
        return 1.0 / (tails * PI / 2.0).tan();
    }
    if n < 2.5 {
        return (2.0 / (tails * (2.0 - tails)) - 2.0).sqrt();
    }
    let a = 1.0 / (n - 0.5);
    let b = 48.0 / (a * a);
    let mut c = ((20_700.0 * a / b - 98.0) * a - 16.0) * a + 96.36;
    let d = ((94.5 / (b + c) - 3.0) / b + 1.0) * (a * PI / 2.0).sqrt() * n;
    let mut y = (d * tails).powf(2.0 / n);
    if y > 0.05 + a {
        let x = -normal_quantile(tails / 2.0);
        y = x * x;
        if n < 5.0 {
            c += 0.3 * (n - 4.5) * (x + 0.6);
        }
        c += (((0.05 * d * x - 5.0) * x - 7.0) * x - 2.0) * x + b;
        y = (((((0.4 * y + 6.3) * y + 36.0) * y + 94.5) / c - y - 3.0) / b + 1.0) * x;
        y = (a * y * y).exp_m1();
    } else {
        let first = 1.0 / (((n + 6.0) / (n * y) - 0.089 * d - 0.822) * (n + 2.0) * 3.0);
        y = ((first + 0.5 / (n + 4.0)) * y - 1.0) * (n + 1.0) / (n + 2.0) + 1.0 / y;
    }
    (n * y).sqrt()
}

/// The mean and the sample variance; `None` for fewer than two numbers.
pub(crate) fn mean_variance(values: &[f64]) -> Option<(f64, f64)> {
    let n = values.len() as f64;
    (values.len() > 1).then(|| {
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        (mean, squares / (n - 1.0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        assert!((normal_quantile(0.025) - 1.96).abs() < 1e-3);
        for (tails, df, expected) in [
            (0.05, 1.0, 12.706),
            (0.05, 2.0, 4.303),
            (0.05, 4.0, 2.776),
            (0.05, 10.0, 2.228),
            (0.01, 5.0, 4.032),
            (0.001, 6.0, 5.959),
            (0.0001, 20.0, 4.837),
            (0.05, 1e6, 1.960),
        ] {
            let own = t_quantile(tails, df);
            assert!((own / expected - 1.0).abs() < 5e-3, "{tails} {df}: {own}, not {expected}");
        }
    }
}
