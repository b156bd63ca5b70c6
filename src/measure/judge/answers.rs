//! Whether the answers are what was asked for, and whether their tokens can be counted and timed.

use super::{Case, OF_TOKENS, cell, metric, note, percent, requests};
use crate::{
    load::Record,
    measure::verdict::{Verdict, VerdictKind},
};

/// Chunks that follow each other faster than this, milliseconds on average, were made before they were sent: no
/// engine takes a decoding step in it.
const FASTER_THAN_ANY_STEP_MS: f64 = 0.05;
/// From this share of answers on, an answer that came whole is not an accident.
const NOT_STREAMED_SHARE: f64 = 0.5;

pub(super) fn short_output(case: Case<'_>) -> Option<Verdict> {
    let got = case.summary.output_length.as_ref()?;
    if !case.context.spec.exact_output() || got.shorter == 0 {
        return None;
    }
    let reason = format!(
        "{} of {} got fewer than the {} tokens that were asked for exactly: {} at the least, {} in the median",
        got.shorter,
        requests(case.summary.counts.completed),
        match got.asked_spread {
            None => got.asked.to_string(),
            Some(spread) => format!("{} to {} ({} in the median)", spread.min, got.asked, spread.p50),
        },
        got.min,
        got.p50
    );
    let hint = "see whether the server honours `ignore_eos` and `min_tokens`, and whether prompt and output fit in `max-model-len`";
    Some(if got.p50 < got.asked_p50() {
        cell(VerdictKind::ShortOutput, reason, hint)
    } else {
        metric(VerdictKind::ShortOutput, ["throughput", "total", "req_s", "goodput", "e2e"], reason, hint)
    })
}

pub(super) fn input_length(case: Case<'_>) -> Option<Verdict> {
    let (mut told, mut wrong, mut least, mut most) = (0u64, 0u64, i64::MAX, i64::MIN);
    for record in case.completed() {
        if let (Some(asked), Some(usage)) = (record.input_tokens, record.usage) {
            let off = usage.prompt_tokens as i64 - i64::from(asked);
            told += 1;
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
            format!("{wrong} of {} had another number of prompt tokens by the server's count than was asked for: {off}", requests(told)),
            "look for a template or a default system message that the server adds to what it counted before the cell",
        )
    })
}

pub(super) fn token_counts(case: Case<'_>) -> Option<Verdict> {
    let completed = case.summary.counts.completed;
    let more_chunks = |record: &Record| {
        record.usage.is_some_and(|usage| usage.completion_tokens < record.chunks.len() as u64)
    };
    let wrong = case.completed().filter(more_chunks).count() as u64;
    if wrong > 0 {
        return Some(cell(
            VerdictKind::TokenCounts,
            format!(
                "{wrong} of {} brought more chunks of output than the server counts tokens",
                requests(completed)
            ),
            "no token is smaller than a chunk: look for a proxy that splits chunks, or a server that counts otherwise",
        ));
    }
    // Of several answers to one prompt the server counts all.
    let told = |name: &str| case.context.spec.extra_body.get(name)?.as_u64();
    let several = told("n").or(told("best_of")).unwrap_or(1).max(1);
    let beyond = |record: &Record| {
        record.usage.is_some_and(|usage| {
            let asked = u64::from(record.max_tokens).saturating_mul(several);
            let longest = case.context.max_model_len.unwrap_or(u64::MAX);
            usage.completion_tokens > asked
                || usage.prompt_tokens > longest
                || usage.cached_tokens.is_some_and(|cached| cached > usage.prompt_tokens)
        })
    };
    let wrong = case.completed().filter(beyond).count() as u64;
    if wrong > 0 {
        return Some(cell(
            VerdictKind::TokenCounts,
            format!(
                "{wrong} of {} came with counts that cannot be: more output tokens than `max_tokens`, a prompt longer than `max-model-len`, or more cached tokens than the prompt has",
                requests(completed)
            ),
            "ask the server for one answer by hand and count: a proxy may add counts up, or the server may count otherwise",
        ));
    }
    let untold = case.completed().filter(|record| record.usage.is_none()).count() as u64;
    (untold > 0).then(|| {
        metric(
            VerdictKind::TokenCounts,
            // A target on TPOT cannot be counted without tokens.
            OF_TOKENS.into_iter().chain(["goodput"]),
            format!(
                "{untold} of {} came without the server's token count (`usage`)",
                requests(completed)
            ),
            "use a server that honours `stream_options = { include_usage = true }`; chunks are not counted in its place",
        )
    })
}

pub(super) fn not_streamed(case: Case<'_>) -> Option<Verdict> {
    let completed = case.summary.counts.completed;
    let whole = case.completed().filter(|record| record.whole).count() as u64;
    if whole == 0 && (case.context.spec.stream || completed == 0) {
        return buffered(case);
    }
    Some(if case.context.spec.stream {
        metric(
            VerdictKind::NotStreamed,
            ["ttft", "itl", "tpot", "user"],
            format!(
                "{whole} of {} came as one JSON value though a stream was asked for: they have no TTFT, ITL and TPOT",
                answers(completed)
            ),
            "use a server that honours `stream`, or look for a proxy that collects streams; with `stream = false` nobody asks for one",
        )
    } else if whole < completed {
        note(
            VerdictKind::NotStreamed,
            format!(
                "{} of {} were streamed though whole ones were asked for (`stream = false`); TTFT, ITL and TPOT are of these alone",
                completed - whole,
                answers(completed)
            ),
            "look for a proxy that asks for streams by itself",
        )
    } else {
        note(
            VerdictKind::NotStreamed,
            format!(
                "{} came whole, as was asked for (`stream = false`): only their end is known, so TTFT, ITL and TPOT are absent",
                answers(completed)
            ),
            "take `stream = false` away to see when tokens come; E2E, tokens and rates hold either way",
        )
    })
}

/// `1 answer`, `2 answers`.
fn answers(count: u64) -> String {
    format!("{count} answer{}", if count == 1 { "" } else { "s" })
}

/// Streams that were collected on their way and arrived at one instant.
fn buffered(case: Case<'_>) -> Option<Verdict> {
    let several = |record: &Record| record.usage.is_some_and(|usage| usage.completion_tokens >= 2);
    let answers = case.completed().filter(several).count();
    let whole = case.completed().filter(several).filter(came_whole).count();
    let share = whole as f64 / answers as f64;
    (answers > 0 && share >= NOT_STREAMED_SHARE).then(|| {
        metric(
            VerdictKind::NotStreamed,
            ["ttft", "itl", "tpot", "user", "goodput"],
            format!(
                "{whole} of {answers} answers of two tokens or more ({}) arrived at one instant: their first token was seen no sooner than their last",
                percent(share)
            ),
            "look for a proxy that buffers or compresses, and for a server that does not stream",
        )
    })
}

/// One chunk, or chunks that follow each other as fast as they are read.
fn came_whole(record: &Record) -> bool {
    let (Some(first), Some(last)) = (record.chunks.first(), record.chunks.last()) else {
        return false;
    };
    let gaps = record.chunks.len() - 1;
    gaps == 0 || last.ms_since(first) / (gaps as f64) < FASTER_THAN_ANY_STEP_MS
}
