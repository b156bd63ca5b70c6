//! Checks of the client itself: was it in time, and did it send what was configured?

use std::collections::BTreeSet;

use super::evidence::{Evidence, cell, metric, note, percent, requests, tails};
use crate::{
    load::{ClientHealth, LoopDelay, Outcome, Records},
    manifest::{Arrivals, LatencyKind},
    measure::{
        in_flight, samples,
        verdict::{Verdict, VerdictKind},
    },
};

/// A delay below this, milliseconds, is normal scheduling.
const LATE_MS: f64 = 1.0;
/// Above this delay, milliseconds, the client does not keep up, however slow the server is.
const TOO_LATE_MS: f64 = 10.0;
/// A delay above this share of the median TTFT distorts the measurement.
const LATE_SHARE: f64 = 0.1;

/// At this utilization of the client's thread, work waits 2.3 times as long as it takes to handle: ρ / (1 −
/// ρ) for a single-server queue (M/M/1).
const BUSY: f64 = 0.7;
/// At this utilization, work waits nine times as long as it takes to handle.
const TOO_BUSY: f64 = 0.9;
/// Resolution of the timer that samples the event loop, milliseconds: so much is no delay.
const RESOLUTION_MS: f64 = 1.0;
/// A p99 delay of the event loop above this, milliseconds, is worth a note.
const SLOW_LOOP_MS: f64 = 5.0;

/// A single delay above this, milliseconds, means that the client or its machine was suspended: no load does
/// that.
const STOPPED_MS: f64 = 500.0;
/// A suspension longer than this share of a repeat affects all of its numbers.
const STOPPED_SHARE: f64 = 0.01;

/// A mean concurrency below this share of the configured one means that another load was measured.
const MOSTLY_REACHED: f64 = 0.9;

/// Checks that the client had time for what arrived, in its busiest repeat.
pub(super) fn client_saturated(evidence: Evidence<'_>) -> Option<Verdict> {
    let clients = evidence.context.client;
    if let Some(stopped) = stopped(clients) {
        return Some(stopped);
    }
    let cpu = clients.iter().map(ClientHealth::cpu_share).max_by(f64::total_cmp)?;
    let delay =
        clients.iter().filter_map(|client| client.loop_delay).max_by(|a, b| a.p99_ms.total_cmp(&b.p99_ms));
    let ttft = evidence.summary.ttft.as_ref().map(|ttft| ttft.p50_ms);
    let distorts = |delay_ms: f64| {
        let limit = ttft.map_or(f64::INFINITY, |ttft| ttft * LATE_SHARE);
        delay_ms - RESOLUTION_MS > limit
    };
    let median = delay.is_some_and(|delay| distorts(delay.p50_ms));
    let tail = delay.is_some_and(|delay| distorts(delay.p99_ms));
    let slow = delay.is_some_and(|delay| delay.p99_ms > SLOW_LOOP_MS);
    if !(cpu > BUSY || median || tail || slow) {
        return None;
    }
    let late = match delay {
        Some(LoopDelay { p50_ms, p99_ms, .. }) => {
            format!(", and its event loop was {p50_ms:.1} ms late in the median, {p99_ms:.1} ms at p99")
        }
        None => String::new(),
    };
    let beside = match ttft {
        Some(ttft) => format!(" (median TTFT: {ttft:.1} ms)"),
        None => String::new(),
    };
    let reason = format!(
        "the client's thread used {} of a core{late}{beside}; its time stamps are that late, too",
        percent(cpu)
    );
    let hint = "give the client a core that the server does not use, or set fewer requests in flight";
    Some(if cpu > TOO_BUSY || median {
        cell(VerdictKind::ClientSaturated, reason, hint)
    } else if tail {
        metric(VerdictKind::ClientSaturated, tails(&LatencyKind::ALL), reason, hint)
    } else {
        note(VerdictKind::ClientSaturated, reason, hint)
    })
}

/// Checks for one delay so long that something had suspended the client.
fn stopped(clients: &[ClientHealth]) -> Option<Verdict> {
    let (stopped_ms, of_ms) = clients
        .iter()
        .filter_map(|client| Some((client.loop_delay?.max_ms, client.wall_s * 1e3)))
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    if stopped_ms <= STOPPED_MS {
        return None;
    }
    let reason = format!(
        "the client stood still for {stopped_ms:.0} ms of {:.1} s: it was suspended, or its machine gave it no CPU time",
        of_ms / 1e3
    );
    let hint = "measure the cell again without suspending the runner (Ctrl-Z) or the machine, and with enough free memory";
    Some(if stopped_ms > of_ms * STOPPED_SHARE {
        cell(VerdictKind::ClientSaturated, reason, hint)
    } else {
        metric(VerdictKind::ClientSaturated, tails(&LatencyKind::ALL), reason, hint)
    })
}

