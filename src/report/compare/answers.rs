//! Compares the answers of searches: between a and b against between c and d.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use super::comparable::{self, Difference, placed};
use crate::{
    manifest::{Find, scalar_text},
    plan::Goal,
    report::{
        model::{Cell, Model, slo_text},
        searches::Scale,
    },
    search::{Answer, Probe, State},
};

/// The answers of a search that both runs have.
#[derive(Clone, Debug, Serialize)]
pub struct AnswerPair {
    /// The name of the search.
    pub name: String,
    /// The combination of the other axes: `max_tokens 64`; empty if there are none.
    pub place: String,
    /// What is searched: `concurrency`, `rate`, a flag of the server, or the objective of the best server.
    pub axis: String,
    /// The answer of the run.
    pub run: Found,
    /// The answer of the anchor.
    pub anchor: Found,
    /// The least and the most relative change that the two answers allow: 0.1 is 10 % more than in the anchor.
    /// An end is absent where an answer is open: all of a range works, or none.
    pub change: (Option<f64>, Option<f64>),
    /// The ratio of the middles of both answers; absent without an answer on a side.
    pub ratio: Option<f64>,
    /// The conclusion.
    pub judgement: AnswerJudgement,
    /// What the two searches do not share, if they are not comparable.
    pub differs: Vec<Difference>,
}

/// One side of a comparison of answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    /// How the search ended, as in `searches.csv`.
    pub state: &'static str,
    /// The limit is at least this; absent if it is below the range, or not known.
    pub low: Option<f64>,
    /// The limit is less than this; absent if it is above the range, or not known.
    pub high: Option<f64>,
    /// The same ends as text.
    pub text: (Option<String>, Option<String>),
    /// Where the numbers come from: `measured`, `simulated`, `predicted`.
    pub origin: &'static str,
}

/// The conclusion from two answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerJudgement {
    /// Better than the anchor: the two intervals do not overlap.
    Better,
    /// Worse: the two intervals do not overlap.
    Worse,
    /// The intervals overlap.
    NotToldApart,
    /// A side has no interval: its search is not finished or cannot tell, or the answer is a single number.
    Untold,
    /// The searches ask for different things.
    NotComparable,
}

impl AnswerPair {
    /// Whether a larger answer is better.
    fn more_is_better(goal: &Goal) -> bool {
        !matches!(goal, Goal::Value { find: Find::Smallest, .. })
    }
}

/// Joins searches: the name, and the values on the other axes.
type Key = (String, BTreeMap<String, String>);

fn key(answer: &Answer) -> Key {
    let axes = answer.search.axes.iter().map(|(name, value)| (name.clone(), scalar_text(value)));
    (answer.search.name.clone(), axes.collect())
}

/// The answers that both runs have, in the order of the run's plan, and the differences of their servers and
/// workloads.
pub(super) fn pairs(
    run: &Model<'_>,
    anchor: &Model<'_>,
    joined: &BTreeSet<String>,
) -> (Vec<AnswerPair>, BTreeSet<Difference>) {
    let mut differences = BTreeSet::new();
    let pairs = run.answers.iter().filter_map(|mine| {
        let its = anchor.answers.iter().find(|its| key(its) == key(mine))?;
        differences.extend(of_probes((run, mine), (anchor, its), joined));
        Some(pair((run, mine), (anchor, its)))
    });
    let pairs = pairs.collect();
    (pairs, differences)
}

/// The searches of which only one run has an answer, by name: those of the run, and those of the anchor.
pub(super) fn alone(run: &Model<'_>, anchor: &Model<'_>) -> (Vec<String>, Vec<String>) {
    let only = |own: &Model<'_>, other: &Model<'_>| {
        let missing = own.answers.iter().filter(|one| other.answers.iter().all(|its| key(its) != key(one)));
        let names: BTreeSet<String> = missing.map(|answer| answer.search.name.clone()).collect();
        names.into_iter().collect()
    };
    (only(run, anchor), only(anchor, run))
}

