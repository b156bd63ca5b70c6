//! What a reader should not conclude.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{Facts, Finding, Kind, Rule, Unit, place};
use crate::{
    manifest::LatencyKind,
    measure::{Metric, Severity, VerdictKind},
    report::{
        metrics::at,
        model::{Block, Cell, Model, Origin, Trust},
        statistics::largest,
    },
    unit::Percentile,
};

pub(super) const RULES: &[Rule] = &[
    Rule::Run(simulated),
    Rule::Run(predicted),
    Rule::Run(measured_once),
    Rule::Run(few_samples),
    Rule::Run(excluded),
    Rule::Run(prompts_were),
];

/// One kind of verdict of one severity, with every cell that has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VerdictRow<'a> {
    pub(crate) kind: VerdictKind,
    pub(crate) severity: Severity,
    /// Indices of the cells, in the order of the plan.
    pub(crate) cells: Vec<usize>,
    /// The metrics that it keeps from being ranked, by name, each with the number of cells where it does.
    pub(crate) touches: BTreeMap<&'a str, usize>,
    /// Its reasons in the first cell: one for each percentile if it is about several.
    pub(crate) reasons: Vec<&'a str>,
    /// Whether every cell has these reasons.
    pub(crate) is_same: bool,
    /// The hint of the first cell.
    pub(crate) hint: &'a str,
}

/// The verdicts of all cells, most severe first.
pub(crate) fn verdict_rows<'a>(model: &Model<'a>) -> Vec<VerdictRow<'a>> {
    let mut rows: Vec<VerdictRow<'a>> = Vec::new();
    let mut known: BTreeMap<(VerdictKind, Severity), usize> = BTreeMap::new();
    for cell in &model.cells {
        let mut own: BTreeMap<(VerdictKind, Severity), VerdictRow<'a>> = BTreeMap::new();
        for verdict in &cell.file.verdicts {
            let row = own.entry((verdict.kind, verdict.severity)).or_insert_with(|| VerdictRow {
                kind: verdict.kind,
                severity: verdict.severity,
                cells: vec![cell.index],
                touches: BTreeMap::new(),
                reasons: Vec::new(),
                is_same: true,
                hint: &verdict.hint,
            });
            row.reasons.push(&verdict.reason);
            row.touches.extend(verdict.touches.iter().map(|metric| (metric.as_str(), 1)));
        }
        for (key, own) in own {
            match known.get(&key) {
                Some(at) => rows[*at].add(own),
                None => {
                    known.insert(key, rows.len());
                    rows.push(own);
                }
            }
        }
    }
    // The sort is stable: equally severe ones keep their order.
    rows.sort_by_key(|row| Reverse(row.severity));
    rows
}

impl VerdictRow<'_> {
    fn add(&mut self, other: Self) {
        self.is_same &= self.reasons == other.reasons;
        self.cells.extend(other.cells);
        for (metric, count) in other.touches {
            *self.touches.entry(metric).or_insert(0) += count;
        }
    }
}

fn with_numbers<'m, 'a>(model: &'m Model<'a>) -> Vec<&'m Cell<'a>> {
    model.cells.iter().filter(|cell| cell.has_numbers() && !cell.is_set_aside).collect()
}

