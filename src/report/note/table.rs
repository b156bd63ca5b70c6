//! The tables of a note as formatted cells: along the load, what a server axis does, and all numbers of a
//! block.

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    manifest::LatencyKind,
    measure::{CellOutcome, Metric, Rate},
    plan::Role,
    report::{
        metrics::{RATES, at, middle, tail},
        model::{Block, Cell, Change, Effect, Met, Model, Origin, Streaming, Trust, deciding, is_beyond},
        number::{ABSENT, latency, rate, signed, thousands},
        statistics::{evenly, median},
    },
    unit::Percentile,
};

/// The most rows of a table.
const ROWS: usize = 60;

/// The first of some metrics that a cell of a block has.
fn first_known(model: &Model<'_>, block: &Block<'_>, metrics: &[Metric]) -> Option<Metric> {
    let has = |metric: &Metric| model.cells_at(&block.cells).any(|cell| cell.shown(*metric).is_some());
    metrics.iter().copied().find(has)
}

/// The metrics of a block's tables: throughput, TTFT, E2E and user TPS, with `all` also TPOT and the tail of
/// ITL.
fn metrics(model: &Model<'_>, block: &Block<'_>, all: bool) -> Vec<Metric> {
    use LatencyKind::{E2e, Itl, Tpot, Ttft};
    // The TTFT of answers that arrived in one piece repeats E2E.
    let streams = all || model.cells_at(&block.cells).any(|cell| cell.streaming == Streaming::Streamed);
    let e2e = [tail(E2e), middle(E2e)].concat();
    let own: [&[Metric]; 7] = [
        &RATES,
        if streams { &middle(Ttft) } else { &[] },
        if streams { &tail(Ttft) } else { &[] },
        &e2e,
        if all { &middle(Tpot) } else { &[] },
        if all { &tail(Itl) } else { &[] },
        &[Metric::Rate(Rate::User)],
    ];
    own.iter().filter_map(|metrics| first_known(model, block, metrics)).collect()
}

/// A number as a table shows it, marked if it is not ranked; how the cell ended if there is none.
fn text(model: &Model<'_>, cell: &Cell<'_>, metric: Metric) -> String {
    let digits = model.digits(&[cell.index]);
    let Some(number) = cell.number(metric) else {
        return match cell.file.outcome {
            outcome if outcome.is_measured() => ABSENT.into(),
            CellOutcome::Oom => "OOM".into(),
            outcome => outcome.name().replace('_', " "),
        };
    };
    let mut text = match metric {
        Metric::Latency(..) => latency(number.value, digits),
        Metric::Rate(_) => rate(number.value, digits),
    };
    if cell.excluded().is_some() {
        text.push('‡');
    } else if number.excluded.is_some() {
        text.push('†');
    }
    if cell.file.outcome == CellOutcome::Degraded {
        text.push('!');
    }
    if model.is_mixed && cell.origin != Origin::Measured {
        text.push_str(&format!(" {}", cell.origin.letter()));
    }
    text
}

/// The numbers of a row, one for each column.
fn texts(model: &Model<'_>, cell: &Cell<'_>, columns: &[Metric]) -> Vec<String> {
    columns.iter().map(|metric| text(model, cell, *metric)).collect()
}

/// Whether a number of some rows carries a mark.
fn is_marked<'t>(rows: impl IntoIterator<Item = &'t Vec<String>>) -> bool {
    rows.into_iter().flatten().any(|value| value.ends_with(['†', '‡', '!', 'S', 'P', 'I']))
}

fn heading(metric: Metric) -> String {
    match metric {
        Metric::Rate(Rate::Output) => "tok/s".into(),
        Metric::Rate(Rate::User) => "per user".into(),
        Metric::Rate(_) => metric.heading(),
        Metric::Latency(..) => metric.label(),
    }
}

/// The load of a cell, with the load that was reached if that is less: `32 (20 reached)`.
fn load_text(model: &Model<'_>, cell: &Cell<'_>, axis: usize) -> String {
    let configured = cell.at[axis].map(|at| model.axes[axis].text(at)).unwrap_or_default();
    match (cell.load.configured, cell.load.reached) {
        (Some(all), Some(reached)) if model.axes[axis].quantity().is_amount() && reached < all => {
            format!("{configured} ({reached} reached)")
        }
        _ => configured,
    }
}

