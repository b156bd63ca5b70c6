//! The first lines of a note: what it is about, and the result in one sentence per workload and server.

use super::{
    insight::{Block, best::best, count, of, slo_text},
    number::{grouped, ms, tok_s},
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

/// What the machine is called: its label, else its GPUs, else its platform.
pub(super) fn gpu(run: &StoredRun) -> String {
    if let Some(label) = &run.plan.hardware.label {
        return label.clone();
    }
    match run.run.gpus.as_slice() {
        [] => match &run.run.host {
            Some(host) => format!("{} without a GPU", host.platform),
            None => "unnamed machine".into(),
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
    let latencies = |between: &str| -> Option<String> {
        let known: Vec<String> = ["p95_ttft", "p95_e2e"]
            .into_iter()
            .filter(|key| of(cell, key).is_some())
            .map(|key| format!("{} {}", latency_name(key), ms(of(cell, key))))
            .collect();
        (!known.is_empty()).then(|| known.join(between))
    };
    let rate = match pick.throughput_tok_s {
        Some(_) => tok_s(pick.throughput_tok_s),
        None => "an unknown rate".into(),
    };
    let users = match (pick.concurrency, pick.rate) {
        (Some(number), _) => count_users(number),
        (None, Some(rate)) => format!("{rate} requests per second"),
        (None, None) => "its users".into(),
    };
    let slo = slo_text(block.slo);
    let within = match (best.meets_slo, pick.trusted) {
        (Some(true), true) => format!(" within the SLO {slo}"),
        (Some(true), false) if best.contradicted => {
            format!(
                ", by p50 within the SLO {slo}, yet not by the percentiles it asks for (see what this rests on)"
            )
        }
        (Some(true), false) => {
            format!(" within the SLO {slo}, judged by p50 (see what this rests on)")
        }
        (Some(false), _) => String::new(),
        (None, true) => " (no SLO was set)".into(),
        (None, false) => " (no SLO was set; see what this rests on)".into(),
    };
    if best.meets_slo == Some(false) {
        return format!(
            "{this}{on} meets the SLO {slo} for {name} in no cell; nearest is {}: {}{rate}.",
            pick.place,
            latencies(", ")
                .map(|text| format!("{text}, "))
                .unwrap_or_default()
        );
    }
    match block.objective {
        Objective::Latency => format!(
            "{this}{on} serves {users} of {name}{} with {rate}{within} ({}).",
            latencies(" and ")
                .map(|text| format!(" at {text}"))
                .unwrap_or_default(),
            pick.place
        ),
        Objective::Throughput => format!(
            "{this}{on} gives {rate} of {name}{within} ({}).",
            pick.place
        ),
    }
}

fn count_users(number: f64) -> String {
    let noun = if number == 1.0 { "user" } else { "users" };
    format!("{} {noun}", grouped(number, 0))
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
        .map(|(name, number)| format!("{} {}", count(*number, "cell"), name.replace('_', " ")))
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
