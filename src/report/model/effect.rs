//! What one axis does while everything else stays the same: matched pairs of cells over all servers of a workload.

use std::collections::HashMap;

use super::{Cell, Doubt, Model, Streaming, noise::ASSUMED_RATIO};
use crate::{
    manifest::LatencyKind,
    measure::{Metric, Rank},
    plan::{Quantity, Role},
    report::statistics::{median, t_quantile},
    unit::Percentile,
};

/// A change below this is none that anybody would act on.
pub(in crate::report) const SAME: f64 = 0.05;
/// A change that only part of the pairs have is at least this large.
const CONFINED: f64 = 1.25;
/// There is no difference where the mean change lies below this with 95 % confidence on either side: two one-sided tests
/// (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987).
const ALIKE: f64 = 2.0 * SAME;
/// Both tails of those two tests.
const ALIKE_TAILS: f64 = 0.1;
/// From so many pairs on a slope along the load may be fitted to them.
const SLOPED: usize = 4;
/// Once the ratio is known to depend on the load, either side of a crossover is told from 1 with so much in both tails.
const SIDE_TAILS: f64 = 0.01;

/// What an axis does to a workload.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::report) struct Effect {
    /// Its place in [`Model::axes`].
    pub(in crate::report) axis: usize,
    pub(in crate::report) workload: usize,
    /// The value that the others are held against, as a place in the axis' values: the first that has pairs.
    pub(in crate::report) base: usize,
    /// The other values that have pairs, in order.
    pub(in crate::report) levels: Vec<Level>,
    /// Of a numeric axis the value whose throughput is best, where it is inside of the range and better than both ends
    /// beyond chance.
    pub(in crate::report) optimum: Option<usize>,
}

/// One value against the base.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::report) struct Level {
    pub(in crate::report) value: usize,
    /// One for each metric that the pairs have; throughput first.
    pub(in crate::report) changes: Vec<Change>,
}

/// Two cells that differ in the axis alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::report) struct Pair {
    /// The cell of the base, as a place in [`Model::cells`].
    pub(in crate::report) base: usize,
    /// The cell of the value, likewise.
    pub(in crate::report) cell: usize,
    /// Value over base.
    pub(in crate::report) ratio: f64,
}

/// One metric of the pairs.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::report) struct Change {
    pub(in crate::report) metric: Metric,
    /// The median of the pairs' ratios, value over base.
    pub(in crate::report) ratio: f64,
    pub(in crate::report) least: f64,
    pub(in crate::report) most: f64,
    pub(in crate::report) pairs: Vec<Pair>,
    pub(in crate::report) judgement: Judgement,
}

/// What the pairs say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::report) enum Judgement {
    /// All of them together do not differ by anything that anybody would act on.
    Same,
    /// Whether they differ may be chance.
    Unclear,
    /// They differ beyond chance.
    Differs,
    /// One way up to a load of `from`, the other way from `to` on, each with its mean ratio.
    Crossover { from: f64, to: f64, before: f64, after: f64 },
    /// They differ where another axis (a place in [`Model::axes`]) has one value, or several in a row (places in its
    /// values), by the mean of `ratio`; the median of all other pairs is `elsewhere`.
    Confined { axis: usize, from: usize, to: usize, ratio: f64, elsewhere: f64 },
}

impl Change {
    /// The size of what may be concluded: of a logarithm, 0 where it is nothing.
    pub(in crate::report) fn strength(&self) -> f64 {
        match self.judgement {
            Judgement::Same | Judgement::Unclear => 0.0,
            Judgement::Differs => self.ratio.ln().abs(),
            Judgement::Crossover { before, after, .. } => before.ln().abs().max(after.ln().abs()),
            Judgement::Confined { ratio, .. } => ratio.ln().abs(),
        }
    }
}

