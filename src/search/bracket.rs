//! [`decide`]: the next load to measure, or the interval of the limit, from what was measured so far.
//!
//! The ends of an interval are always loads that were measured, the lower one within the SLO and the upper one
//! not, so an interval is never narrower than what was seen, whatever the model of the [posterior](Posterior)
//! makes of it. The model says two things: how far the ends can be trusted despite noise, and where the next
//! probe helps most.

use super::{
    answer::{Ending, State},
    posterior::{Point, Posterior, Prior},
};

/// What is searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    /// The smallest and the largest load.
    pub(super) from: f64,
    pub(super) to: f64,
    /// How far apart the ends may stay, as a fraction of the lower one.
    pub(super) within: f64,
    /// The probability that the limit lies between the ends.
    pub(super) confidence: f64,
    /// Whether loads are integers.
    pub(super) integer: bool,
    /// The 90 % interval of a prediction.
    pub(super) predicted: Option<(f64, f64)>,
}

/// A load that was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measured {
    /// The load.
    pub(super) load: f64,
    /// ln(measured / limit): positive is beyond the limit.
    pub(super) log: f64,
    /// Its standard error.
    pub(super) error: f64,
}

/// What the probes so far amount to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bracket {
    /// [`State::Unfinished`] while `next` is measured.
    pub(super) state: State,
    /// The next load.
    pub(super) next: Option<f64>,
    /// The ends, both measured.
    pub(super) feasible: Option<f64>,
    pub(super) infeasible: Option<f64>,
    pub(super) ending: Option<Ending>,
    pub(super) monotone: Option<bool>,
    /// Loads that contradict monotony: the lower one is beyond the limit, the higher one within.
    pub(super) contradiction: Option<(f64, f64)>,
}

/// All measurements of one load, pooled.
#[derive(Clone, Copy, Debug)]
struct Load {
    load: f64,
    log: f64,
    /// Standard error of `log`, noise between probes included.
    error: f64,
    times: usize,
}

/// Fewest probes before a search gives up.
const FEWEST: u32 = 8;
/// More probes where a prediction was wrong.
const AFTER_WRONG_PREDICTION: u32 = 2;
/// Noise between probes that a contradiction has to exceed, as a standard deviation of ln(latency), and by how
/// many standard errors.
const CONTRADICTION_NOISE: f64 = 0.1;
const CONTRADICTION: f64 = 2.5;
/// A probe that decides the search with at least this probability is the next one.
const LIKELY: f64 = 0.45;
/// While the limit is far from known, probes lean to the lower loads, which need fewer requests.
const LEAN: f64 = 0.45;
/// How far beyond the range an end counts that is not known, in ln(load).
const BEYOND_ENDS: f64 = 1.0;
/// A jump of the latency by this factor over so small a step of the load is a cliff.
const JUMP: f64 = 1.5;
const STEP: f64 = 1.1;
/// Over a larger step, the slope d ln(latency) / d ln(load) from which it is a cliff.
const STEEP: f64 = 5.0;

impl Range {
    /// The most valid probes of a search: as many as a bisection without noise needs,
    /// ⌈log2(ln(to / from) / ln(1 + within))⌉, and at least eight.
    pub(super) fn most_probes(&self) -> u32 {
        let steps = (self.to / self.from).ln() / (1.0 + self.within).ln();
        (steps.max(1.0).log2().ceil() as u32).max(FEWEST)
    }

    fn prior(&self) -> Prior {
        let predicted = self.predicted.filter(|(low, high)| 0.0 < *low && low < high).map(|(low, high)| {
            let (low, high) = (low.ln(), high.ln());
            // A 90 % interval is 3.29 standard deviations long.
            (f64::midpoint(low, high), ((high - low) / 3.29).max(self.within / 2.0))
        });
        Prior { from: self.from.ln(), to: self.to.ln(), predicted }
    }

    /// Whether two loads are close enough to be the ends of an answer.
    fn is_narrow(&self, low: f64, high: f64) -> bool {
        high <= low * (1.0 + self.within) * (1.0 + 1e-9) || self.integer && high - low <= 1.0
    }

    /// How far apart the ends may stay around ln(load), in ln(load).
    fn width(&self, around: f64) -> f64 {
        let width = (1.0 + self.within).ln();
        if self.integer { width.max((1.0 + (-around).exp()).ln()) } else { width }
    }

    /// The lowest load that is close enough to `high`, and the highest close enough to `low`.
    fn below(&self, high: f64) -> f64 {
        let low = high / (1.0 + self.within);
        if self.integer { low.ceil().min(high - 1.0) } else { self.round(low * (1.0 + self.within / 10.0)) }
    }

