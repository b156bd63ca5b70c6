//! What more load brings and costs: scaling, knee, saturation, and which latency degrades first.

use super::{Facts, Finding, Kind, Rule, Unit, both, place, place_of_line};
use crate::{
    manifest::{LatencyKind, SloTerm},
    measure::{Metric, Rate},
    report::{
        metrics::{middle, pace, tail},
        model::{
            Block, Cell, Curve, Line, Met, Model, Point, Streaming, Trust, Window, carried, deciding,
            falls_behind, keeps_up,
        },
        statistics::largest,
    },
};

pub(super) const RULES: &[Rule] = &[
    Rule::Block(limit),
    Rule::Block(saturation),
    Rule::Several(scaling),
    Rule::Block(ttft_growth),
    Rule::Block(latency_growth),
    Rule::Block(peak),
    Rule::Block(decode_speed),
    Rule::Block(edge),
    Rule::Several(ladder_ends),
];

/// The smallest growth of a latency that is named as a price.
const PRICE: f64 = 1.1;
/// The largest growth of the time per token that still counts as constant.
const KEPT: f64 = 1.5;
/// One latency degrades first if it grows by this factor more than the other.
const FIRST: f64 = 1.5;
/// A latency that grows by less than this factor does not degrade.
const KEEPS: f64 = 1.1;
/// Latency that grows this many times as fast as the load is more than queueing in proportion.
const RUNS_AWAY: f64 = 1.5;
/// The part of the added latency that TTFT makes up when requests wait for their turn.
const WAITS: f64 = 0.5;
/// The least ratio of loads over which the probes of a search say how numbers grow: with less, they lie around
/// its limit.
const SPAN: f64 = 4.0;
/// A step that brings more than this part of its share says that the limit is not near.
const STILL_BRINGS: f64 = 0.3;

/// A point of a curve: its load and throughput.
fn point(model: &Model<'_>, curve: &Curve, point: Point, digits: u8) -> Facts {
    let load = model.cells[point.cell].load.reached.unwrap_or(point.load);
    Facts::new().plain("load", load).measure("value", curve.brings, point.value, digits)
}

/// The SLO term that the next larger load than the recommended one breaks.
fn limit(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let ranking = model.ranking(at);
    // A search says itself what limits.
    if !matches!(ranking.met, Met::Yes | Met::ByStandIn) || !block.searches.is_empty() {
        return None;
    }
    let (line, position) = block.load_line_of(ranking.first()?)?;
    let next = &model.cells[*line.cells.get(position + 1)?];
    let digits = model.digits(&[next.index]);
    let term = |term: &SloTerm| {
        let own = Metric::of_term(term);
        let stand_in = || {
            let ms = deciding(term, next, ranking.trust)?;
            let [median, _] = middle(term.metric);
            Some((if ranking.trust == Trust::Medians { median } else { own }, ms))
        };
        let (metric, ms) = next.ranked(own).map(|ms| (own, ms)).or_else(stand_in)?;
        Some((metric, ms, term.limit.as_ms()))
    };
    let terms: Vec<(Metric, f64, f64)> = block.slo.0.iter().filter_map(term).collect();
    let broken = terms.iter().filter(|(_, ms, limit)| ms > limit);
    let worst = broken.max_by(|a, b| (a.1 / a.2).total_cmp(&(b.1 / b.2)))?;
    let fact = |(metric, ms, limit): &(Metric, f64, f64)| {
        let facts = Facts::new().metric("metric", *metric).measure("value", *metric, *ms, digits);
        facts.exact("target", *metric, *limit)
    };
    let facts = Facts::new()
        .place("place", place(model, next))
        .times("of_limit", worst.1 / worst.2, digits)
        .facts("worst", fact(worst))
        .list("kept", terms.iter().filter(|(_, ms, limit)| ms <= limit).map(fact));
    Some(Finding::of_block(Kind::Limit, model, at, [next.index]).strong_as(worst.1 / worst.2).with(facts))
}