impl Effect {
    /// The largest of its changes; 0 where the axis makes no difference.
    pub(in crate::report) fn strength(&self) -> f64 {
        let changes = self.levels.iter().flat_map(|level| &level.changes);
        changes.map(Change::strength).fold(0.0, f64::max)
    }

    /// Whether every metric of every value is the same as that of the base.
    pub(in crate::report) fn is_none(&self) -> bool {
        let mut changes = self.levels.iter().flat_map(|level| &level.changes);
        changes.all(|change| change.judgement == Judgement::Same)
    }
}

/// The effects of a workload: of every server axis, and of the load axes that are neither an amount nor a length.
pub(super) fn effects(model: &Model<'_>, workload: usize) -> Vec<Effect> {
    let wanted = |axis: &usize| {
        let own = &model.axes[*axis];
        own.role == Role::Server || own.quantity() == Quantity::Other
    };
    let all: Vec<Matched> =
        (0..model.axes.len()).filter(wanted).filter_map(|axis| Matched::of(model, workload, axis)).collect();
    // Whatever is claimed of any axis is one family.
    let tests = all.iter().map(|own| own.others.len() * own.metrics.len()).sum();
    all.iter().filter_map(|own| own.effect(model, workload, tests)).collect()
}

/// The cells of a workload by their value on one axis.
struct Matched {
    axis: usize,
    /// For each value of the axis the cells, by everything else of them.
    by_value: Vec<HashMap<Vec<Option<usize>>, usize>>,
    base: usize,
    /// The other values that have pairs with the base.
    others: Vec<usize>,
    /// One for each question: throughput, TTFT, pace, stalls, E2E.
    metrics: Vec<Metric>,
}

impl Matched {
    /// `None` where no two cells differ in the axis alone.
    fn of(model: &Model<'_>, workload: usize, axis: usize) -> Option<Self> {
        let own = &model.workloads[workload];
        let values = 0..model.axes[axis].values.len();
        let mut found = Self {
            axis,
            by_value: vec![HashMap::new(); values.len()],
            base: 0,
            others: Vec::new(),
            metrics: Vec::new(),
        };
        let cells = own.cells.iter().map(|at| &model.cells[*at]);
        for cell in cells.filter(|cell| cell.is_usable() && Some(cell.origin) == own.origin) {
            if let Some(value) = cell.at[axis] {
                let mut others = cell.at.clone();
                others[axis] = None;
                found.by_value[value].entry(others).or_insert(cell.index);
            }
        }
        let has = |base: usize, value: usize| value != base && !found.pairs(model, base, value).is_empty();
        let base = values.clone().find(|base| values.clone().any(|value| has(*base, value)))?;
        let others: Vec<usize> = values.filter(|value| has(base, *value)).collect();
        let pairs: Vec<(usize, usize)> =
            others.iter().flat_map(|value| found.pairs(model, base, *value)).collect();
        let metrics = metrics(model, &pairs);
        Some(Self { base, others, metrics, ..found })
    }

    /// The cells of two values that are the same in everything else, in the order of the plan.
    fn pairs(&self, model: &Model<'_>, base: usize, value: usize) -> Vec<(usize, usize)> {
        let matched = self.by_value[value].iter();
        let mut pairs: Vec<(usize, usize)> = matched
            .filter_map(|(others, cell)| Some((*self.by_value[base].get(others)?, *cell)))
            .filter(|(one, other)| are_alike(&model.cells[*one], &model.cells[*other]))
            .collect();
        pairs.sort_unstable();
        pairs
    }

    fn effect(&self, model: &Model<'_>, workload: usize, tests: usize) -> Option<Effect> {
        let level = |value: &usize| Level {
            value: *value,
            changes: self
                .metrics
                .iter()
                .filter_map(|metric| self.change(model, *metric, self.base, *value, tests))
                .collect(),
        };
        let levels: Vec<Level> =
            self.others.iter().map(level).filter(|level| !level.changes.is_empty()).collect();
        (!levels.is_empty()).then(|| {
            let optimum = self.optimum(model, &levels, tests);
            Effect { axis: self.axis, workload, base: self.base, levels, optimum }
        })
    }

