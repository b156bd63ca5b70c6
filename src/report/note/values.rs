//! The values a template sees. `templates/README.md` documents each of them; an unknown one is `none`, never
//! missing.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{listing, recipe, table};
use crate::{
    manifest::{Flag, scalar_text},
    measure::{CellOutcome, Metric},
    observe::{Durations, EngineSide, ServerSide},
    report::{
        Chart, file_name,
        finding::{Kind, Statement, headlines},
        model::{Effect, Fate, Model, Origin, Server, front, slo_text},
        searches::Said,
    },
    store::{Basis, CellFile, Imported, ServerFile, StoredRun},
};

/// Version of the values: a template that was written for another one may have to change.
const FORMAT: u32 = 2;
/// The most servers of a workload that are described in full, the best first.
const SERVERS: usize = 8;
/// The most servers that are listed.
const LISTED: usize = 24;
/// Rows of the first page's tables for one, two, and more workloads.
const PAGE_ROWS: [usize; 3] = [6, 4, 3];
/// Findings on the first page for one, two, and more workloads.
const PAGE_FINDINGS: [usize; 3] = [5, 3, 2];
/// Rows and columns of a pivot on the first page.
const PIVOT: (usize, usize) = (4, 4);

/// The blocks that notes describe in full: the best of each workload.
pub(crate) fn shown(model: &Model<'_>) -> Vec<usize> {
    let best = model.workloads.iter().flat_map(|workload| workload.blocks.iter().copied().take(SERVERS));
    best.collect()
}

/// Returns everything a template can see. `all_cells` includes every cell, which few templates need and which
/// takes long for ten thousand.
pub(crate) fn values(
    model: &Model<'_>,
    statements: &[Statement],
    said: &Said,
    charts: &[Chart],
    all_cells: bool,
) -> Value {
    let run = model.run;
    let measured = model.cells.iter().filter(|cell| cell.file.outcome.is_measured()).count();
    let workloads = 0..model.workloads.len();
    json!({
        "format": FORMAT,
        "title": model.title(),
        "machine": model.machine(),
        "searches": said.searches,
        "workloads": self::workloads(model, statements),
        // Set in the notes of one workload.
        "workload": Value::Null,
        "simulated": is_simulated(model),
        "mixed": mixed(model),
        "imported": run.run.imported.as_ref().map(imported),
        "predicted": run.run.predicted.as_ref().map(predicted),
        "prediction": listing::predictions(model).map(|mut listed| {
            listed["basis"] = run.predictions.as_ref().map_or(Value::Null, |all| predicted(&all.basis));
            listed
        }),
        "experiment": {
            "name": run.plan.experiment.name,
            "title": run.plan.experiment.title,
            "seed": run.run.seed,
            "repeats": run.plan.experiment.repeats.to_string(),
        },
        "usd_per_hour": model.usd_per_hour(),
        "run": provenance(run),
        "servers": servers(model),
        "server_axes": run.plan.server_axes,
        "load_axes": run.plan.load_axes,
        "counts": {
            "planned": planned(model),
            "stored": run.cells.len(),
            "measured": measured,
            "started": run.cells.iter().filter(|cell| cell.outcome == CellOutcome::Started).count(),
            "outcomes": outcomes(run),
        },
        "cells": if all_cells { run.cells.iter().map(|own| cell(run, own)).collect() } else { Vec::new() },
        "blocks": shown(model).into_iter().map(|at| block(model, statements, at)).collect::<Vec<_>>(),
        "findings": statements.iter().map(|own| statement(model, own)).collect::<Vec<_>>(),
        "charts": charts.iter().map(|chart| json!({
            "file": chart.file,
            "kind": chart.kind,
            "workload": chart.workload,
            "title": chart.title,
            "alt": chart.alt,
        })).collect::<Vec<_>>(),
        "recipes": workloads.filter_map(|at| recipe::recipe(model, statements, at)).collect::<Vec<_>>(),
        "failures": listing::failed(model),
        "surface": listing::surface(model),
        "memory": memory(model),
        "verdicts": listing::verdicts(model),
        "metrics": Metric::COLUMNS.iter().map(|metric| json!({
            "column": metric.column(),
            "label": metric.label(),
            "unit": metric.unit().symbol(),
            "definition": metric.definition(),
        })).collect::<Vec<_>>(),
        "effective": run.effective,
    })
}

