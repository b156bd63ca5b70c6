//! What longer answers and longer prompts do.

use serde_json::Value;

use super::{Block, Insight, Line, Rank, Yield, chance::is_less, coordinate, lines, of, offered};
use crate::{
    manifest::scalar_text,
    report::{
        headline::latency_name,
        number::{ms, percent, times},
    },
    store::CellFile,
};

const OUTPUT: &str = "max_tokens";
/// Throughput this far below the best of a line is worth a word.
const LESS: f64 = 0.9;
/// A growth within this part of that of the length is in proportion to it.
const PROPORTION: f64 = 0.1;
/// A pace that grows by less than this factor hardly moves.
const KEPT: f64 = 1.1;
/// What a token of a prompt costs differs between short and long ones by this factor.
const BENT: f64 = 1.25;
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
    let key = Rank::Middle.key(&line.cells, "e2e")?;
    let (e1, e2) = (of(first, &key)?, of(last, &key)?);
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
    let brings = Yield::of_cells(&line.cells);
    let rates = brings.and_then(|brings| {
        Some(format!(
            "; {} goes from {} to {}",
            brings.name(),
            brings.said(Some(brings.of(first)?)),
            brings.said(Some(brings.of(last)?))
        ))
    });
    Some(Insight::new(
        "output_length",
        &[first, last],
        &[("length_ratio", l2 / l1), ("e2e_ratio", e2 / e1)],
        format!(
            "Output length{}: from {OUTPUT} {} to {} ({}), {} goes from {} to {} ({}){judged}{}.",
            at(&line),
            spelled(first, OUTPUT),
            spelled(last, OUTPUT),
            times(l2 / l1),
            latency_name(&key),
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
        // Longer answers are fewer requests at any speed: only tokens count here.
        let Some(brings) = Yield::of_cells(&line.cells).filter(|own| *own == Yield::Output) else {
            continue;
        };
        let rate = |cell: &CellFile| brings.of(cell);
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
                brings.said(Some(most)),
                spelled(best, OUTPUT),
                brings.said(Some(end)),
                spelled(last, OUTPUT),
                times(end / most)
            );
            hurt.push((end / most, text, best, last));
        }
    }
    hurt.sort_by(|a, b| a.0.total_cmp(&b.0));
    // That one line falls beyond chance is enough to tell the others that do.
    let worst_of =
        |one: &(f64, String, &CellFile, &CellFile)| is_less(one.3, one.2, Yield::Output, LESS);
    if !hurt.iter().any(worst_of) {
        return None;
    }
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

/// Whether each token costs more, or less, in long prompts than in short ones: what the first and the last step say of it.
fn steeper(line: &Line<'_>, axis: &str, key: &str) -> String {
    let points: Vec<(f64, f64)> = line
        .cells
        .iter()
        .filter_map(|cell| Some((coordinate(cell, axis)?.as_f64()?, of(cell, key)?)))
        .collect();
    let each = |pair: &[(f64, f64)]| (pair[1].1 - pair[0].1) / (pair[1].0 - pair[0].0) * 1e3;
    let steps: Vec<f64> = points.windows(2).map(each).collect();
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
        return String::new();
    };
    let bent = *first > 0.0 && *last > 0.0 && (last / first).ln().abs() >= BENT.ln();
    match steps.len() > 1 && bent {
        true => format!(
            " ({} on the first step, {} on the last)",
            ms(Some(*first)),
            ms(Some(*last))
        ),
        false => String::new(),
    }
}

/// Where least is in flight, prefill shows most plainly; where most is, what it costs.
fn prompt_length(block: &Block<'_>, axis: &str) -> Option<Insight> {
    let lines = several(block, axis);
    let by_load = |a: &&Line<'_>, b: &&Line<'_>| load(a).total_cmp(&load(b));
    let line = lines.iter().min_by(by_load)?;
    let (first, last) = (line.cells.first()?, line.cells.last()?);
    let key = Rank::Middle
        .key(&line.cells, "ttft")
        .or_else(|| Rank::Middle.key(&line.cells, "e2e"));
    let brings = Yield::of_cells(&line.cells);
    let length = |cell: &CellFile| coordinate(cell, axis).and_then(Value::as_f64);
    let (l1, l2) = (length(first)?, length(last)?);
    if l2 <= l1 || l1 <= 0.0 {
        return None;
    }
    let mut parts = Vec::new();
    let mut numbers = vec![("length_ratio", l2 / l1)];
    if let Some(key) = key
        && let (Some(t1), Some(t2)) = (of(first, &key), of(last, &key))
        && t1 > 0.0
    {
        let each = (t2 - t1) / (l2 - l1) * 1e3;
        numbers.extend([
            ("from_ms", t1),
            ("to_ms", t2),
            ("ratio", t2 / t1),
            ("ms_per_1000_tokens", each),
        ]);
        let moves = t2 / t1 >= KEPT;
        parts.push(format!(
            "{} {} from {} to {} ({}){}",
            latency_name(&key),
            if moves { "goes" } else { "hardly moves," },
            ms(Some(t1)),
            ms(Some(t2)),
            times(t2 / t1),
            match moves && key.ends_with("ttft") {
                true => format!(
                    ", {} for each 1,000 tokens more{}",
                    ms(Some(each)),
                    steeper(line, axis, &key)
                ),
                false => String::new(),
            }
        ));
    }
    let pace = ["tpot", "itl"].map(|metric| Rank::Middle.key(&line.cells, metric));
    if let Some(key) = pace.into_iter().flatten().next()
        && let (Some(p1), Some(p2)) = (of(first, &key), of(last, &key))
        && p1 > 0.0
    {
        parts.push(format!(
            "{} {} from {} to {} ({})",
            latency_name(&key),
            match p2 / p1 < KEPT {
                true => "hardly moves,",
                false => "goes",
            },
            ms(Some(p1)),
            ms(Some(p2)),
            times(p2 / p1)
        ));
    }
    let left = |line: &Line<'_>| {
        let brings = brings?;
        let (first, last) = (line.cells.first()?, line.cells.last()?);
        Some(brings.of(last)? / brings.of(first)?)
    };
    if let (Some(brings), Some(part)) = (brings, left(line)) {
        numbers.push(("throughput_part", part));
        // The line with most in flight has to span the same lengths.
        let most = lines
            .iter()
            .max_by(by_load)
            .filter(|most| load(most) > load(line) && most.cells.len() == line.cells.len());
        let busy = most.and_then(|most| Some((most, left(most)?)));
        parts.push(format!(
            "{} is {} of what it was{}",
            brings.name(),
            percent(Some(part)),
            busy.map_or_else(String::new, |(most, part)| format!(
                ", and {}{}",
                percent(Some(part)),
                at(most)
            ))
        ));
    }
    (!parts.is_empty()).then(|| {
        Insight::new(
            "prompt_length",
            &[first, last],
            &numbers,
            format!(
                "Prompt length{}: from {} to {} tokens ({}, axis {axis}), {}.",
                at(line),
                spelled(first, axis),
                spelled(last, axis),
                times(l2 / l1),
                parts.join("; ")
            ),
        )
    })
}
