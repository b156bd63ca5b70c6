//! Where more load stops paying.

use super::{
    Insight, Line, Yield,
    chance::error,
    concurrency, count, offered,
    scaling::{Scaled, at, value},
    slower::price,
};
use crate::{
    report::number::{listed, times},
    store::CellFile,
};

/// Throughput that grows by less than this part altogether is flat: what bends in it is noise.
pub(super) const FLAT: f64 = 0.2;
/// Among cells as good as the fastest, the least load is enough.
const AS_GOOD: f64 = 0.95;
/// A curve bends when it rises above its chord by at least this part of its range.
const BEND: f64 = 0.1;
/// So many standard errors are beyond chance.
const SIGMAS: f64 = 2.0;
/// A later cell with this many times the power is better than the knee.
const POWER: f64 = 1.25;
/// Beyond a knee one more request brings at most this part of what one brought up to it.
const LESS_EACH: f64 = 0.5;

/// The knee of a line by Kneedle (Satopää, Albrecht, Irwin and Raghavan, "Finding a 'Kneedle' in a Haystack", 2011), without
/// smoothing: load and throughput are each scaled to 0 to 1 between the first cell and the highest one, and the knee is the
/// cell furthest above the diagonal. `None` where no cell is at least a tenth above it, or where one more request still
/// brings more than half of what it brought up to there: the line is as good as straight.
///
/// In a closed loop a bend that is far from the cell of most power gives way to that one: power is throughput over response time
/// (Kleinrock, "Power and deterministic rules of thumb for probabilistic problems in computer communications", 1979), and by
/// Little's law the square of the throughput over the requests in flight.
pub(in crate::report) fn knee<'a>(cells: &[&'a CellFile]) -> Option<&'a CellFile> {
    let brings = Yield::of_cells(cells)?;
    let points: Vec<(f64, f64, &CellFile)> = cells
        .iter()
        .filter_map(|cell| Some((offered(cell)?, brings.of(cell)?, *cell)))
        .collect();
    let (first, last) = (points.first()?, points.last()?);
    let most = points.iter().map(|point| point.1).max_by(f64::total_cmp)?;
    let (wide, high) = (last.0 - first.0, most - first.1);
    if points.len() < 3 || wide <= 0.0 || first.1 <= 0.0 || high < FLAT * first.1 {
        return None;
    }
    let above =
        |point: &(f64, f64, &'a CellFile)| (point.1 - first.1) / high - (point.0 - first.0) / wide;
    // Of equal ones the first: less load for the same gain.
    let best = points
        .iter()
        .rev()
        .max_by(|a, b| above(a).total_cmp(&above(b)))?;
    let closed = cells.iter().all(|cell| concurrency(cell).is_some());
    let power = |point: &(f64, f64, &CellFile)| point.1 * point.1 / point.0;
    let strongest = points
        .iter()
        .rev()
        .max_by(|a, b| power(a).total_cmp(&power(b)))?;
    let best = match closed && strongest.0 > best.0 && power(strongest) >= POWER * power(best) {
        true => strongest,
        false => best,
    };
    if above(best) < BEND || best.0 >= last.0 {
        return None;
    }
    let each = |from: &(f64, f64, &CellFile), to: &(f64, f64, &CellFile)| {
        (to.1 - from.1) / (to.0 - from.0)
    };
    // What chance may have taken from the last cell, or given to the best one.
    let doubt = |point: &(f64, f64, &CellFile)| {
        error(point.2, brings.key()).map_or(0.0, |error| error * point.1)
    };
    let by_chance = SIGMAS * doubt(best).hypot(doubt(last)) / (last.0 - best.0);
    (each(best, last) + by_chance <= LESS_EACH * each(first, best)).then_some(best.2)
}

/// The cell of a line worth going to: its knee, or where it has none the least load that is as good as the fastest.
pub(in crate::report) fn worth<'a>(cells: &[&'a CellFile]) -> Option<&'a CellFile> {
    knee(cells).or_else(|| {
        let brings = Yield::of_cells(cells);
        let rate = |cell: &&CellFile| brings?.of(cell);
        let most = cells.iter().filter_map(rate).max_by(f64::total_cmp);
        let as_good = |cell: &&CellFile| {
            rate(cell)
                .zip(most)
                .is_some_and(|(own, most)| own >= AS_GOOD * most)
        };
        cells
            .iter()
            .copied()
            .find(as_good)
            .or(cells.first().copied())
    })
}

/// The knee of a line, and what the load beyond it brings and costs.
pub(super) fn bend(line: &Line<'_>, axis: &str) -> Option<Insight> {
    let at_knee = knee(&line.cells)?;
    let last = *line.cells.last()?;
    let (load, most) = (offered(at_knee)?, offered(last)?);
    let own = Yield::of_cells(&line.cells)?;
    let (rate, end) = (own.of(at_knee)?, own.of(last)?);
    if most <= load || load <= 0.0 {
        return None;
    }
    let mut brings = vec![format!("{} the {}", times(end / rate), own.noun())];
    brings.extend(price(line, at_knee, last));
    Some(Insight::new(
        "knee",
        &[at_knee],
        &[
            ("load", load),
            (own.column(), rate),
            ("throughput_ratio_beyond", end / rate),
        ],
        format!(
            "The knee{} is at {axis} {} with {}: from there to {}, {} the load brings {}.",
            at(line),
            value(at_knee, axis),
            own.said(Some(rate)),
            value(last, axis),
            times(most / load),
            listed(&brings)
        ),
    ))
}

/// The knees of several lines: the one whose throughput is highest in full, the others by their place.
pub(super) fn bends(all: &[Scaled<'_, '_>], axis: &str) -> Option<Insight> {
    let mut knees: Vec<(&Scaled<'_, '_>, &CellFile)> = all
        .iter()
        .filter_map(|scaled| Some((scaled, knee(&scaled.line.cells)?)))
        .collect();
    let rate = |(scaled, cell): &(&Scaled<'_, '_>, &CellFile)| scaled.brings.of(cell);
    // Of equal ones the first.
    let top = knees
        .iter()
        .rev()
        .max_by(|a, b| {
            rate(a)
                .partial_cmp(&rate(b))
                .unwrap_or(std::cmp::Ordering::Equal)
        })?
        .1;
    let at = knees.iter().position(|(_, cell)| cell.id == top.id)?;
    let (scaled, _) = knees.remove(at);
    let mut insight = bend(scaled.line, axis)?;
    if !knees.is_empty() {
        let mut places: Vec<(String, usize)> = Vec::new();
        for (_, cell) in &knees {
            let place = value(cell, axis);
            match places.iter_mut().find(|(known, _)| *known == place) {
                Some((_, number)) => *number += 1,
                None => places.push((place, 1)),
            }
        }
        let said: Vec<String> = places
            .iter()
            .map(|(place, number)| format!("{place} on {}", count(*number, "line")))
            .collect();
        insight
            .text
            .push_str(&format!(" Elsewhere it is at {}.", listed(&said)));
    }
    let straight = all.len() - knees.len() - 1;
    if straight > 0 {
        insight.text.push_str(&format!(
            " {} no knee.",
            match straight {
                1 => "1 line has".to_owned(),
                several => format!("{several} lines have"),
            }
        ));
    }
    Some(insight)
}
