//! Where the numbers jump: ridges and cliffs along an axis, tails far from the median, repeats that disagree.

use super::{
    Block, Insight, Rank, coordinate, humps::two_humped, ladder, lines, metric, of, place,
};
use crate::{
    manifest::scalar_text,
    measure::{Latency, Summary, VerdictKind},
    report::{
        compare::interval::Estimate,
        headline::latency_name,
        number::{ms, percent, times, tok_s},
    },
    store::CellFile,
    unit::Percentile,
};

/// A cell is a ridge when its value is this many times the larger of its two neighbours.
const RIDGE: f64 = 1.25;
/// A tail is a ridge when its p95 over p50 is this many times that of both neighbours.
const TAIL_RIDGE: f64 = 1.2;
/// Throughput is a dip when it is below this part of the smaller of its two neighbours.
const DIP: f64 = 0.9;
/// So many zones of one kind are told; the strongest.
const TOLD: usize = 8;
/// A median below this part of that with less load has fallen.
const FALL: f64 = 0.85;
/// A step is a cliff when latency grows this many times faster than the axis.
const CLIFF: f64 = 2.0;
/// A tail is long when p95 is this many times p50: the whole answer, and its first token.
const TAIL_E2E: f64 = 1.3;
const TAIL_TTFT: f64 = 2.0;
/// Repeats disagree when their throughput or median differs by more than this part of the smallest.
const REPEATS: f64 = 0.1;

/// What counts as unstable, for the reader of an empty list.
pub(in crate::report) fn thresholds() -> String {
    format!(
        "a p95 of TTFT or E2E more than {} both neighbours on an axis, a p95 over p50 more than {} that of both, a throughput below {} of both, a p95 that grows more than {} as fast as the axis \
         itself, a p95 E2E above {} its p50, a p95 TTFT above {} its p50, repeats more than {} apart, or an ITL with two humps, or a median E2E below {} of that with less load; a ridge, \
         a cliff, a fall or a dip whose 95 % interval reaches that of its neighbours is not counted",
        times(RIDGE),
        times(TAIL_RIDGE),
        percent(Some(DIP)),
        times(CLIFF),
        times(TAIL_E2E),
        times(TAIL_TTFT),
        percent(Some(REPEATS)),
        percent(Some(FALL))
    )
}

/// Everything unstable in a block, strongest kinds first.
pub(in crate::report) fn unstable(block: &Block<'_>) -> Vec<Insight> {
    let mut found = Vec::new();
    for axis in &block.axes {
        along(block, axis, &mut found);
    }
    for axis in &block.axes {
        tail_ridges(block, axis, &mut found);
    }
    for axis in &block.axes {
        dips(block, axis, &mut found);
    }
    falls(block, &mut found);
    tails(block, &mut found);
    repeats(block, &mut found);
    found.extend(two_humped(block));
    strongest(found)
}

/// The strongest zones of each kind, in the order they were found; the last of a kind says how many more there are.
fn strongest(found: Vec<Insight>) -> Vec<Insight> {
    let strength = |zone: &Insight| {
        let number = ["jump", "ratio", "spread"]
            .iter()
            .find_map(|name| zone.numbers.get(*name)?.as_f64());
        number.map_or(0.0, |number| number.max(1.0 / number))
    };
    let mut kinds: Vec<&str> = found.iter().map(|zone| zone.kind).collect();
    kinds.dedup();
    let mut out: Vec<Insight> = Vec::new();
    for kind in kinds {
        if out.iter().any(|zone| zone.kind == kind) {
            continue;
        }
        let mut own: Vec<&Insight> = found.iter().filter(|zone| zone.kind == kind).collect();
        let all = own.len();
        if all > TOLD {
            own.sort_by(|a, b| strength(b).total_cmp(&strength(a)));
            own.truncate(TOLD);
        }
        out.extend(own.into_iter().cloned());
        if let Some(last) = out.last_mut().filter(|_| all > TOLD) {
            last.text.push_str(&format!(
                " (These are the strongest; {} more are of this kind.)",
                all - TOLD
            ));
        }
    }
    out
}

fn latency<'a>(cell: &'a CellFile, metric: &str) -> Option<&'a Latency> {
    let summary = cell.summary.as_ref()?;
    match metric {
        "ttft" => summary.ttft.as_ref(),
        _ => summary.e2e.as_ref(),
    }
}