/// The number of planned cells, without those that a search needs no more.
fn planned(model: &Model<'_>) -> usize {
    let cells = model.run.plan.groups.iter().flat_map(|group| &group.cells);
    let stored: HashSet<&str> = model.cells.iter().map(|cell| cell.id()).collect();
    cells.filter(|cell| stored.contains(cell.id.as_str())).count() + model.missing().count()
}

/// A finding with its evidence and its sentence.
fn statement(model: &Model<'_>, Statement { finding, text }: &Statement) -> Value {
    json!({
        "kind": finding.kind.name(),
        "question": finding.kind.question(),
        "workload": finding.workload.map(|at| model.workloads[at].name),
        "server": finding.block.and_then(|at| model.blocks[at].server).map(|at| &model.servers[at].group.id),
        "cells": finding.cells.iter().map(|at| model.cells[*at].id()).collect::<Vec<_>>(),
        "strength": finding.strength,
        "numbers": finding.facts.numbers(),
        "evidence": finding.facts.json(),
        "text": text,
    })
}

/// Every workload: its answer, its part of the first page, and the file of its note.
fn workloads(model: &Model<'_>, statements: &[Statement]) -> Vec<Value> {
    let count = model.workloads.len();
    let mut taken = Vec::new();
    let each = model.workloads.iter().enumerate();
    each.map(|(at, workload)| {
        let sentence = |kinds: &[Kind], block: Option<usize>| {
            let mut own = statements.iter().filter(|own| own.finding.workload == Some(at));
            let own = own.find(|own| {
                kinds.contains(&own.finding.kind) && (block.is_none() || own.finding.block == block)
            });
            own.map(|own| &own.text)
        };
        let file = file_name::own(file_name::plain(workload.name), &mut taken);
        let best = model.best(at);
        let mut effects: Vec<&Effect> = model.effects(at).iter().collect();
        effects.sort_by(|a, b| b.strength().total_cmp(&a.strength()));
        let pivot = effects.into_iter().find_map(|effect| table::pivot(model, effect, PIVOT.0, PIVOT.1));
        // A pivot takes the room of one row and one finding.
        let room = |of: [usize; 3]| of[count.clamp(1, 3) - 1] - usize::from(pivot.is_some() && count == 1);
        let headlines = headlines(model, statements, at, room(PAGE_FINDINGS));
        json!({
            "name": workload.name,
            "file": file,
            "note": (count > 1).then(|| format!("capacity-{file}.md")),
            "objective": workload.objective,
            "slo": slo_text(workload.slo),
            // A search answers for its probes.
            "searched": is_searched(model, at),
            "answer": sentence(&[Kind::Answer, Kind::NoAnswer], None),
            "basis": best.and_then(|block| sentence(&[Kind::Basis], Some(block))),
            "server": best.map(|block| model.server_label(model.blocks[block].server)).unwrap_or_default(),
            "table": best.and_then(|block| table::along_the_load(model, block, room(PAGE_ROWS))),
            "pivot": pivot,
            "headlines": headlines.into_iter().map(|own| statement(model, own)).collect::<Vec<_>>(),
            "servers": workload.blocks.len(),
            "cells": workload.cells.len(),
            "measured": measured(model, &workload.cells),
        })
    })
    .collect()
}

/// Whether every cell of a workload is a probe of a search.
fn is_searched(model: &Model<'_>, workload: usize) -> bool {
    let mut cells = model.cells.iter().filter(|cell| cell.workload == workload);
    !model.answers.is_empty() && cells.all(|cell| cell.file.search.is_some())
}

/// The number of cells that have numbers.
fn measured(model: &Model<'_>, cells: &[usize]) -> usize {
    model.cells_at(cells).filter(|cell| cell.file.outcome.is_measured()).count()
}

/// The number of cells with numbers of each origin, if there are several origins.
fn mixed(model: &Model<'_>) -> Option<Vec<Value>> {
    let of = |origin: Origin| {
        let cells = model.cells.iter().filter(|cell| cell.has_numbers() && cell.origin == origin).count();
        (cells > 0).then(|| json!({ "origin": origin.word(), "cells": cells }))
    };
    let all = [Origin::Measured, Origin::Simulated, Origin::Predicted, Origin::Imported];
    model.is_mixed.then(|| all.into_iter().filter_map(of).collect())
}

/// Whether all numbers are simulated.
fn is_simulated(model: &Model<'_>) -> bool {
    let mut with_numbers = model.cells.iter().filter(|cell| cell.has_numbers()).peekable();
    model.run.run.simulated
        || (with_numbers.peek().is_some() && with_numbers.all(|cell| cell.origin == Origin::Simulated))
}

