//! Compares findings on axes, lengths and memory with the law.

use super::{
    draw::Planted,
    truth::{CHANGE, Case, Wanted, holds, is, metric, name_of, server_axis},
};
use crate::{
    manifest::LatencyKind,
    measure::{Metric, Rate},
    report::{
        finding::{Facts, Finding, Kind},
        metrics::middle,
        model::{Change, Effect, Judgement},
        statistics::median,
    },
};

const OUTPUT: Metric = Metric::Rate(Rate::Output);
/// The largest difference that may be called the same, as a logarithm.
const ALIKE: f64 = 0.1;

type Held = Result<(), String>;

pub(super) fn check(case: &Case<'_, '_>, finding: &Finding) -> Held {
    match finding.kind {
        Kind::Effect => {
            let axis = name_of(&finding.facts, "axis").unwrap_or_default();
            let workload = finding.workload.ok_or("no workload")?;
            let own = case.model.effects(workload);
            let own = own.iter().find(|own| case.model.axes[own.axis].label() == axis).ok_or("no effect")?;
            effect(case, own)
        }
        // That it is not clear which is best is no claim.
        Kind::Tie if !is(&finding.facts, "is_near") => Ok(()),
        Kind::Tie => {
            let rates: Vec<f64> = finding.cells.iter().map(|cell| case.throughput(*cell)).collect();
            let most = rates.iter().copied().fold(0.0, f64::max);
            let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
            holds(least > 0.85 * most, || format!("by the law they give {least} to {most}"))
        }
        Kind::PromptLength | Kind::OutputLength | Kind::HeldUp => length(case, finding),
        Kind::OutputCosts => {
            let [best, last] = [finding.cells[0], finding.cells[1]];
            case.ratio(finding.facts.value("ratio"), OUTPUT, best, last)?;
            let law = case.throughput(last) / case.throughput(best);
            holds(law < 1.0 - CHANGE, || format!("by the law it is {law} of the best"))
        }
        _ => Ok(()),
    }
}

/// The logarithms of the ratios of pairs, by the law.
fn logs(case: &Case<'_, '_>, change: &Change, wanted: impl Fn(usize) -> bool) -> Vec<f64> {
    let law = |cell: usize| case.law(cell, change.metric);
    let pairs = change.pairs.iter().filter(|pair| wanted(pair.cell));
    pairs.map(|pair| (law(pair.cell) / law(pair.base)).ln()).collect()
}

fn mean(logs: &[f64]) -> f64 {
    logs.iter().sum::<f64>() / logs.len().max(1) as f64
}

fn effect(case: &Case<'_, '_>, effect: &Effect) -> Held {
    for level in &effect.levels {
        for change in &level.changes {
            let name = format!("{} of value {} of axis {}", change.metric.label(), level.value, effect.axis);
            self::change(case, change).map_err(|wrong| format!("{name}: {wrong}"))?;
        }
    }
    let Some(optimum) = effect.optimum else { return Ok(()) };
    let rate = |value: usize| -> f64 {
        let level = effect.levels.iter().find(|level| level.value == value);
        let own = level.and_then(|level| level.changes.first());
        own.map_or(0.0, |change| mean(&logs(case, change, |_| true)))
    };
    let last = effect.levels.last().map_or(0, |level| level.value);
    let better = rate(optimum) > CHANGE && rate(optimum) > rate(last) + CHANGE;
    holds(better, || format!("by the law value {optimum} is {} better", rate(optimum)))
}

