//! How far a number of a cell may be off by chance.
//!
//! The samples of one run do not show how runs differ. Repeats do, where there are any; otherwise the
//! distance of cells from the line through their neighbours. Few of either are weighed against an assumed
//! spread (moderated variance: Smyth, Statistical Applications in Genetics and Molecular Biology 3, 2004):
//! with four cells measured once, only the assumption says what another run would give.

use super::{Cell, Line, Origin};
use crate::{
    measure::Metric,
    report::statistics::{critical, mean_variance, median},
};

/// The assumed relative standard deviation of a number from run to run, and the degrees of freedom of the
/// assumption.
const ASSUMED: f64 = 0.05;
const ASSUMED_DF: f64 = 12.0;
/// The assumed variance of the logarithm of a ratio of two cells, and its degrees of freedom.
pub(super) const ASSUMED_RATIO: (f64, f64) = (2.0 * ASSUMED * ASSUMED, ASSUMED_DF);
/// The efficiency of a median of squares, as a part of the degrees of freedom.
const EFFICIENCY: f64 = 0.5;

/// The noise of each metric of one workload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noise {
    metrics: Vec<(Metric, Spread)>,
    /// Whether all numbers are predicted: those have no noise.
    is_exact: bool,
}

/// The spread of one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    /// Standard deviation of the logarithm of a number measured once.
    once: f64,
    df: f64,
    /// Whether it rests on repeats or neighbours, not on the assumption alone.
    is_known: bool,
}

/// The uncertainty of the logarithm of a ratio or of another combination of numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Doubt {
    /// Standard error.
    pub(crate) error: f64,
    pub(crate) df: f64,
}

impl Doubt {
    /// The doubt of the ratio of two numbers.
    pub(crate) fn over(self, other: Self) -> Self {
        Self { error: self.error.hypot(other.error), ..self }
    }

    /// The doubt of a number over the larger, or the smaller, of several others.
    pub(crate) fn over_extreme(self, others: impl IntoIterator<Item = Self>) -> Self {
        let worst = others.into_iter().map(|own| own.error).fold(0.0, f64::max);
        Self { error: self.error.hypot(worst), ..self }
    }

    /// Whether a logarithm, one of `tests`, is further from zero than chance explains in all but 0.2 % of
    /// runs.
    pub(crate) fn is_beaten_by(self, log: f64, tests: usize) -> bool {
        log.abs() > critical(tests, self.df) * self.error
    }
}

impl Noise {
    /// The noise of the usable cells of a workload; `lines` are those along numeric axes.
    pub(super) fn of(
        cells: &[&Cell<'_>],
        lines: &[&Line],
        all: &[Cell<'_>],
        numbers: &[Vec<Option<f64>>],
        metrics: &[Metric],
    ) -> Self {
        let is_exact = cells.iter().all(|cell| cell.origin == Origin::Predicted);
        let spreads = metrics.iter().map(|metric| {
            let (variance, df) = between_repeats(cells, *metric)
                .or_else(|| neighbours(lines, all, numbers, *metric))
                .unwrap_or((0.0, 0.0));
            let pooled = (variance * df + ASSUMED.powi(2) * ASSUMED_DF) / (df + ASSUMED_DF);
            let spread = Spread { once: pooled.sqrt(), df: df + ASSUMED_DF, is_known: df > 0.0 };
            (*metric, spread)
        });
        Self { metrics: spreads.collect(), is_exact }
    }

    fn spread(&self, metric: Metric) -> Spread {
        let known = self.metrics.iter().find(|(known, _)| *known == metric);
        known.map_or(Spread { once: ASSUMED, df: ASSUMED_DF, is_known: false }, |(_, spread)| *spread)
    }

    /// The doubt of a cell's number.
    pub(crate) fn of_cell(&self, cell: &Cell<'_>, metric: Metric) -> Doubt {
        if self.is_exact {
            return Doubt { error: 0.0, df: f64::INFINITY };
        }
        let spread = self.spread(metric);
        let repeats = cell.file.repeats.len().max(1) as f64;
        let over_runs = spread.once / repeats.sqrt();
        let sampled = cell.sampled(metric).unwrap_or(0.0);
        let error = match spread.is_known {
            // Repeats and neighbours include the sampling error.
            true => over_runs.max(sampled),
            false => over_runs.hypot(sampled),
        };
        Doubt { error, df: spread.df }
    }

    /// The doubt of a number of one cell over that of another.
    pub(crate) fn of_ratio(&self, one: &Cell<'_>, other: &Cell<'_>, metric: Metric) -> Doubt {
        self.of_cell(one, metric).over(self.of_cell(other, metric))
    }

    /// Whether all numbers are predicted, so that there is no noise.
    pub(crate) fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// The relative standard deviation of a number from run to run; `None` if it is only assumed.
    pub(crate) fn known(&self, metric: Metric) -> Option<f64> {
        let spread = self.spread(metric);
        (spread.is_known && !self.is_exact).then_some(spread.once)
    }
}

/// The variance of the logarithm of a repeat's number around that of its cell, the median over cells, with
/// its degrees of freedom; `None` if no cell was repeated.
pub(crate) fn between_repeats(cells: &[&Cell<'_>], metric: Metric) -> Option<(f64, f64)> {
    let mut all = 0.0;
    let variances: Vec<f64> = cells
        .iter()
        .filter_map(|cell| {
            let logs: Option<Vec<f64>> = cell
                .file
                .repeats
                .iter()
                .map(|repeat| Some(metric.of(repeat).filter(|value| *value > 0.0)?.ln()))
                .collect();
            let logs = logs?;
            let (_, variance) = mean_variance(&logs)?;
            let df = logs.len() as f64 - 1.0;
            all += df;
            // The median of chi-square with df degrees of freedom over df (Wilson and Hilferty, 1931).
            Some(variance / (1.0 - 2.0 / (9.0 * df)).powi(3))
        })
        .collect();
    Some((median(&variances)?, all * EFFICIENCY))
}

/// The variance of the logarithm of a cell's number around the line through its two neighbours, by the median
/// of squares. Real curvature counts as noise, which errs on the safe side.
fn neighbours(
    lines: &[&Line],
    cells: &[Cell<'_>],
    numbers: &[Vec<Option<f64>>],
    metric: Metric,
) -> Option<(f64, f64)> {
    let mut squares = Vec::new();
    for line in lines {
        let Some(values) = numbers.get(line.axis) else { continue };
        let points: Vec<(f64, f64)> = line
            .cells
            .iter()
            .filter_map(|at| {
                let cell = cells.get(*at)?;
                let x = values.get((*cell.at.get(line.axis)?)?).copied().flatten().filter(|x| *x > 0.0)?;
                let y = cell.ranked(metric).filter(|y| *y > 0.0)?;
                Some((x.ln(), y.ln()))
            })
            .collect();
        for three in points.windows(3) {
            let [before, own, after] = [three[0], three[1], three[2]];
            if after.0 <= before.0 {
                continue;
            }
            let part = (own.0 - before.0) / (after.0 - before.0);
            let off = own.1 - (before.1 + part * (after.1 - before.1));
            squares.push(off * off / (1.0 + part.powi(2) + (1.0 - part).powi(2)));
        }
    }
    // The median of the square of a standard normal number.
    let variance = median(&squares)? / 0.454_94;
    Some((variance, squares.len() as f64 * EFFICIENCY / 1.5))
}
