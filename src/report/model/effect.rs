//! What one axis does, everything else equal: matched pairs of cells over all servers of a workload.

use std::collections::HashMap;

use super::{Cell, Doubt, Grid, noise::ASSUMED_RATIO};
use crate::{
    manifest::LatencyKind,
    measure::Metric,
    plan::{Quantity, Role},
    report::{
        metrics::{self, RATES, tail},
        statistics::{median, t_quantile},
    },
};

/// The smallest change that matters.
pub(crate) const SAME: f64 = 0.05;
/// The smallest change that may be confined to part of the pairs.
const CONFINED: f64 = 1.25;
/// Two values are the same if the mean change is below this with 95 % confidence: two one-sided tests
/// (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987).
const ALIKE: f64 = 2.0 * SAME;
/// The probability in both tails of those two tests.
const ALIKE_TAILS: f64 = 0.1;
/// The fewest pairs to which a slope along the load is fitted.
const SLOPED: usize = 4;
/// Once the ratio is known to depend on the load: the probability in both tails for the mean on either side
/// of a crossover.
const SIDE_TAILS: f64 = 0.01;

/// The effect of an axis on a workload.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Effect {
    /// Its place in [`Grid::axes`].
    pub(crate) axis: usize,
    pub(crate) workload: usize,
    /// The value with which the others are compared, by index: the first that has pairs.
    pub(crate) base: usize,
    /// The other values that have pairs, in order.
    pub(crate) levels: Vec<Level>,
    /// The value of a numeric axis with the highest throughput, if it is inside of the range and better than
    /// both ends beyond chance.
    pub(crate) optimum: Option<usize>,
}

/// One value compared with the base.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Level {
    pub(crate) value: usize,
    /// One for each metric that the pairs have; throughput first.
    pub(crate) changes: Vec<Change>,
}

/// Two cells that differ in the axis only.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pair {
    /// Index of the cell with the base value.
    pub(crate) base: usize,
    /// Index of the cell with the other value.
    pub(crate) cell: usize,
    /// Value over base.
    pub(crate) ratio: f64,
}

/// One metric of the pairs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) metric: Metric,
    /// The median of the pairs' ratios, value over base.
    pub(crate) ratio: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) judgement: Judgement,
}

/// The conclusion from the pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Judgement {
    /// No difference that matters.
    Same,
    /// A difference may be chance.
    Unclear,
    /// They differ beyond chance.
    Differs,
    /// The ratio is on one side of 1 up to a load of `from` and on the other from `to` on, each with its
    /// mean.
    Crossover { from: f64, to: f64, before: f64, after: f64 },
    /// They differ, by a mean of `ratio`, only at one or several consecutive values (indices) of another axis
    /// (index); `elsewhere` is the median of all other pairs.
    Confined { axis: usize, from: usize, to: usize, ratio: f64, elsewhere: f64 },
}

impl Judgement {
    /// The name in templates.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Unclear => "unclear",
            Self::Differs => "differs",
            Self::Crossover { .. } => "crossover",
            Self::Confined { .. } => "confined",
        }
    }
}

impl Change {
    /// The size of the change as the absolute value of a logarithm; 0 without a conclusion.
    pub(crate) fn strength(&self) -> f64 {
        match self.judgement {
            Judgement::Same | Judgement::Unclear => 0.0,
            Judgement::Differs => self.ratio.ln().abs(),
            Judgement::Crossover { before, after, .. } => before.ln().abs().max(after.ln().abs()),
            Judgement::Confined { ratio, .. } => ratio.ln().abs(),
        }
    }
}

impl Effect {
    /// The largest change; 0 if the axis makes no difference.
    pub(crate) fn strength(&self) -> f64 {
        let changes = self.levels.iter().flat_map(|level| &level.changes);
        changes.map(Change::strength).fold(0.0, f64::max)
    }

    /// Whether every metric is the same at every value.
    pub(crate) fn is_none(&self) -> bool {
        let mut changes = self.levels.iter().flat_map(|level| &level.changes);
        changes.all(|change| change.judgement == Judgement::Same)
    }
}

