//! What the charts of a workload show: the horizontal axis, the axis of the series, and the values at which
//! other axes are held.
//!
//! The horizontal axis is the load axis or, if that does not vary, the numeric axis with most values. If the
//! other axes have at most six combinations, each is a series. Otherwise the axis along which the metric
//! changes most gives the series, and the rest are held at the values of the best cell. A note below the
//! chart says so.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    manifest::Slo,
    measure::Metric,
    plan::{Quantity, Role},
    report::{
        finding::place_on,
        model::{Cell, Model, Origin},
        number::ABSENT,
        origin::origins,
        statistics::{evenly, median},
    },
};

/// The most series that colour and shape can distinguish.
pub(super) const SERIES: usize = 6;

/// All cells of a workload.
pub(super) struct Scope<'m, 'a> {
    pub(super) model: &'m Model<'a>,
    pub(super) name: &'a str,
    pub(super) slo: &'a Slo,
    /// In the order of the plan, including those without numbers.
    pub(super) cells: Vec<&'m Cell<'a>>,
    /// If only one value of some server axes gave numbers: that value, and the number of cells with other
    /// values, which are left out.
    pub(super) only: Option<(String, usize)>,
    /// Axes with more than one value.
    pub(super) varying: Vec<usize>,
    /// The best cell of the best server.
    pub(super) best: Option<&'m Cell<'a>>,
}

/// Cells that share everything but their value on the horizontal axis.
pub(super) struct Series<'m, 'a> {
    /// `max_tokens 64`; empty for a single series.
    pub(super) label: String,
    /// The axes that name it: `max_tokens`, or several separated by dots.
    pub(super) names: String,
    /// Its values on these: `64`.
    pub(super) values: String,
    pub(super) cells: Vec<&'m Cell<'a>>,
}

/// The series of a chart, and what was left out.
pub(super) struct Choice<'m, 'a> {
    pub(super) series: Vec<Series<'m, 'a>>,
    /// The values at which other axes are held; `None` if every cell is shown.
    pub(super) held: Option<Held<'m, 'a>>,
    /// The axis of which only some values are shown.
    pub(super) thinned: Option<usize>,
}

/// The cells with certain values on some axes.
pub(super) struct Held<'m, 'a> {
    pub(super) cells: Vec<&'m Cell<'a>>,
    /// `temperature 1, dtype half`; empty if there are no such axes.
    pub(super) place: String,
    /// Whether these are the values of the best cell.
    pub(super) is_best: bool,
}

/// Series of every cell. If several values share a series: their axis, and the axes that may differ within a
/// series.
pub(super) struct Colours<'m, 'a> {
    pub(super) series: Vec<Series<'m, 'a>>,
    pub(super) grouped: Option<(usize, Vec<usize>)>,
}

