//! A schedule, a stop and requests → records: the one loop every cell goes through.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use hyper::header::HeaderValue;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{
    chunks::Chunks,
    connection::Connect,
    exchange::{Context, Link, exchange},
    progress::Progress,
    record::{Outcome, Phase, Record, Wait},
    sink::Sink,
};
use crate::{plan::Stop, unit::Nanos, workload::Requests};

/// How long a stream waits after nobody answered, so that a dead server does not become a busy loop.
const AFTER_REFUSAL: Duration = Duration::from_millis(100);
/// Room for stamps that a request begins with, bytes; more is made as they come.
const FIRST_STAMPS: usize = 256;

/// When requests start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// A stream sends its next request when its last one ended.
    Closed {
        /// How many streams there are.
        concurrency: u32,
    },
}

/// One measured execution: everything that decides what is sent, and when.
#[derive(Clone, Debug)]
pub struct Drive {
    /// What is asked.
    pub requests: Arc<Requests>,
    /// When requests start.
    pub schedule: Schedule,
    /// When no more of them start.
    pub stop: Stop,
    /// Requests before the measured ones. They hand over without draining.
    pub warmup: u64,
    /// How long one request may take.
    pub timeout: Duration,
    /// Value of the `Host` header.
    pub authority: String,
    /// What stands before the endpoint's path.
    pub base: String,
    /// Sent as a bearer token, and never shown.
    pub api_key: Option<String>,
}

struct Shared<C, S> {
    drive: Drive,
    sink: Arc<S>,
    context: Context,
    connect: C,
    progress: Arc<Progress>,
    /// The next arrival's number.
    next: AtomicU64,
    /// When the first measured request was due.
    measured_from: OnceLock<Nanos>,
}

/// Drives a server: opens every connection, starts the clock, and gives the sink one record per arrival, as it ends.
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
    let Schedule::Closed { concurrency } = drive.schedule;
    let mut links = open(concurrency, &connect, cancel.clone()).await;
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
            // The clock starts when every connection is open.
            epoch: Instant::now(),
        },
        connect,
        sink,
        progress,
        next: AtomicU64::new(0),
        measured_from: OnceLock::new(),
        drive,
    });
    let mut streams = JoinSet::new();
    for number in 0..concurrency {
        let link = links.pop().flatten();
        streams.spawn(stream(shared.clone(), number, link, cancel.clone()));
    }
    // The first failure ends the others: dropping the set stops its tasks.
    while let Some(done) = streams.join_next().await {
        done.map_err(|error| format!("a stream of the client failed: {error}"))??;
    }
    Ok(())
}

/// Opens the connections at once. One that does not open is tried again by its stream, and then has an outcome.
async fn open<C>(count: u32, connect: &C, mut cancel: watch::Receiver<bool>) -> Vec<Option<Link<C>>>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let mut opening = JoinSet::new();
    for _ in 0..count {
        let connect = connect.clone();
        opening.spawn(async move { Link::open(&connect).await.ok() });
    }
    tokio::select! {
        links = opening.join_all() => links,
        _ = cancel.wait_for(|cancelled| *cancelled) => Vec::new(),
    }
}

impl<C, S> Shared<C, S> {
    /// The next arrival's number and phase, or that there is none.
    fn arrival(&self, now: Nanos) -> Option<(u64, Phase)> {
        if let (Stop::Duration(span), Some(start)) = (self.drive.stop, self.measured_from.get())
            && u128::from(now.0 - start.0) >= span.duration().as_nanos()
        {
            return None;
        }
        let index = self.next.fetch_add(1, Relaxed);
        if index < self.drive.warmup {
            return Some((index, Phase::Warmup));
        }
        if let Stop::Requests(requests) = self.drive.stop
            && index - self.drive.warmup >= requests
        {
            return None;
        }
        self.measured_from.get_or_init(|| now);
        Some((index, Phase::Measured))
    }
}

/// One place in the closed loop.
async fn stream<C, S>(
    shared: Arc<Shared<C, S>>,
    number: u32,
    mut link: Option<Link<C>>,
    mut cancel: watch::Receiver<bool>,
) -> Result<(), String>
where
    C: Connect + Clone + Send + Sync + 'static,
    S: Sink,
{
    let progress = &*shared.progress;
    while !*cancel.borrow() {
        let scheduled = shared.context.now();
        let Some((index, phase)) = shared.arrival(scheduled) else {
            break;
        };
        let request = shared.drive.requests.get(index);
        let mut record = Record {
            index,
            stream: number,
            phase,
            input: request.input,
            scheduled,
            sent: None,
            headers: None,
            chunks: Chunks::with_capacity(FIRST_STAMPS.min(4 * request.max_tokens as usize)),
            end: scheduled,
            outcome: Outcome::Dropped,
            status: None,
            finish_reason: None,
            usage: None,
            input_tokens: request.input_tokens,
            max_tokens: request.max_tokens,
            reused_connection: false,
            error: None,
        };
        progress.in_flight.fetch_add(1, Relaxed);
        let deadline = Instant::now() + shared.drive.timeout;
        let ended_by_us = tokio::select! {
            biased;
            () = exchange(&shared.context, &shared.connect, &mut link, request, &mut record, progress) => None,
            () = sleep_until(deadline) => Some(Ending::Late),
            _ = cancel.wait_for(|cancelled| *cancelled) => Some(Ending::Cancelled),
        };
        match ended_by_us {
            Some(Ending::Late) => record.outcome = Outcome::TimedOut(waited_for(&record)),
            Some(Ending::Cancelled) => record.outcome = Outcome::Cancelled,
            None => {}
        }
        // An answer that said [DONE] has its end already.
        if record.end == scheduled {
            record.end = shared.context.now();
        }
        progress.in_flight.fetch_sub(1, Relaxed);
        if record.outcome == Outcome::Completed {
            progress.completed.fetch_add(1, Relaxed);
        }
        if phase == Phase::Measured {
            progress.ended.fetch_add(1, Relaxed);
            if record.outcome != Outcome::Completed {
                progress.errors.fetch_add(1, Relaxed);
            }
        }
        let nobody = matches!(
            record.outcome,
            Outcome::Refused | Outcome::Reset | Outcome::Unreachable
        );
        shared.sink.take(record)?;
        if nobody {
            sleep(AFTER_REFUSAL).await;
        }
    }
    Ok(())
}

enum Ending {
    Late,
    Cancelled,
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
