//! The closed loop: a fixed number of streams, each of which sends its next request when its last one has
//! ended.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    connection::Connect,
    error::LoadError,
    exchange::Connection,
    record::Outcome,
    schedule::{Closed, Think},
    session::{Arrival, Session, is_cancelled_before},
    sink::Sink,
};
use crate::{manifest::Start, plan::Stop, unit::Nanos, workload::Conversation};

/// Pause of a stream after a failed connection, so that a dead server does not cause a busy loop.
const AFTER_REFUSAL: Duration = Duration::from_millis(100);
/// How often the first stream's progress is checked while the others wait to start.
const CHECK_EVERY: Duration = Duration::from_millis(1);
/// Number of chunks from which the first stream's pace is estimated.
const CHUNKS_FOR_PACE: u64 = 8;

/// What the streams of a closed loop share.
struct ClosedLoop<C, S> {
    session: Arc<Session<C, S>>,
    schedule: Closed,
    next: AtomicU64,
    next_conversation: AtomicU64,
    /// When the first measured request was due.
    measured_from: OnceLock<Nanos>,
    /// Notified when the first stream's first request has ended.
    first_end: Notify,
}

pub(super) async fn run<C: Connect, S: Sink>(
    session: &Arc<Session<C, S>>,
    schedule: Closed,
    mut connections: Vec<Connection<C>>,
    mut cancel: watch::Receiver<bool>,
) -> Result<(), LoadError> {
    let closed = Arc::new(ClosedLoop {
        session: session.clone(),
        schedule,
        next: AtomicU64::new(0),
        next_conversation: AtomicU64::new(0),
        measured_from: OnceLock::new(),
        first_end: Notify::new(),
    });
    let epoch = session.context.epoch;
    let mut streams = JoinSet::new();
    let mut spread = Duration::ZERO;
    let mut known_at = Duration::ZERO;
    for number in 0..schedule.streams {
        if number == 1 && schedule.start == Start::Staggered {
            spread = tokio::select! {
                spread = closed.estimate_request_duration() => spread,
                _ = cancel.wait_for(|cancelled| *cancelled) => Duration::ZERO,
            };
            known_at = epoch.elapsed();
        }
        // Starts are spread evenly over the duration of a request; those that have passed already come one
        // duration later.
        let mut from = spread * number / schedule.streams;
        if number > 0 && from < known_at {
            from += spread;
        }
        let connection = connections.pop();
        streams.spawn(stream(closed.clone(), number, epoch + from, connection, cancel.clone()));
    }
    // Returning drops the set, which stops the other streams.
    while let Some(done) = streams.join_next().await {
        done.map_err(|error| LoadError::Task(error.to_string()))??;
    }
    Ok(())
}

impl<C, S: Sink> ClosedLoop<C, S> {
    /// Estimates the duration of a request from the first stream's first one, which has the server to itself:
    /// as soon as its pace is known, or when it has ended.
    async fn estimate_request_duration(&self) -> Duration {
        let session = &self.session;
        let tokens = u64::from(self.schedule.answer_tokens);
        let mut first: Option<(Duration, u64)> = None;
        let whole = loop {
            tokio::select! {
                biased;
                () = self.first_end.notified() => break session.context.epoch.elapsed(),
                () = sleep(CHECK_EVERY) => {}
            }
            let chunks = session.progress.chunks.load(Relaxed);
            let now = session.context.epoch.elapsed();
            match first {
                None if chunks > 0 => first = Some((now, chunks)),
                Some((at, before)) if chunks >= before + CHUNKS_FOR_PACE => {
                    let pace = (now - at).div_f64((chunks - before) as f64);
                    break at + pace.mul_f64(tokens.saturating_sub(before) as f64);
                }
                _ => {}
            }
        };
        match session.repeat.stop {
            Stop::Requests(_) => whole,
            Stop::Duration(span) => whole.min(span.duration() / 4),
        }
    }

    /// Whether a request may start at an instant.
    fn is_open(&self, at: Nanos) -> bool {
        if !self.session.sink.wants_more() {
            return false;
        }
        match (self.session.repeat.stop, self.measured_from.get()) {
            (Stop::Duration(span), Some(start)) => u128::from(at.0 - start.0) < span.duration().as_nanos(),
            (Stop::Duration(_), None) => true,
            (Stop::Requests(requests), _) => {
                self.next.load(Relaxed) < self.session.repeat.warmup.saturating_add(requests)
            }
        }
    }

    /// Takes the next arrival's number; `None` when the repeat has ended.
    fn arrival(&self, now: Nanos) -> Option<u64> {
        if !self.is_open(now) {
            return None;
        }
        let index = self.next.fetch_add(1, Relaxed);
        if let Some(measured) = index.checked_sub(self.session.repeat.warmup) {
            if let Stop::Requests(requests) = self.session.repeat.stop
                && measured >= requests
            {
                return None;
            }
            self.measured_from.get_or_init(|| now);
        }
        Some(index)
    }
}

async fn stream<C: Connect, S: Sink>(
    closed: Arc<ClosedLoop<C, S>>,
    number: u32,
    from: Instant,
    mut connection: Option<Connection<C>>,
    mut cancel: watch::Receiver<bool>,
) -> Result<(), LoadError> {
    let session = &*closed.session;
    let mut think = Think::of(closed.schedule.think, closed.schedule.seed, u64::from(number));
    if from > Instant::now() && is_cancelled_before(from, &mut cancel).await {
        return Ok(());
    }
    let requests = &*session.repeat.requests;
    // The stream's current conversation, until it ends or a turn fails.
    let mut conversation: Option<Conversation> = None;
    while !*cancel.borrow() {
        let scheduled = session.context.now();
        let Some(index) = closed.arrival(scheduled) else {
            break;
        };
        if conversation.is_none() && requests.are_turns() {
            conversation = Some(requests.begin(closed.next_conversation.fetch_add(1, Relaxed)));
        }
        let arrival = Arrival {
            index,
            stream: number,
            phase: session.phase(index),
            scheduled,
            request: requests.turn(conversation.as_ref(), index),
        };
        let (outcome, answer) = session.perform(arrival, &mut connection, &mut cancel).await?;
        conversation = match (conversation, answer) {
            (Some(conversation), Some(answer)) if outcome == Outcome::Completed => {
                requests.answered(conversation, &answer)
            }
            _ => None,
        };
        if number == 0 {
            closed.first_end.notify_one();
        }
        let no_connection = matches!(outcome, Outcome::Refused | Outcome::Reset | Outcome::Unreachable);
        let wait = if no_connection { Some(AFTER_REFUSAL) } else { think.as_mut().map(Think::draw) };
        if let Some(wait) = wait {
            let at = Nanos(session.context.now().0 + wait.as_nanos() as u64);
            if !closed.is_open(at) || is_cancelled_before(Instant::now() + wait, &mut cancel).await {
                break;
            }
        }
    }
    Ok(())
}
