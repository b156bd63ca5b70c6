//! The throughput curve of a line along the load: its points, the steps between them, and its knee.

use super::{Cell, Doubt, Grid, Line, cell::brings};
use crate::{
    manifest::Start,
    measure::{Metric, Rate},
};

/// The largest growth of a flat throughput.
pub(crate) const FLAT: f64 = 0.2;
/// Cells with this part of the highest throughput are as good as the fastest.
const AS_GOOD: f64 = 0.95;
/// The least height of a bend above the chord, as a part of the range.
const BEND: f64 = 0.1;
/// A later point with this many times the power is better than the knee.
const POWER: f64 = 1.25;
/// Beyond a knee, one more request adds at most this part of what one added before it.
const LESS_EACH: f64 = 0.5;
/// The least part of its share at which a step counts as nearly linear.
const NEAR_LINEAR: f64 = 0.7;
/// The number of standard errors by which the gain of one more request falls at a knee.
const SIGMAS: f64 = 2.5;
/// The shortest steady window that describes a cell, as a part of the whole window.
const STEADY: f64 = 0.25;
/// The part of its rate that an open loop carries if it keeps up.
const KEEPS_UP: f64 = 0.9;
/// Random arrivals differ from their expected number by at most this many times its square root, in all of
/// ten thousand cells.
const ARRIVALS: f64 = 4.0;

/// The part of its time by which a cell is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    /// While all streams were in flight; the load is the number of streams.
    Steady,
    /// From the first request to the last; the load is the mean number in flight (Little's law), so that
    /// start and drain count on both sides.
    Whole,
    /// As another tool reported it; the load is the configured one.
    Reported,
}

/// The comparable cells of a line with their throughput.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Curve {
    /// The throughput metric: the first of output tokens, all tokens and requests per second that is known.
    pub(crate) brings: Metric,
    pub(crate) window: Window,
    /// Ascending; at least one.
    pub(crate) points: Vec<Point>,
    /// Indices of cells whose streams started in another way than most: their throughput is not comparable.
    pub(crate) apart: Vec<usize>,
}

/// One cell of a curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    /// Index of the cell.
    pub(crate) cell: usize,
    /// Requests in flight.
    pub(crate) load: f64,
    /// Throughput.
    pub(crate) value: f64,
    /// The doubt of the throughput.
    pub(crate) doubt: Doubt,
}

/// From one point of a curve to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) from: Point,
    pub(crate) to: Point,
    /// (throughput ratio − 1) / (load ratio − 1): 1 is linear, 0 no gain, negative a loss.
    pub(crate) share: f64,
}

/// The mean number of requests in flight over the whole window, by Little's law.
fn mean_in_flight(cell: &Cell<'_>) -> Option<f64> {
    let summary = cell.file.summary.as_ref()?;
    let (window, e2e) = (summary.window?, summary.e2e.as_ref()?);
    (window.length_s > 0.0).then(|| summary.counts.completed as f64 * e2e.mean_ms / 1e3 / window.length_s)
}

/// How the streams of a cell started; `None` for a single stream.
pub(super) fn start(cell: &Cell<'_>) -> Option<Start> {
    // A single stream has nothing to stagger.
    cell.load.configured.filter(|streams| *streams > 1.0)?;
    Some(cell.file.summary.as_ref()?.starts?.how)
}

/// Whether the load is larger at another point.
fn grows(from: &Point, to: &Point) -> bool {
    to.load > 1.02 * from.load
}

/// The growth of the throughput as a share of the growth of the load.
fn share(from: &Point, to: &Point) -> f64 {
    (to.value / from.value - 1.0) / (to.load / from.load - 1.0)
}