fn pair((run, mine): (&Model<'_>, &Answer), (anchor, its): (&Model<'_>, &Answer)) -> AnswerPair {
    let goal = &mine.search.goal;
    let (found, reference) = (found(run, mine), found(anchor, its));
    let differs = of_questions((run, mine), (anchor, its));
    let (change, ratio) = match differs.is_empty() {
        true => (change(&found, &reference), middle(&found).zip(middle(&reference)).map(|(a, b)| a / b)),
        false => ((None, None), None),
    };
    let labels = mine.search.axes.iter().map(|(name, value)| {
        let axis = run.axes.iter().find(|axis| axis.name == *name);
        format!("{} {}", axis.map_or(name.as_str(), |axis| axis.label()), scalar_text(value))
    });
    AnswerPair {
        name: mine.search.name.clone(),
        place: labels.collect::<Vec<_>>().join(", "),
        axis: axis(goal),
        judgement: match differs.is_empty() {
            true => judge(mine, (&found, &reference)),
            false => AnswerJudgement::NotComparable,
        },
        run: found,
        anchor: reference,
        change,
        ratio,
        differs,
    }
}

fn axis(goal: &Goal) -> String {
    match goal {
        Goal::Load { axis, .. } => axis.key().into(),
        Goal::Value { column, .. } => column.clone(),
        Goal::Best { objective, .. } => objective.name().into(),
    }
}

/// The interval in which the limit lies. Of the best server its objective, which has none.
fn found(model: &Model<'_>, answer: &Answer) -> Found {
    let scale = Scale::of(&answer.search.goal);
    let ends = (answer.feasible, answer.infeasible);
    let (low, high) = match (&answer.search.goal, answer.state) {
        (Goal::Best { .. }, _) => {
            let best = answer.candidates.iter().find(|own| Some(&own.values) == answer.found.as_ref());
            let objective = best.and_then(|best| best.objective);
            (objective, objective)
        }
        (_, State::CannotTell | State::Unfinished) => (None, None),
        (Goal::Value { find: Find::Smallest, .. }, _) => (ends.1, ends.0),
        _ => ends,
    };
    let cell = answer.probes.iter().find_map(|probe| cell_of(model, probe));
    Found {
        state: answer.state.name(),
        low,
        high,
        text: (low.map(|low| scale.text(low)), high.map(|high| scale.text(high))),
        origin: cell.map_or("measured", |cell| cell.origin.word()),
    }
}

/// The middle of an interval, on a logarithmic scale; of an open one its end.
fn middle(found: &Found) -> Option<f64> {
    match (found.low, found.high) {
        (Some(low), Some(high)) if low > 0.0 => Some((low * high).sqrt()),
        (Some(low), Some(high)) => Some((low + high) / 2.0),
        (one, other) => one.or(other),
    }
}

/// The least and the most relative change.
fn change(run: &Found, anchor: &Found) -> (Option<f64>, Option<f64>) {
    let ratio = |one: Option<f64>, other: Option<f64>| {
        one.zip(other.filter(|other| *other > 0.0)).map(|(one, other)| one / other - 1.0)
    };
    (ratio(run.low, anchor.high), ratio(run.high, anchor.low))
}

fn judge(answer: &Answer, (run, anchor): (&Found, &Found)) -> AnswerJudgement {
    let is_known = |found: &Found| found.low.is_some() || found.high.is_some();
    if matches!(answer.search.goal, Goal::Best { .. }) || !is_known(run) || !is_known(anchor) {
        return AnswerJudgement::Untold;
    }
    // An interval without an end goes on for ever. The limit is at least the low end and less than the high one.
    let above = |one: &Found, other: &Found| one.low.zip(other.high).is_some_and(|(low, high)| low >= high);
    match (above(run, anchor), above(anchor, run)) {
        (false, false) => AnswerJudgement::NotToldApart,
        (more, _) if more == AnswerPair::more_is_better(&answer.search.goal) => AnswerJudgement::Better,
        _ => AnswerJudgement::Worse,
    }
}

fn cell_of<'m, 'a>(model: &'m Model<'a>, probe: &Probe) -> Option<&'m Cell<'a>> {
    let first = probe.cells.first()?;
    model.cells.iter().find(|cell| cell.id() == first)
}

