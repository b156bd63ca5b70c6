//! Which server serves a workload best, where the server axes give several.

use std::cmp::Ordering;

use serde::Serialize;

use super::{
    Block, Insight,
    best::{Best, Pick, best, remove, stand_in},
    count, of,
};
use crate::{
    manifest::Objective,
    report::number::{grouped, listed, tok_s},
};

/// The servers of one workload side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Comparison {
    pub(in crate::report) workload: String,
    /// The best server first; ids in the order of the plan where they are as good.
    pub(in crate::report) servers: Vec<Compared>,
    /// What the order rests on, one sentence.
    pub(in crate::report) basis: String,
}

/// One server's best cell for a workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Compared {
    pub(in crate::report) server: String,
    pub(in crate::report) label: String,
    /// Its best cell.
    pub(in crate::report) pick: Pick,
    /// `meets`, `meets by p50`, `misses`; empty without an SLO.
    pub(in crate::report) slo: &'static str,
}

/// The blocks of a workload that have numbers, best first. What was simulated or predicted stands behind what was measured.
pub(in crate::report) fn in_order<'a, 'b>(
    blocks: &'a [Block<'b>],
    workload: &str,
) -> Vec<(&'a Block<'b>, Best)> {
    let mut own: Vec<(&Block<'_>, Best)> = blocks
        .iter()
        .filter(|block| block.workload == workload)
        .map(|block| (block, best(block)))
        .filter(|(_, best)| !best.picks.is_empty())
        .collect();
    own.sort_by(|a, b| order(a, b));
    own
}

fn order((left, a): &(&Block<'_>, Best), (right, b): &(&Block<'_>, Best)) -> Ordering {
    let far = |block: &Block<'_>| block.cells.iter().map(|cell| remove(cell)).max();
    let (Some(one), Some(other)) = (a.picks.first(), b.picks.first()) else {
        return Ordering::Equal;
    };
    // Absent is worse than any number.
    let larger = |x: Option<f64>, y: Option<f64>| match (x, y) {
        (Some(x), Some(y)) => y.total_cmp(&x),
        _ => y.is_some().cmp(&x.is_some()),
    };
    let users = match left.objective {
        Objective::Latency if !left.slo.0.is_empty() => larger(
            one.concurrency.or(one.rate),
            other.concurrency.or(other.rate),
        ),
        _ => Ordering::Equal,
    };
    let misses = |best: &Best| best.meets_slo == Some(false);
    let nearer = match (misses(a), misses(b)) {
        (true, true) => larger(a.of_limit.map(|x| -x), b.of_limit.map(|x| -x)),
        _ => Ordering::Equal,
    };
    far(left)
        .cmp(&far(right))
        .then(other.trusted.cmp(&one.trusted))
        .then(misses(a).cmp(&misses(b)))
        .then(a.contradicted.cmp(&b.contradicted))
        .then(nearer)
        .then(users)
        .then(larger(one.throughput_tok_s, other.throughput_tok_s))
        // Requests stand in where nobody counted tokens, and latency where nobody counted those.
        .then(match (one.throughput_tok_s, other.throughput_tok_s) {
            (None, None) => larger(one.req_s, other.req_s),
            _ => Ordering::Equal,
        })
        .then(match (brings(one), brings(other)) {
            (false, false) => larger(quickness(left, one, other), quickness(right, other, one)),
            _ => Ordering::Equal,
        })
}

fn brings(pick: &Pick) -> bool {
    pick.throughput_tok_s.is_some() || pick.req_s.is_some()
}

/// How quick a pick is beside another one at the same load, as a number of which more is better.
fn quickness(block: &Block<'_>, own: &Pick, other: &Pick) -> Option<f64> {
    let same = own.concurrency == other.concurrency && own.rate == other.rate;
    let cell = block
        .cells
        .iter()
        .find(|cell| same && cell.id == own.cell)?;
    ["p50_e2e", "mean_e2e", "p50_ttft", "mean_ttft"]
        .into_iter()
        .find_map(|key| of(cell, key))
        .map(|ms| -ms)
}

/// What is this close to the best throughput is as good.
const AS_GOOD: f64 = 0.95;

/// Servers that are as good as the best one at the same or less load: an order among them would be noise.
pub(in crate::report) fn ties(blocks: &[Block<'_>], workload: &str) -> Option<Insight> {
    let own = in_order(blocks, workload);
    let (_, best) = own.first()?;
    let top = best.picks.first()?;
    let rate = |pick: &Pick| pick.throughput_tok_s.or(pick.req_s);
    let most = rate(top)?;
    let near: Vec<(&Block<'_>, &Pick)> = own
        .iter()
        .skip(1)
        .filter_map(|(block, other)| Some((*block, other.picks.first()?)))
        .filter(|(_, pick)| {
            pick.concurrency == top.concurrency
                && pick.rate == top.rate
                && pick.throughput_tok_s.is_some() == top.throughput_tok_s.is_some()
                && rate(pick).is_some_and(|own| own >= AS_GOOD * most)
        })
        .collect();
    let first = near.first()?.1;
    let least = rate(near.last()?.1)?;
    let said = |pick: &Pick| match pick.throughput_tok_s {
        Some(_) => tok_s(pick.throughput_tok_s),
        None => format!("{} req/s", grouped(rate(pick).unwrap_or(f64::NAN), 2)),
    };
    let names: Vec<String> = near
        .iter()
        .take(NAMED)
        .map(|(block, _)| block.server_label.clone())
        .collect();
    let more = near.len().saturating_sub(NAMED);
    let names = match more {
        0 => listed(&names),
        more => format!("{} and {}", names.join("; "), count(more, "other")),
    };
    Some(Insight::new(
        "tie",
        &[],
        &[
            ("throughput_part", least / most),
            ("servers", near.len() as f64),
        ],
        format!(
            "{names} {} nearly as good in throughput as the best server at the same load ({} against {}): that order alone is no result.",
            match near.len() {
                1 => "is",
                _ => "are",
            },
            said(first),
            said(top)
        ),
    ))
}

/// So many servers of a tie are named.
const NAMED: usize = 3;

/// One comparison for every workload that several servers have numbers for.
pub(in crate::report) fn comparisons(blocks: &[Block<'_>]) -> Vec<Comparison> {
    let mut workloads: Vec<&str> = blocks.iter().map(|block| block.workload).collect();
    workloads.dedup();
    workloads
        .into_iter()
        .filter_map(|workload| {
            let own = in_order(blocks, workload);
            let (first, _) = own.first().filter(|_| own.len() > 1)?;
            let by = match first.objective {
                Objective::Latency if !first.slo.0.is_empty() => {
                    "those that meet the SLO, then most users, then output tokens per second"
                }
                _ if !first.slo.0.is_empty() => {
                    "those that meet the SLO, then output tokens per second"
                }
                _ => "output tokens per second",
            };
            let basis = format!(
                "The best cell of each of {}, best first: what may be ranked before what may not, then {by}.",
                count(own.len(), "server")
            );
            Some(Comparison {
                workload: workload.to_owned(),
                servers: own
                    .into_iter()
                    .filter_map(|(block, best)| {
                        let slo = slo(block, &best);
                        Some(Compared {
                            server: block.server.to_owned(),
                            label: block.server_label.clone(),
                            pick: best.picks.into_iter().next()?,
                            slo,
                        })
                    })
                    .collect(),
                basis,
            })
        })
        .collect()
}

fn slo(block: &Block<'_>, best: &Best) -> &'static str {
    let trusted = best.picks.first().is_some_and(|pick| pick.trusted);
    match best.meets_slo {
        None => "",
        Some(false) => "misses",
        Some(true) if best.contradicted => "by p50 only",
        Some(true) if !trusted && stand_in(block) != "p50" => "meets, by few samples",
        Some(true) if !trusted => "meets, by p50",
        Some(true) => "meets",
    }
}