fn imported(from: &Imported) -> Value {
    json!({
        "client": Some(&from.client).filter(|client| *client != "unknown"),
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
        "budget_spent": file.budget_spent,
        "git_commit": file.git_commit,
        "git_dirty": file.git_dirty,
    })
}

fn outcomes(run: &StoredRun) -> Vec<Value> {
    let mut known: Vec<(&str, usize)> = Vec::new();
    for cell in &run.cells {
        match known.iter_mut().find(|(name, _)| *name == cell.outcome.name()) {
            Some((_, number)) => *number += 1,
            None => known.push((cell.outcome.name(), 1)),
        }
    }
    known.into_iter().map(|(name, number)| json!({ "outcome": name, "cells": number })).collect()
}

/// The servers: what all have in common, and how the first ones that were reached differ.
fn servers(model: &Model<'_>) -> Value {
    // The engine of imported numbers, and how it was started, are not known.
    let own = model.run.run.imported.is_none();
    let flags_of = |server: &Server<'_>| -> Vec<String> {
        server.group.server.flags.0.iter().map(|(name, flag)| flag_text(name, flag)).collect()
    };
    let first = model.servers.first();
    let mut common = first.map(flags_of).unwrap_or_default();
    common.retain(|flag| model.servers.iter().all(|server| flags_of(server).contains(flag)));
    let name = |server: &Server<'_>| server.group.server.model.clone();
    let same = first.map(name).filter(|first| model.servers.iter().all(|server| name(server) == *first));
    let reached = model.servers.iter().enumerate().filter(|(_, server)| server.fate != Fate::NotReached);
    let listed: Vec<Value> = reached
        .clone()
        .take(LISTED)
        .map(|(at, server)| {
            json!({
                "id": server.group.id,
                "label": model.server_label(Some(at)),
                "model": Some(&server.group.server.model).filter(|model| !model.is_empty()),
                "launch": own.then_some(server.group.server.launch.on),
                "flags": flags_of(server).into_iter().filter(|flag| !common.contains(flag)).collect::<Vec<_>>(),
                "axes": server.group.axes.iter().map(|(axis, value)| json!({ "axis": axis, "value": value })).collect::<Vec<_>>(),
                "fate": server.fate,
                "outcome": server.file.map(|file| file.outcome.to_string()),
                "reason": server.file.and_then(|file| file.reason.clone()),
                "argv": server.file.map(|file| file.argv.clone()),
                "exit_code": server.file.and_then(|file| file.exit_code),
                "facts": facts(server.file),
            })
        })
        .collect();
    json!({
        "all": model.servers.len(),
        "reached": reached.count(),
        "engine": own.then(|| first.map(|server| server.group.server.engine)),
        "model": same.filter(|model| !model.is_empty()),
        "flags": common,
        "listed": listed,
    })
}

/// The memory of each server as its log reports it, if servers differ.
fn memory(model: &Model<'_>) -> Option<Value> {
    let known = model.servers.iter().enumerate().filter_map(|(at, server)| {
        let facts = &server.file?.facts;
        let tokens = facts.kv_cache_tokens?;
        Some((at, tokens, server.full_length_requests(), facts.kv_cache_gib, facts.weights_gib))
    });
    let known: Vec<_> = known.collect();
    let differs = known.iter().any(|own| own.1 != known[0].1);
    let rows = known.iter().take(SERVERS).map(|(at, tokens, requests, kv, weights)| {
        json!({
            "label": model.server_label(Some(*at)),
            "kv_cache_tokens": tokens,
            "full_length_requests": requests,
            "kv_cache_gib": kv,
            "weights_gib": weights,
        })
    });
    differs
        .then(|| json!({ "rows": rows.collect::<Vec<_>>(), "left_out": known.len().saturating_sub(SERVERS) }))
}

fn flag_text(name: &str, flag: &Flag) -> String {
    match flag {
        Flag::On => format!("--{name}"),
        Flag::Off => format!("--no-{name}"),
        Flag::Value(value) => format!("--{name} {}", scalar_text(value)),
        Flag::Many(values) => {
            format!("--{name} {}", values.iter().map(scalar_text).collect::<Vec<_>>().join(" "))
        }
        Flag::Json(map) => format!("--{name} {}", Value::Object(map.clone())),
        Flag::Unset => format!("{name} unset"),
    }
}