/// The effects on a workload: of every server axis, and of the load axes that are neither a load nor a
/// length.
pub(super) fn effects(grid: &Grid<'_>, workload: usize) -> Vec<Effect> {
    let wanted = |axis: &usize| {
        let own = &grid.axes[*axis];
        own.role == Role::Server || own.quantity() == Quantity::Other
    };
    let all: Vec<Matched> =
        (0..grid.axes.len()).filter(wanted).filter_map(|axis| Matched::of(grid, workload, axis)).collect();
    // All claims about all axes are one family of tests.
    let tests = all.iter().map(|own| own.others.len() * own.metrics.len()).sum();
    all.iter().filter_map(|own| own.effect(grid, workload, tests)).collect()
}

/// The cells of a workload by their value on one axis.
struct Matched {
    axis: usize,
    /// For each value of the axis, the cells by their values on all other axes.
    by_value: Vec<HashMap<Vec<Option<usize>>, usize>>,
    base: usize,
    /// The other values that have pairs with the base.
    others: Vec<usize>,
    /// One metric each for throughput, TTFT, time per token, stalls and E2E.
    metrics: Vec<Metric>,
}

impl Matched {
    /// `None` if no two cells differ in the axis only.
    fn of(grid: &Grid<'_>, workload: usize, axis: usize) -> Option<Self> {
        let own = &grid.workloads[workload];
        let values = 0..grid.axes[axis].values.len();
        let mut found = Self {
            axis,
            by_value: vec![HashMap::new(); values.len()],
            base: 0,
            others: Vec::new(),
            metrics: Vec::new(),
        };
        let cells = own.cells.iter().map(|at| &grid.cells[*at]);
        for cell in cells.filter(|cell| cell.is_usable_as(own.origin)) {
            if let Some(value) = cell.at[axis] {
                let mut others = cell.at.clone();
                others[axis] = None;
                found.by_value[value].entry(others).or_insert(cell.index);
            }
        }
        let has = |base: usize, value: usize| value != base && !found.pairs(grid, base, value).is_empty();
        let base = values.clone().find(|base| values.clone().any(|value| has(*base, value)))?;
        let others: Vec<usize> = values.filter(|value| has(base, *value)).collect();
        let pairs: Vec<(usize, usize)> =
            others.iter().flat_map(|value| found.pairs(grid, base, *value)).collect();
        let metrics = metrics(grid, &pairs);
        Some(Self { base, others, metrics, ..found })
    }

    /// The pairs of cells with two values of the axis, in the order of the plan.
    fn pairs(&self, grid: &Grid<'_>, base: usize, value: usize) -> Vec<(usize, usize)> {
        let matched = self.by_value[value].iter();
        let mut pairs: Vec<(usize, usize)> = matched
            .filter_map(|(others, cell)| Some((*self.by_value[base].get(others)?, *cell)))
            .filter(|(one, other)| are_alike(&grid.cells[*one], &grid.cells[*other]))
            .collect();
        pairs.sort_unstable();
        pairs
    }

    fn effect(&self, grid: &Grid<'_>, workload: usize, tests: usize) -> Option<Effect> {
        let level = |value: &usize| Level {
            value: *value,
            changes: self
                .metrics
                .iter()
                .filter_map(|metric| self.change(grid, *metric, self.base, *value, tests))
                .collect(),
        };
        let levels: Vec<Level> =
            self.others.iter().map(level).filter(|level| !level.changes.is_empty()).collect();
        (!levels.is_empty()).then(|| {
            let optimum = self.optimum(grid, &levels, tests);
            Effect { axis: self.axis, workload, base: self.base, levels, optimum }
        })
    }

    fn change(
        &self,
        grid: &Grid<'_>,
        metric: Metric,
        base: usize,
        value: usize,
        tests: usize,
    ) -> Option<Change> {
        let pairs = self.pairs(grid, base, value);
        let pairs: Vec<Pair> = pairs.into_iter().filter_map(|pair| ratio(grid, metric, pair)).collect();
        let ratios = || pairs.iter().map(|pair| pair.ratio);
        let (least, most) = (ratios().min_by(f64::total_cmp)?, ratios().max_by(f64::total_cmp)?);
        let middle = middle(&pairs)?;
        let log = mean(&pairs);
        let chance = Chance::of_mean(grid, metric, &pairs);
        let judgement = if let Some(crossover) = crossover(grid, metric, &pairs, tests) {
            crossover
        } else if chance.is_beaten_by(log, tests) && middle.abs() >= SAME && middle * log > 0.0 {
            Judgement::Differs
        } else if let Some(confined) = confined(grid, self.axis, metric, &pairs, tests) {
            confined
        } else if middle.abs() < SAME && log.abs() + chance.half(ALIKE_TAILS) < ALIKE {
            Judgement::Same
        } else {
            Judgement::Unclear
        };
        Some(Change { metric, ratio: middle.exp(), least, most, pairs, judgement })
    }

