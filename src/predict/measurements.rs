//! Compares predictions with the measurements of a stored or imported run.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    flags::{Flags, canonical, scalar_text},
    plan::{Cell, Group},
    store::{CellFile, StoredRun},
};

/// A predicted and a measured number in the same unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// The predicted number.
    pub predicted: f64,
    /// The measured number.
    pub measured: f64,
}

impl Comparison {
    /// Pairs two numbers; `None` if one is absent or nothing was measured.
    pub fn of(predicted: Option<f64>, measured: Option<f64>) -> Option<Self> {
        let (predicted, measured) = predicted.zip(measured)?;
        (measured > 0.0).then_some(Self { predicted, measured })
    }

    /// The relative error, (predicted − measured) / measured.
    pub fn error(&self) -> f64 {
        self.predicted / self.measured - 1.0
    }

    /// The median of the absolute errors; `None` without a comparison.
    pub fn median_error(all: &[Self]) -> Option<f64> {
        let mut errors: Vec<f64> = all.iter().map(|one| one.error().abs()).collect();
        errors.sort_by(f64::total_cmp);
        let middle = errors.len() / 2;
        match errors.len() {
            0 => None,
            n if n % 2 == 1 => Some(errors[middle]),
            _ => Some(errors[middle - 1].midpoint(errors[middle])),
        }
    }
}

/// The measured cells of a run, matched to planned cells by what they have in common.
#[derive(Debug)]
pub struct Measurements<'a> {
    cells: Vec<(BTreeMap<String, Value>, &'a CellFile)>,
}

impl<'a> Measurements<'a> {
    /// The cells of a run. A workload without a name matches every workload.
    pub fn of(run: &'a StoredRun) -> Self {
        let cells = run.cells.iter().map(|cell| {
            let group = run.plan.groups.iter().find(|group| group.id == cell.server);
            let flags = group.map(|group| flags(&group.server.flags)).unwrap_or_default();
            let own = cell.load.iter().chain(&cell.axes);
            let own = own.map(|(name, value)| (canonical(name), value.clone()));
            let mut values: BTreeMap<String, Value> = flags.into_iter().chain(own).collect();
            if !cell.workload.is_empty() {
                values.insert("workload".into(), cell.workload.as_str().into());
            }
            (values, cell)
        });
        Self { cells: cells.collect() }
    }

    /// The measurement of a planned cell: the only one whose workload, load and axes are the same, as far as
    /// it states them. `None` if no measurement matches, or several do.
    pub fn of_cell(&self, group: &Group, cell: &Cell) -> Option<&'a CellFile> {
        let mut planned: BTreeMap<String, Value> = BTreeMap::from([
            ("workload".to_owned(), cell.workload.as_str().into()),
            ("max-tokens".to_owned(), cell.max_tokens.into()),
        ]);
        let load = [
            ("concurrency", cell.spec.streams().map(Value::from)),
            ("rate", cell.spec.rate.map(Value::from)),
        ];
        planned.extend(load.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        let axes = group.axes.iter().chain(&cell.axes);
        planned.extend(axes.map(|(name, value)| (canonical(name), value.clone())));
        let matches = |values: &BTreeMap<String, Value>| {
            planned.iter().all(|(name, value)| values.get(name).is_none_or(|own| is_same(own, value)))
        };
        let mut matching = self.cells.iter().filter(|(values, _)| matches(values));
        let (_, found) = matching.next()?;
        matching.next().is_none().then_some(*found)
    }
}

/// The flags of a server as plain values.
fn flags(flags: &Flags) -> BTreeMap<String, Value> {
    match serde_json::json!(flags) {
        Value::Object(values) => values.into_iter().collect(),
        _ => BTreeMap::new(),
    }
}

fn is_same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => scalar_text(one) == scalar_text(other),
    }
}
