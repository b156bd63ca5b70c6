//! What one axis does while everything else stays the same: matched pairs of cells, over all servers of a workload.

use std::collections::HashMap;

use serde_json::Value;

use super::{Block, Insight, Rank, Yield, chance, coordinate, count, of, offered, turn::turn};
use crate::{
    manifest::scalar_text,
    report::{
        compare::interval::Estimate,
        headline::latency_name,
        number::{listed, times},
    },
    store::{CellFile, StoredRun},
};

/// A median ratio this close to 1 is no difference, nor is one pair beside several that agree.
const SAME: f64 = 0.05;
/// Where nobody knows the noise, a change has to be at least this large in every pair.
const ALONE: f64 = 0.1;
/// Pairs that agree but for little, up to this large, are a change that grows along another axis.
const GROWS: f64 = 1.25;
/// So many standard errors from no change are beyond chance.
const SIGMAS: f64 = 3.0;
/// An interval leaves out 1 by this part of its half width.
const SURER: f64 = 0.3;
/// So many numbers of an axis are told one by one.
const TOLD: usize = 4;
/// So many names.
const NAMED: usize = 12;

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
    let axes: Vec<&str> = run
        .plan
        .server_axes
        .iter()
        .chain(&run.plan.load_axes)
        .map(String::as_str)
        .collect();
    axes.iter()
        .copied()
        .filter(|axis| {
            !["concurrency", "rate", "max_tokens"].contains(axis) && !axis.ends_with("_tokens")
        })
        .flat_map(|axis| effect(&cells, &axes, axis))
        .collect()
}

/// The values of an axis as they occur, numbers ascending.
fn values<'a>(cells: &[&'a CellFile], axis: &str) -> Vec<&'a Value> {
    let mut values: Vec<&Value> = Vec::new();
    for cell in cells {
        if let Some(value) = coordinate(cell, axis)
            && !values.contains(&value)
        {
            values.push(value);
        }
    }
    if values.iter().all(|value| value.is_number()) {
        values.sort_by(|a, b| {
            a.as_f64()
                .partial_cmp(&b.as_f64())
                .unwrap_or(std::cmp::Ordering::Equal)
        });
    }
    values
}

fn effect(cells: &[&CellFile], axes: &[&str], axis: &str) -> Vec<Insight> {
    let values = values(cells, axis);
    let Some((base, others)) = values.split_first() else {
        return Vec::new();
    };
    let rest: Vec<&str> = axes
        .iter()
        .copied()
        .filter(|other| *other != axis)
        .collect();
    // Everything else of a cell, as text.
    let key = |cell: &CellFile| -> String {
        let each = rest.iter();
        each.map(|other| coordinate(cell, other).map(scalar_text).unwrap_or_default())
            .collect::<Vec<_>>()
            .join("\u{1f}")
    };
    let mut anchors: HashMap<String, &CellFile> = HashMap::new();
    for cell in cells {
        if coordinate(cell, axis) == Some(base) {
            anchors.insert(key(cell), cell);
        }
    }
    // Of many numbers the last says most: it is the furthest away. Names have no such order.
    let numeric = values.iter().all(|value| value.is_number());
    let others: Vec<&&Value> = match others.len() {
        many if many > TOLD && numeric => others.last().into_iter().collect(),
        _ => others.iter().take(NAMED).collect(),
    };
    let mut told = Vec::new();
    let mut alike: Option<Compared<'_>> = None;
    for value in others {
        let pairs: Vec<(&CellFile, &CellFile)> = cells
            .iter()
            .copied()
            .filter(|cell| coordinate(cell, axis) == Some(value))
            .filter_map(|cell| Some((*anchors.get(&key(cell))?, cell)))
            .collect();
        let Some(compared) = Compared::of(&rest, scalar_text(value), &pairs) else {
            continue;
        };
        match &mut alike {
            _ if compared.strength > 0.0 => told.push(compared.insight(axis, base)),
            Some(known) if known.same == compared.same && known.pairs == compared.pairs => {
                known.value.push(scalar_text(value));
                known.cells.extend(compared.cells);
            }
            Some(_) => told.push(compared.insight(axis, base)),
            none => *none = Some(compared),
        }
    }
    told.extend(alike.map(|alike| alike.insight(axis, base)));
    told
}

/// The pairs of one value with the first one.
struct Compared<'a> {
    /// Of several values that do nothing, all.
    value: Vec<String>,
    cells: Vec<&'a CellFile>,
    pairs: usize,
    /// What differs, in words, and what does not.
    differs: Vec<String>,
    same: Vec<String>,
    numbers: Vec<(String, f64)>,
    /// The largest change as the size of its logarithm; 0 where there is none.
    strength: f64,
}

