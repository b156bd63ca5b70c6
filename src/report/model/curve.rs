//! What a line along the load brings: points that may be compared with each other, the steps between them, and the knee.

use super::{Cell, Doubt, Line, Model};
use crate::{
    manifest::Start,
    measure::{Metric, Rate},
};

/// Throughput that grows by less than this part altogether is flat.
pub(in crate::report) const FLAT: f64 = 0.2;
/// Among cells as good as the fastest, the least load is enough.
const AS_GOOD: f64 = 0.95;
/// A curve bends when it rises above its chord by at least this part of its range.
const BEND: f64 = 0.1;
/// A later cell with this many times the power is better than the knee.
const POWER: f64 = 1.25;
/// Beyond a knee one more request brings at most this part of what one brought up to it.
const LESS_EACH: f64 = 0.5;
/// A step brings nearly its share from this part on.
const NEAR_LINEAR: f64 = 0.7;
/// How many standard errors the gain of one more request falls by at a knee: less may be chance.
const SIGMAS: f64 = 2.5;
/// A steady window of at least this part of the whole one speaks for the cell.
const STEADY: f64 = 0.25;
/// An open loop keeps up with its rate when it carries this part of it.
const KEEPS_UP: f64 = 0.9;
/// Arrivals by chance are as many, up to so many times the square root of their number: of ten thousand cells none differs by
/// more.
const ARRIVALS: f64 = 4.0;

/// Which part of its time a cell is compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) enum Window {
    /// While all streams were in flight; the load is the streams.
    Steady,
    /// From first to last; the load is the mean number in flight (Little's law), so that start and drain count on both sides.
    Whole,
    /// As another tool reported it: the load is what was asked.
    Reported,
}

/// The cells of a line that may be compared, with what each brings.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::report) struct Curve {
    /// What the load brings: of output tokens, all tokens and requests per second the first that is known.
    pub(in crate::report) brings: Metric,
    pub(in crate::report) window: Window,
    /// Ascending; at least one.
    pub(in crate::report) points: Vec<Point>,
    /// Cells of the line that started their streams in another way than most: what they bring is not comparable.
    pub(in crate::report) apart: Vec<usize>,
}

/// One cell of a curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::report) struct Point {
    /// Its place in [`Model::cells`].
    pub(in crate::report) cell: usize,
    /// Requests in flight.
    pub(in crate::report) load: f64,
    /// What it brings per second.
    pub(in crate::report) value: f64,
    /// What of it may be chance.
    pub(in crate::report) doubt: Doubt,
}

/// From one point of a curve to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::report) struct Step {
    pub(in crate::report) from: Point,
    pub(in crate::report) to: Point,
    /// (throughput ratio − 1) / (load ratio − 1): 1 is perfect, 0 nothing, less a loss.
    pub(in crate::report) share: f64,
}

/// What a server gives each second, best known first: tools report different ones.
pub(super) const RATES: [Metric; 3] =
    [Metric::Rate(Rate::Output), Metric::Rate(Rate::Total), Metric::Rate(Rate::Requests)];

/// What a cell brings per second, by the first of output tokens, all tokens and requests that some of the cells have.
pub(super) fn brings<'c, 'a: 'c>(cells: impl Iterator<Item = &'c Cell<'a>> + Clone) -> Option<Metric> {
    RATES
        .into_iter()
        .find(|rate| cells.clone().any(|cell| cell.ranked(*rate).is_some_and(|value| value > 0.0)))
}

/// The mean number of requests in flight over the whole window, by Little's law.
fn mean_in_flight(cell: &Cell<'_>) -> Option<f64> {
    let summary = cell.file.summary.as_ref()?;
    let (window, e2e) = (summary.window?, summary.e2e.as_ref()?);
    (window.length_s > 0.0).then(|| summary.counts.completed as f64 * e2e.mean_ms / 1e3 / window.length_s)
}

