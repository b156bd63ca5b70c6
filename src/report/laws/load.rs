//! Compares findings on the load with the law.

use super::{
    draw::{Planted, Scene},
    law::Shape,
    truth::{CHANGE, Case, Wanted, below, holds, is, list, metric, name_of},
};
use crate::{
    measure::{Metric, Rate},
    plan::Quantity,
    report::finding::{Facts, Finding, Kind},
};

const OUTPUT: Metric = Metric::Rate(Rate::Output);
/// There is a knee if one more request adds less than this part of what it added before.
const LESS: f64 = 0.7;

type Held = Result<(), String>;

pub(super) fn check(case: &Case<'_, '_>, finding: &Finding) -> Held {
    let facts = &finding.facts;
    match finding.kind {
        Kind::Limit => limit(case, finding),
        Kind::Saturation => saturation(case, facts),
        Kind::Knee => knee(case, finding),
        Kind::Scaling => scaling(case, finding),
        Kind::Edge => edge(case, finding),
        Kind::TtftGrowth => ttft_growth(case, finding),
        Kind::LatencyGrowth => latency_growth(case, finding),
        Kind::Peak => peak(case, finding),
        Kind::DecodeSpeed => {
            case.told(facts.value("user_tok_s"), Metric::Rate(Rate::User), finding.cells[0])?;
            let pace = metric(facts, "pace").map_or(Metric::P50_TPOT, |pace| pace);
            case.told(facts.value("pace_value"), pace, finding.cells[0])
        }
        Kind::StartModes => {
            let wrong = finding.cells.iter().find(|cell| !case.truth(**cell).is_apart);
            holds(wrong.is_none(), || format!("cell {wrong:?} started as most"))
        }
        _ => Err("nothing of this was planted".into()),
    }
}

fn limit(case: &Case<'_, '_>, finding: &Finding) -> Held {
    let cell = finding.cells[0];
    let worst = below(&finding.facts, "worst").ok_or("no term")?;
    let own = metric(worst, "metric").ok_or("no metric")?;
    case.told(worst.value("value"), own, cell)?;
    let target = worst.value("target").unwrap_or(f64::NAN);
    let law = case.law(cell, own);
    let slack = case.slack(cell, own).exp();
    holds(law * slack > target, || format!("{} is {law} by the law, the target {target}", own.label()))
}

fn saturation(case: &Case<'_, '_>, facts: &Facts) -> Held {
    let rate = facts.value("rate").unwrap_or(f64::NAN);
    let capacity = case.drawn.law.capacity;
    let slack = (3.0 * case.drawn.measured.noise).exp();
    holds(rate * slack > capacity, || format!("{rate} is less than the capacity {capacity}"))?;
    let kept = facts.value("keeps_up_with").unwrap_or(0.0);
    holds(kept < 1.5 * capacity * slack, || format!("{kept} is far more than the capacity {capacity}"))
}

/// The cells of the load line of a cell, with the load and the throughput of each by the law. Cells that
/// started in another way are left out.
fn along<'c>(case: &Case<'c, '_>, cell: usize) -> Vec<(usize, f64, f64)> {
    let axis = if case.drawn.scene == Scene::Saturates { "rate" } else { "concurrency" };
    let cells = case.line(cell, axis).map_or(&[][..], |(cells, _)| cells);
    let own = cells.iter().filter(|cell| !case.truth(**cell).is_apart);
    own.map(|cell| (*cell, case.reached(*cell), case.throughput(*cell))).collect()
}

/// The throughput that one more request adds up to a cell, and beyond it.
fn each(all: &[(usize, f64, f64)], cell: usize) -> Option<(f64, f64)> {
    let (first, last) = (all.first()?, all.last()?);
    let own = all.iter().find(|own| own.0 == cell)?;
    let brings = |from: &(usize, f64, f64), to: &(usize, f64, f64)| (to.2 - from.2) / (to.1 - from.1);
    (own.1 > first.1 && last.1 > own.1).then(|| (brings(first, own), brings(own, last)))
}

