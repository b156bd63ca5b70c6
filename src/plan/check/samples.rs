//! Whether the cells of a plan have enough samples for the percentiles of their SLO.

use indexmap::IndexMap;

use crate::{
    diagnostic::{Finding, Findings},
    manifest::{LatencyKind, Manifest, SloTerm},
    plan::{Cell, Plan, Stop},
};

/// What a workload's cells lack.
#[derive(Default)]
struct Lack {
    /// The terms with too few samples in some cell, with the samples that each needs.
    terms: IndexMap<String, (SloTerm, u64)>,
    /// Cells in which some term has too few samples.
    cells: usize,
    /// The requests that a cell needs for all terms.
    requests: u64,
}

/// Warns once per workload whose cells have too few samples for a percentile of the SLO. Cells that stop by a
/// duration are not counted, because their number of requests is unknown.
pub(in crate::plan) fn too_few_samples(plan: &Plan, manifest: &Manifest, findings: &mut Findings) {
    let repeats = u64::from(plan.experiment.repeats.at_least());
    let mut lacking: IndexMap<&str, Lack> = IndexMap::new();
    let cells = plan.groups.iter().flat_map(|group| &group.cells);
    for cell in cells.filter(|cell| cell.skip.is_none()) {
        let Stop::Requests(requests) = cell.stop else { continue };
        let mut is_lacking = false;
        for term in &cell.spec.slo.0 {
            let needed = term.percentile.samples_needed();
            let each = samples_per_request(cell, term.metric) * repeats;
            if requests.saturating_mul(each) >= needed {
                continue;
            }
            let lack = lacking.entry(&cell.workload).or_default();
            lack.terms.insert(term.key(), (*term, needed));
            lack.cells += usize::from(!is_lacking);
            lack.requests = lack.requests.max(needed.div_ceil(each.max(1)));
            is_lacking = true;
        }
    }
    for (workload, lack) in lacking {
        let terms: Vec<String> = lack.terms.keys().map(|key| format!("`{key}`")).collect();
        let mut needed: Vec<String> = Vec::new();
        for (term, samples) in lack.terms.values() {
            let text = format!("{} needs {samples}", term.percentile);
            if !needed.contains(&text) {
                needed.push(text);
            }
        }
        let or_p50 = if needed.iter().all(|text| text.starts_with("p50 ")) { "" } else { ", or target p50" };
        let cells = if lack.cells == 1 { "1 cell".to_owned() } else { format!("{} cells", lack.cells) };
        findings.push(
            Finding::warning(format!(
                "workload `{workload}`: too few samples for {} in {cells}",
                terms.join(", ")
            ))
            .at(&manifest.place(&["workload", workload, "slo"]), format!("{} in each cell", needed.join(", ")))
            .help(format!(
                "measure at least {} requests in each cell{or_p50}; such percentiles are reported with a mark",
                lack.requests
            )),
        );
    }
}

/// The most samples of a latency that one request gives: one, or for ITL one per token after the first.
fn samples_per_request(cell: &Cell, metric: LatencyKind) -> u64 {
    match metric {
        LatencyKind::Itl => u64::from(cell.max_tokens).saturating_sub(1),
        LatencyKind::Ttft | LatencyKind::Tpot | LatencyKind::E2e => 1,
    }
}
