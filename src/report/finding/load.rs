//! What more load brings and costs: scaling, knee, saturation, and what gives way first.

use super::{Facts, Finding, Kind, Rule, Unit, both, each_block, middle, place, place_of_line, tail};
use crate::{
    manifest::LatencyKind,
    measure::{Metric, Rate},
    plan::Quantity,
    report::model::{
        Block, Cell, Curve, Line, Met, Model, Point, Streaming, Trust, Window, carried, deciding,
        falls_behind, keeps_up,
    },
};

pub(super) const RULES: &[Rule] =
    &[limits, saturations, scalings, ttft_growths, latency_growths, peaks, decode_speeds, edges, ladder_ends];

/// A growth of at least this much is a price worth naming.
const PRICE: f64 = 1.1;
/// A pace that grows by less than this factor is kept.
const KEPT: f64 = 1.5;
/// One latency gives way first when it grows by this factor more than the other.
const FIRST: f64 = 1.5;
/// What grows by less than this factor does not give way.
const KEEPS: f64 = 1.1;
/// Latency that grows this many times as fast as the load is no longer shared work.
const RUNS_AWAY: f64 = 1.5;
/// Requests wait their turn where TTFT makes up this part of what is added.
const WAITS: f64 = 0.5;
/// A step that still brings this part of its share does not say that the limit is near.
const STILL_BRINGS: f64 = 0.3;

/// A point of a curve as evidence: the load that was asked for and what it brings.
fn point(model: &Model<'_>, curve: &Curve, point: Point, digits: u8) -> Facts {
    let cell = &model.cells[point.cell];
    Facts::new().plain("load", cell.load.reached.unwrap_or(point.load)).measure(
        "value",
        curve.brings,
        point.value,
        digits,
    )
}

/// The line that a cell stands on, and where.
fn line_of<'b>(block: &'b Block<'_>, cell: usize) -> Option<(&'b Line, usize)> {
    block.load_lines().iter().find_map(|line| Some((line, line.position(cell)?)))
}

/// What more load than the recommended cell has breaks.
fn limits(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, |at, block| {
        let ranking = model.ranking(at);
        if !matches!(ranking.met, Met::Yes | Met::ByStandIn) {
            return None;
        }
        let best = ranking.first()?;
        let (line, position) = line_of(block, best)?;
        let next = &model.cells[*line.cells.get(position + 1)?];
        let digits = model.digits(&[next.index]);
        let term = |term: &crate::manifest::SloTerm| {
            let own = Metric::of_term(term);
            let named = next.ranked(own).map(|ms| (own, ms));
            let stand_in = || {
                let ms = deciding(term, next, ranking.trust)?;
                let [median, _] = middle(term.metric);
                Some((if ranking.trust == Trust::Medians { median } else { own }, ms))
            };
            let (metric, ms) = named.or_else(stand_in)?;
            Some((metric, ms, term.limit.as_ms()))
        };
        let told: Vec<(Metric, f64, f64)> = block.slo.0.iter().filter_map(term).collect();
        let broken = told.iter().filter(|(_, ms, limit)| ms > limit);
        let worst = broken.max_by(|a, b| (a.1 / a.2).total_cmp(&(b.1 / b.2)))?;
        let fact = |(metric, ms, limit): &(Metric, f64, f64)| {
            Facts::new()
                .metric("metric", *metric)
                .measure("value", *metric, *ms, digits)
                .exact("target", *metric, *limit)
        };
        let facts = Facts::new()
            .place("place", place(model, next))
            .times("of_limit", worst.1 / worst.2, digits)
            .facts("worst", fact(worst))
            .list("kept", told.iter().filter(|(_, ms, limit)| ms <= limit).map(fact));
        Some(Finding::of_block(Kind::Limit, model, at, [next.index]).strong_as(worst.1 / worst.2).with(facts))
    })
}

