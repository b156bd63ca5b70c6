//! Answers as values of templates, with their sentences.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{
    facts::{combination, effort, facts, objective},
    group::{Group, groups},
};
use crate::{
    diagnostic::Findings,
    manifest::{SearchObjective, scalar_text},
    plan::{Goal, TuneAxis},
    report::{
        finding::{Facts, Macros, Words},
        model::Model,
        number::{latency, tok_s},
    },
    search::{Answer, Candidate, Ending, Evidence, Probe, Ratio, State},
};

/// The most rows of a table of answers, and of one of servers.
const ROWS: usize = 12;

/// The most searches among several that have no narrow answer and say why.
const OPEN: usize = 3;

/// Everything that notes say of the searches of a run.
#[derive(Default)]
pub(crate) struct Said {
    /// One value for each name.
    pub(crate) searches: Vec<Value>,
}

/// Returns the answers of a run with their sentences, by name.
///
/// # Errors
/// If a macro is missing or fails.
pub(crate) fn said(model: &Model<'_>, words: &Words) -> Result<Said, Findings> {
    if model.answers.is_empty() {
        return Ok(Said::default());
    }
    let mut macros = words.open()?;
    let each = groups(model).into_iter();
    let searches: Result<Vec<Value>, Findings> =
        each.map(|group| of_group(model, &group, &mut macros)).collect();
    Ok(Said { searches: searches? })
}

/// The searches of one name: a single one as sentences, several as a table.
fn of_group(model: &Model<'_>, group: &Group<'_>, macros: &mut Macros<'_>) -> Result<Value, Findings> {
    let mut answers = Vec::new();
    let mut rows = Vec::new();
    let mut open = Vec::new();
    for (at, answer) in group.answers.iter().enumerate() {
        let facts = facts(model, answer, &group.place(at));
        rows.push(row(&group.rows[at], &facts, macros)?);
        open.extend(each(macros, &["search_open"], &facts)?);
        answers.push(of_answer(answer, &facts, macros)?);
    }
    let first = group.answers[0];
    let several = group.answers.len() > 1;
    let shared = facts(model, first, "");
    open.truncate(OPEN);
    let (text, notes) = match several {
        true => (say(macros, "search_several", &shared)?, [open, together(group, macros)?].concat()),
        false => (answers[0]["text"].as_str().unwrap_or_default().to_owned(), of_one(&shared, macros)?),
    };
    let all = rows.len();
    rows.truncate(ROWS);
    Ok(json!({
        "name": first.search.name,
        "kind": kind(&first.search.goal),
        "workload": first.search.workload,
        // The searches of the candidates for the best server.
        "is_part": is_part(model, group),
        "several": several,
        "text": text,
        "notes": notes,
        "columns": group.columns,
        "column": say(macros, "search_column", &shared)?,
        "rows": rows,
        "left_out": all - rows.len(),
        "servers": if several { Value::Null } else { servers(first) },
        "answers": answers,
    }))
}

/// Whether the searches belong to the candidates of a search for the best server, which says what they found.
fn is_part(model: &Model<'_>, group: &Group<'_>) -> bool {
    let best = model.answers.iter().filter(|answer| {
        matches!(answer.search.goal, Goal::Best { objective: SearchObjective::MostUsers, .. })
    });
    let servers: HashSet<&str> =
        best.flat_map(|answer| &answer.probes).map(|probe| probe.server.as_str()).collect();
    let of_candidate =
        |answer: &&Answer| answer.search.server.as_deref().is_some_and(|own| servers.contains(own));
    group.answers.iter().all(of_candidate)
}

fn kind(goal: &Goal) -> &'static str {
    match goal {
        Goal::Load { .. } => "load",
        Goal::Value { .. } => "value",
        Goal::Best { .. } => "best",
    }
}

fn say(macros: &mut Macros<'_>, name: &str, facts: &Facts) -> Result<String, Findings> {
    macros.call(name, facts.template_value())
}

/// Calls several macros; those without a text are left out.
fn each(macros: &mut Macros<'_>, names: &[&str], facts: &Facts) -> Result<Vec<String>, Findings> {
    let texts: Result<Vec<String>, Findings> = names.iter().map(|name| say(macros, name, facts)).collect();
    Ok(texts?.into_iter().filter(|text| !text.is_empty()).collect())
}

/// What stands below the answer of a single search.
fn of_one(facts: &Facts, macros: &mut Macros<'_>) -> Result<Vec<String>, Findings> {
    each(macros, &["search_at", "search_monotone", "search_expected", "search_effort"], facts)
}

/// What stands below a table of answers.
fn together(group: &Group<'_>, macros: &mut Macros<'_>) -> Result<Vec<String>, Findings> {
    let odd = (0..group.answers.len()).filter(|at| group.answers[*at].monotone == Some(false));
    let odd: Vec<String> = odd.map(|at| group.place(at)).collect();
    let facts = effort(&group.answers, Facts::new()).flag("monotone", odd.is_empty()).names("places", odd);
    each(macros, &["search_monotone", "search_effort"], &facts)
}

