//! What stands in a cell that may be why its prediction is far off.

use super::{Pair, signed};
use crate::{
    measure::VerdictKind,
    report::{
        insight::{count, metric, of},
        number::{grouped, ms, percent, tok_s},
    },
};

/// What stands in the cell that moves a time in the direction of the error, most telling first.
pub(super) fn evidence(pair: &Pair<'_>, error: f64) -> Vec<String> {
    let (cell, predicted) = (pair.cell, pair.predicted);
    let Some(summary) = &cell.summary else {
        return Vec::new();
    };
    let slower = error < 0.0;
    let completed = summary.counts.completed;
    let mean = |sum: Option<u64>| {
        sum.filter(|_| completed > 0)
            .map(|sum| sum as f64 / completed as f64)
    };
    let engine = cell
        .server_side
        .as_ref()
        .and_then(|side| side.engine.as_ref());
    let mut found = Vec::new();
    if let (Some(taken), Some(got)) = (predicted.output_tokens, mean(summary.output_tokens))
        && (got < taken * 0.95 && !slower || got > taken * 1.05 && slower)
    {
        found.push(format!(
            "answers had {} tokens, and {} were predicted with",
            grouped(got, 0),
            grouped(taken, 0)
        ));
    }
    if let (Some(taken), Some(got)) = (predicted.prompt_tokens, mean(summary.input_tokens))
        && (got > taken * 1.1 && slower || got < taken * 0.9 && !slower)
    {
        found.push(format!(
            "prompts had {} tokens, and {} were predicted with",
            grouped(got, 0),
            grouped(taken, 0)
        ));
    }
    let preempted = engine.and_then(|engine| engine.preemptions);
    match (preempted, predicted.preemptions) {
        (Some(got), Some(told)) if slower && got > told => found.push(format!(
            "running requests were put back for want of KV cache {got} times, predicted were {told}"
        )),
        (Some(got), Some(told)) if !slower && told > got => found.push(format!(
            "predicted were {told} preemptions for want of KV cache, and there were {got}"
        )),
        _ => {}
    }
    let queue = engine
        .and_then(|engine| engine.queue.as_ref())
        .and_then(|queue| queue.mean_ms);
    if let (true, Some(queue), Some(e2e)) = (slower, queue, metric(summary, "p50_e2e"))
        && queue > 0.1 * e2e
    {
        found.push(format!(
            "a request waited {} in the server's queue in the mean",
            ms(Some(queue))
        ));
    }
    let hits = engine.and_then(|engine| engine.prefix_hit_rate());
    if let (Some(got), Some(told)) = (hits, predicted.prefix_hit_rate)
        && (told - got > 0.2 && slower || got - told > 0.2 && !slower)
    {
        found.push(format!(
            "the prefix cache held {} of the prompt tokens, predicted were {}",
            percent(Some(got)),
            percent(Some(told))
        ));
    }
    if summary.counts.errors() > 0 {
        found.push(format!(
            "{} of {} did not complete",
            summary.counts.errors(),
            count(summary.counts.scheduled as usize, "request")
        ));
    }
    let telling = [
        VerdictKind::ClientLate,
        VerdictKind::ClientSaturated,
        VerdictKind::NotSteady,
        VerdictKind::RepeatsDisagree,
        VerdictKind::ConcurrencyNotReached,
        VerdictKind::RateNotSustained,
        VerdictKind::Retried,
    ];
    for verdict in &cell.verdicts {
        if telling.contains(&verdict.kind) {
            found.push(format!("{} ({})", verdict.kind.name(), verdict.reason));
        }
    }
    // Which part of the time is off says where to look, whatever the reason.
    if let (Some(ttft), Some(tpot)) = (pair.row.ttft_error, pair.row.tpot_error) {
        found.push(format!(
            "p50 TTFT is off by {}, p50 TPOT by {}",
            signed(ttft),
            signed(tpot)
        ));
    }
    if let (Some(rate), Some(told)) = (of(cell, "throughput"), predicted.throughput_tok_s)
        && found.is_empty()
    {
        found.push(format!(
            "throughput was {}, predicted {}",
            tok_s(Some(rate)),
            tok_s(Some(told))
        ));
    }
    found
}