/// Whether a load is that of a corner, or one step of the grid from it.
fn is_near(load: f64, corner: f64) -> bool {
    ((load / corner).log2().abs()) <= 1.5
}

fn knee(case: &Case<'_, '_>, finding: &Finding) -> Held {
    let cell = finding.cells[0];
    let all = along(case, cell);
    let (before, beyond) = each(&all, cell).ok_or("it is at an end of its line")?;
    holds(beyond < LESS * before, || format!("beyond it a request brings {beyond}, before it {before}"))?;
    // Servers that turn with the load bend it elsewhere.
    let turns = case.drawn.scene == Scene::Crossover;
    if let Some(corner) = case.drawn.law.shape.corner().filter(|_| !turns) {
        let load = case.reached(cell);
        holds(is_near(load, corner), || format!("it is at {load}, the corner at {corner}"))?;
    }
    let end = all.last().ok_or("no line")?.0;
    case.told(finding.facts.value("value"), OUTPUT, cell)?;
    case.ratio(finding.facts.value("throughput_ratio_beyond"), OUTPUT, cell, end)?;
    for price in list(&finding.facts, "prices") {
        let own = metric(price, "metric").ok_or("no metric")?;
        case.ratio(price.value("ratio"), own, cell, end)?;
        let grows = case.law(end, own) / case.law(cell, own);
        holds(grows > 1.0 + CHANGE, || format!("{} does not grow beyond it", own.label()))?;
    }
    Ok(())
}

fn scaling(case: &Case<'_, '_>, finding: &Finding) -> Held {
    let facts = &finding.facts;
    let cells: Vec<(usize, f64, f64)> =
        finding.cells.iter().map(|cell| (*cell, case.reached(*cell), case.throughput(*cell))).collect();
    let apart = finding.cells.iter().find(|cell| case.truth(**cell).is_apart);
    holds(apart.is_none(), || format!("cell {apart:?} started in another way"))?;
    let (first, last) = (cells[0], cells[cells.len() - 1]);
    case.ratio(facts.value("ratio"), OUTPUT, first.0, last.0)?;
    let law = last.2 / first.2 / (last.1 / first.1);
    let told = facts.value("efficiency").unwrap_or(f64::NAN);
    let slack = case.slack(first.0, OUTPUT).hypot(case.slack(last.0, OUTPUT));
    holds((told / law).ln().abs() <= slack, || format!("{told} of perfect, by the law {law}"))?;
    let most = cells.iter().map(|own| own.2 / first.2).fold(1.0, f64::max);
    if is(facts, "is_flat") {
        return holds(most < 1.3, || format!("it is no flat line, it grows {most} times"));
    }
    if let Some(peak) = below(facts, "peak") {
        let at = |facts: &Facts| {
            let load = facts.value("load").unwrap_or(f64::NAN);
            cells.iter().find(|own| (own.1 - load).abs() < 1e-6).map_or(f64::NAN, |own| own.2)
        };
        let after = below(facts, "after").map_or(f64::NAN, at);
        let peak = at(peak);
        return holds(after < (1.0 - CHANGE) * peak, || format!("by the law it goes from {peak} to {after}"));
    }
    let straight = facts.value("straight_to").unwrap_or(0.0);
    let bends = is(facts, "bends_at_once");
    for own in cells.iter().filter(|own| own.1 > first.1) {
        let share = (own.2 / first.2 - 1.0) / (own.1 / first.1 - 1.0);
        // Near-linear is 0.7 of the share and more; what is half of it is not, and what is nearly all of it
        // is.
        let otherwise = || format!("up to {} it brings {share} of its share", own.1);
        if (own.1 - straight).abs() < 0.02 * straight {
            holds(share >= 0.5, otherwise)?;
        } else if own.1 > straight && straight > 0.0 || bends && own.1 < 1.5 * cells[1].1 {
            holds(share < 0.9, otherwise)?;
        }
    }
    Ok(())
}

