//! The cells of a plan on their machines → what each would measure, in the form of what is stored of a measured one.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use jiff::Timestamp;

use super::{Assumptions, Machine, Placed, repeat_records};
use crate::{
    engine::{Gauges, startup},
    load::Records,
    manifest::Inputs,
    measure::{self, CellContext, CellOutcome, Severity, Summary, Verdict, VerdictKind},
    observe::{EngineSide, ServerSide},
    plan::{Cell, Group},
    server::{Facts, ServerOutcome, classify},
    store::{CellFile, FORMAT, LadderEnd, ServerFile},
};

/// Does some work for every item, on all cores; the results are in the order of the items.
pub(super) fn on_all_cores<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done: Vec<(usize, R)> = Vec::new();
        while let Some((at, item)) = {
            let at = next.fetch_add(1, Relaxed);
            items.get(at).map(|item| (at, item))
        } {
            done.push((at, work(item)));
        }
        done
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all: Vec<(usize, R)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..cores.min(items.len())).map(|_| scope.spawn(take)).collect();
        let mut all = take();
        for other in others {
            match other.join() {
                Ok(done) => all.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, result)| result).collect()
}

/// How a server would start, with what vLLM would say of it. Every line of its log says that it was predicted.
pub(super) fn server(group: &Group, placed: &Placed, now: Timestamp) -> ServerFile {
    let told = placed.modelled.fit();
    let lines = startup::lines(&placed.modelled, &told);
    let mut file = ServerFile {
        format: FORMAT,
        id: group.id.clone(),
        outcome: ServerOutcome::Ready,
        reason: None,
        argv: Vec::new(),
        axes: group.axes.clone(),
        facts: Facts::default(),
        exit_code: None,
        log_tail: Vec::new(),
        started_at: now,
    };
    match told {
        Ok(fit) => {
            file.facts = Facts {
                max_model_len: Some(fit.max_model_len),
                kv_cache_tokens: Some(fit.kv_tokens()),
                max_concurrency: Some(fit.max_concurrency()),
                kv_cache_gib: Some(fit.kv_cache / crate::engine::hardware::GIB),
                weights_gib: Some(fit.weights / crate::engine::hardware::GIB),
                ..Facts::default()
            };
        }
        Err(misfit) => {
            let ending = misfit.to_string();
            let log = [lines.join("\n"), ending.clone()].join("\n");
            // The reader of real logs says what this one means.
            let (outcome, reason) = classify(log.as_bytes(), Some(1), false);
            if let crate::engine::memory::Misfit::KvTooSmall { estimated, .. } = misfit {
                file.facts.estimated_max_model_len = Some(estimated);
            }
            file.outcome = outcome;
            file.reason = Some(reason);
            file.exit_code = Some(1);
            file.log_tail = lines
                .iter()
                .map(|line| format!("(predicted) INFO {line}"))
                .chain([format!("(predicted) ERROR {ending}")])
                .collect();
        }
    }
    file
}