/// A row of the table of answers.
fn row(values: &[String], facts: &Facts, macros: &mut Macros<'_>) -> Result<Value, Findings> {
    let mut text = |name: &str| say(macros, name, facts);
    Ok(json!({
        "values": values,
        "answer": text("search_row_answer")?,
        "limit": text("search_row_limit")?,
        "predicted": text("search_row_predicted")?,
        "probes": facts.value("probes"),
    }))
}

/// One answer: its numbers as they are, and its sentences.
fn of_answer(answer: &Answer, facts: &Facts, macros: &mut Macros<'_>) -> Result<Value, Findings> {
    let search = &answer.search;
    let goal = match &search.goal {
        Goal::Load { axis, from, to, within, confidence } => {
            json!({ "axis": axis.key(), "from": from, "to": to, "within": within, "confidence": confidence })
        }
        Goal::Value { axis, column, find, that, from, to, step, .. } => json!({
            "axis": axis, "column": column, "find": find, "that": that, "from": from, "to": to, "step": step,
        }),
        Goal::Best { axes, objective, starts } => {
            json!({ "axes": axes, "objective": objective, "most_starts": starts })
        }
    };
    let candidates = match &search.goal {
        Goal::Best { axes, .. } => answer.candidates.iter().map(|own| candidate(axes, own)).collect(),
        _ => Vec::new(),
    };
    Ok(json!({
        "id": search.id,
        "workload": search.workload,
        "server": answer.server(),
        "axes": search.axes,
        "goal": goal,
        "state": answer.state.name(),
        "found": answer.found,
        "feasible": answer.feasible,
        "infeasible": answer.infeasible,
        "binding": answer.binding,
        "ending": answer.ending.map(|ending| match ending {
            Ending::Cliff => "cliff",
            Ending::Slope => "slope",
        }),
        "monotone": answer.monotone,
        "starts": answer.starts,
        "requests": answer.requests,
        "wasted": answer.wasted,
        "expected": search.expected.or(answer.expected),
        "is_done": answer.state != State::Unfinished,
        "probes": answer.probes.iter().map(probe).collect::<Vec<_>>(),
        "candidates": candidates,
        "evidence": facts.json(),
        "text": say(macros, "search_answer", facts)?,
        "notes": of_one(facts, macros)?,
    }))
}

fn probe(own: &Probe) -> Value {
    let side = |ratio: &Ratio| if ratio.log <= 0.0 { "meets" } else { "misses" };
    let (says, ratio, why) = match &own.evidence {
        Evidence::Measured(ratio) => (side(ratio), Some(ratio), Some(&ratio.binding)),
        Evidence::Scored(score) => {
            let ratio = score.slo.as_ref();
            (ratio.map_or("works", side), ratio, ratio.map(|ratio| &ratio.binding))
        }
        Evidence::Works => ("works", None, None),
        Evidence::Fails { binding, .. } => ("fails", None, Some(binding)),
        Evidence::Invalid(why) => ("invalid", None, Some(why)),
    };
    json!({
        "values": own.values,
        "says": says,
        "of_limit": ratio.map(|ratio| ratio.log.exp()),
        "log_error": ratio.map(|ratio| ratio.error),
        "why": why,
        "cells": own.cells,
        "requests": own.requests,
        "planned": own.planned,
        "started": own.started,
        "ended_early": own.ended_early,
    })
}

fn candidate(axes: &[TuneAxis], own: &Candidate) -> Value {
    let values: Map<String, Value> =
        axes.iter().zip(&own.values).map(|(axis, value)| (axis.column.clone(), value.clone())).collect();
    json!({
        "values": values,
        "objective": own.objective,
        "p95_ttft_ms": own.p95_ttft_ms,
        "throughput_tok_s": own.throughput_tok_s,
        "meets_slo": own.meets_slo,
        "is_pareto": own.is_pareto,
        "reason": own.reason,
    })
}

/// The table of servers of a search for the best one: the Pareto front first. `none` for other searches.
fn servers(answer: &Answer) -> Value {
    let Goal::Best { axes, objective: goal, .. } = &answer.search.goal else { return Value::Null };
    if answer.candidates.is_empty() {
        return Value::Null;
    }
    let of_objective = |own: &Candidate| {
        let facts = objective(own, *goal, Facts::new());
        facts.get("value").map_or(Value::Null, |_| Value::from(own.objective))
    };
    let row = |own: &Candidate| {
        json!({
            "values": own.values.iter().map(scalar_text).collect::<Vec<_>>(),
            "objective": of_objective(own),
            "throughput": tok_s(own.throughput_tok_s),
            "p95_ttft": own.p95_ttft_ms.map(|ms| latency(ms, 3)),
            "meets_slo": own.meets_slo,
            "is_pareto": own.is_pareto,
            "is_best": Some(&own.values) == answer.found.as_ref(),
            "reason": own.reason,
        })
    };
    let shown = answer.candidates.len().min(ROWS);
    json!({
        "axes": axes.iter().map(|axis| &axis.column).collect::<Vec<_>>(),
        "objective": goal,
        "has_own_objective": *goal != SearchObjective::Throughput,
        "rows": answer.candidates[..shown].iter().map(row).collect::<Vec<_>>(),
        "left_out": answer.candidates.len() - shown,
        "found": answer.found.as_ref().map(|values| {
            combination(axes, values).iter().map(Facts::json).collect::<Vec<_>>()
        }),
    })
}
