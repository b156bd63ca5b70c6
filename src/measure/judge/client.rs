//! Whether our own client did what it was asked to do.

use super::{Case, cell, note, percent};
use crate::measure::{
    in_flight,
    verdict::{Verdict, VerdictKind},
};

/// Below this, milliseconds, a delay is what a scheduler's turn takes.
const LATE_MS: f64 = 1.0;
/// Beyond this, milliseconds, the client is not keeping up, however slow the server is.
const TOO_LATE_MS: f64 = 10.0;
/// Beyond this share of the median TTFT a delay distorts what is measured.
const LATE_SHARE: f64 = 0.1;

pub(super) fn client_late(case: Case<'_>) -> Option<Verdict> {
    let p99 = case.summary.issue_delay.as_ref()?.p99_ms;
    if p99 <= LATE_MS {
        return None;
    }
    let ttft = case.summary.ttft.as_ref().map(|ttft| ttft.p50_ms);
    let share = ttft.filter(|ttft| *ttft > 0.0).map(|ttft| p99 / ttft);
    let beside = match share {
        Some(share) => format!(", {} of the median TTFT", percent(share)),
        None => String::new(),
    };
    let reason =
        format!("one request in a hundred was sent {p99:.1} ms or more after it was due{beside}");
    let hint = "the runner's own machine is busy: give it more cores, or run it beside the server instead of on it";
    let too_late = p99 > TOO_LATE_MS || share.is_some_and(|share| share > LATE_SHARE);
    Some(if too_late {
        cell(VerdictKind::ClientLate, reason, hint)
    } else {
        note(VerdictKind::ClientLate, reason, hint)
    })
}

/// Looks at each repeat, warm-up included: a warm-up request holds a place in flight like any other.
pub(super) fn concurrency_not_reached(case: Case<'_>) -> Option<Verdict> {
    let asked = case.asked.spec.concurrency;
    // A cell in which nothing completes says so itself; how many failed at once says nothing.
    if case.summary.counts.completed == 0 {
        return None;
    }
    let (peak, sent) = case
        .records
        .iter()
        .filter_map(|records| Some((in_flight::peak(records.iter())?, records.len())))
        .min()?;
    if peak >= asked {
        return None;
    }
    Some(if sent < u64::from(asked) {
        note(
            VerdictKind::ConcurrencyNotReached,
            format!("{sent} requests cannot keep {asked} in flight; at most {peak} were"),
            format!(
                "ask for at least {asked} requests, better several times as many (`requests_per_stream`)"
            ),
        )
    } else {
        cell(
            VerdictKind::ConcurrencyNotReached,
            format!("at most {peak} requests were in flight at once, {asked} were asked for"),
            "answers end before all streams have begun, or connections fail: ask for longer answers, or look at the errors",
        )
    })
}