impl<'a> Compared<'a> {
    fn of(rest: &[&str], value: String, pairs: &[(&'a CellFile, &'a CellFile)]) -> Option<Self> {
        let own: Vec<&CellFile> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
        let brings =
            Yield::of_cells(&own).map(|brings| (brings.name().to_owned(), brings.key().to_owned()));
        let latency = |key: String| (latency_name(&key), key);
        let keys = [
            brings,
            Rank::Middle.key(&own, "ttft").map(latency),
            Rank::Middle.key(&own, "tpot").map(latency),
            Rank::Tail.key(&own, "itl").map(latency),
            Rank::Tail
                .key(&own, "e2e")
                .or_else(|| Rank::Middle.key(&own, "e2e"))
                .map(latency),
        ];
        let mut found = Self {
            value: vec![value],
            cells: own.iter().copied().take(40).collect(),
            pairs: 0,
            differs: Vec::new(),
            same: Vec::new(),
            numbers: Vec::new(),
            strength: 0.0,
        };
        for (name, key) in keys.into_iter().flatten() {
            let ratios = Ratios::of(&key, pairs);
            let Some(middle) = ratios.middle() else {
                continue;
            };
            found.pairs = found.pairs.max(ratios.each.len());
            found.numbers.push((format!("{key}_ratio"), middle));
            match ratios.said(rest) {
                Some((text, strength)) => {
                    found.strength = found.strength.max(strength);
                    found.differs.push(format!("{name} {text}"));
                }
                None => found.same.push(name),
            }
        }
        (!found.numbers.is_empty()).then_some(found)
    }

    fn insight(self, axis: &str, base: &Value) -> Insight {
        let spelled = format!(
            "{axis} {} against {}, all else equal ({})",
            listed(&self.value),
            scalar_text(base),
            match self.value.len() {
                1 => count(self.pairs, "pair"),
                _ => format!("{} each", count(self.pairs, "pair")),
            }
        );
        let text = match (self.differs.is_empty(), self.same.is_empty()) {
            (true, _) => format!("{spelled}: no difference in {}.", listed(&self.same)),
            (false, true) => format!("{spelled}: {}.", self.differs.join("; ")),
            (false, false) => format!(
                "{spelled}: {}; no difference in {}.",
                self.differs.join("; "),
                listed(&self.same)
            ),
        };
        let mut evidence: Vec<(&str, f64)> = self
            .numbers
            .iter()
            .map(|(name, number)| (name.as_str(), *number))
            .collect();
        evidence.push(("strength", self.strength));
        Insight::new("effect", &self.cells, &evidence, text)
    }
}

/// One metric of every pair: the second cell's value over the first's, by the load, least first.
struct Ratios<'a> {
    each: Vec<(f64, &'a CellFile)>,
    /// Whether chance alone gives none of it, where the samples tell.
    beyond_chance: Option<bool>,
}

impl<'a> Ratios<'a> {
    fn of(key: &str, pairs: &[(&'a CellFile, &'a CellFile)]) -> Self {
        let mut each: Vec<(f64, &CellFile)> = Vec::new();
        // Of the mean of the logarithms: its variance, as far as samples tell it.
        let mut variance = Some(0.0);
        for (a, b) in pairs {
            let (Some(before), Some(after)) = (of(a, key), of(b, key)) else {
                continue;
            };
            if before <= 0.0 || after <= 0.0 {
                continue;
            }
            each.push((after / before, b));
            variance = variance
                .zip(chance::error(a, key))
                .zip(chance::error(b, key))
                .map(|((sum, one), other)| sum + one * one + other * other);
        }
        each.sort_by(|a, b| {
            let load = |cell: &CellFile| offered(cell).unwrap_or(0.0);
            load(a.1).total_cmp(&load(b.1))
        });
        let n = each.len() as f64;
        let mean = each.iter().map(|(ratio, _)| ratio.ln()).sum::<f64>() / n;
        let beyond_chance = variance
            .filter(|_| !each.is_empty())
            .map(|variance| mean.abs() > SIGMAS * variance.sqrt() / n);
        Self {
            each,
            beyond_chance,
        }
    }

    fn middle(&self) -> Option<f64> {
        let mut ratios: Vec<f64> = self.each.iter().map(|(ratio, _)| *ratio).collect();
        ratios.sort_by(f64::total_cmp);
        let n = ratios.len();
        match n {
            0 => None,
            odd if odd % 2 == 1 => Some(ratios[n / 2]),
            _ => Some((ratios[n / 2 - 1] * ratios[n / 2]).sqrt()),
        }
    }

