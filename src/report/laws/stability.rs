//! Compares findings on stability with the law.

use super::{
    draw::Planted,
    truth::{CHANGE, Case, Wanted, holds, metric, name_of},
};
use crate::{
    manifest::LatencyKind,
    measure::{Metric, Rate},
    report::{
        finding::{Finding, Kind},
        metrics::{middle, tail},
    },
};

const OUTPUT: Metric = Metric::Rate(Rate::Output);
/// The error of a size that is allowed in addition to noise.
const SIZE: f64 = 0.25;
/// The smallest jump by the law that counts as one.
const JUMP: f64 = 1.1;

type Held = Result<(), String>;

pub(super) fn check(case: &Case<'_, '_>, finding: &Finding) -> Held {
    let facts = &finding.facts;
    let cell = finding.cells.first().copied().unwrap_or_default();
    match finding.kind {
        Kind::Ridge => {
            let own = metric(facts, "metric").ok_or("no metric")?;
            let (law, slack) = standing_out(case, finding, |cell| case.law(cell, own))?;
            agrees(facts.value("jump"), law, slack + 3.0 * case.drawn.error(cell, own))
        }
        Kind::TailRidge => {
            let own = metric(facts, "metric").ok_or("no metric")?;
            let Metric::Latency(_, kind) = own else { return Err("no latency".into()) };
            let (law, slack) =
                standing_out(case, finding, |cell| case.law(cell, own) / case.law(cell, middle(kind)[0]))?;
            agrees(facts.value("jump"), law, slack + 3.0 * case.drawn.error(cell, own))
        }
        Kind::Cliff => {
            let own = metric(facts, "metric").ok_or("no metric")?;
            let [from, to] = [finding.cells[0], finding.cells[1]];
            let law = case.law(to, own) / case.law(from, own);
            let step = facts.value("load_ratio").unwrap_or(f64::NAN);
            holds(law > 1.3 * step, || format!("by the law it grows {law} times on a step of {step}"))?;
            agrees(facts.value("jump"), law, SIZE + 3.0 * case.drawn.error(to, own))
        }
        Kind::Dip => {
            let own = metric(facts, "metric").unwrap_or(OUTPUT);
            let axis = name_of(facts, "axis").unwrap_or_default();
            let (cells, at) = case.line(cell, &axis).ok_or("no line")?;
            let near = neighbours(cells, at).ok_or("no neighbours")?;
            let least = near.map(|cell| case.law(cell, own)).into_iter().fold(f64::INFINITY, f64::min);
            let law = case.law(cell, own) / least;
            holds(law < 1.0 - CHANGE, || format!("by the law it is {law} of its neighbours"))?;
            agrees(facts.value("ratio"), law, SIZE + 3.0 * case.drawn.error(cell, own))
        }
        Kind::Falls => {
            let own = metric(facts, "metric").ok_or("no metric")?;
            let law = case.law(finding.cells[1], own) / case.law(finding.cells[0], own);
            holds(law < 1.0 - CHANGE, || format!("by the law it is {law} of what it was"))
        }
        Kind::RepeatsDisagree => {
            let odd = |cell: &usize| {
                let is_odd =
                    |own: &Planted| matches!(own, Planted::OddRepeat { cell: own, .. } if own == cell);
                case.drawn.planted.iter().any(is_odd)
            };
            holds(finding.cells.iter().all(odd), || "no repeat of it is odd".into())
        }
        Kind::BimodalItl => {
            let law = case.drawn.law.long_gaps;
            let told = facts.value("above").unwrap_or(f64::NAN);
            holds((told - law).abs() < 0.03 && law > 0.0, || format!("{told} are long, by the law {law}"))
        }
        Kind::Stalls | Kind::LongTail | Kind::Tail => {
            let own = metric(facts, "metric").ok_or("no metric")?;
            let Metric::Latency(_, kind) = own else { return Err("no latency".into()) };
            let law = |cell: usize| case.law(cell, own) / case.law(cell, middle(kind)[0]);
            let first = facts.value("ratio").unwrap_or(f64::NAN);
            let near = finding.cells.iter().any(|cell| {
                let slack =
                    0.06 + 6.0 * case.drawn.truth[*cell].numbers.sampling(own, case.drawn.measured.requests);
                (first / law(*cell)).ln().abs() < slack
            });
            holds(near, || format!("no cell has a tail of {first}, the first by the law {}", law(cell)))
        }
        Kind::Noise => {
            let told = facts.value("usual").unwrap_or(f64::NAN);
            let law = case.drawn.error(cell, OUTPUT) * (case.drawn.measured.repeats as f64).sqrt();
            holds(told < 6.0 * law + 0.01, || format!("repeats are {told} apart, by the law {law}"))
        }
        _ => Err("nothing of this was planted".into()),
    }
}