    fn change(
        &self,
        model: &Model<'_>,
        metric: Metric,
        base: usize,
        value: usize,
        tests: usize,
    ) -> Option<Change> {
        let pairs = self.pairs(model, base, value);
        let pairs: Vec<Pair> = pairs.into_iter().filter_map(|pair| ratio(model, metric, pair)).collect();
        let ratios = || pairs.iter().map(|pair| pair.ratio);
        let (least, most) = (ratios().min_by(f64::total_cmp)?, ratios().max_by(f64::total_cmp)?);
        let middle = middle(&pairs)?;
        let log = mean(&pairs);
        let chance = Chance::of_mean(model, metric, &pairs);
        let judgement = if let Some(crossover) = crossover(model, metric, &pairs, tests) {
            crossover
        } else if chance.is_beaten_by(log, tests) && middle.abs() >= SAME && middle * log > 0.0 {
            Judgement::Differs
        } else if let Some(confined) = confined(model, self.axis, metric, &pairs, tests) {
            confined
        } else if middle.abs() < SAME && log.abs() + chance.half(ALIKE_TAILS) < ALIKE {
            Judgement::Same
        } else {
            Judgement::Unclear
        };
        Some(Change { metric, ratio: middle.exp(), least, most, pairs, judgement })
    }

    /// The value inside of a numeric range that is better than both ends beyond chance, by throughput.
    fn optimum(&self, model: &Model<'_>, levels: &[Level], tests: usize) -> Option<usize> {
        let rate = |level: &Level| {
            let first = level.changes.first().filter(|change| matches!(change.metric, Metric::Rate(_)))?;
            Some((first.metric, first.ratio))
        };
        let (last, inner) = levels.split_last().filter(|_| model.axes[self.axis].is_numeric())?;
        let known = inner.iter().filter_map(|level| Some((level.value, rate(level)?)));
        let (best, (metric, _)) = known.max_by(|a, b| a.1.1.total_cmp(&b.1.1))?;
        let better = |end: usize| {
            let change = self.change(model, metric, end, best, tests);
            change.is_some_and(|change| change.judgement == Judgement::Differs && change.ratio > 1.0)
        };
        (better(self.base) && better(last.value)).then_some(best)
    }
}

/// Whether the load that two cells reached, and how their streams started, are the same.
fn are_alike(one: &Cell<'_>, other: &Cell<'_>) -> bool {
    let starts = super::curve::start(one).zip(super::curve::start(other));
    one.load.reached == other.load.reached && starts.is_none_or(|(one, other)| one == other)
}

/// The metrics an axis is judged by: of each group the one that most pairs have on both sides.
fn metrics(model: &Model<'_>, pairs: &[(usize, usize)]) -> Vec<Metric> {
    let has = |metric: Metric| pairs.iter().filter(|pair| ratio(model, metric, **pair).is_some()).count();
    let at = |rank: Percentile, kind: LatencyKind| Metric::Latency(Rank::At(rank), kind);
    let mean = |kind: LatencyKind| Metric::Latency(Rank::Mean, kind);
    let tail = |kind: LatencyKind| [at(Percentile::P95, kind), at(Percentile::P99, kind)];
    let middle = |kind: LatencyKind| [at(Percentile::P50, kind), mean(kind)];
    let whole = [tail(LatencyKind::E2e), middle(LatencyKind::E2e)].concat();
    let groups: [&[Metric]; 5] = [
        &super::curve::RATES,
        &middle(LatencyKind::Ttft),
        &middle(LatencyKind::Tpot),
        &tail(LatencyKind::Itl),
        &whole,
    ];
    // Of equal ones the first.
    let most = |group: &&[Metric]| group.iter().copied().rev().max_by_key(|metric| has(*metric));
    groups.iter().filter_map(most).filter(|metric| has(*metric) > 0).collect()
}

