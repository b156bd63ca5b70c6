//! A recipe for each workload: what to set, why, what to expect of it, and what to keep away from.

use serde::Serialize;

use super::{
    Block, Rank, Yield,
    best::{Best, Pick},
    concurrency, coordinate, count, ladder, lines, load_words, of, place,
    servers::in_order,
    slo_text,
    surface::surface,
    unstable::unstable,
};
use crate::{
    manifest::{Flag, Objective, scalar_text},
    report::{
        headline::{latency_name, statement},
        number::{ms, percent, tok_s},
    },
    store::{CellFile, StoredRun},
};

/// So many things to keep away from are named.
const NAMED: usize = 6;

/// The recipe of one workload on this machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Recipe {
    pub(in crate::report) workload: String,
    /// `latency` or `throughput`.
    pub(in crate::report) objective: &'static str,
    /// Its latency targets in words; empty without.
    pub(in crate::report) slo: String,
    /// The result in one sentence.
    pub(in crate::report) statement: String,
    /// The model; absent where it is not known.
    pub(in crate::report) model: Option<String>,
    /// The server's axes; empty where there is one server.
    pub(in crate::report) server: String,
    /// The cell it rests on.
    pub(in crate::report) pick: Pick,
    /// Requests per second of that cell.
    pub(in crate::report) req_s: Option<f64>,
    /// US dollars for a million output tokens, where the price is known.
    pub(in crate::report) usd_per_million: Option<f64>,
    /// GPU energy for an output token, joules, where it was measured.
    pub(in crate::report) j_per_token: Option<f64>,
    /// What to set.
    pub(in crate::report) knobs: Vec<Knob>,
    /// When to add another machine, one sentence.
    pub(in crate::report) scale_out: String,
    /// What to keep away from, sentences.
    pub(in crate::report) avoid: Vec<String>,
    /// What the choice rests on, one sentence.
    pub(in crate::report) basis: String,
}

/// One thing to set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::report) struct Knob {
    pub(in crate::report) name: String,
    pub(in crate::report) value: String,
    pub(in crate::report) why: String,
}

