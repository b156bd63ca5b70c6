//! The recommended operating point of each workload, what that choice rests on, or why there is none.

use std::collections::BTreeMap;

use super::{Facts, Finding, Kind, Rule, Unit, middle, place, tail};
use crate::{
    manifest::{LatencyKind, Objective, SloTerm},
    measure::{Metric, Rate},
    report::model::{Cell, Met, Model, Origin, Ranking, Streaming, Trust},
};

pub(super) const RULES: &[Rule] = &[answers, bases, without_answers];

/// A list of the targets: metric and limit.
fn targets(slo: &[SloTerm]) -> Vec<Facts> {
    slo.iter()
        .map(|term| {
            let metric = Metric::of_term(term);
            Facts::new().metric("metric", metric).exact("target", metric, term.limit.as_ms())
        })
        .collect()
}

/// The latencies of a cell that say most of it: the tail of TTFT and of E2E where it may be ranked, else the middle. What
/// came whole has no TTFT of its own.
fn latencies(cell: &Cell<'_>) -> Vec<(Metric, f64)> {
    [LatencyKind::Ttft, LatencyKind::E2e]
        .into_iter()
        .filter(|kind| *kind == LatencyKind::E2e || cell.streaming == Streaming::Streamed)
        .filter_map(|kind| cell.first_ranked(&[tail(kind), middle(kind)].concat()))
        .collect()
}

fn met(ranking: &Ranking) -> &'static str {
    match ranking.met {
        Met::NoSlo => "no_slo",
        Met::Yes => "yes",
        Met::ByStandIn => "stand_in",
        Met::Contradicted => "contradicted",
        Met::No => "no",
    }
}

fn trust(ranking: &Ranking) -> &'static str {
    match ranking.trust {
        Trust::Full => "full",
        Trust::Medians => "medians",
        Trust::AsTold => "as_told",
    }
}

/// Dollars for a million output tokens.
pub(in crate::report) fn usd_per_million(model: &Model<'_>, cell: &Cell<'_>) -> Option<f64> {
    let rate = cell.ranked(Metric::OUTPUT).filter(|rate| *rate > 0.0)?;
    Some(model.usd_per_hour()? / (rate * 3600.0) * 1e6)
}

/// One sentence for each workload that has a recommended cell.
fn answers(model: &Model<'_>) -> Vec<Finding> {
    let answer = |workload: usize| {
        let block = model.best(workload)?;
        let ranking = model.ranking(block);
        let pick = *ranking.picks.first()?;
        let own = &model.blocks[block];
        let cell = &model.cells[pick.cell];
        let digits = model.digits(&[cell.index]);
        let latency = |(metric, ms): (Metric, f64)| {
            Facts::new().metric("metric", metric).measure("value", metric, ms, digits)
        };
        let mut facts = Facts::new()
            .name("machine", model.machine())
            .name("origin", cell.origin.word())
            .name(
                "objective",
                match own.objective {
                    Objective::Latency => "latency",
                    Objective::Throughput => "throughput",
                },
            )
            .name("met", met(ranking))
            .name("trust", trust(ranking))
            .name("reason", pick.reason.name())
            .place("place", place(model, cell))
            .flag("conversations", own.has_turns)
            .list("targets", targets(&own.slo.0))
            .list("latencies", latencies(cell).into_iter().map(latency));
        if let Some(load) = cell.load.reached {
            facts = facts
                .plain("load", load)
                .name("quantity", if cell.load.is_open { "rate" } else { "concurrency" });
        }
        if let Some(to) = cell.load.ramp_to {
            facts = facts.plain("ramp_to", to);
        }
        if let Some((brings, rate)) = own.brings.and_then(|brings| Some((brings, cell.ranked(brings)?))) {
            facts = facts.metric("brings", brings).measure("throughput", brings, rate, digits);
        }
        if let Some(speed) = cell.ranked(Metric::Rate(Rate::User)) {
            facts = facts.measure("user_tok_s", Metric::Rate(Rate::User), speed, digits);
        }
        if let Some(usd) = usd_per_million(model, cell) {
            facts = facts.number("usd_per_million_output_tokens", usd, Unit::Usd, 3);
        }
        if let Some(part) = ranking.of_limit {
            facts = facts.times("of_limit", part, digits).part("beyond", part - 1.0);
        }
        Some(Finding::of_block(Kind::Answer, model, block, [cell.index]).with(facts))
    };
    (0..model.workloads.len()).filter_map(answer).collect()
}

