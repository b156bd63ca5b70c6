//! How far a cell differs from itself: between its repeats, and between the halves of its time.

use std::f64::consts::SQRT_2;

use super::super::{Facts, Finding, Kind, place};
use crate::{
    measure::{Metric, Verdict, VerdictKind},
    report::{
        model::{Block, Cell, Doubt, Model, between_repeats},
        statistics::{largest, median},
    },
};

/// Repeats disagree if the largest is more than this part above the smallest.
const APART: f64 = 0.1;
/// The fewest other cells that tell what is usual.
const FEWEST: usize = 3;
/// What is assumed otherwise: the variance of a logarithm, and its degrees of freedom.
const ASSUMED: (f64, f64) = (0.05 * 0.05, 4.0);

/// The least and the largest value of a metric over a cell's repeats.
#[derive(Clone, Copy)]
struct Ends<'m, 'a> {
    cell: &'m Cell<'a>,
    metric: Metric,
    low: f64,
    high: f64,
}

impl<'m, 'a> Ends<'m, 'a> {
    /// `None` if the cell was measured once, or may not be ranked for another reason than repeats that
    /// disagree.
    fn of(cell: &'m Cell<'a>, metric: Metric) -> Option<Self> {
        // The throughput of an open loop follows its random arrivals.
        let says = match metric {
            Metric::Rate(_) => !cell.load.is_open,
            Metric::Latency(_, kind) => cell.has_own(kind),
        };
        let excluded = cell.number(metric)?.excluded;
        let may = excluded
            .is_none_or(|kind| matches!(kind, VerdictKind::RepeatsDisagree | VerdictKind::WideInterval));
        (says && may && cell.file.repeats.len() > 1).then_some(())?;
        let values: Option<Vec<f64>> = cell.file.repeats.iter().map(|one| metric.of(one)).collect();
        let values = values?;
        let low = values.iter().copied().min_by(f64::total_cmp).filter(|low| *low > 0.0)?;
        let high = values.iter().copied().max_by(f64::total_cmp)?;
        Some(Self { cell, metric, low, high })
    }

    /// The part by which the largest is above the smallest.
    fn spread(&self) -> f64 {
        self.high / self.low - 1.0
    }

    /// The number of pairs of repeats: the two that are furthest apart are one of them.
    fn pairs(&self) -> usize {
        let repeats = self.cell.file.repeats.len();
        repeats * (repeats - 1) / 2
    }

    /// The doubt of two repeats, by those of the other cells.
    fn doubt(&self, all: &[&Cell<'_>]) -> Doubt {
        let others: Vec<&Cell<'_>> =
            all.iter().copied().filter(|cell| cell.index != self.cell.index).collect();
        let known = others.iter().filter(|cell| Ends::of(cell, self.metric).is_some()).count();
        let usual = between_repeats(&others, self.metric).filter(|_| known >= FEWEST);
        let (variance, df) = usual.unwrap_or(ASSUMED);
        // A repeat has fewer samples than all of them together.
        let repeats = self.cell.file.repeats.len() as f64;
        let sampled = self.cell.sampled(self.metric).unwrap_or(0.0) * repeats.sqrt();
        Doubt { error: SQRT_2 * variance.sqrt().max(sampled), df }
    }
}

/// Those that are furthest apart.
fn widest<'e, 'm, 'a>(ends: impl Iterator<Item = &'e Ends<'m, 'a>>) -> Option<&'e Ends<'m, 'a>> {
    largest(ends.map(|own| (own, own.spread()))).map(|(own, _)| own)
}