impl Curve {
    /// The curve of a closed loop along a line; `None` for an open loop, or without a known throughput.
    pub(crate) fn of(grid: &Grid<'_>, line: &Line) -> Option<Self> {
        let all: Vec<&Cell<'_>> = grid.cells_at(&line.cells).filter(|cell| !cell.load.is_open).collect();
        let brings = brings(all.iter().copied())?;
        let known = all.into_iter().filter(|cell| cell.ranked(brings).is_some_and(|value| value > 0.0));
        let known: Vec<&Cell<'_>> = known.collect();
        let of_start =
            |how: Start| known.iter().filter(|cell| start(cell).is_none_or(|own| own == how)).count();
        let how = match of_start(Start::Staggered) > of_start(Start::Together) {
            true => Start::Staggered,
            false => Start::Together,
        };
        let (own, apart): (Vec<&Cell<'_>>, Vec<&Cell<'_>>) =
            known.into_iter().partition(|cell| start(cell).is_none_or(|own| own == how));
        let steady = |cell: &Cell<'_>| {
            let summary = cell.file.summary.as_ref()?;
            let (steady, whole) = (summary.steady?, summary.window?);
            (steady.length_s >= STEADY * whole.length_s).then_some(summary.steady_tok_s?)
        };
        let window = if brings == Metric::OUTPUT && own.iter().all(|cell| steady(cell).is_some()) {
            Window::Steady
        } else if own.iter().all(|cell| mean_in_flight(cell).is_some()) {
            Window::Whole
        } else {
            Window::Reported
        };
        let noise = grid.noise(own.first()?.workload);
        let points = own.iter().filter_map(|cell| {
            let (load, value) = match window {
                Window::Steady => (cell.load.reached?, steady(cell)?),
                Window::Whole => (mean_in_flight(cell)?, cell.ranked(brings)?),
                Window::Reported => (cell.load.reached?, cell.ranked(brings)?),
            };
            let doubt = noise.of_cell(cell, brings);
            (load > 0.0 && value > 0.0).then_some(Point { cell: cell.index, load, value, doubt })
        });
        let points: Vec<Point> = points.collect();
        let apart = apart.into_iter().map(|cell| cell.index).collect();
        (!points.is_empty()).then_some(Self { brings, window, points, apart })
    }

    /// The first and the last point, if the load grows between them.
    pub(crate) fn ends(&self) -> Option<(Point, Point)> {
        match self.points.as_slice() {
            [first, .., last] if last.load > first.load => Some((*first, *last)),
            _ => None,
        }
    }

    /// The steps from each point to the next, without those on which the load does not grow.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let pairs = self.points.windows(2).filter(|pair| grows(&pair[0], &pair[1]));
        pairs.map(|pair| Step { from: pair[0], to: pair[1], share: share(&pair[0], &pair[1]) }).collect()
    }

    /// The largest load up to which throughput grows nearly linearly; `None` if it does nowhere. A single
    /// short step does not end the growth.
    pub(crate) fn straight_to(&self) -> Option<Point> {
        let (first, _) = self.ends()?;
        let mut further = self.points.iter().filter(|point| grows(&first, point));
        further.rfind(|point| share(&first, point) >= NEAR_LINEAR).copied()
    }

    /// Whether the first step is less than nearly linear, beyond chance.
    pub(crate) fn bends_at_once(&self) -> bool {
        let Some(step) = self.steps().first().copied() else { return false };
        let near = 1.0 + NEAR_LINEAR * (step.to.load / step.from.load - 1.0);
        let log = (step.to.value / step.from.value / near).ln();
        log < 0.0 && step.to.doubt.over(step.from.doubt).is_beaten_by(log, 1)
    }

    /// Whether throughput hardly grows anywhere.
    pub(crate) fn is_flat(&self) -> bool {
        let first = self.points.first().map_or(0.0, |point| point.value);
        self.points.len() > 1 && self.points.iter().all(|point| point.value < (1.0 + FLAT) * first)
    }

    /// Where throughput falls after its peak, beyond chance: the peak, and the lowest point after it.
    pub(crate) fn fall(&self) -> Option<(Point, Point)> {
        let by = |a: &&Point, b: &&Point| a.value.total_cmp(&b.value);
        let peak = *self.points.iter().rev().max_by(by)?;
        let after = *self.points.iter().filter(|point| point.load > peak.load).min_by(by)?;
        let log = (after.value / peak.value).ln();
        (log < -0.05 && peak.doubt.over(after.doubt).is_beaten_by(log, self.points.len()))
            .then_some((peak, after))
    }

    /// The points with a throughput that never falls: falling neighbours get the mean of their logarithms
    /// (pool adjacent violators: Ayer, Brunk, Ewing, Reid and Silverman, Annals of Mathematical Statistics
    /// 26, 1955). Behind a bend, chance decides which load is highest.
    fn rising(&self) -> Vec<Point> {
        // The sum and the number of the logarithms of each group.
        let mut groups: Vec<(f64, usize)> = Vec::new();
        for point in &self.points {
            groups.push((point.value.ln(), 1));
            while let [.., before, last] = groups.as_slice()
                && before.0 / before.1 as f64 > last.0 / last.1 as f64
            {
                let pooled = (before.0 + last.0, before.1 + last.1);
                groups.truncate(groups.len() - 2);
                groups.push(pooled);
            }
        }
        let values = groups.iter().flat_map(|(sum, n)| std::iter::repeat_n((sum / *n as f64).exp(), *n));
        self.points.iter().zip(values).map(|(point, value)| Point { value, ..*point }).collect()
    }

    /// The knee by Kneedle (Satopää, Albrecht, Irwin and Raghavan, "Finding a 'Kneedle' in a Haystack", 2011)
    /// on a throughput that never falls: load and throughput are each scaled to 0 to 1 between the first
    /// point and the highest one, and the knee is the point furthest above the diagonal. `None` if no point
    /// is at least a tenth above it, or if one more request beyond the point still adds, beyond chance, more
    /// than half of what one added before it.
    ///
    /// A bend far from the point of most power gives way to that point: power is throughput over response
    /// time (Kleinrock, "Power and deterministic rules of thumb for probabilistic problems in computer
    /// communications", 1979), and by Little's law the square of the throughput over the requests in flight.
    pub(crate) fn knee(&self) -> Option<Point> {
        let (first, last) = self.ends()?;
        let rising = self.rising();
        let most = rising.last()?.value;
        let (wide, high) = (last.load - first.load, most - first.value);
        if self.points.len() < 3 || high < FLAT * first.value {
            return None;
        }
        let above = |point: &Point| (point.value - first.value) / high - (point.load - first.load) / wide;
        // The first of equal ones: less load for the same gain.
        let best = *rising.iter().rev().max_by(|a, b| above(a).total_cmp(&above(b)))?;
        let power = |point: &Point| point.value * point.value / point.load;
        let strongest = *rising.iter().rev().max_by(|a, b| power(a).total_cmp(&power(b)))?;
        let best = match strongest.load > best.load && power(&strongest) >= POWER * power(&best) {
            true => strongest,
            false => best,
        };
        if above(&best) < BEND || best.load >= last.load || best.load <= first.load {
            return None;
        }
        // From here on with the measured throughput.
        let best = *self.points.iter().find(|point| point.cell == best.cell)?;
        let each = |from: Point, to: Point| (to.value - from.value) / (to.load - from.load);
        let (before, beyond) = (each(first, best), each(best, last));
        // The standard error of the gain of one more request before the bend and behind it.
        let error = |from: Point, to: Point| {
            (from.doubt.error * from.value).hypot(to.doubt.error * to.value) / (to.load - from.load)
        };
        let error = error(first, best).hypot(error(best, last));
        let bends = beyond <= LESS_EACH * before && before - beyond > SIGMAS * error;
        bends.then_some(best)
    }

    /// The best load: the knee or, without one, the least load that is as good as the fastest.
    pub(crate) fn worth(&self) -> Option<Point> {
        self.knee().or_else(|| {
            let most = self.points.iter().map(|point| point.value).max_by(f64::total_cmp)?;
            self.points.iter().copied().find(|point| point.value >= AS_GOOD * most)
        })
    }
}

