//! What one axis does while everything else stays the same: matched pairs of cells, over all servers of a workload.

use std::collections::HashMap;

use serde_json::Value;

use super::{
    Block, Insight, Rank, Yield, coordinate, count,
    profile::profile,
    ratios::{Ratios, Said},
    spoken,
};
use crate::{
    manifest::scalar_text,
    report::{
        headline::latency_name,
        number::{listed, times},
    },
    store::{CellFile, StoredRun},
};

/// So many names are told one by one.
const NAMED: usize = 12;
/// From so many numbers on an axis is told as a whole.
const PROFILE: usize = 3;

/// The effects of the axes of the server, and of those of the load that are neither its amount nor a length.
pub(in crate::report) fn effects(
    run: &StoredRun,
    blocks: &[Block<'_>],
    workload: &str,
) -> Vec<Insight> {
    let cells: Vec<&CellFile> = blocks
        .iter()
        .filter(|block| block.workload == workload)
        .flat_map(|block| &block.cells)
        .copied()
        .filter(|cell| cell.has_numbers())
        .collect();
    let load_axes: Vec<&str> = run.plan.load_axes.iter().map(String::as_str).collect();
    let axes: Vec<&str> = run
        .plan
        .server_axes
        .iter()
        .map(String::as_str)
        .chain(load_axes.iter().copied())
        .collect();
    let others = load_axes.into_iter().filter(|axis| {
        !["concurrency", "rate", "max_tokens"].contains(axis) && !axis.ends_with("_tokens")
    });
    run.plan
        .server_axes
        .iter()
        .map(String::as_str)
        .chain(others)
        .flat_map(|axis| effect(&cells, &axes, axis))
        .collect()
}

/// The cells of one value of an axis, by everything else of them.
pub(super) struct Level<'a> {
    pub(super) value: &'a Value,
    cells: Vec<(String, &'a CellFile)>,
}

impl<'a> Level<'a> {
    /// The cells of this value and of another that are the same else, in the order of the plan: (this one's, the other's).
    pub(super) fn pairs(&self, other: &Self) -> Vec<(&'a CellFile, &'a CellFile)> {
        let own: HashMap<&str, &CellFile> = self
            .cells
            .iter()
            .map(|(key, cell)| (key.as_str(), *cell))
            .collect();
        other
            .cells
            .iter()
            .filter_map(|(key, cell)| Some((*own.get(key.as_str())?, *cell)))
            .collect()
    }
}

/// The values of an axis as they occur, numbers ascending, each with its cells.
fn levels<'a>(cells: &[&'a CellFile], rest: &[&str], axis: &str) -> Vec<Level<'a>> {
    // Everything else of a cell, as text.
    let key = |cell: &CellFile| -> String {
        let each = rest.iter();
        each.map(|other| coordinate(cell, other).map(scalar_text).unwrap_or_default())
            .collect::<Vec<_>>()
            .join("\u{1f}")
    };
    let mut levels: Vec<Level<'_>> = Vec::new();
    for cell in cells {
        let Some(value) = coordinate(cell, axis) else {
            continue;
        };
        match levels.iter_mut().find(|level| level.value == value) {
            Some(level) => level.cells.push((key(cell), cell)),
            None => levels.push(Level {
                value,
                cells: vec![(key(cell), cell)],
            }),
        }
    }
    if levels.iter().all(|level| level.value.is_number()) {
        levels.sort_by(|a, b| {
            a.value
                .as_f64()
                .partial_cmp(&b.value.as_f64())
                .unwrap_or(std::cmp::Ordering::Equal)
        });
    }
    levels
}

fn effect(cells: &[&CellFile], axes: &[&str], axis: &str) -> Vec<Insight> {
    let rest: Vec<&str> = axes
        .iter()
        .copied()
        .filter(|other| *other != axis)
        .collect();
    let mut levels = levels(cells, &rest, axis);
    // What has no cell that is the same else has nothing to be compared with: the first value that has is what others are held against.
    let base = (0..levels.len()).find(|at| {
        levels
            .iter()
            .enumerate()
            .any(|(other, level)| other != *at && !levels[*at].pairs(level).is_empty())
    });
    let Some(base) = base.map(|at| levels.remove(at)) else {
        return Vec::new();
    };
    levels.retain(|level| !base.pairs(level).is_empty());
    let numeric = base.value.is_number() && levels.iter().all(|level| level.value.is_number());
    if numeric && levels.len() + 1 >= PROFILE {
        return profile(axis, &rest, &base, &levels).into_iter().collect();
    }
    let mut told = Vec::new();
    let mut alike: Option<Compared<'_>> = None;
    for level in levels.iter().take(NAMED) {
        let compared = Compared::of(&rest, level, &base.pairs(level), levels.len());
        let Some(compared) = compared else {
            continue;
        };
        if compared.strength > 0.0 {
            told.push(compared.insight(axis, base.value));
            continue;
        }
        match &mut alike {
            Some(known) => {
                if !known.takes(&compared) {
                    told.push(compared.insight(axis, base.value));
                }
            }
            none => *none = Some(compared),
        }
    }
    told.extend(alike.map(|alike| alike.insight(axis, base.value)));
    told
}

