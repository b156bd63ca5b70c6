//! From one cell of a row to the next: latencies that take off, and requests that get faster under more load.

use super::{
    super::{Facts, Finding, Kind, place_of_line},
    row::{Row, rows},
};
use crate::{
    manifest::LatencyKind,
    measure::Metric,
    report::{
        metrics::{middle, tail},
        model::{Block, Cell, Line, Model},
    },
};

/// A step is a cliff if latency grows this many times as fast as the axis.
const CLIFF: f64 = 2.0;
/// Or, for a small step, by this factor and this many times the part by which the axis grows.
const SMALL_STEP: f64 = 1.5;
const STEEP: f64 = 4.0;
/// A median below this part of that under less load has fallen.
const FALL: f64 = 0.82;
/// Answers of less than this part of the tokens are shorter.
const SHORTER: f64 = 0.95;

/// A cell of a row with a latency.
#[derive(Clone, Copy)]
struct Point<'m, 'a> {
    x: f64,
    cell: &'m Cell<'a>,
    value: f64,
}

/// A latency along a row; at least two points.
struct Path<'m, 'a> {
    line: &'m Line,
    metric: Metric,
    points: Vec<Point<'m, 'a>>,
}

/// A latency that rises or falls from one cell to another.
struct Step<'m, 'a> {
    line: &'m Line,
    metric: Metric,
    from: Point<'m, 'a>,
    to: Point<'m, 'a>,
}

impl<'m, 'a> Path<'m, 'a> {
    /// The first of some metrics by which two cells of a row may be ranked.
    fn of(row: &Row<'m, 'a>, metrics: &[Metric]) -> Option<Self> {
        metrics.iter().find_map(|metric| {
            let point = |(x, cell): &(f64, &'m Cell<'a>)| {
                let value = cell.ranked_own(*metric)?;
                Some(Point { x: *x, cell, value })
            };
            let points: Vec<Point<'m, 'a>> = row.cells.iter().filter_map(point).collect();
            (points.len() > 1).then_some(Self { line: row.line, metric: *metric, points })
        })
    }

    fn steps(&self) -> impl Iterator<Item = (usize, Step<'m, 'a>)> + '_ {
        let pairs = self.points.windows(2).enumerate();
        pairs.map(|(nth, pair)| {
            (nth, Step { line: self.line, metric: self.metric, from: pair[0], to: pair[1] })
        })
    }

    /// The cliffs of the latency, as some of `tests` steps. Consecutive cliffs are one; what comes down with
    /// the next step is a ridge.
    fn cliffs(&self, model: &Model<'_>, tests: usize) -> Vec<Step<'m, 'a>> {
        let mut found: Vec<Step<'m, 'a>> = Vec::new();
        for (nth, own) in self.steps() {
            let step = own.to.x / own.from.x;
            let least = (CLIFF * step).min(SMALL_STEP.max(1.0 + STEEP * (step - 1.0)));
            let stays = self.points.get(nth + 2).is_none_or(|next| next.value > least * own.from.value);
            // Growth in proportion to the axis is no cliff: a closed loop at its limit grows so.
            if own.ratio() <= least || !stays || !own.is_beyond_chance(model, own.ratio() / step, tests) {
                continue;
            }
            match found.last_mut().filter(|last| last.to.cell.index == own.from.cell.index) {
                Some(last) => last.to = own.to,
                None => found.push(own),
            }
        }
        found
    }
}

impl Step<'_, '_> {
    fn ratio(&self) -> f64 {
        self.to.value / self.from.value
    }

    fn is_beyond_chance(&self, model: &Model<'_>, ratio: f64, tests: usize) -> bool {
        let noise = model.noise(self.from.cell.workload);
        noise.of_ratio(self.to.cell, self.from.cell, self.metric).is_beaten_by(ratio.ln(), tests)
    }

    fn cells(&self) -> [usize; 2] {
        [self.from.cell.index, self.to.cell.index]
    }

