//! Where a latency stands out from its neighbours on an axis, or takes off along it.

use super::{
    Block, Insight, Line, Rank,
    chance::{beyond, longer, samples},
    coordinate, lines, of, place,
    tail::tail,
    touches,
};
use crate::{
    manifest::scalar_text,
    measure::{Severity, VerdictKind},
    report::{
        headline::latency_name,
        number::{ms, times},
    },
    store::CellFile,
    unit::Percentile,
};

/// A cell is a ridge when its value is this many times the larger of its two neighbours.
const RIDGE: f64 = 1.25;
/// The same of a median TTFT.
const MEDIAN_RIDGE: f64 = 1.5;
/// Of two latencies of one cell the second is told where its jump is this many times that of the first.
const FAR_MORE: f64 = 2.0;
/// A tail is a ridge when its p95 over p50 is this many times that of both neighbours: of whole answers, and of first tokens,
/// whose tail goes up and down with the load in any engine.
const TAIL_RIDGE: f64 = 1.2;
const TTFT_TAIL_RIDGE: f64 = 1.5;
/// A step is a cliff when latency grows this many times as fast as the axis.
const CLIFF: f64 = 2.0;
/// Or, where the step is small, by this factor and this many times the part that the axis grows by.
const SMALL_STEP: f64 = 1.5;
const STEEP: f64 = 4.0;
/// TTFT this close to E2E means that the answers came whole.
const SAME: f64 = 0.99;

/// The definitions for the reader.
pub(super) fn thresholds() -> String {
    format!(
        "a p95 of TTFT or E2E more than {}, or a median TTFT more than {}, both neighbours on an axis; a p95 over p50 more than {} that of both ({} for TTFT); a p95, or a median TTFT, \
         that grows more than {} as fast as the axis itself, or on a small step more than {} and {} the part that the axis grows by",
        times(RIDGE),
        times(MEDIAN_RIDGE),
        times(TAIL_RIDGE),
        times(TTFT_TAIL_RIDGE),
        times(CLIFF),
        times(SMALL_STEP),
        times(STEEP)
    )
}

/// What is to be thought of a latency that stands out: of how few samples it is, and which verdicts speak against it.
fn doubt(cell: &CellFile, key: &str) -> String {
    let metric = key.rsplit('_').next().unwrap_or(key);
    let mut text = match samples(cell, metric) {
        Some(n) if n < Percentile::P95.samples_needed() && !key.starts_with("p50") => {
            format!(" It rests on {n} samples: measure it again before believing it.")
        }
        _ => String::new(),
    };
    let spoken: Vec<&str> = cell
        .verdicts
        .iter()
        .filter(|verdict| {
            !matches!(
                verdict.kind,
                VerdictKind::FewSamples | VerdictKind::Simulated
            )
        })
        .filter(|verdict| match verdict.severity {
            Severity::Cell => true,
            Severity::Metric => verdict.touches.iter().any(|touched| touches(touched, key)),
            Severity::Note => false,
        })
        .map(|verdict| verdict.kind.name())
        .collect();
    if let Some(kind) = spoken.first() {
        text.push_str(&format!(
            " Its verdict {kind} says that it may not be the server's."
        ));
    }
    text
}

fn came_whole(cell: &CellFile) -> bool {
    let pair = of(cell, "p50_ttft").zip(of(cell, "p50_e2e"));
    pair.is_some_and(|(ttft, e2e)| e2e > 0.0 && ttft >= SAME * e2e)
}

fn spelled(cell: &CellFile, axis: &str) -> String {
    coordinate(cell, axis).map(scalar_text).unwrap_or_default()
}

/// Whether a latency of a line says what E2E does not: where nothing was streamed TTFT is E2E, and one sentence is enough.
fn is_own(line: &Line<'_>, metric: &str) -> bool {
    metric == "e2e" || !line.cells.iter().all(|cell| came_whole(cell))
}

/// Cells whose tail is higher than those of both cells beside them.
pub(super) fn ridges(block: &Block<'_>, axis: &str, found: &mut Vec<Insight>) {
    for line in lines(block, axis) {
        for (rank, metric, least) in [
            (Rank::Tail, "e2e", RIDGE),
            (Rank::Tail, "ttft", RIDGE),
            (Rank::Middle, "ttft", MEDIAN_RIDGE),
        ] {
            let key = rank.key(&line.cells, metric);
            let Some(key) = key.filter(|_| is_own(&line, metric)) else {
                continue;
            };
            for three in line.cells.windows(3) {
                let [Some(before), Some(own), Some(after)] =
                    [0, 1, 2].map(|at: usize| of(three[at], &key))
                else {
                    continue;
                };
                let neighbour = before.max(after);
                let by_chance =
                    beyond(three[1], &[three[0], three[2]], metric, rank) == Some(false);
                if neighbour <= 0.0 || own <= least * neighbour || by_chance {
                    continue;
                }
                // One sentence a cell: another latency takes its place only where it stands out far more.
                let told = found
                    .iter()
                    .position(|zone| zone.kind == "ridge" && zone.cells == [three[1].id.clone()]);
                let jump = |zone: &Insight| zone.numbers.get("jump")?.as_f64();
                if let Some(told) = told {
                    match jump(&found[told]) {
                        Some(jump) if own / neighbour > FAR_MORE * jump => found.remove(told),
                        _ => continue,
                    };
                }
                let over = tail(three[1], metric)
                    .filter(|_| rank == Rank::Tail)
                    .map(|over| format!(", and {} its own p50", times(over)))
                    .unwrap_or_default();
                found.push(Insight::new(
                    "ridge",
                    &[three[1]],
                    &[("value_ms", own), ("neighbour_ms", neighbour), ("jump", own / neighbour)],
                    format!(
                        "Ridge along {axis}: {} is {} at {}, {} the larger of its neighbours ({} and {}){over}.{}",
                        latency_name(&key),
                        ms(Some(own)),
                        place(block, three[1]),
                        times(own / neighbour),
                        ms(Some(before)),
                        ms(Some(after)),
                        doubt(three[1], &key)
                    ),
                ));
            }
        }
    }
}