/// Cells whose repeats are further apart than those of the other cells make likely, each by the metric that
/// shows it most.
pub(super) fn disagreements(model: &Model<'_>, at: usize, block: &Block<'_>) -> Vec<Finding> {
    let cells: Vec<&Cell<'_>> = model.usable(block).collect();
    let metrics: Vec<Metric> = block.brings.into_iter().chain([Metric::P50_E2E, Metric::P50_TTFT]).collect();
    let all: Vec<Vec<Ends<'_, '_>>> = cells
        .iter()
        .map(|cell| metrics.iter().filter_map(|metric| Ends::of(cell, *metric)).collect())
        .collect();
    let tests = all.iter().flatten().map(Ends::pairs).sum();
    let disagree = |own: &&Ends<'_, '_>| {
        own.spread() > APART && own.doubt(&cells).is_beaten_by((own.high / own.low).ln(), tests)
    };
    let finding = |own: &Ends<'_, '_>| {
        let digits = model.digits(&[own.cell.index]);
        let facts = Facts::new()
            .metric("metric", own.metric)
            .place("place", place(model, own.cell))
            .measure("low", own.metric, own.low, digits)
            .measure("high", own.metric, own.high, digits)
            .part("spread", own.spread())
            .count("repeats", own.cell.file.repeats.len());
        let finding = Finding::of_block(Kind::RepeatsDisagree, model, at, [own.cell.index]);
        finding.strong_as(own.high / own.low).with(facts)
    };
    all.iter().filter_map(|own| widest(own.iter().filter(disagree))).map(finding).collect()
}

/// How far the repeats of a cell usually are apart: differences between cells that are smaller say nothing.
pub(super) fn noise(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let known = block.brings.into_iter().chain([Metric::P50_E2E]).find_map(|metric| {
        let known: Vec<Ends<'_, '_>> =
            model.usable(block).filter_map(|cell| Ends::of(cell, metric)).collect();
        (!known.is_empty()).then_some(known)
    })?;
    let usual = median(&known.iter().map(Ends::spread).collect::<Vec<f64>>())?;
    let most = widest(known.iter())?;
    let facts = Facts::new()
        .metric("metric", most.metric)
        .part("usual", usual)
        .part("most", most.spread())
        .place("place", place(model, most.cell));
    let cells = known.iter().map(|own| own.cell.index);
    Some(Finding::of_block(Kind::Noise, model, at, cells).strong_as(1.0 + usual).with(facts))
}

/// How well cells are known that were measured until an interval was narrow: how many of them well enough, and
/// the widest interval of them, against what was allowed.
pub(super) fn precision(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let known: Vec<&Cell<'_>> =
        model.cells_at(&block.cells).filter(|cell| !cell.file.precision.is_empty()).collect();
    let each = known.iter().flat_map(|cell| cell.file.precision.iter().map(move |own| (*cell, own)));
    let wide = each.filter_map(|(cell, (key, own))| {
        let relative = own.relative()?;
        Some(((cell, Metric::parse(key)?, own, relative), relative / own.within))
    });
    let ((cell, metric, own, relative), _) = largest(wide)?;
    let enough = known.iter().filter(|cell| cell.file.precision.values().all(|own| own.suffices)).count();
    let facts = Facts::new()
        .count("of", known.len())
        .count("enough", enough)
        .metric("metric", metric)
        .place("place", place(model, cell))
        .measure("mean", metric, own.mean, model.digits(&[cell.index]))
        .part("half_width", relative)
        .part("within", own.within)
        .count("repeats", own.n as usize);
    let cells = known.iter().map(|cell| cell.index);
    Some(Finding::of_block(Kind::Precision, model, at, cells).strong_as(1.0 + relative).with(facts))
}

/// Cells whose second half differs from the first, by their verdicts.
pub(super) fn not_steady(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    fn verdict<'a>(cell: &Cell<'a>) -> Option<&'a Verdict> {
        cell.file.verdicts.iter().find(|verdict| verdict.kind == VerdictKind::NotSteady)
    }
    // A probe that ended early has hardly more than its start.
    let whole = || model.usable(block).filter(|cell| cell.file.ended_early.is_none());
    let cells: Vec<&Cell<'_>> = whole().filter(|cell| verdict(cell).is_some()).collect();
    let first = *cells.first()?;
    let facts = Facts::new()
        .count("of", whole().count())
        .place("place", place(model, first))
        .name("reason", verdict(first)?.reason.trim_end_matches('.'));
    Some(Finding::of_block(Kind::NotSteady, model, at, cells.iter().map(|cell| cell.index)).with(facts))
}