    fn above(&self, low: f64) -> f64 {
        let high = low * (1.0 + self.within);
        if self.integer { high.floor().max(low + 1.0) } else { self.round(high / (1.0 + self.within / 10.0)) }
    }

    /// A load that can be measured: an integer, or few digits.
    fn round(&self, load: f64) -> f64 {
        if self.integer {
            return load.round();
        }
        // Division keeps decimals short: 10.2, not 10.200000000000001.
        let digits = (load * self.within / 10.0).log10().floor() as i32;
        let rounded = if digits < 0 {
            let scale = 10f64.powi(-digits);
            (load * scale).round() / scale
        } else {
            let step = 10f64.powi(digits);
            (load / step).round() * step
        };
        rounded.clamp(self.from, self.to)
    }
}

/// Decides from the probes so far, in the order they were measured. Pure: the same probes give the same
/// bracket.
pub(super) fn decide(range: &Range, probes: &[Measured]) -> Bracket {
    let points: Vec<Point> =
        probes.iter().map(|probe| Point { x: probe.load.ln(), y: probe.log, error: probe.error }).collect();
    let posterior = Posterior::of(&range.prior(), &points);
    let loads = pooled(probes, posterior.noise);
    let mut bracket = Bracket {
        state: State::Unfinished,
        next: None,
        feasible: None,
        infeasible: None,
        ending: None,
        monotone: monotone(&loads),
        contradiction: None,
    };
    if let Some(pair) = contradiction(&loads) {
        return contradicted(bracket, &loads, pair);
    }
    let (low, high) = ends(range, &posterior, &loads);
    (bracket.feasible, bracket.infeasible) = (low.map(|end| end.load), high.map(|end| end.load));
    bracket.ending = low.zip(high).and_then(|(low, high)| ending(low, high));
    let below = |load: f64| posterior.below(load.ln());
    let is_sure = |mass: f64| mass >= range.confidence;
    bracket.state = match (low, high) {
        (Some(low), Some(high))
            if range.is_narrow(low.load, high.load) && is_sure(below(high.load) - below(low.load)) =>
        {
            State::Found
        }
        (None, Some(high)) if high.load <= range.from && is_sure(below(high.load)) => State::None,
        (Some(low), None) if low.load >= range.to && is_sure(1.0 - below(low.load)) => State::All,
        _ => {
            let wrong = range.predicted.is_some_and(|(low, high)| below(high) - below(low) < 0.5);
            let most = range.most_probes() + if wrong { AFTER_WRONG_PREDICTION } else { 0 };
            let left = most.saturating_sub(probes.len() as u32);
            bracket.next = match left {
                0 => None,
                _ if is_hopeless(range, &posterior, probes, left) => {
                    securing(range, &posterior, &loads, (low, high))
                }
                // A search that trusts a prediction has the further probes in reserve.
                _ if range.predicted.is_some() && !wrong => {
                    Some(next(range, &posterior, &loads, left + AFTER_WRONG_PREDICTION))
                }
                _ => Some(next(range, &posterior, &loads, left)),
            };
            if bracket.next.is_some() { State::Unfinished } else { State::Wide }
        }
    };
    bracket
}

/// Pools the measurements of each load, weighed by their variances, in ascending order of the load.
fn pooled(probes: &[Measured], noise: f64) -> Vec<Load> {
    let mut loads: Vec<f64> = probes.iter().map(|probe| probe.load).collect();
    loads.sort_by(f64::total_cmp);
    loads.dedup();
    let pool = |load: f64| {
        let own = probes.iter().filter(|probe| probe.load == load);
        let (mut weights, mut sum, mut times) = (0.0, 0.0, 0);
        for probe in own {
            let weight = 1.0 / (probe.error * probe.error + noise * noise);
            weights += weight;
            sum += weight * probe.log;
            times += 1;
        }
        Load { load, log: sum / weights, error: 1.0 / weights.sqrt(), times }
    };
    loads.into_iter().map(pool).collect()
}

/// The narrowest pair of measured loads, the lower one within the limit and the upper one beyond it, that holds
/// the limit with the confidence asked for. An end is absent where no measured load bounds the limit.
fn ends(range: &Range, posterior: &Posterior, loads: &[Load]) -> (Option<Load>, Option<Load>) {
    let below = |end: &Option<Load>, without: f64| end.map_or(without, |end| posterior.below(end.load.ln()));
    let side = |is_low: bool| {
        let own = loads.iter().filter(move |load| (load.log <= 0.0) == is_low).copied();
        own.map(Some).chain([None])
    };
    let width = |low: &Option<Load>, high: &Option<Load>| {
        let low = low.map_or(range.from / 2.0, |low| low.load);
        let high = high.map_or(range.to * 2.0, |high| high.load);
        (high / low).ln()
    };
    side(true)
        .flat_map(|low| side(false).map(move |high| (low, high)))
        .filter(|(low, high)| low.zip(*high).is_none_or(|(low, high)| low.load < high.load))
        .filter(|(low, high)| below(high, 1.0) - below(low, 0.0) >= range.confidence - 1e-9)
        .min_by(|a, b| width(&a.0, &a.1).total_cmp(&width(&b.0, &b.1)))
        .unwrap_or_default()
}

