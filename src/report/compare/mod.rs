//! Two runs → what one does better, worse, or not differently enough to tell.

mod comparable;
mod gate;
pub(super) mod interval;
#[cfg(test)]
mod tests;
pub(super) mod view;

pub use comparable::Difference;
pub use gate::Gate;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::{
    manifest::{Metric, scalar_text},
    measure::{Latency, Summary},
    plan::Group,
    report::{
        headline::{UNNAMED, gpu},
        insight::offered,
    },
    store::{CellFile, StoredRun},
    unit::Percentile,
};
use comparable::Placed;
use interval::Estimate;

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
    /// Cells that both measured.
    pub cells: Vec<Pair>,
    /// Measured cells that only the run has, and those that only the anchor has.
    pub alone: (usize, usize),
}

/// One cell of both.
#[derive(Clone, Debug, Serialize)]
pub struct Pair {
    /// The workload.
    pub workload: String,
    /// The values that join the two, `concurrency 8, max_tokens 64`.
    pub label: String,
    /// Requests in flight, or due per second, where both say so.
    pub load: Option<f64>,
    /// Every metric that both have.
    pub changes: Vec<Change>,
}

impl Pair {
    /// A metric by its column name.
    pub fn change(&self, metric: &str) -> Option<&Change> {
        self.changes.iter().find(|change| change.metric == metric)
    }
}

/// One metric of both.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// Its column name: `p95_ttft_ms`.
    pub metric: String,
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
}

impl Judgement {
    /// As a table says it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::WithinNoise => "within the noise",
            Self::Untold => "no interval",
        }
    }
}

/// Lays two runs side by side, cell by cell.
pub fn compare(run: &StoredRun, anchor: &StoredRun) -> Comparison {
    let joined = common_axes(run, anchor);
    let (mine, its) = (by_key(run, &joined), by_key(anchor, &joined));
    let mut differences = comparable::of_runs(run, anchor);
    let mut cells = Vec::new();
    for (key, (placed, cell)) in &mine {
        let Some((other_placed, other)) = its.get(key) else {
            continue;
        };
        differences.extend(comparable::of_cells(*placed, *other_placed, &joined));
        differences.extend(lengths(cell, other));
        cells.push(Pair {
            workload: cell.workload.clone(),
            label: key.label(),
            load: offered(cell),
            changes: changes(run, cell, anchor, other),
        });
    }
    let alone = |a: &Cells<'_>, b: &Cells<'_>| a.keys().filter(|key| !b.contains_key(*key)).count();
    Comparison {
        machines: names(run, anchor),
        simulated: [run, anchor]
            .into_iter()
            .any(|run| run.run.simulated || run.cells.iter().any(|cell| cell.simulated)),
        predicted: [run, anchor]
            .into_iter()
            .any(|run| run.run.predicted.is_some()),
        imported: [run, anchor]
            .into_iter()
            .any(|run| run.run.imported.is_some()),
        differences,
        alone: (alone(&mine, &its), alone(&its, &mine)),
        cells,
    }
}

/// What the two sides are called: their machines, with the runs' names where one machine ran both.
fn names(run: &StoredRun, anchor: &StoredRun) -> (String, String) {
    let (mine, its) = (gpu(run), gpu(anchor));
    if mine != its {
        return (mine, its);
    }
    let named = |run: &StoredRun| {
        let name = match &run.run.imported {
            Some(_) => &run.plan.experiment.name,
            None => &run.run.name,
        };
        // A machine that nobody named says nothing.
        match mine == UNNAMED {
            true => name.clone(),
            false => format!("{mine}, {name}"),
        }
    };
    (named(run), named(anchor))
}

/// What a cell is joined by: its place in the plan's order first, so that tables keep it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    workload: String,
    values: BTreeMap<String, Sortable>,
}

/// A value of an axis: numbers in their order, everything else as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sortable {
    Number(i64, String),
    Text(String),
}

type Cells<'a> = BTreeMap<Key, (Placed<'a>, &'a CellFile)>;

impl Key {
    fn label(&self) -> String {
        let part = |(name, value): (&String, &Sortable)| match value {
            Sortable::Number(_, text) | Sortable::Text(text) => format!("{name} {text}"),
        };
        let parts: Vec<String> = self.values.iter().map(part).collect();
        parts.join(", ")
    }
}