fn facts(server: Option<&ServerFile>) -> Value {
    let facts = server.map(|server| server.facts.clone()).unwrap_or_default();
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

/// A cell under the names of `cells.csv`.
pub(crate) fn cell(run: &StoredRun, cell: &CellFile) -> Map<String, Value> {
    let search = run.plan.searches.iter().find(|search| Some(&search.id) == cell.search.as_ref());
    let summary = cell.summary.as_ref();
    let before = [
        ("id", json!(cell.id)),
        ("workload", json!(cell.workload)),
        ("server", json!(cell.server)),
        ("outcome", json!(cell.outcome)),
        ("reason", json!(cell.reason)),
        ("simulated", json!(cell.simulated)),
        ("predicted", json!(cell.predicted)),
        ("search", json!(search.map(|search| &search.name))),
        ("ended_early", json!(cell.ended_early)),
        ("axes", json!(cell.axes)),
        ("load", json!(cell.load)),
        ("verdicts", json!(cell.verdicts)),
        ("precision", json!(cell.precision)),
        ("requests", json!(summary.map(|summary| summary.counts.scheduled))),
        ("completed", json!(summary.map(|summary| summary.counts.completed))),
    ];
    let metrics = Metric::COLUMNS.into_iter().map(|metric| (metric.column(), json!(cell.number(metric))));
    let after = [
        ("input_tokens", json!(summary.and_then(|summary| summary.input_tokens))),
        ("output_tokens", json!(summary.and_then(|summary| summary.output_tokens))),
        ("window_s", json!(summary.and_then(|summary| Some(summary.window?.length_s)))),
    ];
    let named = |(name, value): (&str, Value)| (name.to_owned(), value);
    let after = after.into_iter().chain(server_columns(cell)).map(named);
    before.into_iter().map(named).chain(metrics).chain(after).collect()
}

/// What the server and its machine reported, under the names of `cells.csv`.
fn server_columns(cell: &CellFile) -> [(&'static str, Value); 9] {
    let side = cell.server_side.as_ref();
    let engine = side.and_then(|side| side.engine.as_ref());
    let mean = |get: fn(&EngineSide) -> &Option<Durations>| {
        json!(engine.and_then(|engine| get(engine).as_ref()?.mean_ms))
    };
    [
        ("server_queue_ms", mean(|engine| &engine.queue)),
        ("server_prefill_ms", mean(|engine| &engine.prefill)),
        ("server_decode_ms", mean(|engine| &engine.decode)),
        ("server_ttft_ms", mean(|engine| &engine.ttft)),
        ("preemptions", json!(engine.and_then(|engine| engine.preemptions))),
        ("prefix_hit_rate", json!(engine.and_then(EngineSide::prefix_hit_rate))),
        ("kv_usage_peak", json!(engine.and_then(|engine| engine.kv_usage_peak))),
        ("server_cpu_s", json!(side.and_then(|side| side.process).map(|process| process.cpu_s))),
        ("gpu_energy_j", json!(side.and_then(ServerSide::gpu_energy_j))),
    ]
}

/// A block: its tables, its recommended cells, and the findings on it.
fn block(model: &Model<'_>, statements: &[Statement], at: usize) -> Value {
    let own = &model.blocks[at];
    let ranking = model.ranking(at);
    let picked = |cells: &[usize], reason| -> Vec<Value> {
        model.cells_at(cells).map(|cell| table::picked(model, cell, reason)).collect()
    };
    let picks = ranking.picks.iter();
    let picks = picks.map(|pick| table::picked(model, &model.cells[pick.cell], pick.reason));
    let of_block = statements.iter().filter(|own| own.finding.block == Some(at));
    json!({
        "workload": model.workloads[own.workload].name,
        "server": own.server.map(|server| &model.servers[server].group.id),
        "server_label": model.server_label(own.server),
        "objective": own.objective,
        "slo": slo_text(own.slo),
        "measured": measured(model, &own.cells),
        "cells": model.cells_at(&own.cells).map(|cell| cell.id()).collect::<Vec<_>>(),
        "picks": picks.collect::<Vec<_>>(),
        "most_load": picked(&ranking.most_load, "most_load"),
        "acceptable": picked(&ranking.acceptable[..ranking.acceptable.len().min(SERVERS)], "acceptable"),
        "numbers": table::numbers(model, at),
        "pareto": front(model, own).map(|front| json!({
            "latency": front.latency.column(),
            "points": picked(&front.points, "front"),
            "of": front.of,
        })),
        "findings": of_block.map(|own| statement(model, own)).collect::<Vec<_>>(),
        "engine": listing::engine(model, at),
    })
}
