//! The facts of an answer, which the macros of `templates/searches.j2` turn into sentences.

use std::collections::BTreeSet;

use serde_json::Value;

use super::number::{Scale, decimals};
use crate::{
    manifest::{LoadAxis, SearchObjective, SloTerm, scalar_text},
    measure::{Metric, Rate},
    plan::{Goal, TuneAxis},
    report::{
        finding::{Facts, Unit},
        model::{Cell, Model, Origin},
        number::grouped,
    },
    search::{Answer, Candidate, Ending, Evidence, Probe, Ratio, State},
};

/// Why a value does not work, or which target limits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Limit {
    /// A latency target, and the workload that has it if several may.
    Target(Metric, Option<String>),
    /// Too many requests failed.
    Errors,
    /// Out of memory at the start of the server, and the step of the start if it is known.
    MemoryAtStart(Option<String>),
    /// Out of memory under load.
    MemoryUnderLoad,
    /// The KV cache cannot hold one request.
    TooSmall,
    /// The server ended in another way under load: `crashed`.
    Ended(String),
    /// Anything else, as it was written.
    Other(String),
}

impl Limit {
    /// Reads what a search names as its limit: an SLO term, or an outcome and where it ended.
    pub(crate) fn of(binding: &str) -> Self {
        let text = binding.to_lowercase();
        let (term, workload) = match binding.split_once(" of ") {
            Some((term, workload)) => (term, Some(workload.to_owned())),
            None => (binding, None),
        };
        if let Some(metric) = Metric::parse(&format!("{term}_ms")) {
            Self::Target(metric, workload)
        } else if term == "errors" {
            Self::Errors
        } else if text == "oom under load" {
            Self::MemoryUnderLoad
        } else if text.starts_with("oom") {
            let step = text.split_once('(').map(|(_, step)| step.trim_end_matches(')').replace('_', " "));
            Self::MemoryAtStart(step)
        } else if text == "does_not_fit" {
            Self::TooSmall
        } else if let Some(how) = text.strip_suffix(" under load") {
            Self::Ended(how.to_owned())
        } else {
            Self::Other(binding.to_owned())
        }
    }

    /// The name in templates.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Target(..) => "target",
            Self::Errors => "errors",
            Self::MemoryAtStart(_) => "memory_at_start",
            Self::MemoryUnderLoad => "memory_under_load",
            Self::TooSmall => "too_small",
            Self::Ended(_) => "ended",
            Self::Other(_) => "other",
        }
    }

    /// The limit as evidence.
    pub(crate) fn facts(&self) -> Facts {
        let facts = Facts::new().name("limit", self.name());
        match self {
            Self::Target(metric, workload) => facts
                .metric("metric", *metric)
                .when(workload.as_ref(), |facts, workload| facts.name("of_workload", workload)),
            Self::Ended(how) => facts.name("how", how),
            Self::MemoryAtStart(Some(step)) => facts.name("step", step),
            Self::Other(text) => facts.name("text", text),
            Self::Errors | Self::MemoryAtStart(None) | Self::MemoryUnderLoad | Self::TooSmall => facts,
        }
    }
}

/// The first value of a probe as a number.
pub(super) fn value_of(probe: &Probe) -> Option<f64> {
    probe.values.first()?.as_f64()
}

/// The last valid probe of a value on the axis.
fn probe_at(answer: &Answer, value: f64) -> Option<&Probe> {
    let is_own = |probe: &&Probe| {
        value_of(probe).is_some_and(|own| (own - value).abs() <= 1e-9 * value.abs())
            && !matches!(probe.evidence, Evidence::Invalid(_))
    };
    answer.probes.iter().rfind(is_own)
}

fn cell_of<'m, 'a>(model: &'m Model<'a>, probe: &Probe) -> Option<&'m Cell<'a>> {
    let first = probe.cells.first()?;
    model.cells.iter().find(|cell| cell.id() == first)
}

/// The facts of an answer. `place` names the combination of the other axes where there are several.
pub(crate) fn facts(model: &Model<'_>, answer: &Answer, place: &str) -> Facts {
    let search = &answer.search;
    let origin = answer.probes.iter().find_map(|probe| cell_of(model, probe)).map(|cell| cell.origin);
    let facts = Facts::new()
        .name("name", &search.name)
        .name("state", answer.state.name())
        .name("origin", origin.unwrap_or(Origin::Measured).word())
        .name("place", place)
        .name("reason", answer.reason.trim().trim_end_matches('.'))
        .when(search.workload.as_ref(), |facts, workload| facts.name("workload", workload));
    let facts = match &search.goal {
        Goal::Load { axis, from, to, within, confidence } => {
            let facts = facts
                .name("kind", "load")
                .name("axis", axis.key())
                .name("within", percent(*within))
                .name("confidence", percent(*confidence));
            of_load(model, answer, *axis, (*from, *to), facts)
        }
        Goal::Value { column, find, that, from, to, step, .. } => {
            let scale = Scale::of(&search.goal);
            let facts = facts
                .name("kind", "value")
                .name("axis", column)
                .word("find", find)
                .word("that", that)
                .name("step", scale.text(*step));
            of_value(answer, (*from, *to), scale, facts)
        }
        Goal::Best { axes, objective, starts } => {
            let facts =
                facts.name("kind", "best").word("objective", objective).count("most", *starts as usize);
            of_best(answer, axes, *objective, facts)
        }
    };
    expected(answer, effort(&[answer], facts))
}