fn change(case: &Case<'_, '_>, change: &Change) -> Held {
    let all = logs(case, change, |_| true);
    let middle = median(&all).unwrap_or_default();
    let Some(first) = change.pairs.first() else { return Ok(()) };
    let error = case.drawn.error(first.cell, change.metric) * 2.0f64.sqrt();
    let of = |n: usize| 0.05 + 4.5 * error / (n.max(1) as f64).sqrt();
    let load = |cell: usize| case.model.cells[cell].load.reached.unwrap_or_default();
    match change.judgement {
        Judgement::Unclear => Ok(()),
        Judgement::Same => holds(middle.abs() < ALIKE, || format!("it is no same, by the law {middle}")),
        Judgement::Differs => {
            let told = change.ratio.ln();
            holds(middle.abs() > CHANGE && middle * told > 0.0, || format!("{told}, by the law {middle}"))?;
            holds((told - middle).abs() < of(all.len()), || format!("{told}, by the law {middle}"))
        }
        Judgement::Crossover { from, to, before, after } => {
            let one = mean(&logs(case, change, |cell| load(cell) <= from));
            let other = mean(&logs(case, change, |cell| load(cell) >= to));
            let turns = one * before.ln() > 0.0 && other * after.ln() > 0.0;
            let plain = one.abs() > CHANGE && other.abs() > CHANGE;
            holds(turns && plain, || format!("crossover, by the law {one} and {other}"))
        }
        Judgement::Confined { axis, from, to, ratio, elsewhere } => {
            let place = |cell: usize| case.model.cells[cell].at[axis].unwrap_or_default();
            let is_inside = |cell: usize| (from..=to).contains(&place(cell));
            let inside = logs(case, change, is_inside);
            let (one, told) = (mean(&inside), ratio.ln());
            holds(one * told > 0.0 && one.abs() > ALIKE, || format!("{told} there, by the law {one}"))?;
            let outside = median(&logs(case, change, |cell| !is_inside(cell))).unwrap_or_default();
            holds(outside.abs() < 0.8 * one.abs(), || {
                format!("{} elsewhere, by the law {outside} beside {one}", elsewhere.ln())
            })
        }
    }
}

/// Both ends of a line along a length.
fn length(case: &Case<'_, '_>, finding: &Finding) -> Held {
    let facts = &finding.facts;
    let [from, to] = [finding.cells[0], finding.cells[1]];
    let own = metric(facts, "metric").ok_or("no metric")?;
    case.told(facts.value("from"), own, from)?;
    case.told(facts.value("to"), own, to)?;
    let law = case.law(to, own) / case.law(from, own);
    match finding.kind {
        Kind::PromptLength => {
            holds(law > 1.0 + CHANGE, || format!("by the law it grows {law} times"))?;
            let rate = metric(facts, "rate").unwrap_or(OUTPUT);
            if let Some(told) = facts.value("rate_ratio") {
                let law = case.law(to, rate) / case.law(from, rate);
                let beyond = (told - 1.0) * (law - 1.0) > 0.0;
                holds(beyond, || format!("{} {told} times, by the law {law}", rate.label()))?;
            }
            per_prompt_token(case, facts, from, to)
        }
        Kind::OutputLength => {
            let grew = facts.value("grew").unwrap_or(f64::NAN);
            let judged = name_of(facts, "judged").unwrap_or_default();
            let off = (law / grew).ln();
            let otherwise = || format!("{judged}, by the law {law} for {grew}");
            match judged.as_str() {
                "in_proportion" => holds(off.abs() < 2.0 * ALIKE, otherwise),
                "less" => holds(off < -CHANGE, otherwise),
                "more" => holds(off > CHANGE, otherwise),
                "ends_early" => Err(otherwise()),
                _ => Ok(()),
            }
        }
        _ => {
            let pace = metric(facts, "pace").unwrap_or(Metric::P50_TPOT);
            let slows = case.law(to, pace) / case.law(from, pace);
            holds(law > 1.5 && slows < law, || format!("by the law TTFT grows {law} times, the pace {slows}"))
        }
    }
}

fn per_prompt_token(case: &Case<'_, '_>, facts: &Facts, from: usize, to: usize) -> Held {
    let Some(told) = facts.value("ms_per_1000_tokens") else { return Ok(()) };
    let own = metric(facts, "metric").unwrap_or(Metric::P50_TTFT);
    let prompt = |cell: usize| case.truth(cell).numbers.spot.prompt;
    let longer = (prompt(to) - prompt(from)) / 1e3;
    let law = (case.law(to, own) - case.law(from, own)) / longer;
    let off = |cell: usize| case.law(cell, own) * case.slack(cell, own).exp_m1();
    let slack = (off(to) + off(from)) / longer;
    holds((told - law).abs() < slack, || format!("{told} ms for 1000 tokens, by the law {law}"))
}

pub(super) fn wanted(case: &Case<'_, '_>, planted: Planted, findings: &[Finding]) -> Option<Wanted> {
    let of = |kind: Kind| findings.iter().filter(move |finding| finding.kind == kind);
    match planted {
        Planted::LongAnswers | Planted::HeldUp | Planted::LongPrompts => {
            length_wanted(case, planted, findings)
        }
        Planted::Boundary(fits) => {
            let value = case.drawn.servers.first()?.values.get(fits)?.to_string();
            let is_found =
                of(Kind::Boundary).any(|finding| finding.facts.json().to_string().contains(&value));
            Some(Wanted { what: "boundary", is_visible: true, is_found })
        }
        _ => {
            let axis = server_axis(case)?;
            let label = case.model.axes[axis].label();
            let own = case.model.effects(0).iter().find(|own| own.axis == axis)?;
            let told = of(Kind::Effect).find(|own| name_of(&own.facts, "axis").as_deref() == Some(label));
            Some(effect_wanted(case, planted, own, told.is_some()))
        }
    }
}