/// What a metric of two cells may be compared by; TTFT and pace say something of streamed answers alone.
fn ratio(model: &Model<'_>, metric: Metric, (base, cell): (usize, usize)) -> Option<Pair> {
    let of = |at: usize| {
        let cell = &model.cells[at];
        let needs_stream = matches!(metric, Metric::Latency(_, kind) if kind != LatencyKind::E2e);
        let may = !needs_stream || cell.streaming == Streaming::Streamed;
        cell.ranked(metric).filter(|value| may && *value > 0.0)
    };
    Some(Pair { base, cell, ratio: of(cell)? / of(base)? })
}

/// The mean of the logarithms of some ratios.
fn mean(pairs: &[Pair]) -> f64 {
    pairs.iter().map(|pair| pair.ratio.ln()).sum::<f64>() / pairs.len().max(1) as f64
}

/// The median of the same.
fn middle(pairs: &[Pair]) -> Option<f64> {
    median(&pairs.iter().map(|pair| pair.ratio.ln()).collect::<Vec<_>>())
}

/// The squares of the distances of some logarithms from their mean, summed.
fn squares(pairs: &[Pair]) -> f64 {
    let mean = mean(pairs);
    pairs.iter().map(|pair| (pair.ratio.ln() - mean).powi(2)).sum()
}

/// What may be chance in the logarithm of one ratio, or in a combination of several.
#[derive(Clone, Copy)]
struct Chance {
    /// By how far the pairs are from what was fitted to them, weighed against what repeats tell, or else is assumed; of too
    /// few pairs, and of numbers that are exact, by the noise of the workload.
    own: Doubt,
    /// Pairs are further apart than chance has them where the axis does more to some of them: by the noise of the workload,
    /// or where repeats tell that, which say nothing of what differs from cell to cell, by the distance from the slope along
    /// the load.
    other: Option<Doubt>,
}

impl Chance {
    /// Of one ratio, from what a fit to the pairs left: summed squares, and their degrees of freedom.
    fn of_one(model: &Model<'_>, metric: Metric, pairs: &[Pair], (squares, free): (f64, usize)) -> Self {
        let (mut noise, mut is_exact) = (Doubt { error: 0.0, df: f64::INFINITY }, true);
        for pair in pairs {
            let (one, other) = (&model.cells[pair.base], &model.cells[pair.cell]);
            let all = model.noise(one.workload);
            let own = all.of_ratio(one, other, metric);
            noise = Doubt { error: noise.error.hypot(own.error), df: own.df };
            is_exact &= all.is_exact();
        }
        noise.error /= (pairs.len().max(1) as f64).sqrt();
        if free == 0 || is_exact {
            return Self { own: noise, other: None };
        }
        let is_repeated = are_repeated(model, pairs);
        let (assumed, weight) = ASSUMED_RATIO;
        let known = if is_repeated { noise.error.powi(2) } else { assumed };
        let df = free as f64 + weight;
        let own = Doubt { error: ((squares + known * weight) / df).sqrt(), df };
        Self { own, other: (!is_repeated).then_some(noise) }
    }

    /// Of the mean of the logarithms.
    fn of_mean(model: &Model<'_>, metric: Metric, pairs: &[Pair]) -> Self {
        let one = Self::of_one(model, metric, pairs, (squares(pairs), pairs.len().saturating_sub(1)));
        let load = |pair: &Pair| model.cells[pair.cell].load.reached.filter(|load| *load > 0.0);
        let sloped = slope(pairs, |pair| load(pair).map_or(0.0, f64::ln))
            .filter(|_| pairs.len() >= SLOPED && are_repeated(model, pairs))
            .map(|slope| Self::of_one(model, metric, pairs, (slope.left, pairs.len() - 2)).own);
        Self { other: one.other.or(sloped), ..one }.of(pairs.len())
    }