/// A part of a whole as it was set: `5 %`, `99.9 %`.
fn percent(part: f64) -> String {
    let hundred = part * 100.0;
    format!("{} %", grouped(hundred, decimals(hundred).min(3)))
}

/// Adds a value on the axis as text, if there is one.
fn put(facts: Facts, name: &'static str, value: Option<f64>, scale: Scale) -> Facts {
    facts.when(value, |facts, value| facts.name(name, scale.text(value)))
}

fn of_load(
    model: &Model<'_>,
    answer: &Answer,
    axis: LoadAxis,
    (from, to): (f64, f64),
    facts: Facts,
) -> Facts {
    let scale = Scale::of(&answer.search.goal);
    let facts =
        [("from", Some(from)), ("to", Some(to)), ("low", answer.feasible), ("high", answer.infeasible)]
            .into_iter()
            .fold(facts, |facts, (name, value)| put(facts, name, value, scale));
    let ending = answer.ending.map(|ending| match ending {
        Ending::Cliff => "cliff",
        Ending::Slope => "slope",
    });
    // The probe that shows how close the nearest target is: at the end of the range, or where it begins.
    let telling = match answer.state {
        State::All => answer.feasible.and_then(|value| probe_at(answer, value)),
        State::None => answer.infeasible.and_then(|value| probe_at(answer, value)),
        _ => None,
    };
    facts
        .when(answer.binding.as_deref(), |facts, binding| facts.facts("binding", Limit::of(binding).facts()))
        .when(ending, |facts, ending| facts.name("ending", ending))
        .when(answer.monotone, |facts, monotone| facts.flag("monotone", monotone))
        .facts("nearest", telling.and_then(|probe| nearest(model, probe, scale)))
        .facts("at", at(model, answer, axis))
}

/// The SLO term that a probe is closest to, or farthest beyond, with its value and its target.
fn nearest(model: &Model<'_>, probe: &Probe, scale: Scale) -> Option<Facts> {
    let Evidence::Measured(Ratio { log, binding, .. }) = &probe.evidence else { return None };
    let cell = cell_of(model, probe)?;
    let facts = Facts::new().name("load", scale.text(value_of(probe)?)).part("of_limit", log.exp());
    let limit = Limit::of(binding);
    let facts = facts.facts("binding", limit.facts());
    let Limit::Target(metric, _) = limit else { return Some(facts) };
    let term = cell.file.slo.0.iter().find(|term| Metric::of_term(term) == metric)?;
    let value = cell.shown(metric).unwrap_or(term.limit.as_ms() * log.exp());
    Some(facts.measure("value", metric, value, model.digits(&[cell.index])).exact(
        "target",
        metric,
        term.limit.as_ms(),
    ))
}

/// What the server does under the most load that meets the SLO: its throughput and the latencies of the
/// targets. `None` where that probe ended early, because its numbers are biased.
fn at(model: &Model<'_>, answer: &Answer, axis: LoadAxis) -> Option<Facts> {
    let probe = probe_at(answer, answer.feasible?).filter(|probe| !probe.ended_early)?;
    let cell = cell_of(model, probe).filter(|cell| cell.is_usable())?;
    let digits = model.digits(&[cell.index]);
    let latency = |term: &SloTerm| {
        let metric = Metric::of_term(term);
        // The search judged by it, however many samples it has.
        Some(Facts::new().metric("metric", metric).measure("value", metric, cell.shown(metric)?, digits))
    };
    let latencies: Vec<Facts> = cell.file.slo.0.iter().filter_map(latency).collect();
    let rate = cell.ranked(Metric::OUTPUT);
    if rate.is_none() && latencies.is_empty() {
        return None;
    }
    let requests = cell.ranked(Metric::Rate(Rate::Requests)).filter(|_| axis == LoadAxis::Concurrency);
    Some(
        Facts::new()
            .measure("throughput", Metric::OUTPUT, rate, digits)
            .measure("req_s", Metric::Rate(Rate::Requests), requests, digits)
            .list("latencies", latencies),
    )
}

fn of_value(answer: &Answer, (from, to): (f64, f64), scale: Scale, facts: Facts) -> Facts {
    let (works, fails) = (answer.feasible, answer.infeasible);
    let ends = works.zip(fails);
    let values = [
        ("from", Some(from)),
        ("to", Some(to)),
        ("works", works),
        ("fails", fails),
        ("low", ends.map(|(one, other)| one.min(other))),
        ("high", ends.map(|(one, other)| one.max(other))),
    ];
    let facts = values.into_iter().fold(facts, |facts, (name, value)| put(facts, name, value, scale));
    let own = answer.infeasible.and_then(|value| probe_at(answer, value));
    let why = own.and_then(|probe| match &probe.evidence {
        Evidence::Fails { binding, .. } => Some(binding.as_str()),
        Evidence::Measured(ratio) => Some(ratio.binding.as_str()),
        Evidence::Scored(_) | Evidence::Works | Evidence::Invalid(_) => None,
    });
    let why = why.or(answer.binding.as_deref());
    let hint = answer.probes.iter().find_map(|probe| match probe.evidence {
        Evidence::Fails { hint, .. } => hint,
        _ => None,
    });
    put(facts, "hint", hint, scale).facts("why", why.map(|why| Limit::of(why).facts()))
}