fn sortable(value: &Value) -> Sortable {
    match value.as_f64() {
        // Thousandths tell values apart that anybody writes on an axis.
        Some(number) => Sortable::Number((number * 1e3) as i64, scalar_text(value)),
        None => Sortable::Text(scalar_text(value)),
    }
}

/// Axes and load values that cells of both runs have. An axis of one run alone is a difference of its servers or workloads,
/// and shows as such.
fn common_axes(run: &StoredRun, anchor: &StoredRun) -> BTreeSet<String> {
    let names = |run: &StoredRun| -> BTreeSet<String> {
        let cells = run.cells.iter();
        cells
            .flat_map(|cell| cell.load.keys().chain(cell.axes.keys()).cloned())
            .collect()
    };
    let mut common: BTreeSet<String> = names(run).intersection(&names(anchor)).cloned().collect();
    common.retain(|name| !comparable::JUDGED.contains(&name.as_str()));
    common
}

/// The measured cells of a run by what joins them. Of several with one key (they differ by an axis that the other run does
/// not have) the first of the plan stands for all.
fn by_key<'a>(run: &'a StoredRun, joined: &BTreeSet<String>) -> Cells<'a> {
    let mut found = Cells::new();
    let places = places(run);
    let measured = run.cells.iter().filter(|cell| cell.outcome.is_measured());
    for cell in measured {
        let Some(placed) = places.get(cell.id.as_str()).copied() else {
            continue;
        };
        let values = cell.load.iter().chain(&cell.axes);
        let key = Key {
            workload: cell.workload.clone(),
            values: values
                .filter(|(name, _)| joined.contains(*name))
                .map(|(name, value)| (name.clone(), sortable(value)))
                .collect(),
        };
        found.entry(key).or_insert((placed, cell));
    }
    found
}

/// Where each cell stands in the plan; one that was imported only has a server.
fn places(run: &StoredRun) -> BTreeMap<&str, Placed<'_>> {
    let groups = &run.plan.groups;
    let planned = groups.iter().flat_map(|group| {
        let each = group.cells.iter();
        each.map(move |cell| (cell.id.as_str(), (group, Some(cell))))
    });
    let mut places: BTreeMap<&str, Placed<'_>> = planned.collect();
    if run.run.imported.is_some() {
        let by_id: BTreeMap<&str, &Group> = groups
            .iter()
            .map(|group| (group.id.as_str(), group))
            .collect();
        let cells = run.cells.iter();
        places.extend(cells.filter_map(|cell| {
            Some((cell.id.as_str(), (*by_id.get(cell.server.as_str())?, None)))
        }));
    }
    places
}

/// Tokens of a summary, where it knows them.
type Tokens = fn(&Summary) -> Option<u64>;

/// Prompts and answers of other lengths are other work.
fn lengths(run: &CellFile, anchor: &CellFile) -> Vec<Difference> {
    let each = |cell: &CellFile, tokens: Tokens| {
        let summary = cell.summary.as_ref()?;
        Some(tokens(summary)? as f64 / summary.counts.completed as f64)
    };
    let difference = |name: &str, tokens: Tokens| {
        let (mine, its) = each(run, tokens).zip(each(anchor, tokens))?;
        ((mine / its - 1.0).abs() > SAME_LENGTH).then(|| Difference {
            key: format!("workload.{}.{name}", run.workload),
            run: format!("{mine:.0} a request"),
            anchor: format!("{its:.0} a request"),
        })
    };
    let input = difference("input_tokens", |summary| summary.input_tokens);
    let output = difference("output_tokens", |summary| summary.output_tokens);
    input.into_iter().chain(output).collect()
}

fn changes(run: &StoredRun, cell: &CellFile, anchor: &StoredRun, other: &CellFile) -> Vec<Change> {
    let mine = estimates(run, cell);
    let mut its: BTreeMap<String, (Estimate, bool)> = estimates(anchor, other)
        .into_iter()
        .map(|(name, estimate, less)| (name, (estimate, less)))
        .collect();
    mine.into_iter()
        .filter_map(|(metric, estimate, less_is_better)| {
            let (reference, _) = its.remove(&metric)?;
            let ratio = estimate.over(reference);
            if !ratio.value.is_finite() || ratio.value <= 0.0 {
                return None;
            }
            let judgement = match ratio.between {
                None => Judgement::Untold,
                Some((low, high)) if low <= 1.0 && 1.0 <= high => Judgement::WithinNoise,
                Some((low, _)) if (low > 1.0) != less_is_better => Judgement::Better,
                Some(_) => Judgement::Worse,
            };
            Some(Change {
                metric,
                run: estimate.value,
                anchor: reference.value,
                ratio: ratio.value,
                between: ratio.between,
                judgement,
            })
        })
        .collect()
}