    fn facts(&self, model: &Model<'_>, block: &Block<'_>, ratio: &'static str) -> Facts {
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
            .times(ratio, self.ratio(), digits)
    }
}

/// Where a latency takes off along an axis: of all rows with a cliff at the same place the highest one is
/// described.
pub(super) fn cliffs(model: &Model<'_>, at: usize, block: &Block<'_>) -> Vec<Finding> {
    let latencies = [LatencyKind::E2e, LatencyKind::Ttft].map(|kind| [tail(kind), middle(kind)]);
    let latencies = latencies.as_flattened();
    let rows = rows(model, block);
    let paths: Vec<Path<'_, '_>> =
        rows.iter().flat_map(|row| latencies.iter().filter_map(|metrics| Path::of(row, metrics))).collect();
    let tests = paths.iter().map(|path| path.points.len() - 1).sum();
    let mut all: Vec<Step<'_, '_>> = paths.iter().flat_map(|path| path.cliffs(model, tests)).collect();
    all.sort_by(|a, b| b.ratio().total_cmp(&a.ratio()));
    let place = |own: &Step<'_, '_>| {
        let on_axis = |cell: &Cell<'_>| cell.at[own.line.axis];
        (own.line.axis, on_axis(own.from.cell), on_axis(own.to.cell))
    };
    let mut groups: Vec<Vec<&Step<'_, '_>>> = Vec::new();
    for own in &all {
        match groups.iter_mut().find(|group| place(group[0]) == place(own)) {
            Some(group) if group.iter().any(|known| known.cells() == own.cells()) => {}
            Some(group) => group.push(own),
            None => groups.push(vec![own]),
        }
    }
    let finding = |group: &Vec<&Step<'_, '_>>| {
        let highest = group[0];
        let samples = highest.to.cell.samples(highest.metric);
        let facts = highest
            .facts(model, block, "jump")
            .count("lines", block.lines(highest.line.axis).len())
            .count("with_cliff", group.len())
            .plain("samples", samples.map(|samples| samples as f64));
        let cells = group.iter().flat_map(|own| own.cells());
        Finding::of_block(Kind::Cliff, model, at, cells).strong_as(highest.ratio()).with(facts)
    };
    groups.iter().map(finding).collect()
}

/// Requests that are faster than under less load: then they are not the same requests.
pub(super) fn falls(model: &Model<'_>, at: usize, block: &Block<'_>) -> Vec<Finding> {
    let rows = rows(model, block);
    let along = rows.iter().filter(|row| Some(row.line.axis) == block.load_axis);
    let paths: Vec<Path<'_, '_>> = along.filter_map(|row| Path::of(row, &middle(LatencyKind::E2e))).collect();
    let tests = paths.iter().map(|path| path.points.len() - 1).sum();
    let fallen = |path: &Path<'_, '_>| -> Vec<Finding> {
        let fell = |(nth, own): &(usize, Step<'_, '_>)| {
            // A fall after a rise is the far side of a ridge.
            let before = nth.checked_sub(1).map_or(own.from.value, |before| path.points[before].value);
            own.to.value < FALL * own.from.value.min(before)
                && own.is_beyond_chance(model, own.ratio(), tests)
        };
        path.steps().filter(fell).map(|(_, own)| fall(model, at, block, &own)).collect()
    };
    paths.iter().flat_map(fallen).collect()
}

fn fall(model: &Model<'_>, at: usize, block: &Block<'_>, own: &Step<'_, '_>) -> Finding {
    let tokens = own.from.cell.answer_tokens().zip(own.to.cell.answer_tokens());
    let is_shorter = tokens.is_some_and(|(from, to)| to < SHORTER * from);
    let facts = own
        .facts(model, block, "ratio")
        .plain("from_tokens", tokens.map(|(from, _)| from.round()))
        .plain("to_tokens", tokens.map(|(_, to)| to.round()))
        .name("why", if is_shorter { "shorter_answers" } else { "unknown" });
    Finding::of_block(Kind::Falls, model, at, own.cells()).strong_as(own.ratio()).with(facts)
}
