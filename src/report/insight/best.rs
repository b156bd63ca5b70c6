//! The best combinations of a block, what they rest on, and what is still acceptable.

use std::collections::HashSet;

use serde::Serialize;

use super::{
    Block, Yield,
    basis::{Ranked, Trust, basis},
    concurrency, count, ladder, lines, load_short, may_rank, may_rank_by, of, offered, place, rate,
    slo_text,
    without_slo::without_slo,
};
use crate::{
    manifest::{Objective, Slo, SloTerm},
    report::{number, origin::Origin},
    store::CellFile,
};

/// What is within this part of the best throughput is still acceptable.
pub(super) const NEAR: f64 = 0.9;

/// One recommended cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Pick {
    /// What it is the best in: `most users`, `highest throughput`.
    pub(in crate::report) what: String,
    /// Where it stands: `concurrency 16, max_tokens 64`.
    pub(in crate::report) place: String,
    /// Its id.
    pub(in crate::report) cell: String,
    /// Its load in words: `16`, `5 req/s`, `2 to 50 req/s`; absent without one.
    pub(in crate::report) load: Option<String>,
    /// Requests in flight, in a closed loop.
    pub(in crate::report) concurrency: Option<f64>,
    /// Requests due per second, in an open loop.
    pub(in crate::report) rate: Option<f64>,
    pub(in crate::report) throughput_tok_s: Option<f64>,
    pub(in crate::report) req_s: Option<f64>,
    pub(in crate::report) p50_ttft_ms: Option<f64>,
    pub(in crate::report) p95_ttft_ms: Option<f64>,
    pub(in crate::report) p95_e2e_ms: Option<f64>,
    pub(in crate::report) user_tok_s: Option<f64>,
    /// Whether every number it was ranked by may be ranked.
    pub(in crate::report) trusted: bool,
}

/// The best of a block.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Best {
    /// The recommended cells; empty only when nothing was measured.
    pub(in crate::report) picks: Vec<Pick>,
    /// With an SLO: the most users for every combination of the other axes.
    pub(in crate::report) most_users: Vec<Pick>,
    /// What the choice rests on, one sentence.
    pub(in crate::report) basis: String,
    /// Cells that are nearly as good.
    pub(in crate::report) acceptable: Vec<Pick>,
    /// What `acceptable` means here, one sentence.
    pub(in crate::report) acceptable_rule: String,
    /// Whether the picks meet the SLO; absent without one.
    pub(in crate::report) meets_slo: Option<bool>,
    /// Whether medians meet the SLO while the percentiles it asks for, marked as they are, lie beyond it.
    pub(in crate::report) contradicted: bool,
    /// The first pick's worst SLO term over its limit, as it was judged; absent without an SLO.
    pub(in crate::report) of_limit: Option<f64>,
}

/// Ranks a block by its objective.
pub(in crate::report) fn best(block: &Block<'_>) -> Best {
    let ranked = rankable(block);
    if ranked.cells.is_empty() {
        return Best {
            picks: Vec::new(),
            most_users: Vec::new(),
            basis: "No cell was measured, so there is nothing to rank.".into(),
            acceptable: Vec::new(),
            acceptable_rule: String::new(),
            meets_slo: None,
            contradicted: false,
            of_limit: None,
        };
    }
    let good: Vec<&CellFile> = ranked
        .cells
        .iter()
        .copied()
        .filter(|cell| meets(block.slo, cell, ranked.trust))
        .collect();
    if !block.slo.0.is_empty() && good.is_empty() {
        return nearest(block, &ranked);
    }
    // A percentile of few samples is no proof that the SLO holds, but one beyond it is no ground to say that it does.
    let borne_out: Vec<&CellFile> = good
        .iter()
        .copied()
        .filter(|cell| !is_contradicted(block.slo, cell))
        .collect();
    let contradicted = borne_out.is_empty();
    let good = if contradicted { good } else { borne_out };
    let best = match block.objective {
        Objective::Latency if !block.slo.0.is_empty() => most_users(block, &ranked, &good),
        Objective::Latency => without_slo(block, &ranked),
        Objective::Throughput => fastest(block, &ranked, &good),
    };
    Best {
        basis: if contradicted {
            format!(
                "{} The percentiles of the SLO, as far as they can be told, lie beyond it in each of these cells: \
                 measure them with more requests before relying on one.",
                best.basis
            )
        } else {
            best.basis
        },
        of_limit: best
            .picks
            .first()
            .and_then(|pick| good.iter().find(|cell| cell.id == pick.cell))
            .and_then(|cell| excess(block.slo, cell, ranked.trust)),
        contradicted,
        ..best
    }
}

