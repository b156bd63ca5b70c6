//! What a picture of a workload shows: the axis along which more is asked for, the axis that gives the
//! series, and where every other axis is held.
//!
//! The rule, which the notes below the pictures repeat where it had to choose: the load axis goes along
//! (where it does not vary the numeric axis with most values). Where the other axes have at most six
//! combinations, each is a series. Otherwise the one along which the metric changes most gives the series,
//! and the rest are held where the best cell is.

use std::collections::{BTreeMap, BTreeSet};

use super::sheet::Key;
use crate::{
    manifest::Slo,
    measure::Metric,
    plan::{Quantity, Role},
    report::{
        finding::place_on,
        model::{Cell, Model, Origin},
        number::ABSENT,
        origin::origins,
        statistics::median,
    },
};

/// The most series that stay apart by colour and shape.
pub(super) const SERIES: usize = 6;

/// All cells of a workload.
pub(super) struct Scope<'m, 'a> {
    pub(super) model: &'m Model<'a>,
    pub(super) name: &'a str,
    pub(super) slo: &'a Slo,
    /// In the order of the plan, those without numbers too.
    pub(super) cells: Vec<&'m Cell<'a>>,
    /// Where some server axes have one value alone that gave numbers: that place, and how many cells with
    /// other values are left out.
    pub(super) only: Option<(String, usize)>,
    /// Axes with more than one value.
    pub(super) varying: Vec<usize>,
    /// The best cell of the best server.
    pub(super) best: Option<&'m Cell<'a>>,
}

/// Cells that share everything but the axis along.
pub(super) struct Series<'m, 'a> {
    /// `max_tokens 64`; empty when there is one series only.
    pub(super) label: String,
    /// The axes it has its name of: `max_tokens`, or several with a point between.
    pub(super) names: String,
    /// Its values on these: `64`.
    pub(super) values: String,
    pub(super) cells: Vec<&'m Cell<'a>>,
}

/// The series of a picture, and what was left out to get at them.
pub(super) struct Choice<'m, 'a> {
    pub(super) series: Vec<Series<'m, 'a>>,
    /// Where the other axes are held; `None` when every cell is shown.
    pub(super) held: Option<Held<'m, 'a>>,
    /// The axis of which only some values are shown.
    pub(super) thinned: Option<usize>,
}

/// The cells at one place of some axes.
pub(super) struct Held<'m, 'a> {
    pub(super) cells: Vec<&'m Cell<'a>>,
    /// `temperature 1, dtype half`; empty where there are no such axes.
    pub(super) place: String,
    /// Whether it is the best cell's place.
    pub(super) is_best: bool,
}

/// Series of every cell; where several values share one, their axis and the axes that may differ within a
/// series.
pub(super) struct Colours<'m, 'a> {
    pub(super) series: Vec<Series<'m, 'a>>,
    pub(super) grouped: Option<(usize, Vec<usize>)>,
}

impl<'m, 'a> Scope<'m, 'a> {
    /// The scope of one workload; `None` where it has no cell.
    pub(super) fn of(model: &'m Model<'a>, workload: usize) -> Option<Self> {
        let own = &model.workloads[workload];
        let all: Vec<&Cell<'a>> = own.cells.iter().map(|at| &model.cells[*at]).collect();
        let measured: Vec<&Cell<'a>> = all.iter().copied().filter(|cell| cell.has_numbers()).collect();
        let axes = (0..model.axes.len()).filter(|axis| varies(&all, *axis));
        // A value of a server axis that gave no number at all is no series; the picture of memory shows it.
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
            only: first.filter(|_| left_out > 0).map(|one| (spelled(model, one, &single), left_out)),
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

    /// What people call an axis.
    pub(super) fn label(&self, axis: usize) -> &'m str {
        self.model.axes[axis].label()
    }

    /// A cell's value on an axis as text: of a load, the one it reached.
    pub(super) fn value(&self, cell: &Cell<'_>, axis: usize) -> Option<String> {
        cell.at[axis]?;
        place_on(self.model, cell, |own| own == axis).pop().map(|own| own.value)
    }

