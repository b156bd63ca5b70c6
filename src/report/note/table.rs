//! The tables of a note, as formatted cells: along the load, what a server axis does, and all numbers of a block.

use serde::Serialize;

use crate::{
    manifest::LatencyKind,
    measure::{CellOutcome, Metric, Rank, Rate},
    plan::Role,
    report::{
        finding::{middle, tail},
        model::{Block, Cell, Effect, Judgement, Met, Model, Origin, Streaming, Trust, deciding, is_beyond},
        number::{ABSENT, latency, rate, signed},
        statistics::median,
    },
    unit::Percentile,
};

/// So many rows of a table can be read.
const ROWS: usize = 60;

/// Cells along one axis at the recommended server, everything else as in the recommended cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct LoadTable {
    /// The axis along which the cells stand; empty where there is one cell.
    pub(in crate::report) axis: String,
    /// The other axes with their values: `max_tokens 64`; empty where there are none.
    pub(in crate::report) at: String,
    pub(in crate::report) columns: Vec<String>,
    pub(in crate::report) rows: Vec<LoadRow>,
    /// Cells that are not shown.
    pub(in crate::report) left_out: usize,
    /// Whether a number carries a mark.
    pub(in crate::report) is_marked: bool,
}

/// One cell of a [`LoadTable`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct LoadRow {
    pub(in crate::report) load: String,
    pub(in crate::report) values: Vec<String>,
    /// Whether it meets the SLO: `yes`, `no`, `stand_in` (by medians), `as_told` (by few samples), or empty without one.
    pub(in crate::report) slo: &'static str,
    pub(in crate::report) is_best: bool,
}

/// What one server axis does to the throughput, for each load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Pivot {
    pub(in crate::report) axis: String,
    /// The value that the others are compared with.
    pub(in crate::report) base: String,
    /// The metric: `throughput`.
    pub(in crate::report) metric: String,
    /// The loads.
    pub(in crate::report) columns: Vec<String>,
    pub(in crate::report) rows: Vec<PivotRow>,
    /// Values that are not shown.
    pub(in crate::report) left_out: usize,
}

/// One value of a [`Pivot`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct PivotRow {
    pub(in crate::report) value: String,
    /// The number of the base, the change of the others: `+12 %`.
    pub(in crate::report) cells: Vec<String>,
    /// `base`, `same`, `unclear`, `differs`, `crossover`, `confined`.
    pub(in crate::report) judged: &'static str,
}

/// All numbers of a block, a cell a row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Numbers {
    pub(in crate::report) axes: Vec<String>,
    pub(in crate::report) columns: Vec<String>,
    pub(in crate::report) rows: Vec<NumberRow>,
    pub(in crate::report) left_out: usize,
    pub(in crate::report) is_marked: bool,
}

/// One cell of [`Numbers`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct NumberRow {
    pub(in crate::report) labels: Vec<String>,
    pub(in crate::report) values: Vec<String>,
}

/// The first of some metrics that a cell of a block has.
fn first_known(model: &Model<'_>, block: &Block<'_>, metrics: &[Metric]) -> Option<Metric> {
    let has = |metric: &Metric| block.cells.iter().any(|at| model.cells[*at].shown(*metric).is_some());
    metrics.iter().copied().find(has)
}

/// The metrics of a block's tables: throughput, TTFT, E2E, and with `all` also pace, stalls and the speed of one user.
fn metrics(model: &Model<'_>, block: &Block<'_>, all: bool) -> Vec<Metric> {
    use LatencyKind::{E2e, Itl, Tpot, Ttft};
    let rates = [Rate::Output, Rate::Total, Rate::Requests].map(Metric::Rate);
    let [_, mean_e2e] = middle(E2e);
    let e2e = [tail(E2e), [Metric::P50_E2E, mean_e2e]].concat();
    // What came whole has no TTFT of its own: without `all` it would only repeat E2E.
    let streams = all || block.cells.iter().any(|at| model.cells[*at].streaming == Streaming::Streamed);
    let own: [&[Metric]; 6] = [
        &rates,
        if streams { &middle(Ttft) } else { &[] },
        if streams { &tail(Ttft) } else { &[] },
        &e2e,
        if all { &middle(Tpot) } else { &[] },
        if all { &tail(Itl) } else { &[] },
    ];
    let mut found: Vec<Metric> =
        own.iter().filter_map(|metrics| first_known(model, block, metrics)).collect();
    found.extend(first_known(model, block, &[Metric::Rate(Rate::User)]));
    found
}