/// The rate up to which an open loop keeps up with its schedule, and the rate from which it falls behind.
fn saturation(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let open = model.with_numbers(block).filter(|cell| cell.load.is_open && cell.load.configured.is_some());
    let (behind, kept): (Vec<&Cell<'_>>, Vec<&Cell<'_>>) = open.partition(|cell| falls_behind(cell));
    let rate = |cell: &&&Cell<'_>| cell.load.configured.unwrap_or_default();
    let first = *behind.iter().min_by(|a, b| rate(a).total_cmp(&rate(b)))?;
    let below = kept.iter().filter(|cell| cell.load.configured < first.load.configured && keeps_up(cell));
    let keeps_up_with =
        below.max_by(|a, b| rate(a).total_cmp(&rate(b))).and_then(|cell| cell.load.configured);
    let all = behind.iter().filter_map(|cell| Some((*cell, carried(cell)?)));
    let worst = all.min_by(|a, b| a.1.total_cmp(&b.1));
    let worst = worst.filter(|(cell, _)| cell.index != first.index && carried(first).is_some());
    let same = kept.iter().find(|cell| cell.load.configured == first.load.configured);
    let facts = Facts::new()
        .count("behind", behind.len())
        .count("of", behind.len() + kept.len())
        .plain("rate", first.load.configured?)
        .place("place", place(model, first))
        .part("carried", carried(first))
        .when(worst, |facts, (cell, part)| {
            facts.part("least_carried", part).place("least_place", place(model, cell))
        })
        .plain("keeps_up_with", keeps_up_with)
        .place("kept_place", same.filter(|_| keeps_up_with.is_none()).map(|cell| place(model, cell)));
    let cells = behind.iter().map(|cell| cell.index);
    Some(Finding::of_block(Kind::Saturation, model, at, cells).strong_as(2.0).with(facts))
}

/// Whether some cells of a block say how numbers grow from a load to one that is this many times as large.
fn shows_growth(block: &Block<'_>, load_ratio: f64) -> bool {
    block.searches.is_empty() || load_ratio >= SPAN
}

/// A line with its curve.
struct Scaled<'m> {
    line: &'m Line,
    curve: Curve,
    first: Point,
    last: Point,
}

impl Scaled<'_> {
    /// The throughput at the end of the line over that at its start.
    fn ratio(&self) -> f64 {
        self.last.value / self.first.value
    }

    /// The growth of the throughput over that of the load.
    fn efficiency(&self) -> f64 {
        self.ratio() / (self.last.load / self.first.load)
    }
}

/// How throughput grows, where it bends, and which cells cannot be compared because they started in another
/// way.
fn scaling(model: &Model<'_>, at: usize, block: &Block<'_>) -> Vec<Finding> {
    let scaled = |line| {
        let curve = Curve::of(model, line)?;
        let (first, last) =
            curve.ends().filter(|(first, last)| shows_growth(block, last.load / first.load))?;
        Some(Scaled { line, curve, first, last })
    };
    let all: Vec<Scaled<'_>> = block.load_lines().iter().filter_map(scaled).collect();
    let apart: Vec<usize> = all.iter().flat_map(|own| own.curve.apart.iter().copied()).collect();
    let start_modes = apart.first().map(|first| {
        let facts = Facts::new().place("place", place(model, &model.cells[*first]));
        Finding::of_block(Kind::StartModes, model, at, apart.clone()).with(facts)
    });
    let found = [growth(model, at, block, &all), knee(model, at, block, &all), start_modes];
    found.into_iter().flatten().collect()
}