/// The values of a combination: axis and value.
pub(super) fn combination(axes: &[TuneAxis], values: &[Value]) -> Vec<Facts> {
    let pairs = axes.iter().zip(values);
    pairs
        .map(|(axis, value)| Facts::new().name("axis", &axis.column).name("value", scalar_text(value)))
        .collect()
}

/// The objective of a candidate with its unit.
pub(super) fn objective(candidate: &Candidate, objective: SearchObjective, facts: Facts) -> Facts {
    let unit = match objective {
        SearchObjective::Throughput => Unit::TokS,
        SearchObjective::Goodput => Unit::ReqS,
        SearchObjective::MostUsers => Unit::Plain,
    };
    facts.number("value", candidate.objective, unit, 3)
}

fn of_best(answer: &Answer, axes: &[TuneAxis], goal: SearchObjective, facts: Facts) -> Facts {
    let found = answer.found.as_ref();
    let best = answer.candidates.iter().find(|own| Some(&own.values) == found);
    let with = answer.candidates.iter().filter(|own| own.objective.is_some()).count();
    facts
        .count("tried", answer.candidates.len())
        .count("with_numbers", with)
        .count("front", answer.candidates.iter().filter(|own| own.is_pareto).count())
        .list("found", found.map(|values| combination(axes, values)).unwrap_or_default())
        .when(best, |facts, best| {
            objective(best, goal, facts)
                .number("p95_ttft", best.p95_ttft_ms, Unit::Ms, 3)
                .number("throughput", best.throughput_tok_s, Unit::TokS, 3)
                .flag("meets_slo", best.meets_slo)
        })
}

/// Adds what some searches took together: probes, starts, requests, and what was wasted and saved.
pub(super) fn effort(answers: &[&Answer], facts: Facts) -> Facts {
    let probes = || answers.iter().flat_map(|answer| &answer.probes);
    let mut invalid: Vec<&str> = probes()
        .filter_map(|probe| match &probe.evidence {
            // The name of a verdict, or the whole reason.
            Evidence::Invalid(why) => Some(why.split_once(": ").map_or(why.as_str(), |(name, _)| name)),
            _ => None,
        })
        .collect();
    let count = invalid.len();
    invalid.sort_unstable();
    invalid.dedup();
    let early: Vec<&Probe> = probes().filter(|probe| probe.ended_early).collect();
    let saved: u64 = early.iter().map(|probe| probe.planned.saturating_sub(probe.requests)).sum();
    let sum = |of: fn(&Answer) -> u64| answers.iter().map(|answer| of(answer)).sum::<u64>() as usize;
    // Searches over the load may share a server.
    let shared: BTreeSet<&str> = answers.iter().filter_map(|own| own.search.server.as_deref()).collect();
    let own: usize =
        answers.iter().filter(|own| own.search.server.is_none()).map(|own| own.starts as usize).sum();
    let shared = shared.iter().filter(|id| probes().any(|probe| probe.server == **id)).count();
    facts
        .count("probes", probes().count())
        .count("starts", own + shared)
        .count("requests", sum(|answer| answer.requests))
        .count("wasted", sum(|answer| answer.wasted))
        .count("invalid", count)
        .names("invalid_for", invalid.into_iter().map(|why| why.trim_end_matches('.').to_owned()))
        .count("early", early.len())
        .count("saved", saved as usize)
}

/// Adds the predicted answer with its interval, and where the answer lies from it.
fn expected(answer: &Answer, facts: Facts) -> Facts {
    let scale = Scale::of(&answer.search.goal);
    facts.when(answer.search.expected.or(answer.expected), |facts, own| {
        let (low, high) = (answer.feasible, answer.infeasible);
        let ends = || low.into_iter().chain(high);
        let least = ends().fold(f64::INFINITY, f64::min);
        let most = ends().fold(f64::NEG_INFINITY, f64::max);
        let side = match answer.state {
            State::CannotTell | State::Unfinished => "unknown",
            _ if ends().next().is_none() => "unknown",
            // The limit is beyond the end of the range.
            State::All if own.high < most => "above",
            State::All => "inside",
            State::None if own.low > least => "below",
            State::None => "inside",
            _ if least > own.high => "above",
            _ if most < own.low => "below",
            _ => "inside",
        };
        let predicted = [("value", own.value), ("low", own.low), ("high", own.high)]
            .into_iter()
            .fold(Facts::new(), |facts, (name, value)| put(facts, name, Some(value), scale));
        facts.facts("expected", predicted.name("side", side))
    })
}