impl<'m, 'a> Scope<'m, 'a> {
    /// The scope of a workload; `None` if it has no cell.
    pub(super) fn of(model: &'m Model<'a>, workload: usize) -> Option<Self> {
        let own = &model.workloads[workload];
        let all: Vec<&Cell<'a>> = own.cells.iter().map(|at| &model.cells[*at]).collect();
        let measured: Vec<&Cell<'a>> = all.iter().copied().filter(|cell| cell.has_numbers()).collect();
        let axes = (0..model.axes.len()).filter(|axis| varies(&all, *axis));
        // A value of a server axis without numbers is no series; the OOM surface shows it.
        let (varying, single): (Vec<usize>, Vec<usize>) =
            axes.partition(|axis| varies(&measured, *axis) || model.axes[*axis].role == Role::Load);
        let first = measured.first();
        let is_shown = |cell: &&Cell<'a>| {
            first.is_none_or(|one| single.iter().all(|axis| cell.at[*axis] == one.at[*axis]))
        };
        let cells: Vec<&Cell<'a>> = all.iter().copied().filter(is_shown).collect();
        all.first()?;
        let left_out = all.len() - cells.len();
        let best = model.best(workload).and_then(|block| model.ranking(block).first());
        Some(Self {
            model,
            name: own.name,
            slo: own.slo,
            only: first
                .filter(|_| left_out > 0)
                .map(|one| (model.spelled(|axis| one.at[axis], single.iter().copied()), left_out)),
            cells,
            varying,
            best: best.map(|at| &model.cells[at]).filter(is_shown),
        })
    }

    /// Cells with numbers.
    pub(super) fn measured(&self) -> impl Iterator<Item = &'m Cell<'a>> + '_ {
        self.cells.iter().copied().filter(|cell| cell.has_numbers())
    }

    /// Whether a cell is the best one.
    pub(super) fn is_best(&self, cell: &Cell<'_>) -> bool {
        self.best.is_some_and(|best| best.index == cell.index)
    }

    /// The label of an axis.
    pub(super) fn label(&self, axis: usize) -> &'m str {
        self.model.axes[axis].label()
    }

    /// A cell's value on an axis as text; of a load, the one it reached.
    pub(super) fn value(&self, cell: &Cell<'_>, axis: usize) -> Option<String> {
        cell.at[axis]?;
        place_on(self.model, cell, |own| own == axis).pop().map(|own| own.value)
    }

    /// A cell's value on an axis as a number; of a load, the one it reached.
    pub(super) fn number(&self, cell: &Cell<'_>, axis: usize) -> Option<f64> {
        let own = &self.model.axes[axis];
        let value = own.values.get(cell.at[axis]?)?.as_f64()?;
        match (own.quantity(), cell.load.reached) {
            (Quantity::Concurrency, Some(reached)) => Some(reached.min(value)),
            _ => Some(value),
        }
    }

    /// The origins of cells that were not measured, if the run has several origins.
    pub(super) fn other_origins(&self) -> Vec<Origin> {
        let mut found = match self.model.is_mixed {
            true => origins(self.measured().map(|cell| cell.file)),
            false => Vec::new(),
        };
        found.retain(|origin| *origin != Origin::Measured);
        found
    }

    /// The horizontal axis.
    pub(super) fn along(&self) -> Option<usize> {
        let first = *self.cells.first()?;
        let blocks = self.model.workloads[first.workload].blocks.iter();
        let mut loads = blocks.filter_map(|block| self.model.blocks[*block].load_axis);
        let varies = |axis: &usize| self.varying.contains(axis);
        let numeric = || self.varying.iter().copied().filter(|axis| self.model.axes[*axis].is_numeric());
        loads.find(varies).or_else(|| numeric().max_by_key(|axis| values(&self.cells, *axis).len()))
    }

    /// The axes that vary other than the horizontal one.
    pub(super) fn others(&self, along: Option<usize>) -> Vec<usize> {
        self.varying.iter().copied().filter(|axis| Some(*axis) != along).collect()
    }

    /// The series along an axis, by the rule above; `metric` decides which axis matters.
    pub(super) fn series(&self, along: Option<usize>, metric: Metric) -> Choice<'m, 'a> {
        let others = self.others(along);
        let all = group(self.model, self.cells.iter().copied(), &others);
        let axis = if all.len() > SERIES { self.strongest(&others, metric) } else { None };
        let Some(axis) = axis else {
            return Choice { series: all, held: None, thinned: None };
        };
        let rest: Vec<usize> = others.into_iter().filter(|other| *other != axis).collect();
        let held = self.held(&rest);
        let known = values(&held.cells, axis);
        let shown = thinned(&known, SERIES, self.best.and_then(|cell| cell.at[axis]));
        let kept = held.cells.iter().copied();
        let kept = kept.filter(|cell| cell.at[axis].is_some_and(|value| shown.contains(&value)));
        Choice {
            series: group(self.model, kept, &[axis]),
            thinned: (shown.len() < known.len()).then_some(axis),
            held: Some(held),
        }
    }

    /// The series of a chart that shows every cell: the combinations of the axes other than `along` if there
    /// are at most six, else the values of the axis along which the metric changes most, in at most six
    /// groups.
    pub(super) fn colours(&self, along: Option<usize>, metric: Metric) -> Colours<'m, 'a> {
        let mut others = self.others(along);
        let all = group(self.model, self.cells.iter().copied(), &others);
        let axis = if all.len() > SERIES { self.strongest(&others, metric) } else { None };
        let Some(axis) = axis else {
            return Colours { series: all, grouped: None };
        };
        let mut values = group(self.model, self.cells.iter().copied(), &[axis]);
        let each = values.len().div_ceil(SERIES);
        let mut series = Vec::new();
        while !values.is_empty() {
            let rest = values.split_off(each.min(values.len()));
            series.push(self.merged(axis, values));
            values = rest;
        }
        others.retain(|other| *other != axis);
        Colours { series, grouped: Some((axis, others)) }
    }

    /// Neighbouring values of an axis as one series.
    fn merged(&self, axis: usize, own: Vec<Series<'m, 'a>>) -> Series<'m, 'a> {
        let names: Vec<&str> = own.iter().map(|series| series.values.as_str()).collect();
        let values = match names.as_slice() {
            [first, .., last] if self.model.axes[axis].is_numeric() => format!("{first}–{last}"),
            several => several.join(", "),
        };
        let names = self.label(axis).to_owned();
        let cells = own.into_iter().flat_map(|series| series.cells).collect();
        Series { label: format!("{names} {values}"), names, values, cells }
    }

    /// The axis along which the metric changes most, by the largest over the smallest median of its values;
    /// of equal ones the first.
    pub(super) fn strongest(&self, axes: &[usize], metric: Metric) -> Option<usize> {
        let spread = |axis: usize| {
            let mut by_value: BTreeMap<Option<usize>, Vec<f64>> = BTreeMap::new();
            for cell in self.measured().filter(|cell| cell.is_usable()) {
                by_value.entry(cell.at[axis]).or_default().extend(cell.shown(metric));
            }
            let medians: Vec<f64> =
                by_value.values().filter_map(|own| median(own)).filter(|value| *value > 0.0).collect();
            let high = medians.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let low = medians.iter().copied().fold(f64::INFINITY, f64::min);
            if medians.len() > 1 { high / low } else { 0.0 }
        };
        let spreads = axes.iter().rev().map(|axis| (spread(*axis), *axis));
        spreads.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, axis)| axis)
    }

    /// The cells with the best cell's values on some axes; without a best cell, those of the first one with
    /// numbers.
    pub(super) fn held(&self, axes: &[usize]) -> Held<'m, 'a> {
        let Some(anchor) = self.best.or_else(|| self.measured().next()) else {
            return Held { cells: Vec::new(), place: String::new(), is_best: false };
        };
        let here = |cell: &&Cell<'a>| axes.iter().all(|axis| cell.at[*axis] == anchor.at[*axis]);
        Held {
            cells: self.cells.iter().copied().filter(here).collect(),
            place: self.model.spelled(|axis| anchor.at[axis], axes.iter().copied()),
            is_best: self.best.is_some(),
        }
    }
}