/// What two searches do not ask in the same way: axis, range, goal and SLO. How narrow an answer has to be may
/// differ.
fn of_questions((run, mine): (&Model<'_>, &Answer), (anchor, its): (&Model<'_>, &Answer)) -> Vec<Difference> {
    let slo = |model: &Model<'_>, answer: &Answer| {
        let probes = answer.probes.iter().flat_map(|probe| &probe.cells);
        let cells = probes.filter_map(|id| model.cells.iter().find(|cell| cell.id() == id));
        let each: BTreeSet<(&str, String)> =
            cells.map(|cell| (cell.file.workload.as_str(), slo_text(&cell.file.slo))).collect();
        each.into_iter().map(|(_, slo)| slo).filter(|slo| !slo.is_empty()).collect::<Vec<_>>().join("; ")
    };
    let mut questions = question(&mine.search.goal);
    let other: BTreeMap<&str, Value> = question(&its.search.goal).into_iter().collect();
    questions.push(("SLO", json!(slo(run, mine))));
    let other_slo = json!(slo(anchor, its));
    let differs = questions.into_iter().filter_map(|(key, value)| {
        let reference = if key == "SLO" { Some(&other_slo) } else { other.get(key) };
        // Without a probe the SLO is not known.
        let is_known = key != "SLO" || !mine.probes.is_empty() && !its.probes.is_empty();
        (is_known && reference != Some(&value)).then(|| Difference {
            key: key.to_owned(),
            run: scalar_text(&value),
            anchor: reference.map_or_else(|| "unset".to_owned(), scalar_text),
        })
    });
    differs.collect()
}

/// What a search asks for, by the words of a sentence.
fn question(goal: &Goal) -> Vec<(&'static str, Value)> {
    let range = |from: &f64, to: &f64| {
        let scale = Scale::of(goal);
        json!(format!("{} to {}", scale.text(*from), scale.text(*to)))
    };
    match goal {
        Goal::Load { axis, from, to, .. } => vec![("axis", json!(axis.key())), ("range", range(from, to))],
        Goal::Value { axis, find, that, from, to, step, .. } => vec![
            ("axis", json!(axis)),
            ("goal", json!(format!("{} {}", find.name(), that.name()))),
            ("range", range(from, to)),
            ("step", json!(step)),
        ],
        Goal::Best { axes, objective, .. } => {
            let axis = axes.iter().map(|axis| {
                let values: Vec<String> = axis.values.iter().map(scalar_text).collect();
                format!("{} {}", axis.column, values.join("/"))
            });
            vec![("axes", json!(axis.collect::<Vec<_>>().join(", "))), ("goal", json!(objective.name()))]
        }
    }
}

/// The differences between the first probes of two searches, except for what is searched.
fn of_probes(
    (run, mine): (&Model<'_>, &Answer),
    (anchor, its): (&Model<'_>, &Answer),
    joined: &BTreeSet<String>,
) -> BTreeSet<Difference> {
    let first = |model: &Model<'_>, answer: &Answer| {
        answer.probes.iter().find_map(|probe| cell_of(model, probe)).map(|cell| cell.index)
    };
    let Some((one, other)) = first(run, mine).zip(first(anchor, its)) else { return BTreeSet::new() };
    let (one, other) = (placed(run, &run.cells[one]), placed(anchor, &anchor.cells[other]));
    let Some((one, other)) = one.zip(other) else { return BTreeSet::new() };
    let searched: Vec<String> = match &mine.search.goal {
        Goal::Load { axis, .. } => vec![axis.key().to_owned()],
        Goal::Value { column, .. } => vec![column.clone()],
        Goal::Best { axes, .. } => axes.iter().map(|axis| axis.column.clone()).collect(),
    };
    let joined: BTreeSet<String> = joined.iter().cloned().chain(searched.iter().cloned()).collect();
    let mut found = comparable::of_cells(one, other, &joined);
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    found.retain(|difference| !searched.contains(&last(&difference.key)));
    found
}
