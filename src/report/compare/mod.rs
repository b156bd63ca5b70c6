//! Compares two runs cell by cell: what is better, worse, or not distinguishable.

mod answers;
mod column;
mod comparable;
mod crossover;
mod gate;
#[cfg(test)]
mod tests;
pub(super) mod view;

pub use answers::{AnswerJudgement, AnswerPair, Found};
pub use column::Column;
pub use comparable::Difference;
pub use gate::{Gate, GateError};

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use super::{
    model::{Cell, Model, Origin},
    statistics::Estimate,
};
use crate::{
    manifest::scalar_text,
    measure::{Metric, VerdictKind},
    store::StoredRun,
};

/// The largest relative difference of mean token counts that still counts as the same length.
const SAME_LENGTH: f64 = 0.02;

/// The comparison of a run with its anchor.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The names of both machines.
    pub machines: (String, String),
    /// Whether a side is simulated.
    pub simulated: bool,
    /// Whether a side is predicted.
    pub predicted: bool,
    /// Whether a side was measured by another tool.
    pub imported: bool,
    /// The differences other than the machine, allowed or not.
    pub differences: BTreeSet<Difference>,
    /// The cells with numbers in both runs, in the order of the run's plan.
    pub cells: Vec<Pair>,
    /// The number of cells with numbers that only the run has, and that only the anchor has. Probes of searches
    /// do not count: two searches rarely measure the same loads.
    pub alone: (usize, usize),
    /// The answers of searches that both runs have, in the order of the run's plan.
    pub answers: Vec<AnswerPair>,
    /// The names of searches that only the run has, and that only the anchor has.
    pub answers_alone: (Vec<String>, Vec<String>),
}

/// A cell that both runs have.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The workload.
    pub workload: String,
    /// The values that join the two cells: `concurrency 8, max_tokens 64`.
    pub label: String,
    /// Requests in flight, on the side that reached fewer, or per second; `None` if unknown.
    pub load: Option<f64>,
    /// The origins of the numbers of both sides: `measured`, `predicted`.
    pub origins: (&'static str, &'static str),
    /// The metrics that both have and that no verdict excludes.
    pub changes: Vec<Change>,
    /// The verdict that excludes all numbers of a side.
    pub left_out: Option<VerdictKind>,
    /// Verdicts that exclude some numbers.
    pub partly_left_out: BTreeSet<VerdictKind>,
}

impl Pair {
    /// Returns the change of a metric by its column name.
    pub fn change(&self, metric: &str) -> Option<&Change> {
        self.changes.iter().find(|change| change.column.name() == metric)
    }

    fn of(&self, column: Column) -> Option<&Change> {
        self.changes.iter().find(|change| change.column == column)
    }
}

/// One metric of both cells.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Change {
    /// The metric.
    #[serde(skip)]
    pub column: Column,
    /// Its value in the run.
    pub run: f64,
    /// Its value in the anchor.
    pub anchor: f64,
    /// Run over anchor.
    pub ratio: f64,
    /// The 95 % confidence interval of the ratio; `None` if the samples do not give one.
    pub between: Option<(f64, f64)>,
    /// The conclusion.
    pub judgement: Judgement,
}

/// The conclusion from a ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// Better than the anchor, beyond chance.
    Better,
    /// Worse, beyond chance.
    Worse,
    /// The interval includes 1.
    WithinNoise,
    /// There is no interval: too few samples, or a single number from another tool.
    Untold,
    /// A side is predicted or simulated: it has no noise.
    Predicted,
}

impl Judgement {
    fn of(ratio: &Estimate, less_is_better: bool) -> Self {
        match ratio.between {
            None => Self::Untold,
            Some((low, high)) if low <= 1.0 && 1.0 <= high => Self::WithinNoise,
            Some((low, _)) if (low > 1.0) != less_is_better => Self::Better,
            Some(_) => Self::Worse,
        }
    }
}

/// Compares two runs cell by cell.
pub fn compare(run: &StoredRun, anchor: &StoredRun) -> Comparison {
    of_models(&Model::of(run), &Model::of(anchor))
}

fn of_models(mine: &Model<'_>, its: &Model<'_>) -> Comparison {
    let (run, anchor) = (mine.run, its.run);
    let joined = common_axes(mine, its);
    let mut differences = comparable::of_runs(run, anchor);
    let mut others: HashMap<Key, &Cell<'_>> = HashMap::new();
    let is_compared = |cell: &&Cell<'_>| cell.has_numbers() && !cell.is_set_aside;
    for cell in its.cells.iter().filter(is_compared) {
        others.entry(key(cell, &joined)).or_insert(cell);
    }
    let mut cells = Vec::new();
    let mut shared: Vec<&Cell<'_>> = Vec::new();
    for cell in mine.cells.iter().filter(is_compared) {
        // If several cells have one key, because they differ on an axis that the other run lacks, the first
        // is compared.
        let key = key(cell, &joined);
        let Some(other) = others.remove(&key) else { continue };
        let (Some(placed), Some(other_placed)) =
            (comparable::placed(mine, cell), comparable::placed(its, other))
        else {
            continue;
        };
        differences.extend(comparable::of_cells(placed, other_placed, &joined));
        differences.extend(lengths(cell, other));
        cells.push(pair((mine, cell), (its, other), &key));
        shared.push(cell);
    }
    let any =
        |own: Origin| [mine, its].into_iter().flat_map(|model| &model.cells).any(|cell| cell.origin == own);
    let is_alone = |cell: &&Cell<'_>| cell.has_numbers() && cell.file.search.is_none();
    let shared = shared.iter().filter(|cell| is_alone(cell)).count();
    let alone = |model: &Model<'_>| model.cells.iter().filter(is_alone).count().saturating_sub(shared);
    let (answers, of_answers) = answers::pairs(mine, its, &joined);
    differences.extend(of_answers);
    Comparison {
        machines: names(mine, its),
        simulated: run.run.simulated || anchor.run.simulated || any(Origin::Simulated),
        predicted: any(Origin::Predicted),
        imported: any(Origin::Imported),
        differences,
        alone: (alone(mine), alone(its)),
        answers_alone: answers::alone(mine, its),
        answers,
        cells,
    }
}

