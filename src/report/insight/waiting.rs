//! What gives way as the load grows: the wait for the first token, or the pace of those after it.

use super::{Block, Insight, Rank, coordinate, ladder, lines, of, offered};
use crate::{
    manifest::scalar_text,
    report::{
        headline::latency_name,
        number::{ms, times},
    },
    store::CellFile,
};

/// A pace that grows by less than this factor is kept.
const KEPT: f64 = 1.5;
/// One latency gives way first when it grows by this factor more than the other.
const FIRST: f64 = 1.5;

/// What grows by less than this factor does not give way.
const KEEPS: f64 = 1.1;
/// TTFT that grows by this factor with the length of answers is waiting.
const HELD_UP: f64 = 2.0;

/// A latency at both ends of a line.
struct Ends {
    key: String,
    from: f64,
    to: f64,
}

impl Ends {
    /// Of the median or mean, else of the tail, where nothing else is told.
    fn of(cells: &[&CellFile], metric: &str) -> Option<Self> {
        let key = Rank::Middle
            .key(cells, metric)
            .or_else(|| Rank::Tail.key(cells, metric))?;
        let (from, to) = (of(cells.first()?, &key)?, of(cells.last()?, &key)?);
        (from > 0.0).then_some(Self { key, from, to })
    }

    fn ratio(&self) -> f64 {
        self.to / self.from
    }

    fn said(&self) -> String {
        format!(
            "{} goes from {} to {} ({})",
            latency_name(&self.key),
            ms(Some(self.from)),
            ms(Some(self.to)),
            times(self.ratio())
        )
    }
}

/// Longer answers at the same load that only make others wait: TTFT grows with `max_tokens`, the pace does not.
pub(in crate::report) fn held_up(block: &Block<'_>) -> Option<Insight> {
    let line = lines(block, "max_tokens")
        .into_iter()
        .rev()
        .max_by_key(|line| line.cells.len())?;
    let ttft = Ends::of(&line.cells, "ttft")?;
    let pace = ["tpot", "itl"].map(|metric| Ends::of(&line.cells, metric));
    let pace = pace.into_iter().flatten().next()?;
    let (first, last) = (*line.cells.first()?, *line.cells.last()?);
    let whole = of(first, "p50_ttft")
        .zip(of(first, "p50_e2e"))
        .is_some_and(|(ttft, e2e)| ttft >= 0.99 * e2e);
    if whole || ttft.ratio() < HELD_UP || pace.ratio() >= KEPT {
        return None;
    }
    let spelled = |cell: &CellFile| {
        coordinate(cell, "max_tokens")
            .map(scalar_text)
            .unwrap_or_default()
    };
    let at = match line.fixed.as_str() {
        "" => " at the same load".to_owned(),
        fixed => format!(" at {fixed}"),
    };
    Some(Insight::new(
        "held_up",
        &[first, last],
        &[("growth", ttft.ratio()), ("pace_growth", pace.ratio())],
        format!(
            "Longer answers make others wait: from max_tokens {} to {}{at}, {}, while {}. Requests wait to get in; decoding keeps its pace.",
            spelled(first),
            spelled(last),
            ttft.said(),
            pace.said()
        ),
    ))
}

/// How TTFT grows along the line with most steps, and the pace of decoding beside it.
pub(in crate::report) fn waiting(block: &Block<'_>) -> Option<Insight> {
    let axis = ladder(block);
    // The line with most steps tells most; of equal ones the first.
    let line = lines(block, axis)
        .into_iter()
        .rev()
        .max_by_key(|line| line.cells.len())?;
    let cells: Vec<&CellFile> = line
        .cells
        .iter()
        .copied()
        .filter(|cell| {
            let own = [*cell];
            Rank::Middle
                .key(&own, "ttft")
                .or_else(|| Rank::Tail.key(&own, "ttft"))
                .is_some()
        })
        .collect();
    let (first, last) = (*cells.first()?, *cells.last()?);
    let (c1, c2) = (offered(first)?, offered(last)?);
    if cells.len() < 2 || c1 <= 0.0 || c2 <= c1 {
        return None;
    }
    let ttft = Ends::of(&cells, "ttft")?;
    let pace = ["tpot", "itl"].map(|metric| Ends::of(&cells, metric));
    let pace = pace.into_iter().flatten().next();
    let spelled = |cell: &CellFile| coordinate(cell, axis).map(scalar_text).unwrap_or_default();
    let at = match line.fixed.as_str() {
        "" => String::new(),
        fixed => format!(" at {fixed}"),
    };
    let mut text = format!(
        "TTFT from {axis} {} to {}{at}: {}, for {} the load",
        spelled(first),
        spelled(last),
        ttft.said().split_once(' ').map_or_else(
            || ttft.said(),
            // The name stands before it; the rank says which number of it this is.
            |(rank, rest)| format!("{rank} {}", rest.trim_start_matches("TTFT "))
        ),
        times(c2 / c1)
    );
    let mut numbers = vec![
        ("from_ms", ttft.from),
        ("to_ms", ttft.to),
        ("growth", ttft.ratio()),
    ];
    match &pace {
        Some(pace) => {
            numbers.push(("pace_growth", pace.ratio()));
            text.push_str(&format!("; {}", pace.said()));
            let (waits, slows) = (ttft.ratio(), pace.ratio());
            text.push_str(if waits >= FIRST * slows && slows < KEPT {
                ". The first token is what waits; decoding keeps its pace."
            } else if waits >= FIRST * slows {
                ". The first token waits first; decoding slows down behind it."
            } else if slows >= KEPT {
                ". Decoding itself slows down: the steps grow longer with what is in flight."
            } else if waits < KEEPS && slows < KEEPS {
                ". Neither gives way."
            } else {
                "."
            });
        }
        None => text.push('.'),
    }
    Some(Insight::new("ttft_growth", &[first, last], &numbers, text))
}
