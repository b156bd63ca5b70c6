//! From one cell of a row to the next: latencies that take off, and requests that are quicker with more load.

use super::{
    super::{Facts, Finding, Kind, middle, place_of_line, tail},
    Row, rows,
};
use crate::{
    manifest::LatencyKind,
    measure::Metric,
    report::model::{Block, Cell, Line, Model, Streaming},
};

/// A step is a cliff when latency grows this many times as fast as the axis.
const CLIFF: f64 = 2.0;
/// Or, where the step is small, by this factor and this many times the part that the axis grows by.
const SMALL_STEP: f64 = 1.5;
const STEEP: f64 = 4.0;
/// A median below this part of that with less load has fallen.
const FALL: f64 = 0.82;
/// Answers of less than this part of the tokens are shorter.
const SHORTER: f64 = 0.95;

/// A cell of a row with one of its latencies.
#[derive(Clone, Copy)]
struct Point<'m, 'a> {
    x: f64,
    cell: &'m Cell<'a>,
    value: f64,
}

/// A latency along a row.
struct Path<'m, 'a> {
    line: &'m Line,
    metric: Metric,
    points: Vec<Point<'m, 'a>>,
}

/// A latency that rises, or falls, from one cell to another.
struct Climb<'m, 'a> {
    line: &'m Line,
    metric: Metric,
    from: Point<'m, 'a>,
    to: Point<'m, 'a>,
}

/// The first of some metrics of a latency that two cells of a row may be ranked by.
fn path<'m, 'a>(row: &Row<'m, 'a>, metrics: &[Metric]) -> Option<Path<'m, 'a>> {
    metrics.iter().find_map(|metric| {
        // What came whole has no TTFT of its own.
        let own = |cell: &Cell<'_>| match metric {
            Metric::Latency(_, LatencyKind::Ttft) => cell.streaming == Streaming::Streamed,
            _ => true,
        };
        let point = |(x, cell): &(f64, &'m Cell<'a>)| {
            let value = cell.ranked(*metric).filter(|value| *value > 0.0 && own(cell))?;
            Some(Point { x: *x, cell, value })
        };
        let points: Vec<Point<'m, 'a>> = row.cells.iter().filter_map(point).collect();
        (points.len() > 1).then_some(Path { line: row.line, metric: *metric, points })
    })
}

impl Climb<'_, '_> {
    fn ratio(&self) -> f64 {
        self.to.value / self.from.value
    }

    fn cells(&self) -> [usize; 2] {
        [self.from.cell.index, self.to.cell.index]
    }

    fn facts(&self, model: &Model<'_>, block: &Block<'_>) -> Facts {
        let digits = model.digits(&self.cells());
        Facts::new()
            .name("axis", model.axes[self.line.axis].label())
            .metric("metric", self.metric)
            .place("line", place_of_line(model, block, self.line))
            .plain("from_load", self.from.x)
            .plain("to_load", self.to.x)
            .measure("from", self.metric, self.from.value, digits)
            .measure("to", self.metric, self.to.value, digits)
            .times("load_ratio", self.to.x / self.from.x, digits)
    }
}

/// The cliffs of a latency along a row, one of `tests` steps; steps that follow each other are one. What
/// comes down again with the next step is a ridge.
fn steep<'m, 'a>(model: &Model<'_>, path: &Path<'m, 'a>, tests: usize) -> Vec<Climb<'m, 'a>> {
    let mut found: Vec<Climb<'m, 'a>> = Vec::new();
    for (nth, pair) in path.points.windows(2).enumerate() {
        let [from, to] = [pair[0], pair[1]];
        let step = to.x / from.x;
        let least = (CLIFF * step).min(SMALL_STEP.max(1.0 + STEEP * (step - 1.0)));
        let stays = path.points.get(nth + 2).is_none_or(|next| next.value > least * from.value);
        let ratio = to.value / from.value;
        let doubt = model.noise(from.cell.workload).of_ratio(to.cell, from.cell, path.metric);
        // In proportion to the axis is no cliff: a closed loop at its limit grows so.
        if ratio <= least || !stays || !doubt.is_beaten_by((ratio / step).ln(), tests) {
            continue;
        }
        match found.last_mut().filter(|last| last.to.cell.index == from.cell.index) {
            Some(last) => last.to = to,
            None => found.push(Climb { line: path.line, metric: path.metric, from, to }),
        }
    }
    found
}