fn edge(case: &Case<'_, '_>, finding: &Finding) -> Held {
    let cell = finding.cells[0];
    let own = case.reached(cell);
    let most = case.drawn.truth.iter().filter(|own| own.is_measured && !own.is_excluded);
    let most = most.map(|own| own.numbers.spot.load).fold(0.0, f64::max);
    holds(own >= most, || format!("{own} is not the most that was reached, which is {most}"))?;
    let all = along(case, cell);
    let Some(share) = finding.facts.value("share") else { return Ok(()) };
    let pair = &all[all.len().saturating_sub(2)..];
    if pair.len() < 2 {
        return Ok(());
    }
    let grows = pair[1].1 / pair[0].1 - 1.0;
    let ratio = pair[1].2 / pair[0].2;
    let law = (ratio - 1.0) / grows;
    let slack = ratio * case.slack(cell, OUTPUT) * 2.0 / grows;
    holds((share - law).abs() <= slack, || format!("the last step brought {share}, by the law {law}"))?;
    match is(&finding.facts, "still_brings") {
        true => holds(law > 0.05, || format!("the last step brings {law} of its share")),
        false => holds(law < 0.6, || format!("the last step still brings {law} of its share")),
    }
}

fn ttft_growth(case: &Case<'_, '_>, finding: &Finding) -> Held {
    let facts = &finding.facts;
    let [from, to] = [finding.cells[0], finding.cells[1]];
    let own = metric(facts, "metric").ok_or("no metric")?;
    case.told(facts.value("from"), own, from)?;
    case.told(facts.value("to"), own, to)?;
    let waits = case.law(to, own) / case.law(from, own);
    let Some(pace) = metric(facts, "pace") else { return Ok(()) };
    case.told(facts.value("pace_from"), pace, from)?;
    case.told(facts.value("pace_to"), pace, to)?;
    let slows = case.law(to, pace) / case.law(from, pace);
    let judged = name_of(facts, "gives_way").unwrap_or_default();
    let otherwise = || format!("{judged}, by the law TTFT grows {waits} times and the pace {slows} times");
    match judged.as_str() {
        "waiting" => holds(waits > 1.15 * slows && slows < 1.8, otherwise),
        "waiting_first" => holds(waits > 1.15 * slows && slows > 1.15, otherwise),
        "decoding" => holds(slows > 1.15, otherwise),
        "neither" => holds(waits < 1.4 && slows < 1.4, otherwise),
        _ => Ok(()),
    }
}

fn latency_growth(case: &Case<'_, '_>, finding: &Finding) -> Held {
    let facts = &finding.facts;
    let [from, to] = [finding.cells[0], finding.cells[1]];
    let own = metric(facts, "metric").ok_or("no metric")?;
    case.told(facts.value("from"), own, from)?;
    case.told(facts.value("to"), own, to)?;
    let growth = case.law(to, own) / case.law(from, own);
    let load = case.reached(to) / case.reached(from);
    let beside = (growth - 1.0) / (load - 1.0);
    let judged = name_of(facts, "judged").unwrap_or_default();
    let otherwise = || format!("{judged}, by the law it grows {growth} times for {load} times the load");
    match judged.as_str() {
        "mild" => holds(beside < 0.25, otherwise),
        "runs_away" => holds(beside > 1.0, otherwise),
        "queues" => {
            let waits = case.law(to, Metric::P50_TTFT) - case.law(from, Metric::P50_TTFT);
            let longer = case.law(to, Metric::P50_E2E) - case.law(from, Metric::P50_E2E);
            holds(beside > 0.5 && waits > 0.25 * longer, otherwise)
        }
        _ => Ok(()),
    }
}

fn peak(case: &Case<'_, '_>, finding: &Finding) -> Held {
    let cell = finding.cells[0];
    let own = metric(&finding.facts, "metric").ok_or("no metric")?;
    case.told(finding.facts.value("value"), own, cell)?;
    let block = finding.block.ok_or("no block")?;
    let all = case.model.blocks[block].cells.iter().filter(|cell| {
        let truth = case.truth(**cell);
        truth.is_measured && !truth.is_excluded
    });
    let most = all.map(|cell| case.law(*cell, own)).fold(0.0, f64::max);
    let law = case.law(cell, own);
    let slack = case.slack(cell, own).exp();
    holds(law * slack >= most, || format!("by the law it is {law}, and {most} elsewhere"))
}

