//! How far a number of a cell may be off by chance.
//!
//! What one run differs from another by is in no sample of one run. It is told by the repeats of the cells where there are
//! any, else by how far cells stand off the line through their neighbours. Few of either are weighed against an assumed
//! spread (moderated variance: Smyth, Statistical Applications in Genetics and Molecular Biology 3, 2004): with four cells
//! measured once, nothing but the assumption says what another run would give.

use super::{Cell, Line, Origin};
use crate::{
    measure::{Metric, Rank},
    report::statistics::{Estimate, critical, mean_variance, median, relative_error},
};

/// The standard deviation of a number from one run to another that is assumed, as a part of it, and the degrees of freedom
/// with which the assumption weighs.
const ASSUMED: f64 = 0.05;
const ASSUMED_DF: f64 = 12.0;
/// The same of the logarithm of a ratio of two cells: its variance, and the degrees of freedom.
pub(super) const ASSUMED_RATIO: (f64, f64) = (2.0 * ASSUMED * ASSUMED, ASSUMED_DF);
/// A median of squares weighs as much as so large a part of as many degrees of freedom.
const EFFICIENCY: f64 = 0.5;

/// The noise of each metric of one workload.
#[derive(Clone, Debug, Default)]
pub(in crate::report) struct Noise {
    metrics: Vec<(Metric, Spread)>,
    /// Nothing was measured: a model has no noise.
    is_exact: bool,
}

/// The spread of one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    /// Standard deviation of the logarithm of a number measured once.
    once: f64,
    df: f64,
    /// Whether repeats or neighbours told anything of it.
    is_told: bool,
}

/// What may have been chance in the logarithm of a ratio or of another combination of numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::report) struct Doubt {
    /// Standard error.
    pub(in crate::report) error: f64,
    pub(in crate::report) df: f64,
}

impl Doubt {
    /// Whether a logarithm is further from zero than chance would bring one of `tests` in 0.2 % of runs.
    pub(in crate::report) fn is_beaten_by(self, log: f64, tests: usize) -> bool {
        log.abs() > critical(tests, self.df) * self.error
    }
}

impl Noise {
    /// Of the usable cells of a workload, and its lines along numeric axes.
    pub(super) fn of(
        cells: &[&Cell<'_>],
        lines: &[Line],
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
            let spread = Spread { once: pooled.sqrt(), df: df + ASSUMED_DF, is_told: df > 0.0 };
            (*metric, spread)
        });
        Self { metrics: spreads.collect(), is_exact }
    }

    fn spread(&self, metric: Metric) -> Spread {
        let known = self.metrics.iter().find(|(known, _)| *known == metric);
        known.map_or(Spread { once: ASSUMED, df: ASSUMED_DF, is_told: false }, |(_, spread)| *spread)
    }

    /// The standard error of the logarithm of a cell's number.
    pub(in crate::report) fn of_cell(&self, cell: &Cell<'_>, metric: Metric) -> Doubt {
        if self.is_exact {
            return Doubt { error: 0.0, df: f64::INFINITY };
        }
        let spread = self.spread(metric);
        let repeats = cell.file.repeats.len().max(1) as f64;
        let over_runs = spread.once / repeats.sqrt();
        let sampled = cell.sampled(metric).unwrap_or(0.0);
        let error = match spread.is_told {
            // Repeats and neighbours differ by what was sampled, too.
            true => over_runs.max(sampled),
            false => over_runs.hypot(sampled),
        };
        Doubt { error, df: spread.df }
    }

    /// The standard error of the logarithm of a number of one cell over that of another.
    pub(in crate::report) fn of_ratio(&self, one: &Cell<'_>, other: &Cell<'_>, metric: Metric) -> Doubt {
        let (one, other) = (self.of_cell(one, metric), self.of_cell(other, metric));
        Doubt { error: one.error.hypot(other.error), df: one.df }
    }

    /// The same of a number of one cell over the larger, or the smaller, of those of several.
    pub(in crate::report) fn of_extreme(
        &self,
        own: &Cell<'_>,
        others: &[&Cell<'_>],
        metric: Metric,
    ) -> Doubt {
        let own = self.of_cell(own, metric);
        let worst = others.iter().map(|cell| self.of_cell(cell, metric).error).fold(0.0, f64::max);
        Doubt { error: own.error.hypot(worst), df: own.df }
    }

    /// Whether nothing was measured, so that there is no noise.
    pub(in crate::report) fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// The standard deviation of a number from one run to another, as a part of it; `None` where nothing told it.
    pub(in crate::report) fn told(&self, metric: Metric) -> Option<f64> {
        let spread = self.spread(metric);
        (spread.is_told && !self.is_exact).then_some(spread.once)
    }
}

/// The standard error that the samples of a cell alone give the logarithm of its number.
pub(super) fn sampling(cell: &Cell<'_>, metric: Metric) -> Option<f64> {
    let summary = cell.file.summary.as_ref()?;
    match metric {
        Metric::Latency(Rank::At(rank), kind) => {
            Estimate::percentile(summary.latency(kind)?, rank)?.log_error()
        }
        Metric::Latency(Rank::Mean, kind) => relative_error(summary.latency(kind)?),
        // By Little's law a rate errs as the mean of the latency does.
        Metric::Rate(_) if !cell.load.is_open => relative_error(summary.e2e.as_ref()?),
        // Arrivals by chance are as many, up to the square root of their number.
        Metric::Rate(_) => {
            let completed = summary.counts.completed;
            (completed > 0).then(|| 1.0 / (completed as f64).sqrt())
        }
    }
}

/// The variance of the logarithm of a repeat's number around its cell's, the median over cells, with degrees of freedom;
/// `None` where no cell was repeated.
pub(in crate::report) fn between_repeats(cells: &[&Cell<'_>], metric: Metric) -> Option<(f64, f64)> {
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

/// The variance of the logarithm of a cell's number around the line through its two neighbours, by the median of squares:
/// what bends in the law counts as noise, which errs on the safe side.
fn neighbours(
    lines: &[Line],
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