    /// The same as a number, where it is one.
    pub(super) fn number(&self, cell: &Cell<'_>, axis: usize) -> Option<f64> {
        let own = &self.model.axes[axis];
        let value = own.values.get(cell.at[axis]?)?.as_f64()?;
        match (own.quantity(), cell.load.reached) {
            (Quantity::Concurrency, Some(reached)) => Some(reached.min(value)),
            _ => Some(value),
        }
    }

    /// The kinds of cells that were not measured, where the run has others.
    pub(super) fn letters(&self) -> Vec<Key> {
        let found = match self.model.is_mixed {
            true => origins(self.measured().map(|cell| cell.file)),
            false => Vec::new(),
        };
        found.into_iter().filter(|origin| *origin != Origin::Measured).map(Key::Origin).collect()
    }

    /// The axis along which more is asked for.
    pub(super) fn along(&self) -> Option<usize> {
        let first = *self.cells.first()?;
        let blocks = self.model.workloads[first.workload].blocks.iter();
        let mut loads = blocks.filter_map(|block| self.model.blocks[*block].load_axis);
        let varies = |axis: &usize| self.varying.contains(axis);
        let numeric = || self.varying.iter().copied().filter(|axis| self.model.axes[*axis].is_numeric());
        loads.find(varies).or_else(|| numeric().max_by_key(|axis| values(&self.cells, *axis).len()))
    }

    fn others(&self, along: Option<usize>) -> Vec<usize> {
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

    /// The colour and shape of the points of a picture that shows every cell: by the combination of the axes
    /// other than `along` where there are at most six, else by the one along which the metric changes most,
    /// its values in at most six groups.
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

    /// Of some axes, the one along which the metric changes most: the largest over the smallest of its
    /// values' medians; the first of equals.
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

    /// The cells that have the best cell's values on some axes; without a best cell, the first one's that has
    /// numbers.
    pub(super) fn held(&self, axes: &[usize]) -> Held<'m, 'a> {
        let Some(anchor) = self.best.or_else(|| self.measured().next()) else {
            return Held { cells: Vec::new(), place: String::new(), is_best: false };
        };
        let here = |cell: &&Cell<'a>| axes.iter().all(|axis| cell.at[*axis] == anchor.at[*axis]);
        Held {
            cells: self.cells.iter().copied().filter(here).collect(),
            place: spelled(self.model, anchor, axes),
            is_best: self.best.is_some(),
        }
    }
}

/// A cell's values on some axes with the names of these: `temperature 1, dtype half`.
fn spelled(model: &Model<'_>, cell: &Cell<'_>, axes: &[usize]) -> String {
    let own = axes.iter().filter_map(|axis| {
        let axis_of = &model.axes[*axis];
        Some(format!("{} {}", axis_of.label(), axis_of.text(cell.at[*axis]?)))
    });
    own.collect::<Vec<_>>().join(", ")
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
        label: cells.first().map_or_else(String::new, |cell| spelled(model, cell, axes)),
        names: joined(axes.iter().map(|axis| model.axes[*axis].label().to_owned()).collect()),
        values: joined(axes.iter().zip(&at).map(|(axis, value)| text(*axis, value)).collect()),
        cells,
    });
    series.collect()
}

/// The values of an axis that some cells have, as places, in their order.
pub(super) fn values(cells: &[&Cell<'_>], axis: usize) -> Vec<usize> {
    let found: BTreeSet<usize> = cells.iter().filter_map(|cell| cell.at[axis]).collect();
    found.into_iter().collect()
}

/// At most `most` of some values in ascending order, evenly over all of them, first, last and `must` among
/// them.
pub(super) fn thinned(values: &[usize], most: usize, must: Option<usize>) -> Vec<usize> {
    if values.len() <= most {
        return values.to_vec();
    }
    let mut places: Vec<usize> = (0..most).map(|index| index * (values.len() - 1) / (most - 1)).collect();
    let must = must.and_then(|must| values.iter().position(|value| *value == must));
    if let Some(must) = must.filter(|must| !places.contains(must)) {
        // The nearest one inside gives way.
        let nearest = (1..most - 1).min_by_key(|index| places[*index].abs_diff(must));
        if let Some(nearest) = nearest {
            places[nearest] = must;
            places.sort_unstable();
        }
    }
    places.into_iter().map(|place| values[place]).collect()
}

fn varies(cells: &[&Cell<'_>], axis: usize) -> bool {
    cells.iter().any(|cell| cell.at[axis] != cells[0].at[axis])
}
