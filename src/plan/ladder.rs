//! Ladders: cells of rising `concurrency` or `rate`, measured until `stop_climbing` ends them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Group, columns::Columns};
use crate::{
    diagnostic::{Finding, Findings},
    manifest::{BaseWorkload, Column, Factor, Manifest, Order, Path, StopClimbing, Workload},
};

/// Links each cell of a ladder to the one with the next lower load.
pub(super) fn ladders(groups: &mut [Group], manifest: &Manifest, columns: &Columns, findings: &mut Findings) {
    for base in &manifest.workloads {
        let climbs = |group: &Group| {
            let mut own = group.cells.iter().filter(|cell| cell.workload == base.name);
            own.any(|cell| cell.spec.stop_climbing.is_some())
        };
        if !groups.iter().any(climbs) {
            continue;
        }
        let place = manifest.place(&["workload", &base.name, "stop_climbing"]);
        let mut wrong = |title: &str, label: &str, help: &str| {
            findings.push(
                Finding::error(format!("workload `{}`: {title}", base.name)).at(&place, label).help(help),
            );
        };
        if manifest.experiment.order == Order::Shuffled {
            wrong(
                "`stop_climbing` does not work in a shuffled order",
                "needs ascending load",
                "set order = \"as-written\", or remove stop_climbing",
            );
            continue;
        }
        let lost = |group: &Group| {
            let mut own = group.cells.iter().filter(|cell| cell.workload == base.name);
            own.any(|cell| {
                cell.spec.stop_climbing == Some(StopClimbing::SloLost) && cell.spec.slo.0.is_empty()
            })
        };
        if groups.iter().any(lost) {
            wrong(
                "`stop_climbing` has no SLO to check",
                "needs an SLO",
                "slo = { p95_ttft = \"500ms\" }, or stop_climbing = \"throughput-falls\"",
            );
            continue;
        }
        let along = along(manifest, base, columns);
        if along.is_empty() {
            wrong(
                "`stop_climbing` needs an axis of `concurrency` or `rate`",
                "neither `concurrency` nor `rate` has several values",
                "sweep.concurrency = { from = 1, to = 256, factor = 2 }",
            );
            continue;
        }
        for group in groups.iter_mut() {
            if !climb(group, &base.name, &along) {
                wrong(
                    "`stop_climbing` needs ascending values",
                    "`concurrency` or `rate` does not ascend",
                    "write its values in ascending order",
                );
                break;
            }
        }
    }
}

/// The columns that change along a workload's ladder: the axis itself, the axes zipped with it, and derived
/// values.
fn along(manifest: &Manifest, base: &BaseWorkload, columns: &Columns) -> BTreeSet<String> {
    let rungs =
        ["concurrency", "rate"].map(|key| Path(vec!["workload".into(), base.name.clone(), key.into()]));
    let is_rung = |factor: &&Factor| {
        let mut sets = factor.points.iter().flat_map(|point| &point.sets);
        sets.any(|(path, _)| rungs.contains(path))
    };
    let sweeps = [&manifest.sweep, &base.sweep];
    let mut along: BTreeSet<String> = sweeps
        .iter()
        .flat_map(|sweep| sweep.factors.iter().filter(is_rung))
        .flat_map(|factor| &factor.columns)
        .map(|column| columns.name(column).to_owned())
        .collect();
    let derived = sweeps.iter().flat_map(|sweep| &sweep.derived);
    if along.is_empty() && !derived.clone().any(|derived| rungs.contains(&derived.path)) {
        return along;
    }
    along.extend(derived.map(|derived| {
        let column = Column::Path(derived.path.clone());
        columns.name(&column).to_owned()
    }));
    along
}

/// The load of a cell: requests in flight, or requests per second.
fn height(spec: &Workload) -> Option<f64> {
    spec.streams().map(f64::from).or(spec.rate)
}

/// Links the cells of one workload on one server. Returns whether every ladder ascends.
fn climb(group: &mut Group, workload: &str, along: &BTreeSet<String>) -> bool {
    // The last cell of each ladder, by the values that are constant along it.
    let mut last: BTreeMap<Vec<String>, (String, Option<f64>)> = BTreeMap::new();
    for cell in &mut group.cells {
        let on_ladder = cell.workload == workload && cell.spec.stop_climbing.is_some();
        if !on_ladder || cell.skip.is_some() {
            continue;
        }
        let fixed = cell.axes.iter().filter(|(name, _)| !along.contains(*name));
        let line = fixed.map(|(name, value)| format!("{name} {value}")).collect();
        let top = (cell.id.clone(), height(&cell.spec));
        if let Some((below, reached)) = last.insert(line, top) {
            if reached >= height(&cell.spec) {
                return false;
            }
            cell.rung_below = Some(below);
        }
    }
    true
}
