//! A comparison as the values of its template.

use serde_json::{Value, json};

use super::{Change, Comparison, Judgement, Pair};
use crate::report::{
    headline::latency_name,
    insight::{count, turn::turn},
    number::{grouped, times},
};

/// The metrics of the tables, in their order: of each row the first that some cell has on both sides. The others decide gates only.
const SHOWN: [&[&str]; 9] = [
    &["throughput_tok_s", "total_tok_s", "req_s"],
    &["usd_per_million_output_tokens"],
    &["gpu_j_per_output_token"],
    &["p50_ttft_ms", "mean_ttft_ms"],
    &["p95_ttft_ms", "p99_ttft_ms"],
    &["p50_tpot_ms", "mean_tpot_ms", "p50_itl_ms", "mean_itl_ms"],
    &["p99_itl_ms", "p95_itl_ms"],
    &["p50_e2e_ms", "mean_e2e_ms"],
    &["p95_e2e_ms", "p99_e2e_ms"],
];
/// A ratio this close to 1 without an interval is about the same.
const SAME: f64 = 0.05;

/// The most cells that the tables of a workload show: more cannot be read.
const MOST_ROWS: usize = 200;

/// The metrics that some of these cells have.
fn shown(cells: &[&Pair]) -> Vec<&'static str> {
    let has = |metric: &&&str| cells.iter().any(|cell| cell.change(metric).is_some());
    let each = SHOWN.iter();
    each.filter_map(|row| row.iter().find(has).copied())
        .collect()
}

/// A metric as people read it: `p95 TTFT, ms`.
fn name(metric: &str) -> (String, &'static str) {
    match metric {
        "throughput_tok_s" => ("throughput".into(), "tok/s"),
        "total_tok_s" => ("throughput of prompt and output tokens".into(), "tok/s"),
        "req_s" => ("requests per second".into(), ""),
        "usd_per_million_output_tokens" => ("cost of a million output tokens".into(), "USD"),
        "gpu_j_per_output_token" => ("GPU energy of an output token".into(), "J"),
        latency => (latency_name(latency.trim_end_matches("_ms")), "ms"),
    }
}

fn heading(metric: &str) -> String {
    match name(metric) {
        (name, "") => name,
        (name, unit) => format!("{name}, {unit}"),
    }
}

/// The values of `comparison.md.j2`.
pub(in crate::report) fn values(comparison: &Comparison) -> Value {
    let mut names: Vec<&str> = comparison
        .cells
        .iter()
        .map(|cell| cell.workload.as_str())
        .collect();
    names.dedup();
    json!({
        "machines": [comparison.machines.0, comparison.machines.1],
        "simulated": comparison.simulated,
        "predicted": comparison.predicted,
        "imported": comparison.imported,
        "sentences": sentences(comparison),
        "differences": comparison.differences.iter().map(|difference| json!({
            "key": difference.key,
            "run": difference.run,
            "anchor": difference.anchor,
        })).collect::<Vec<_>>(),
        "workloads": names.into_iter().map(|name| workload(comparison, name)).collect::<Vec<_>>(),
        "alone": { "run": comparison.alone.0, "anchor": comparison.alone.1 },
    })
}

fn workload(comparison: &Comparison, name: &str) -> Value {
    let cells: Vec<&Pair> = comparison
        .cells
        .iter()
        .filter(|cell| cell.workload == name)
        .collect();
    let metrics = shown(&cells);
    let row = |cell: &&Pair| {
        let each = |show: fn(&Change) -> String| -> Vec<String> {
            let texts = metrics.iter().map(|metric| cell.change(metric).map(show));
            texts
                .map(|text| text.unwrap_or_else(|| "–".into()))
                .collect()
        };
        json!({ "label": cell.label, "ratios": each(ratio), "values": each(both) })
    };
    json!({
        "name": name,
        "metrics": metrics.iter().map(|metric| heading(metric)).collect::<Vec<_>>(),
        "rows": most_changed(&cells, &metrics).iter().map(row).collect::<Vec<_>>(),
        "cells": cells.len(),
    })
}

/// The cells that the tables show, in their own order: of too many those that changed most, what is beyond chance first.
fn most_changed<'a>(cells: &[&'a Pair], metrics: &[&str]) -> Vec<&'a Pair> {
    let weight = |cell: &Pair| {
        metrics
            .iter()
            .filter_map(|metric| cell.change(metric))
            .map(|change| {
                let judged = matches!(change.judgement, Judgement::Better | Judgement::Worse);
                (judged, change.ratio.ln().abs())
            })
            .max_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)))
            .unwrap_or((false, 0.0))
    };
    let mut weighed: Vec<(usize, (bool, f64))> =
        cells.iter().map(|cell| weight(cell)).enumerate().collect();
    weighed.sort_by(|(_, one), (_, other)| other.0.cmp(&one.0).then(other.1.total_cmp(&one.1)));
    weighed.truncate(MOST_ROWS);
    weighed.sort_by_key(|(place, _)| *place);
    weighed
        .iter()
        .filter_map(|(place, _)| cells.get(*place).copied())
        .collect()
}

