//! Whether our own client did what it was asked to do.

use std::collections::BTreeSet;

use super::{Case, cell, metric, named, note, percent, requests};
use crate::{
    load::{ClientHealth, LoopDelay, Outcome, Records},
    manifest::{Arrivals, LatencyKind},
    measure::{
        in_flight, samples,
        verdict::{Verdict, VerdictKind},
    },
    unit::Percentile,
};

/// Below this, milliseconds, a delay is what a scheduler's turn takes.
const LATE_MS: f64 = 1.0;
/// Beyond this, milliseconds, the client is not keeping up, however slow the server is.
const TOO_LATE_MS: f64 = 10.0;
/// Beyond this share of the median TTFT a delay distorts what is measured.
const LATE_SHARE: f64 = 0.1;

/// Before a thread that is busy for this part of the time, what arrives waits 2.3 times as long as it takes to be handled:
/// a queue in front of one server has ρ / (1 − ρ) in it (M/M/1).
const BUSY: f64 = 0.7;
/// Here it waits nine times as long, and grows without bound soon after.
const TOO_BUSY: f64 = 0.9;
/// A timer has a grain of 1 ms: that much is not the loop's delay.
const GRAIN_MS: f64 = 1.0;
/// Beyond this, milliseconds, one turn of the event loop in a hundred is worth a word.
const SLOW_LOOP_MS: f64 = 5.0;

/// Beyond this, milliseconds, the client was stopped, or its machine: no load makes one turn so late.
const STOPPED_MS: f64 = 500.0;
/// Beyond this share of a repeat a stop is in every number of it.
const STOPPED_SHARE: f64 = 0.01;

/// Below this share of the concurrency asked for, on average, another one was measured.
const MOSTLY_REACHED: f64 = 0.9;

/// Whether our own client had time for what arrived: the repeat in which it had least.
pub(super) fn client_saturated(case: Case<'_>) -> Option<Verdict> {
    let clients = case.context.client;
    if let Some(stopped) = stopped(clients) {
        return Some(stopped);
    }
    let cpu = clients.iter().map(ClientHealth::cpu_share).max_by(f64::total_cmp)?;
    let delay =
        clients.iter().filter_map(|client| client.loop_delay).max_by(|a, b| a.p99_ms.total_cmp(&b.p99_ms));
    let ttft = case.summary.ttft.as_ref().map(|ttft| ttft.p50_ms);
    let distorts = |delay_ms: f64| {
        let limit = ttft.map_or(f64::INFINITY, |ttft| ttft * LATE_SHARE);
        delay_ms - GRAIN_MS > limit
    };
    let median = delay.is_some_and(|delay| distorts(delay.p50_ms));
    let tail = delay.is_some_and(|delay| distorts(delay.p99_ms));
    let slow = delay.is_some_and(|delay| delay.p99_ms > SLOW_LOOP_MS);
    if !(cpu > BUSY || median || tail || slow) {
        return None;
    }
    let late = match delay {
        Some(LoopDelay { p50_ms, p99_ms, .. }) => {
            format!(", and its event loop turned {p50_ms:.1} ms late in the median, {p99_ms:.1} ms at p99")
        }
        None => String::new(),
    };
    let beside = match ttft {
        Some(ttft) => format!(" (median TTFT: {ttft:.1} ms)"),
        None => String::new(),
    };
    let reason = format!("the client's thread used {} of a core{late}{beside}", percent(cpu));
    let hint = "give the client a core of its own, apart from the server's, or ask for fewer requests in flight; every stamp is as late as the loop";
    Some(if cpu > TOO_BUSY || median {
        cell(VerdictKind::ClientSaturated, reason, hint)
    } else if tail {
        let tails = LatencyKind::ALL
            .into_iter()
            .flat_map(|metric| [Percentile::P95, Percentile::P99].map(|rank| named(rank, metric)));
        metric(VerdictKind::ClientSaturated, tails, reason, hint)
    } else {
        note(VerdictKind::ClientSaturated, reason, hint)
    })
}