    /// What the metric does, and how strongly (as the size of a logarithm); `None` where that may be noise.
    fn said(&self, rest: &[&str]) -> Option<(String, f64)> {
        if let Some(turned) = self.turns() {
            return Some(turned);
        }
        let middle = self.middle()?;
        let size = |ratio: f64| ratio.ln().abs();
        let by = |a: &&(f64, &CellFile), b: &&(f64, &CellFile)| a.0.total_cmp(&b.0);
        let (low, high) = (self.each.iter().min_by(by)?, self.each.iter().max_by(by)?);
        if size(middle) <= SAME || self.beyond_chance == Some(false) {
            return self.confined(rest);
        }
        let (first, most) = match middle > 1.0 {
            true => (low.0, high.0),
            false => (1.0 / high.0, 1.0 / low.0),
        };
        let ratios: Vec<f64> = self.each.iter().map(|(ratio, _)| *ratio).collect();
        let steady = Estimate::repeated(middle, &ratios)
            .between
            .is_some_and(|(low, high)| {
                // Five metrics are looked at: a little more than the interval of one.
                low.ln() > SURER * (middle.ln() - low.ln()).abs()
                    || high.ln() < -SURER * (high.ln() - middle.ln()).abs()
            });
        let differs = match self.each.len() {
            1 => self.beyond_chance == Some(true) || size(middle) >= ALONE,
            _ => steady || first >= 1.0 + ALONE || (first >= 1.0 - SAME && most >= GROWS),
        };
        if !differs {
            return self.confined(rest);
        }
        let varying: Vec<&str> = rest
            .iter()
            .copied()
            .filter(|axis| coordinate(low.1, axis) != coordinate(high.1, axis))
            .collect();
        let at = |cell: &CellFile| {
            let parts: Vec<String> = varying
                .iter()
                .filter_map(|axis| Some(format!("{axis} {}", scalar_text(coordinate(cell, axis)?))))
                .collect();
            match parts.is_empty() {
                true => String::new(),
                false => format!(" at {}", parts.join(", ")),
            }
        };
        let text = match self.each.len() {
            1 => format!("is {}", times(middle)),
            _ => format!(
                "is {} (median; {}{} to {}{})",
                times(middle),
                times(low.0),
                at(low.1),
                times(high.0),
                at(high.1)
            ),
        };
        Some((text, size(middle)))
    }

    /// A change that only the pairs with one value of another axis have, as a queue has beyond a limit: the median of all hides it.
    fn confined(&self, rest: &[&str]) -> Option<(String, f64)> {
        let mut best: Option<(f64, String)> = None;
        for axis in rest {
            let mut groups: Vec<(String, Vec<f64>)> = Vec::new();
            for (ratio, cell) in &self.each {
                let value = coordinate(cell, axis).map(scalar_text).unwrap_or_default();
                match groups.iter_mut().find(|(known, _)| *known == value) {
                    Some((_, own)) => own.push(*ratio),
                    None => groups.push((value, vec![*ratio])),
                }
            }
            if groups.len() < 2 {
                continue;
            }
            for (value, mut own) in groups {
                own.sort_by(f64::total_cmp);
                let (low, high, middle) = (own[0], own[own.len() - 1], own[own.len() / 2]);
                let agree = low > 1.0 + ALONE || high < 1.0 / (1.0 + ALONE);
                let least = match own.len() {
                    1 => GROWS.powi(2),
                    _ => GROWS,
                };
                let strength = middle.ln().abs();
                if agree
                    && strength >= least.ln()
                    && best.as_ref().is_none_or(|(known, _)| strength > *known)
                {
                    let of = match own.len() {
                        1 => String::new(),
                        several => format!(", the median of {several} pairs"),
                    };
                    let text = format!(
                        "is {} at {axis} {value}{of}, and hardly any different over all",
                        times(middle)
                    );
                    best = Some((strength, text));
                }
            }
        }
        best.map(|(strength, text)| (text, strength))
    }

    /// A metric that is better with little load and worse with much, or the other way: one median would hide both.
    fn turns(&self) -> Option<(String, f64)> {
        let points: Option<Vec<(f64, f64)>> = self
            .each
            .iter()
            .map(|(ratio, cell)| Some((offered(cell)?, *ratio)))
            .collect();
        let turn = turn(&points?)?;
        let axis = match coordinate(self.each.first()?.1, "concurrency") {
            Some(_) => "concurrency",
            None => "rate",
        };
        let ((low, first), (high, last)) = (turn.first, turn.last);
        Some((
            format!(
                "turns: {} at {axis} {low}, {} at {high} (it crosses over between {} and {})",
                times(first),
                times(last),
                turn.between.0,
                turn.between.1
            ),
            first.ln().abs().max(last.ln().abs()),
        ))
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
                 difference in throughput."
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
                "enable-prefix-caching true against false, all else equal (4 pairs): no difference in throughput and p50 TTFT."
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