/// How throughput grows along the line of the recommended cell, else along the one with most points.
fn growth(model: &Model<'_>, at: usize, block: &Block<'_>, all: &[Scaled<'_>]) -> Option<Finding> {
    let best = model.ranking(at).first();
    let own = best.and_then(|best| all.iter().find(|own| own.line.position(best).is_some()));
    let own = own.or_else(|| all.iter().rev().max_by_key(|own| own.curve.points.len()))?;
    let (curve, first, last) = (&own.curve, own.first, own.last);
    let cells: Vec<usize> = curve.points.iter().map(|point| point.cell).collect();
    let digits = model.digits(&cells);
    let straight = curve.straight_to();
    let facts = Facts::new()
        .name("axis", model.axes[own.line.axis].label())
        .metric("metric", curve.brings)
        .place("line", place_of_line(model, block, own.line))
        .facts("first", point(model, curve, first, digits))
        .facts("last", point(model, curve, last, digits))
        .times("ratio", own.ratio(), digits)
        .times("load_ratio", last.load / first.load, digits)
        .part("efficiency", own.efficiency())
        .flag("is_flat", curve.is_flat())
        .flag("is_steady_window", curve.window == Window::Steady)
        .count("lines", all.len())
        .plain("straight_to", straight.map(|to| model.cells[to.cell].load.reached.unwrap_or(to.load)))
        .flag("is_straight", straight.is_some_and(|to| to.cell == last.cell));
    let facts = match straight {
        Some(_) => facts,
        None => facts.flag("bends_at_once", curve.bends_at_once()),
    };
    let ends = || all.iter().map(Scaled::efficiency);
    let facts = facts
        .when(curve.fall(), |facts, (peak, after)| {
            facts
                .facts("peak", point(model, curve, peak, digits))
                .facts("after", point(model, curve, after, digits))
                .times("fall", after.value / peak.value, digits)
        })
        .part("worst_efficiency", ends().min_by(f64::total_cmp))
        .part("best_efficiency", ends().max_by(f64::total_cmp));
    Some(Finding::of_block(Kind::Scaling, model, at, cells).strong_as(own.ratio()).with(facts))
}

/// The knee with the highest throughput, what the load beyond it brings and costs, and where the other lines
/// bend.
fn knee(model: &Model<'_>, at: usize, block: &Block<'_>, all: &[Scaled<'_>]) -> Option<Finding> {
    let knees: Vec<(&Scaled<'_>, Point)> =
        all.iter().filter_map(|own| Some((own, own.curve.knee()?))).collect();
    // The first of equal ones.
    let (own, knee) = knees.iter().rev().max_by(|a, b| a.1.value.total_cmp(&b.1.value))?;
    let last = own.last;
    let (cell, end) = (&model.cells[knee.cell], &model.cells[last.cell]);
    let digits = model.digits(&[knee.cell, last.cell]);
    let prices = [
        tail(LatencyKind::E2e),
        middle(LatencyKind::Ttft),
        tail(LatencyKind::Ttft),
        middle(LatencyKind::E2e),
        middle(LatencyKind::Tpot),
    ];
    let prices = prices.iter().filter_map(|metrics| {
        let (metric, from, to) = both(metrics, cell, end)?;
        (to >= PRICE * from).then(|| Facts::new().metric("metric", metric).times("ratio", to / from, digits))
    });
    let loads = || knees.iter().filter_map(|(_, point)| model.cells[point.cell].load.reached);
    let facts = point(model, &own.curve, *knee, digits)
        .name("axis", model.axes[own.line.axis].label())
        .place("place", place(model, cell))
        .place("line", place_of_line(model, block, own.line))
        .metric("metric", own.curve.brings)
        .plain("to", end.load.reached.unwrap_or(last.load))
        .times("load_ratio", last.load / knee.load, digits)
        .times("throughput_ratio_beyond", last.value / knee.value, digits)
        .list("prices", prices.take(2))
        .count("lines", all.len())
        .count("with_knee", knees.len())
        .plain("least_knee", loads().fold(f64::INFINITY, f64::min))
        .plain("most_knee", loads().fold(0.0, f64::max));
    Some(Finding::of_block(Kind::Knee, model, at, [knee.cell]).strong_as(last.load / knee.load).with(facts))
}

/// How a latency grows from the first to the last cell of a line that may be ranked by it.
struct Growth<'m, 'a> {
    line: &'m Line,
    cells: Vec<&'m Cell<'a>>,
    first: &'m Cell<'a>,
    last: &'m Cell<'a>,
    metric: Metric,
    from: f64,
    to: f64,
    /// The last load over the first.
    load: f64,
}

impl<'m, 'a> Growth<'m, 'a> {
    /// The growth of the first of some metrics that both ends have; `None` if the load does not grow.
    fn of(model: &'m Model<'a>, line: &'m Line, metrics: &[Metric]) -> Option<Self> {
        let cells: Vec<&Cell<'_>> =
            model.cells_at(&line.cells).filter(|cell| cell.first_ranked(metrics).is_some()).collect();
        let (first, last) = (*cells.first()?, *cells.last()?);
        let load = last.load.reached? / first.load.reached.filter(|load| *load > 0.0)?;
        let (metric, from, to) = both(metrics, first, last).filter(|_| load > 1.0)?;
        Some(Self { line, cells, first, last, metric, from, to, load })
    }

    fn ratio(&self) -> f64 {
        self.to / self.from
    }

    /// The line, and both loads and latencies at its ends.
    fn facts(&self, model: &Model<'_>, block: &Block<'_>, digits: u8) -> Facts {
        Facts::new()
            .name("axis", model.axes[self.line.axis].label())
            .metric("metric", self.metric)
            .plain("from_load", self.first.load.reached)
            .plain("to_load", self.last.load.reached)
            .place("line", place_of_line(model, block, self.line))
            .measure("from", self.metric, self.from, digits)
            .measure("to", self.metric, self.to, digits)
            .times("growth", self.ratio(), digits)
            .times("load_ratio", self.load, digits)
    }

    fn ends(&self) -> [usize; 2] {
        [self.first.index, self.last.index]
    }

    /// How the latency of whole requests grows beside the load.
    fn judged(&self) -> &'static str {
        // Whether the wait for the first token makes up most of what is added; `None` if TTFT is not known.
        let waits = both(&middle(LatencyKind::Ttft), self.first, self.last)
            .filter(|_| self.first.streaming == Streaming::Streamed)
            .map(|(_, before, after)| after - before >= WAITS * (self.to - self.from));
        let share = (self.ratio() - 1.0) / (self.load - 1.0);
        match waits {
            _ if self.to < self.from => "falls",
            _ if share < 0.1 => "mild",
            _ if share > RUNS_AWAY => "runs_away",
            Some(true) if share > 0.8 => "queues",
            None if share > 0.8 => "in_proportion",
            _ => "shares",
        }
    }
}

/// How TTFT grows along the longest line, and the time per token beside it.
fn ttft_growth(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    // The first of equally long lines.
    let line = block.load_lines().iter().rev().max_by_key(|line| line.cells.len())?;
    let metrics = [middle(LatencyKind::Ttft), tail(LatencyKind::Ttft)].concat();
    let own = Growth::of(model, line, &metrics).filter(|own| shows_growth(block, own.load))?;
    if own.cells.iter().any(|cell| cell.streaming != Streaming::Streamed) {
        return None;
    }
    let digits = model.digits(&own.ends());
    let pace = both(&pace(), own.first, own.last);
    let waits = own.ratio();
    let noise = model.noise(block.workload);
    let is_sure = |metric: Metric, growth: f64| {
        noise.of_ratio(own.first, own.last, metric).is_beaten_by(growth.ln(), 2)
    };
    let gives_way = pace.map_or("unknown", |(pace, before, after)| {
        let slows = after / before;
        let waits_more = waits >= FIRST * slows && is_sure(own.metric, waits);
        let slows_down = slows >= KEPT && is_sure(pace, slows);
        match () {
            () if waits_more && slows < KEPT => "waiting",
            () if waits_more && slows_down => "waiting_first",
            () if slows_down => "decoding",
            () if waits < KEEPS && slows < KEEPS => "neither",
            () => "both",
        }
    });
    let facts = own
        .facts(model, block, digits)
        .change(["pace", "pace_from", "pace_to", "pace_growth"], pace, digits)
        .name("gives_way", gives_way);
    Some(Finding::of_block(Kind::TtftGrowth, model, at, own.ends()).strong_as(waits).with(facts))
}

/// How the latency of whole requests grows along the line where it grows most, and the least growth of any
/// line.
fn latency_growth(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let metrics = [tail(LatencyKind::E2e), middle(LatencyKind::E2e)].concat();
    let lines = block.load_lines().iter();
    let all = lines.filter_map(|line| Growth::of(model, line, &metrics));
    let all: Vec<Growth<'_, '_>> = all.filter(|own| shows_growth(block, own.load)).collect();
    let most = all.iter().rev().max_by(|a, b| a.ratio().total_cmp(&b.ratio()))?;
    let least = all.iter().map(Growth::ratio).fold(most.ratio(), f64::min);
    let digits = model.digits(&most.ends());
    let facts = most
        .facts(model, block, digits)
        .times("least_growth", least, digits)
        .count("lines", all.len())
        .name("judged", most.judged());
    Some(Finding::of_block(Kind::LatencyGrowth, model, at, most.ends()).strong_as(most.ratio()).with(facts))
}

/// The highest throughput.
fn peak(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let brings = block.brings?;
    let cells = model.cells_at(&block.cells).filter(|cell| Some(cell.origin) == block.origin);
    let (cell, rate) = largest(cells.filter_map(|cell| Some((cell, cell.ranked(brings)?))))?;
    let digits = model.digits(&[cell.index]);
    let users = cell.load.reached.filter(|users| !cell.load.is_open && *users > 1.0);
    let facts = Facts::new()
        .metric("metric", brings)
        .measure("value", brings, rate, digits)
        .place("place", place(model, cell))
        .measure("each", brings, users.map(|users| rate / users), digits);
    Some(Finding::of_block(Kind::Peak, model, at, [cell.index]).with(facts))
}

/// How fast a single stream decodes when nothing else is in flight.
fn decode_speed(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let is_alone = |cell: &&Cell<'_>| {
        Some(cell.origin) == block.origin
            && !cell.load.is_open
            && cell.load.reached == Some(1.0)
            && cell.streaming == Streaming::Streamed
    };
    let tpot = |cell: &Cell<'_>| cell.first_ranked(&middle(LatencyKind::Tpot));
    let speed = |cell: &Cell<'_>| {
        let by_requests = cell.ranked(Metric::Rate(Rate::User));
        by_requests.or_else(|| tpot(cell).map(|(_, ms)| 1e3 / ms)).filter(|speed| speed.is_finite())
    };
    let alone = model.cells_at(&block.cells).filter(is_alone);
    let (cell, speed) = largest(alone.filter_map(|cell| Some((cell, speed(cell)?))))?;
    let digits = model.digits(&[cell.index]);
    let facts = Facts::new()
        .number("user_tok_s", speed, Unit::TokS, digits)
        .place("place", place(model, cell))
        .when(tpot(cell), |facts, (metric, ms)| {
            facts.metric("pace", metric).measure("pace_value", metric, ms, digits)
        });
    Some(Finding::of_block(Kind::DecodeSpeed, model, at, [cell.index]).with(facts))
}

