//! The recommended operating point of each workload and what it rests on, or why there is none.

use std::collections::BTreeMap;

use super::{Facts, Finding, Kind, Rule, Unit, place};
use crate::{
    manifest::{LatencyKind, SloTerm},
    measure::{Metric, Rate},
    report::{
        metrics::{middle, tail},
        model::{Block, Cell, Model, Origin, Streaming},
    },
};

pub(super) const RULES: &[Rule] =
    &[Rule::Workload(answer), Rule::Block(basis), Rule::Workload(without_answer)];

/// The targets of an SLO: metric and limit.
fn targets(slo: &[SloTerm]) -> impl Iterator<Item = Facts> + '_ {
    slo.iter().map(|term| {
        let metric = Metric::of_term(term);
        Facts::new().metric("metric", metric).exact("target", metric, term.limit.as_ms())
    })
}

/// The tail of TTFT and of E2E where it may be ranked, else the middle.
pub(crate) fn latencies(cell: &Cell<'_>) -> Vec<(Metric, f64)> {
    [LatencyKind::Ttft, LatencyKind::E2e]
        .into_iter()
        .filter_map(|kind| cell.first_ranked(&[tail(kind), middle(kind)].concat()))
        .collect()
}

/// US dollars for a million output tokens.
pub(crate) fn usd_per_million(model: &Model<'_>, cell: &Cell<'_>) -> Option<f64> {
    let rate = cell.ranked(Metric::OUTPUT).filter(|rate| *rate > 0.0)?;
    Some(model.usd_per_hour()? / (rate * 3600.0) * 1e6)
}

/// The recommended cell of a workload.
fn answer(model: &Model<'_>, workload: usize) -> Option<Finding> {
    let at = model.best(workload)?;
    let ranking = model.ranking(at);
    let pick = *ranking.picks.first()?;
    let (block, cell) = (&model.blocks[at], &model.cells[pick.cell]);
    let digits = model.digits(&[cell.index]);
    // The TTFT of an answer that arrived in one piece is its E2E.
    let is_own = |(metric, _): &(Metric, f64)| {
        cell.streaming == Streaming::Streamed || !matches!(metric, Metric::Latency(_, LatencyKind::Ttft))
    };
    let latency = |(metric, ms): (Metric, f64)| {
        Facts::new().metric("metric", metric).measure("value", metric, ms, digits)
    };
    let user = Metric::Rate(Rate::User);
    let throughput = block.brings.and_then(|brings| Some((brings, cell.ranked(brings)?)));
    let facts = Facts::new()
        .name("machine", model.machine())
        .name("origin", cell.origin.word())
        .word("objective", block.objective)
        .word("met", ranking.met)
        .word("trust", ranking.trust)
        .word("reason", pick.reason)
        .place("place", place(model, cell))
        .flag("conversations", block.has_turns)
        .list("targets", targets(&block.slo.0))
        .list("latencies", latencies(cell).into_iter().filter(is_own).map(latency))
        .when(cell.load.reached, |facts, load| {
            facts.plain("load", load).name("quantity", cell.load.quantity())
        })
        .plain("ramp_to", cell.load.ramp_to)
        .when(throughput, |facts, (brings, rate)| {
            facts.metric("brings", brings).measure("throughput", brings, rate, digits)
        })
        .measure("user_tok_s", user, cell.ranked(user), digits)
        .number("usd_per_million_output_tokens", usd_per_million(model, cell), Unit::Usd, 3)
        .times("of_limit", ranking.of_limit, digits)
        .part("beyond", ranking.of_limit.map(|part| part - 1.0));
    Some(Finding::of_block(Kind::Answer, model, at, [cell.index]).with(facts))
}

/// What the recommendation of a block rests on.
fn basis(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let ranking = model.ranking(at);
    let pick = ranking.picks.first()?;
    let left_out = ranking.left_out.iter();
    let left_out =
        left_out.map(|(kind, cells)| Facts::new().name("verdict", kind.name()).count("cells", *cells));
    // The verdicts that keep the percentiles of the SLO from being ranked.
    let excluded = model
        .cells_at(&block.cells)
        .flat_map(|cell| block.slo.0.iter().filter_map(|term| cell.number(Metric::of_term(term))?.excluded));
    let mut against: Vec<String> = excluded.map(|kind| kind.name().to_owned()).collect();
    against.sort_unstable();
    against.dedup();
    let summaries = model.cells_at(&block.cells).filter_map(|cell| cell.file.summary.as_ref());
    let samples = summaries.map(|summary| summary.counts.completed as usize).min();
    let facts = Facts::new()
        .word("reason", pick.reason)
        .word("met", ranking.met)
        .word("trust", ranking.trust)
        .count("compared", ranking.compared)
        .count("meeting", ranking.meeting)
        .list("targets", targets(&block.slo.0))
        .list("left_out", left_out)
        .names("against", against)
        .metric("brings", block.brings)
        .when(block.load_axis, |facts, axis| facts.name("axis", model.axes[axis].label()))
        .count("samples", samples)
        .part("beyond", ranking.of_limit.map(|part| part - 1.0));
    Some(Finding::of_block(Kind::Basis, model, at, [pick.cell]).with(facts))
}

/// Why a workload has no recommended cell: the outcomes of its cells, and the verdicts that exclude those
/// with numbers.
fn without_answer(model: &Model<'_>, workload: usize) -> Option<Finding> {
    if model.best(workload).is_some() {
        return None;
    }
    let own = &model.workloads[workload];
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut verdicts: BTreeMap<&str, usize> = BTreeMap::new();
    for cell in model.cells_at(&own.cells) {
        match cell.excluded().filter(|_| cell.has_numbers()) {
            Some(kind) => *verdicts.entry(kind.name()).or_insert(0) += 1,
            None => *outcomes.entry(cell.file.outcome.name()).or_insert(0) += 1,
        }
    }
    let list = |counts: BTreeMap<&'static str, usize>, name: &'static str| {
        counts.into_iter().map(move |(key, cells)| Facts::new().name(name, key).count("cells", cells))
    };
    let facts = Facts::new()
        .name("machine", model.machine())
        .flag("predicted", own.origin == Some(Origin::Predicted) || model.run.run.predicted.is_some())
        .list("outcomes", list(outcomes, "outcome"))
        .list("verdicts", list(verdicts, "verdict"));
    Some(Finding::of_workload(Kind::NoAnswer, workload, own.cells.iter().copied()).with(facts))
}