    /// Of the mean of so many.
    fn of(self, n: usize) -> Self {
        self.times((n.max(1) as f64).sqrt().recip())
    }

    /// Of a combination whose weights have so large a root of their summed squares.
    fn times(self, weight: f64) -> Self {
        let scaled = |doubt: Doubt| Doubt { error: doubt.error * weight, ..doubt };
        Self { own: scaled(self.own), other: self.other.map(scaled) }
    }

    /// Whether a logarithm is further from zero than chance would bring one of `tests`, by either doubt.
    fn is_beaten_by(self, log: f64, tests: usize) -> bool {
        match self.other {
            Some(other) => [self.own, other].iter().any(|doubt| doubt.is_beaten_by(log, 2 * tests)),
            None => self.own.is_beaten_by(log, tests),
        }
    }

    /// Half of the interval in which a logarithm lies, for so much outside of it on both sides together.
    fn half(self, tails: f64) -> f64 {
        t_quantile(tails, self.own.df) * self.own.error
    }
}

/// Whether the repeats of every cell tell its noise.
fn are_repeated(model: &Model<'_>, pairs: &[Pair]) -> bool {
    let mut cells = pairs.iter().flat_map(|pair| [pair.base, pair.cell]);
    cells.all(|cell| model.cells[cell].file.repeats.len() > 1)
}

/// A straight line through the logarithms of ratios.
struct Slope {
    slope: f64,
    /// The root of the summed squares of the distances along it.
    wide: f64,
    /// Summed squares of the distances from it.
    left: f64,
}

/// The regression of the logarithms of ratios on `x`; `None` where all `x` are the same.
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

/// Where the ratio changes sides with the load: it depends on the load beyond chance, and the means on both sides of one load
/// are opposite. Of several such loads the one that parts them best.
fn crossover(model: &Model<'_>, metric: Metric, pairs: &[Pair], tests: usize) -> Option<Judgement> {
    let load = |pair: &Pair| model.cells[pair.cell].load.reached.unwrap_or(f64::NAN);
    let mut loads: Vec<f64> = pairs.iter().map(load).collect();
    if loads.iter().any(|load| load.is_nan() || *load <= 0.0) {
        return None;
    }
    loads.sort_by(f64::total_cmp);
    loads.dedup();
    // One slope, and a step between each two loads.
    let step = |ends: &[f64]| slope(pairs, |pair| if load(pair) > ends[0] { 1.0 } else { 0.0 });
    let trends = loads.windows(2).filter_map(step).chain(slope(pairs, |pair| load(pair).ln()));
    let beyond = trends.filter_map(|trend| {
        let one = Chance::of_one(model, metric, pairs, (trend.left, pairs.len().saturating_sub(2)));
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

/// A change of the pairs with one value of another axis, or with several in a row, that not all of them have.
fn confined(
    model: &Model<'_>,
    own: usize,
    metric: Metric,
    pairs: &[Pair],
    tests: usize,
) -> Option<Judgement> {
    let others = || (0..model.axes.len()).filter(|axis| *axis != own);
    let tests = tests * others().map(|axis| model.axes[axis].values.len()).sum::<usize>();
    let along = |axis: usize| {
        let place = |pair: &Pair| model.cells[pair.cell].at[axis];
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
            let one = Chance::of_one(model, metric, pairs, left);
            one.of(inside.len()).is_beaten_by(log, tests).then_some(log)
        };
        let logs: Vec<Option<f64>> = (0..model.axes[axis].values.len()).map(sure).collect();
        // Of equal ones the first.
        let known = logs.iter().enumerate().rev().filter_map(|(value, log)| Some((value, (*log)?)));
        let (value, log) = known.max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))?;
        let same = |other: &&Option<f64>| other.is_some_and(|other| other * log > 0.0);
        let (from, to) = match model.axes[axis].is_numeric() {
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