fn neighbours(cells: &[usize], at: usize) -> Option<[usize; 2]> {
    Some([*cells.get(at.checked_sub(1)?)?, *cells.get(at + 1)?])
}

fn agrees(told: Option<f64>, law: f64, slack: f64) -> Held {
    let told = told.unwrap_or(f64::NAN);
    holds((told / law).ln().abs() <= slack, || format!("it is told as {told}, by the law {law}"))
}

/// A number of a cell over the larger of its neighbours', by the law.
fn standing_out(
    case: &Case<'_, '_>,
    finding: &Finding,
    law: impl Fn(usize) -> f64,
) -> Result<(f64, f64), String> {
    let cell = finding.cells[0];
    let axis = name_of(&finding.facts, "axis").unwrap_or_default();
    let (cells, at) = case.line(cell, &axis).ok_or("no line")?;
    let near = neighbours(cells, at).ok_or("no neighbours")?;
    let jump = law(cell) / law(near[0]).max(law(near[1]));
    holds(jump >= JUMP, || format!("by the law cell {cell} is {jump} of its neighbours"))?;
    Ok((jump, SIZE))
}

pub(super) fn wanted(case: &Case<'_, '_>, planted: Planted, findings: &[Finding]) -> Option<Wanted> {
    let of = |kind: Kind| findings.iter().filter(move |finding| finding.kind == kind);
    let at = |kind: Kind, cell: usize| of(kind).any(|finding| finding.cells.contains(&cell));
    let p50 = middle(LatencyKind::E2e)[0];
    Some(match planted {
        Planted::Ridge { cell, .. } => {
            let jump = jump(case, cell, |cell| case.law(cell, p50))?;
            let is_visible = jump > 1.3 && case.sees(jump.ln(), cell, p50, 2.0);
            Wanted { what: "ridge", is_visible, is_found: at(Kind::Ridge, cell) }
        }
        Planted::TailRidge { cell, .. } => {
            let own = tail(LatencyKind::E2e)[0];
            case.model.cells[cell].ranked(own)?;
            let jump = jump(case, cell, |cell| case.law(cell, own))?;
            let is_visible = jump > 1.35 && case.sees(jump.ln(), cell, own, 4.0);
            let is_found = at(Kind::TailRidge, cell) || at(Kind::Ridge, cell);
            Wanted { what: "tail ridge", is_visible, is_found }
        }
        Planted::Cliff { beyond, factor } => {
            let cell = case.drawn.truth.iter().position(|own| own.numbers.spot.load > beyond)?;
            // What is beyond chance is what is more than in proportion to the load.
            let is_visible = factor > 5.0 && case.sees((factor / 2.0).ln(), cell, p50, 2.0);
            let is_found = of(Kind::Cliff).next().is_some();
            Wanted { what: "cliff", is_visible, is_found }
        }
        Planted::OddRepeat { cell, factor } => {
            let noise = case.drawn.measured.noise.max(0.05);
            let error =
                noise.hypot(case.drawn.truth[cell].numbers.sampling(p50, case.drawn.measured.requests));
            let is_visible = case.drawn.truth[cell].is_measured
                && factor.ln() > 7.0 * error
                && case.sees(factor.ln(), cell, p50, 8.0);
            Wanted { what: "odd repeat", is_visible, is_found: at(Kind::RepeatsDisagree, cell) }
        }
        _ => {
            let is_visible = !case.drawn.measured.is_reported;
            Wanted { what: "long gaps", is_visible, is_found: of(Kind::BimodalItl).next().is_some() }
        }
    })
}

/// How far a cell stands out along the load, or along a length if its line shows more.
fn jump(case: &Case<'_, '_>, cell: usize, law: impl Fn(usize) -> f64) -> Option<f64> {
    let (cells, at) = case.line(cell, "concurrency")?;
    let near = neighbours(cells, at)?;
    // Beside a hole the neighbours are further off.
    Some(law(cell) / law(near[0]).max(law(near[1])))
}
