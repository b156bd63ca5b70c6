//! The values a template sees. `templates/README.md` documents every one; absent ones are `none`, never missing.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{
    curves::curves,
    grid::{KINDS, MARKS, grids, not_measured},
};
use crate::{
    manifest::{Flag, Objective, scalar_text},
    observe::{Durations, EngineSide, ServerSide},
    report::{
        Chart, file_name,
        headline::{gpu, nothing, statement, title, without_numbers},
        insight::{
            Block, Insight,
            best::best,
            blocks,
            caution::{edge, of_run},
            count,
            effect::effects,
            failure::failures,
            highlight::highlights,
            load::load,
            observe::observations,
            of,
            pareto::front,
            prediction::beside,
            recipe::recipes,
            server::{server_side, story},
            servers::{comparisons, in_order},
            slo_text,
            surface::{pairs, surface},
            unstable::{thresholds, unstable},
            verdict::verdicts,
        },
        origin::{Origin, origins},
    },
    store::{Basis, CellFile, Imported, ServerFile, StoredRun},
};

/// Version of the values: a template that was written for another one may have to change.
const FORMAT: u32 = 1;

/// Everything a template can see.
pub(in crate::report) fn values(run: &StoredRun, charts: &[Chart]) -> Value {
    let blocks = blocks(run);
    let statements = statements(run, &blocks);
    let failures = failures(run);
    let measured = run
        .cells
        .iter()
        .filter(|cell| cell.outcome.is_measured())
        .count();
    let planned: usize = run.plan.groups.iter().map(|group| group.cells.len()).sum();
    json!({
        "format": FORMAT,
        "title": title(run),
        "workloads": workloads(run, &blocks, &statements),
        // Set in the notes of one workload.
        "workload": Value::Null,
        "statements": statements,
        "simulated": simulated(run),
        "mixed": mixed(run),
        "imported": run.run.imported.as_ref().map(imported),
        "predicted": run.run.predicted.as_ref().map(predicted),
        "prediction": beside(run).map(|beside| {
            let mut value = json!(beside);
            value["basis"] = predicted(&beside.basis);
            value
        }),
        "gpu": gpu(run),
        "experiment": {
            "name": run.plan.experiment.name,
            "title": run.plan.experiment.title,
            "seed": run.run.seed,
            "repeats": run.plan.experiment.repeats,
        },
        "usd_per_hour": run.plan.hardware.usd_per_hour,
        "run": provenance(run),
        "servers": servers(run),
        "server_axes": run.plan.server_axes,
        "load_axes": run.plan.load_axes,
        "counts": {
            "planned": planned,
            "stored": run.cells.len(),
            "measured": measured,
            "outcomes": outcomes(run),
        },
        "cells": run.cells.iter().map(cell).collect::<Vec<_>>(),
        "blocks": blocks_of(run, &blocks),
        "charts": charts.iter().map(|chart| json!({
            "file": chart.file,
            "kind": chart.kind,
            "workload": chart.workload,
            "title": chart.title,
            "alt": chart.alt,
        })).collect::<Vec<_>>(),
        "comparisons": comparisons(&blocks),
        "recipes": recipes(run, &blocks),
        "marks": match mixed(run) {
            Some(_) => format!("{MARKS} {KINDS}"),
            None => MARKS.to_owned(),
        },
        "thresholds": thresholds(),
        "failures": failures,
        "surface": surface(run),
        "surfaces": pairs(run),
        "cautions": of_run(run),
        "verdicts": verdicts(run),
        "effective": run.effective,
    })
}