/// What each block's recommendation rests on.
fn bases(model: &Model<'_>) -> Vec<Finding> {
    let basis = |block: usize| {
        let ranking = model.ranking(block);
        let pick = ranking.picks.first()?;
        let own = &model.blocks[block];
        let left_out = ranking
            .left_out
            .iter()
            .map(|(kind, cells)| Facts::new().name("verdict", kind.name()).count("cells", *cells));
        // Which verdicts keep the percentiles of the SLO from being ranked.
        let mut against: Vec<&str> = own
            .cells
            .iter()
            .flat_map(|at| {
                own.slo.0.iter().filter_map(|term| model.cells[*at].number(Metric::of_term(term))?.excluded)
            })
            .map(|kind| kind.name())
            .collect();
        against.sort_unstable();
        against.dedup();
        let samples = own.cells.iter().filter_map(|at| {
            let cell = &model.cells[*at];
            cell.file.summary.as_ref().map(|summary| summary.counts.completed)
        });
        let mut facts = Facts::new()
            .name("reason", pick.reason.name())
            .name("met", met(ranking))
            .name("trust", trust(ranking))
            .count("compared", ranking.compared)
            .count("meeting", ranking.meeting)
            .list("targets", targets(&own.slo.0))
            .list("left_out", left_out)
            .names("against", against.into_iter().map(str::to_owned));
        if let Some(brings) = own.brings {
            facts = facts.metric("brings", brings);
        }
        if let Some(axis) = own.load_axis {
            facts = facts.name("axis", model.axes[axis].label());
        }
        if let Some(least) = samples.min() {
            facts = facts.count("samples", least as usize);
        }
        if let Some(part) = ranking.of_limit {
            facts = facts.part("beyond", part - 1.0);
        }
        Some(Finding::of_block(Kind::Basis, model, block, [pick.cell]).with(facts))
    };
    (0..model.blocks.len()).filter_map(basis).collect()
}

/// Workloads without a recommended cell: how their cells ended, and which verdicts speak against those with numbers.
fn without_answers(model: &Model<'_>) -> Vec<Finding> {
    let none = |workload: usize| {
        if model.best(workload).is_some() {
            return None;
        }
        let own = &model.workloads[workload];
        let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
        let mut verdicts: BTreeMap<&str, usize> = BTreeMap::new();
        for cell in own.cells.iter().map(|at| &model.cells[*at]) {
            match cell.excluded().filter(|_| cell.has_numbers()) {
                Some(kind) => *verdicts.entry(kind.name()).or_insert(0) += 1,
                None => *outcomes.entry(cell.file.outcome.name()).or_insert(0) += 1,
            }
        }
        let list = |counts: BTreeMap<&'static str, usize>, name: &'static str| -> Vec<Facts> {
            counts
                .into_iter()
                .map(|(key, cells)| Facts::new().name(name, key).count("cells", cells))
                .collect()
        };
        let facts = Facts::new()
            .name("machine", model.machine())
            .flag("predicted", own.origin == Some(Origin::Predicted) || model.run.run.predicted.is_some())
            .list("outcomes", list(outcomes, "outcome"))
            .list("verdicts", list(verdicts, "verdict"));
        Some(Finding::of_workload(Kind::NoAnswer, workload, own.cells.iter().copied()).with(facts))
    };
    (0..model.workloads.len()).filter_map(none).collect()
}
