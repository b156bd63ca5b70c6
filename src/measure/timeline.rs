//! Computes the timeline of a cell, for charts.

use super::{
    in_flight::{Interval, flight},
    summary::Point,
};
use crate::load::Records;

/// The most points a timeline has.
const STEPS: u64 = 60;

/// Computes requests in flight and chunks per second over the whole cell, warm-up included, in at most 60
/// equal steps. The time of a point is the middle of its step. Empty when no request was sent.
pub fn timeline(records: &Records) -> Vec<Point> {
    let flights: Vec<Interval> = records.iter().filter_map(|record| flight(&record)).collect();
    let start = flights.iter().map(|flight| flight.start).min();
    let end = flights.iter().map(|flight| flight.end()).max();
    let Some(all) = start.zip(end).and_then(|(start, end)| Interval::between(start, end)) else {
        return Vec::new();
    };
    let step = all.length.div_ceil(STEPS);
    let count = all.length.div_ceil(step) as usize;
    let mut busy = vec![0u64; count];
    let mut chunks = vec![0u64; count];
    for flight in &flights {
        let (from, to) = (flight.start.0 - all.start.0, flight.end().0 - all.start.0);
        for place in from / step..=(to - 1) / step {
            busy[place as usize] += to.min((place + 1) * step) - from.max(place * step);
        }
    }
    for record in records {
        for at in record.chunks.iter().filter(|at| all.contains(*at)) {
            // A chunk at the very end belongs to the last step.
            chunks[(((at.0 - all.start.0) / step) as usize).min(count - 1)] += 1;
        }
    }
    (0..count)
        .map(|place| {
            let from = place as u64 * step;
            // The last step may be shorter than the others.
            let length = step.min(all.length - from);
            Point {
                t_s: rounded((all.start.0 + from + length / 2) as f64 / 1e9, 1e6),
                in_flight: rounded(busy[place] as f64 / length as f64, 1e3),
                chunks_s: rounded(chunks[place] as f64 * 1e9 / length as f64, 1e3),
            }
        })
        .collect()
}

/// Rounds to the digits that mean something: the timeline is stored in git.
fn rounded(value: f64, scale: f64) -> f64 {
    (value * scale).round() / scale
}