/// Whether the client stood still once for so long that something had stopped it.
fn stopped(clients: &[ClientHealth]) -> Option<Verdict> {
    let (stood_ms, of_ms) = clients
        .iter()
        .filter_map(|client| Some((client.loop_delay?.max_ms, client.wall_s * 1e3)))
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    if stood_ms <= STOPPED_MS {
        return None;
    }
    let reason = format!(
        "the client stood still for {stood_ms:.0} ms of {:.1} s: it was stopped, or its machine had no time for it at all",
        of_ms / 1e3
    );
    let hint = "measure the cell again while nothing stops the runner: no Ctrl-Z, no suspended machine, memory enough";
    Some(if stood_ms > of_ms * STOPPED_SHARE {
        cell(VerdictKind::ClientSaturated, reason, hint)
    } else {
        let tails = LatencyKind::ALL
            .into_iter()
            .flat_map(|metric| [Percentile::P95, Percentile::P99].map(|rank| named(rank, metric)));
        metric(VerdictKind::ClientSaturated, tails, reason, hint)
    })
}

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
    let queued = match case.summary.peak_queue {
        Some(queue) => format!("; at most {queue} waited to be sent at once"),
        None => String::new(),
    };
    let reason =
        format!("one request in a hundred was sent {p99:.1} ms or more after it was due{beside}{queued}");
    let hint =
        "the runner's own machine is busy: give it more cores, or run it beside the server instead of on it";
    // Nobody sends a batch in no time; its delay is part of its latency, and counts by its share.
    let is_batch = case.context.spec.arrivals == Arrivals::AtOnce;
    let too_late = p99 > TOO_LATE_MS && !is_batch || share.is_some_and(|share| share > LATE_SHARE);
    Some(if too_late {
        cell(VerdictKind::ClientLate, reason, hint)
    } else {
        note(VerdictKind::ClientLate, reason, hint)
    })
}

/// Looks at each repeat, warm-up included: a warm-up request holds a place in flight like any other.
pub(super) fn concurrency_not_reached(case: Case<'_>) -> Option<Verdict> {
    let asked = case.context.spec.streams()?;
    // A cell in which nothing completes says so itself; how many failed at once says nothing.
    if case.summary.counts.completed == 0 {
        return None;
    }
    // A stream that thinks holds no place in flight: it is there when it has sent something.
    let reached = |records: &Records| match case.context.spec.think_time {
        None => in_flight::peak(records.iter()),
        Some(_) => Some(streams(records)),
    };
    let (peak, sent) =
        case.records.iter().filter_map(|records| Some((reached(records)?, records.len()))).min()?;
    if peak >= asked {
        return rarely_reached(case, asked);
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

/// The peak was what was asked for, and the mean of some repeat's steady window was not.
fn rarely_reached(case: Case<'_>, asked: u32) -> Option<Verdict> {
    let spec = case.context.spec;
    if spec.think_time.is_some() {
        return None;
    }
    let mean = case
        .records
        .iter()
        .filter_map(|records| {
            let steady = in_flight::steady(records, spec, samples::window(records, spec)?)?;
            Some(in_flight::mean(records, steady))
        })
        .min_by(f64::total_cmp)?;
    let share = mean / f64::from(asked);
    (share < MOSTLY_REACHED).then(|| {
        cell(
            VerdictKind::ConcurrencyNotReached,
            format!(
                "{mean:.1} requests were in flight on average of the steady window, {} of the {asked} that were asked for",
                percent(share)
            ),
            "requests fail and are waited for, or answers are so short that the client is between two of them: look at the errors, or ask for longer answers",
        )
    })
}

/// How many streams sent something.
fn streams(records: &Records) -> u32 {
    let sent = records.iter().filter(|record| record.sent.is_some());
    let streams: BTreeSet<u32> = sent.map(|record| record.stream).collect();
    streams.len() as u32
}

/// Arrivals of an open loop that were never sent. How far they spoil the numbers, the verdict on errors says: they count
/// there with all that did not complete.
pub(super) fn arrivals_dropped(case: Case<'_>) -> Option<Verdict> {
    let counts = &case.summary.counts;
    let word = Outcome::Dropped.to_string();
    let dropped = counts.by_outcome.get(&word).copied()?;
    if !case.context.spec.arrivals.is_open() {
        return None;
    }
    let bound = match case.context.spec.max_in_flight {
        Some(most) => format!(" because {most} were in flight already (`max_in_flight`)"),
        None => String::new(),
    };
    Some(note(
        VerdictKind::ArrivalsDropped,
        format!(
            "{dropped} of {} ({}) were due and never sent{bound}: the server saw a lower rate than was asked for",
            requests(counts.scheduled),
            percent(dropped as f64 / counts.scheduled as f64)
        ),
        "ask for a lower `rate`, or let more be in flight (`max_in_flight`)",
    ))
}
