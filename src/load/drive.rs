//! A schedule, a stop and requests → records: the one way every cell goes.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use hyper::header::HeaderValue;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{
    alarm::Timer,
    chunks::Chunks,
    closed,
    connection::Connect,
    exchange::{Context, Link, exchange},
    open,
    progress::Progress,
    record::{Outcome, Phase, Record, Wait},
    schedule::Schedule,
    sink::Sink,
};
use crate::{
    plan::Stop,
    unit::Nanos,
    workload::{Request, Requests},
};

/// Room for stamps that a request begins with, bytes; more is made as they come.
const FIRST_STAMPS: usize = 256;

/// How long a request waits before it is tried again for the first time; then twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// How soon a connection that was used before must end, unanswered, to be one that the server closed before it was asked:
/// word of that takes one way through the network. Servers close what idled for some seconds (vLLM: five), and no look at
/// the socket before sending sees a close that is still on its way (RFC 9112, 9.3.1 and 9.5).
const CLOSED_BEFORE: Duration = Duration::from_secs(1);

/// One measured execution: everything that decides what is sent, and when.
#[derive(Clone, Debug)]
pub struct Drive {
    /// What is asked.
    pub requests: Arc<Requests>,
    /// When requests start.
    pub schedule: Schedule,
    /// When no more of them start. An open schedule holds its end already.
    pub stop: Stop,
    /// Requests before the measured ones. They hand over without draining.
    pub warmup: u64,
    /// How long one request may take.
    pub timeout: Duration,
    /// How often a request that may fare better in a moment is tried again.
    pub retries: u32,
    /// What an open loop waits with.
    pub timer: Timer,
    /// Value of the `Host` header.
    pub authority: String,
    /// What stands before the endpoint's path.
    pub base: String,
    /// Sent as a bearer token, and never shown.
    pub api_key: Option<String>,
}

/// What all requests of an execution share.
pub(super) struct Shared<C, S> {
    pub(super) drive: Drive,
    pub(super) sink: Arc<S>,
    pub(super) context: Context,
    pub(super) connect: C,
    pub(super) progress: Arc<Progress>,
}

/// A request that is due.
pub(super) struct Arrival {
    pub(super) index: u64,
    pub(super) stream: u32,
    pub(super) phase: Phase,
    pub(super) scheduled: Nanos,
    pub(super) request: Request,
}

/// Drives a server: opens connections, starts the clock, and gives the sink one record per arrival, as it ends.
///
/// When `cancel` turns true, requests in flight end as cancelled and no other starts.
///
/// # Errors
/// A sentence when a header cannot be made of the authority or the API key, or the sink takes no more.
pub async fn drive<C, S>(
    drive: Drive,
    connect: C,
    progress: Arc<Progress>,
    cancel: watch::Receiver<bool>,
    sink: Arc<S>,
) -> Result<(), String>
where
    C: Connect + Clone + Send + Sync + 'static,
    S: Sink,
{
    let ahead = match &drive.schedule {
        Schedule::Closed(closed) => closed.streams as usize,
        Schedule::Open(open) => open::connections_ahead(open),
    };
    let links = connections(ahead, &connect, cancel.clone()).await;
    let authorization = drive.api_key.as_ref().map(|key| {
        let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
            .map_err(|_| "the API key holds characters that a header cannot".to_owned())?;
        value.set_sensitive(true);
        Ok::<_, String>(value)
    });
    let shared = Arc::new(Shared {
        context: Context {
            authority: HeaderValue::from_str(&drive.authority)
                .map_err(|_| format!("{:?} cannot be a Host header", drive.authority))?,
            path: format!("{}{}", drive.base, drive.requests.path()),
            authorization: authorization.transpose()?,
            // The clock starts when the connections are open.
            epoch: Instant::now(),
        },
        connect,
        sink,
        progress,
        drive,
    });
    match &shared.drive.schedule {
        Schedule::Closed(closed) => closed::run(&shared, *closed, links, cancel).await,
        Schedule::Open(open) => open::run(&shared, open, links, cancel).await,
    }
}