/// Whether a percentile that the SLO asks for is beyond its limit, ranked or not.
fn is_contradicted(slo: &Slo, cell: &CellFile) -> bool {
    slo.0
        .iter()
        .any(|term| of(cell, &term.key()).is_some_and(|ms| ms > term.limit.as_ms()))
}

/// The metrics a block is ranked by.
fn needed(block: &Block<'_>) -> Vec<String> {
    let mut keys: Vec<String> = block.slo.0.iter().map(SloTerm::key).collect();
    keys.extend(Yield::of_cells(&block.cells).map(|brings| brings.key().to_owned()));
    keys
}

/// How far from a measurement a cell's numbers are: measured, simulated, predicted.
pub(super) fn remove(cell: &CellFile) -> u8 {
    match (cell.is_real(), cell.simulated) {
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => 2,
    }
}

fn rankable<'a>(block: &Block<'a>) -> Ranked<'a> {
    let measured: Vec<&CellFile> = block
        .cells
        .iter()
        .copied()
        .filter(|cell| cell.has_numbers())
        .collect();
    // What was simulated or predicted is ranked among its like only, and never beside a measurement.
    let best = measured.iter().map(|cell| remove(cell)).min();
    let measured: Vec<&CellFile> = measured
        .into_iter()
        .filter(|cell| Some(remove(cell)) == best)
        .collect();
    let keys = needed(block);
    let full: Vec<&CellFile> = measured
        .iter()
        .copied()
        .filter(|cell| {
            keys.iter()
                .all(|key| may_rank_by(cell, key) && of(cell, key).is_some())
        })
        .collect();
    let medians: Vec<&CellFile> = measured
        .iter()
        .copied()
        .filter(|cell| may_rank(cell))
        .collect();
    let (cells, trust) = if !full.is_empty() {
        (full, Trust::Full)
    } else if !medians.is_empty() {
        (medians, Trust::Medians)
    } else {
        (measured.clone(), Trust::Nothing)
    };
    Ranked {
        left_out: measured.len() - cells.len(),
        measured: measured.len(),
        cells,
        trust,
    }
}

/// The term's value as it may be ranked: its own percentile, or the median that stands in for it; where nobody told a median, a
/// percentile of few samples is still better than none.
fn value(term: &SloTerm, cell: &CellFile, trust: Trust) -> Option<f64> {
    match trust {
        Trust::Full => of(cell, &term.key()),
        Trust::Medians | Trust::Nothing => {
            of(cell, &median(term)).or_else(|| of(cell, &term.key()))
        }
    }
}

fn median(term: &SloTerm) -> String {
    format!("p50_{}", term.metric.name())
}

/// What an SLO is judged by where its percentiles may not be ranked.
pub(in crate::report) fn stand_in(block: &Block<'_>) -> &'static str {
    let told = |term: &SloTerm| {
        let key = median(term);
        block.cells.iter().any(|cell| of(cell, &key).is_some())
    };
    match block.slo.0.iter().all(told) {
        true => "p50",
        false => "percentiles of few samples",
    }
}

fn meets(slo: &Slo, cell: &CellFile, trust: Trust) -> bool {
    slo.0
        .iter()
        .all(|term| value(term, cell, trust).is_some_and(|ms| ms <= term.limit.as_ms()))
}

/// How far beyond the SLO a cell is: the worst term's value over its limit.
fn excess(slo: &Slo, cell: &CellFile, trust: Trust) -> Option<f64> {
    slo.0
        .iter()
        .map(|term| {
            let limit = term.limit.as_ms();
            value(term, cell, trust)
                .filter(|_| limit > 0.0)
                .map(|ms| ms / limit)
        })
        .collect::<Option<Vec<f64>>>()?
        .into_iter()
        .max_by(f64::total_cmp)
}

pub(super) fn by<'a>(
    cells: &[&'a CellFile],
    key: impl Fn(&CellFile) -> Option<f64>,
) -> Vec<&'a CellFile> {
    let mut keyed: Vec<(f64, &CellFile)> = cells
        .iter()
        .filter_map(|cell| Some((key(cell)?, *cell)))
        .collect();
    keyed.sort_by(|a, b| b.0.total_cmp(&a.0));
    keyed.into_iter().map(|(_, cell)| cell).collect()
}

