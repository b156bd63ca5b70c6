//! The first lines of a note: what it is about, and the result in one sentence per workload and server.

use super::{
    insight::{
        Block, Rank, Yield,
        best::{best, stand_in},
        count, load_words, of, slo_text,
    },
    number::{ms, tok_s},
};
use crate::{
    manifest::Objective,
    store::{CellFile, StoredRun},
};

/// The experiment's title, or its name.
pub(super) fn title(run: &StoredRun) -> String {
    let experiment = &run.plan.experiment;
    experiment
        .title
        .clone()
        .unwrap_or_else(|| experiment.name.clone())
}

/// What a machine is called of which nothing is known.
pub(super) const UNNAMED: &str = "unnamed machine";

/// What the machine is called: its label, else its GPUs, else its platform.
pub(super) fn gpu(run: &StoredRun) -> String {
    if let Some(label) = &run.plan.hardware.label {
        return label.clone();
    }
    match run.run.gpus.as_slice() {
        [] => match &run.run.host {
            Some(host) => format!("{} without a GPU", host.platform),
            None => UNNAMED.into(),
        },
        [one] => one.name.clone(),
        several if several.iter().all(|gpu| gpu.name == several[0].name) => {
            format!("{}× {}", several.len(), several[0].name)
        }
        several => several
            .iter()
            .map(|gpu| gpu.name.as_str())
            .collect::<Vec<_>>()
            .join(" + "),
    }
}

/// A latency's column name without unit, as people read it: `p95 E2E`.
pub(super) fn latency_name(key: &str) -> String {
    match key.split_once('_') {
        Some((rank, metric)) => format!("{rank} {}", metric.to_uppercase()),
        None => key.to_owned(),
    }
}

/// A run of which no cell is stored.
pub(super) fn nothing(run: &StoredRun) -> String {
    let planned: usize = run.plan.groups.iter().map(|group| group.cells.len()).sum();
    format!(
        "Nothing was measured on {}: 0 of {} stored.",
        gpu(run),
        count(planned, "planned cell")
    )
}

/// The result of one block in one sentence.
pub(super) fn statement(run: &StoredRun, block: &Block<'_>) -> String {
    let gpu = gpu(run);
    let any = |test: fn(&CellFile) -> bool| block.cells.iter().any(|cell| test(cell));
    let this = if any(|cell| cell.simulated) {
        format!("Simulated, not measured: \"{gpu}\"")
    } else if any(|cell| cell.predicted) {
        format!("Predicted, not measured: {gpu}")
    } else {
        format!("This {gpu}")
    };
    let on = if block.server_label.is_empty() {
        String::new()
    } else {
        format!(" with {}", block.server_label)
    };
    let name = block.workload;
    let best = best(block);
    let cell = best.picks.first().and_then(|pick| {
        block
            .cells
            .iter()
            .find(|cell| cell.id == pick.cell)
            .map(|cell| (pick, cell))
    });
    let Some((pick, cell)) = cell else {
        return without_numbers(run, std::slice::from_ref(block), name);
    };
    // The tail where it is known, else the middle.
    let known: Vec<String> = ["ttft", "e2e"]
        .into_iter()
        .filter_map(|metric| {
            let tail = Rank::Tail.key(&[cell], metric);
            tail.or_else(|| Rank::Middle.key(&[cell], metric))
        })
        .map(|key| format!("{} {}", latency_name(&key), ms(of(cell, &key))))
        .collect();
    let brings = Yield::of_cells(&block.cells);
    let slo = slo_text(block.slo);
    // Where it stands, unless the load alone says so, and what is to be known of the choice.
    let mut remarks = Vec::new();
    if block
        .axes
        .iter()
        .any(|axis| !["concurrency", "rate"].contains(axis))
    {
        remarks.push(pick.place.clone());
    }
    if block.slo.0.is_empty() {
        remarks.push("no SLO was set".to_owned());
    }
    if !pick.trusted {
        remarks.push("see what this rests on".to_owned());
    }
    let remarks = match remarks.is_empty() {
        true => String::new(),
        false => format!(" ({})", remarks.join("; ")),
    };
    if best.meets_slo == Some(false) {
        let mut near = known;
        near.extend(pick.throughput_tok_s.map(|rate| tok_s(Some(rate))));
        return format!(
            "{this}{on} meets the SLO {slo} for {name} in no cell; nearest is {}: {}.",
            pick.place,
            near.join(", ")
        );
    }
    let within = match (best.meets_slo, pick.trusted) {
        (Some(true), true) => format!(" within the SLO {slo}"),
        (Some(true), false) if best.contradicted => {
            format!(", by p50 within the SLO {slo}, yet not by the percentiles it asks for")
        }
        (Some(true), false) => {
            format!(" within the SLO {slo}, judged by {}", stand_in(block))
        }
        _ => String::new(),
    };
    let rate = brings.and_then(|brings| Some(brings.said(Some(brings.of(cell)?))));
    if block.slo.0.is_empty() && rate.is_none() && !known.is_empty() {
        // Without a throughput and a target nothing can be called served: what was waited is all there is.
        return format!(
            "{this}{on} answers {name} at {} with the least load ({}; no throughput was told, and no SLO was set).",
            known.join(" and "),
            pick.place
        );
    }
    let load = load_words(block, cell);
    match block.objective {
        Objective::Latency if load.is_some() || rate.is_none() => format!(
            "{this}{on} serves {} of {name}{}{}{within}{remarks}.",
            load.unwrap_or_else(|| "its users".into()),
            match known.is_empty() {
                true => String::new(),
                false => format!(" at {}", known.join(" and ")),
            },
            rate.map_or_else(String::new, |rate| format!(" with {rate}")),
        ),
        Objective::Latency | Objective::Throughput => format!(
            "{this}{on} gives {} of {name}{within}{}.",
            rate.unwrap_or_else(|| "an unknown rate".into()),
            // Without a load and an axis the place is nothing but the cell's id.
            match load.is_none() && block.axes.is_empty() {
                true => String::new(),
                false => format!(" ({})", pick.place),
            }
        ),
    }
}

/// A workload of which no cell has numbers, and how its cells ended: `3 cells oom, 1 cell skipped`.
pub(super) fn without_numbers(run: &StoredRun, blocks: &[Block<'_>], workload: &str) -> String {
    let mut known: Vec<(&str, usize)> = Vec::new();
    let own = blocks.iter().filter(|block| block.workload == workload);
    for cell in own.flat_map(|block| &block.cells) {
        match known
            .iter_mut()
            .find(|(name, _)| *name == cell.outcome.name())
        {
            Some((_, number)) => *number += 1,
            None => known.push((cell.outcome.name(), 1)),
        }
    }
    let parts: Vec<String> = known
        .iter()
        .map(|(name, number)| {
            let ended = match (*name, number) {
                ("does_not_fit", 2..) => "do not fit".to_owned(),
                ("oom", _) => "ran out of memory".to_owned(),
                ("server_failed", _) => "whose server failed".to_owned(),
                _ => name.replace('_', " "),
            };
            format!("{} {ended}", count(*number, "cell"))
        })
        .collect();
    format!(
        "{workload}: nothing {} on {}; {}.",
        match run.run.predicted {
            Some(_) => "is predicted to run",
            None => "was measured",
        },
        gpu(run),
        parts.join(", ")
    )
}
