//! Checks of the server's own metrics against the client's numbers and the workload.

use super::evidence::{Evidence, cell, metric, note, percent, requests, tails};
use crate::{
    manifest::{Api, Cache, LatencyKind},
    measure::verdict::{Verdict, VerdictKind},
};

/// Tokens that a chat template may add before the first message: the default system messages of Qwen 2.5 and
/// Llama 3.1 have 20 to 30, and the cache holds whole blocks of 16.
const TEMPLATE_TOKENS: u64 = 48;
/// Up to this share of the prompt tokens, prefix hits shorten prefill by less than the accuracy of a
/// percentile.
const FEW_HITS: f64 = 0.01;
/// From this share of requests on, preemptions affect p99.
const SOME_PREEMPTED: f64 = 0.01;
/// From this share on, they affect medians and throughput, too: prompts are computed twice.
const MANY_PREEMPTED: f64 = 0.1;

/// Reports prefix cache hits of prompts that should be new.
pub(super) fn cache_contaminated(evidence: Evidence<'_>) -> Option<Verdict> {
    let spec = evidence.context.spec;
    // By the server's counters, which include every request; else by each answer's usage.
    let (hits, of) = match evidence.engine().map(|e| (e.prefix_hits, e.prefix_queries)) {
        Some((Some(hits), queries)) => (hits, queries),
        _ => (evidence.summary.cached_tokens?, evidence.summary.input_tokens),
    };
    let sent = evidence.totals.sent;
    // Synthetic prompts are new by themselves; a system message before them repeats on purpose.
    let synthetic = spec.synthetic.is_some() && spec.system.is_none();
    let mut shared = match &spec.shared_prefix {
        Some(shared) => u64::from(shared.prefix_tokens),
        // In a conversation, each turn finds the previous ones.
        None if spec.has_turns() => return None,
        None if spec.cache == Cache::Fresh || synthetic => 0,
        None => return None,
    };
    if spec.api == Api::Chat {
        // No token is shorter than a byte.
        let system = spec.system.as_ref().map_or(0, |text| text.len() as u64);
        shared += TEMPLATE_TOKENS + system;
    }
    let intended = shared * sent;
    let beyond = hits.checked_sub(intended).filter(|beyond| *beyond > 0)?;
    let share = of.filter(|of| *of > 0).map(|of| beyond as f64 / of as f64);
    let part = match (of, share) {
        (Some(of), Some(share)) => format!(" of {of} prompt tokens ({})", percent(share)),
        _ => " prompt tokens".to_owned(),
    };
    let reason = match intended {
        0 => format!(
            "the prefix cache already held {hits}{part}, although every prompt should have been new to it"
        ),
        _ => format!(
            "the prefix cache held {hits} prompt tokens, {beyond}{part} more than {} share by design (at most {shared} tokens each)",
            requests(sent)
        ),
    };
    let hint = "restart the server for this cell, or turn its prefix cache off (`enable-prefix-caching = false`); check whether it has other clients";
    Some(if share.is_some_and(|share| share <= FEW_HITS) {
        note(VerdictKind::CacheContaminated, reason, hint)
    } else {
        cell(VerdictKind::CacheContaminated, reason, hint)
    })
}

/// Reports preemptions: running requests that the engine put back into its queue.
pub(super) fn preempted(evidence: Evidence<'_>) -> Option<Verdict> {
    let preemptions = evidence.engine()?.preemptions.filter(|count| *count > 0)?;
    let sent = evidence.totals.sent;
    if sent == 0 {
        return None;
    }
    // May exceed 1: a request can be preempted several times.
    let share = preemptions as f64 / sent as f64;
    let reason = format!(
        "the engine ran out of KV cache and preempted running requests {preemptions} times, whose prompts it computed again: {} of {}",
        percent(share),
        requests(sent)
    );
    let hint = "lower `max-num-seqs` or `concurrency`, shorten prompts and answers, or give the KV cache more memory (`gpu-memory-utilization`)";
    let metrics = [LatencyKind::Itl, LatencyKind::Tpot, LatencyKind::E2e];
    Some(if share >= MANY_PREEMPTED {
        let names = metrics.iter().map(|metric| metric.name());
        metric(
            VerdictKind::Preempted,
            names.chain(["ttft", "throughput", "total", "user", "req_s", "goodput"]),
            reason,
            hint,
        )
    } else if share >= SOME_PREEMPTED {
        metric(VerdictKind::Preempted, tails(&metrics), reason, hint)
    } else {
        note(VerdictKind::Preempted, reason, hint)
    })
}

/// Compares requests and tokens by the server's counters with the client's.
pub(super) fn counters_disagree(evidence: Evidence<'_>) -> Option<Verdict> {
    let engine = evidence.engine().filter(|engine| engine.settled)?;
    // A server may count each of several answers to a request.
    let several = ["n", "best_of"].iter().any(|key| {
        let value = evidence.context.spec.extra_body.get(*key);
        value.is_some_and(|value| value.as_u64() != Some(1))
    });
    let totals = evidence.totals;
    if several || totals.sent == 0 {
        return None;
    }
    if let Some(counted) = engine.requests
        && counted > totals.sent
    {
        return Some(cell(
            VerdictKind::TokenCounts,
            format!(
                "the server finished {} during the cell, and the client sent {}",
                requests(counted),
                totals.sent
            ),
            "the server has another client: measure when it has none",
        ));
    }
    // The server also counts requests that did not complete, so it may have more when there are any.
    let all = totals.completed == totals.sent;
    let apart = |name: &str, client: Option<u64>, server: Option<u64>| {
        let (client, server) = (client?, server?);
        let wrong = server < client || (all && server > client);
        wrong.then(|| {
            format!("{client} {name} tokens by the answers' `usage`, {server} by the server's counter")
        })
    };
    let found: Vec<String> = [
        apart("prompt", totals.input_tokens, engine.prompt_tokens),
        apart("output", totals.output_tokens, engine.generation_tokens),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!found.is_empty()).then(|| {
        cell(
            VerdictKind::TokenCounts,
            found.join("; "),
            "one of the two counts something else: look for a proxy in between, or another client of the server",
        )
    })
}