/// A recipe for every workload that has numbers, of its best server.
pub(in crate::report) fn recipes(run: &StoredRun, blocks: &[Block<'_>]) -> Vec<Recipe> {
    let mut workloads: Vec<&str> = blocks.iter().map(|block| block.workload).collect();
    workloads.dedup();
    workloads
        .into_iter()
        .filter_map(|workload| {
            let own = in_order(blocks, workload);
            let servers = own.len();
            let (block, best) = own.into_iter().next()?;
            recipe(run, block, best, servers)
        })
        .collect()
}

fn recipe(run: &StoredRun, block: &Block<'_>, best: Best, servers: usize) -> Option<Recipe> {
    let pick = best.picks.first()?.clone();
    let cell = block
        .cells
        .iter()
        .copied()
        .find(|cell| cell.id == pick.cell)?;
    let group = run
        .plan
        .groups
        .iter()
        .find(|group| group.id == block.server);
    let model = group.map(|group| group.server.model.clone());
    let price = run.plan.hardware.usd_per_hour.filter(|price| *price > 0.0);
    let rate = pick.throughput_tok_s.filter(|rate| *rate > 0.0);
    let mut knobs = load_knobs(block, &best, cell);
    knobs.extend(server_knobs(run, block, servers));
    Some(Recipe {
        workload: block.workload.to_owned(),
        objective: match block.objective {
            Objective::Latency => "latency",
            Objective::Throughput => "throughput",
        },
        slo: slo_text(block.slo),
        statement: statement(run, block),
        model: model.filter(|model| !model.is_empty()),
        server: block.server_label.clone(),
        req_s: of(cell, "req_s"),
        usd_per_million: price
            .zip(rate)
            .map(|(price, rate)| price / (rate * 3600.0) * 1e6),
        j_per_token: cell.gpu_j_per_output_token(),
        knobs,
        scale_out: scale_out(block, &best, &pick, cell),
        avoid: avoid(run, block, cell),
        basis: best.basis,
        pick,
    })
}

/// Concurrency or rate, and the length of answers.
fn load_knobs(block: &Block<'_>, best: &Best, cell: &CellFile) -> Vec<Knob> {
    let axis = ladder(block);
    let mut knobs = Vec::new();
    if let Some(value) = coordinate(cell, axis) {
        knobs.push(Knob {
            name: match axis {
                "rate" => format!("{} per second, at most", block.arriving),
                _ => "requests in flight, at most".into(),
            },
            value: scalar_text(value),
            why: why_load(block, best, cell, axis),
        });
    }
    if let Some(value) = coordinate(cell, "max_tokens") {
        let line = lines(block, "max_tokens")
            .into_iter()
            .find(|line| line.cells.iter().any(|other| other.id == cell.id));
        let others: Vec<String> = line
            .iter()
            .flat_map(|line| &line.cells)
            .filter(|other| other.id != cell.id)
            .filter_map(|other| {
                let value = scalar_text(coordinate(other, "max_tokens")?);
                Some(format!(
                    "{value}: {}, p95 E2E {}",
                    tok_s(of(other, "throughput")),
                    ms(of(other, "p95_e2e"))
                ))
            })
            .collect();
        knobs.push(Knob {
            name: "max_tokens".into(),
            value: scalar_text(value),
            why: match others.is_empty() {
                true => format!("the only length that was {} here", block.done()),
                false => format!("beside it at the same load {}", others.join("; ")),
            },
        });
    }
    knobs
}

/// Why this much load: what the next step would do, and what the one before gives.
fn why_load(block: &Block<'_>, best: &Best, cell: &CellFile, axis: &str) -> String {
    let line = lines(block, axis)
        .into_iter()
        .find(|line| line.cells.iter().any(|other| other.id == cell.id));
    let cells = line.map(|line| line.cells).unwrap_or_default();
    let at = cells.iter().position(|other| other.id == cell.id);
    let step = |other: &CellFile| {
        let value = coordinate(other, axis).map(scalar_text).unwrap_or_default();
        let keys = ["ttft", "e2e"].map(|metric| {
            let own = [other];
            Rank::Tail
                .key(&own, metric)
                .or_else(|| Rank::Middle.key(&own, metric))
        });
        let latencies: Vec<String> = keys
            .into_iter()
            .flatten()
            .map(|key| format!("{} {}", latency_name(&key), ms(of(other, &key))))
            .collect();
        let rate =
            Yield::of_cells(&cells).and_then(|brings| Some(brings.said(Some(brings.of(other)?))));
        let parts: Vec<String> = rate
            .into_iter()
            .chain((!latencies.is_empty()).then(|| latencies.join(" and ")))
            .collect();
        match parts.is_empty() {
            true => format!("{value} has no numbers"),
            false => format!("{value} gives {}", parts.join(" at ")),
        }
    };
    let role = match (block.slo.0.is_empty(), best.meets_slo) {
        (false, Some(true)) => format!(
            "the most that was {} within {}",
            block.done(),
            slo_text(block.slo)
        ),
        (false, _) => format!(
            "no load meets {}; this misses it least",
            slo_text(block.slo)
        ),
        (true, _) => best
            .picks
            .first()
            .map_or_else(String::new, |pick| format!("the {}", pick.what)),
    };
    let next = at.and_then(|at| cells.get(at + 1)).map(|next| step(next));
    let before = at
        .and_then(|at| cells.get(at.checked_sub(1)?))
        .map(|before| step(before));
    let next = next.unwrap_or_else(|| "more was not tried".into());
    match before {
        Some(before) => format!("{role}; {next}; {before}"),
        None => format!("{role}; {next}"),
    }
}

/// What is known of a flag by what it does; the words of an axis are its measurements.
const WHY: [(&str, &str); 14] = [
    (
        "gpu-memory-utilization",
        "the part of the memory that the engine takes; what is left is the margin against running out",
    ),
    (
        "max-model-len",
        "the longest request, prompt and answer together; more takes room from the KV cache for each of them",
    ),
    (
        "max-num-seqs",
        "the most requests that run at once; the others wait their turn",
    ),
    (
        "max-num-batched-tokens",
        "tokens of one step: smaller keeps decoding smooth, larger gets through prompts sooner",
    ),
    (
        "enable-prefix-caching",
        "prompts that begin alike are not computed again",
    ),
    (
        "enable-chunked-prefill",
        "a long prompt does not hold up the answers of others",
    ),
    ("dtype", "the numbers the model is computed in"),
    (
        "quantization",
        "smaller weights: more room for the KV cache, other answers",
    ),
    (
        "kv-cache-dtype",
        "smaller entries: more tokens fit in the KV cache",
    ),
    ("tensor-parallel-size", "the GPUs that share each layer"),
    (
        "pipeline-parallel-size",
        "the GPUs that the layers are spread over",
    ),
    (
        "enforce-eager",
        "no CUDA graphs: a sooner start and slower steps",
    ),
    ("block-size", "tokens of one block of the KV cache"),
    (
        "num-gpu-blocks-override",
        "the size of the KV cache in blocks, instead of what the memory gives",
    ),
];

fn server_knobs(run: &StoredRun, block: &Block<'_>, servers: usize) -> Vec<Knob> {
    let Some(group) = run
        .plan
        .groups
        .iter()
        .find(|group| group.id == block.server)
    else {
        return Vec::new();
    };
    let flags = group
        .server
        .flags
        .0
        .iter()
        .filter(|(name, _)| group.server.flags.get(name).is_some());
    flags
        .map(|(name, flag)| {
            let known = WHY
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, why)| (*why).to_owned());
            let tried: Vec<String> = run
                .plan
                .groups
                .iter()
                .filter_map(|group| group.axes.get(name).map(scalar_text))
                .fold(Vec::new(), |mut values, value| {
                    if !values.contains(&value) {
                        values.push(value);
                    }
                    values
                });
            let measured = (tried.len() > 1).then(|| {
                format!(
                    "the best of {} that were tried, by {} with numbers",
                    tried.join(", "),
                    count(servers, "server")
                )
            });
            let why: Vec<String> = measured.into_iter().chain(known).collect();
            Knob {
                name: name.clone(),
                value: value(flag),
                why: match why.is_empty() {
                    true => format!("as it was {}", block.done()),
                    false => why.join("; "),
                },
            }
        })
        .collect()
}