/// A number as a table shows it, marked where it is not ranked; how the cell ended where there is none.
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

fn is_marked(values: &str) -> bool {
    values.ends_with(['†', '‡', '!', 'S', 'P', 'I'])
}

fn heading(metric: Metric) -> String {
    match metric {
        Metric::Rate(Rate::Output) => "tok/s".into(),
        Metric::Rate(Rate::User) => "per user".into(),
        Metric::Rate(_) => metric.heading(),
        Metric::Latency(..) => metric.label(),
    }
}

/// The load of a cell with what was reached where that is less: `32 (20 reached)`.
fn load_text(model: &Model<'_>, cell: &Cell<'_>, axis: usize) -> String {
    let asked = cell.at[axis].map(|at| model.axes[axis].text(at)).unwrap_or_default();
    match (cell.load.asked, cell.load.reached) {
        (Some(all), Some(reached)) if model.axes[axis].quantity().is_amount() && reached < all => {
            format!("{asked} ({reached} reached)")
        }
        _ => asked,
    }
}

/// The table along the load at the recommended cell of a block, with at most `most` rows, the recommended cell among them.
pub(in crate::report) fn along_the_load(model: &Model<'_>, at: usize, most: usize) -> Option<LoadTable> {
    let block = &model.blocks[at];
    let ranking = model.ranking(at);
    let best = &model.cells[ranking.first()?];
    let varies = |axis: &usize| {
        let mut values = block.cells.iter().map(|cell| model.cells[*cell].at[*axis]);
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    let axis = block.load_axis.filter(varies).or_else(|| block.axes.iter().copied().find(varies));
    let same = |cell: &Cell<'_>| {
        let others = block.axes.iter().filter(|own| Some(**own) != axis);
        others.clone().all(|own| cell.at[*own] == best.at[*own])
    };
    let mut cells: Vec<&Cell<'_>> =
        block.cells.iter().map(|cell| &model.cells[*cell]).filter(|cell| same(cell)).collect();
    if let Some(axis) = axis {
        cells.sort_by_key(|cell| cell.at[axis]);
    }
    let all = block.cells.len();
    let shown = thinned(&cells, most, best.index);
    let columns = metrics(model, block, false);
    let slo = |cell: &Cell<'_>| {
        let meets = |term: &crate::manifest::SloTerm| {
            deciding(term, cell, ranking.trust).is_some_and(|ms| ms <= term.limit.as_ms())
        };
        match () {
            () if block.slo.0.is_empty() || !cell.has_numbers() => "",
            () if cell.excluded().is_some() => "",
            () if !block.slo.0.iter().all(meets) || is_beyond(block.slo, cell) => "no",
            () if ranking.met == Met::ByStandIn && ranking.trust == Trust::AsTold => "as_told",
            () if ranking.met == Met::ByStandIn => "stand_in",
            () => "yes",
        }
    };
    let rows: Vec<LoadRow> = shown
        .iter()
        .map(|cell| LoadRow {
            load: axis.map_or_else(|| model.place(cell), |axis| load_text(model, cell, axis)),
            values: columns.iter().map(|metric| text(model, cell, *metric)).collect(),
            slo: slo(cell),
            is_best: cell.index == best.index,
        })
        .collect();
    let others = block.axes.iter().filter(|own| Some(**own) != axis);
    let at = others.filter_map(|own| {
        Some(format!("{} {}", model.axes[*own].label(), model.axes[*own].text(best.at[*own]?)))
    });
    Some(LoadTable {
        axis: axis.map(|axis| model.axes[axis].label().to_owned()).unwrap_or_default(),
        at: at.collect::<Vec<_>>().join(", "),
        columns: columns.into_iter().map(heading).collect(),
        left_out: all - rows.len(),
        is_marked: rows.iter().flat_map(|row| &row.values).any(|value| is_marked(value)),
        rows,
    })
}

