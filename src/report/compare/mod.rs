//! Two runs → what one does better, worse, or not differently enough to tell.

mod column;
mod comparable;
mod crossover;
mod gate;
#[cfg(test)]
mod tests;
pub(super) mod view;

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

/// How far token counts per request may be apart and still be the same lengths.
const SAME_LENGTH: f64 = 0.02;

/// A run beside its anchor.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The machine of the run, and that of the anchor.
    pub machines: (String, String),
    /// Whether one of them was not measured on a real engine.
    pub simulated: bool,
    /// Whether a side was only predicted.
    pub predicted: bool,
    /// Whether one of them was measured by another tool.
    pub imported: bool,
    /// What differs beside the machine, allowed or not.
    pub differences: BTreeSet<Difference>,
    /// Cells with numbers in both, in the order of the run's plan.
    pub cells: Vec<Pair>,
    /// Cells with numbers that only the run has, and those that only the anchor has.
    pub alone: (usize, usize),
}

/// One cell of both.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The workload.
    pub workload: String,
    /// The values that join the two, `concurrency 8, max_tokens 64`.
    pub label: String,
    /// Requests in flight, of the side that reached fewer, or due per second; absent where nobody says.
    pub load: Option<f64>,
    /// Where the numbers of the run come from, and those of the anchor: `measured`, `predicted`.
    pub origins: (&'static str, &'static str),
    /// Every metric that both have and that no verdict excludes.
    pub changes: Vec<Change>,
    /// The verdict that excludes every number of one side.
    pub left_out: Option<VerdictKind>,
    /// Verdicts that exclude some numbers.
    pub partly_left_out: BTreeSet<VerdictKind>,
}

impl Pair {
    /// A metric by its column name.
    pub fn change(&self, metric: &str) -> Option<&Change> {
        self.changes.iter().find(|change| change.column.name() == metric)
    }

    fn of(&self, column: Column) -> Option<&Change> {
        self.changes.iter().find(|change| change.column == column)
    }
}

/// One metric of both.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// What was compared.
    pub column: Column,
    /// Its value in the run.
    pub run: f64,
    /// Its value in the anchor.
    pub anchor: f64,
    /// Run over anchor.
    pub ratio: f64,
    /// Where the ratio lies with 95 % confidence; absent where the samples do not tell.
    pub between: Option<(f64, f64)>,
    /// What that says.
    pub judgement: Judgement,
}

/// What a ratio says of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// Better than the anchor, beyond chance.
    Better,
    /// Worse, beyond chance.
    Worse,
    /// The interval holds 1.
    WithinNoise,
    /// No interval: too few samples, or none where another tool told the number alone.
    Untold,
    /// A side was predicted or simulated: it has no noise, and the ratio stands alone.
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

/// Lays two runs side by side, cell by cell.
pub fn compare(run: &StoredRun, anchor: &StoredRun) -> Comparison {
    let (mine, its) = (Model::of(run), Model::of(anchor));
    let joined = common_axes(&mine, &its);
    let mut differences = comparable::of_runs(run, anchor);
    let mut others: HashMap<Key, &Cell<'_>> = HashMap::new();
    for cell in its.cells.iter().filter(|cell| cell.has_numbers()) {
        others.entry(key(cell, &joined)).or_insert(cell);
    }
    let mut cells = Vec::new();
    for cell in mine.cells.iter().filter(|cell| cell.has_numbers()) {
        // Of several with one key (they differ by an axis that the other run does not have) the first stands for all.
        let key = key(cell, &joined);
        let Some(other) = others.remove(&key) else { continue };
        let (Some(placed), Some(other_placed)) = (placed(&mine, cell), placed(&its, other)) else { continue };
        differences.extend(comparable::of_cells(placed, other_placed, &joined));
        differences.extend(lengths(cell, other));
        cells.push(pair((&mine, cell), (&its, other), &key));
    }
    let any =
        |own: Origin| [&mine, &its].into_iter().flat_map(|model| &model.cells).any(|cell| cell.origin == own);
    let alone = |model: &Model<'_>| {
        model.cells.iter().filter(|cell| cell.has_numbers()).count().saturating_sub(cells.len())
    };
    Comparison {
        machines: names(&mine, &its),
        simulated: run.run.simulated || anchor.run.simulated || any(Origin::Simulated),
        predicted: any(Origin::Predicted),
        imported: any(Origin::Imported),
        differences,
        alone: (alone(&mine), alone(&its)),
        cells,
    }
}

/// What the two sides are called: their machines, with the runs' names where one machine ran both.
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
        // A machine that nobody named says nothing.
        match &machine {
            None => name.clone(),
            Some(machine) => format!("{machine}, {name}"),
        }
    };
    (named(run.run), named(anchor.run))
}

/// What a cell is joined by: its workload, and its values on the axes of both runs.
type Key = (String, BTreeMap<String, String>);

fn key(cell: &Cell<'_>, joined: &BTreeSet<String>) -> Key {
    let values = cell.file.load.iter().chain(&cell.file.axes);
    let values = values.filter(|(name, _)| joined.contains(*name));
    let values = values.map(|(name, value)| (name.clone(), scalar_text(value)));
    (cell.file.workload.clone(), values.collect())
}

/// Axes and load values that cells of both runs have. An axis of one run alone is a difference of its servers or workloads,
/// and shows as such.
fn common_axes(run: &Model<'_>, anchor: &Model<'_>) -> BTreeSet<String> {
    let names = |model: &Model<'_>| -> BTreeSet<String> {
        let cells = model.cells.iter().map(|cell| cell.file);
        cells.flat_map(|cell| cell.load.keys().chain(cell.axes.keys()).cloned()).collect()
    };
    let mut common: BTreeSet<String> = names(run).intersection(&names(anchor)).cloned().collect();
    common.retain(|name| !comparable::JUDGED.contains(&name.as_str()));
    common
}

/// Where a cell stands in its plan; one that was imported only has a server.
fn placed<'a>(model: &Model<'a>, cell: &Cell<'a>) -> Option<comparable::Placed<'a>> {
    let server = model.servers.get(cell.server?)?;
    (cell.plan.is_some() || model.run.run.imported.is_some()).then_some((server.group, cell.plan))
}

/// Prompts and answers of other lengths are other work.
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

/// The verdict that keeps a number that both have from being compared.
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
