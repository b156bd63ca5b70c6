//! A statistical model of a function on a few axes, from a few of its values: a mixture of Gaussian processes.
//!
//! Each process has a Matérn kernel with ν = 5/2 and a length scale of its own for each axis. With as few values
//! as server starts allow, no single set of length scales is certain, so [`Surrogate::fit`] takes many and
//! weights each by its marginal likelihood (Snoek, Larochelle and Adams, "Practical Bayesian Optimization of
//! Machine Learning Algorithms", 2012, integrate over them too, by sampling). The variance of the function
//! is integrated out under an inverse-gamma prior, as in Shah, Wilson and Ghahramani, "Student-t Processes as
//! Alternatives to Gaussian Processes", 2014. Nothing is random.

/// The number of sets of length scales.
const MEMBERS: usize = 64;
/// The shortest and the longest length scale, in units of an axis.
const LENGTHS: (f64, f64) = (0.15, 5.0);
/// The variance of measurement noise, relative to that of the function: the smallest and the largest.
const NOISE: (f64, f64) = (1e-4, 3e-2);
/// Degrees of freedom of the prior of the function's variance.
const FREEDOM: f64 = 3.0;
/// Members of a smaller weight are left out.
const LEAST_WEIGHT: f64 = 1e-3;

/// A model of a function, fitted to some of its values.
pub(super) struct Surrogate<'a> {
    points: &'a [Vec<f64>],
    /// Mean and scale that were taken off the values.
    center: f64,
    scale: f64,
    members: Vec<Member>,
}

/// One Gaussian process of the mixture.
struct Member {
    weight: f64,
    lengths: Vec<f64>,
    /// Lower triangle of the Cholesky factor of the covariance matrix, by rows.
    factor: Vec<Vec<f64>>,
    /// The inverse of the covariance matrix times the values.
    alpha: Vec<f64>,
    variance: f64,
}

/// What a model says about the function at a point: a normal distribution for each member, with its weight.
pub(super) struct Prediction(Vec<(f64, f64, f64)>);

impl<'a> Surrogate<'a> {
    /// Fits the model to the values at some points. Each coordinate runs from 0 to 1.
    pub(super) fn fit(points: &'a [Vec<f64>], values: &[f64]) -> Self {
        let count = values.len().max(1) as f64;
        let center = values.iter().sum::<f64>() / count;
        let spread = (values.iter().map(|value| (value - center).powi(2)).sum::<f64>() / count).sqrt();
        let scale = if spread > 1e-9 { spread } else { 1.0 };
        let values: Vec<f64> = values.iter().map(|value| (value - center) / scale).collect();
        let axes = points.first().map_or(0, Vec::len);
        let fitted: Vec<(f64, Member)> =
            (1..=MEMBERS).filter_map(|number| Member::fit(points, &values, number, axes)).collect();
        let most = fitted.iter().map(|(evidence, _)| *evidence).fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = fitted.iter().map(|(evidence, _)| (evidence - most).exp()).collect();
        let total: f64 = weights.iter().sum();
        let members = fitted.into_iter().zip(weights);
        let members = members.map(|((_, member), weight)| Member { weight: weight / total, ..member });
        Self {
            points,
            center,
            scale,
            members: members.filter(|member| member.weight > LEAST_WEIGHT).collect(),
        }
    }

    /// What the model says about a point.
    pub(super) fn at(&self, point: &[f64]) -> Prediction {
        let each = self.members.iter().map(|member| {
            let (mean, deviation) = member.at(self.points, point);
            (member.weight, self.center + self.scale * mean, self.scale * deviation)
        });
        Prediction(each.collect())
    }
}

impl Member {
    /// A member and the logarithm of its marginal likelihood.
    fn fit(points: &[Vec<f64>], values: &[f64], number: usize, axes: usize) -> Option<(f64, Self)> {
        let between = |(low, high): (f64, f64), share: f64| low * (high / low).powf(share);
        let lengths: Vec<f64> = (0..axes).map(|axis| between(LENGTHS, halton(number, axis + 1))).collect();
        let noise = between(NOISE, halton(number, 0));
        let rows = points.iter().enumerate();
        let covariance: Vec<Vec<f64>> = rows
            .map(|(row, point)| {
                let others = points[..=row].iter().enumerate();
                others
                    .map(|(column, other)| {
                        covariance(&lengths, point, other) + if row == column { noise } else { 0.0 }
                    })
                    .collect()
            })
            .collect();
        let factor = cholesky(covariance)?;
        let half = forward(&factor, values);
        let alpha = backward(&factor, &half);
        let fit: f64 = half.iter().map(|value| value * value).sum();
        let count = values.len() as f64;
        let variance = (FREEDOM + fit) / (FREEDOM + count);
        let log_root: f64 = factor.iter().enumerate().map(|(row, columns)| columns[row].ln()).sum();
        let evidence = -0.5 * (FREEDOM + count) * (1.0 + fit / FREEDOM).ln() - log_root;
        Some((evidence, Self { weight: 0.0, lengths, factor, alpha, variance }))
    }

    /// Mean and standard deviation at a point.
    fn at(&self, points: &[Vec<f64>], point: &[f64]) -> (f64, f64) {
        let shared: Vec<f64> = points.iter().map(|other| covariance(&self.lengths, point, other)).collect();
        let mean = shared.iter().zip(&self.alpha).map(|(shared, alpha)| shared * alpha).sum();
        let half = forward(&self.factor, &shared);
        let known: f64 = half.iter().map(|value| value * value).sum();
        let own = covariance(&self.lengths, point, point);
        (mean, (self.variance * (own - known).max(1e-9)).sqrt())
    }
}