/// At most `most` of some cells, evenly over them, first, last and one more among them.
fn thinned<'c, 'a>(cells: &[&'c Cell<'a>], most: usize, must: usize) -> Vec<&'c Cell<'a>> {
    if cells.len() <= most || most < 2 {
        return cells.to_vec();
    }
    let mut places: Vec<usize> = (0..most).map(|at| at * (cells.len() - 1) / (most - 1)).collect();
    let must = cells.iter().position(|cell| cell.index == must);
    if let Some(must) = must.filter(|must| !places.contains(must)) {
        // The nearest one inside gives way.
        if let Some(nearest) = (1..most - 1).min_by_key(|at| places[*at].abs_diff(must)) {
            places[nearest] = must;
            places.sort_unstable();
        }
    }
    places.into_iter().map(|place| cells[place]).collect()
}

/// What a server axis does to the throughput for each load, at most `rows` values and `columns` loads; `None` where it makes no
/// difference at all, or no throughput is known.
pub(in crate::report) fn pivot(
    model: &Model<'_>,
    effect: &Effect,
    rows: usize,
    columns: usize,
) -> Option<Pivot> {
    let axis = &model.axes[effect.axis];
    let is_rate = |change: &&crate::report::model::Change| matches!(change.metric, Metric::Rate(_));
    if axis.role != Role::Server || effect.is_none() {
        return None;
    }
    let first = effect.levels.first()?.changes.iter().find(is_rate)?;
    let metric = first.metric;
    let load = |cell: usize| model.cells[cell].load.reached;
    let pairs = effect
        .levels
        .iter()
        .flat_map(|level| level.changes.iter().filter(is_rate))
        .flat_map(|change| &change.pairs);
    let mut loads: Vec<f64> = pairs.filter_map(|pair| load(pair.cell)).collect();
    loads.sort_by(f64::total_cmp);
    loads.dedup();
    let every = loads.len().div_ceil(columns.max(1)).max(1);
    let last = loads.last().copied();
    let mut shown: Vec<f64> = loads.iter().copied().step_by(every).collect();
    if shown.last().copied() != last {
        shown.pop();
        shown.extend(last);
    }
    // Of pairs without a load there is nothing to show.
    if shown.is_empty() {
        return None;
    }
    let at_load = |values: Vec<(f64, f64)>, wanted: f64| {
        let own: Vec<f64> =
            values.iter().filter(|(load, _)| *load == wanted).map(|(_, value)| *value).collect();
        median(&own)
    };
    let base_cells = |wanted: f64| {
        let known = effect
            .levels
            .iter()
            .flat_map(|level| level.changes.iter().filter(is_rate))
            .flat_map(|change| &change.pairs);
        let known = known.filter_map(|pair| Some((load(pair.base)?, model.cells[pair.base].ranked(metric)?)));
        let number = at_load(known.collect(), wanted);
        number.map_or_else(|| ABSENT.to_owned(), |number| rate(number, 2))
    };
    let mut table = vec![PivotRow {
        value: axis.text(effect.base),
        cells: shown.iter().map(|load| base_cells(*load)).collect(),
        judged: "base",
    }];
    for level in effect.levels.iter().take(rows.saturating_sub(1)) {
        let Some(change) = level.changes.iter().find(is_rate) else { continue };
        let known = || change.pairs.iter().filter_map(|pair| Some((load(pair.cell)?, pair.ratio))).collect();
        table.push(PivotRow {
            value: axis.text(level.value),
            cells: shown
                .iter()
                .map(|load| {
                    at_load(known(), *load).map_or_else(
                        || ABSENT.to_owned(),
                        |ratio| signed(Some(ratio - 1.0)).replace(" %", "%"),
                    )
                })
                .collect(),
            judged: judged(&change.judgement),
        });
    }
    Some(Pivot {
        axis: axis.label().to_owned(),
        base: axis.text(effect.base),
        metric: heading(metric),
        columns: shown.iter().map(|load| crate::report::number::thousands(Some(*load))).collect(),
        left_out: effect.levels.len() + 1 - table.len(),
        rows: table,
    })
}

fn judged(judgement: &Judgement) -> &'static str {
    match judgement {
        Judgement::Same => "same",
        Judgement::Unclear => "unclear",
        Judgement::Differs => "differs",
        Judgement::Crossover { .. } => "crossover",
        Judgement::Confined { .. } => "confined",
    }
}

