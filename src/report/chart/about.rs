//! Texts that several charts share: the place of a cell, its numbers, and notes on what is shown.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::context;

use super::{
    canvas::Canvas,
    scope::{Held, Scope},
};
use crate::{
    manifest::{LatencyKind, SloTerm},
    measure::{Metric, Severity, Unit, VerdictKind},
    report::{finding::place_on, metrics::at, model::Cell, number},
    unit::Percentile,
};

/// The numbers in the tooltip of a cell.
const NUMBERS: [Metric; 5] = [
    Metric::OUTPUT,
    Metric::P50_TTFT,
    Metric::P95_TTFT,
    at(Percentile::P95, LatencyKind::Itl),
    Metric::P95_E2E,
];

/// The latencies by which a workload is judged and that some cell has: the terms of its SLO, else p95 TTFT,
/// else p95 E2E.
pub(super) fn latencies(scope: &Scope<'_, '_>) -> Vec<(Metric, Option<SloTerm>)> {
    let has = |metric: &Metric| scope.measured().any(|cell| cell.shown(*metric).is_some());
    let terms = scope.slo.0.iter().map(|term| (Metric::of_term(term), Some(*term)));
    let terms: Vec<(Metric, Option<SloTerm>)> = terms.filter(|(metric, _)| has(metric)).collect();
    if !terms.is_empty() {
        return terms;
    }
    let usual = [Metric::P95_TTFT, Metric::P95_E2E].into_iter().find(has);
    usual.map(|metric| (metric, None)).into_iter().collect()
}

/// The text of a target at its line: `p95 TTFT ≤ 1,500 ms`.
pub(super) fn slo(term: &SloTerm) -> String {
    format!("{} ≤ {}", Metric::of_term(term).label(), number::ms(Some(term.limit.as_ms())))
}

/// The values of a cell on the axes that vary in its workload.
pub(super) fn place(scope: &Scope<'_, '_>, cell: &Cell<'_>) -> String {
    let own = place_on(scope.model, cell, |axis| scope.varying.contains(&axis));
    match own.is_empty() {
        true => scope.model.place(cell),
        false => own.iter().map(|own| format!("{} {}", own.axis, own.value)).collect::<Vec<_>>().join(", "),
    }
}

fn shown(metric: Metric, value: f64) -> String {
    match metric.unit() {
        Unit::Ms => format!("{} {}", metric.label(), number::ms(Some(value))),
        Unit::TokS | Unit::ReqS => number::tok_s(Some(value)),
    }
}

/// The tooltip of a cell.
pub(super) fn cell(canvas: &Canvas<'_, '_>, scope: &Scope<'_, '_>, cell: &Cell<'_>) -> String {
    let mut lines = vec![place(scope, cell)];
    if !cell.file.outcome.is_measured() {
        lines.push(outcome(canvas, cell));
        return lines.join("\n");
    }
    let numbers = NUMBERS.iter().filter_map(|metric| Some(shown(*metric, cell.shown(*metric)?)));
    lines.push(numbers.collect::<Vec<_>>().join(" · "));
    if canvas.model.is_mixed {
        lines.push(cell.origin.word().to_uppercase());
    }
    if let Some(n) = cell.samples(Metric::P50_TTFT) {
        lines.push(canvas.text("cell_samples", context! { n }));
    }
    let against = cell.file.verdicts.iter().filter(|verdict| verdict.severity > Severity::Note);
    let mut kinds: Vec<&str> = against.map(|verdict| verdict.kind.name()).collect();
    kinds.dedup();
    if !kinds.is_empty() {
        lines.push(canvas.text("cell_verdicts", context! { kinds }));
    }
    lines.join("\n")
}

/// How a cell without numbers ended.
pub(super) fn outcome(canvas: &Canvas<'_, '_>, cell: &Cell<'_>) -> String {
    canvas.text("cell_outcome", context! { outcome => cell.file.outcome.name() })
}

/// A note on the numbers of a chart that may not be ranked; empty if all may.
pub(super) fn unranked<'c, 'a: 'c>(
    canvas: &Canvas<'_, '_>,
    cells: impl Iterator<Item = &'c Cell<'a>>,
    metric: Metric,
) -> String {
    let (mut all, mut hollow) = (0, 0);
    let mut kinds: BTreeSet<VerdictKind> = BTreeSet::new();
    let mut few: BTreeSet<u64> = BTreeSet::new();
    for cell in cells {
        let Some(own) = cell.number(metric) else { continue };
        all += 1;
        let Some(kind) = own.excluded else { continue };
        hollow += 1;
        kinds.insert(kind);
        if kind == VerdictKind::FewSamples {
            few.extend(cell.samples(metric));
        }
    }
    let kinds: Vec<&str> = kinds.into_iter().map(VerdictKind::name).collect();
    let (least, most) = (few.first(), few.last());
    canvas.text_if(
        hollow > 0,
        "unranked",
        context! { metric => metric.label(), hollow, all, kinds, least, most },
    )
}

/// A note on server axes of which a single value gave numbers; else empty.
pub(super) fn only(canvas: &Canvas<'_, '_>, scope: &Scope<'_, '_>) -> String {
    let only = scope.only.as_ref();
    only.map_or_else(String::new, |(place, others)| {
        canvas.text("only_with_numbers", context! { place, others })
    })
}

/// A note on the values at which other axes are held; empty if there are none.
pub(super) fn held(canvas: &Canvas<'_, '_>, held: &Held<'_, '_>) -> String {
    let f = context! { place => &held.place, best => held.is_best };
    canvas.text_if(!held.place.is_empty(), "held", f)
}

/// A note on axes of which only some values are shown; empty if there are none.
pub(super) fn thinned(canvas: &Canvas<'_, '_>, scope: &Scope<'_, '_>, axes: &[(usize, usize)]) -> String {
    let axes: Vec<_> =
        axes.iter().map(|(axis, shown)| context! { axis => scope.label(*axis), shown }).collect();
    canvas.text_if(!axes.is_empty(), "thinned", context! { axes })
}

/// A note on the loads of an axis that some cells did not reach; empty if all did.
pub(super) fn not_reached(
    canvas: &Canvas<'_, '_>,
    scope: &Scope<'_, '_>,
    cells: &[&Cell<'_>],
    axis: usize,
) -> String {
    let own = &scope.model.axes[axis];
    let mut least: BTreeMap<usize, f64> = BTreeMap::new();
    for cell in cells.iter().filter(|cell| cell.has_numbers()) {
        let (Some(at), Some(reached)) = (cell.at[axis], scope.number(cell, axis)) else { continue };
        if own.values[at].as_f64().is_some_and(|asked| reached < asked) {
            let known = least.entry(at).or_insert(reached);
            *known = known.min(reached);
        }
    }
    let load = |(at, reached): (usize, f64)| {
        context! { asked => own.text(at), reached => number::thousands(Some(reached)) }
    };
    let loads: Vec<_> = least.into_iter().map(load).collect();
    canvas.text_if(!loads.is_empty(), "not_reached", context! { axis => own.label(), loads })
}