/// One or several steps in a row on which a latency grows far faster than the axis.
struct Cliff<'a> {
    from: &'a CellFile,
    to: &'a CellFile,
    low: f64,
    high: f64,
}

/// The cliffs of one latency along a line; steep steps that follow each other are one.
fn steep<'a>(line: &Line<'a>, axis: &str, key: &str, metric: &str, rank: Rank) -> Vec<Cliff<'a>> {
    let mut found: Vec<Cliff<'a>> = Vec::new();
    for pair in line.cells.windows(2) {
        let number = |cell: &CellFile| coordinate(cell, axis).and_then(serde_json::Value::as_f64);
        let numbers = [
            of(pair[0], key),
            of(pair[1], key),
            number(pair[0]),
            number(pair[1]),
        ];
        let [Some(low), Some(high), Some(x1), Some(x2)] = numbers else {
            continue;
        };
        if low <= 0.0 || x1 <= 0.0 || x2 <= x1 {
            continue;
        }
        let step = x2 / x1;
        let least = (CLIFF * step).min(SMALL_STEP.max(1.0 + STEEP * (step - 1.0)));
        let by_chance = beyond(pair[1], &[pair[0]], metric, rank) == Some(false);
        if high / low <= least || by_chance {
            continue;
        }
        match found.last_mut().filter(|last| last.to.id == pair[0].id) {
            Some(last) => (last.to, last.high) = (pair[1], high),
            None => found.push(Cliff {
                from: pair[0],
                to: pair[1],
                low,
                high,
            }),
        }
    }
    found
}

/// Where a latency takes off.
pub(super) fn cliffs(block: &Block<'_>, axis: &str, found: &mut Vec<Insight>) {
    for line in lines(block, axis) {
        let at = match line.fixed.as_str() {
            "" => String::new(),
            fixed => format!(" at {fixed}"),
        };
        for (rank, metric) in [
            (Rank::Tail, "e2e"),
            (Rank::Tail, "ttft"),
            (Rank::Middle, "ttft"),
        ] {
            // A median or mean stands in where nobody told a tail of whole answers.
            let (key, rank) = match (rank.key(&line.cells, metric), metric) {
                (None, "e2e") => (Rank::Middle.key(&line.cells, metric), Rank::Middle),
                (key, _) => (key, rank),
            };
            let Some(key) = key.filter(|_| is_own(&line, metric)) else {
                continue;
            };
            for cliff in steep(&line, axis, &key, metric, rank) {
                // The tail of whole answers says it before that of first tokens does.
                let told = found.iter().any(|zone| {
                    zone.kind == "cliff"
                        && zone.cells == [cliff.from.id.clone(), cliff.to.id.clone()]
                });
                if told {
                    continue;
                }
                let jump = cliff.high / cliff.low;
                found.push(Insight::new(
                    "cliff",
                    &[cliff.from, cliff.to],
                    &[("from_ms", cliff.low), ("to_ms", cliff.high), ("jump", jump)],
                    format!(
                        "Cliff along {axis}: {} jumps {} from {} to {} between {axis} {} and {}{at}.{}",
                        latency_name(&key),
                        times(jump),
                        ms(Some(cliff.low)),
                        ms(Some(cliff.high)),
                        spelled(cliff.from, axis),
                        spelled(cliff.to, axis),
                        doubt(cliff.to, &key)
                    ),
                ));
            }
        }
    }
}

/// Cells whose tail is far longer than that of the cells beside them, whatever the latency itself does.
pub(super) fn tail_ridges(block: &Block<'_>, axis: &str, found: &mut Vec<Insight>) {
    for line in lines(block, axis) {
        for three in line.cells.windows(3) {
            // Where nothing was streamed TTFT is E2E, and a ridge says it all: one sentence is enough.
            let told = |zone: &Insight| zone.kind == "ridge" && zone.cells == [three[1].id.clone()];
            if found.iter().any(told) {
                continue;
            }
            let ridge = [("e2e", TAIL_RIDGE), ("ttft", TTFT_TAIL_RIDGE)]
                .into_iter()
                .find_map(|(metric, least)| {
                    let own = tail(three[1], metric)?;
                    let (before, after) = (tail(three[0], metric)?, tail(three[2], metric)?);
                    let neighbour = before.max(after);
                    let jump = own / neighbour;
                    let by_chance =
                        longer(three[1], &[three[0], three[2]], metric, jump) == Some(false);
                    (neighbour > 0.0 && jump > least && !by_chance)
                        .then_some((metric, own, before, after, jump))
                });
            let Some((metric, own, before, after, jump)) = ridge else {
                continue;
            };
            found.push(Insight::new(
                "tail_ridge",
                &[three[1]],
                &[("ratio", own), ("jump", jump)],
                format!(
                    "Jitter ridge along {axis}: p95 {} is {} its p50 at {}, against {} at {axis} {} and {} at {}: a jump of {}.{}",
                    metric.to_uppercase(),
                    times(own),
                    place(block, three[1]),
                    times(before),
                    spelled(three[0], axis),
                    times(after),
                    spelled(three[2], axis),
                    times(jump),
                    doubt(three[1], &format!("p95_{metric}"))
                ),
            ));
        }
    }
}