/// The load to measure next, with `left` probes to go: one that decides the search, else one that confirms an
/// end, else one that halves the range.
fn next(range: &Range, posterior: &Posterior, loads: &[Load], left: u32) -> f64 {
    let below = |load: &Load| posterior.below(load.load.ln());
    let low = loads.iter().rfind(|load| load.log <= 0.0 && below(load) < 0.5);
    let high = loads.iter().find(|load| load.log > 0.0 && below(load) > 0.5);
    let is_new = |load: &f64| loads.iter().all(|own| own.load != *load);
    deciding(range, posterior, low, high)
        .filter(is_new)
        .or_else(|| confirming(range, posterior))
        .unwrap_or_else(|| halving(range, posterior, (low, high), &is_new, left))
}

/// A load that probably decides the search: so far from a measured load on the other side of the limit as the
/// answer may be wide, or an end of the range.
fn deciding(range: &Range, posterior: &Posterior, low: Option<&Load>, high: Option<&Load>) -> Option<f64> {
    let below = |load: f64| posterior.below(load.ln());
    let up = low.map_or((range.from, below(range.from)), |low| {
        let load = range.above(low.load).min(range.to);
        (load, below(load) - below(low.load))
    });
    let down = high.map_or((range.to, 1.0 - below(range.to)), |high| {
        let load = range.below(high.load).max(range.from);
        (load, below(high.load) - below(load))
    });
    let (load, chance) = if up.1 > down.1 { up } else { down };
    (chance >= LIKELY).then_some(load)
}

/// Where the limit is known to about the width asked for: the end of the answer that is trusted less. Both ends
/// are as far from the limit as they can be, since noise confuses them least there.
fn confirming(range: &Range, posterior: &Posterior) -> Option<f64> {
    let median = posterior.quantile(0.5);
    let width = range.width(median);
    if posterior.quantile(0.9) - posterior.quantile(0.1) >= 1.5 * width {
        return None;
    }
    let lower = range.round((median - width / 2.0).exp()).clamp(range.from, range.to);
    // Rounding may leave the limit outside.
    let is_outside = range.integer && range.above(lower).ln() < median;
    let lower = if is_outside { median.exp().floor() } else { lower };
    let upper = range.above(lower).min(range.to);
    let below = |load: f64| posterior.below(load.ln());
    Some(if below(lower) > 1.0 - below(upper) { lower } else { upper })
}

/// The median or somewhat below it, moved so far that bisection would still end in time whatever the answers.
/// This keeps the best worst case and uses what the latency says (as the ITP method does: Oliveira and
/// Takahashi, ACM Transactions on Mathematical Software 47, 2020).
fn halving(
    range: &Range,
    posterior: &Posterior,
    (low, high): (Option<&Load>, Option<&Load>),
    is_new: &dyn Fn(&f64) -> bool,
    left: u32,
) -> f64 {
    let width = (1.0 + range.within).ln();
    // A range whose end is not measured is longer by one answer.
    let floor = low.map_or(range.from.ln() - width, |low| low.load.ln());
    let ceiling = high.map_or(range.to.ln() + width, |high| high.load.ln());
    let lean = posterior.quantile(LEAN);
    // A probe is left to confirm the answer, if possible.
    let aim = [2, 1].into_iter().find_map(|spared| {
        let answers = f64::from(left.saturating_sub(spared).min(30)).exp2();
        let (mut least, mut most) = (ceiling - answers * width, floor + answers * width);
        if range.integer {
            least = least.min((ceiling.exp() - answers).max(1.0).ln());
            most = most.max((floor.exp() + answers).ln());
        }
        (least <= most).then(|| lean.clamp(least, most))
    });
    let aim = aim.unwrap_or(f64::midpoint(floor, ceiling));
    let load = range.round(aim.exp().clamp(range.from, range.to));
    // Rounded onto a measured load: its neighbours, or the same once more.
    let neighbours =
        if range.integer { [load + 1.0, load - 1.0] } else { [range.above(load), range.below(load)] };
    let is_inside = |load: &f64| {
        floor < load.ln() && load.ln() < ceiling && range.from <= *load && *load <= range.to && is_new(load)
    };
    if is_new(&load) { load } else { neighbours.into_iter().find(is_inside).unwrap_or(load) }
}