/// `1.23× (1.20 to 1.26), better`
fn ratio(change: &Change) -> String {
    let between = change.between.map_or_else(String::new, |(low, high)| {
        format!(" ({} to {})", grouped(low, 2), grouped(high, 2))
    });
    format!(
        "{}{between}, {}",
        times(change.ratio),
        change.judgement.words()
    )
}

fn both(change: &Change) -> String {
    let decimals = |number: f64| if number.abs() < 10.0 { 2 } else { 0 };
    let text = |number: f64| grouped(number, decimals(number));
    format!("{} / {}", text(change.run), text(change.anchor))
}

/// What stands out, in words: for each shown metric its ratio in the median, in how many cells it is better or worse, and where it turns.
fn sentences(comparison: &Comparison) -> Vec<String> {
    let (mine, its) = (&comparison.machines.0, &comparison.machines.1);
    let (alone, other) = comparison.alone;
    let mut out = vec![format!(
        "{} measured on both{}. Every ratio is {mine} divided by {its}.",
        count(comparison.cells.len(), "cell"),
        match (alone, other) {
            (0, 0) => String::new(),
            _ => format!("; {alone} only on {mine}, {other} only on {its}"),
        }
    )];
    let cells: Vec<&Pair> = comparison.cells.iter().collect();
    for metric in shown(&cells) {
        let known: Vec<(&Pair, &Change)> = cells
            .iter()
            .filter_map(|cell| Some((*cell, cell.change(metric)?)))
            .collect();
        out.extend(sentence(metric, &known));
    }
    out
}

fn sentence(metric: &str, known: &[(&Pair, &Change)]) -> Option<String> {
    let mut ratios: Vec<f64> = known.iter().map(|(_, change)| change.ratio).collect();
    ratios.sort_by(f64::total_cmp);
    let (least, most) = (*ratios.first()?, *ratios.last()?);
    let middle = match ratios.len() {
        odd if odd % 2 == 1 => ratios[odd / 2],
        even => (ratios[even / 2 - 1] * ratios[even / 2]).sqrt(),
    };
    let (name, _) = name(metric);
    let range = match times(least) == times(most) {
        true => times(least),
        false => format!(
            "median {} ({} to {})",
            times(middle),
            times(least),
            times(most)
        ),
    };
    let judged = match known
        .iter()
        .all(|(_, change)| change.judgement == Judgement::Untold)
    {
        true => unjudged(&ratios, known.len()),
        false => judged(known),
    };
    let points: Vec<(f64, f64)> = known
        .iter()
        .filter_map(|(pair, change)| Some((pair.load?, change.ratio)))
        .collect();
    let turned = turn(&points).map_or_else(String::new, |turn| {
        format!(
            " It changes sides with the load: {} at {}, {} at {}, crossing 1 between {} and {}.",
            times(turn.first.1),
            turn.first.0,
            times(turn.last.1),
            turn.last.0,
            turn.between.0,
            turn.between.1
        )
    });
    Some(format!("{name}: {range}; {judged}.{turned}"))
}

/// In how many cells it is better, worse, or not told apart.
fn judged(known: &[(&Pair, &Change)]) -> String {
    let parts: Vec<String> = [
        Judgement::Better,
        Judgement::Worse,
        Judgement::WithinNoise,
        Judgement::Untold,
    ]
    .into_iter()
    .filter_map(|judgement| {
        let own = known
            .iter()
            .filter(|(_, change)| change.judgement == judgement);
        match own.count() {
            0 => None,
            number => Some(format!("{number} {}", judgement.words())),
        }
    })
    .collect();
    match parts.as_slice() {
        // One judgement on every cell needs no count of each.
        [only] => match known.len() {
            1 => only.trim_start_matches("1 ").to_owned(),
            all => format!(
                "{}: all {all} cells",
                only.split_once(' ').map_or("", |(_, words)| words)
            ),
        },
        _ => format!("of {}: {}", count(known.len(), "cell"), parts.join(", ")),
    }
}

/// The same where no number has an interval.
fn unjudged(ratios: &[f64], cells: usize) -> String {
    let number = |test: &dyn Fn(f64) -> bool| ratios.iter().filter(|ratio| test(**ratio)).count();
    let parts: Vec<String> = [
        (number(&|ratio| ratio > 1.0 + SAME), "higher"),
        (number(&|ratio| ratio < 1.0 / (1.0 + SAME)), "lower"),
        (
            number(&|ratio| (1.0 / (1.0 + SAME)..=1.0 + SAME).contains(&ratio)),
            "within 5 %",
        ),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, word)| format!("{number} {word}"))
    .collect();
    format!(
        "of {}: {} (no interval: too few samples, or none, to tell noise from a difference)",
        count(cells, "cell"),
        parts.join(", ")
    )
}