/// A finding on the cells that satisfy a condition, with their number; none if there is no such cell.
fn some(
    kind: Kind,
    all: &[&Cell<'_>],
    is_one: impl Fn(&Cell<'_>) -> bool,
    more: impl FnOnce(Facts) -> Facts,
) -> Vec<Finding> {
    let cells: Vec<usize> = all.iter().filter(|cell| is_one(cell)).map(|cell| cell.index).collect();
    if cells.is_empty() {
        return Vec::new();
    }
    let facts = more(Facts::new().count("count", cells.len()).count("of", all.len()));
    vec![Finding::of_run(kind, cells).with(facts)]
}

fn simulated(model: &Model<'_>) -> Vec<Finding> {
    let is_simulated = |cell: &Cell<'_>| cell.origin == Origin::Simulated;
    some(Kind::Simulated, &with_numbers(model), is_simulated, |facts| facts)
}

fn predicted(model: &Model<'_>) -> Vec<Finding> {
    let is_predicted = |cell: &Cell<'_>| cell.origin == Origin::Predicted;
    some(Kind::Predicted, &with_numbers(model), is_predicted, |facts| {
        facts.when(model.run.run.predicted.as_ref(), |facts, basis| {
            facts.name("validation", &basis.validation)
        })
    })
}

/// Cells that were measured once, and by how much another run usually differs, where that is known.
fn measured_once(model: &Model<'_>) -> Vec<Finding> {
    let mut all = with_numbers(model);
    all.retain(|cell| cell.origin != Origin::Predicted);
    let spreads = model.blocks.iter().filter_map(|block| {
        let metric = block.brings.unwrap_or(Metric::P50_E2E);
        Some((metric, model.noise(block.workload).known(metric)?))
    });
    let largest = largest(spreads);
    some(
        Kind::MeasuredOnce,
        &all,
        |cell| cell.file.repeats.len() < 2,
        |facts| {
            facts.when(largest, |facts, (metric, spread)| {
                facts.metric("metric", metric).part("spread", spread)
            })
        },
    )
}

/// The latencies of a percentile, most familiar first.
fn percentiles(rank: Percentile) -> impl Iterator<Item = Metric> {
    let kinds = [LatencyKind::E2e, LatencyKind::Ttft, LatencyKind::Tpot, LatencyKind::Itl];
    kinds.into_iter().map(move |kind| at(rank, kind))
}

/// The first latency of which a cell has too few samples for a percentile.
fn too_few(cell: &Cell<'_>, rank: Percentile) -> Option<Metric> {
    let is_few = |metric: &Metric| {
        let mut verdicts =
            cell.file.verdicts.iter().filter(|verdict| verdict.kind == VerdictKind::FewSamples);
        verdicts.any(|own| metric.excluded_by(std::slice::from_ref(own)).is_some())
    };
    percentiles(rank).find(|metric| cell.shown(*metric).is_some() && is_few(metric))
}

/// Percentiles that rest on few samples: the p95, and those that an SLO names.
fn few_samples(model: &Model<'_>) -> Vec<Finding> {
    let mut ranks = vec![Percentile::P95];
    for term in model.workloads.iter().flat_map(|workload| &workload.slo.0) {
        if !ranks.contains(&term.percentile) {
            ranks.push(term.percentile);
        }
    }
    ranks.sort_by(|a, b| a.fraction().total_cmp(&b.fraction()));
    ranks.into_iter().filter_map(|rank| few_of(model, rank)).collect()
}

fn few_of(model: &Model<'_>, rank: Percentile) -> Option<Finding> {
    let mut all = with_numbers(model);
    // A probe that ended early has few samples because it was clear.
    all.retain(|cell| cell.file.ended_early.is_none());
    all.retain(|cell| percentiles(rank).any(|metric| cell.shown(metric).is_some()));
    let few = all.iter().filter_map(|cell| Some((*cell, too_few(cell, rank)?)));
    let few: Vec<(&Cell<'_>, Metric)> = few.collect();
    if few.is_empty() {
        return None;
    }
    let samples = || few.iter().filter_map(|(cell, metric)| cell.samples(*metric)).map(|n| n as usize);
    let facts = Facts::new()
        .name("percentile", rank.to_string())
        .count("needed", rank.samples_needed() as usize)
        .count("count", few.len())
        .count("of", all.len())
        .flag("medians_stand_in", medians_stand_in(model, rank, &few))
        .count("least", samples().min())
        .count("most", samples().max());
    let cells = few.iter().map(|(cell, _)| cell.index);
    Some(Finding::of_run(Kind::FewSamples, cells).with(facts))
}

/// Whether medians stand in for a percentile wherever the SLO of one of these cells names it.
fn medians_stand_in(model: &Model<'_>, rank: Percentile, few: &[(&Cell<'_>, Metric)]) -> bool {
    let has_few = |block: &Block<'_>| {
        let is_own = |cell: &Cell<'_>| cell.workload == block.workload && cell.server == block.server;
        few.iter().any(|(cell, _)| is_own(cell))
    };
    let named = |block: &Block<'_>| block.slo.0.iter().any(|term| term.percentile == rank);
    let blocks = model.blocks.iter().enumerate();
    let mut concerned = blocks.filter(|(_, block)| named(block) && has_few(block)).peekable();
    concerned.peek().is_some() && concerned.all(|(at, _)| model.ranking(at).trust == Trust::Medians)
}