fn effect_wanted(case: &Case<'_, '_>, planted: Planted, effect: &Effect, is_told: bool) -> Wanted {
    let rates = || {
        let changes = effect.levels.iter().flat_map(|level| &level.changes);
        changes.filter(|change| matches!(change.metric, Metric::Rate(_)))
    };
    let sees = |change: &Change, parts: f64| {
        let cell = change.pairs.first().map_or(0, |pair| pair.cell);
        let least = case.visible(cell, change.metric, 2.0 * parts / change.pairs.len() as f64);
        least.unwrap_or(f64::INFINITY)
    };
    match planted {
        Planted::Effect => {
            let plain =
                |change: &&Change| mean(&logs(case, change, |_| true)).abs() > sees(change, 1.0).max(0.07);
            let is_visible = rates().any(|change| plain(&change));
            let is_found =
                is_told && rates().filter(plain).all(|change| change.judgement == Judgement::Differs);
            Wanted { what: "effect", is_visible, is_found }
        }
        Planted::Crossover { between, factor } => {
            let loads = case.drawn.loads.len() as f64;
            let before = case.drawn.loads.iter().filter(|load| **load <= between.0).count() as f64;
            // The smaller side decides.
            let parts = loads / before.min(loads - before);
            let is_visible = rates().any(|change| factor.ln() > sees(change, parts));
            let turns = |change: &Change| matches!(change.judgement, Judgement::Crossover { .. });
            Wanted { what: "crossover", is_visible, is_found: is_told && rates().any(turns) }
        }
        Planted::Optimum(best) => {
            let law = |change: &Change| mean(&logs(case, change, |_| true));
            let level = |value: usize| effect.levels.iter().find(|level| level.value == value);
            let rate = |value: usize| level(value).and_then(|level| level.changes.first());
            let last = effect.levels.last().map_or(0, |level| level.value);
            let gain = rate(best).map(|own| (law(own).min(law(own) - rate(last).map_or(0.0, law)), own));
            let is_visible = gain.is_some_and(|(gain, own)| gain > sees(own, 1.0).max(0.07));
            Wanted { what: "optimum", is_visible, is_found: effect.optimum.is_some() }
        }
        _ => {
            // That nothing differs is seen where the noise is less than what would matter.
            let changes = || effect.levels.iter().flat_map(|level| &level.changes);
            let is_visible = rates().all(|change| sees(change, 1.0) < ALIKE / 2.0);
            let is_found = changes().all(|change| change.strength() == 0.0) && is_told;
            Wanted { what: "no effect", is_visible, is_found }
        }
    }
}

fn length_wanted(case: &Case<'_, '_>, planted: Planted, findings: &[Finding]) -> Option<Wanted> {
    let ends = |axis: &str| {
        let (cells, _) = case.line(0, axis)?;
        Some((*cells.first()?, *cells.last()?)).filter(|(first, last)| first != last)
    };
    let found = |kind: Kind| findings.iter().any(|finding| finding.kind == kind);
    let grows =
        |own: Metric, (first, last): (usize, usize)| (case.law(last, own) / case.law(first, own)).ln();
    let [ttft, _] = middle(LatencyKind::Ttft);
    Some(match planted {
        Planted::LongPrompts => {
            let ends = ends("prompt tokens")?;
            let is_visible = grows(ttft, ends) > 0.2 && case.sees(grows(ttft, ends), ends.0, ttft, 2.0);
            Wanted { what: "long prompts", is_visible, is_found: found(Kind::PromptLength) }
        }
        Planted::LongAnswers => {
            let ends = ends("max_tokens")?;
            let less = -grows(OUTPUT, ends);
            let is_visible = less > 0.2 && case.sees(less, ends.0, OUTPUT, 2.0);
            Wanted { what: "long answers", is_visible, is_found: found(Kind::OutputCosts) }
        }
        _ => {
            let ends = ends("max_tokens")?;
            let is_visible = grows(ttft, ends) > 0.9 && case.sees(grows(ttft, ends), ends.0, ttft, 2.0);
            Wanted { what: "held up", is_visible, is_found: found(Kind::HeldUp) }
        }
    })
}