/// Cells by their values on some axes, in the order of these.
fn group<'m, 'a>(
    model: &Model<'_>,
    cells: impl Iterator<Item = &'m Cell<'a>>,
    axes: &[usize],
) -> Vec<Series<'m, 'a>> {
    let mut found: BTreeMap<Vec<Option<usize>>, Vec<&'m Cell<'a>>> = BTreeMap::new();
    for cell in cells {
        found.entry(axes.iter().map(|axis| cell.at[*axis]).collect()).or_default().push(cell);
    }
    let joined = |texts: Vec<String>| texts.join(" · ");
    let text = |axis: usize, value: &Option<usize>| match value {
        Some(value) => model.axes[axis].text(*value),
        None => ABSENT.to_owned(),
    };
    let series = found.into_iter().map(|(at, cells)| Series {
        label: cells
            .first()
            .map(|cell| model.spelled(|axis| cell.at[axis], axes.iter().copied()))
            .unwrap_or_default(),
        names: joined(axes.iter().map(|axis| model.axes[*axis].label().to_owned()).collect()),
        values: joined(axes.iter().zip(&at).map(|(axis, value)| text(*axis, value)).collect()),
        cells,
    });
    series.collect()
}

/// The values of an axis that some cells have, as indices, in order.
pub(super) fn values(cells: &[&Cell<'_>], axis: usize) -> Vec<usize> {
    let found: BTreeSet<usize> = cells.iter().filter_map(|cell| cell.at[axis]).collect();
    found.into_iter().collect()
}

/// At most `most` of some values, evenly spread: the first, the last and `must` are among them.
pub(super) fn thinned(values: &[usize], most: usize, must: Option<usize>) -> Vec<usize> {
    let must = must.and_then(|must| values.iter().position(|value| *value == must));
    evenly(values.len(), most, must).into_iter().map(|place| values[place]).collect()
}

fn varies(cells: &[&Cell<'_>], axis: usize) -> bool {
    cells.iter().any(|cell| cell.at[axis] != cells[0].at[axis])
}