/// Open loops: as far as a server keeps up with what is due, and from where on it does not.
fn saturations(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, |at, block| {
        let open = block.cells.iter().map(|cell| &model.cells[*cell]);
        let open = open.filter(|cell| cell.load.is_open && cell.load.asked.is_some() && cell.has_numbers());
        let (behind, kept): (Vec<&Cell<'_>>, Vec<&Cell<'_>>) =
            open.filter(|cell| Some(cell.origin) == block.origin).partition(|cell| falls_behind(cell));
        let asked = |cell: &&&Cell<'_>| cell.load.asked.unwrap_or_default();
        let first = *behind.iter().min_by(|a, b| asked(a).total_cmp(&asked(b)))?;
        let below = kept.iter().filter(|cell| cell.load.asked < first.load.asked && keeps_up(cell));
        let last = below.max_by(|a, b| asked(a).total_cmp(&asked(b)));
        let mut facts = Facts::new()
            .count("behind", behind.len())
            .count("of", behind.len() + kept.len())
            .plain("rate", first.load.asked?)
            .place("place", place(model, first));
        if let Some(part) = carried(first) {
            facts = facts.part("carried", part);
            let all = behind.iter().filter_map(|cell| Some((*cell, carried(cell)?)));
            let worst = all.min_by(|a, b| a.1.total_cmp(&b.1)).filter(|(cell, _)| cell.index != first.index);
            if let Some((cell, part)) = worst {
                facts = facts.part("least_carried", part).place("least_place", place(model, cell));
            }
        }
        if let Some(rate) = last.and_then(|cell| cell.load.asked) {
            facts = facts.plain("keeps_up_with", rate);
        } else if let Some(cell) = kept.iter().find(|cell| cell.load.asked == first.load.asked) {
            facts = facts.place("kept_place", place(model, cell));
        }
        let cells = behind.iter().map(|cell| cell.index);
        Some(Finding::of_block(Kind::Saturation, model, at, cells).strong_as(2.0).with(facts))
    })
}

/// One curve with the place of its line.
struct Placed<'m> {
    line: &'m Line,
    curve: Curve,
}

fn curves<'m>(model: &Model<'_>, block: &'m Block<'_>) -> Vec<Placed<'m>> {
    let lines = block.load_lines().iter();
    lines
        .filter_map(|line| Some(Placed { line, curve: Curve::of(model, line)? }))
        .filter(|own| own.curve.ends().is_some())
        .collect()
}

/// How throughput grows, where it bends, and cells that cannot be compared for having started in another way.
fn scalings(model: &Model<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, block) in model.blocks.iter().enumerate() {
        let all = curves(model, block);
        found.extend(scaling(model, at, block, &all));
        found.extend(knee(model, at, block, &all));
        let apart: Vec<usize> = all.iter().flat_map(|own| own.curve.apart.iter().copied()).collect();
        if let Some(first) = apart.first() {
            let facts = Facts::new().place("place", place(model, &model.cells[*first]));
            found.push(Finding::of_block(Kind::StartModes, model, at, apart).with(facts));
        }
    }
    found
}

/// Throughput at the end of a line over that at its start, over the ratio of the load.
fn efficiency(curve: &Curve) -> Option<(f64, f64)> {
    let (first, last) = curve.ends()?;
    let ratio = last.value / first.value;
    Some((ratio, ratio / (last.load / first.load)))
}

