//! Open loops: whether what was asked for each second came out again.

use super::{Block, Insight, count, ladder, lines, load_words, of, place, rate};
use crate::{
    report::number::{grouped, listed, percent},
    store::CellFile,
};

/// A cell that gives back less than this part of what was due does not keep up.
const KEEPS_UP: f64 = 0.9;
/// So many cells are named.
const NAMED: usize = 4;

/// Requests per second that were completed, over those that were due while they were; `None` without both.
///
/// The window ends with the last answer, and nothing is due in the time that one takes: that part of it does not count.
fn delivered(cell: &CellFile) -> Option<(f64, f64)> {
    let due = rate(cell).filter(|rate| *rate > 0.0)?;
    let own = of(cell, "req_s")?;
    let window = cell.summary.as_ref().and_then(|summary| summary.window);
    let drain = window
        .zip(of(cell, "p50_e2e"))
        .map_or(0.0, |(window, e2e)| e2e / 1e3 / window.length_s);
    (drain < 1.0).then(|| (own, own / (1.0 - drain) / due))
}

/// What is still within chance of the rate: arrivals of a random process differ from it by their square root.
fn least(cell: &CellFile) -> f64 {
    let scheduled = cell
        .summary
        .as_ref()
        .map(|summary| summary.counts.scheduled);
    match scheduled {
        Some(n) if n > 0 => KEEPS_UP.min(1.0 - 2.0 / (n as f64).sqrt()),
        _ => KEEPS_UP,
    }
}

/// Where the server keeps up with the rate, and where it does not.
pub(in crate::report) fn saturation(block: &Block<'_>) -> Option<Insight> {
    let mut known: Vec<(&CellFile, f64, f64)> = block
        .cells
        .iter()
        .copied()
        .filter(|cell| cell.has_numbers())
        .filter_map(|cell| {
            let (own, part) = delivered(cell)?;
            Some((cell, own, part))
        })
        .collect();
    let all = known.len();
    known.retain(|(cell, _, part)| *part < least(cell));
    if known.is_empty() {
        return None;
    }
    let behind = known.len();
    let said: Vec<String> = known
        .iter()
        .take(NAMED)
        .map(|(cell, own, part)| {
            format!(
                "{} of {} ({}) at {}",
                grouped(*own, 2),
                load_words(block, cell).unwrap_or_default(),
                percent(Some(*part)),
                place(block, cell)
            )
        })
        .collect();
    let more = match behind.saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {} more", count(more, "cell")),
    };
    let kept = (ladder(block) == "rate")
        .then(|| {
            let line = lines(block, "rate").into_iter().next()?;
            let fits =
                |cell: &&CellFile| delivered(cell).is_some_and(|(_, part)| part >= least(cell));
            let last = line.cells.iter().copied().take_while(fits).last()?;
            let at = match line.fixed.as_str() {
                "" => String::new(),
                fixed => format!(" at {fixed}"),
            };
            Some(format!(
                " It keeps up with {}{at}.",
                load_words(block, last)?
            ))
        })
        .flatten()
        .unwrap_or_default();
    let cells: Vec<&CellFile> = known.iter().map(|(cell, _, _)| *cell).collect();
    let worst = known
        .iter()
        .map(|(_, _, part)| *part)
        .min_by(f64::total_cmp)?;
    Some(Insight::new(
        "saturation",
        &cells,
        &[("least_part", worst), ("cells", behind as f64)],
        format!(
            "The server does not keep up in {behind} of {all} cells: {}{more}. There the queue grows for as long as the cell runs, so \
             these latencies say how long that was.{kept}",
            listed(&said)
        ),
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::{
        report::{
            fixtures,
            headline::statement,
            insight::{blocks, load_short},
        },
        store::StoredRun,
    };

    /// Cells of an open loop: the rate that was due, and the requests per second that came out.
    fn open(rates: [(f64, f64); 3], spec: serde_json::Value) -> StoredRun {
        let mut run = fixtures::streamed();
        run.plan.load_axes = vec!["rate".into()];
        run.cells.truncate(3);
        let mut workload = json!({ "prompts": ["Hello"], "requests": 200 });
        for (key, value) in spec.as_object().unwrap() {
            workload[key] = value.clone();
        }
        if spec.get("conversations").is_some() {
            workload.as_object_mut().unwrap().remove("prompts");
        }
        let spec = Arc::new(serde_json::from_value(workload).unwrap());
        let planned = &mut run.plan.groups[0].cells;
        for ((cell, planned), (due, own)) in run.cells.iter_mut().zip(planned).zip(rates) {
            planned.spec = Arc::clone(&spec);
            for map in [&mut cell.axes, &mut cell.load] {
                map.remove("concurrency");
                map.remove("max_tokens");
                map.insert("rate".into(), json!(due));
            }
            cell.summary.as_mut().unwrap().req_s = Some(own);
        }
        run
    }

    #[test]
    fn a_rate_that_does_not_come_out_again_is_told_with_the_last_that_does() {
        let run = open([(1.0, 0.97), (2.0, 1.95), (4.0, 2.4)], json!({}));
        let told = saturation(&blocks(&run)[0]).unwrap();
        assert_eq!(
            told.text,
            "The server does not keep up in 1 of 3 cells: 2.40 of 4 requests per second (60 %) at rate 4.0. There the queue grows for as \
             long as the cell runs, so these latencies say how long that was. It keeps up with 2 requests per second."
        );
        // Of 200 random arrivals a tenth may be missing by chance.
        let run = open([(1.0, 0.97), (2.0, 1.75), (4.0, 3.5)], json!({}));
        assert_eq!(saturation(&blocks(&run)[0]), None);
    }

    #[test]
    fn conversations_and_ramps_are_called_so() {
        let kept = [(1.0, 1.0), (2.0, 2.0), (4.0, 4.0)];
        let first = |run: &StoredRun| {
            let blocks = blocks(run);
            (
                load_short(&blocks[0], &run.cells[1]).unwrap(),
                statement(run, &blocks[0]),
            )
        };
        let (short, said) = first(&open(
            kept,
            json!({ "conversations": { "file": "c.json", "turns": "all" }, "arrivals": "poisson" }),
        ));
        assert_eq!(short, "2 conversations/s");
        assert!(said.contains("4 conversations per second"), "{said}");
        let (short, said) = first(&open(kept, json!({ "arrivals": "ramp", "ramp_to": 9.5 })));
        assert_eq!(short, "2 to 9.50 req/s");
        assert!(said.contains("4 to 9.50 requests per second"), "{said}");
    }
}
