//! What nobody should conclude from a run, beyond the verdicts on its cells.

use std::collections::BTreeSet;

use super::{
    Block, Insight, best::Best, concurrency, ladder, lines, offered, place, scaling::share,
};
use crate::{
    report::number::{grouped, percent},
    store::{CellFile, StoredRun},
};

/// Sentences on the run as a whole.
pub(in crate::report) fn of_run(run: &StoredRun) -> Vec<String> {
    let measured: Vec<&CellFile> = run.cells.iter().filter(|cell| cell.has_numbers()).collect();
    let mut out = Vec::new();
    if measured.is_empty() {
        return out;
    }
    if run.run.simulated || measured.iter().any(|cell| cell.simulated) {
        out.push("Simulated numbers say nothing about any hardware.".into());
    }
    if let Some(basis) = &run.run.predicted {
        out.push(format!(
            "Predicted numbers are those of a model: they have no jitter and no noise, so their tails are shorter than real ones, and \
             what they rest on may be wrong ({}).",
            basis.validation
        ));
    }
    let once = measured
        .iter()
        .filter(|cell| cell.repeats.len() < 2 && !cell.predicted)
        .count();
    if once > 0 {
        out.push(format!(
            "{} measured once: how far another run would differ is not known, so small differences between cells are no result.",
            match once == measured.len() {
                true => "Every cell was".to_owned(),
                false => format!("{} of {} cells were", once, measured.len()),
            }
        ));
    }
    let prompts = measured
        .iter()
        .filter_map(|cell| {
            cell.summary
                .as_ref()?
                .input_tokens
                .map(|tokens| (cell, tokens))
        })
        .filter(|(cell, _)| {
            cell.summary
                .as_ref()
                .is_some_and(|s| s.counts.completed > 0)
        })
        .map(|(cell, tokens)| {
            let each = cell
                .summary
                .as_ref()
                .map_or(1, |s| s.counts.completed.max(1));
            tokens / each
        })
        .collect::<BTreeSet<u64>>();
    if let (Some(least), Some(most)) = (prompts.first(), prompts.last()) {
        out.push(format!(
            "Prompts had {} tokens on average: longer ones take longer to prefill and leave room for fewer requests.",
            if least == most {
                grouped(*least as f64, 0)
            } else {
                format!("{} to {}", grouped(*least as f64, 0), grouped(*most as f64, 0))
            }
        ));
    }
    out
}

/// Whether the best cell is the last one in its direction: then the limit was not found.
pub(in crate::report) fn edge(block: &Block<'_>, best: &Best) -> Option<Insight> {
    let pick = best.picks.first()?;
    let cell = block
        .cells
        .iter()
        .copied()
        .find(|cell| cell.id == pick.cell)?;
    let load = offered(cell)?;
    let loads: BTreeSet<u64> = block
        .cells
        .iter()
        .filter_map(|cell| offered(cell))
        .map(f64::to_bits)
        .collect();
    let most = block
        .cells
        .iter()
        .filter_map(|cell| offered(cell))
        .fold(0.0, f64::max);
    if loads.len() < 2 || load < most || best.meets_slo == Some(false) {
        return None;
    }
    let what = match concurrency(cell) {
        Some(_) => "requests in flight".to_owned(),
        None => format!("{} per second", block.arriving),
    };
    // What the last step brought: little says that the limit is near all the same.
    let line = lines(block, ladder(block))
        .into_iter()
        .find(|line| line.cells.iter().any(|other| other.id == cell.id));
    let step = line.and_then(|line| {
        let at = line.cells.iter().position(|other| other.id == cell.id)?;
        share(line.cells.get(at.checked_sub(1)?)?, cell)
    });
    let last = step.map_or_else(String::new, |step| {
        let brought = percent(Some(step));
        match step > 0.3 {
            true => format!(", and the last step still brought {brought} of its share"),
            false => format!(", though the last step brought only {brought} of its share"),
        }
    });
    Some(Insight::new(
        "edge",
        &[cell],
        &[("load", load)],
        format!(
            "The best cell ({}) has the most {what} that were tried{last}: where more stops paying was not {}; go on with {} {} and beyond.",
            place(block, cell),
            block.done(),
            ladder(block),
            grouped(load * 2.0, if load.fract() == 0.0 { 0 } else { 1 })
        ),
    ))
}