/// Whether a p95, or a median, is above others beyond chance; `None` where there are too few samples to say.
fn beyond_chance(own: &CellFile, others: &[&CellFile], metric: &str, rank: Rank) -> Option<bool> {
    let percentile = match rank {
        Rank::Middle => Percentile::P50,
        Rank::Tail => Percentile::P95,
    };
    let between =
        |cell: &CellFile| Estimate::percentile(latency(cell, metric)?, percentile)?.between;
    let low = between(own)?.0;
    let highs: Option<Vec<f64>> = others.iter().map(|cell| Some(between(cell)?.1)).collect();
    Some(highs?.iter().all(|high| low > *high))
}

/// What is to be thought of a p95 of few samples; empty where there are enough, or nobody says.
fn doubt(cell: &CellFile, metric: &str) -> String {
    let samples = latency(cell, metric)
        .map(|latency| latency.n)
        .or_else(|| Some(cell.summary.as_ref()?.counts.completed));
    match samples {
        Some(n) if n < Percentile::P95.samples_needed() => {
            format!(" It rests on {n} samples: measure it again before believing it.")
        }
        _ => String::new(),
    }
}

fn along(block: &Block<'_>, axis: &str, found: &mut Vec<Insight>) {
    for line in lines(block, axis) {
        let at = if line.fixed.is_empty() {
            String::new()
        } else {
            format!(" at {}", line.fixed)
        };
        for (rank, metric) in [
            (Rank::Tail, "e2e"),
            (Rank::Tail, "ttft"),
            (Rank::Middle, "ttft"),
        ] {
            let Some(key) = rank.key(&line.cells, metric) else {
                continue;
            };
            let (key, name) = (key.as_str(), latency_name(&key));
            // Where nothing was streamed TTFT is E2E: one sentence is enough.
            if metric == "ttft" && line.cells.iter().all(|cell| came_whole(cell)) {
                continue;
            }
            for three in line.cells.windows(3) {
                let [Some(before), Some(own), Some(after)] =
                    [of(three[0], key), of(three[1], key), of(three[2], key)]
                else {
                    continue;
                };
                let neighbour = before.max(after);
                // A median that stands out does so in the tail as well, or says nothing of jitter.
                if rank == Rank::Middle {
                    break;
                }
                let by_chance =
                    beyond_chance(three[1], &[three[0], three[2]], metric, rank) == Some(false);
                if neighbour > 0.0 && own > RIDGE * neighbour && !by_chance {
                    let over = tail(three[1], metric)
                        .map(|over| format!(", and {} its own p50", times(over)))
                        .unwrap_or_default();
                    found.push(Insight::new(
                        "ridge",
                        &[three[1]],
                        &[("value_ms", own), ("neighbour_ms", neighbour), ("jump", own / neighbour)],
                        format!(
                            "Ridge along {axis}: {name} is {} at {}, {} the larger of its neighbours ({} and {}){over}.{}",
                            ms(Some(own)),
                            place(block, three[1]),
                            times(own / neighbour),
                            ms(Some(before)),
                            ms(Some(after)),
                            doubt(three[1], metric)
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
                let by_chance = beyond_chance(pair[1], &[pair[0]], metric, rank) == Some(false);
                let told = found.iter().any(|zone| {
                    zone.kind == "cliff" && zone.cells == [pair[0].id.clone(), pair[1].id.clone()]
                });
                let steep = from > 0.0 && x1 > 0.0 && x2 > x1 && to / from > CLIFF * (x2 / x1);
                if steep && !by_chance && !told {
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
                            "Cliff along {axis}: {name} jumps {} from {} to {} between {axis} {} and {}{at}.{}",
                            times(to / from),
                            ms(Some(from)),
                            ms(Some(to)),
                            spelled(0),
                            spelled(1),
                            doubt(pair[1], metric)
                        ),
                    ));
                }
            }
        }
    }
}

fn came_whole(cell: &CellFile) -> bool {
    let pair = of(cell, "p50_ttft").zip(of(cell, "p50_e2e"));
    pair.is_some_and(|(ttft, e2e)| e2e > 0.0 && ttft >= 0.99 * e2e)
}

/// Cells that give fewer tokens per second than both cells beside them.
fn dips(block: &Block<'_>, axis: &str, found: &mut Vec<Insight>) {
    for line in lines(block, axis) {
        for three in line.cells.windows(3) {
            let [Some(before), Some(own), Some(after)] =
                [0, 1, 2].map(|at: usize| of(three[at], "throughput"))
            else {
                continue;
            };
            let neighbour = before.min(after);
            let between = |cell: &CellFile| {
                let rate = of(cell, "throughput")?;
                Estimate::by_littles_law(rate, latency(cell, "e2e")?).between
            };
            let own_high = between(three[1]).map(|(_, high)| high);
            let lows = between(three[0]).zip(between(three[2]));
            let by_chance = own_high
                .zip(lows)
                .is_some_and(|(high, (before, after))| high >= before.0.min(after.0));
            if own < DIP * neighbour && !by_chance {
                found.push(Insight::new(
                    "dip",
                    &[three[1]],
                    &[("throughput_tok_s", own), ("neighbour_tok_s", neighbour), ("jump", own / neighbour)],
                    format!(
                        "Dip along {axis}: throughput is {} at {}, {} of the smaller of its neighbours ({} and {}).",
                        tok_s(Some(own)),
                        place(block, three[1]),
                        percent(Some(own / neighbour)),
                        tok_s(Some(before)),
                        tok_s(Some(after))
                    ),
                ));
            }
        }
    }
}

/// Cells whose requests are quicker than with less in flight: then they are not the same requests.
fn falls(block: &Block<'_>, found: &mut Vec<Insight>) {
    let axis = ladder(block);
    for line in lines(block, axis) {
        let Some(key) = Rank::Middle.key(&line.cells, "e2e") else {
            continue;
        };
        for pair in line.cells.windows(2) {
            let (Some(before), Some(own)) = (of(pair[0], &key), of(pair[1], &key)) else {
                continue;
            };
            // More in flight never makes a request quicker; beyond chance only where the samples say so, or where none are there.
            let by_chance = beyond_chance(pair[0], &[pair[1]], "e2e", Rank::Middle) == Some(false);
            if own >= FALL * before || by_chance {
                continue;
            }
            let spelled =
                |cell: &CellFile| coordinate(cell, axis).map(scalar_text).unwrap_or_default();
            found.push(Insight::new(
                "falls",
                &[pair[0], pair[1]],
                &[("from_ms", before), ("to_ms", own), ("ratio", own / before)],
                format!(
                    "Odd along {axis}: {} falls from {} at {} to {} at {}, though more is asked for: as a rule answers ended \
                     earlier there, or the cell before began cold, so the two are not to be compared.",
                    latency_name(&key),
                    ms(Some(before)),
                    spelled(pair[0]),
                    ms(Some(own)),
                    place(block, pair[1]),
                ),
            ));
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
            // Where nothing was streamed TTFT is E2E, and a ridge says it all: one sentence is enough.
            let told = |zone: &Insight| zone.kind == "ridge" && zone.cells == [three[1].id.clone()];
            let Some((name, own, before, after, jump)) = ridge.filter(|_| !found.iter().any(told))
            else {
                continue;
            };
            let spelled =
                |cell: &CellFile| coordinate(cell, axis).map(scalar_text).unwrap_or_default();
            found.push(Insight::new(
                "tail_ridge",
                &[three[1]],
                &[("ratio", own), ("jump", jump)],
                format!(
                    "Jitter ridge along {axis}: p95 {name} is {} its p50 at {}, against {} at {axis} {} and {} at {}: a jump of {}.{}",
                    times(own),
                    place(block, three[1]),
                    times(before),
                    spelled(three[0]),
                    times(after),
                    spelled(three[2]),
                    times(jump),
                    doubt(three[1], if name == "TTFT" { "ttft" } else { "e2e" })
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
            .any(|zone| zone.kind.ends_with("ridge") && zone.cells.contains(&cell.id));
        if let Some((name, (p50, p95))) = tail.filter(|_| !told) {
            found.push(Insight::new(
                "long_tail",
                &[cell],
                &[("p50_ms", p50), ("p95_ms", p95), ("ratio", p95 / p50)],
                format!(
                    "Long tail at {}: p95 {name} {} is {} the p50 of {}.{}",
                    place(block, cell),
                    ms(Some(p95)),
                    times(p95 / p50),
                    ms(Some(p50)),
                    cold(block, cell, name, p95)
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

/// A tail at the least load that the next one does not have is not the load's.
fn cold(block: &Block<'_>, cell: &CellFile, name: &str, p95: f64) -> String {
    let axis = ladder(block);
    let line = lines(block, axis)
        .into_iter()
        .find(|line| line.cells.first().is_some_and(|first| first.id == cell.id));
    let next = line.and_then(|line| {
        let next = *line.cells.get(1)?;
        Some((next, of(next, &format!("p95_{}", name.to_lowercase()))?))
    });
    match next {
        Some((next, own)) if own < p95 => format!(
            " With more load, at {axis} {}, it is {}: as a rule that is a cold start, no trait of this load.",
            coordinate(next, axis).map(scalar_text).unwrap_or_default(),
            ms(Some(own))
        ),
        _ => String::new(),
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