/// Whether noise will keep the ends farther apart than asked, whatever the `left` probes say: the standard
/// deviation of the limit falls with the root of the number of probes that are too near it to tell their side,
/// and the width of the answer has to be about four of it.
fn is_hopeless(range: &Range, posterior: &Posterior, probes: &[Measured], left: u32) -> bool {
    let median = posterior.quantile(0.5);
    let width = range.width(median);
    let deviation = (posterior.quantile(0.841) - posterior.quantile(0.159)) / 2.0;
    let is_unclear = |probe: &&Measured| probe.log.abs() < 2.0 * probe.error.hypot(posterior.noise);
    let near = probes.iter().filter(is_unclear).count();
    let needed = (3.92 * deviation / width).powi(2) - 1.0;
    left <= 2 && near >= 2 && needed * near as f64 > f64::from(left)
}

/// A load that bounds the limit more surely than the ends so far do; `None` where that gains little.
fn securing(
    range: &Range,
    posterior: &Posterior,
    loads: &[Load],
    ends: (Option<Load>, Option<Load>),
) -> Option<f64> {
    let is_new = |load: &f64| loads.iter().all(|own| own.load != *load);
    let tail = (1.0 - range.confidence) / 4.0;
    let (low, high) = (posterior.quantile(tail), posterior.quantile(1.0 - tail));
    let width = range.width(posterior.quantile(0.5));
    let gap_low = low - ends.0.map_or(range.from.ln() - BEYOND_ENDS, |end| end.load.ln());
    let gap_high = ends.1.map_or(range.to.ln() + BEYOND_ENDS, |end| end.load.ln()) - high;
    let aim = if gap_low > gap_high { low - width / 2.0 } else { high + width / 2.0 };
    if gap_low.max(gap_high) < 2.0 * width {
        return None;
    }
    let load = range.round(aim.exp()).clamp(range.from, range.to);
    Some(load).filter(is_new)
}

/// Whether latency rises with the load: false where it falls by more than chance, absent for fewer than three
/// loads.
fn monotone(loads: &[Load]) -> Option<bool> {
    let falls = |low: &Load, high: &Load| {
        let error = low.error.hypot(high.error).hypot(CONTRADICTION_NOISE);
        low.log - high.log > 3.0 * error
    };
    let is_falling =
        loads.iter().enumerate().any(|(at, low)| loads[at + 1..].iter().any(|high| falls(low, high)));
    (loads.len() >= 3).then_some(!is_falling)
}

/// The lowest load that is clearly beyond the limit and the highest that is clearly within it, where the
/// latter is higher.
fn contradiction(loads: &[Load]) -> Option<(Load, Load)> {
    let is_clear = |load: &&Load| {
        let noise = CONTRADICTION_NOISE / (load.times as f64).sqrt();
        load.log.abs() > CONTRADICTION * load.error.hypot(noise)
    };
    let beyond = loads.iter().filter(is_clear).find(|load| load.log > 0.0)?;
    let within = loads.iter().filter(is_clear).rfind(|load| load.log < 0.0)?;
    (beyond.load < within.load).then_some((*beyond, *within))
}

/// Measures both loads of a contradiction again, and then answers with the interval of all crossings.
fn contradicted(bracket: Bracket, loads: &[Load], (beyond, within): (Load, Load)) -> Bracket {
    let again = [beyond, within].into_iter().find(|load| load.times < 2).map(|load| load.load);
    let feasible = loads.iter().rfind(|load| load.log < 0.0 && load.load < beyond.load);
    let infeasible = loads.iter().find(|load| load.log > 0.0 && load.load > within.load);
    Bracket {
        state: if again.is_some() { State::Unfinished } else { State::Wide },
        next: again,
        feasible: feasible.map(|load| load.load),
        infeasible: infeasible.map(|load| load.load),
        monotone: Some(false),
        contradiction: Some((beyond.load, within.load)),
        ..bracket
    }
}

/// How latency behaves between the ends.
fn ending(low: Load, high: Load) -> Option<Ending> {
    let (step, jump) = (high.load / low.load, high.log - low.log);
    if jump < JUMP.ln() {
        return Some(Ending::Slope);
    }
    if step <= STEP || jump / step.ln() >= STEEP {
        return Some(Ending::Cliff);
    }
    // A gradual rise over a step too large to tell.
    (jump / step.ln() < 2.0).then_some(Ending::Slope)
}
