//! Whether the cells of a plan have enough samples for the percentiles of their SLO.

use std::collections::BTreeMap;

use super::{Cell, Plan, Stop};
use crate::{
    diagnostic::{Finding, Findings},
    manifest::{LatencyKind, Manifest, SloTerm},
};

/// The cells of a workload in which one term has too few samples.
struct Lacking {
    cells: usize,
    fewest: u64,
    most: u64,
}

/// One warning for each workload and SLO term of which some cell has too few samples. How many a cell of a given duration
/// will have is not known before.
pub(super) fn too_few(plan: &Plan, manifest: &Manifest, findings: &mut Findings) {
    let repeats = u64::from(plan.experiment.repeats);
    let mut lacking: BTreeMap<(&str, String), (SloTerm, Lacking)> = BTreeMap::new();
    let cells = plan.groups.iter().flat_map(|group| &group.cells);
    for cell in cells.filter(|cell| cell.skip.is_none()) {
        for term in &cell.spec.slo.0 {
            let Some(samples) = samples(cell, term.metric, repeats) else {
                continue;
            };
            if samples >= term.percentile.samples_needed() {
                continue;
            }
            let none = Lacking { cells: 0, fewest: samples, most: samples };
            let entry = lacking.entry((&cell.workload, term.key()));
            let (_, seen) = entry.or_insert((*term, none));
            seen.cells += 1;
            seen.fewest = seen.fewest.min(samples);
            seen.most = seen.most.max(samples);
        }
    }
    for ((workload, key), (term, seen)) in lacking {
        let Lacking { cells, fewest, most } = seen;
        let samples =
            if fewest == most { format!("{fewest} samples") } else { format!("{fewest} to {most} samples") };
        let cells = if cells == 1 { "a cell".to_owned() } else { format!("{cells} cells") };
        findings.push(
            Finding::warning(format!(
                "workload `{workload}`: {samples} cannot carry {} in {cells}",
                term.percentile
            ))
            .at(
                &manifest.place(&["workload", workload, "slo", &key]),
                format!("needs {} samples a cell", term.percentile.samples_needed()),
            )
            .help("the number is still printed, marked; raise `requests`, or judge by p50"),
        );
    }
}

/// The most samples of a metric that a cell can have, its repeats pooled: a request has one of each latency, and as many
/// gaps as tokens after the first.
fn samples(cell: &Cell, metric: LatencyKind, repeats: u64) -> Option<u64> {
    let Stop::Requests(requests) = cell.stop else {
        return None;
    };
    let each = match metric {
        LatencyKind::Itl => u64::from(cell.max_tokens).saturating_sub(1),
        LatencyKind::Ttft | LatencyKind::Tpot | LatencyKind::E2e => 1,
    };
    Some(requests.saturating_mul(each).saturating_mul(repeats))
}
