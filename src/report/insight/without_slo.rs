//! The best cell where nobody said what is good enough.

use std::collections::HashSet;

use super::{
    Block, Yield,
    basis::{Ranked, basis},
    best::{Best, NEAR, Pick, by, near, others, pick},
    count,
    knee::{knee, worth},
    ladder, lines, of, offered,
};
use crate::{report::number::percent, store::CellFile};

/// A knee with this part of the throughput of a line that has none is better: it asks for less load.
const CLOSE: f64 = 0.8;

/// Without an SLO: of the knees of all lines, and the fastest cells of those that have none, the fastest. A cell without a knee
/// gives way to one that is nearly as fast with less load.
pub(super) fn without_slo(block: &Block<'_>, ranked: &Ranked<'_>) -> Best {
    let of_ranked: HashSet<&str> = ranked.cells.iter().map(|cell| cell.id.as_str()).collect();
    let brings = Yield::of_cells(&ranked.cells);
    let rate = |cell: &CellFile| brings.and_then(|brings| brings.of(cell));
    let mut bends: Vec<&CellFile> = Vec::new();
    let mut ends: Vec<&CellFile> = Vec::new();
    for line in lines(block, ladder(block)) {
        let mut cells = line.cells;
        cells.retain(|cell| of_ranked.contains(cell.id.as_str()));
        match knee(&cells) {
            Some(cell) => bends.push(cell),
            None => ends.extend(worth(&cells)),
        }
    }
    let fastest = |cells: &[&CellFile]| by(cells, rate).first().map(|cell| cell.id.clone());
    let bend = fastest(&bends);
    let end = fastest(&ends);
    let cell_of = |id: &Option<String>| {
        let id = id.as_ref()?;
        ranked.cells.iter().copied().find(|cell| cell.id == *id)
    };
    let (bend, end) = (cell_of(&bend), cell_of(&end));
    let at_knee = match (bend, end) {
        (Some(bend), Some(end)) => rate(bend) >= rate(end).map(|rate| CLOSE * rate),
        (bend, _) => bend.is_some(),
    };
    // Cells without a load or a rate still have a best one: the fastest, else the quickest.
    let quick = ["p50_e2e", "mean_e2e", "p50_ttft", "mean_ttft"]
        .into_iter()
        .map(|key| by(&ranked.cells, |cell| of(cell, key).map(|ms| -ms)))
        .find(|cells| !cells.is_empty())
        .unwrap_or_default();
    let all = by(&ranked.cells, rate);
    let first = match at_knee {
        true => bend,
        false => end.filter(|cell| rate(cell).is_some()),
    };
    let first = first
        .or(all.first().copied())
        .or(quick.first().copied())
        .or(ranked.cells.first().copied());
    let loads = ranked.cells.iter().any(|cell| offered(cell).is_some());
    let what = match (at_knee, brings) {
        (true, _) => "knee",
        (_, Some(Yield::Requests)) => "most requests per second",
        (_, None) => "least latency",
        _ => "highest throughput",
    };
    let picks: Vec<Pick> = first
        .map(|cell| pick(what, block, cell, ranked.trust))
        .into_iter()
        .collect();
    let over = count(ranked.cells.len(), "cell");
    let rule = match brings {
        Some(brings) if at_knee => format!(
            "the knee over {over}: the {} after which more load brings few more {}",
            ladder(block),
            brings.noun()
        ),
        _ if ranked.cells.len() == 1 => "the only cell there is".to_owned(),
        None => format!("the {what}, for no cell has a throughput"),
        Some(brings) if !loads => format!("the most {} over {over}", brings.noun()),
        Some(brings) => format!(
            "the least {} within 5 % of the most {} on its line, over {over}: {}",
            ladder(block),
            brings.noun(),
            match bends.is_empty() {
                true => "none has a knee",
                false => "where there is a knee, it is far slower",
            }
        ),
    };
    // Beyond a knee more load costs latency for little: nothing there is still acceptable.
    let mut near = near(&all);
    if let Some(most) = first.filter(|_| at_knee).and_then(offered) {
        near.retain(|cell| offered(cell).is_some_and(|load| load <= most));
    }
    Best {
        acceptable: others(block, ranked, &near, &picks),
        picks,
        most_users: Vec::new(),
        basis: basis(
            block,
            ranked,
            &format!("No SLO is declared, so this is {rule}"),
        ),
        acceptable_rule: format!(
            "At least {} of the highest {}.",
            percent(Some(NEAR)),
            brings.map_or("throughput", Yield::noun)
        ),
        meets_slo: None,
        contradicted: false,
        of_limit: None,
    }
}
