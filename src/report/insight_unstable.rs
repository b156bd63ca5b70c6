//! Where the numbers jump: ridges and cliffs along an axis, tails far from the median, repeats that disagree.

use super::{
    insight::{Block, Insight, coordinate, lines, metric, of, place},
    number::{ms, percent, times, tok_s},
};
use crate::{
    manifest::scalar_text,
    measure::{Summary, VerdictKind},
    store::CellFile,
};

/// A cell is a ridge when its value is this many times the larger of its two neighbours.
const RIDGE: f64 = 1.25;
/// A tail is a ridge when its p95 over p50 is this many times that of both neighbours.
const TAIL_RIDGE: f64 = 1.2;
/// A step is a cliff when latency grows this many times faster than the axis.
const CLIFF: f64 = 2.0;
/// A tail is long when p95 is this many times p50: the whole answer, and its first token.
const TAIL_E2E: f64 = 1.3;
const TAIL_TTFT: f64 = 2.0;
/// Repeats disagree when their throughput or median differs by more than this part of the smallest.
const REPEATS: f64 = 0.1;

/// What counts as unstable, for the reader of an empty list.
pub(super) fn thresholds() -> String {
    format!(
        "a p95 of TTFT or E2E more than {} both neighbours on an axis, a p95 over p50 more than {} that of both, a p95 that grows more than {} as fast as the axis itself, \
         a p95 E2E above {} its p50, a p95 TTFT above {} its p50, or repeats more than {} apart",
        times(RIDGE),
        times(TAIL_RIDGE),
        times(CLIFF),
        times(TAIL_E2E),
        times(TAIL_TTFT),
        percent(Some(REPEATS))
    )
}

/// Everything unstable in a block, strongest kinds first.
pub(super) fn unstable(block: &Block<'_>) -> Vec<Insight> {
    let mut found = Vec::new();
    for axis in &block.axes {
        along(block, axis, &mut found);
    }
    for axis in &block.axes {
        tail_ridges(block, axis, &mut found);
    }
    tails(block, &mut found);
    repeats(block, &mut found);
    found
}

fn along(block: &Block<'_>, axis: &str, found: &mut Vec<Insight>) {
    for line in lines(block, axis) {
        let at = if line.fixed.is_empty() {
            String::new()
        } else {
            format!(" at {}", line.fixed)
        };
        for (key, name) in [("p95_e2e", "p95 E2E"), ("p95_ttft", "p95 TTFT")] {
            for three in line.cells.windows(3) {
                let [Some(before), Some(own), Some(after)] =
                    [of(three[0], key), of(three[1], key), of(three[2], key)]
                else {
                    continue;
                };
                let neighbour = before.max(after);
                if neighbour > 0.0 && own > RIDGE * neighbour {
                    found.push(Insight::new(
                        "ridge",
                        &[three[1]],
                        &[("value_ms", own), ("neighbour_ms", neighbour), ("jump", own / neighbour)],
                        format!(
                            "Ridge along {axis}: {name} is {} at {}, {} the larger of its neighbours ({} and {}).",
                            ms(Some(own)),
                            place(block, three[1]),
                            times(own / neighbour),
                            ms(Some(before)),
                            ms(Some(after))
                        ),
                    ));
                }
            }
            for pair in line.cells.windows(2) {
                let numbers = [
                    of(pair[0], key),
                    of(pair[1], key),
                    coordinate(pair[0], axis).and_then(serde_json::Value::as_f64),
                    coordinate(pair[1], axis).and_then(serde_json::Value::as_f64),
                ];
                let [Some(from), Some(to), Some(x1), Some(x2)] = numbers else {
                    continue;
                };
                if from > 0.0 && x1 > 0.0 && x2 > x1 && to / from > CLIFF * (x2 / x1) {
                    let spelled = |index: usize| {
                        coordinate(pair[index], axis)
                            .map(scalar_text)
                            .unwrap_or_default()
                    };
                    found.push(Insight::new(
                        "cliff",
                        &[pair[0], pair[1]],
                        &[("from_ms", from), ("to_ms", to), ("jump", to / from)],
                        format!(
                            "Cliff along {axis}: {name} jumps {} from {} to {} between {axis} {} and {}{at}.",
                            times(to / from),
                            ms(Some(from)),
                            ms(Some(to)),
                            spelled(0),
                            spelled(1)
                        ),
                    ));
                }
            }
        }
    }
}

/// p95 over p50 of one latency of a cell.
fn tail(cell: &CellFile, metric: &str) -> Option<f64> {
    let (p50, p95) = (
        of(cell, &format!("p50_{metric}"))?,
        of(cell, &format!("p95_{metric}"))?,
    );
    (p50 > 0.0).then_some(p95 / p50)
}

