//! The values a template sees. `templates/README.md` documents every one; absent ones are `none`, never missing.

use serde_json::{Map, Value, json};

use super::{listing, recipe, table};
use crate::{
    manifest::{Flag, Objective, scalar_text},
    measure::Metric,
    observe::{Durations, EngineSide, ServerSide},
    report::{
        Chart, file_name,
        finding::{Finding, Kind, headlines},
        model::{Fate, Model, Origin, front},
    },
    store::{Basis, CellFile, Imported, ServerFile, StoredRun},
};

/// Version of the values: a template that was written for another one may have to change.
const FORMAT: u32 = 2;
/// So many servers of a workload are told in full, the best first.
const SERVERS: usize = 8;
/// So many servers are listed.
const LISTED: usize = 24;
/// Rows of the first page's tables, by how many workloads share it.
const PAGE_ROWS: [usize; 3] = [6, 4, 3];
/// Findings of the first page, likewise.
const PAGE_FINDINGS: [usize; 3] = [5, 3, 2];
/// Rows and columns of a pivot on the first page.
const PIVOT: (usize, usize) = (4, 4);

/// A run read, judged and put into words.
pub(in crate::report) struct Told<'m, 'a> {
    pub(in crate::report) model: &'m Model<'a>,
    pub(in crate::report) findings: &'m [Finding],
    /// The sentence of each finding.
    pub(in crate::report) said: &'m [String],
}

/// The blocks that notes tell in full: of each workload the best.
pub(in crate::report) fn shown(model: &Model<'_>) -> Vec<usize> {
    let best = model.workloads.iter().flat_map(|workload| workload.blocks.iter().copied().take(SERVERS));
    best.collect()
}