/// The metrics that some of these cells have and that an axis is judged by: the name of each, and its key.
pub(super) fn metrics(cells: &[&CellFile]) -> Vec<(String, String)> {
    let brings =
        Yield::of_cells(cells).map(|brings| (brings.name().to_owned(), brings.key().to_owned()));
    let latency = |key: String| (latency_name(&key), key);
    let middle = |metric: &str| {
        let tail = || Rank::Tail.key(cells, metric);
        Rank::Middle.key(cells, metric).or_else(tail).map(latency)
    };
    [
        brings,
        middle("ttft"),
        middle("tpot"),
        Rank::Tail.key(cells, "itl").map(latency),
        Rank::Tail
            .key(cells, "e2e")
            .or_else(|| Rank::Middle.key(cells, "e2e"))
            .map(latency),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A metric that does not differ, with the pairs that say so.
#[derive(Clone, Debug)]
pub(super) struct Same {
    pub(super) name: String,
    pub(super) least: f64,
    pub(super) most: f64,
    /// Of several pairs the place of the one that is furthest from no change: ` at concurrency 4`.
    pub(super) furthest: String,
}

impl Same {
    /// `throughput and p50 TTFT (0.98× to 1.03×)`, what is no difference before what is no clear one.
    pub(super) fn said(all: &[Self]) -> String {
        let (near, far): (Vec<&Self>, Vec<&Self>) = all
            .iter()
            .partition(|same| Ratios::near(same.least, same.most));
        let named = |all: &[&Self]| {
            let each: Vec<String> = all
                .iter()
                .map(|same| {
                    let range = Ratios::range(same.least, same.most);
                    if range == times(1.0) {
                        return same.name.clone();
                    }
                    let place = match Ratios::near(same.least, same.most) {
                        true => "",
                        false => same.furthest.as_str(),
                    };
                    // What stands last in the range is what the place is of.
                    match (place.is_empty(), Ratios::is_down(same.least, same.most)) {
                        (true, _) => format!("{} ({range})", same.name),
                        (false, false) => format!("{} ({range}{place})", same.name),
                        (false, true) => format!(
                            "{} ({} to {}{place})",
                            same.name,
                            times(same.most),
                            times(same.least)
                        ),
                    }
                })
                .collect();
            listed(&each)
        };
        match (near.is_empty(), far.is_empty()) {
            (_, true) => format!("no difference in {}", named(&near)),
            (true, _) => format!("no clear difference in {}", named(&far)),
            _ => format!(
                "no difference in {}, no clear one in {}",
                named(&near),
                named(&far)
            ),
        }
    }
}

/// The pairs of one value with the first one.
struct Compared<'a> {
    /// Of several values that do nothing, all.
    value: Vec<String>,
    cells: Vec<&'a CellFile>,
    pairs: usize,
    /// What differs, in words, and what does not.
    differs: Vec<String>,
    same: Vec<Same>,
    numbers: Vec<(String, f64)>,
    /// The largest change as the size of its logarithm; 0 where there is none.
    strength: f64,
}

impl<'a> Compared<'a> {
    /// `values` is how many are held against the same one.
    fn of(
        rest: &[&str],
        level: &Level<'a>,
        pairs: &[(&'a CellFile, &'a CellFile)],
        values: usize,
    ) -> Option<Self> {
        let own: Vec<&CellFile> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
        let mut found = Self {
            value: vec![scalar_text(level.value)],
            cells: own.iter().copied().take(40).collect(),
            pairs: 0,
            differs: Vec::new(),
            same: Vec::new(),
            numbers: Vec::new(),
            strength: 0.0,
        };
        for (name, key) in metrics(&own) {
            let ratios = Ratios::of(&key, pairs).one_of(values);
            let (Some(middle), Some((least, most))) = (ratios.middle(), ratios.ends()) else {
                continue;
            };
            found.pairs = found.pairs.max(ratios.len());
            found.numbers.push((format!("{key}_ratio"), middle));
            match ratios.said(rest) {
                Some(Said { text, strength, .. }) => {
                    found.strength = found.strength.max(strength);
                    found.differs.push(format!("{name} {text}"));
                }
                None => found.same.push(Same {
                    name,
                    least,
                    most,
                    furthest: ratios.furthest(rest),
                }),
            }
        }
        (!found.numbers.is_empty()).then_some(found)
    }

    /// Takes another value that does nothing to the same metrics into the same sentence; whether it does.
    fn takes(&mut self, other: &Compared<'a>) -> bool {
        let names = |all: &[Same]| all.iter().map(|same| same.name.clone()).collect::<Vec<_>>();
        if self.pairs != other.pairs || names(&self.same) != names(&other.same) {
            return false;
        }
        for (own, other) in self.same.iter_mut().zip(&other.same) {
            own.furthest.clear();
            own.least = own.least.min(other.least);
            own.most = own.most.max(other.most);
        }
        self.value.extend(other.value.iter().cloned());
        self.cells.extend(&other.cells);
        true
    }

    fn insight(self, axis: &str, base: &Value) -> Insight {
        let spelled = format!(
            "{} {} against {}, all else equal ({})",
            spoken(axis),
            listed(&self.value),
            scalar_text(base),
            match self.value.len() {
                1 => count(self.pairs, "pair"),
                _ => format!("{} each", count(self.pairs, "pair")),
            }
        );
        let mut parts = self.differs;
        if !self.same.is_empty() {
            parts.push(Same::said(&self.same));
        }
        let mut evidence: Vec<(&str, f64)> = self
            .numbers
            .iter()
            .map(|(name, number)| (name.as_str(), *number))
            .collect();
        evidence.push(("strength", self.strength));
        Insight::new(
            "effect",
            &self.cells,
            &evidence,
            format!("{spelled}: {}.", parts.join("; ")),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::{
        manifest::Slo,
        report::{fixtures, insight::blocks},
    };

    /// Two servers, four loads: throughput and median TTFT of the second over those of the first.
    fn two_servers(factors: [(f64, f64); 4]) -> StoredRun {
        let mut run = fixtures::empty();
        run.plan.server_axes = vec!["enable-prefix-caching".into()];
        for on in [false, true] {
            let axes = BTreeMap::from([("enable-prefix-caching".to_owned(), json!(on))]);
            let id = format!("qwen-{on}");
            let cells = [1u32, 2, 4, 8].iter().zip(factors).map(|(users, factor)| {
                let (rate, ttft) = if on { factor } else { (1.0, 1.0) };
                let mut cell = fixtures::cell(
                    &format!("chat-c{users}-{on}"),
                    &id,
                    *users,
                    64,
                    &Slo::default(),
                );
                cell.axes.extend(axes.clone());
                let mut summary = fixtures::summary(200);
                summary.throughput_tok_s = Some(50.0 * f64::from(*users) * rate);
                summary.ttft = Some(fixtures::latency(200, 100.0 * ttft, 120.0 * ttft));
                cell.summary = Some(summary);
                cell
            });
            let cells = cells.collect();
            fixtures::add(&mut run, &id, axes.clone(), "ready", cells);
        }
        run
    }

    fn told(run: &StoredRun) -> Vec<String> {
        let effects = effects(run, &blocks(run), "chat");
        effects.into_iter().map(|effect| effect.text).collect()
    }

    #[test]
    fn an_axis_is_told_by_what_it_does_to_pairs_of_cells() {
        let run = two_servers([(1.0, 0.5), (1.02, 0.4), (0.99, 0.6), (1.01, 0.5)]);
        assert_eq!(
            told(&run),
            [
                "enable-prefix-caching true against false, all else equal (4 pairs): p50 TTFT is 0.50× (median; 0.40× at \
                 concurrency 2 to 0.60× at concurrency 4); no \
                 difference in throughput (0.99× to 1.02×)."
            ]
        );
    }

    #[test]
    fn noise_is_no_effect() {
        // The median is 20 % up, and yet half of the pairs go the other way.
        let run = two_servers([(0.8, 1.0), (1.2, 1.0), (0.7, 1.0), (1.3, 1.0)]);
        assert_eq!(
            told(&run),
            [
                "enable-prefix-caching true against false, all else equal (4 pairs): no difference in p50 TTFT, no clear one in throughput (1.30× to \
                 0.70× at concurrency 4)."
            ]
        );
    }

    #[test]
    fn an_effect_that_turns_with_the_load_is_not_averaged_away() {
        let run = two_servers([(1.5, 1.0), (1.2, 1.0), (0.9, 1.0), (0.7, 1.0)]);
        let told = told(&run);
        assert!(
            told[0].contains(
                "throughput turns: 1.50× at concurrency 1, 0.70× at 8 (it crosses over between 2 and 4)"
            ),
            "{told:?}"
        );
    }

    #[test]
    fn an_effect_beyond_a_limit_alone_is_told_with_its_place() {
        let run = two_servers([(1.0, 1.01), (1.0, 0.99), (1.0, 1.0), (1.0, 0.2)]);
        let told = told(&run);
        assert!(
            told[0]
                .contains("p50 TTFT is 0.20× at concurrency 8, and hardly any different over all"),
            "{told:?}"
        );
    }

    #[test]
    fn one_server_has_no_effects() {
        assert_eq!(told(&fixtures::streamed()), [""; 0]);
    }
}
