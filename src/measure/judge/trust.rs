//! What the numbers rest on: who answered, how often, how many failed, and what the cache knew.

use super::{Case, cell, metric, named, note, percent, requests};
use crate::{
    load::Phase,
    manifest::{Cache, LatencyKind},
    measure::verdict::{Verdict, VerdictKind},
    unit::Percentile,
};

/// Below this share, failed requests change no number that is shown.
const FEW_ERRORS: f64 = 0.01;
/// Up to this share they are missing from the tail only: those that fail are the slow ones.
const SOME_ERRORS: f64 = 0.05;
/// Beyond this share, what is left is another workload than the one that was asked.
const MANY_ERRORS: f64 = 0.2;

pub(super) fn simulated(case: Case<'_>) -> Option<Verdict> {
    case.context.engine_simulated.then(|| {
        note(
            VerdictKind::Simulated,
            "the embedded engine answered: every time follows a script and nothing here was measured on a real one".into(),
            "run it with `engine = \"vllm\"`, without `--sim`, on the machine the question is about",
        )
    })
}

/// One verdict per percentile that some metric has too few samples for: the three that are always shown, and those of
/// the latency targets. How many are enough: [`Percentile::samples_needed`].
pub(super) fn few_samples(case: Case<'_>) -> Vec<Verdict> {
    let mut ranks = vec![Percentile::P50, Percentile::P95, Percentile::P99];
    for term in &case.context.spec.slo.0 {
        if !ranks.contains(&term.percentile) {
            ranks.push(term.percentile);
        }
    }
    ranks.sort_by(|a, b| a.fraction().total_cmp(&b.fraction()));
    ranks
        .into_iter()
        .filter_map(|rank| {
            let needed = rank.samples_needed();
            let few: Vec<(LatencyKind, u64)> = LatencyKind::ALL
                .into_iter()
                .filter_map(|metric| Some((metric, case.summary.latency(metric)?.n)))
                .filter(|(_, n)| *n < needed)
                .collect();
            let counts: Vec<String> =
                few.iter().map(|(metric, n)| format!("{} {n}", metric.name())).collect();
            (!few.is_empty()).then(|| {
                metric(
                    VerdictKind::FewSamples,
                    few.iter().map(|(metric, _)| named(rank, *metric)),
                    format!(
                        "{rank} needs {needed} samples to carry weight, and there are fewer ({})",
                        counts.join(", ")
                    ),
                    format!("measure at least {needed} requests in the cell (`requests`, or more `repeats`)"),
                )
            })
        })
        .collect()
}

pub(super) fn errors(case: Case<'_>) -> Option<Verdict> {
    let counts = &case.summary.counts;
    let errors = counts.errors();
    if errors == 0 {
        return None;
    }
    let share = errors as f64 / counts.scheduled as f64;
    let words: Vec<String> = counts
        .by_outcome
        .iter()
        .filter(|(word, _)| *word != "completed")
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    let reason = format!(
        "{errors} of {} did not complete, {}: {}",
        requests(counts.scheduled),
        percent(share),
        words.join(", ")
    );
    let hint = "read `errors` of the cell and the server's log; fewer requests in flight or a longer `timeout` may do";
    Some(if share > MANY_ERRORS {
        cell(VerdictKind::Errors, reason, hint)
    } else if share >= FEW_ERRORS {
        let mut touches: Vec<String> = LatencyKind::ALL
            .into_iter()
            .flat_map(|metric| [Percentile::P95, Percentile::P99].map(|rank| named(rank, metric)))
            .collect();
        if share > SOME_ERRORS {
            touches = LatencyKind::ALL.map(|metric| metric.name().to_owned()).to_vec();
            touches.extend(["throughput", "total", "user", "req_s", "goodput"].map(str::to_owned));
        }
        metric(VerdictKind::Errors, touches, reason, hint)
    } else {
        note(VerdictKind::Errors, reason, hint)
    })
}

/// Tries beyond the first of measured requests, whatever became of them.
pub(super) fn retried(case: Case<'_>) -> Option<Verdict> {
    if case.context.spec.retries == 0 {
        return None;
    }
    let (mut retried, mut tries) = (0u64, 0u64);
    for record in case.records.iter().flatten() {
        if record.phase == Phase::Measured && record.retried > 0 {
            retried += 1;
            tries += u64::from(record.retried);
        }
    }
    if retried == 0 {
        return None;
    }
    let share = retried as f64 / case.summary.counts.scheduled as f64;
    let reason = format!(
        "{retried} of {} ({}) were sent away and tried again, {tries} times in all; they count as in flight through every try and the pauses between, and so does their latency",
        requests(case.summary.counts.scheduled),
        percent(share)
    );
    let hint = "ask for less at once (`concurrency`, `rate`), and take `retries` away to see how many the server sends away at this load";
    Some(if share > SOME_ERRORS {
        cell(VerdictKind::Retried, reason, hint)
    } else if share >= FEW_ERRORS {
        metric(VerdictKind::Retried, ["ttft", "e2e", "goodput"], reason, hint)
    } else {
        note(VerdictKind::Retried, reason, hint)
    })
}

pub(super) fn warm_cache(case: Case<'_>) -> Option<Verdict> {
    let context = case.context;
    // Made prompts are new, or share what they mean to share.
    if context.spec.source().is_ok_and(|source| source.is_made()) {
        return None;
    }
    match context.spec.cache {
        // What was found all the same is another verdict.
        Cache::Fresh => None,
        Cache::AsWritten => {
            if context.prefix_caching == Some(false) {
                return None;
            }
            // Warm-up fills the cache as well, and the next repeat finds what the last one left.
            let sent = case.records.iter().flatten().filter(|record| record.sent.is_some());
            let sent = sent.count() as u64;
            if sent <= context.inputs as u64 {
                return None;
            }
            let counted = context
                .server
                .and_then(|server| server.engine.as_ref())
                .and_then(|engine| engine.prefix_hits);
            // A cache that was asked and had nothing was not warm: prompts shorter than a block are never found again.
            if counted == Some(0) {
                return None;
            }
            let told = match counted.or(case.summary.cached_tokens) {
                Some(cached) => {
                    format!("; the server says that it held {cached} prompt tokens already")
                }
                None => String::new(),
            };
            Some(note(
                VerdictKind::WarmCache,
                format!(
                    "{} were made of {} distinct prompt{}, so most met a warm prefix cache{told}",
                    requests(sent),
                    context.inputs,
                    if context.inputs == 1 { "" } else { "s" },
                ),
                "ask with `cache = \"fresh\"` when real prompts will not repeat",
            ))
        }
    }
}

pub(super) fn flags_unverified(case: Case<'_>) -> Option<Verdict> {
    if case.context.flags_confirmed == Some(true) {
        return None;
    }
    Some(note(
        VerdictKind::FlagsUnverified,
        "nothing that the server said shows the flags it runs with".into(),
        "let the runner start the server itself, or look at the server's own log",
    ))
}
