//! Predicts servers and cells, in the format in which measured ones are stored.

use jiff::Timestamp;

use super::{Machine, Placed, PredictError, Setup, Simulated};
use crate::{
    engine::{Gauges, hardware::GIB, memory::Misfit, startup_log},
    load::Records,
    measure::{CellContext, CellOutcome, Severity, Verdict, VerdictKind},
    observe::{EngineSide, ServerSide},
    plan::{Cell, Group},
    server::{Facts, classify},
    store::{CellFile, LadderEnd, ServerFile},
};

/// Predicts the start of a server. Every line of its log is marked as predicted.
pub(super) fn server(group: &Group, placed: &Placed, now: Timestamp) -> ServerFile {
    let fit = placed.server.fit();
    let lines = startup_log::lines(&placed.server, &fit);
    let mut file = ServerFile::new(group, now);
    match fit {
        Ok(fit) => {
            file.facts = Facts {
                max_model_len: Some(fit.max_model_len),
                kv_cache_tokens: Some(fit.kv_tokens()),
                max_concurrency: Some(fit.max_concurrency()),
                kv_cache_gib: Some(fit.kv_cache / GIB),
                weights_gib: Some(fit.weights / GIB),
                ..Facts::default()
            };
        }
        Err(misfit) => {
            let ending = misfit.to_string();
            let log = [lines.join("\n"), ending.clone()].join("\n");
            // Classified as a real log would be.
            let (outcome, reason) = classify(log.as_bytes(), Some(1), false);
            if let Misfit::KvTooSmall { estimated, .. } = misfit {
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

/// Predicts all repeats of a cell. Without a machine, the cell ends as the start of its server did.
///
/// # Errors
/// When an input cannot be read, or no schedule of arrivals can be made.
pub(super) fn predict(
    group: &Group,
    cell: &Cell,
    repeats: u32,
    server: &ServerFile,
    machine: Option<&Machine>,
    setup: &Setup<'_>,
) -> Result<CellFile, PredictError> {
    let now = server.started_at;
    if let Some(reason) = &cell.skip {
        return Ok(blank(group, cell, CellOutcome::Skipped, Some(reason.clone()), now));
    }
    let Some(machine) = machine else {
        let outcome = CellOutcome::of_start(server.outcome);
        let reason = server.reason.clone().unwrap_or_default();
        let reason = Some(format!("{}: {reason}", server.outcome));
        return Ok(CellFile {
            log_tail: server.log_tail.clone(),
            ..blank(group, cell, outcome, reason, now)
        });
    };
    if cell.is_start_only() {
        return Ok(blank(group, cell, CellOutcome::Started, None, now));
    }
    let each: Vec<Simulated> = (1..=repeats)
        .map(|repeat| setup.records(cell, machine.engine(), repeat))
        .collect::<Result<_, _>>()?;
    let ended_early = each.iter().find_map(|one| one.ended_early.clone());
    let (records, gauges): (Vec<Records>, Vec<Gauges>) =
        each.into_iter().map(|one| (one.records, one.gauges)).unzip();
    let side = server_side(&records, &gauges);
    // Verdicts see only the preemptions of the engine's counters: the predicted prefix cache also finds
    // what only the stand-in for a tokenizer makes equal.
    let judged = ServerSide {
        engine: side
            .engine
            .as_ref()
            .map(|engine| EngineSide { preemptions: engine.preemptions, ..EngineSide::default() }),
        ..ServerSide::default()
    };
    let prefix_caching = Some(group.server.flags.enabled("enable-prefix-caching"));
    let context = CellContext { prefix_caching, server: Some(&judged), ..setup.context(cell) };
    let file = blank(group, cell, CellOutcome::Ok, None, now).with_records(&records, &context);
    records.iter().try_for_each(Records::intact)?;
    Ok(CellFile { server_side: Some(side), ended_early, ..file })
}

/// A cell above the rung at which its ladder ended.
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
    CellFile {
        simulated: false,
        predicted: true,
        verdicts: vec![predicted()],
        ..CellFile::without_numbers(group, cell, outcome, reason, now)
    }
}

/// The engine's counters over all repeats.
fn server_side(records: &[Records], gauges: &[Gauges]) -> ServerSide {
    let prefixes: Option<Vec<(u64, u64)>> = gauges.iter().map(|gauges| gauges.prefix).collect();
    let sum = |which: fn(&(u64, u64)) -> u64| prefixes.as_ref().map(|all| all.iter().map(which).sum::<u64>());
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
        reason: "computed in virtual time by a model of the engine; nothing was measured".into(),
        hint: "measure the cells that matter with `runner run` on that machine".into(),
    }
}