/// All numbers of a block, in the order of its axes. Of too many rows those are kept that have the recommended cell's values on
/// every axis but the load; of still too many the first.
pub(in crate::report) fn numbers(model: &Model<'_>, at: usize) -> Numbers {
    let block = &model.blocks[at];
    let mut axes: Vec<usize> = block.axes.clone();
    // The load reads best downwards: first.
    if let Some(load) = block.load_axis {
        axes.retain(|axis| *axis != load);
        axes.insert(0, load);
    }
    let mut cells: Vec<&Cell<'_>> = block.cells.iter().map(|cell| &model.cells[*cell]).collect();
    cells.sort_by_cached_key(|cell| axes.iter().map(|axis| cell.at[*axis]).collect::<Vec<_>>());
    let all = cells.len();
    if all > ROWS {
        if let Some(best) = model.ranking(at).first().map(|best| &model.cells[best]) {
            let others = || axes.iter().filter(|axis| Some(**axis) != block.load_axis);
            cells.retain(|cell| others().all(|axis| cell.at[*axis] == best.at[*axis]));
        }
        cells.truncate(ROWS);
    }
    let columns = metrics(model, block, true);
    let label = |cell: &Cell<'_>, axis: usize| match Some(axis) == block.load_axis {
        true => load_text(model, cell, axis),
        false => cell.at[axis].map_or_else(|| ABSENT.to_owned(), |at| model.axes[axis].text(at)),
    };
    let rows: Vec<NumberRow> = cells
        .iter()
        .map(|cell| NumberRow {
            labels: match axes.is_empty() {
                true => vec![model.place(cell)],
                false => axes.iter().map(|axis| label(cell, *axis)).collect(),
            },
            values: columns.iter().map(|metric| text(model, cell, *metric)).collect(),
        })
        .collect();
    Numbers {
        axes: match axes.is_empty() {
            true => vec!["cell".into()],
            false => axes.iter().map(|axis| model.axes[*axis].label().to_owned()).collect(),
        },
        columns: columns.into_iter().map(heading).collect(),
        left_out: all - rows.len(),
        is_marked: rows.iter().flat_map(|row| &row.values).any(|value| is_marked(value)),
        rows,
    }
}

/// What a picked cell gives, as plain numbers: those that may be ranked, and beside them the percentiles to show.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Picked {
    /// `most_load`, `fastest`, `knee` …
    pub(in crate::report) reason: &'static str,
    pub(in crate::report) place: String,
    pub(in crate::report) cell: String,
    /// Requests in flight, or due per second, as they were reached.
    pub(in crate::report) load: Option<f64>,
    pub(in crate::report) is_rate: bool,
    pub(in crate::report) throughput_tok_s: Option<f64>,
    pub(in crate::report) req_s: Option<f64>,
    pub(in crate::report) p50_ttft_ms: Option<f64>,
    pub(in crate::report) p95_ttft_ms: Option<f64>,
    pub(in crate::report) p50_e2e_ms: Option<f64>,
    pub(in crate::report) p95_e2e_ms: Option<f64>,
    pub(in crate::report) user_tok_s: Option<f64>,
    /// Of numbers of fewer than a hundred samples two digits matter, else three.
    pub(in crate::report) digits: u8,
}

impl Picked {
    /// The numbers of a cell that may be ranked.
    pub(in crate::report) fn of(model: &Model<'_>, cell: &Cell<'_>, reason: &'static str) -> Self {
        let at = |percentile, kind| cell.ranked(Metric::Latency(Rank::At(percentile), kind));
        Self {
            reason,
            place: model.place(cell),
            cell: cell.id().to_owned(),
            load: cell.load.reached,
            is_rate: cell.load.is_open,
            throughput_tok_s: cell.ranked(Metric::OUTPUT),
            req_s: cell.ranked(Metric::Rate(Rate::Requests)),
            p50_ttft_ms: at(Percentile::P50, LatencyKind::Ttft),
            p95_ttft_ms: at(Percentile::P95, LatencyKind::Ttft),
            p50_e2e_ms: at(Percentile::P50, LatencyKind::E2e),
            p95_e2e_ms: at(Percentile::P95, LatencyKind::E2e),
            user_tok_s: cell.ranked(Metric::Rate(Rate::User)),
            digits: model.digits(&[cell.index]),
        }
    }
}