/// Everything a template can see. `all_cells` has every cell among it, which only few templates need and which takes a while for
/// ten thousand.
pub(in crate::report) fn values(told: &Told<'_, '_>, charts: &[Chart], all_cells: bool) -> Value {
    let model = told.model;
    let run = model.run;
    let planned: usize = run.plan.groups.iter().map(|group| group.cells.len()).sum();
    let measured = model.cells.iter().filter(|cell| cell.file.outcome.is_measured()).count();
    json!({
        "format": FORMAT,
        "title": model.title(),
        "machine": model.machine(),
        "workloads": workloads(told),
        // Set in the notes of one workload.
        "workload": Value::Null,
        "simulated": is_simulated(model),
        "mixed": mixed(model),
        "imported": run.run.imported.as_ref().map(imported),
        "predicted": run.run.predicted.as_ref().map(predicted),
        "prediction": listing::predictions(model).map(|mut beside| {
            beside["basis"] = run.predictions.as_ref().map_or(Value::Null, |all| predicted(&all.basis));
            beside
        }),
        "experiment": {
            "name": run.plan.experiment.name,
            "title": run.plan.experiment.title,
            "seed": run.run.seed,
            "repeats": run.plan.experiment.repeats,
        },
        "usd_per_hour": model.usd_per_hour(),
        "run": provenance(run),
        "servers": servers(model),
        "server_axes": run.plan.server_axes,
        "load_axes": run.plan.load_axes,
        "counts": {
            "planned": planned,
            "stored": run.cells.len(),
            "measured": measured,
            "outcomes": outcomes(run),
        },
        "cells": if all_cells { run.cells.iter().map(cell).collect::<Vec<_>>() } else { Vec::new() },
        "blocks": shown(model).into_iter().map(|at| block(told, at)).collect::<Vec<_>>(),
        "findings": told.findings.iter().zip(told.said).map(|(finding, said)| self::finding(model, finding, said)).collect::<Vec<_>>(),
        "charts": charts.iter().map(|chart| json!({
            "file": chart.file,
            "kind": chart.kind,
            "workload": chart.workload,
            "title": chart.title,
            "alt": chart.alt,
        })).collect::<Vec<_>>(),
        "recipes": recipe::recipes(model, told.findings, told.said),
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

/// One finding with its evidence and its sentence.
fn finding(model: &Model<'_>, finding: &Finding, said: &str) -> Value {
    json!({
        "kind": finding.kind.name(),
        "question": finding.kind.question(),
        "workload": finding.workload.map(|at| model.workloads[at].name),
        "server": finding.block.and_then(|at| model.blocks[at].server).map(|at| &model.servers[at].group.id),
        "cells": finding.cells.iter().map(|at| model.cells[*at].id()).collect::<Vec<_>>(),
        "strength": finding.strength,
        "numbers": finding.facts.numbers(),
        "evidence": finding.facts.json(),
        "text": said,
    })
}

/// Every workload: its answer, what the first page shows of it, and where its note is.
fn workloads(told: &Told<'_, '_>) -> Vec<Value> {
    let model = told.model;
    let several = model.workloads.len() > 1;
    let share = |of: [usize; 3]| of[model.workloads.len().clamp(1, 3) - 1];
    let mut taken = Vec::new();
    let each = model.workloads.iter().enumerate();
    each.map(|(at, workload)| {
        let own = |kinds: &[Kind]| -> Vec<(&Finding, &String)> {
            let pairs = told.findings.iter().zip(told.said);
            pairs.filter(|(finding, _)| finding.workload == Some(at) && kinds.contains(&finding.kind)).collect()
        };
        let file = file_name::own(file_name::plain(workload.name), &mut taken);
        let best = model.best(at);
        let answer = own(&[Kind::Answer, Kind::NoAnswer]);
        let mut effects: Vec<&crate::report::model::Effect> = model.effects(at).iter().collect();
        effects.sort_by(|a, b| b.strength().total_cmp(&a.strength()));
        let pivot = effects.into_iter().find_map(|effect| table::pivot(model, effect, PIVOT.0, PIVOT.1));
        // The pivot takes the room of a row and of a finding.
        let room = |of: [usize; 3]| share(of) - usize::from(pivot.is_some() && model.workloads.len() == 1);
        let shown = headlines(model, told.findings, at, room(PAGE_FINDINGS));
        let headlines = shown.into_iter().filter_map(|shown| {
            let place = told.findings.iter().position(|finding| std::ptr::eq(finding, shown))?;
            Some(self::finding(model, shown, told.said.get(place)?))
        });
        let table = best.and_then(|block| table::along_the_load(model, block, room(PAGE_ROWS)));
        let basis = best.and_then(|block| {
            let basis = own(&[Kind::Basis]).into_iter().find(|(finding, _)| finding.block == Some(block));
            basis.map(|(_, said)| said)
        });
        json!({
            "name": workload.name,
            "file": file,
            "note": several.then(|| format!("capacity-{file}.md")),
            "objective": objective(workload.objective),
            "slo": slo(workload.slo),
            "answer": answer.first().map(|(_, said)| said),
            "basis": basis,
            "server": best.map(|block| model.server_label(model.blocks[block].server)).unwrap_or_default(),
            "table": table,
            "pivot": pivot,
            "headlines": headlines.collect::<Vec<_>>(),
            "servers": workload.blocks.len(),
            "cells": workload.cells.len(),
            "measured": workload.cells.iter().filter(|at| model.cells[**at].file.outcome.is_measured()).count(),
        })
    })
    .collect()
}

fn objective(objective: Objective) -> &'static str {
    match objective {
        Objective::Latency => "latency",
        Objective::Throughput => "throughput",
    }
}

fn slo(slo: &crate::manifest::Slo) -> String {
    let terms: Vec<String> = slo.0.iter().map(ToString::to_string).collect();
    terms.join(" and ")
}

/// How many cells with numbers are of each kind, where they are of several.
fn mixed(model: &Model<'_>) -> Option<Vec<Value>> {
    model.is_mixed.then(|| {
        [Origin::Measured, Origin::Simulated, Origin::Predicted, Origin::Imported]
            .into_iter()
            .map(|origin| {
                (
                    origin,
                    model.cells.iter().filter(|cell| cell.has_numbers() && cell.origin == origin).count(),
                )
            })
            .filter(|(_, cells)| *cells > 0)
            .map(|(origin, cells)| json!({ "origin": origin.word(), "cells": cells }))
            .collect()
    })
}

/// Whether nothing but the embedded engine answered.
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

/// The servers: what all have in common, and of each what differs. At most so many are listed one by one; those that were not
/// reached are counted alone.
fn servers(model: &Model<'_>) -> Value {
    // Of imported numbers nobody says which engine gave them, nor how it was started.
    let own = model.run.run.imported.is_none();
    let flags_of = |server: &crate::report::model::Server<'_>| -> Vec<String> {
        server.group.server.flags.0.iter().map(|(name, flag)| flag_text(name, flag)).collect()
    };
    let first = model.servers.first();
    let mut common = first.map(flags_of).unwrap_or_default();
    common.retain(|flag| model.servers.iter().all(|server| flags_of(server).contains(flag)));
    let same = |of: fn(&crate::report::model::Server<'_>) -> String| {
        let texts: Vec<String> = model.servers.iter().map(of).collect();
        texts.first().filter(|first| !first.is_empty() && texts.iter().all(|text| text == *first)).cloned()
    };
    let reached = model.servers.iter().filter(|server| server.fate != Fate::NotReached);
    let listed: Vec<Value> = reached
        .clone()
        .take(LISTED)
        .map(|server| {
            json!({
                "id": server.group.id,
                "label": model.servers.iter().position(|known| std::ptr::eq(known, server)).map(|at| model.server_label(Some(at))),
                "model": Some(&server.group.server.model).filter(|model| !model.is_empty()),
                "launch": own.then_some(server.group.server.launch.on),
                "flags": flags_of(server).into_iter().filter(|flag| !common.contains(flag)).collect::<Vec<_>>(),
                "axes": server.group.axes.iter().map(|(axis, value)| json!({ "axis": axis, "value": value })).collect::<Vec<_>>(),
                "fate": server.fate.name(),
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
        "model": same(|server| server.group.server.model.clone()),
        "flags": common,
        "listed": listed,
    })
}

/// What each server's memory holds, where that was told and differs between servers that all fit.
fn memory(model: &Model<'_>) -> Option<Value> {
    let told = model.servers.iter().enumerate().filter_map(|(at, server)| {
        let facts = &server.file?.facts;
        let tokens = facts.kv_cache_tokens?;
        Some((at, tokens, server.full_length_requests(), facts.kv_cache_gib, facts.weights_gib))
    });
    let told: Vec<_> = told.collect();
    let differs = told.iter().any(|own| own.1 != told[0].1);
    let rows = told.iter().take(SERVERS).map(|(at, tokens, requests, kv, weights)| {
        json!({
            "label": model.server_label(Some(*at)),
            "kv_cache_tokens": tokens,
            "full_length_requests": requests,
            "kv_cache_gib": kv,
            "weights_gib": weights,
        })
    });
    differs
        .then(|| json!({ "rows": rows.collect::<Vec<_>>(), "left_out": told.len().saturating_sub(SERVERS) }))
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
    row.insert("requests".into(), json!(summary.map(|summary| summary.counts.scheduled)));
    row.insert("completed".into(), json!(summary.map(|summary| summary.counts.completed)));
    for metric in Metric::COLUMNS {
        row.insert(metric.column(), json!(cell.number(metric)));
    }
    row.insert("input_tokens".into(), json!(summary.and_then(|summary| summary.input_tokens)));
    row.insert("output_tokens".into(), json!(summary.and_then(|summary| summary.output_tokens)));
    row.insert(
        "window_s".into(),
        json!(summary.and_then(|summary| summary.window).map(|window| window.length_s)),
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
        ("preemptions", json!(engine.and_then(|engine| engine.preemptions))),
        ("prefix_hit_rate", json!(engine.and_then(EngineSide::prefix_hit_rate))),
        ("kv_usage_peak", json!(engine.and_then(|engine| engine.kv_usage_peak))),
        ("server_cpu_s", json!(side.and_then(|side| side.process).map(|process| process.cpu_s))),
        ("gpu_energy_j", json!(side.and_then(ServerSide::gpu_energy_j))),
    ];
    row.extend(values.map(|(name, value)| (name.to_owned(), value)));
}

/// One block: its tables, the recommended cells, and what is said of it.
fn block(told: &Told<'_, '_>, at: usize) -> Value {
    let model = told.model;
    let own = &model.blocks[at];
    let ranking = model.ranking(at);
    let picked = |cell: &usize, reason| table::Picked::of(model, &model.cells[*cell], reason);
    let of_block = told.findings.iter().zip(told.said).filter(|(finding, _)| finding.block == Some(at));
    let front = front(model, own);
    json!({
        "workload": model.workloads[own.workload].name,
        "server": own.server.map(|server| &model.servers[server].group.id),
        "server_label": model.server_label(own.server),
        "objective": objective(own.objective),
        "slo": slo(own.slo),
        "measured": own.cells.iter().filter(|at| model.cells[**at].file.outcome.is_measured()).count(),
        "cells": own.cells.iter().map(|at| model.cells[*at].id()).collect::<Vec<_>>(),
        "picks": ranking.picks.iter().map(|pick| picked(&pick.cell, pick.reason.name())).collect::<Vec<_>>(),
        "most_load": ranking.most_load.iter().map(|cell| picked(cell, "most_load")).collect::<Vec<_>>(),
        "acceptable": ranking.acceptable.iter().take(SERVERS).map(|cell| picked(cell, "acceptable")).collect::<Vec<_>>(),
        "numbers": table::numbers(model, at),
        "pareto": front.map(|front| json!({
            "latency": front.latency.column(),
            "points": front.points.iter().map(|cell| picked(cell, "front")).collect::<Vec<_>>(),
            "of": front.of,
        })),
        "findings": of_block.map(|(finding, said)| self::finding(model, finding, said)).collect::<Vec<_>>(),
        "engine": listing::engine(model, at),
    })
}
