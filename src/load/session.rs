//! What all requests of a repeat share, and the path that each of them takes from arrival to record.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    chunks::Chunks,
    connection::Connect,
    error::LoadError,
    exchange::{Connection, Context, exchange},
    progress::Progress,
    record::{Outcome, Phase, Record, Wait},
    schedule::Schedule,
    sink::Sink,
    timer::Timer,
};
use crate::{
    plan::Stop,
    unit::Nanos,
    workload::{Request, Requests},
};

/// Initial capacity for the stamps of a request, bytes.
const STAMPS_CAPACITY: usize = 256;

/// Pause before the first retry; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// When a reused connection ends within this time without an answer, the server had closed it before the
/// request arrived. Servers close idle connections (vLLM after five seconds), and checking the socket before
/// sending cannot see a close that is still on its way (RFC 9112, 9.3.1 and 9.5).
const CLOSED_WHILE_IDLE: Duration = Duration::from_secs(1);

/// One repeat of a cell: everything that decides what is sent, and when.
#[derive(Clone, Debug)]
pub struct Repeat {
    /// The requests.
    pub requests: Arc<Requests>,
    /// When requests are sent.
    pub schedule: Schedule,
    /// When no further request starts. An open schedule contains its end already.
    pub stop: Stop,
    /// Number of warm-up requests. The measured ones follow without draining.
    pub warmup: u64,
    /// Timeout of one request, retries included.
    pub timeout: Duration,
    /// The most retries of a request that fails in a transient way.
    pub retries: u32,
    /// The timer of an open loop.
    pub timer: Timer,
    /// Value of the `Host` header.
    pub authority: String,
    /// The path before the endpoint's.
    pub base: String,
    /// Sent as a bearer token and never shown.
    pub api_key: Option<String>,
}

/// What all requests of a repeat share.
pub(super) struct Session<C, S> {
    pub(super) repeat: Repeat,
    pub(super) sink: Arc<S>,
    pub(super) context: Context,
    pub(super) connect: C,
    pub(super) progress: Arc<Progress>,
}

pub(super) struct Arrival {
    pub(super) index: u64,
    pub(super) stream: u32,
    pub(super) phase: Phase,
    pub(super) scheduled: Nanos,
    pub(super) request: Request,
}

impl Arrival {
    /// Its record before anything is sent.
    fn record(&self) -> Record {
        Record::unsent(self.index, self.stream, self.phase, self.scheduled, &self.request)
    }
}

impl<C: Connect, S: Sink> Session<C, S> {
    /// The phase that an arrival belongs to.
    pub(super) fn phase(&self, index: u64) -> Phase {
        if index < self.repeat.warmup { Phase::Warmup } else { Phase::Measured }
    }

    /// Sends a request, reads its answer, and hands its record to the sink. Takes the connection from
    /// `connection` and leaves one there that can be used again. Returns the outcome and, for a turn of a
    /// conversation, the answer's text.
    pub(super) async fn perform(
        &self,
        arrival: Arrival,
        connection: &mut Option<Connection<C>>,
        cancel: &mut watch::Receiver<bool>,
    ) -> Result<(Outcome, Option<String>), LoadError> {
        let progress = &*self.progress;
        let mut record = arrival.record();
        let stamps = STAMPS_CAPACITY.min(4 * arrival.request.max_tokens as usize);
        record.chunks = Chunks::with_capacity(stamps);
        record.answer = record.turn.map(|_| String::new());
        progress.in_flight.fetch_add(1, Relaxed);
        let deadline = Instant::now() + self.repeat.timeout;
        let request = arrival.request;
        let ended_by_client = tokio::select! {
            biased;
            () = self.send(connection, request, &mut record) => None,
            () = sleep_until(deadline) => Some(Outcome::TimedOut(Wait::Rest)),
            _ = cancel.wait_for(|cancelled| *cancelled) => Some(Outcome::Cancelled),
        };
        record.outcome = match ended_by_client {
            Some(Outcome::TimedOut(_)) => Outcome::TimedOut(waited_for(&record)),
            Some(_) if record.sent.is_none() => Outcome::Dropped,
            Some(outcome) => outcome,
            None => record.outcome,
        };
        // A complete answer has set its end already.
        if record.end == record.scheduled {
            record.end = self.context.now();
        }
        progress.in_flight.fetch_sub(1, Relaxed);
        let text = record.answer.take();
        Ok((self.keep(record)?, text))
    }

    /// Sends a request, and again while its failure is transient and retries are left.
    async fn send(&self, connection: &mut Option<Connection<C>>, request: Request, record: &mut Record) {
        let (context, connect) = (&self.context, &self.connect);
        let mut pause = FIRST_PAUSE;
        loop {
            let sent = Instant::now();
            exchange(context, connect, connection, request.clone(), record, &self.progress).await;
            let closed_while_idle = record.outcome == Outcome::Reset
                && record.reused_connection
                && record.headers.is_none()
                && sent.elapsed() < CLOSED_WHILE_IDLE;
            // If no new connection opens, the server itself is gone, and the reset stands.
            if closed_while_idle && let Ok(opened) = Connection::open(connect).await {
                *connection = Some(opened);
                record.reconnected = true;
                reset_attempt(record);
                continue;
            }
            if record.retried >= self.repeat.retries || !record.outcome.is_transient() {
                return;
            }
            sleep(pause).await;
            pause *= 2;
            record.retried += 1;
            reset_attempt(record);
        }
    }

    /// Records an arrival that is not sent, and why.
    pub(super) fn drop_arrival(&self, arrival: &Arrival, reason: String) -> Result<Outcome, LoadError> {
        let mut record = arrival.record();
        record.end = self.context.now();
        record.error = Some(reason);
        self.keep(record)
    }

    fn keep(&self, record: Record) -> Result<Outcome, LoadError> {
        let outcome = record.outcome;
        if outcome == Outcome::Completed {
            self.progress.completed.fetch_add(1, Relaxed);
        }
        if record.phase == Phase::Measured {
            self.progress.ended.fetch_add(1, Relaxed);
            if outcome != Outcome::Completed {
                self.progress.errors.fetch_add(1, Relaxed);
            }
        }
        self.sink.take(record)?;
        Ok(outcome)
    }
}

/// Clears what a failed attempt left in the record, except when the first one was sent.
fn reset_attempt(record: &mut Record) {
    (record.headers, record.status, record.error) = (None, None, None);
    record.end = record.scheduled;
}

fn waited_for(record: &Record) -> Wait {
    if record.sent.is_none() {
        Wait::Connect
    } else if record.chunks.is_empty() {
        Wait::FirstToken
    } else {
        Wait::Rest
    }
}

/// Waits until `at`, or until the repeat is cancelled. Returns whether it was.
pub(super) async fn is_cancelled_before(at: Instant, cancel: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        () = sleep_until(at) => false,
        _ = cancel.wait_for(|cancelled| *cancelled) => true,
    }
}
