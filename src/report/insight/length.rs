//! What longer answers and longer prompts do.

use serde_json::Value;

use super::{Block, Insight, Line, coordinate, lines, of, offered};
use crate::{
    manifest::scalar_text,
    report::number::{ms, percent, times, tok_s},
    store::CellFile,
};

const OUTPUT: &str = "max_tokens";
/// Throughput this far below the best of a line is worth a word.
const LESS: f64 = 0.9;
/// A growth within this part of that of the length is in proportion to it.
const PROPORTION: f64 = 0.1;
/// So many combinations are named one by one.
const NAMED: usize = 4;

/// Everything about lengths.
pub(in crate::report) fn lengths(block: &Block<'_>) -> Vec<Insight> {
    let prompt = block.axes.iter().copied().find(|axis| {
        ["input_tokens", "prefix_tokens", "prompt_tokens"]
            .iter()
            .any(|name| axis.ends_with(name))
    });
    [
        output_length(block),
        output_costs(block),
        prompt.and_then(|axis| prompt_length(block, axis)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn several<'a>(block: &Block<'a>, axis: &str) -> Vec<Line<'a>> {
    let mut lines = lines(block, axis);
    lines.retain(|line| line.cells.len() > 1);
    lines
}

fn load(line: &Line<'_>) -> f64 {
    let each = line.cells.iter().filter_map(|cell| offered(cell));
    each.fold(0.0, f64::max)
}

fn spelled(cell: &CellFile, axis: &str) -> String {
    coordinate(cell, axis).map(scalar_text).unwrap_or_default()
}

fn at(line: &Line<'_>) -> String {
    match line.fixed.as_str() {
        "" => String::new(),
        fixed => format!(" at {fixed}"),
    }
}

/// Where least is in flight the engine is alone with the length.
fn output_length(block: &Block<'_>) -> Option<Insight> {
    let line = several(block, OUTPUT)
        .into_iter()
        .min_by(|a, b| load(a).total_cmp(&load(b)))?;
    let (first, last) = (line.cells.first()?, line.cells.last()?);
    let (e1, e2) = (of(first, "p50_e2e")?, of(last, "p50_e2e")?);
    let length = |cell: &CellFile| coordinate(cell, OUTPUT).and_then(Value::as_f64);
    let (l1, l2) = (length(first)?, length(last)?);
    if e1 <= 0.0 || l1 <= 0.0 || l2 <= l1 {
        return None;
    }
    let proportion = (e2 / e1) / (l2 / l1);
    let judged = if (proportion - 1.0).abs() <= PROPORTION {
        ": in proportion to the length, so decoding decides"
    } else if proportion < 1.0 {
        ", less than the length: what comes before decoding has its part, or answers end early"
    } else {
        ", more than the length"
    };
    let rates = of(first, "throughput").zip(of(last, "throughput"));
    let rates = rates.map(|(t1, t2)| {
        format!(
            "; throughput goes from {} to {}",
            tok_s(Some(t1)),
            tok_s(Some(t2))
        )
    });
    Some(Insight::new(
        "output_length",
        &[first, last],
        &[("length_ratio", l2 / l1), ("e2e_ratio", e2 / e1)],
        format!(
            "Output length{}: from {OUTPUT} {} to {} ({}), p50 E2E goes from {} to {} ({}){judged}{}.",
            at(&line),
            spelled(first, OUTPUT),
            spelled(last, OUTPUT),
            times(l2 / l1),
            ms(Some(e1)),
            ms(Some(e2)),
            times(e2 / e1),
            rates.unwrap_or_default()
        ),
    ))
}

/// Where the longest answers give fewer tokens per second than shorter ones.
fn output_costs(block: &Block<'_>) -> Option<Insight> {
    let mut hurt: Vec<(f64, String, &CellFile, &CellFile)> = Vec::new();
    for line in several(block, OUTPUT) {
        let rate = |cell: &CellFile| of(cell, "throughput").filter(|rate| *rate > 0.0);
        let best = line.cells.iter().copied().max_by(|a, b| {
            rate(a)
                .partial_cmp(&rate(b))
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        let (Some(best), Some(last)) = (best, line.cells.last()) else {
            continue;
        };
        let (Some(most), Some(end)) = (rate(best), rate(last)) else {
            continue;
        };
        if end < LESS * most {
            let text = format!(
                "{}from {} with {} to {} with {} ({})",
                match line.fixed.as_str() {
                    "" => String::new(),
                    fixed => format!("at {fixed} "),
                },
                tok_s(Some(most)),
                spelled(best, OUTPUT),
                tok_s(Some(end)),
                spelled(last, OUTPUT),
                times(end / most)
            );
            hurt.push((end / most, text, best, last));
        }
    }
    hurt.sort_by(|a, b| a.0.total_cmp(&b.0));
    let worst = hurt.first()?.0;
    let named: Vec<&str> = hurt.iter().take(NAMED).map(|one| one.1.as_str()).collect();
    let more = match hurt.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(", and less steeply at {more} others"),
    };
    let cells: Vec<&CellFile> = hurt.iter().flat_map(|one| [one.2, one.3]).collect();
    Some(Insight::new(
        "output_costs",
        &cells,
        &[("throughput_ratio", worst)],
        format!(
            "Longer answers cost throughput: it falls {}{more}.",
            named.join("; ")
        ),
    ))
}

/// Where least is in flight, prefill shows most plainly.
fn prompt_length(block: &Block<'_>, axis: &str) -> Option<Insight> {
    let line = several(block, axis)
        .into_iter()
        .min_by(|a, b| load(a).total_cmp(&load(b)))?;
    let (first, last) = (line.cells.first()?, line.cells.last()?);
    let key = if of(first, "p50_ttft").is_some() {
        "p50_ttft"
    } else {
        "p50_e2e"
    };
    let (t1, t2) = (of(first, key)?, of(last, key)?);
    let length = |cell: &CellFile| coordinate(cell, axis).and_then(Value::as_f64);
    let (l1, l2) = (length(first)?, length(last)?);
    if t1 <= 0.0 || l2 <= l1 || l1 <= 0.0 {
        return None;
    }
    let each = (t2 - t1) / (l2 - l1) * 1e3;
    let prefill = (each > 0.0 && key == "p50_ttft")
        .then(|| format!(", {} for each 1,000 tokens more", ms(Some(each))));
    let rates = of(first, "throughput")
        .zip(of(last, "throughput"))
        .filter(|(before, _)| *before > 0.0)
        .map(|(before, after)| {
            format!(
                "; output throughput is {} of what it was",
                percent(Some(after / before))
            )
        });
    Some(Insight::new(
        "prompt_length",
        &[first, last],
        &[("from_ms", t1), ("to_ms", t2), ("ms_per_1000_tokens", each)],
        format!(
            "Prompt length{}: from {axis} {} to {}, {} goes from {} to {} ({}){}{}.",
            at(&line),
            spelled(first, axis),
            spelled(last, axis),
            crate::report::headline::latency_name(key),
            ms(Some(t1)),
            ms(Some(t2)),
            times(t2 / t1),
            prefill.unwrap_or_default(),
            rates.unwrap_or_default()
        ),
    ))
}
