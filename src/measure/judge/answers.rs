//! Checks of the answers: do they have the requested length, and can their tokens be counted and timed?

use super::evidence::{Evidence, TOKEN_METRICS, cell, counted, metric, note, percent, requests};
use crate::{
    load::Record,
    measure::verdict::{Verdict, VerdictKind},
};

/// Chunks closer together than this on average, milliseconds, were buffered: no engine decodes that fast.
const FASTER_THAN_ANY_STEP_MS: f64 = 0.05;
/// From this share of buffered answers on, it is no accident.
const NOT_STREAMED_SHARE: f64 = 0.5;

/// Checks that answers of an exact length have it.
pub(super) fn short_output(evidence: Evidence<'_>) -> Option<Verdict> {
    let length = evidence.summary.output_length.as_ref()?;
    if !evidence.context.spec.exact_output() || length.shorter == 0 {
        return None;
    }
    let reason = format!(
        "{} of {} returned fewer than the requested {} tokens: at least {}, {} in the median",
        length.shorter,
        requests(evidence.summary.counts.completed),
        match length.asked_spread {
            None => length.asked.to_string(),
            Some(spread) => format!("{} to {} ({} in the median)", spread.min, length.asked, spread.p50),
        },
        length.min,
        length.p50
    );
    let hint = "check that the server honours `ignore_eos` and `min_tokens`, and that prompt and output fit in `max-model-len`";
    Some(if length.p50 < length.asked_p50() {
        cell(VerdictKind::ShortOutput, reason, hint)
    } else {
        metric(VerdictKind::ShortOutput, ["throughput", "total", "req_s", "goodput", "e2e"], reason, hint)
    })
}

/// Checks that prompts of an exact length have it by the server's count.
pub(super) fn input_length(evidence: Evidence<'_>) -> Option<Verdict> {
    let (mut counted, mut wrong, mut least, mut most) = (0u64, 0u64, i64::MAX, i64::MIN);
    for record in evidence.completed() {
        if let (Some(wanted), Some(usage)) = (record.input_tokens, record.usage) {
            let off = usage.prompt_tokens as i64 - i64::from(wanted);
            counted += 1;
            wrong += u64::from(off != 0);
            (least, most) = (least.min(off), most.max(off));
        }
    }
    (wrong > 0).then(|| {
        let off = if least == most {
            format!("by {least:+}")
        } else {
            format!("by {least:+} to {most:+}")
        };
        cell(
            VerdictKind::InputLength,
            format!(
                "{wrong} of {} had another prompt length than requested, by the server's count: it differs {off} tokens",
                requests(counted)
            ),
            "look for a chat template or a default system message that the server adds to the prompt",
        )
    })
}

/// Checks that token counts are present and possible.
pub(super) fn token_counts(evidence: Evidence<'_>) -> Option<Verdict> {
    let completed = evidence.summary.counts.completed;
    let more_chunks = |record: &Record| {
        record.usage.is_some_and(|usage| usage.completion_tokens < record.chunks.len() as u64)
    };
    let wrong = evidence.completed().filter(more_chunks).count() as u64;
    if wrong > 0 {
        return Some(cell(
            VerdictKind::TokenCounts,
            format!(
                "{wrong} of {} returned more chunks of output than the server counted tokens",
                requests(completed)
            ),
            "every chunk holds at least one token: look for a proxy that splits chunks, or a server that counts differently",
        ));
    }
    // The server counts the tokens of all answers to a prompt.
    let requested = |name: &str| evidence.context.spec.extra_body.get(name)?.as_u64();
    let several = requested("n").or(requested("best_of")).unwrap_or(1).max(1);
    let beyond = |record: &Record| {
        record.usage.is_some_and(|usage| {
            let most = u64::from(record.max_tokens).saturating_mul(several);
            let longest = evidence.context.max_model_len.unwrap_or(u64::MAX);
            usage.completion_tokens > most
                || usage.prompt_tokens > longest
                || usage.cached_tokens.is_some_and(|cached| cached > usage.prompt_tokens)
        })
    };
    let wrong = evidence.completed().filter(beyond).count() as u64;
    if wrong > 0 {
        return Some(cell(
            VerdictKind::TokenCounts,
            format!(
                "{wrong} of {} have impossible token counts: more output tokens than `max_tokens`, a prompt longer than `max-model-len`, or more cached tokens than prompt tokens",
                requests(completed)
            ),
            "send one request by hand and count: a proxy may add counts up, or the server may count differently",
        ));
    }
    let uncounted = evidence.completed().filter(|record| record.usage.is_none()).count() as u64;
    (uncounted > 0).then(|| {
        metric(
            VerdictKind::TokenCounts,
            // A target on TPOT cannot be checked without token counts.
            TOKEN_METRICS.into_iter().chain(["goodput"]),
            format!(
                "{uncounted} of {} came without the server's token counts (`usage`)",
                requests(completed)
            ),
            "use a server that honours `stream_options = { include_usage = true }`; chunks are not counted instead",
        )
    })
}