/// How the streams of a cell started; `None` where one stream is all there is.
pub(super) fn start(cell: &Cell<'_>) -> Option<Start> {
    // One stream starts in one way alone.
    cell.load.asked.filter(|streams| *streams > 1.0)?;
    Some(cell.file.summary.as_ref()?.starts?.how)
}

/// Whether the load is more at another point.
fn grows(from: &Point, to: &Point) -> bool {
    to.load > 1.02 * from.load
}

/// What more load brings of its share.
fn share(from: &Point, to: &Point) -> f64 {
    (to.value / from.value - 1.0) / (to.load / from.load - 1.0)
}

impl Curve {
    /// The curve of a closed loop along a line; `None` in an open loop, or where nobody told what a cell brings.
    pub(in crate::report) fn of(model: &Model<'_>, line: &Line) -> Option<Self> {
        let all: Vec<&Cell<'_>> = line.iter(model).filter(|cell| !cell.load.is_open).collect();
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
        let noise = model.noise(own.first()?.workload);
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

    /// First and last point, where there are two.
    pub(in crate::report) fn ends(&self) -> Option<(Point, Point)> {
        match self.points.as_slice() {
            [first, .., last] if last.load > first.load => Some((*first, *last)),
            _ => None,
        }
    }

    /// The steps from each point to the next; none where the load did not grow.
    pub(in crate::report) fn steps(&self) -> Vec<Step> {
        let pairs = self.points.windows(2).filter(|pair| grows(&pair[0], &pair[1]));
        pairs.map(|pair| Step { from: pair[0], to: pair[1], share: share(&pair[0], &pair[1]) }).collect()
    }

    /// The largest load up to which throughput has grown by nearly the share of the load; `None` where it has nowhere. One step
    /// that chance made short does not end it.
    pub(in crate::report) fn straight_to(&self) -> Option<Point> {
        let (first, _) = self.ends()?;
        let mut further = self.points.iter().filter(|point| grows(&first, point));
        further.rfind(|point| share(&first, point) >= NEAR_LINEAR).copied()
    }

    /// Whether already the first step brings less than nearly its share, beyond chance.
    pub(in crate::report) fn bends_at_once(&self) -> bool {
        let Some(step) = self.steps().first().copied() else { return false };
        let near = 1.0 + NEAR_LINEAR * (step.to.load / step.from.load - 1.0);
        let log = (step.to.value / step.from.value / near).ln();
        let doubt = Doubt { error: step.from.doubt.error.hypot(step.to.doubt.error), df: step.to.doubt.df };
        log < 0.0 && doubt.is_beaten_by(log, 1)
    }

    /// Whether throughput hardly grows anywhere.
    pub(in crate::report) fn is_flat(&self) -> bool {
        let first = self.points.first().map_or(0.0, |point| point.value);
        self.points.len() > 1 && self.points.iter().all(|point| point.value < (1.0 + FLAT) * first)
    }

    /// Where throughput is less than at the peak before it, beyond chance: the peak, and the lowest point after it.
    pub(in crate::report) fn fall(&self) -> Option<(Point, Point)> {
        let by = |a: &&Point, b: &&Point| a.value.total_cmp(&b.value);
        let peak = *self.points.iter().rev().max_by(by)?;
        let after = *self.points.iter().filter(|point| point.load > peak.load).min_by(by)?;
        let doubt = Doubt { error: peak.doubt.error.hypot(after.doubt.error), df: peak.doubt.df };
        let log = (after.value / peak.value).ln();
        (log < -0.05 && doubt.is_beaten_by(log, self.points.len())).then_some((peak, after))
    }

    /// The points with throughput that never falls: neighbours that do have the mean of their logarithms (pool adjacent
    /// violators: Ayer, Brunk, Ewing, Reid and Silverman, Annals of Mathematical Statistics 26, 1955). Of several loads behind a
    /// bend, chance makes one the highest.
    fn rising(&self) -> Vec<Point> {
        // The sum of logarithms of each group, and how many it has.
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

    /// The knee by Kneedle (Satopää, Albrecht, Irwin and Raghavan, "Finding a 'Kneedle' in a Haystack", 2011), smoothed
    /// so far that throughput never falls: load and throughput are each scaled to 0 to 1 between the first point and the highest one, and the knee is
    /// the point furthest above the diagonal. `None` where no point is at least a tenth above it, or where one more request
    /// still brings, beyond chance, more than half of what it brought up to there: the line is as good as straight.
    ///
    /// A bend that is far from the point of most power gives way to that one: power is throughput over response time
    /// (Kleinrock, "Power and deterministic rules of thumb for probabilistic problems in computer communications", 1979),
    /// and by Little's law the square of the throughput over the requests in flight.
    pub(in crate::report) fn knee(&self) -> Option<Point> {
        let (first, last) = self.ends()?;
        let rising = self.rising();
        let most = rising.last()?.value;
        let (wide, high) = (last.load - first.load, most - first.value);
        if self.points.len() < 3 || high < FLAT * first.value {
            return None;
        }
        let above = |point: &Point| (point.value - first.value) / high - (point.load - first.load) / wide;
        // Of equal ones the first: less load for the same gain.
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
        // From here on what was measured.
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

    /// The point worth going to: the knee, or where there is none the least load that is as good as the fastest.
    pub(in crate::report) fn worth(&self) -> Option<Point> {
        self.knee().or_else(|| {
            let most = self.points.iter().map(|point| point.value).max_by(f64::total_cmp)?;
            self.points.iter().copied().find(|point| point.value >= AS_GOOD * most)
        })
    }
}

/// What part of the requests that are due an open loop carries, in its steady part: `None` in a closed loop, or without the
/// numbers.
pub(in crate::report) fn carried(cell: &Cell<'_>) -> Option<f64> {
    let due = cell.load.asked.filter(|rate| cell.load.is_open && *rate > 0.0)?;
    if cell.load.ramp_to.is_some() {
        return None;
    }
    let summary = cell.file.summary.as_ref();
    let steady = summary.and_then(|summary| Some(summary.steady_tok_s? / cell.answer_tokens()?));
    if let Some(steady) = steady.filter(|rate| *rate > 0.0) {
        return Some(steady / due);
    }
    // The window of each repeat ends with its last answer, and nothing is due in the time that one takes: that part of it does
    // not count.
    let own = cell.shown(Metric::Rate(Rate::Requests))?;
    let window = summary.and_then(|summary| summary.window);
    let answers_s = cell.shown(Metric::P50_E2E).map(|e2e| e2e / 1e3 * cell.file.repeats.len().max(1) as f64);
    let drain = window.zip(answers_s).map_or(0.0, |(window, answers_s)| answers_s / window.length_s);
    (drain < 1.0).then(|| own / (1.0 - drain) / due)
}

/// Whether an open loop carries what is due; of few requests neither this nor [`falls_behind`] may be known.
pub(in crate::report) fn keeps_up(cell: &Cell<'_>) -> bool {
    !falls_behind(cell) && carried(cell).is_none_or(|part| part >= KEEPS_UP)
}

/// Whether an open loop falls behind its rate, beyond what random arrivals differ from it by.
pub(in crate::report) fn falls_behind(cell: &Cell<'_>) -> bool {
    let scheduled = cell.file.summary.as_ref().map(|summary| summary.counts.scheduled);
    let least = match scheduled {
        Some(n) if n > 0 => KEEPS_UP.min(1.0 - ARRIVALS / (n as f64).sqrt()),
        _ => KEEPS_UP,
    };
    let verdicts = &cell.file.verdicts;
    verdicts.iter().any(|verdict| verdict.kind == crate::measure::VerdictKind::RateNotSustained)
        || carried(cell).is_some_and(|part| part < least)
}
