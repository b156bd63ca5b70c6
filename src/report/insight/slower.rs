//! What more load costs those who wait.

use super::{Insight, Line, Rank, coordinate, of, offered};
use crate::{
    manifest::scalar_text,
    report::{
        headline::latency_name,
        number::{ms, times},
    },
    store::CellFile,
};

/// Latency that grows this many times as fast as the load is no longer shared work.
const RUNS_AWAY: f64 = 1.5;
/// Requests wait their turn where TTFT, if it is known, makes up this part of what is added.
const WAITS: f64 = 0.5;
/// A growth of at least this much is a price worth naming.
const PRICE: f64 = 1.1;

fn at(line: &Line<'_>) -> String {
    match line.fixed.as_str() {
        "" => String::new(),
        fixed => format!(" at {fixed}"),
    }
}

fn value(cell: &CellFile, axis: &str) -> String {
    coordinate(cell, axis).map(scalar_text).unwrap_or_default()
}

/// What is paid from one cell to another: `3.33× the p95 E2E`, at most three latencies that grow.
pub(in crate::report) fn price(line: &Line<'_>, from: &CellFile, to: &CellFile) -> Vec<String> {
    let keys = [
        Rank::Tail.key(&line.cells, "e2e"),
        Rank::Middle.key(&line.cells, "ttft"),
        Rank::Tail.key(&line.cells, "ttft"),
        Rank::Middle.key(&line.cells, "tpot"),
        Rank::Middle.key(&line.cells, "itl"),
    ];
    keys.into_iter()
        .flatten()
        .filter_map(|key| {
            let (before, after) = (of(from, &key)?, of(to, &key)?);
            (before > 0.0 && after >= PRICE * before)
                .then(|| format!("{} the {}", times(after / before), latency_name(&key)))
        })
        .take(3)
        .collect()
}

/// First and last cell of a line that have a latency, its values there, and how much the load grows.
struct Growth<'a> {
    first: &'a CellFile,
    last: &'a CellFile,
    from: f64,
    to: f64,
    load: f64,
    /// Whether the wait for the first token makes up most of it; absent where nobody told it.
    waits: Option<bool>,
}

impl<'a> Growth<'a> {
    fn of(line: &Line<'a>, key: &str) -> Option<Self> {
        let known: Vec<&CellFile> = line
            .cells
            .iter()
            .copied()
            .filter(|cell| of(cell, key).is_some())
            .collect();
        let (first, last) = (*known.first()?, *known.last()?);
        let (from, to) = (of(first, key)?, of(last, key)?);
        let (c1, c2) = (offered(first)?, offered(last)?);
        let ttft = Rank::Middle.key(&[first, last], "ttft");
        let waits = ttft
            .and_then(|key| of(first, &key).zip(of(last, &key)))
            .map(|(before, after)| after - before >= WAITS * (to - from));
        (from > 0.0 && c1 > 0.0 && c2 > c1).then_some(Self {
            first,
            last,
            from,
            to,
            load: c2 / c1,
            waits,
        })
    }

    fn ratio(&self) -> f64 {
        self.to / self.from
    }

    fn judged(&self) -> &'static str {
        match (self.ratio() - 1.0) / (self.load - 1.0) {
            little if little < 0.1 => ": the cost in latency is mild",
            more if more > RUNS_AWAY => ": it runs away from the load",
            much if much > 0.8 && self.waits != Some(false) => {
                ": requests wait their turn rather than share the engine"
            }
            _ => "",
        }
    }
}

/// The latency that says most of a whole request, of those that at least two cells of a line have.
fn whole(lines: &[&Line<'_>]) -> Option<String> {
    let cells: Vec<&CellFile> = lines.iter().flat_map(|line| &line.cells).copied().collect();
    [
        Rank::Tail.key(&cells, "e2e"),
        Rank::Middle.key(&cells, "e2e"),
        Rank::Tail.key(&cells, "ttft"),
        Rank::Middle.key(&cells, "ttft"),
    ]
    .into_iter()
    .flatten()
    .find(|key| lines.iter().any(|line| Growth::of(line, key).is_some()))
}

/// What those who wait pay for it.
pub(in crate::report) fn slower(line: &Line<'_>, axis: &str) -> Option<Insight> {
    let key = whole(&[line])?;
    let growth = Growth::of(line, &key)?;
    Some(Insight::new(
        "latency_growth",
        &[growth.first, growth.last],
        &[
            ("from_ms", growth.from),
            ("to_ms", growth.to),
            ("growth", growth.ratio()),
        ],
        format!(
            "{}{} goes from {} at {axis} {} to {} at {} ({}) for {} the load{}.",
            latency_name(&key),
            at(line),
            ms(Some(growth.from)),
            value(growth.first, axis),
            ms(Some(growth.to)),
            value(growth.last, axis),
            times(growth.ratio()),
            times(growth.load),
            growth.judged()
        ),
    ))
}

/// The same of several lines: where it grows least and where most.
pub(in crate::report) fn slower_of_all(lines: &[&Line<'_>]) -> Option<Insight> {
    let key = whole(lines)?;
    let grown: Vec<(&Line<'_>, Growth<'_>)> = lines
        .iter()
        .filter_map(|line| Some((*line, Growth::of(line, &key)?)))
        .collect();
    let least = grown
        .iter()
        .min_by(|a, b| a.1.ratio().total_cmp(&b.1.ratio()))?;
    let most = grown
        .iter()
        .max_by(|a, b| a.1.ratio().total_cmp(&b.1.ratio()))?;
    let said = |(line, growth): &(&Line<'_>, Growth<'_>)| {
        format!(
            "{} ({}, {} to {})",
            times(growth.ratio()),
            line.fixed,
            ms(Some(growth.from)),
            ms(Some(growth.to))
        )
    };
    let falls = least.1.ratio() < 1.0;
    let judged = match (least.1.judged(), most.1.judged()) {
        (one, other) if one == other => one,
        _ => "",
    };
    Some(Insight::new(
        "latency_growth",
        &[least.1.first, least.1.last, most.1.first, most.1.last],
        &[
            ("least_growth", least.1.ratio()),
            ("growth", most.1.ratio()),
        ],
        format!(
            "{} {} {} to {} {} {} the load{judged}.",
            latency_name(&key),
            if falls { "becomes" } else { "grows" },
            said(least),
            said(most),
            if falls { "what it was, for" } else { "for" },
            times(most.1.load)
        ),
    ))
}