/// Checks that requests were sent when they were due.
pub(super) fn client_late(evidence: Evidence<'_>) -> Option<Verdict> {
    let p99 = evidence.summary.issue_delay.as_ref()?.p99_ms;
    if p99 <= LATE_MS {
        return None;
    }
    let ttft = evidence.summary.ttft.as_ref().map(|ttft| ttft.p50_ms);
    let share = ttft.filter(|ttft| *ttft > 0.0).map(|ttft| p99 / ttft);
    let beside = match share {
        Some(share) => format!(", {} of the median TTFT", percent(share)),
        None => String::new(),
    };
    let queued = match evidence.summary.peak_queue {
        Some(queue) => format!("; at most {queue} waited to be sent at once"),
        None => String::new(),
    };
    let reason =
        format!("one request in a hundred was sent at least {p99:.1} ms after it was due{beside}{queued}");
    let hint =
        "the runner's machine is busy: give it more cores, or run it on another machine than the server";
    // A batch cannot be sent in no time: its delay counts only as a share of its latency.
    let is_batch = evidence.context.spec.arrivals == Arrivals::AtOnce;
    let too_late = p99 > TOO_LATE_MS && !is_batch || share.is_some_and(|share| share > LATE_SHARE);
    Some(if too_late {
        cell(VerdictKind::ClientLate, reason, hint)
    } else {
        note(VerdictKind::ClientLate, reason, hint)
    })
}

/// Checks that each repeat reached the configured concurrency. Warm-up counts: its requests are in flight
/// like any other.
pub(super) fn concurrency_not_reached(evidence: Evidence<'_>) -> Option<Verdict> {
    let wanted = evidence.context.spec.streams()?;
    // When no request completes, another verdict says so, and concurrency means nothing.
    if evidence.summary.counts.completed == 0 {
        return None;
    }
    // With think times a stream is often idle, so streams that have sent something are counted.
    let reached = |records: &Records| match evidence.context.spec.think_time {
        None => in_flight::peak(records.iter()),
        Some(_) => Some(streams(records)),
    };
    let (peak, sent) =
        evidence.records.iter().filter_map(|records| Some((reached(records)?, records.len()))).min()?;
    if peak >= wanted {
        return rarely_reached(evidence, wanted);
    }
    Some(if sent < u64::from(wanted) {
        note(
            VerdictKind::ConcurrencyNotReached,
            format!("{sent} requests cannot keep {wanted} in flight; at most {peak} were"),
            format!("send at least {wanted} requests, better several times as many (`requests_per_stream`)"),
        )
    } else {
        cell(
            VerdictKind::ConcurrencyNotReached,
            format!("at most {peak} requests were in flight at once, and {wanted} were configured"),
            "answers end before all streams have started, or connections fail: request longer answers, or check the errors",
        )
    })
}

/// Checks the mean concurrency in the steady window, when the peak was reached.
fn rarely_reached(evidence: Evidence<'_>, wanted: u32) -> Option<Verdict> {
    let spec = evidence.context.spec;
    if spec.think_time.is_some() {
        return None;
    }
    let mean = evidence
        .records
        .iter()
        .filter_map(|records| {
            let steady = in_flight::steady(records, spec, samples::window(records, spec)?)?;
            Some(in_flight::mean(records, steady))
        })
        .min_by(f64::total_cmp)?;
    let share = mean / f64::from(wanted);
    (share < MOSTLY_REACHED).then(|| {
        cell(
            VerdictKind::ConcurrencyNotReached,
            format!(
                "{mean:.1} requests were in flight on average in the steady window, {} of the configured {wanted}",
                percent(share)
            ),
            "streams pause after failures, or answers are so short that the client is often between two of them: check the errors, or request longer answers",
        )
    })
}

/// Number of streams that sent something.
fn streams(records: &Records) -> u32 {
    let sent = records.iter().filter(|record| record.sent.is_some());
    let streams: BTreeSet<u32> = sent.map(|record| record.stream).collect();
    streams.len() as u32
}

/// Reports arrivals of an open loop that were never sent. They also count as errors, whose verdict says what
/// they affect.
pub(super) fn arrivals_dropped(evidence: Evidence<'_>) -> Option<Verdict> {
    let counts = &evidence.summary.counts;
    let name = Outcome::Dropped.to_string();
    let dropped = counts.by_outcome.get(&name).copied()?;
    if !evidence.context.spec.arrivals.is_open() {
        return None;
    }
    let bound = match evidence.context.spec.max_in_flight {
        Some(most) => format!(" because {most} were in flight already (`max_in_flight`)"),
        None => String::new(),
    };
    Some(note(
        VerdictKind::ArrivalsDropped,
        format!(
            "{dropped} of {} ({}) were due but never sent{bound}: the server saw a lower rate than configured",
            requests(counts.scheduled),
            percent(dropped as f64 / counts.scheduled as f64)
        ),
        "lower the `rate`, or raise `max_in_flight`",
    ))
}