/// The cell with most requests in flight, or due per second; of several, the one with most tokens per second.
fn most<'a>(cells: &[&'a CellFile]) -> Option<&'a CellFile> {
    let top = by(cells, offered).first().copied()?;
    let same: Vec<&CellFile> = cells
        .iter()
        .copied()
        .filter(|cell| offered(cell) == offered(top))
        .collect();
    by(&same, |cell| of(cell, "throughput"))
        .first()
        .copied()
        .or(Some(top))
}

pub(super) fn pick(what: &str, block: &Block<'_>, cell: &CellFile, trust: Trust) -> Pick {
    Pick {
        what: what.into(),
        place: match (block.mixed, Origin::of(cell)) {
            (false, _) | (_, Origin::Measured) => place(block, cell),
            (true, origin) => format!("{} ({})", place(block, cell), origin.word()),
        },
        cell: cell.id.clone(),
        load: load_short(block, cell),
        concurrency: concurrency(cell),
        rate: rate(cell),
        throughput_tok_s: of(cell, "throughput"),
        req_s: of(cell, "req_s"),
        p50_ttft_ms: of(cell, "p50_ttft"),
        p95_ttft_ms: of(cell, "p95_ttft"),
        p95_e2e_ms: of(cell, "p95_e2e"),
        user_tok_s: of(cell, "user"),
        trusted: trust == Trust::Full,
    }
}

fn most_users(block: &Block<'_>, ranked: &Ranked<'_>, good: &[&CellFile]) -> Best {
    let users = most(good);
    let fast = by(good, |cell| of(cell, "throughput")).first().copied();
    let mut picks = Vec::new();
    let (top, first) = match ladder(block) {
        "rate" => ("highest rate", "highest rate first"),
        _ => ("most users", "most users first"),
    };
    match (users, fast) {
        (Some(users), Some(fast)) if users.id == fast.id => {
            picks.push(pick(
                &format!("{top} and highest throughput"),
                block,
                users,
                ranked.trust,
            ));
        }
        _ => {
            picks.extend(users.map(|cell| pick(top, block, cell, ranked.trust)));
            picks.extend(fast.map(|cell| pick("highest throughput", block, cell, ranked.trust)));
        }
    }
    let inside: HashSet<&str> = good.iter().map(|cell| cell.id.as_str()).collect();
    let rows = lines(block, ladder(block))
        .into_iter()
        .filter(|line| !line.fixed.is_empty())
        .filter_map(|line| {
            let mut own = line.cells;
            own.retain(|cell| inside.contains(cell.id.as_str()));
            most(&own).map(|cell| pick(&line.fixed, block, cell, ranked.trust))
        })
        .collect();
    let rest: Vec<&CellFile> = by(good, offered);
    Best {
        acceptable: others(block, ranked, &rest, &picks),
        picks,
        most_users: rows,
        basis: basis(
            block,
            ranked,
            &format!(
                "{} of {} meet the SLO ({})",
                good.len(),
                count(ranked.cells.len(), "ranked cell"),
                slo_text(block.slo)
            ),
        ),
        acceptable_rule: format!("Every other ranked cell that meets the SLO, {first}."),
        meets_slo: Some(true),
        contradicted: false,
        of_limit: None,
    }
}

