//! The values of the template of a comparison: numbers, labels and judgements, no sentences.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Change, Column, Comparison, Judgement, Pair,
    crossover::{Point, crossover},
};
use crate::{
    measure::VerdictKind,
    report::{
        model::SAME,
        statistics::{Estimate, median},
    },
};

/// The most rows of the tables of a workload.
const MOST_ROWS: usize = 200;

/// The columns that some of these cells have.
fn shown(cells: &[&Pair]) -> Vec<Column> {
    Column::shown(|column| cells.iter().any(|cell| cell.of(column).is_some()))
}

/// The values of `comparison.md.j2`.
pub(crate) fn values(comparison: &Comparison) -> Value {
    let cells: Vec<&Pair> = comparison.cells.iter().collect();
    let mut names: Vec<&str> = Vec::new();
    for cell in &cells {
        if !names.contains(&cell.workload.as_str()) {
            names.push(&cell.workload);
        }
    }
    json!({
        "machines": [comparison.machines.0, comparison.machines.1],
        "simulated": comparison.simulated,
        "predicted": comparison.predicted,
        "imported": comparison.imported,
        "cells": cells.len(),
        "origins": [origins(&cells, |pair| pair.origins.0), origins(&cells, |pair| pair.origins.1)],
        "alone": [comparison.alone.0, comparison.alone.1],
        "left_out": left_out(&cells),
        "answers": comparison.answers,
        "answers_alone": [comparison.answers_alone.0, comparison.answers_alone.1],
        "differences": comparison.differences,
        "workloads": names.into_iter().map(|name| workload(&cells, name)).collect::<Vec<_>>(),
    })
}

/// The number of cells of each origin on one side.
fn origins(cells: &[&Pair], side: fn(&Pair) -> &'static str) -> Vec<Value> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for cell in cells {
        *counts.entry(side(cell)).or_default() += 1;
    }
    counts.into_iter().map(|(origin, cells)| json!({ "origin": origin, "cells": cells })).collect()
}

/// By verdict: the cells that it excludes, and the cells of which it excludes some numbers.
fn left_out(cells: &[&Pair]) -> Vec<Value> {
    let mut counts: BTreeMap<VerdictKind, (usize, usize)> = BTreeMap::new();
    for cell in cells {
        if let Some(kind) = cell.left_out {
            counts.entry(kind).or_default().0 += 1;
        }
        for kind in &cell.partly_left_out {
            counts.entry(*kind).or_default().1 += 1;
        }
    }
    let each = counts.into_iter();
    each.map(|(kind, (whole, part))| json!({ "verdict": kind.name(), "whole": whole, "part": part }))
        .collect()
}

/// One metric over the cells of a workload.
fn metric(column: Column, cells: &[&Pair], tests: usize) -> Value {
    let known: Vec<(&Pair, &Change)> =
        cells.iter().filter_map(|cell| Some((*cell, cell.of(column)?))).collect();
    let logs: Vec<f64> = known.iter().map(|(_, change)| change.ratio.ln()).collect();
    let extreme = |pick: fn(f64, f64) -> f64| logs.iter().copied().reduce(pick).map(f64::exp);
    let judged = |own: Judgement| known.iter().filter(|(_, change)| change.judgement == own).count();
    let number = |test: &dyn Fn(f64) -> bool| logs.iter().filter(|log| test(**log)).count();
    let points = known.iter().filter_map(|(pair, change)| {
        let ratio = Estimate { value: change.ratio, between: change.between };
        Some(Point { load: pair.load?, ratio: change.ratio, error: ratio.log_error().unwrap_or(0.0) })
    });
    json!({
        "column": column.name(),
        "label": column.label(),
        "unit": column.unit(),
        "less_is_better": column.is_cost(),
        "of": known.len(),
        "median": median(&logs).map(f64::exp),
        "least": extreme(f64::min),
        "most": extreme(f64::max),
        "better": judged(Judgement::Better),
        "worse": judged(Judgement::Worse),
        "within_noise": judged(Judgement::WithinNoise),
        "untold": judged(Judgement::Untold),
        "predicted": judged(Judgement::Predicted),
        // Of ratios, whether or not their noise is known.
        "higher": number(&|log| log > SAME),
        "lower": number(&|log| log < -SAME),
        "near": number(&|log| log.abs() <= SAME),
        "near_part": SAME,
        "crossover": crossover(points.collect(), tests),
    })
}

fn workload(cells: &[&Pair], name: &str) -> Value {
    let own: Vec<&Pair> = cells.iter().copied().filter(|cell| cell.workload == name).collect();
    let compared: Vec<&Pair> = own.iter().copied().filter(|cell| !cell.changes.is_empty()).collect();
    let columns = shown(&compared);
    let row = |cell: &&Pair| {
        let each: Vec<Value> = columns.iter().map(|column| json!(cell.of(*column))).collect();
        json!({ "label": cell.label, "origins": cell.origins, "changes": each })
    };
    json!({
        "name": name,
        "metrics": columns
            .iter()
            .map(|column| metric(*column, &compared, columns.len()))
            .collect::<Vec<_>>(),
        "rows": most_changed(&compared, &columns).iter().map(row).collect::<Vec<_>>(),
        "cells": compared.len(),
    })
}

/// The cells that the tables show, in their order: of too many those that changed most, changes beyond chance
/// first.
fn most_changed<'a>(cells: &[&'a Pair], columns: &[Column]) -> Vec<&'a Pair> {
    let weight = |cell: &Pair| {
        columns
            .iter()
            .filter_map(|column| cell.of(*column))
            .map(|change| {
                let judged = matches!(change.judgement, Judgement::Better | Judgement::Worse);
                (judged, change.ratio.ln().abs())
            })
            .max_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)))
            .unwrap_or((false, 0.0))
    };
    let mut weighed: Vec<(usize, (bool, f64))> = cells.iter().map(|cell| weight(cell)).enumerate().collect();
    weighed.sort_by(|(_, one), (_, other)| other.0.cmp(&one.0).then(other.1.total_cmp(&one.1)));
    weighed.truncate(MOST_ROWS);
    weighed.sort_by_key(|(place, _)| *place);
    weighed.iter().filter_map(|(place, _)| cells.get(*place).copied()).collect()
}