fn scaling(model: &Model<'_>, at: usize, block: &Block<'_>, all: &[Placed<'_>]) -> Option<Finding> {
    // The line of the recommended cell speaks for the block, else the one with most points.
    let best = model.ranking(at).first();
    let own = best.and_then(|best| all.iter().find(|own| own.line.position(best).is_some()));
    let own = own.or_else(|| all.iter().rev().max_by_key(|own| own.curve.points.len()))?;
    let curve = &own.curve;
    let (first, last) = curve.ends()?;
    let (ratio, part) = efficiency(curve)?;
    let cells: Vec<usize> = curve.points.iter().map(|point| point.cell).collect();
    let digits = model.digits(&cells);
    let mut facts = Facts::new()
        .name("axis", axis(model, own.line))
        .metric("metric", curve.brings)
        .place("line", place_of_line(model, block, own.line))
        .facts("first", point(model, curve, first, digits))
        .facts("last", point(model, curve, last, digits))
        .times("ratio", ratio, digits)
        .times("load_ratio", last.load / first.load, digits)
        .part("efficiency", part)
        .flag("is_flat", curve.is_flat())
        .flag("is_steady_window", curve.window == Window::Steady)
        .count("lines", all.len());
    let straight = curve.straight_to();
    if let Some(straight) = straight {
        facts = facts
            .plain("straight_to", model.cells[straight.cell].load.reached.unwrap_or(straight.load))
            .flag("is_straight", straight.cell == last.cell);
    } else {
        facts = facts.flag("is_straight", false).flag("bends_at_once", curve.bends_at_once());
    }
    if let Some((peak, after)) = curve.fall() {
        facts = facts
            .facts("peak", point(model, curve, peak, digits))
            .facts("after", point(model, curve, after, digits))
            .times("fall", after.value / peak.value, digits);
    }
    let ends: Vec<(f64, f64)> = all.iter().filter_map(|own| efficiency(&own.curve)).collect();
    let by = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
    if let (Some(worst), Some(best)) = (ends.iter().min_by(by), ends.iter().max_by(by)) {
        facts = facts.part("worst_efficiency", worst.1).part("best_efficiency", best.1);
    }
    Some(Finding::of_block(Kind::Scaling, model, at, cells).strong_as(ratio).with(facts))
}

/// The axis of a line, by its label.
fn axis(model: &Model<'_>, line: &Line) -> String {
    model.axes[line.axis].label().to_owned()
}

/// The knee of the line whose knee is fastest, with what the load beyond it brings and costs, and where the others bend.
fn knee(model: &Model<'_>, at: usize, block: &Block<'_>, all: &[Placed<'_>]) -> Option<Finding> {
    let knees: Vec<(&Placed<'_>, Point)> =
        all.iter().filter_map(|own| Some((own, own.curve.knee()?))).collect();
    // Of equal ones the first.
    let (own, knee) = knees.iter().rev().max_by(|a, b| a.1.value.total_cmp(&b.1.value))?;
    let (_, last) = own.curve.ends()?;
    let (cell, end) = (&model.cells[knee.cell], &model.cells[last.cell]);
    let digits = model.digits(&[knee.cell, last.cell]);
    let prices = [
        &tail(LatencyKind::E2e)[..],
        &middle(LatencyKind::Ttft),
        &tail(LatencyKind::Ttft),
        &middle(LatencyKind::E2e),
        &middle(LatencyKind::Tpot),
    ];
    let prices = prices.iter().filter_map(|metrics| {
        let (metric, from, to) = both(metrics, cell, end)?;
        (to >= PRICE * from).then(|| Facts::new().metric("metric", metric).times("ratio", to / from, digits))
    });
    let loads: Vec<f64> =
        knees.iter().filter_map(|(_, point)| model.cells[point.cell].load.reached).collect();
    let least = loads.iter().copied().fold(f64::INFINITY, f64::min);
    let most = loads.iter().copied().fold(0.0, f64::max);
    let facts = point(model, &own.curve, *knee, digits)
        .name("axis", axis(model, own.line))
        .place("place", place(model, cell))
        .place("line", place_of_line(model, block, own.line))
        .metric("metric", own.curve.brings)
        .plain("to", end.load.reached.unwrap_or(last.load))
        .times("load_ratio", last.load / knee.load, digits)
        .times("throughput_ratio_beyond", last.value / knee.value, digits)
        .list("prices", prices.take(2))
        .count("lines", all.len())
        .count("with_knee", knees.len())
        .plain("least_knee", least)
        .plain("most_knee", most);
    Some(Finding::of_block(Kind::Knee, model, at, [knee.cell]).strong_as(last.load / knee.load).with(facts))
}

/// The line with most usable cells; of equal ones the first.
fn longest<'b>(block: &'b Block<'_>) -> Option<&'b Line> {
    block.load_lines().iter().rev().max_by_key(|line| line.cells.len())
}

/// How TTFT grows along the longest line, and the pace of decoding beside it.
fn ttft_growths(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, |at, block| {
        let line = longest(block)?;
        let metrics: Vec<Metric> =
            middle(LatencyKind::Ttft).into_iter().chain(tail(LatencyKind::Ttft)).collect();
        let cells: Vec<&Cell<'_>> =
            line.iter(model).filter(|cell| cell.first_ranked(&metrics).is_some()).collect();
        let (first, last) = (*cells.first()?, *cells.last()?);
        if cells.iter().any(|cell| cell.streaming != Streaming::Streamed) {
            return None;
        }
        let load = last.load.reached? / first.load.reached.filter(|load| *load > 0.0)?;
        let (metric, from, to) = both(&metrics, first, last).filter(|_| load > 1.0)?;
        let digits = model.digits(&[first.index, last.index]);
        let pace = both(&[middle(LatencyKind::Tpot), middle(LatencyKind::Itl)].concat(), first, last);
        let waits = to / from;
        let mut facts = Facts::new()
            .name("axis", axis(model, line))
            .metric("metric", metric)
            .plain("from_load", first.load.reached?)
            .plain("to_load", last.load.reached?)
            .place("line", place_of_line(model, block, line))
            .measure("from", metric, from, digits)
            .measure("to", metric, to, digits)
            .times("growth", waits, digits)
            .times("load_ratio", load, digits);
        let gives_way = match pace {
            Some((pace, before, after)) => {
                let slows = after / before;
                let noise = model.noise(block.workload);
                let is_sure = |metric: Metric, growth: f64| {
                    noise.of_ratio(first, last, metric).is_beaten_by(growth.ln(), 2)
                };
                let waits_more = waits >= FIRST * slows && is_sure(metric, waits);
                let slows_down = slows >= KEPT && is_sure(pace, slows);
                facts = facts
                    .metric("pace", pace)
                    .measure("pace_from", pace, before, digits)
                    .measure("pace_to", pace, after, digits)
                    .times("pace_growth", slows, digits);
                match () {
                    () if waits_more && slows < KEPT => "waiting",
                    () if waits_more && slows_down => "waiting_first",
                    () if slows_down => "decoding",
                    () if waits < KEEPS && slows < KEEPS => "neither",
                    () => "both",
                }
            }
            None => "unknown",
        };
        let facts = facts.name("gives_way", gives_way);
        Some(
            Finding::of_block(Kind::TtftGrowth, model, at, [first.index, last.index])
                .strong_as(waits)
                .with(facts),
        )
    })
}

/// How the latency of whole requests grows along one line.
struct Growth<'m, 'a> {
    line: &'m Line,
    first: &'m Cell<'a>,
    last: &'m Cell<'a>,
    metric: Metric,
    from: f64,
    to: f64,
    /// The last load over the first.
    load: f64,
    /// Whether waiting for the first token makes up what is added; `None` where nobody told.
    waits: Option<bool>,
}

impl<'m, 'a> Growth<'m, 'a> {
    fn of(model: &'m Model<'a>, line: &'m Line) -> Option<Self> {
        let metrics: Vec<Metric> =
            tail(LatencyKind::E2e).into_iter().chain(middle(LatencyKind::E2e)).collect();
        let cells: Vec<&Cell<'_>> =
            line.iter(model).filter(|cell| cell.first_ranked(&metrics).is_some()).collect();
        let (first, last) = (*cells.first()?, *cells.last()?);
        let load = last.load.reached? / first.load.reached.filter(|load| *load > 0.0)?;
        let (metric, from, to) = both(&metrics, first, last).filter(|_| load > 1.0)?;
        let waits = both(&middle(LatencyKind::Ttft), first, last)
            .filter(|_| first.streaming == Streaming::Streamed)
            .map(|(_, before, after)| after - before >= WAITS * (to - from));
        Some(Self { line, first, last, metric, from, to, load, waits })
    }

    fn ratio(&self) -> f64 {
        self.to / self.from
    }

    fn judged(&self) -> &'static str {
        let beside = (self.ratio() - 1.0) / (self.load - 1.0);
        match self.waits {
            _ if self.to < self.from => "falls",
            _ if beside < 0.1 => "mild",
            _ if beside > RUNS_AWAY => "runs_away",
            Some(true) if beside > 0.8 => "queues",
            None if beside > 0.8 => "in_proportion",
            _ => "shares",
        }
    }
}

/// How the latency of whole requests grows along each line: least and most.
fn latency_growths(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, |at, block| {
        let lines = block.load_lines().iter();
        let all: Vec<Growth<'_, '_>> = lines.filter_map(|line| Growth::of(model, line)).collect();
        let most = all.iter().rev().max_by(|a, b| a.ratio().total_cmp(&b.ratio()))?;
        let least = all.iter().map(Growth::ratio).fold(most.ratio(), f64::min);
        let cells = [most.first.index, most.last.index];
        let digits = model.digits(&cells);
        let facts = Facts::new()
            .metric("metric", most.metric)
            .name("axis", axis(model, most.line))
            .place("line", place_of_line(model, block, most.line))
            .plain("from_load", most.first.load.reached?)
            .plain("to_load", most.last.load.reached?)
            .measure("from", most.metric, most.from, digits)
            .measure("to", most.metric, most.to, digits)
            .times("growth", most.ratio(), digits)
            .times("least_growth", least, digits)
            .times("load_ratio", most.load, digits)
            .count("lines", all.len())
            .name("judged", most.judged());
        Some(Finding::of_block(Kind::LatencyGrowth, model, at, cells).strong_as(most.ratio()).with(facts))
    })
}