fn value(flag: &Flag) -> String {
    match flag {
        Flag::On => "on".into(),
        Flag::Off => "off".into(),
        other => scalar_text(&other.to_value()),
    }
}

fn scale_out(block: &Block<'_>, best: &Best, pick: &Pick, cell: &CellFile) -> String {
    let load = load_words(block, cell);
    let rate = pick.throughput_tok_s.map(|rate| tok_s(Some(rate)));
    let each: Vec<String> = load.into_iter().chain(rate).collect();
    let each = each.join(", ");
    if block.slo.0.is_empty() {
        return format!(
            "Plan with {each} for each of these machines; without a latency target nothing says when one is full."
        );
    }
    match best.meets_slo {
        Some(true) => format!(
            "Plan with {each} for each of these machines, and add one when {} no longer holds at that load.",
            slo_text(block.slo)
        ),
        _ => format!(
            "One of these machines does not meet {} at any load that was {}: take a faster one.",
            slo_text(block.slo),
            block.done()
        ),
    }
}

fn avoid(run: &StoredRun, block: &Block<'_>, chosen: &CellFile) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    // Two humps are a shape, no place to keep away from.
    for zone in unstable(block)
        .into_iter()
        .filter(|zone| zone.kind != "two_humped_itl")
    {
        // One sentence for each place: the first says most.
        let told = out.len();
        let new = !zone.cells.iter().all(|id| {
            out.iter().take(told).any(|text| {
                block
                    .cells
                    .iter()
                    .any(|cell| cell.id == *id && text.contains(&place(block, cell)))
            })
        });
        if new {
            out.push(zone.text);
        }
    }
    // On the chosen line, the first load beyond the targets.
    let beyond = lines(block, ladder(block))
        .into_iter()
        .find(|line| line.cells.iter().any(|cell| cell.id == chosen.id))
        .and_then(|line| {
            line.cells.into_iter().find(|cell| {
                block
                    .slo
                    .0
                    .iter()
                    .any(|term| of(cell, &term.key()).is_some_and(|ms| ms > term.limit.as_ms()))
            })
        });
    if let Some(cell) = beyond.filter(|cell| cell.id != chosen.id) {
        let missed: Vec<String> = block
            .slo
            .0
            .iter()
            .filter_map(|term| {
                let own = of(cell, &term.key())?;
                (own > term.limit.as_ms()).then(|| {
                    format!(
                        "{} of {} is {} of its limit",
                        latency_name(&term.key()),
                        ms(Some(own)),
                        percent(Some(own / term.limit.as_ms()))
                    )
                })
            })
            .collect();
        out.push(format!(
            "Beyond the targets at {}: {}.",
            place(block, cell),
            missed.join(", ")
        ));
    }
    if let Some(low) = block
        .cells
        .iter()
        .copied()
        .find(|cell| concurrency(cell) == Some(1.0))
    {
        let (one, best) = (of(low, "throughput"), of(chosen, "throughput"));
        if let Some(share) = one
            .zip(best)
            .map(|(one, best)| one / best)
            .filter(|share| *share < 0.5)
        {
            out.push(format!(
                "One request at a time: {} of the tokens per second for the same price.",
                percent(Some(share))
            ));
        }
    }
    out.truncate(NAMED);
    out.extend(surface(run).map(|surface| surface.text));
    out
}