/// Cells whose tail is far longer than that of the cells beside them, whatever the latency itself does.
fn tail_ridges(block: &Block<'_>, axis: &str, found: &mut Vec<Insight>) {
    for line in lines(block, axis) {
        for three in line.cells.windows(3) {
            let ridge =
                [("e2e", "E2E"), ("ttft", "TTFT")]
                    .into_iter()
                    .find_map(|(metric, name)| {
                        let own = tail(three[1], metric)?;
                        let (before, after) = (tail(three[0], metric)?, tail(three[2], metric)?);
                        let neighbour = before.max(after);
                        (neighbour > 0.0 && own > TAIL_RIDGE * neighbour).then_some((
                            name,
                            own,
                            before,
                            after,
                            own / neighbour,
                        ))
                    });
            // Where nothing was streamed TTFT is E2E: one sentence is enough.
            let Some((name, own, before, after, jump)) = ridge else {
                continue;
            };
            let spelled =
                |cell: &CellFile| coordinate(cell, axis).map(scalar_text).unwrap_or_default();
            found.push(Insight::new(
                "tail_ridge",
                &[three[1]],
                &[("ratio", own), ("jump", jump)],
                format!(
                    "Jitter ridge along {axis}: p95 {name} is {} its p50 at {}, against {} at {axis} {} and {} at {}: a jump of {}.",
                    times(own),
                    place(block, three[1]),
                    times(before),
                    spelled(three[0]),
                    times(after),
                    spelled(three[2]),
                    times(jump)
                ),
            ));
        }
    }
}

fn tails(block: &Block<'_>, found: &mut Vec<Insight>) {
    for cell in block.cells.iter().filter(|cell| cell.outcome.is_measured()) {
        let long = |metric: &str, limit: f64| {
            let (p50, p95) = (
                of(cell, &format!("p50_{metric}"))?,
                of(cell, &format!("p95_{metric}"))?,
            );
            (p50 > 0.0 && p95 > limit * p50).then_some((p50, p95))
        };
        // Where nothing was streamed TTFT is E2E: one sentence is enough.
        let tail = long("e2e", TAIL_E2E)
            .map(|tail| ("E2E", tail))
            .or_else(|| long("ttft", TAIL_TTFT).map(|tail| ("TTFT", tail)));
        let told = found
            .iter()
            .any(|zone| zone.kind == "tail_ridge" && zone.cells.contains(&cell.id));
        if let Some((name, (p50, p95))) = tail.filter(|_| !told) {
            found.push(Insight::new(
                "long_tail",
                &[cell],
                &[("p50_ms", p50), ("p95_ms", p95), ("ratio", p95 / p50)],
                format!(
                    "Long tail at {}: p95 {name} {} is {} the p50 of {}.",
                    place(block, cell),
                    ms(Some(p95)),
                    times(p95 / p50),
                    ms(Some(p50))
                ),
            ));
        }
        for verdict in &cell.verdicts {
            if verdict.kind == VerdictKind::NotSteady {
                found.push(Insight::new(
                    "not_steady",
                    &[cell],
                    &[],
                    format!(
                        "Not steady at {}: {}.",
                        place(block, cell),
                        verdict.reason.trim_end_matches('.')
                    ),
                ));
            }
        }
    }
}

fn repeats(block: &Block<'_>, found: &mut Vec<Insight>) {
    for cell in &block.cells {
        let spread = |get: &dyn Fn(&Summary) -> Option<f64>| {
            let values: Option<Vec<f64>> = cell.repeats.iter().map(get).collect();
            let values = values.filter(|values| values.len() > 1)?;
            let low = values.iter().copied().min_by(f64::total_cmp)?;
            let high = values.iter().copied().max_by(f64::total_cmp)?;
            (low > 0.0 && high > (1.0 + REPEATS) * low).then_some((low, high))
        };
        let throughput = spread(&|summary| metric(summary, "throughput"));
        let latency = spread(&|summary| metric(summary, "p50_e2e"));
        let (what, (low, high), shown) = match (throughput, latency) {
            (Some(pair), _) => ("throughput", pair, tok_s as fn(Option<f64>) -> String),
            (None, Some(pair)) => ("p50 E2E", pair, ms as fn(Option<f64>) -> String),
            (None, None) => continue,
        };
        found.push(Insight::new(
            "repeats_disagree",
            &[cell],
            &[("low", low), ("high", high), ("spread", high / low - 1.0)],
            format!(
                "Repeats disagree at {}: {what} from {} to {} over {} repeats, {} apart.",
                place(block, cell),
                shown(Some(low)),
                shown(Some(high)),
                cell.repeats.len(),
                percent(Some(high / low - 1.0))
            ),
        ));
    }
}