/// Cells that are excluded as a whole, by verdict. A cell may have several.
fn excluded(model: &Model<'_>) -> Vec<Finding> {
    let all = with_numbers(model).len();
    let is_grave =
        |row: &VerdictRow<'_>| row.severity == Severity::Cell && row.kind != VerdictKind::Simulated;
    let finding = |row: VerdictRow<'_>| {
        let is_shown = |cell: &usize| model.cells[*cell].has_numbers() && !model.cells[*cell].is_set_aside;
        let cells: Vec<usize> = row.cells.iter().copied().filter(is_shown).collect();
        let first = &model.cells[*cells.first()?];
        let facts = Facts::new()
            .name("verdict", row.kind.name())
            .count("count", cells.len())
            .count("of", all)
            .place("place", place(model, first))
            .name("on_server", model.server_label(first.server));
        Some(Finding::of_run(Kind::Excluded, cells).with(facts))
    };
    verdict_rows(model).into_iter().filter(is_grave).filter_map(finding).collect()
}

/// The shortest and the longest mean prompt of a cell.
fn prompts_were(model: &Model<'_>) -> Vec<Finding> {
    let known = with_numbers(model).into_iter().filter_map(|cell| Some((cell.index, cell.prompt_tokens()?)));
    let known: Vec<(usize, f64)> = known.collect();
    let tokens = || known.iter().map(|(_, tokens)| *tokens);
    let Some((least, most)) = tokens().reduce(f64::min).zip(tokens().reduce(f64::max)) else {
        return Vec::new();
    };
    let facts = Facts::new()
        .number("least", least, Unit::Count, 3)
        .number("most", most, Unit::Count, 3)
        .flag("is_one", least.round() == most.round());
    vec![Finding::of_run(Kind::PromptsWere, known.iter().map(|(cell, _)| *cell)).with(facts)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        report::{
            finding::{Fact, sentences},
            fixtures,
        },
        store::StoredRun,
    };

    fn found(run: &StoredRun, kind: Kind) -> Vec<Finding> {
        let all = sentences::found(&Model::of(run), RULES);
        all.into_iter().filter(|finding| finding.kind == kind).collect()
    }

    #[test]
    fn few_samples_are_counted_in_the_cells_that_have_few() {
        let run = fixtures::grid();
        let few = found(&run, Kind::FewSamples);
        assert_eq!(few.len(), 1);
        let facts = &few[0].facts;
        assert_eq!((facts.value("needed"), facts.value("count")), (Some(130.0), Some(12.0)));
        assert_eq!((facts.value("least"), facts.value("most")), (Some(16.0), Some(16.0)));
        assert_eq!(facts.get("medians_stand_in"), Some(&Fact::Flag(true)));
        // Three cells with few, in a grid that is ranked by what the SLO names.
        let mut run = fixtures::streamed();
        for (cell, n) in run.cells.iter_mut().zip([20, 40, 60]) {
            cell.summary.as_mut().unwrap().ttft = Some(fixtures::latency(n, 40.0, 50.0));
            cell.verdicts = vec![
                fixtures::verdict("few_samples", "metric", &["p95_ttft"]),
                fixtures::verdict("few_samples", "metric", &["p99_ttft"]),
            ];
        }
        let few = found(&run, Kind::FewSamples);
        assert_eq!((few.len(), few[0].cells.as_slice()), (1, [0, 1, 2].as_slice()));
        let facts = &few[0].facts;
        assert_eq!((facts.value("count"), facts.value("of")), (Some(3.0), Some(4.0)));
        assert_eq!((facts.value("least"), facts.value("most")), (Some(20.0), Some(60.0)));
        assert_eq!(facts.get("medians_stand_in"), Some(&Fact::Flag(false)));
        let slo: crate::manifest::Slo =
            serde_json::from_value(serde_json::json!({ "p99_ttft": "200ms" })).unwrap();
        run.cells.iter_mut().for_each(|cell| cell.slo = slo.clone());
        let ranks = found(&run, Kind::FewSamples);
        let ranks: Vec<_> = ranks.iter().map(|own| own.facts.get("percentile").cloned()).collect();
        assert_eq!(ranks, ["p95", "p99"].map(|rank| Some(Fact::Name(rank.into()))));
    }

    #[test]
    fn excluded_cells_are_counted_by_the_verdict_against_them() {
        let mut run = fixtures::streamed();
        run.cells[1].verdicts = vec![fixtures::verdict("client_saturated", "cell", &[])];
        run.cells[2].verdicts = vec![fixtures::verdict("client_saturated", "metric", &["p99_ttft"])];
        run.cells[3].verdicts = vec![
            fixtures::verdict("errors", "cell", &[]),
            fixtures::verdict("client_saturated", "cell", &[]),
        ];
        let excluded = found(&run, Kind::Excluded);
        let counts: Vec<_> = excluded.iter().map(|own| (own.cells.clone(), own.facts.value("of"))).collect();
        assert_eq!(counts, [(vec![1, 3], Some(4.0)), (vec![3], Some(4.0))]);
        assert_eq!(found(&fixtures::streamed(), Kind::Excluded), []);
    }

    #[test]
    fn what_was_not_measured_and_what_was_measured_once_is_said() {
        let mut run = fixtures::streamed();
        run.cells[0].simulated = true;
        (run.cells[1].predicted, run.cells[2].predicted) = (true, true);
        for cell in &mut run.cells {
            let summary = cell.summary.as_mut().unwrap();
            summary.input_tokens = Some(200 * 40);
        }
        run.cells[3].summary.as_mut().unwrap().input_tokens = Some(200 * 60);
        let count = |kind| found(&run, kind)[0].facts.value("count");
        assert_eq!((count(Kind::Simulated), count(Kind::Predicted)), (Some(1.0), Some(2.0)));
        let once = &found(&run, Kind::MeasuredOnce)[0].facts;
        assert_eq!(
            (once.value("count"), once.value("of"), once.value("spread")),
            (Some(2.0), Some(2.0), None)
        );
        let prompts = &found(&run, Kind::PromptsWere)[0].facts;
        assert_eq!((prompts.value("least"), prompts.value("most")), (Some(40.0), Some(60.0)));
        // Repeats of half of the cells tell how far another run of the others would differ.
        let mut run = fixtures::streamed();
        for cell in &mut run.cells[..2] {
            cell.repeats = vec![cell.summary.clone().unwrap(); 3];
        }
        let once = &found(&run, Kind::MeasuredOnce)[0].facts;
        assert_eq!((once.value("count"), once.value("of")), (Some(2.0), Some(4.0)));
        assert!(once.value("spread").is_some_and(|spread| spread < 0.05));
    }

    #[test]
    fn a_row_of_verdicts_says_in_how_many_cells_it_touches_what() {
        let mut run = fixtures::grid();
        run.cells[5].verdicts.push(fixtures::verdict("few_samples", "metric", &["p50_e2e"]));
        let model = Model::of(&run);
        let rows = verdict_rows(&model);
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].severity, rows[0].cells.len(), rows[0].is_same), (Severity::Metric, 12, false));
        assert_eq!(rows[0].touches["p50_e2e"], 1);
        assert_eq!(rows[0].touches["p95_e2e"], 12);
        assert!(rows[1].is_same && rows[1].reasons.len() == 1);
    }
}
