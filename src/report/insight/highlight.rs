//! What a reader should see first of a workload: the few findings of its best server that decide something.

use super::{
    Block, Insight,
    best::Best,
    caution::edge,
    effect::effects,
    ladder,
    limit::limit,
    lines,
    observe::observations,
    scaling::growth,
    server::server_side,
    servers::{in_order, ties},
    unstable::unstable,
};
use crate::store::StoredRun;

/// So many are shown first; the rest stands further below.
const MOST: usize = 8;

/// What a reader asks in turn: how it scales, whether the numbers hold, what waits, what the axes do, what is unstable. Each with its
/// kinds and how many of them may be shown.
const QUESTIONS: [(&[&str], usize); 5] = [
    (&["limit", "scaling", "knee", "edge"], 3),
    (&["saturation", "not_streamed", "errors"], 2),
    (&["ttft_growth", "held_up", "latency_growth"], 2),
    (
        &[
            "effect",
            "tie",
            "prompt_length",
            "output_costs",
            "output_length",
        ],
        4,
    ),
    (
        &[
            "ridge",
            "tail_ridge",
            "cliff",
            "dip",
            "falls",
            "repeats_disagree",
            "two_humped_itl",
            "stalls",
            "kv_cache",
            "long_tail",
        ],
        3,
    ),
];

/// A KV cache this full holds back requests.
const FULL: f64 = 0.95;
/// A finding of this strength, as the size of a logarithm, comes before any other kind of its question: a factor of two.
const STRONG: f64 = std::f64::consts::LN_2;

/// How strong a finding is, as the size of a logarithm, where it has such a number.
fn strength(insight: &Insight) -> f64 {
    let number = |name: &str| insight.numbers.get(name)?.as_f64();
    let ratio = ["jump", "ratio", "growth", "throughput_ratio", "e2e_ratio"]
        .iter()
        .find_map(|name| number(name))
        .filter(|ratio| *ratio > 0.0);
    number("strength")
        .or_else(|| number("spread").map(|spread| spread.ln_1p()))
        .or_else(|| ratio.map(|ratio| ratio.ln().abs()))
        .unwrap_or(0.0)
}

/// The findings that answer one question, those to show first in front.
fn answers(all: &[Insight], kinds: &[&str], most: usize) -> Vec<Insight> {
    let mut own: Vec<(usize, &Insight)> = all
        .iter()
        .filter_map(|insight| {
            Some((
                kinds.iter().position(|kind| *kind == insight.kind)?,
                insight,
            ))
        })
        .collect();
    // Stable: of equal ones the first.
    own.sort_by(|a, b| {
        let strong = |one: &Insight| one.kind != "output_length" && strength(one) >= STRONG;
        strong(b.1)
            .cmp(&strong(a.1))
            .then(a.0.cmp(&b.0))
            .then(strength(b.1).total_cmp(&strength(a.1)))
    });
    own.into_iter()
        .map(|(_, insight)| insight.clone())
        .take(most)
        .collect()
}

/// What more load does, as the best server that was asked for several loads shows it, where the best of all was asked for one.
fn of_another(order: &[(&Block<'_>, Best)]) -> Vec<Insight> {
    let has_line = |(block, _): &&(&Block<'_>, Best)| {
        let lines = lines(block, ladder(block));
        lines.iter().any(|line| line.cells.len() > 1)
    };
    let (Some(first), Some(other)) = (order.first(), order.iter().find(has_line)) else {
        return Vec::new();
    };
    if first.0.server == other.0.server {
        return Vec::new();
    }
    let mut found = growth(other.0);
    found.extend(unstable(other.0));
    for insight in &mut found {
        insight.text = format!("With {}: {}", other.0.server_label, insight.text);
    }
    found
}

/// The first findings of a workload, with the label of the server that they are about (empty where there is one).
pub(in crate::report) fn highlights(
    run: &StoredRun,
    blocks: &[Block<'_>],
    workload: &str,
) -> (String, Vec<Insight>) {
    let order = in_order(blocks, workload);
    let Some((block, best)) = order.first() else {
        return (String::new(), Vec::new());
    };
    let mut all = observations(block, run.plan.hardware.usd_per_hour);
    all.extend(server_side(block));
    all.extend(limit(block, best));
    all.extend(edge(block, best));
    all.extend(unstable(block));
    // A KV cache with room and without preemptions is no headline; the server's side tells it further below.
    all.retain(|insight| {
        let number = |name: &str| {
            insight
                .numbers
                .get(name)
                .and_then(serde_json::Value::as_f64)
        };
        insight.kind != "kv_cache"
            || number("preemptions").is_some_and(|count| count > 0.0)
            || number("kv_usage_peak").is_some_and(|peak| peak >= FULL)
    });
    all.extend(of_another(&order));
    all.extend(ties(blocks, workload));
    let effects = effects(run, blocks, workload);
    // That an axis does nothing is a headline only where no axis does anything.
    let any = effects.iter().any(|effect| strength(effect) > 0.0);
    all.extend(
        effects
            .into_iter()
            .filter(|effect| !any || strength(effect) > 0.0),
    );
    let answered: Vec<Vec<Insight>> = QUESTIONS
        .iter()
        .map(|(kinds, most)| answers(&all, kinds, *most))
        .collect();
    let mut shown: Vec<usize> = answered.iter().map(Vec::len).collect();
    while shown.iter().sum::<usize>() > MOST {
        // What goes is the last answer to the question with most of them.
        let Some(at) = (0..shown.len()).rev().max_by_key(|at| shown[*at]) else {
            break;
        };
        shown[at] -= 1;
    }
    let found = answered
        .into_iter()
        .zip(shown)
        .flat_map(|(own, shown)| own.into_iter().take(shown))
        .collect();
    (block.server_label.clone(), found)
}
