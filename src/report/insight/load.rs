//! How the load of a block was put on: what a reader must know of it before comparing its numbers.

use super::{Block, Insight, count, place};
use crate::{
    manifest::Start,
    measure::Starts,
    report::number::{self, grouped},
    store::CellFile,
};

/// A whole window that misses less than this of its steady part needs no word.
const WINDOWS_DIFFER: f64 = 0.02;

/// Everything there is to say of the load, in the order in which a cell goes.
pub(in crate::report) fn load(block: &Block<'_>) -> Vec<Insight> {
    [open_loop(block), starts(block), windows(block)]
        .into_iter()
        .flatten()
        .chain(ladders(block))
        .collect()
}

fn open_loop(block: &Block<'_>) -> Option<Insight> {
    let mut cells = Vec::new();
    let mut models: Vec<&str> = Vec::new();
    let mut delay: f64 = 0.0;
    let mut dropped = 0;
    for cell in &block.cells {
        let (Some(model), Some(summary)) = (cell.load.get("arrivals"), &cell.summary) else {
            continue;
        };
        let model = model.as_str().unwrap_or_default();
        if !models.contains(&model) {
            models.push(model);
        }
        cells.push(*cell);
        delay = summary
            .issue_delay
            .as_ref()
            .map_or(delay, |own| own.p99_ms.max(delay));
        dropped += summary.counts.by_outcome.get("dropped").unwrap_or(&0);
    }
    (!cells.is_empty()).then(|| {
        Insight::new(
            "open_loop",
            &cells,
            &[("p99_issue_delay_ms", delay), ("dropped", dropped as f64)],
            format!(
                "Open loop ({}): requests started when they were due, whatever was in flight, and latency counts from there. \
                 At most one in a hundred was sent more than {} late; {} never sent.",
                models.join(", "),
                number::ms(Some(delay)),
                match dropped {
                    0 => "none was".to_owned(),
                    some => format!("{} were", grouped(some as f64, 0)),
                }
            ),
        )
    })
}

fn starts(block: &Block<'_>) -> Option<Insight> {
    let known: Vec<(&CellFile, Starts)> = block
        .cells
        .iter()
        .filter(|cell| super::concurrency(cell).is_some_and(|streams| streams > 1.0))
        .filter_map(|cell| Some((*cell, cell.summary.as_ref()?.starts?)))
        .collect();
    let of = |how: Start| -> Vec<&CellFile> {
        let own = known.iter().filter(|(_, starts)| starts.how == how);
        own.map(|(cell, _)| *cell).collect()
    };
    let (staggered, together) = (of(Start::Staggered), of(Start::Together));
    let longest = known
        .iter()
        .filter(|(_, starts)| starts.how == Start::Staggered)
        .map(|(_, starts)| starts.spread_s)
        .fold(0.0, f64::max);
    let mut parts = Vec::new();
    if !staggered.is_empty() {
        parts.push(format!(
            "staggered over about one request's duration, at most {}, in {}",
            number::s(Some(longest)),
            count(staggered.len(), "cell")
        ));
    }
    if !together.is_empty() {
        parts.push(format!(
            "together in {}, where they may stay in step: such waves are the client's",
            count(together.len(), "cell")
        ));
    }
    let cells: Vec<&CellFile> = known.iter().map(|(cell, _)| *cell).collect();
    (!parts.is_empty()).then(|| {
        Insight::new(
            "starts",
            &cells,
            &[("longest_spread_s", longest)],
            format!("Streams started {}.", parts.join("; ")),
        )
    })
}

/// The cell whose steady window says most else than its whole one.
fn windows(block: &Block<'_>) -> Option<Insight> {
    let (cell, steady, whole) = block
        .cells
        .iter()
        .filter_map(|cell| {
            let summary = cell.summary.as_ref()?;
            let whole = summary.throughput_tok_s.filter(|whole| *whole > 0.0)?;
            Some((*cell, summary.steady_tok_s?, whole))
        })
        .max_by(|a, b| (a.1 / a.2).total_cmp(&(b.1 / b.2)))?;
    let more = steady / whole - 1.0;
    (more > WINDOWS_DIFFER).then(|| {
        Insight::new(
            "steady_window",
            &[cell],
            &[("steady_tok_s", steady), ("throughput_tok_s", whole)],
            format!(
                "Without its start and its drain a cell is faster by up to {} %: {} in the steady window, {} in the whole one, at {}.",
                grouped(more * 100.0, 0),
                number::tok_s(Some(steady)),
                number::tok_s(Some(whole)),
                place(block, cell)
            ),
        )
    })
}

fn ladders(block: &Block<'_>) -> Vec<Insight> {
    let mut ends: Vec<(&str, Vec<&CellFile>)> = Vec::new();
    for cell in &block.cells {
        let (Some(_), Some(reason)) = (&cell.ladder_ended_at, &cell.reason) else {
            continue;
        };
        match ends.iter_mut().find(|(known, _)| known == reason) {
            Some((_, cells)) => cells.push(cell),
            None => ends.push((reason, vec![cell])),
        }
    }
    ends.into_iter()
        .map(|(reason, cells)| {
            let text = format!(
                "{} not {}: {reason}.",
                count(cells.len(), "cell"),
                block.done()
            );
            Insight::new("ladder_end", &cells, &[], text)
        })
        .collect()
}