/// Opens connections at once. One that does not open is tried again by its first request, which then has an outcome.
async fn connections<C>(count: usize, connect: &C, mut cancel: watch::Receiver<bool>) -> Vec<Link<C>>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let mut opening = JoinSet::new();
    for _ in 0..count {
        let connect = connect.clone();
        opening.spawn(async move { Link::open(&connect).await.ok() });
    }
    tokio::select! {
        links = opening.join_all() => links.into_iter().flatten().collect(),
        _ = cancel.wait_for(|cancelled| *cancelled) => Vec::new(),
    }
}

impl<C, S> Shared<C, S>
where
    C: Connect,
    S: Sink,
{
    /// The part of the cell that an arrival belongs to.
    pub(super) fn phase(&self, index: u64) -> Phase {
        if index < self.drive.warmup { Phase::Warmup } else { Phase::Measured }
    }

    /// A record with nothing in it but the arrival: never sent.
    fn blank(&self, arrival: &Arrival) -> Record {
        Record::unsent(arrival.index, arrival.stream, arrival.phase, arrival.scheduled, &arrival.request)
    }

    /// Sends one request and reads its answer to its end, whatever way that is; `link` holds the connection, before and
    /// after. Beside the outcome, the answer's text where the request is a conversation's turn.
    pub(super) async fn perform(
        &self,
        arrival: Arrival,
        link: &mut Option<Link<C>>,
        cancel: &mut watch::Receiver<bool>,
    ) -> Result<(Outcome, Option<String>), String> {
        let progress = &*self.progress;
        let mut record = self.blank(&arrival);
        let stamps = FIRST_STAMPS.min(4 * arrival.request.max_tokens as usize);
        record.chunks = Chunks::with_capacity(stamps);
        record.answer = record.turn.map(|_| String::new());
        progress.in_flight.fetch_add(1, Relaxed);
        let deadline = Instant::now() + self.drive.timeout;
        let request = arrival.request;
        let ended_by_us = tokio::select! {
            biased;
            () = self.tries(link, request, &mut record) => None,
            () = sleep_until(deadline) => Some(Outcome::TimedOut(Wait::Rest)),
            _ = cancel.wait_for(|cancelled| *cancelled) => Some(Outcome::Cancelled),
        };
        record.outcome = match ended_by_us {
            Some(Outcome::TimedOut(_)) => Outcome::TimedOut(waited_for(&record)),
            Some(_) if record.sent.is_none() => Outcome::Dropped,
            Some(outcome) => outcome,
            None => record.outcome,
        };
        // An answer that said [DONE] has its end already.
        if record.end == record.scheduled {
            record.end = self.context.now();
        }
        progress.in_flight.fetch_sub(1, Relaxed);
        let said = record.answer.take();
        Ok((self.keep(record)?, said))
    }

    /// Sends a request until it fares as it will, or was tried again as often as it may be.
    async fn tries(&self, link: &mut Option<Link<C>>, request: Request, record: &mut Record) {
        let (context, connect) = (&self.context, &self.connect);
        let mut pause = FIRST_PAUSE;
        loop {
            let asked = Instant::now();
            exchange(context, connect, link, request.clone(), record, &self.progress).await;
            let closed_before = record.outcome == Outcome::Reset
                && record.reused_connection
                && record.headers.is_none()
                && asked.elapsed() < CLOSED_BEFORE;
            // Where no other opens it was the server that ended, with this request in its hands.
            if closed_before && let Ok(opened) = Link::open(connect).await {
                *link = Some(opened);
                record.reconnected = true;
                again(record);
                continue;
            }
            if record.retried >= self.drive.retries || !record.outcome.may_pass() {
                return;
            }
            sleep(pause).await;
            pause *= 2;
            record.retried += 1;
            again(record);
        }
    }

    /// An arrival that is not sent, and why.
    pub(super) fn drop_arrival(&self, arrival: &Arrival, reason: String) -> Result<Outcome, String> {
        let mut record = self.blank(arrival);
        record.end = self.context.now();
        record.error = Some(reason);
        self.keep(record)
    }

    fn keep(&self, record: Record) -> Result<Outcome, String> {
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

/// Forgets what came of a try, but for when the first was sent.
fn again(record: &mut Record) {
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