fn found(findings: &[Finding], kind: Kind) -> impl Iterator<Item = &Finding> {
    findings.iter().filter(move |finding| finding.kind == kind)
}

pub(super) fn wanted(case: &Case<'_, '_>, planted: Planted, findings: &[Finding]) -> Option<Wanted> {
    match planted {
        Planted::Corner => {
            let corner = case.drawn.law.shape.corner()?;
            let falls = found(findings, Kind::Scaling).any(|own| below(&own.facts, "peak").is_some());
            let falling = matches!(case.drawn.law.shape, Shape::Falling(_) | Shape::Cliff(..));
            let is_found = found(findings, Kind::Knee)
                .any(|own| is_near(own.facts.value("load").unwrap_or(f64::NAN), corner))
                || falling && falls;
            Some(Wanted { what: "corner", is_visible: shows_corner(case, corner), is_found })
        }
        Planted::Saturation { capacity } => {
            // A rate well beyond the capacity was tried, beyond what few arrivals differ from it by.
            let n = (case.drawn.measured.requests * case.drawn.measured.repeats) as f64;
            let most = case.drawn.loads[case.drawn.loads.len() - 1];
            let least = (-3.0 * case.drawn.measured.noise).exp() * (0.9f64.min(1.0 - 3.0 / n.sqrt()) - 0.05);
            let is_visible = capacity / most < least;
            let is_found = found(findings, Kind::Saturation).next().is_some();
            Some(Wanted { what: "saturation", is_visible, is_found })
        }
        _ => {
            let is_found = found(findings, Kind::StartModes).next().is_some();
            Some(Wanted { what: "start modes", is_visible: true, is_found })
        }
    }
}

/// Whether the bend of some line is beyond chance.
fn shows_corner(case: &Case<'_, '_>, corner: f64) -> bool {
    let at = |quantity: Quantity| case.model.axes.iter().position(|axis| axis.quantity() == quantity);
    let Some(axis) = at(Quantity::Concurrency) else { return false };
    let lines = case.model.blocks.iter().flat_map(|block| block.lines(axis));
    let plain = |cells: &[usize]| {
        let all = cells.first().map_or_else(Vec::new, |cell| along(case, *cell));
        let near = |own: &&(usize, f64, f64)| own.1 <= 1.3 * corner;
        let Some(own) = all.iter().rev().find(near) else { return false };
        let Some((before, beyond)) = each(&all, own.0) else { return false };
        let (first, last) = (all[0], all[all.len() - 1]);
        let Some(error) = case.visible(own.0, OUTPUT, 1.0) else { return false };
        let half = 0.5 * error * own.2.hypot(first.2) / (own.1 - first.1);
        let other = error * last.2.hypot(own.2) / (last.1 - own.1);
        let range = last.2.max(own.2) - first.2;
        // It stands well above the chord, too.
        let above = (own.2 - first.2) / range - (own.1 - first.1) / (last.1 - first.1);
        above > 0.25 && 0.5 * before - beyond > half.hypot(other)
    };
    lines.map(|line| line.cells.as_slice()).any(plain)
}

/// The findings that every grid with a load must have.
pub(super) fn always(case: &Case<'_, '_>, findings: &[Finding]) -> Vec<Wanted> {
    if !matches!(case.drawn.scene, Scene::Linear | Scene::Flat) {
        return Vec::new();
    }
    let own = found(findings, Kind::Scaling).next();
    let mut all = vec![Wanted { what: "scaling", is_visible: true, is_found: own.is_some() }];
    if case.drawn.scene == Scene::Flat {
        let is_visible = case.slack(0, OUTPUT) < 0.12;
        let is_found = own.is_some_and(|own| is(&own.facts, "is_flat"));
        all.push(Wanted { what: "flat", is_visible, is_found });
    }
    all
}