/// Whether a cell meets the SLO: `yes`, `no`, `stand_in` (by medians), `as_told` (by few samples), or empty
/// without an SLO.
fn slo(model: &Model<'_>, at: usize, cell: &Cell<'_>) -> &'static str {
    let (block, ranking) = (&model.blocks[at], model.ranking(at));
    let meets = |term: &crate::manifest::SloTerm| {
        deciding(term, cell, ranking.trust).is_some_and(|ms| ms <= term.limit.as_ms())
    };
    match () {
        () if block.slo.0.is_empty() || !cell.has_numbers() || cell.excluded().is_some() => "",
        () if !block.slo.0.iter().all(meets) || is_beyond(block.slo, cell) => "no",
        () if ranking.met == Met::ByStandIn && ranking.trust == Trust::AsTold => "as_told",
        () if ranking.met == Met::ByStandIn => "stand_in",
        () => "yes",
    }
}

/// The cells of a block along its load, everything else as in the recommended cell: at most `most` rows, the
/// recommended cell among them.
pub(super) fn along_the_load(model: &Model<'_>, at: usize, most: usize) -> Option<Value> {
    let block = &model.blocks[at];
    let best = &model.cells[model.ranking(at).first()?];
    let varies = |axis: &usize| {
        let mut values = model.cells_at(&block.cells).map(|cell| cell.at[*axis]);
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    let axis = block.load_axis.filter(varies).or_else(|| block.axes.iter().copied().find(varies));
    let others: Vec<usize> = block.axes.iter().copied().filter(|own| Some(*own) != axis).collect();
    let mut cells: Vec<&Cell<'_>> = model
        .cells_at(&block.cells)
        .filter(|cell| others.iter().all(|own| cell.at[*own] == best.at[*own]))
        .collect();
    if let Some(axis) = axis {
        cells.sort_by_key(|cell| cell.at[axis]);
    }
    let must = cells.iter().position(|cell| cell.index == best.index);
    let shown: Vec<&Cell<'_>> =
        evenly(cells.len(), most, must).into_iter().map(|place| cells[place]).collect();
    let columns = metrics(model, block, false);
    let values: Vec<Vec<String>> = shown.iter().map(|cell| texts(model, cell, &columns)).collect();
    let row = |(cell, values): (&&Cell<'_>, &Vec<String>)| {
        json!({
            "load": axis.map_or_else(|| model.place(cell), |axis| load_text(model, cell, axis)),
            "values": values,
            "slo": slo(model, at, cell),
            "is_best": cell.index == best.index,
        })
    };
    Some(json!({
        "axis": axis.map(|axis| model.axes[axis].label()).unwrap_or_default(),
        "at": model.spelled(|axis| best.at[axis], others),
        "columns": columns.iter().copied().map(heading).collect::<Vec<_>>(),
        "rows": shown.iter().zip(&values).map(row).collect::<Vec<_>>(),
        "left_out": block.cells.len() - shown.len(),
        "is_marked": is_marked(&values),
    }))
}

/// At most about `most` of some sorted loads, evenly, the largest among them.
fn some_loads(mut loads: Vec<f64>, most: usize) -> Vec<f64> {
    loads.sort_by(f64::total_cmp);
    loads.dedup();
    let every = loads.len().div_ceil(most.max(1)).max(1);
    let last = loads.last().copied();
    let mut shown: Vec<f64> = loads.into_iter().step_by(every).collect();
    if shown.last().copied() != last {
        shown.pop();
        shown.extend(last);
    }
    shown
}

/// What a server axis does to the throughput at each load, at most `rows` values and `columns` loads; `None`
/// if it makes no difference at all, or no throughput or load is known.
pub(super) fn pivot(model: &Model<'_>, effect: &Effect, rows: usize, columns: usize) -> Option<Value> {
    let axis = &model.axes[effect.axis];
    let is_rate = |change: &&Change| matches!(change.metric, Metric::Rate(_));
    if axis.role != Role::Server || effect.is_none() {
        return None;
    }
    let metric = effect.levels.first()?.changes.iter().find(is_rate)?.metric;
    let load = |cell: usize| model.cells[cell].load.reached;
    let changes = || effect.levels.iter().flat_map(|level| level.changes.iter().filter(is_rate));
    let pairs = || changes().flat_map(|change| &change.pairs);
    let shown = some_loads(pairs().filter_map(|pair| load(pair.cell)).collect(), columns);
    if shown.is_empty() {
        return None;
    }
    // One text for each load: of several numbers at a load the median.
    let row = |numbers: Vec<(f64, f64)>, text: fn(f64) -> String| -> Vec<String> {
        let at = |wanted: &f64| {
            let own = numbers.iter().filter(|(load, _)| load == wanted).map(|(_, number)| *number);
            median(&own.collect::<Vec<f64>>()).map_or_else(|| ABSENT.to_owned(), text)
        };
        shown.iter().map(at).collect()
    };
    let base = pairs().filter_map(|pair| Some((load(pair.base)?, model.cells[pair.base].ranked(metric)?)));
    let mut table = vec![json!({
        "value": axis.text(effect.base),
        "cells": row(base.collect(), |number| rate(number, 2)),
        "judged": "base",
    })];
    for level in effect.levels.iter().take(rows.saturating_sub(1)) {
        let Some(change) = level.changes.iter().find(is_rate) else { continue };
        let ratios = change.pairs.iter().filter_map(|pair| Some((load(pair.cell)?, pair.ratio)));
        table.push(json!({
            "value": axis.text(level.value),
            "cells": row(ratios.collect(), |ratio| signed(Some(ratio - 1.0)).replace(" %", "%")),
            "judged": change.judgement.name(),
        }));
    }
    Some(json!({
        "axis": axis.label(),
        "base": axis.text(effect.base),
        "metric": heading(metric),
        "columns": shown.iter().map(|load| thousands(Some(*load))).collect::<Vec<_>>(),
        "left_out": effect.levels.len() + 1 - table.len(),
        "rows": table,
    }))
}

/// All numbers of a block, one row per cell, in the order of its axes. Of too many rows those with the
/// recommended cell's values on every axis but the load are kept, and of these the first.
pub(super) fn numbers(model: &Model<'_>, at: usize) -> Value {
    let block = &model.blocks[at];
    // The load comes first: it reads best downwards.
    let others = block.axes.iter().copied().filter(|axis| Some(*axis) != block.load_axis);
    let axes: Vec<usize> = block.load_axis.into_iter().chain(others.clone()).collect();
    let mut cells: Vec<&Cell<'_>> = model.cells_at(&block.cells).collect();
    cells.sort_by_cached_key(|cell| axes.iter().map(|axis| cell.at[*axis]).collect::<Vec<_>>());
    if cells.len() > ROWS {
        if let Some(best) = model.ranking(at).first().map(|best| &model.cells[best]) {
            cells.retain(|cell| others.clone().all(|axis| cell.at[axis] == best.at[axis]));
        }
        cells.truncate(ROWS);
    }
    let columns = metrics(model, block, true);
    let label = |cell: &Cell<'_>, axis: usize| match Some(axis) == block.load_axis {
        true => load_text(model, cell, axis),
        false => cell.at[axis].map_or_else(|| ABSENT.to_owned(), |at| model.axes[axis].text(at)),
    };
    let labels = |cell: &Cell<'_>| match axes.is_empty() {
        true => vec![model.place(cell)],
        false => axes.iter().map(|axis| label(cell, *axis)).collect(),
    };
    let names = axes.iter().map(|axis| model.axes[*axis].label());
    let values: Vec<Vec<String>> = cells.iter().map(|cell| texts(model, cell, &columns)).collect();
    let rows = cells.iter().zip(&values);
    json!({
        "axes": if axes.is_empty() { vec!["cell"] } else { names.collect() },
        "columns": columns.iter().copied().map(heading).collect::<Vec<_>>(),
        "rows": rows.map(|(cell, values)| json!({ "labels": labels(cell), "values": values })).collect::<Vec<_>>(),
        "left_out": block.cells.len() - cells.len(),
        "is_marked": is_marked(&values),
    })
}

/// The numbers of a recommended cell that may be ranked. `reason` says what it was picked for.
pub(super) fn picked(model: &Model<'_>, cell: &Cell<'_>, reason: impl Serialize) -> Value {
    let latency = |percentile, kind| cell.ranked(at(percentile, kind));
    json!({
        "reason": reason,
        "place": model.place(cell),
        "cell": cell.id(),
        // Requests in flight, or per second, that were reached.
        "load": cell.load.reached,
        "is_rate": cell.load.is_open,
        "throughput_tok_s": cell.ranked(Metric::OUTPUT),
        "req_s": cell.ranked(Metric::Rate(Rate::Requests)),
        "p50_ttft_ms": latency(Percentile::P50, LatencyKind::Ttft),
        "p95_ttft_ms": latency(Percentile::P95, LatencyKind::Ttft),
        "p50_e2e_ms": latency(Percentile::P50, LatencyKind::E2e),
        "p95_e2e_ms": latency(Percentile::P95, LatencyKind::E2e),
        "user_tok_s": cell.ranked(Metric::Rate(Rate::User)),
        "digits": model.digits(&[cell.index]),
    })
}