fn fastest(block: &Block<'_>, ranked: &Ranked<'_>, good: &[&CellFile]) -> Best {
    let order = by(good, |cell| of(cell, "throughput"));
    let picks: Vec<Pick> = order
        .first()
        .map(|cell| pick("highest throughput", block, cell, ranked.trust))
        .into_iter()
        .collect();
    let said = if block.slo.0.is_empty() {
        format!(
            "Ranked by output tokens per second over {}",
            count(ranked.cells.len(), "cell")
        )
    } else {
        format!(
            "Ranked by output tokens per second over the {} of {} that meet the SLO ({})",
            good.len(),
            count(ranked.cells.len(), "ranked cell"),
            slo_text(block.slo)
        )
    };
    Best {
        acceptable: others(block, ranked, &near(&order), &picks),
        picks,
        most_users: Vec::new(),
        basis: basis(block, ranked, &said),
        acceptable_rule: format!(
            "At least {} of the best cell's tokens per second.",
            number::percent(Some(NEAR))
        ),
        meets_slo: (!block.slo.0.is_empty()).then_some(true),
        contradicted: false,
        of_limit: None,
    }
}

/// The fastest of some cells, among those that meet the SLO where there is one; `None` where none does or has a throughput.
pub(in crate::report) fn fastest_of(block: &Block<'_>, cells: &[&CellFile]) -> Option<Pick> {
    let good: Vec<&CellFile> = cells
        .iter()
        .copied()
        .filter(|cell| meets(block.slo, cell, Trust::Full))
        .collect();
    let best = by(&good, |cell| of(cell, "throughput")).first().copied()?;
    let trust = if may_rank_by(best, "throughput") {
        Trust::Full
    } else {
        Trust::Nothing
    };
    Some(pick("highest throughput", block, best, trust))
}

/// No cell meets the SLO: the one that misses it least.
fn nearest(block: &Block<'_>, ranked: &Ranked<'_>) -> Best {
    let order = by(&ranked.cells, |cell| {
        excess(block.slo, cell, ranked.trust).map(|excess| -excess)
    });
    let first = order.first().or(ranked.cells.first());
    let picks: Vec<Pick> = first
        .map(|cell| pick("nearest to the SLO", block, cell, ranked.trust))
        .into_iter()
        .collect();
    let miss = first.and_then(|cell| excess(block.slo, cell, ranked.trust));
    let said = match miss {
        Some(miss) => format!(
            "No cell meets the SLO ({}); the nearest one is {} beyond its worst term",
            slo_text(block.slo),
            number::percent(Some(miss - 1.0))
        ),
        None => format!(
            "No cell has the numbers that the SLO ({}) asks for",
            slo_text(block.slo)
        ),
    };
    let close: Vec<&CellFile> = order
        .iter()
        .copied()
        .filter(|cell| {
            excess(block.slo, cell, ranked.trust).is_some_and(|excess| excess <= 1.0 / NEAR)
        })
        .collect();
    Best {
        acceptable: others(block, ranked, &close, &picks),
        picks,
        most_users: Vec::new(),
        basis: basis(block, ranked, &said),
        acceptable_rule: format!(
            "Misses the SLO by at most {}.",
            number::percent(Some(1.0 / NEAR - 1.0))
        ),
        meets_slo: Some(false),
        contradicted: false,
        of_limit: miss,
    }
}

/// The cells that reach nearly the first one's throughput.
pub(super) fn near<'a>(order: &[&'a CellFile]) -> Vec<&'a CellFile> {
    let brings = Yield::of_cells(order);
    let rate = |cell: &CellFile| brings.and_then(|brings| brings.of(cell));
    let top = order.first().and_then(|cell| rate(cell));
    order
        .iter()
        .copied()
        .filter(|cell| {
            top.zip(rate(cell))
                .is_some_and(|(top, own)| own >= NEAR * top)
        })
        .collect()
}

pub(super) fn others(
    block: &Block<'_>,
    ranked: &Ranked<'_>,
    cells: &[&CellFile],
    picks: &[Pick],
) -> Vec<Pick> {
    cells
        .iter()
        .filter(|cell| !picks.iter().any(|pick| pick.cell == cell.id))
        .map(|cell| pick("still acceptable", block, cell, ranked.trust))
        .collect()
}