    /// The value inside of a numeric range with a higher throughput than both ends, beyond chance.
    fn optimum(&self, grid: &Grid<'_>, levels: &[Level], tests: usize) -> Option<usize> {
        let rate = |level: &Level| {
            let first = level.changes.first().filter(|change| matches!(change.metric, Metric::Rate(_)))?;
            Some((first.metric, first.ratio))
        };
        let (last, inner) = levels.split_last().filter(|_| grid.axes[self.axis].is_numeric())?;
        let known = inner.iter().filter_map(|level| Some((level.value, rate(level)?)));
        let (best, (metric, _)) = known.max_by(|a, b| a.1.1.total_cmp(&b.1.1))?;
        let better = |end: usize| {
            let change = self.change(grid, metric, end, best, tests);
            change.is_some_and(|change| change.judgement == Judgement::Differs && change.ratio > 1.0)
        };
        (better(self.base) && better(last.value)).then_some(best)
    }
}

/// Whether two cells reached the same load and started their streams in the same way.
fn are_alike(one: &Cell<'_>, other: &Cell<'_>) -> bool {
    let starts = super::curve::start(one).zip(super::curve::start(other));
    one.load.reached == other.load.reached && starts.is_none_or(|(one, other)| one == other)
}

/// The metrics by which an axis is judged: of each group the one that most pairs have on both sides.
fn metrics(grid: &Grid<'_>, pairs: &[(usize, usize)]) -> Vec<Metric> {
    let has = |metric: Metric| pairs.iter().filter(|pair| ratio(grid, metric, **pair).is_some()).count();
    let whole = [tail(LatencyKind::E2e), metrics::middle(LatencyKind::E2e)].concat();
    let groups: [&[Metric]; 5] = [
        &RATES,
        &metrics::middle(LatencyKind::Ttft),
        &metrics::middle(LatencyKind::Tpot),
        &tail(LatencyKind::Itl),
        &whole,
    ];
    // The first of equal ones.
    let most = |group: &&[Metric]| group.iter().copied().rev().max_by_key(|metric| has(*metric));
    groups.iter().filter_map(most).filter(|metric| has(*metric) > 0).collect()
}

/// The ratio of a metric of two cells.
fn ratio(grid: &Grid<'_>, metric: Metric, (base, cell): (usize, usize)) -> Option<Pair> {
    let number = |at: usize| grid.cells[at].ranked_own(metric);
    Some(Pair { base, cell, ratio: number(cell)? / number(base)? })
}

/// The mean of the logarithms of some ratios.
fn mean(pairs: &[Pair]) -> f64 {
    pairs.iter().map(|pair| pair.ratio.ln()).sum::<f64>() / pairs.len().max(1) as f64
}

/// The median of the logarithms of some ratios.
fn middle(pairs: &[Pair]) -> Option<f64> {
    median(&pairs.iter().map(|pair| pair.ratio.ln()).collect::<Vec<_>>())
}

/// The sum of the squared distances of some logarithms from their mean.
fn squares(pairs: &[Pair]) -> f64 {
    let mean = mean(pairs);
    pairs.iter().map(|pair| (pair.ratio.ln() - mean).powi(2)).sum()
}

/// The doubt of the logarithm of one ratio, or of a combination of several.
#[derive(Clone, Copy)]
struct Chance {
    /// From the distance of the pairs from a fit, weighed against repeats or an assumption; from the noise of
    /// the workload if pairs are few or numbers exact.
    own: Doubt,
    /// An alternative, because pairs are further apart than chance explains if the effect varies: from the
    /// noise of the workload or, where repeats show only the noise from run to run, from the distance of the
    /// pairs from a slope along the load.
    other: Option<Doubt>,
}