/// The part of the due requests that an open loop carries in its steady part; `None` for a closed loop, or
/// without the numbers.
pub(crate) fn carried(cell: &Cell<'_>) -> Option<f64> {
    let due = cell.load.configured.filter(|rate| cell.load.is_open && *rate > 0.0)?;
    if cell.load.ramp_to.is_some() {
        return None;
    }
    let summary = cell.file.summary.as_ref();
    let steady = summary.and_then(|summary| Some(summary.steady_tok_s? / cell.answer_tokens()?));
    if let Some(steady) = steady.filter(|rate| *rate > 0.0) {
        return Some(steady / due);
    }
    // The window of each repeat ends with its last answer, and nothing is due while that one runs: this time
    // does not count.
    let own = cell.shown(Metric::Rate(Rate::Requests))?;
    let window = summary.and_then(|summary| summary.window);
    let answers_s = cell.shown(Metric::P50_E2E).map(|e2e| e2e / 1e3 * cell.file.repeats.len().max(1) as f64);
    let drain = window.zip(answers_s).map_or(0.0, |(window, answers_s)| answers_s / window.length_s);
    (drain < 1.0).then(|| own / (1.0 - drain) / due)
}

/// Whether an open loop keeps up with its rate. With few requests, neither this nor [`falls_behind`] may
/// hold.
pub(crate) fn keeps_up(cell: &Cell<'_>) -> bool {
    !falls_behind(cell) && carried(cell).is_none_or(|part| part >= KEEPS_UP)
}

/// Whether an open loop falls behind its rate, beyond what random arrivals explain.
pub(crate) fn falls_behind(cell: &Cell<'_>) -> bool {
    let scheduled = cell.file.summary.as_ref().map(|summary| summary.counts.scheduled);
    let least = match scheduled {
        Some(n) if n > 0 => KEEPS_UP.min(1.0 - ARRIVALS / (n as f64).sqrt()),
        _ => KEEPS_UP,
    };
    let verdicts = &cell.file.verdicts;
    verdicts.iter().any(|verdict| verdict.kind == crate::measure::VerdictKind::RateNotSustained)
        || carried(cell).is_some_and(|part| part < least)
}