/// The names of the two sides: their machines, and the runs if one machine ran both.
fn names(run: &Model<'_>, anchor: &Model<'_>) -> (String, String) {
    let machine = run.run.machine();
    if machine != anchor.run.machine() {
        return (run.machine(), anchor.machine());
    }
    let named = |run: &StoredRun| {
        let name = match &run.run.imported {
            Some(_) => &run.plan.experiment.name,
            None => &run.run.name,
        };
        // An unnamed machine is left out.
        match &machine {
            None => name.clone(),
            Some(machine) => format!("{machine}, {name}"),
        }
    };
    (named(run.run), named(anchor.run))
}

/// Joins cells: the workload, and the values on the axes of both runs.
type Key = (String, BTreeMap<String, String>);

fn key(cell: &Cell<'_>, joined: &BTreeSet<String>) -> Key {
    let values = cell.file.load.iter().chain(&cell.file.axes);
    let values = values.filter(|(name, _)| joined.contains(*name));
    let values = values.map(|(name, value)| (name.clone(), scalar_text(value)));
    (cell.file.workload.clone(), values.collect())
}

/// The axes and load values that cells of both runs have. An axis of one run only appears as a difference of
/// servers or workloads.
fn common_axes(run: &Model<'_>, anchor: &Model<'_>) -> BTreeSet<String> {
    let names = |model: &Model<'_>| -> BTreeSet<String> {
        let cells = model.cells.iter().map(|cell| cell.file);
        cells.flat_map(|cell| cell.load.keys().chain(cell.axes.keys()).cloned()).collect()
    };
    let mut common: BTreeSet<String> = names(run).intersection(&names(anchor)).cloned().collect();
    common.retain(|name| !comparable::JUDGED.contains(&name.as_str()));
    common
}

/// Differences in the lengths of prompts and answers: other lengths are other work.
fn lengths(run: &Cell<'_>, anchor: &Cell<'_>) -> Vec<Difference> {
    let difference = |name: &str, tokens: (Option<f64>, Option<f64>)| {
        let (mine, its) = tokens.0.zip(tokens.1)?;
        ((mine / its - 1.0).abs() > SAME_LENGTH).then(|| Difference {
            key: format!("workload.{}.{name}", run.file.workload),
            run: format!("{mine:.0} a request"),
            anchor: format!("{its:.0} a request"),
        })
    };
    let input = difference("input_tokens", (run.prompt_tokens(), anchor.prompt_tokens()));
    let output = difference("output_tokens", (run.answer_tokens(), anchor.answer_tokens()));
    input.into_iter().chain(output).collect()
}

fn pair(run: (&Model<'_>, &Cell<'_>), anchor: (&Model<'_>, &Cell<'_>), (workload, values): &Key) -> Pair {
    let (mine, its) = (run.1, anchor.1);
    let label = |name: &String| {
        let axis = run.0.axes.iter().find(|axis| axis.name == *name);
        axis.map_or_else(|| name.clone(), |axis| axis.label().to_owned())
    };
    let parts: Vec<String> = values.iter().map(|(name, value)| format!("{} {value}", label(name))).collect();
    let left_out = mine.excluded().or_else(|| its.excluded());
    let columns = match left_out {
        Some(_) => Vec::new(),
        None => Column::all(mine, its),
    };
    Pair {
        workload: workload.clone(),
        label: parts.join(", "),
        load: mine.load.reached.zip(its.load.reached).map(|(mine, its)| mine.min(its)),
        origins: (mine.origin.word(), its.origin.word()),
        partly_left_out: columns.iter().filter_map(|column| excluded(*column, mine, its)).collect(),
        changes: columns.iter().filter_map(|column| change(*column, run, anchor)).collect(),
        left_out,
    }
}

/// The verdict that excludes a number that both cells have.
fn excluded(column: Column, run: &Cell<'_>, anchor: &Cell<'_>) -> Option<VerdictKind> {
    let metric = match column {
        Column::Metric(metric) => metric,
        Column::Cost => Metric::OUTPUT,
        Column::Energy => return None,
    };
    let (mine, its) = run.number(metric).zip(anchor.number(metric))?;
    mine.excluded.or(its.excluded)
}

fn change(column: Column, run: (&Model<'_>, &Cell<'_>), anchor: (&Model<'_>, &Cell<'_>)) -> Option<Change> {
    let estimate = column.estimate(run.0, run.1)?;
    let reference = column.estimate(anchor.0, anchor.1)?;
    let ratio = estimate.over(reference);
    if !ratio.value.is_finite() || ratio.value <= 0.0 {
        return None;
    }
    let judgement = match column::is_computed(run.1) || column::is_computed(anchor.1) {
        true => Judgement::Predicted,
        false => Judgement::of(&ratio, column.is_cost()),
    };
    Some(Change {
        column,
        run: estimate.value,
        anchor: reference.value,
        ratio: ratio.value,
        between: ratio.between,
        judgement,
    })
}