/// The highest throughput.
fn peaks(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, |at, block| {
        let brings = block.brings?;
        let cells = block.cells.iter().map(|cell| &model.cells[*cell]);
        let known = cells
            .filter(|cell| Some(cell.origin) == block.origin)
            .filter_map(|cell| Some((cell, cell.ranked(brings)?)));
        // Of equal ones the first.
        let (cell, rate) = known.reduce(|best, own| if own.1 > best.1 { own } else { best })?;
        let mut facts = Facts::new()
            .metric("metric", brings)
            .measure("value", brings, rate, model.digits(&[cell.index]))
            .place("place", place(model, cell));
        if let Some(users) = cell.load.reached.filter(|users| !cell.load.is_open && *users > 1.0) {
            facts = facts.measure("each", brings, rate / users, model.digits(&[cell.index]));
        }
        Some(Finding::of_block(Kind::Peak, model, at, [cell.index]).with(facts))
    })
}

/// How fast one stream decodes: with nobody else where that was measured.
fn decode_speeds(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, |at, block| {
        let cells = block.cells.iter().map(|cell| &model.cells[*cell]);
        let lone = cells.filter(|cell| {
            Some(cell.origin) == block.origin
                && !cell.load.is_open
                && cell.load.reached == Some(1.0)
                && cell.streaming == Streaming::Streamed
        });
        let speed = |cell: &Cell<'_>| {
            let by_requests = cell.ranked(Metric::Rate(Rate::User));
            let by_pace = || cell.first_ranked(&middle(LatencyKind::Tpot)).map(|(_, ms)| 1e3 / ms);
            by_requests.or_else(by_pace).filter(|speed| speed.is_finite())
        };
        let known = lone.filter_map(|cell| Some((cell, speed(cell)?)));
        let (cell, speed) = known.reduce(|best, own| if own.1 > best.1 { own } else { best })?;
        let digits = model.digits(&[cell.index]);
        let mut facts =
            Facts::new().number("user_tok_s", speed, Unit::TokS, digits).place("place", place(model, cell));
        if let Some((metric, ms)) = cell.first_ranked(&middle(LatencyKind::Tpot)) {
            facts = facts.metric("pace", metric).measure("pace_value", metric, ms, digits);
        }
        Some(Finding::of_block(Kind::DecodeSpeed, model, at, [cell.index]).with(facts))
    })
}