/// One sentence for each workload: of its best server, or how its cells ended.
pub(in crate::report) fn statements(run: &StoredRun, blocks: &[Block<'_>]) -> Vec<String> {
    if blocks.is_empty() {
        return vec![nothing(run)];
    }
    let mut workloads: Vec<&str> = blocks.iter().map(|block| block.workload).collect();
    workloads.dedup();
    workloads
        .into_iter()
        .map(|workload| match in_order(blocks, workload).first() {
            Some((block, _)) => statement(run, block),
            None => without_numbers(run, blocks, workload),
        })
        .collect()
}

/// Every workload with its statement and, where there are several, the note that is all about it.
fn workloads(run: &StoredRun, blocks: &[Block<'_>], statements: &[String]) -> Vec<Value> {
    let mut names: Vec<&str> = blocks.iter().map(|block| block.workload).collect();
    names.dedup();
    let several = names.len() > 1;
    let mut taken = Vec::new();
    names
        .iter()
        .zip(statements)
        .map(|(name, statement)| {
            let own = || blocks.iter().filter(|block| block.workload == *name);
            let cells = || own().flat_map(|block| &block.cells);
            let file = file_name::own(file_name::plain(name), &mut taken);
            let (highlights_of, highlights) = highlights(run, blocks, name);
            json!({
                "name": name,
                "highlights": highlights,
                "highlights_of": highlights_of,
                "effects": effects(run, blocks, name),
                "servers": own().count(),
                "file": file,
                "note": several.then(|| format!("capacity-{file}.md")),
                "statement": statement,
                "cells": cells().count(),
                "measured": cells().filter(|cell| cell.outcome.is_measured()).count(),
            })
        })
        .collect()
}

/// How many cells with numbers are of each kind, where they are of several.
fn mixed(run: &StoredRun) -> Option<Vec<Value>> {
    let found = origins(&run.cells);
    (found.len() > 1).then(|| {
        found
            .into_iter()
            .map(|origin| {
                let own = run.cells.iter().filter(|cell| cell.has_numbers());
                let cells = own.filter(|cell| Origin::of(cell) == origin).count();
                json!({ "origin": origin.word(), "cells": cells })
            })
            .collect()
    })
}

fn simulated(run: &StoredRun) -> bool {
    run.run.simulated || origins(&run.cells) == [Origin::Simulated]
}

fn imported(from: &Imported) -> Value {
    json!({
        "client": Some(&from.client).filter(|client| *client != "unknown"),
        "from": match from.files.as_slice() {
            [one] => one.name.clone(),
            several => count(several.len(), "file"),
        },
        "files": from.files,
        "caveats": from.caveats,
    })
}

fn predicted(basis: &Basis) -> Value {
    json!({
        "hardware": basis.hardware,
        "memory_gib": basis.memory_gib,
        "source": basis.source,
        "models": basis.models,
        "answers": basis.answers,
        "calibration": basis.calibration,
        "validation": basis.validation,
    })
}

fn provenance(run: &StoredRun) -> Value {
    let file = &run.run;
    let host = file.host.as_ref();
    json!({
        "name": file.name,
        "tool": file.tool.name,
        "tool_version": file.tool.version,
        "command": file.command.join(" "),
        "platform": host.map(|host| &host.platform),
        "cpu": host.and_then(|host| host.cpu.as_ref()),
        "cores": host.map(|host| host.cores),
        "memory_gib": host.and_then(|host| host.memory_gib),
        "gpus": file.gpus.iter().map(|gpu| json!({
            "name": gpu.name,
            "memory_mib": gpu.memory_mib,
            "driver": gpu.driver,
        })).collect::<Vec<_>>(),
        "engine": file.engine.as_ref().map(|engine| &engine.name),
        "engine_version": file.engine.as_ref().and_then(|engine| engine.version.as_ref()),
        "started_at": file.started_at.to_string(),
        "finished_at": file.finished_at.map(|at| at.to_string()),
        "resumed": file.resumed,
        "git_commit": file.git_commit,
        "git_dirty": file.git_dirty,
    })
}

fn outcomes(run: &StoredRun) -> Vec<Value> {
    let mut known: Vec<(&str, usize)> = Vec::new();
    for cell in &run.cells {
        match known
            .iter_mut()
            .find(|(name, _)| *name == cell.outcome.name())
        {
            Some((_, number)) => *number += 1,
            None => known.push((cell.outcome.name(), 1)),
        }
    }
    known
        .into_iter()
        .map(|(name, number)| json!({ "outcome": name, "cells": number }))
        .collect()
}

fn servers(run: &StoredRun) -> Vec<Value> {
    // Of imported numbers nobody says which engine gave them, nor how it was started.
    let own = run.run.imported.is_none();
    run.plan
        .groups
        .iter()
        .map(|group| {
            let stored = run.servers.iter().find(|server| server.id == group.id);
            json!({
                "id": group.id,
                "label": crate::report::insight::server_label(run, &group.id),
                "engine": own.then_some(group.server.engine),
                "model": Some(&group.server.model).filter(|model| !model.is_empty()),
                "launch": own.then_some(group.server.launch.on),
                "flags": group.server.flags.0.iter().map(|(name, flag)| flag_text(name, flag)).collect::<Vec<_>>(),
                "axes": group.axes.iter().map(|(axis, value)| json!({ "axis": axis, "value": value })).collect::<Vec<_>>(),
                "outcome": stored.map(|server| server.outcome.to_string()),
                "reason": stored.and_then(|server| server.reason.clone()),
                "argv": stored.map(|server| server.argv.clone()),
                "exit_code": stored.and_then(|server| server.exit_code),
                "facts": facts(stored),
            })
        })
        .collect()
}

fn flag_text(name: &str, flag: &Flag) -> String {
    let words = |values: &[Value]| values.iter().map(scalar_text).collect::<Vec<_>>().join(" ");
    match flag {
        Flag::On => format!("--{name}"),
        Flag::Off => format!("--no-{name}"),
        Flag::Value(value) => format!("--{name} {}", scalar_text(value)),
        Flag::Many(values) => format!("--{name} {}", words(values)),
        Flag::Json(map) => format!("--{name} {}", Value::Object(map.clone())),
        Flag::Unset => format!("{name} unset"),
    }
}

fn facts(server: Option<&ServerFile>) -> Value {
    let facts = server
        .map(|server| server.facts.clone())
        .unwrap_or_default();
    json!({
        "engine_version": facts.engine_version,
        "served_model": facts.served_model,
        "max_model_len": facts.max_model_len,
        "kv_cache_tokens": facts.kv_cache_tokens,
        "max_concurrency": facts.max_concurrency,
        "kv_cache_gib": facts.kv_cache_gib,
        "weights_gib": facts.weights_gib,
        "startup_s": facts.startup_s,
        "estimated_max_model_len": facts.estimated_max_model_len,
        "flags_confirmed": facts.flags_confirmed,
    })
}

/// A cell with the names of `cells.csv`.
pub(in crate::report) fn cell(cell: &CellFile) -> Map<String, Value> {
    let mut row = Map::new();
    let summary = cell.summary.as_ref();
    row.insert("id".into(), json!(cell.id));
    row.insert("workload".into(), json!(cell.workload));
    row.insert("server".into(), json!(cell.server));
    row.insert("outcome".into(), json!(cell.outcome));
    row.insert("reason".into(), json!(cell.reason));
    row.insert("simulated".into(), json!(cell.simulated));
    row.insert("predicted".into(), json!(cell.predicted));
    row.insert("axes".into(), json!(cell.axes));
    row.insert("load".into(), json!(cell.load));
    row.insert("verdicts".into(), json!(cell.verdicts));
    row.insert(
        "requests".into(),
        json!(summary.map(|summary| summary.counts.scheduled)),
    );
    row.insert(
        "completed".into(),
        json!(summary.map(|summary| summary.counts.completed)),
    );
    for metric in ["ttft", "itl", "tpot", "e2e"] {
        for rank in ["p50", "p95", "p99"] {
            let key = format!("{rank}_{metric}");
            row.insert(format!("{key}_ms"), json!(of(cell, &key)));
        }
    }
    row.insert("throughput_tok_s".into(), json!(of(cell, "throughput")));
    row.insert("total_tok_s".into(), json!(of(cell, "total")));
    row.insert("req_s".into(), json!(of(cell, "req_s")));
    row.insert("user_tok_s".into(), json!(of(cell, "user")));
    row.insert("goodput_req_s".into(), json!(of(cell, "goodput")));
    row.insert(
        "input_tokens".into(),
        json!(summary.and_then(|summary| summary.input_tokens)),
    );
    row.insert(
        "output_tokens".into(),
        json!(summary.and_then(|summary| summary.output_tokens)),
    );
    row.insert(
        "window_s".into(),
        json!(
            summary
                .and_then(|summary| summary.window)
                .map(|window| window.length_s)
        ),
    );
    server_columns(cell, &mut row);
    row
}

/// What the server and its machine said, under the names of `cells.csv`.
fn server_columns(cell: &CellFile, row: &mut Map<String, Value>) {
    let side = cell.server_side.as_ref();
    let engine = side.and_then(|side| side.engine.as_ref());
    let mean = |get: fn(&EngineSide) -> &Option<Durations>| {
        json!(engine.and_then(|engine| get(engine).as_ref()?.mean_ms))
    };
    let values = [
        ("server_queue_ms", mean(|engine| &engine.queue)),
        ("server_prefill_ms", mean(|engine| &engine.prefill)),
        ("server_decode_ms", mean(|engine| &engine.decode)),
        ("server_ttft_ms", mean(|engine| &engine.ttft)),
        (
            "preemptions",
            json!(engine.and_then(|engine| engine.preemptions)),
        ),
        (
            "prefix_hit_rate",
            json!(engine.and_then(EngineSide::prefix_hit_rate)),
        ),
        (
            "kv_usage_peak",
            json!(engine.and_then(|engine| engine.kv_usage_peak)),
        ),
        (
            "server_cpu_s",
            json!(
                side.and_then(|side| side.process)
                    .map(|process| process.cpu_s)
            ),
        ),
        (
            "gpu_energy_j",
            json!(side.and_then(ServerSide::gpu_energy_j)),
        ),
    ];
    row.extend(values.map(|(name, value)| (name.to_owned(), value)));
}

/// Every block, with its place among the servers of its workload.
fn blocks_of(run: &StoredRun, blocks: &[Block<'_>]) -> Vec<Value> {
    let mut places: HashMap<(&str, &str), usize> = HashMap::new();
    let mut workloads: Vec<&str> = blocks.iter().map(|block| block.workload).collect();
    workloads.dedup();
    for workload in workloads {
        for (at, (block, _)) in in_order(blocks, workload).into_iter().enumerate() {
            places.insert((block.workload, block.server), at + 1);
        }
    }
    blocks
        .iter()
        .map(|block| {
            let mut value = self::block(run, block);
            value["place"] = json!(places.get(&(block.workload, block.server)));
            value
        })
        .collect()
}

fn block(run: &StoredRun, block: &Block<'_>) -> Value {
    let mut observed: Vec<Insight> = observations(block, run.plan.hardware.usd_per_hour);
    let best = best(block);
    observed.extend(edge(block, &best));
    observed.extend(server_side(block));
    let grids = grids(block);
    json!({
        "workload": block.workload,
        "server": block.server,
        "server_label": block.server_label,
        "objective": match block.objective {
            Objective::Latency => "latency",
            Objective::Throughput => "throughput",
        },
        "slo": slo_text(block.slo),
        "load": load(block),
        "measured": block.cells.iter().filter(|cell| cell.outcome.is_measured()).count(),
        "cells": block.cells.iter().map(|cell| &cell.id).collect::<Vec<_>>(),
        "marked": grids.iter().flat_map(|grid| &grid.rows).flat_map(|row| &row.values).any(|value| value.ends_with(['†', '‡', '!', 'S', 'P', 'I'])),
        "grids": grids,
        "not_measured": not_measured(block),
        "best": best,
        "pareto": front(block),
        "curves": curves(block),
        "unstable": unstable(block),
        "observations": observed,
        "server_side": story(block),
    })
}
