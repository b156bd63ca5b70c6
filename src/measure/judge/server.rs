//! What the server's own metrics say against the client's numbers, or against the workload.

use super::{Case, cell, metric, note, percent, requests};
use crate::{
    manifest::{Api, Cache, LatencyKind},
    measure::verdict::{Verdict, VerdictKind},
    observe::EngineSide,
    unit::Percentile,
};

/// What a chat's template may put before every first message, tokens: the default system messages of the Qwen 2.5 and
/// Llama 3.1 templates have 20 to 30, and a cache finds whole blocks of 16.
const TEMPLATE_TOKENS: u64 = 48;
/// Up to this part of the prompt tokens, prefix hits shorten a prefill by less than what a percentile is good for.
const FEW_HITS: f64 = 0.01;
/// From this share of requests on, preempted ones are among those that p99 shows.
const SOME_PREEMPTED: f64 = 0.01;
/// From this share on they weigh in the median and in the throughput, too: their prefill is computed twice.
const MANY_PREEMPTED: f64 = 0.1;

/// Prefixes that were found where none were meant to be.
pub(super) fn cache_contaminated(case: Case<'_>) -> Option<Verdict> {
    let spec = case.context.spec;
    // By the server's counters, which know of every request; else by what each answer said.
    let (hits, of) = match case.engine().map(|e| (e.prefix_hits, e.prefix_queries)) {
        Some((Some(hits), queries)) => (hits, queries),
        _ => (case.summary.cached_tokens?, case.summary.input_tokens),
    };
    let sent = case.totals.sent;
    // Made prompts are new without a word; a system message before them is found again, and that is as written.
    let made = spec.synthetic.is_some() && spec.system.is_none();
    let mut shared = match &spec.shared_prefix {
        Some(shared) => u64::from(shared.prefix_tokens),
        // A later turn finds what the earlier ones left: that is what a conversation is.
        None if spec.has_turns() => return None,
        None if spec.cache == Cache::Fresh || made => 0,
        None => return None,
    };
    if spec.api == Api::Chat {
        // No token is shorter than a byte.
        let system = spec.system.as_ref().map_or(0, |text| text.len() as u64);
        shared += TEMPLATE_TOKENS + system;
    }
    let meant = shared * sent;
    let beyond = hits.checked_sub(meant).filter(|beyond| *beyond > 0)?;
    let share = of.filter(|of| *of > 0).map(|of| beyond as f64 / of as f64);
    let part = match (of, share) {
        (Some(of), Some(share)) => format!(" of {of} prompt tokens ({})", percent(share)),
        _ => " prompt tokens".to_owned(),
    };
    let reason = match meant {
        0 => format!("the prefix cache already held {hits}{part}, though every prompt was to be new to it"),
        _ => format!(
            "the prefix cache held {hits} prompt tokens, {beyond}{part} more than {} have in common by design ({shared} tokens each at most)",
            requests(sent)
        ),
    };
    let hint = "start the server anew for the cell, or turn its prefix cache off (`enable-prefix-caching = false`); see who else asks it";
    Some(if share.is_some_and(|share| share <= FEW_HITS) {
        note(VerdictKind::CacheContaminated, reason, hint)
    } else {
        cell(VerdictKind::CacheContaminated, reason, hint)
    })
}

/// Running requests that the engine put back into its queue.
pub(super) fn preempted(case: Case<'_>) -> Option<Verdict> {
    let preemptions = case.engine()?.preemptions.filter(|count| *count > 0)?;
    let sent = case.totals.sent;
    if sent == 0 {
        return None;
    }
    // One request may be put back several times; then the share is that of none, and many all the same.
    let share = preemptions as f64 / sent as f64;
    let reason = format!(
        "the engine put running requests back into its queue {preemptions} times, for want of KV cache, and computed their prompts again: {} of {}",
        percent(share),
        requests(sent)
    );
    let hint = "fewer in flight (`max-num-seqs`, `concurrency`), shorter prompts and answers, or more memory for the KV cache (`gpu-memory-utilization`)";
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
        let tails = metrics
            .iter()
            .flat_map(|metric| [Percentile::P95, Percentile::P99].map(|rank| super::named(rank, *metric)));
        metric(VerdictKind::Preempted, tails, reason, hint)
    } else {
        note(VerdictKind::Preempted, reason, hint)
    })
}

/// Tokens and requests by the server's counters against the same by the client.
pub(super) fn counters_disagree(case: Case<'_>) -> Option<Verdict> {
    let engine = case.engine().filter(|engine| engine.settled)?;
    // With several answers to a request a server may count each.
    let several = ["n", "best_of"].iter().any(|key| {
        let value = case.context.spec.extra_body.get(*key);
        value.is_some_and(|value| value.as_u64() != Some(1))
    });
    let totals = case.totals;
    if several || totals.sent == 0 {
        return None;
    }
    if let Some(counted) = engine.requests
        && counted > totals.sent
    {
        return Some(cell(
            VerdictKind::TokenCounts,
            format!("the server ended {} while the cell ran, and we sent {}", requests(counted), totals.sent),
            "somebody else asks the same server: measure when it is alone",
        ));
    }
    // What did not complete was counted by the server as far as it came, and by nobody here: then it may have more.
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
            "one of them counts something else: look for a proxy between the two, and for another client of the server",
        )
    })
}

impl<'a> Case<'a> {
    /// What the engine said of all repeats.
    fn engine(self) -> Option<&'a EngineSide> {
        self.context.server.and_then(|server| server.engine.as_ref())
    }
}