impl Chance {
    /// The doubt of one ratio, from the residuals of a fit to the pairs: sum of squares, and degrees of
    /// freedom.
    fn of_one(grid: &Grid<'_>, metric: Metric, pairs: &[Pair], (squares, free): (f64, usize)) -> Self {
        let (mut noise, mut is_exact) = (Doubt { error: 0.0, df: f64::INFINITY }, true);
        for pair in pairs {
            let (one, other) = (&grid.cells[pair.base], &grid.cells[pair.cell]);
            let all = grid.noise(one.workload);
            let own = all.of_ratio(one, other, metric);
            noise = Doubt { error: noise.error.hypot(own.error), df: own.df };
            is_exact &= all.is_exact();
        }
        noise.error /= (pairs.len().max(1) as f64).sqrt();
        if free == 0 || is_exact {
            return Self { own: noise, other: None };
        }
        let is_repeated = are_repeated(grid, pairs);
        let (assumed, weight) = ASSUMED_RATIO;
        let known = if is_repeated { noise.error.powi(2) } else { assumed };
        let df = free as f64 + weight;
        let own = Doubt { error: ((squares + known * weight) / df).sqrt(), df };
        Self { own, other: (!is_repeated).then_some(noise) }
    }

    /// The doubt of the mean of the logarithms.
    fn of_mean(grid: &Grid<'_>, metric: Metric, pairs: &[Pair]) -> Self {
        let one = Self::of_one(grid, metric, pairs, (squares(pairs), pairs.len().saturating_sub(1)));
        let load = |pair: &Pair| grid.cells[pair.cell].load.reached.filter(|load| *load > 0.0);
        let sloped = slope(pairs, |pair| load(pair).map_or(0.0, f64::ln))
            .filter(|_| pairs.len() >= SLOPED && are_repeated(grid, pairs))
            .map(|slope| Self::of_one(grid, metric, pairs, (slope.left, pairs.len() - 2)).own);
        Self { other: one.other.or(sloped), ..one }.of(pairs.len())
    }

    /// The doubt of the mean of `n` ratios.
    fn of(self, n: usize) -> Self {
        self.times((n.max(1) as f64).sqrt().recip())
    }

    /// The doubt of a combination, by the root of the sum of its squared weights.
    fn times(self, weight: f64) -> Self {
        let scaled = |doubt: Doubt| Doubt { error: doubt.error * weight, ..doubt };
        Self { own: scaled(self.own), other: self.other.map(scaled) }
    }

    /// Whether a logarithm, one of `tests`, is further from zero than chance explains, by either doubt.
    fn is_beaten_by(self, log: f64, tests: usize) -> bool {
        match self.other {
            Some(other) => [self.own, other].iter().any(|doubt| doubt.is_beaten_by(log, 2 * tests)),
            None => self.own.is_beaten_by(log, tests),
        }
    }

    /// Half the width of the interval that leaves out the probability `tails`, on both sides together.
    fn half(self, tails: f64) -> f64 {
        t_quantile(tails, self.own.df) * self.own.error
    }
}

/// Whether every cell was repeated.
fn are_repeated(grid: &Grid<'_>, pairs: &[Pair]) -> bool {
    let mut cells = pairs.iter().flat_map(|pair| [pair.base, pair.cell]);
    cells.all(|cell| grid.cells[cell].file.repeats.len() > 1)
}

/// A straight line through the logarithms of ratios.
struct Slope {
    slope: f64,
    /// The root of the sum of the squared distances along it.
    wide: f64,
    /// The sum of the squared distances from it.
    left: f64,
}

/// The regression of the logarithms of ratios on `x`; `None` if all `x` are equal.
fn slope(pairs: &[Pair], x: impl Fn(&Pair) -> f64) -> Option<Slope> {
    let (mean_x, mean_y) = (pairs.iter().map(&x).sum::<f64>() / pairs.len() as f64, mean(pairs));
    let off = |pair: &Pair| (x(pair) - mean_x, pair.ratio.ln() - mean_y);
    let wide: f64 = pairs.iter().map(|pair| off(pair).0.powi(2)).sum();
    let both: f64 = pairs.iter().map(|pair| off(pair).0 * off(pair).1).sum();
    (wide > 0.0).then(|| {
        let slope = both / wide;
        let left = pairs.iter().map(|pair| (off(pair).1 - slope * off(pair).0).powi(2)).sum();
        Slope { slope, wide: wide.sqrt(), left }
    })
}