/// Checks that answers were streamed.
pub(super) fn not_streamed(evidence: Evidence<'_>) -> Option<Verdict> {
    let completed = evidence.summary.counts.completed;
    let whole = evidence.completed().filter(|record| record.whole).count() as u64;
    if whole == 0 && (evidence.context.spec.stream || completed == 0) {
        return buffered(evidence);
    }
    Some(if evidence.context.spec.stream {
        metric(
            VerdictKind::NotStreamed,
            ["ttft", "itl", "tpot", "user"],
            format!(
                "{whole} of {} were one JSON value although streaming was requested: they have no TTFT, ITL and TPOT",
                counted(completed, "answer")
            ),
            "use a server that honours `stream`, or look for a proxy that collects streams; set `stream = false` if no stream is wanted",
        )
    } else if whole < completed {
        note(
            VerdictKind::NotStreamed,
            format!(
                "{} of {} were streamed despite `stream = false`: TTFT, ITL and TPOT cover only these",
                completed - whole,
                counted(completed, "answer")
            ),
            "look for a proxy that requests streams itself",
        )
    } else {
        note(
            VerdictKind::NotStreamed,
            format!(
                "{} were not streamed, as requested (`stream = false`): only their end is known, so TTFT, ITL and TPOT are absent",
                counted(completed, "answer")
            ),
            "remove `stream = false` to measure when tokens arrive; E2E, token counts and rates are valid either way",
        )
    })
}

/// Checks for streams that were buffered on their way and arrived all at once.
fn buffered(evidence: Evidence<'_>) -> Option<Verdict> {
    let several = |record: &Record| record.usage.is_some_and(|usage| usage.completion_tokens >= 2);
    let answers = evidence.completed().filter(several).count();
    let whole = evidence.completed().filter(several).filter(came_whole).count();
    let share = whole as f64 / answers as f64;
    (answers > 0 && share >= NOT_STREAMED_SHARE).then(|| {
        metric(
            VerdictKind::NotStreamed,
            ["ttft", "itl", "tpot", "user", "goodput"],
            format!(
                "{whole} of {answers} answers of two tokens or more ({}) arrived at one instant: their first token was seen no earlier than their last",
                percent(share)
            ),
            "look for a proxy that buffers or compresses, or a server that does not stream",
        )
    })
}

/// Whether an answer arrived in one chunk, or in chunks that follow each other as fast as they are read.
fn came_whole(record: &Record) -> bool {
    let (Some(first), Some(last)) = (record.chunks.first(), record.chunks.last()) else {
        return false;
    };
    let gaps = record.chunks.len() - 1;
    gaps == 0 || last.ms_since(first) / (gaps as f64) < FASTER_THAN_ANY_STEP_MS
}