/// Every metric of a cell by its column name, with whether less of it is better.
fn estimates(run: &StoredRun, cell: &CellFile) -> Vec<(String, Estimate, bool)> {
    let mut found = measured(run, cell);
    // What was imported without samples has a value and no interval.
    for (column, value) in &cell.reported {
        let is_known = found.iter().any(|(known, _, _)| known == column);
        let less_is_better = column.ends_with("_ms");
        if !is_known && *value > 0.0 {
            let estimate = Estimate {
                value: *value,
                between: None,
            };
            found.push((column.clone(), estimate, less_is_better));
        }
    }
    let priced = found.iter().any(|(known, _, _)| known == COST);
    let throughput = found
        .iter()
        .find(|(known, _, _)| known == "throughput_tok_s");
    if let (false, Some((_, rate, _)), Some(price)) = (priced, throughput, price(run)) {
        let value = price / 3600.0 / rate.value * 1e6;
        found.push((
            COST.to_owned(),
            Estimate {
                value,
                between: None,
            },
            true,
        ));
    }
    found
}

const COST: &str = "usd_per_million_output_tokens";
/// One number a cell: there are no samples of it, and so no interval.
const ENERGY: &str = "gpu_j_per_output_token";

fn price(run: &StoredRun) -> Option<f64> {
    run.plan.hardware.usd_per_hour.filter(|price| *price > 0.0)
}

/// The metrics of which there are samples, or counts and seconds.
fn measured(run: &StoredRun, cell: &CellFile) -> Vec<(String, Estimate, bool)> {
    let Some(summary) = &cell.summary else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let rate = |pooled: Option<f64>, of: fn(&Summary) -> Option<f64>| {
        let pooled = pooled.filter(|rate| *rate > 0.0)?;
        let repeats: Vec<f64> = cell.repeats.iter().filter_map(of).collect();
        Some(match (&summary.e2e, repeats.len()) {
            (Some(e2e), 0 | 1) => Estimate::by_littles_law(pooled, e2e),
            (None, 0 | 1) => Estimate {
                value: pooled,
                between: None,
            },
            _ => Estimate::repeated(pooled, &repeats),
        })
    };
    let throughput = rate(summary.throughput_tok_s, |summary| summary.throughput_tok_s);
    if let Some(estimate) = throughput {
        found.push(("throughput_tok_s".to_owned(), estimate, false));
        if let Some(price) = price(run) {
            let cost = |tok_s: f64| price / 3600.0 / tok_s * 1e6;
            let estimate = Estimate {
                value: cost(estimate.value),
                between: estimate.between.map(|(low, high)| (cost(high), cost(low))),
            };
            found.push((COST.to_owned(), estimate, true));
        }
    }
    if let Some(value) = cell.gpu_j_per_output_token().filter(|j| *j > 0.0) {
        let estimate = Estimate {
            value,
            between: None,
        };
        found.push((ENERGY.to_owned(), estimate, true));
    }
    if let Some(estimate) = rate(summary.req_s, |summary| summary.req_s) {
        found.push(("req_s".to_owned(), estimate, false));
    }
    type LatencyOf = fn(&Summary) -> Option<&Latency>;
    let latencies: [(Metric, LatencyOf); 4] = [
        (Metric::Ttft, |summary| summary.ttft.as_ref()),
        (Metric::Itl, |summary| summary.itl.as_ref()),
        (Metric::Tpot, |summary| summary.tpot.as_ref()),
        (Metric::E2e, |summary| summary.e2e.as_ref()),
    ];
    for (metric, latency) in latencies {
        for rank in [Percentile::P50, Percentile::P95, Percentile::P99] {
            let estimate = |summary: &Summary| Estimate::percentile(latency(summary)?, rank);
            if let Some(pooled) = estimate(summary) {
                let repeats = cell.repeats.iter().filter_map(estimate);
                let repeats: Vec<f64> = repeats.map(|repeat| repeat.value).collect();
                found.push((
                    format!("{rank}_{}_ms", metric.name()),
                    pooled.with_repeats(&repeats),
                    true,
                ));
            }
        }
    }
    found
}