/// Whether the recommended cell has the most load that was tried: then the limit was not found.
fn edges(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, |at, block| {
        let ranking = model.ranking(at);
        let cell =
            &model.cells[ranking.first().filter(|_| !matches!(ranking.met, Met::No | Met::Contradicted))?];
        let (line, position) = line_of(block, cell.index)?;
        // More that was asked for and is not usable says that the limit was met all the same.
        let loads = block.cells.iter().filter_map(|at| model.cells[*at].load.asked);
        let most = loads.fold(0.0, f64::max);
        if position == 0 || position + 1 < line.cells.len() || cell.load.asked? < most {
            return None;
        }
        let curve = Curve::of(model, line);
        if curve.as_ref().is_some_and(|curve| curve.is_flat() || curve.fall().is_some()) {
            return None;
        }
        let share = curve.and_then(|curve| {
            curve.steps().last().filter(|step| step.to.cell == cell.index).map(|step| step.share)
        });
        let load = cell.load.reached?;
        let mut facts = Facts::new()
            .name(
                "quantity",
                if cell.load.is_open { Quantity::Rate.name() } else { Quantity::Concurrency.name() },
            )
            .plain("load", load)
            .plain("next", load * 2.0)
            .place("place", place(model, cell));
        if let Some(share) = share {
            facts = facts.part("share", share).flag("still_brings", share > STILL_BRINGS);
        }
        Some(Finding::of_block(Kind::Edge, model, at, [cell.index]).with(facts))
    })
}

/// Cells that were not tried since a smaller load had ended the climb, by where it ended.
fn ladder_ends(model: &Model<'_>) -> Vec<Finding> {
    let mut found: Vec<(Option<&str>, Finding)> = Vec::new();
    for (at, block) in model.blocks.iter().enumerate() {
        for cell in block.cells.iter().map(|cell| &model.cells[*cell]) {
            let Some(ended_at) = cell.file.ladder_ended_at.as_deref() else { continue };
            match found
                .iter_mut()
                .find(|(known, finding)| *known == Some(ended_at) && finding.block == Some(at))
            {
                Some((_, finding)) => finding.cells.push(cell.index),
                None => {
                    let reason = cell.file.reason.clone().unwrap_or_default();
                    let facts = Facts::new().name("ended_at", ended_at).name("reason", reason);
                    let finding = Finding::of_block(Kind::LadderEnd, model, at, [cell.index]).with(facts);
                    found.push((Some(ended_at), finding));
                }
            }
        }
    }
    found.into_iter().map(|(_, finding)| finding).collect()
}