impl Prediction {
    /// The expected improvement over `best` (Jones, Schonlau and Welch, "Efficient Global Optimization of
    /// Expensive Black-Box Functions", 1998).
    pub(super) fn improvement(&self, best: f64) -> f64 {
        let each = self.0.iter().map(|(weight, mean, deviation)| {
            let distance = (mean - best) / deviation;
            weight * deviation * (distance * below(distance) + density(distance))
        });
        each.sum()
    }

    /// The probability that the function is below a limit.
    pub(super) fn is_below(&self, limit: f64) -> f64 {
        self.0.iter().map(|(weight, mean, deviation)| weight * below((limit - mean) / deviation)).sum()
    }

    /// The expected value.
    #[cfg(test)]
    fn mean(&self) -> f64 {
        self.0.iter().map(|(weight, mean, _)| weight * mean).sum()
    }
}

/// The covariance of two points, with variance 1 around a constant that has variance 1 too.
fn covariance(lengths: &[f64], a: &[f64], b: &[f64]) -> f64 {
    let pairs = a.iter().zip(b).zip(lengths);
    let squared: f64 = pairs.map(|((a, b), length)| ((a - b) / length).powi(2)).sum();
    let distance = (5.0 * squared).sqrt();
    1.0 + (1.0 + distance + distance * distance / 3.0) * (-distance).exp()
}

/// The lower triangle whose product with its transpose is the matrix; `None` if there is none.
fn cholesky(mut matrix: Vec<Vec<f64>>) -> Option<Vec<Vec<f64>>> {
    for row in 0..matrix.len() {
        for column in 0..=row {
            let product: f64 = (0..column).map(|k| matrix[row][k] * matrix[column][k]).sum();
            let rest = matrix[row][column] - product;
            matrix[row][column] = if row > column {
                rest / matrix[column][column]
            } else if rest > 0.0 {
                rest.sqrt()
            } else {
                return None;
            };
        }
    }
    Some(matrix)
}

/// Solves L·x = b.
fn forward(factor: &[Vec<f64>], b: &[f64]) -> Vec<f64> {
    let mut x: Vec<f64> = Vec::with_capacity(b.len());
    for (row, b) in factor.iter().zip(b) {
        let sum: f64 = row.iter().zip(&x).map(|(factor, x)| factor * x).sum();
        x.push((b - sum) / row[x.len()]);
    }
    x
}

/// Solves Lᵀ·x = b.
fn backward(factor: &[Vec<f64>], b: &[f64]) -> Vec<f64> {
    let mut x = b.to_vec();
    for row in (0..b.len()).rev() {
        x[row] /= factor[row][row];
        let (before, from) = x.split_at_mut(row);
        before.iter_mut().zip(&factor[row]).for_each(|(x, factor)| *x -= factor * from[0]);
    }
    x
}

/// A number of the Halton sequence, between 0 and 1. Each axis has a prime base.
fn halton(number: usize, axis: usize) -> f64 {
    const PRIMES: [usize; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];
    let base = PRIMES[axis % PRIMES.len()];
    let (mut rest, mut digit, mut sum) = (number, 1.0, 0.0);
    while rest > 0 {
        digit /= base as f64;
        sum += digit * (rest % base) as f64;
        rest /= base;
    }
    sum
}

/// The density of the standard normal distribution.
fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
}

/// The probability that a standard normal variable is below `x`, to 1e-7 (Abramowitz and Stegun 26.2.17).
fn below(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let series = t
        * (0.319_381_530
            + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let upper = density(x) * series;
    if x >= 0.0 { 1.0 - upper } else { upper }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_are_met_and_unknown_ones_are_uncertain() {
        let points: Vec<Vec<f64>> = (0..8).map(|step| vec![f64::from(step) / 7.0, 0.5]).collect();
        let values: Vec<f64> = points.iter().map(|point| (3.0 * point[0]).sin()).collect();
        let model = Surrogate::fit(&points, &values);
        for (point, value) in points.iter().zip(&values) {
            assert!((model.at(point).mean() - value).abs() < 0.05);
        }
        let between = model.at(&[0.5, 0.5]).mean();
        assert!((between - 1.5_f64.sin()).abs() < 0.05, "{between}");
        // Far from what is known, an improvement is more likely.
        let best = 1.0;
        assert!(model.at(&[1.0, 0.0]).improvement(best) > model.at(&points[7]).improvement(best));
        assert!(model.at(&points[0]).is_below(0.5) > 0.9);
    }

    #[test]
    fn equal_values_and_no_values_make_a_model() {
        let points = vec![vec![0.0], vec![1.0]];
        let model = Surrogate::fit(&points, &[2.0, 2.0]);
        assert!((model.at(&[0.5]).mean() - 2.0).abs() < 1e-9);
        assert!(model.at(&[0.5]).improvement(2.0) > 0.0);
        assert!(Surrogate::fit(&[], &[]).at(&[0.5]).mean().is_finite());
    }

    #[test]
    fn the_factor_solves_the_equations() {
        let matrix = vec![vec![4.0], vec![2.0, 5.0], vec![1.0, 3.0, 6.0]];
        let factor = cholesky(matrix).unwrap();
        let solved = backward(&factor, &forward(&factor, &[7.0, 10.0, 10.0]));
        for solved in solved {
            assert!((solved - 1.0).abs() < 1e-12, "{solved}");
        }
        assert!(cholesky(vec![vec![1.0], vec![2.0, 1.0]]).is_none());
    }

    #[test]
    fn the_normal_distribution_has_its_known_values() {
        for (x, p) in [(0.0, 0.5), (1.0, 0.841_344_7), (-1.959_964, 0.025), (3.0, 0.998_650_1)] {
            assert!((below(x) - p).abs() < 1e-6, "{x}");
        }
    }
}