/// What a cell would measure in all repeats, or how it would end.
///
/// # Errors
/// A sentence when an input cannot be read, or a schedule cannot be made.
pub(super) fn cell(
    group: &Group,
    cell: &Cell,
    server: &ServerFile,
    machine: Option<&Machine>,
    inputs: &Inputs,
    (assumed, repeats): (Assumptions, u32),
    (spill, now): (&Path, Timestamp),
) -> Result<CellFile, String> {
    let blank = |outcome: CellOutcome, reason: Option<String>| blank(group, cell, outcome, reason, now);
    if let Some(reason) = &cell.skip {
        return Ok(blank(CellOutcome::Skipped, Some(reason.clone())));
    }
    let Some(machine) = machine else {
        let outcome = CellOutcome::of_start(server.outcome);
        let reason = server.reason.clone().unwrap_or_default();
        return Ok(CellFile {
            log_tail: server.log_tail.clone(),
            ..blank(outcome, Some(format!("{}: {reason}", server.outcome)))
        });
    };
    let each: Vec<(Records, Gauges)> = (1..=repeats)
        .map(|repeat| repeat_records(cell, inputs, machine.engine(), assumed, spill, repeat))
        .collect::<Result<_, _>>()?;
    let (records, gauges): (Vec<Records>, Vec<Gauges>) = each.into_iter().unzip();
    let side = side(&records, &gauges);
    let asked = CellContext {
        spec: &cell.spec,
        start: cell.start(),
        engine_simulated: false,
        inputs: inputs.count(&cell.spec).map_or(1, |count| count.map_or(usize::MAX, |count| count as usize)),
        // Nothing could run with other ones.
        flags_confirmed: Some(true),
        max_model_len: None,
        prefix_caching: Some(group.server.flags.enabled("enable-prefix-caching")),
        client: &[],
        server: None,
    };
    let each: Vec<Summary> = records.iter().map(|records| measure::summarize(records, &asked)).collect();
    let summary = match &each[..] {
        [one] => one.clone(),
        _ => measure::pool(&records, &asked),
    };
    // Of the engine's counters only what was put back is held against the requests: the cache that was predicted finds what
    // the stand-in for a tokenizer makes equal.
    let judged = ServerSide {
        engine: side
            .engine
            .as_ref()
            .map(|engine| EngineSide { preemptions: engine.preemptions, ..EngineSide::default() }),
        ..ServerSide::default()
    };
    let asked = CellContext { server: Some(&judged), ..asked };
    let mut verdicts = vec![predicted()];
    verdicts.extend(measure::judge(&summary, &each, &records, &asked));
    let errors = measure::common_errors(&records);
    let outcome = measure::outcome(&summary);
    let reason = errors
        .first()
        .filter(|_| outcome != CellOutcome::Ok)
        .map(|(error, count)| format!("{count} × {error}"));
    records.iter().try_for_each(Records::intact).map_err(|error| error.to_string())?;
    Ok(CellFile {
        summary: Some(summary),
        repeats: if each.len() > 1 { each } else { Vec::new() },
        server_side: Some(side),
        client_totals: Some(measure::totals(&records)),
        verdicts,
        timeline: records.last().map(measure::timeline).unwrap_or_default(),
        errors,
        ..blank(outcome, reason)
    })
}

/// A cell beyond the end of its ladder.
pub(super) fn beyond(group: &Group, cell: &Cell, end: LadderEnd, now: Timestamp) -> CellFile {
    let file = blank(group, cell, CellOutcome::Skipped, Some(end.reason), now);
    CellFile { ladder_ended_at: Some(end.at), ..file }
}

fn blank(
    group: &Group,
    cell: &Cell,
    outcome: CellOutcome,
    reason: Option<String>,
    now: Timestamp,
) -> CellFile {
    let axes = group.axes.iter().chain(&cell.axes);
    CellFile {
        format: FORMAT,
        id: cell.id.clone(),
        workload: cell.workload.clone(),
        server: group.id.clone(),
        outcome,
        reason,
        ladder_ended_at: None,
        proved_impossible_by: None,
        simulated: false,
        predicted: true,
        load: cell.load_values(),
        axes: axes.map(|(k, v)| (k.clone(), v.clone())).collect(),
        objective: cell.spec.objective,
        slo: cell.spec.slo.clone(),
        summary: None,
        reported: Default::default(),
        repeats: Vec::new(),
        server_side: None,
        server_side_repeats: Vec::new(),
        client_totals: None,
        client: Vec::new(),
        verdicts: vec![predicted()],
        timeline: Vec::new(),
        errors: Vec::new(),
        log_tail: Vec::new(),
        attempts: Vec::new(),
        started_at: now,
        finished_at: now,
    }
}

/// What the model of the engine counted in all repeats.
fn side(records: &[Records], gauges: &[Gauges]) -> ServerSide {
    let looked: Option<Vec<(u64, u64)>> = gauges.iter().map(|gauges| gauges.prefix).collect();
    let sum = |which: fn(&(u64, u64)) -> u64| looked.as_ref().map(|all| all.iter().map(which).sum::<u64>());
    let ends = records.iter().map(|records| {
        let end = records.iter().map(|record| record.end.0).max();
        end.map_or(0.0, |ns| ns as f64 / 1e9)
    });
    let span_s = ends.sum();
    ServerSide {
        span_s,
        engine: Some(EngineSide {
            span_s,
            settled: true,
            preemptions: Some(gauges.iter().map(|gauges| gauges.preemptions).sum()),
            prefix_queries: sum(|prefix| prefix.0),
            prefix_hits: sum(|prefix| prefix.1),
            ..EngineSide::default()
        }),
        ..ServerSide::default()
    }
}

fn predicted() -> Verdict {
    Verdict {
        kind: VerdictKind::Predicted,
        severity: Severity::Note,
        touches: Vec::new(),
        reason:
            "computed in virtual time by a model of the engine: nothing answered, and nothing was measured"
                .into(),
        hint: "measure the cells that decide something: `runner run` on the machine the question is about"
            .into(),
    }
}