/// Where the ratio crosses 1 along the load: it depends on the load beyond chance, and the means below and
/// above one load are on opposite sides. Of several such loads, the one that separates them best.
fn crossover(grid: &Grid<'_>, metric: Metric, pairs: &[Pair], tests: usize) -> Option<Judgement> {
    let load = |pair: &Pair| grid.cells[pair.cell].load.reached.unwrap_or(f64::NAN);
    let mut loads: Vec<f64> = pairs.iter().map(load).collect();
    if loads.iter().any(|load| load.is_nan() || *load <= 0.0) {
        return None;
    }
    loads.sort_by(f64::total_cmp);
    loads.dedup();
    // One slope, and a step between any two loads.
    let step = |ends: &[f64]| slope(pairs, |pair| if load(pair) > ends[0] { 1.0 } else { 0.0 });
    let trends = loads.windows(2).filter_map(step).chain(slope(pairs, |pair| load(pair).ln()));
    let beyond = trends.filter_map(|trend| {
        let one = Chance::of_one(grid, metric, pairs, (trend.left, pairs.len().saturating_sub(2)));
        let is_beyond = one.times(trend.wide.recip()).is_beaten_by(trend.slope, tests * loads.len());
        is_beyond.then_some((trend.left, one))
    });
    let (_, one) = beyond.min_by(|a, b| a.0.total_cmp(&b.0))?;
    let split = |ends: &[f64]| {
        let (before, after): (Vec<Pair>, Vec<Pair>) = pairs.iter().partition(|pair| load(pair) <= ends[0]);
        let sure = |side: &[Pair]| {
            let half = one.of(side.len()).half(SIDE_TAILS);
            Some(mean(side)).filter(|log| log.abs() >= SAME && log.abs() > half)
        };
        let (low, high) = (sure(&before)?, sure(&after)?);
        let apart = (low * before.len() as f64 - high * after.len() as f64).abs();
        let (from, to) = (ends[0], ends[1]);
        let judgement = Judgement::Crossover { from, to, before: low.exp(), after: high.exp() };
        (low * high < 0.0).then_some((apart, judgement))
    };
    let best = loads.windows(2).filter_map(split).max_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, judgement)| judgement)
}

/// A change that only the pairs with one value of another axis have, or with several consecutive ones.
fn confined(grid: &Grid<'_>, own: usize, metric: Metric, pairs: &[Pair], tests: usize) -> Option<Judgement> {
    let others = || (0..grid.axes.len()).filter(|axis| *axis != own);
    let tests = tests * others().map(|axis| grid.axes[axis].values.len()).sum::<usize>();
    let along = |axis: usize| {
        let place = |pair: &Pair| grid.cells[pair.cell].at[axis];
        let group = |from: usize, to: usize| -> (Vec<Pair>, Vec<Pair>) {
            pairs.iter().partition(|pair| place(pair).is_some_and(|at| (from..=to).contains(&at)))
        };
        let sure = |value: usize| {
            let (inside, outside) = group(value, value);
            let (log, rest) = (mean(&inside), mean(&outside));
            let is_more = log.abs() >= CONFINED.ln() && (log - rest).abs() >= CONFINED.ln();
            if inside.is_empty() || outside.is_empty() || !is_more {
                return None;
            }
            let left = (squares(&inside) + squares(&outside), pairs.len().saturating_sub(2));
            let one = Chance::of_one(grid, metric, pairs, left);
            one.of(inside.len()).is_beaten_by(log, tests).then_some(log)
        };
        let logs: Vec<Option<f64>> = (0..grid.axes[axis].values.len()).map(sure).collect();
        // The first of equal ones.
        let known = logs.iter().enumerate().rev().filter_map(|(value, log)| Some((value, (*log)?)));
        let (value, log) = known.max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))?;
        let same = |other: &&Option<f64>| other.is_some_and(|other| other * log > 0.0);
        let (from, to) = match grid.axes[axis].is_numeric() {
            true => (
                value - logs[..value].iter().rev().take_while(same).count(),
                value + logs[value + 1..].iter().take_while(same).count(),
            ),
            false => (value, value),
        };
        let (inside, outside) = group(from, to);
        let elsewhere = middle(&outside)?.exp();
        let ratio = mean(&inside).exp();
        Some((log.abs(), Judgement::Confined { axis, from, to, ratio, elsewhere }))
    };
    others().rev().filter_map(along).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, judgement)| judgement)
}