/// Where a latency takes off along an axis: of all rows with a cliff at the same place the highest speaks.
pub(super) fn cliffs(model: &Model<'_>) -> Vec<Finding> {
    model.blocks.iter().enumerate().flat_map(|(at, block)| cliffs_of(model, at, block)).collect()
}

fn cliffs_of(model: &Model<'_>, at: usize, block: &Block<'_>) -> Vec<Finding> {
    let latencies = [LatencyKind::E2e, LatencyKind::Ttft].map(|kind| [tail(kind), middle(kind)]);
    let latencies = latencies.as_flattened();
    let rows = rows(model, block);
    let paths: Vec<Path<'_, '_>> =
        rows.iter().flat_map(|row| latencies.iter().filter_map(|metrics| path(row, metrics))).collect();
    let tests = paths.iter().map(|path| path.points.len() - 1).sum();
    let mut all: Vec<Climb<'_, '_>> = paths.iter().flat_map(|path| steep(model, path, tests)).collect();
    all.sort_by(|a, b| b.ratio().total_cmp(&a.ratio()));
    let place = |own: &Climb<'_, '_>| {
        let on_axis = |cell: &Cell<'_>| cell.at[own.line.axis];
        (own.line.axis, on_axis(own.from.cell), on_axis(own.to.cell))
    };
    let mut groups: Vec<Vec<&Climb<'_, '_>>> = Vec::new();
    for own in &all {
        match groups.iter_mut().find(|group| place(group[0]) == place(own)) {
            Some(group) if group.iter().any(|known| known.cells() == own.cells()) => {}
            Some(group) => group.push(own),
            None => groups.push(vec![own]),
        }
    }
    let finding = |group: &Vec<&Climb<'_, '_>>| {
        let highest = group[0];
        let mut facts = highest
            .facts(model, block)
            .times("jump", highest.ratio(), model.digits(&highest.cells()))
            .count("lines", block.lines(highest.line.axis).len())
            .count("with_cliff", group.len());
        if let Some(samples) = highest.to.cell.samples(highest.metric) {
            facts = facts.plain("samples", samples as f64);
        }
        let cells = group.iter().flat_map(|own| own.cells());
        Finding::of_block(Kind::Cliff, model, at, cells).strong_as(highest.ratio()).with(facts)
    };
    groups.iter().map(finding).collect()
}

/// Requests that are quicker than with less load: then they are not the same requests.
pub(super) fn falls(model: &Model<'_>) -> Vec<Finding> {
    model.blocks.iter().enumerate().flat_map(|(at, block)| falls_of(model, at, block)).collect()
}

fn falls_of(model: &Model<'_>, at: usize, block: &Block<'_>) -> Vec<Finding> {
    let rows = rows(model, block);
    let along = rows.iter().filter(|row| Some(row.line.axis) == block.load_axis);
    let paths: Vec<Path<'_, '_>> = along.filter_map(|row| path(row, &middle(LatencyKind::E2e))).collect();
    let tests = paths.iter().map(|path| path.points.len() - 1).sum();
    let mut found = Vec::new();
    for path in &paths {
        for (nth, pair) in path.points.windows(2).enumerate() {
            let [from, to] = [pair[0], pair[1]];
            // What had gone up with the step before is a ridge.
            let before = nth.checked_sub(1).map_or(from.value, |before| path.points[before].value);
            let doubt = model.noise(block.workload).of_ratio(to.cell, from.cell, path.metric);
            let fell = to.value < FALL * from.value.min(before)
                && doubt.is_beaten_by((to.value / from.value).ln(), tests);
            if fell {
                found.push(fall(model, at, block, &Climb { line: path.line, metric: path.metric, from, to }));
            }
        }
    }
    found
}

fn fall(model: &Model<'_>, at: usize, block: &Block<'_>, own: &Climb<'_, '_>) -> Finding {
    let digits = model.digits(&own.cells());
    let mut facts = own.facts(model, block).times("ratio", own.ratio(), digits);
    let mut why = "unknown";
    if let (Some(from), Some(to)) = (own.from.cell.answer_tokens(), own.to.cell.answer_tokens()) {
        facts = facts.plain("from_tokens", from.round()).plain("to_tokens", to.round());
        if to < SHORTER * from {
            why = "shorter_answers";
        }
    }
    Finding::of_block(Kind::Falls, model, at, own.cells()).strong_as(own.ratio()).with(facts.name("why", why))
}
