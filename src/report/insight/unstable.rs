//! Where the numbers jump: ridges and cliffs along an axis, tails far from the median, repeats that disagree.

use super::{
    Block, Insight, Rank, Yield,
    chance::{ONCE, beyond, is_less},
    coordinate,
    humps::two_humped,
    ladder, lines, of, place,
    repeats::repeats,
    ridge::{cliffs, ridges, tail_ridges},
    tail::tails,
};
use crate::{
    manifest::scalar_text,
    report::{
        headline::latency_name,
        number::{ms, percent},
    },
    store::CellFile,
};

/// Throughput is a dip when it is below this part of the smaller of its two neighbours.
const DIP: f64 = 0.9;
/// So many zones of one kind are told; the strongest.
const TOLD: usize = 8;
/// A median below this part of that with less load has fallen.
const FALL: f64 = 0.82;

/// What counts as unstable, for the reader of an empty list.
pub(in crate::report) fn thresholds() -> String {
    format!(
        "{}; a throughput below {} of both neighbours ({} where a cell has no repeats); a median E2E below {} of that with less load; {}; {}; or an ITL with two humps. What the \
         samples or the repeats of the cells may give by chance is not counted",
        super::ridge::thresholds(),
        percent(Some(DIP)),
        percent(Some(ONCE)),
        percent(Some(FALL)),
        super::tail::thresholds(),
        super::repeats::threshold()
    )
}

/// Everything unstable in a block, strongest kinds first.
pub(in crate::report) fn unstable(block: &Block<'_>) -> Vec<Insight> {
    let mut found = Vec::new();
    for axis in &block.axes {
        ridges(block, axis, &mut found);
        cliffs(block, axis, &mut found);
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

/// Cells that give fewer tokens per second than both cells beside them.
fn dips(block: &Block<'_>, axis: &str, found: &mut Vec<Insight>) {
    let Some(brings) = Yield::of_cells(&block.cells) else {
        return;
    };
    for line in lines(block, axis) {
        for three in line.cells.windows(3) {
            let [Some(before), Some(own), Some(after)] =
                [0, 1, 2].map(|at: usize| brings.of(three[at]))
            else {
                continue;
            };
            let neighbour = before.min(after);
            let lower = if before < after { three[0] } else { three[2] };
            if is_less(three[1], lower, brings, DIP) {
                found.push(Insight::new(
                    "dip",
                    &[three[1]],
                    &[(brings.column(), own), ("neighbour", neighbour), ("jump", own / neighbour)],
                    format!(
                        "Dip along {axis}: {} is {} at {}, {} of the smaller of its neighbours ({} and {}).",
                        brings.name(),
                        brings.said(Some(own)),
                        place(block, three[1]),
                        percent(Some(own / neighbour)),
                        brings.said(Some(before)),
                        brings.said(Some(after))
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
            let by_chance = beyond(pair[0], &[pair[1]], "e2e", Rank::Middle) == Some(false);
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
