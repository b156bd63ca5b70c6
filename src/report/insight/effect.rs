//! What one axis does while everything else stays the same: matched pairs of cells, over all servers of a workload.

use std::collections::HashMap;

use serde_json::Value;

use super::{Block, Insight, Rank, coordinate, count, of};
use crate::{
    manifest::scalar_text,
    report::{
        headline::latency_name,
        number::{listed, times},
    },
    store::{CellFile, StoredRun},
};

/// A median ratio this close to 1 is no difference.
const SAME: f64 = 0.05;
/// Nor is a larger one that fewer than this part of the pairs agree with.
const AGREE: f64 = 0.75;
/// So many values of an axis are told one by one.
const TOLD: usize = 4;

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
    // Everything else of a cell, as text.
    let rest = |cell: &CellFile| -> String {
        axes.iter()
            .filter(|other| **other != axis)
            .map(|other| coordinate(cell, other).map(scalar_text).unwrap_or_default())
            .collect::<Vec<_>>()
            .join("\u{1f}")
    };
    let mut anchors: HashMap<String, &CellFile> = HashMap::new();
    for cell in cells {
        if coordinate(cell, axis) == Some(base) {
            anchors.insert(rest(cell), cell);
        }
    }
    let mut told = Vec::new();
    // Of many values the last says most: it is the furthest away.
    let others: Vec<&&Value> = match others.len() {
        few if few <= TOLD => others.iter().collect(),
        _ => others.last().into_iter().collect(),
    };
    for value in others {
        let pairs: Vec<(&CellFile, &CellFile)> = cells
            .iter()
            .copied()
            .filter(|cell| coordinate(cell, axis) == Some(value))
            .filter_map(|cell| Some((*anchors.get(&rest(cell))?, cell)))
            .collect();
        told.extend(compared(axis, base, value, &pairs));
    }
    told
}

fn compared(
    axis: &str,
    base: &Value,
    value: &Value,
    pairs: &[(&CellFile, &CellFile)],
) -> Option<Insight> {
    let own: Vec<&CellFile> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
    let keys: Vec<(String, String)> = [
        Some(("throughput".to_owned(), "throughput".to_owned())),
        Rank::Middle
            .key(&own, "ttft")
            .map(|key| (latency_name(&key), key)),
        Rank::Middle
            .key(&own, "tpot")
            .map(|key| (latency_name(&key), key)),
        Rank::Tail
            .key(&own, "e2e")
            .map(|key| (latency_name(&key), key)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut differs = Vec::new();
    let mut same = Vec::new();
    let mut numbers: Vec<(String, f64)> = Vec::new();
    let mut most = 0;
    for (name, key) in keys {
        let mut ratios: Vec<f64> = pairs
            .iter()
            .filter_map(|(a, b)| {
                let (before, after) = (of(a, &key)?, of(b, &key)?);
                (before > 0.0 && after > 0.0).then(|| after / before)
            })
            .collect();
        ratios.sort_by(f64::total_cmp);
        let (Some(low), Some(high)) = (ratios.first(), ratios.last()) else {
            continue;
        };
        most = most.max(ratios.len());
        let middle = ratios[ratios.len() / 2];
        numbers.push((format!("{key}_ratio"), middle));
        let agree = ratios
            .iter()
            .filter(|ratio| (**ratio > 1.0) == (middle > 1.0))
            .count();
        let by_chance = (agree as f64) < AGREE * ratios.len() as f64;
        if (middle - 1.0).abs() <= SAME || by_chance {
            same.push(name);
        } else if ratios.len() > 1 {
            differs.push(format!(
                "{name} is {} (median; {} to {})",
                times(middle),
                times(*low),
                times(*high)
            ));
        } else {
            differs.push(format!("{name} is {}", times(middle)));
        }
    }
    if numbers.is_empty() {
        return None;
    }
    let spelled = format!(
        "{axis} {} against {}, all else equal ({})",
        scalar_text(value),
        scalar_text(base),
        count(most, "pair")
    );
    let text = match (differs.is_empty(), same.is_empty()) {
        (true, _) => format!("{spelled}: no difference in {}.", listed(&same)),
        (false, true) => format!("{spelled}: {}.", listed(&differs)),
        (false, false) => format!(
            "{spelled}: {}; no difference in {}.",
            listed(&differs),
            listed(&same)
        ),
    };
    let evidence: Vec<(&str, f64)> = numbers
        .iter()
        .map(|(name, number)| (name.as_str(), *number))
        .collect();
    let cells: Vec<&CellFile> = own.into_iter().take(40).collect();
    Some(Insight::new("effect", &cells, &evidence, text))
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
                "enable-prefix-caching true against false, all else equal (4 pairs): p50 TTFT is 0.50× (median; 0.40× to 0.60×); no \
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
    fn one_server_has_no_effects() {
        assert_eq!(told(&fixtures::streamed()), [""; 0]);
    }
}