/// Whether the recommended cell has the most load that was tried: then the limit was not found.
fn edge(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let ranking = model.ranking(at);
    // A search says itself whether it tried more.
    let is_open = block.searches.is_empty() && !matches!(ranking.met, Met::No | Met::Contradicted);
    let best = ranking.first().filter(|_| is_open)?;
    let cell = &model.cells[best];
    let (line, position) = block.load_line_of(cell.index)?;
    // A larger load that was tried and is not usable means that the limit was met.
    let most = model.cells_at(&block.cells).filter_map(|cell| cell.load.configured).fold(0.0, f64::max);
    if position == 0 || position + 1 < line.cells.len() || cell.load.configured? < most {
        return None;
    }
    let curve = Curve::of(model, line);
    if curve.as_ref().is_some_and(|curve| curve.is_flat() || curve.fall().is_some()) {
        return None;
    }
    let steps = curve.map(|curve| curve.steps()).unwrap_or_default();
    let share = steps.last().filter(|step| step.to.cell == cell.index).map(|step| step.share);
    let load = cell.load.reached?;
    let facts = Facts::new()
        .name("quantity", cell.load.quantity())
        .plain("load", load)
        .plain("next", load * 2.0)
        .place("place", place(model, cell))
        .when(share, |facts, share| facts.part("share", share).flag("still_brings", share > STILL_BRINGS));
    Some(Finding::of_block(Kind::Edge, model, at, [cell.index]).with(facts))
}

/// Cells that were not tried because a smaller load had ended the climb, grouped by the cell that ended it.
fn ladder_ends(model: &Model<'_>, at: usize, block: &Block<'_>) -> Vec<Finding> {
    let mut found: Vec<(&str, Finding)> = Vec::new();
    for cell in model.cells_at(&block.cells) {
        let Some(ended_at) = cell.file.ladder_ended_at.as_deref() else { continue };
        match found.iter_mut().find(|(known, _)| *known == ended_at) {
            Some((_, finding)) => finding.cells.push(cell.index),
            None => {
                let reason = cell.file.reason.clone().unwrap_or_default();
                let facts = Facts::new().name("ended_at", ended_at).name("reason", reason);
                let finding = Finding::of_block(Kind::LadderEnd, model, at, [cell.index]).with(facts);
                found.push((ended_at, finding));
            }
        }
    }
    found.into_iter().map(|(_, finding)| finding).collect()
}
