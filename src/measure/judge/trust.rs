//! Checks of what the numbers are based on: the engine, the number of samples, failures, and the prefix
//! cache.

use super::evidence::{Evidence, cell, counted, metric, named, note, percent, requests, tails};
use crate::{
    load::Phase,
    manifest::{Cache, LatencyKind, Slo},
    measure::verdict::{Verdict, VerdictKind},
    unit::Percentile,
};

/// Below this share, failed requests change no number noticeably.
const FEW_ERRORS: f64 = 0.01;
/// Up to this share, they distort only the tail: the requests that fail are the slow ones.
const SOME_ERRORS: f64 = 0.05;
/// Above this share, the requests that completed are a different workload.
const MANY_ERRORS: f64 = 0.2;

/// Reports that the embedded engine answered.
pub(super) fn simulated(evidence: Evidence<'_>) -> Option<Verdict> {
    evidence.context.engine_simulated.then(|| {
        note(
            VerdictKind::Simulated,
            "the embedded engine answered: its timing is scripted, and nothing here was measured on a real server".into(),
            "run with `engine = \"vllm\"` and without `--sim`, on the machine in question",
        )
    })
}

/// Returns a verdict for each percentile that has too few samples ([`Percentile::samples_needed`]) in some
/// latency: p50, p95, p99, and those of the SLO. `samples` returns the number of samples of a percentile, and
/// `remedy` ends the hint.
pub fn few_samples(
    slo: &Slo,
    remedy: &str,
    samples: impl Fn(Percentile, LatencyKind) -> Option<u64>,
) -> Vec<Verdict> {
    let mut ranks = vec![Percentile::P50, Percentile::P95, Percentile::P99];
    for term in &slo.0 {
        if !ranks.contains(&term.percentile) {
            ranks.push(term.percentile);
        }
    }
    ranks.sort_by(|a, b| a.fraction().total_cmp(&b.fraction()));
    let check = |rank: Percentile| {
        let needed = rank.samples_needed();
        let few: Vec<(LatencyKind, u64)> = LatencyKind::ALL
            .into_iter()
            .filter_map(|metric| Some((metric, samples(rank, metric)?)))
            .filter(|(_, n)| *n < needed)
            .collect();
        let counts: Vec<String> = few.iter().map(|(metric, n)| format!("{} {n}", metric.name())).collect();
        (!few.is_empty()).then(|| {
            metric(
                VerdictKind::FewSamples,
                few.iter().map(|(metric, _)| named(rank, *metric)),
                format!(
                    "{rank} needs {needed} samples to be reliable, and has fewer ({})",
                    counts.join(", ")
                ),
                format!("measure at least {needed} requests in the cell{remedy}"),
            )
        })
    };
    ranks.into_iter().filter_map(check).collect()
}

/// Reports requests that did not complete, and the numbers they distort.
pub(super) fn errors(evidence: Evidence<'_>) -> Option<Verdict> {
    let counts = &evidence.summary.counts;
    let errors = counts.errors();
    if errors == 0 {
        return None;
    }
    let share = errors as f64 / counts.scheduled as f64;
    let outcomes: Vec<String> = counts
        .by_outcome
        .iter()
        .filter(|(name, _)| *name != "completed")
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    let reason = format!(
        "{errors} of {} did not complete, {}: {}",
        requests(counts.scheduled),
        percent(share),
        outcomes.join(", ")
    );
    let hint = "see the cell's `errors` and the server's log; fewer requests in flight or a longer `timeout` may help";
    Some(if share > MANY_ERRORS {
        cell(VerdictKind::Errors, reason, hint)
    } else if share >= FEW_ERRORS {
        let mut touches = tails(&LatencyKind::ALL);
        if share > SOME_ERRORS {
            touches = LatencyKind::ALL.map(|metric| metric.name().to_owned()).to_vec();
            touches.extend(["throughput", "total", "user", "req_s", "goodput"].map(str::to_owned));
        }
        metric(VerdictKind::Errors, touches, reason, hint)
    } else {
        note(VerdictKind::Errors, reason, hint)
    })
}

/// Reports measured requests that were retried.
pub(super) fn retried(evidence: Evidence<'_>) -> Option<Verdict> {
    if evidence.context.spec.retries == 0 {
        return None;
    }
    let (mut retried, mut retries) = (0u64, 0u64);
    for record in evidence.records.iter().flatten() {
        if record.phase == Phase::Measured && record.retried > 0 {
            retried += 1;
            retries += u64::from(record.retried);
        }
    }
    if retried == 0 {
        return None;
    }
    let share = retried as f64 / evidence.summary.counts.scheduled as f64;
    let reason = format!(
        "{retried} of {} ({}) were rejected and retried, {retries} times in total; they count as in flight during every attempt and the pauses between, and their latency includes them",
        requests(evidence.summary.counts.scheduled),
        percent(share)
    );
    let hint = "reduce the load (`concurrency`, `rate`); remove `retries` to see how many requests the server rejects at this load";
    Some(if share > SOME_ERRORS {
        cell(VerdictKind::Retried, reason, hint)
    } else if share >= FEW_ERRORS {
        metric(VerdictKind::Retried, ["ttft", "e2e", "goodput"], reason, hint)
    } else {
        note(VerdictKind::Retried, reason, hint)
    })
}

/// Reports repeated prompts that probably found their prefix in the cache.
pub(super) fn warm_cache(evidence: Evidence<'_>) -> Option<Verdict> {
    let context = evidence.context;
    // Synthetic prompts are new, or share a prefix on purpose.
    if context.spec.source().is_ok_and(|source| source.is_generated()) {
        return None;
    }
    // Hits despite `fresh` are another verdict.
    if context.spec.cache == Cache::Fresh || context.prefix_caching == Some(false) {
        return None;
    }
    // Warm-up fills the cache too, and each repeat finds what the previous one left.
    let sent = evidence.records.iter().flatten().filter(|record| record.sent.is_some()).count() as u64;
    let hits = evidence.engine().and_then(|engine| engine.prefix_hits);
    // No hits: the cache was not warm, for instance because prompts are shorter than a block.
    if sent <= context.inputs as u64 || hits == Some(0) {
        return None;
    }
    let hits = match hits.or(evidence.summary.cached_tokens) {
        Some(cached) => format!("; the server reports {cached} cached prompt tokens"),
        None => String::new(),
    };
    Some(note(
        VerdictKind::WarmCache,
        format!(
            "{} used {}, so most of them found their prefix in the cache{hits}",
            requests(sent),
            counted(context.inputs as u64, "distinct prompt"),
        ),
        "set `cache = \"fresh\"` if real prompts will not repeat",
    ))
}

/// Reports that nothing confirms the server's flags.
pub(super) fn flags_unverified(evidence: Evidence<'_>) -> Option<Verdict> {
    if evidence.context.flags_confirmed == Some(true) {
        return None;
    }
    Some(note(
        VerdictKind::FlagsUnverified,
        "nothing in the server's output confirms the flags it runs with".into(),
        "let the runner start the server itself, or check the server's own log",
    ))
}
