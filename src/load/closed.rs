//! The closed loop: streams that each send their next request when their last one ended.

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
    time::{Instant, sleep, sleep_until},
};

use super::{
    connection::Connect,
    drive::{Arrival, Shared},
    exchange::Link,
    record::Outcome,
    schedule::{Closed, Think},
    sink::Sink,
};
use crate::{manifest::Start, plan::Stop, unit::Nanos, workload::Talk};

/// How long a stream waits after nobody answered, so that a dead server does not become a busy loop.
const AFTER_REFUSAL: Duration = Duration::from_millis(100);
/// How often the first stream's progress is looked at while the others wait to start.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// After so many chunks of the first stream its pace is known.
const CHUNKS_OF_A_PACE: u64 = 8;

/// What the streams share beside the execution.
struct Loop<C, S> {
    shared: Arc<Shared<C, S>>,
    closed: Closed,
    /// The next arrival's number.
    next: AtomicU64,
    /// The next conversation's number.
    next_talk: AtomicU64,
    /// When the first measured request was due.
    measured_from: OnceLock<Nanos>,
    /// Told when the first stream's first request has ended.
    first_end: Notify,
}

/// Runs every stream to its end.
pub(super) async fn run<C, S>(
    shared: &Arc<Shared<C, S>>,
    closed: Closed,
    mut links: Vec<Link<C>>,
    mut cancel: watch::Receiver<bool>,
) -> Result<(), String>
where
    C: Connect + Clone + Send + Sync + 'static,
    S: Sink,
{
    let all = Arc::new(Loop {
        shared: shared.clone(),
        closed,
        next: AtomicU64::new(0),
        next_talk: AtomicU64::new(0),
        measured_from: OnceLock::new(),
        first_end: Notify::new(),
    });
    let epoch = shared.context.epoch;
    let mut streams = JoinSet::new();
    let mut spread = Duration::ZERO;
    let mut known_at = Duration::ZERO;
    for number in 0..closed.streams {
        if number == 1 && closed.start == Start::Staggered {
            spread = tokio::select! {
                spread = all.duration_of_a_request() => spread,
                _ = cancel.wait_for(|cancelled| *cancelled) => Duration::ZERO,
            };
            known_at = epoch.elapsed();
        }
        // Streams stand evenly in a request's duration; what has passed already comes a duration later.
        let mut from = spread * number / closed.streams;
        if number > 0 && from < known_at {
            from += spread;
        }
        let link = links.pop();
        streams.spawn(stream(all.clone(), number, epoch + from, link, cancel.clone()));
    }
    // The first failure ends the others: dropping the set stops its tasks.
    while let Some(done) = streams.join_next().await {
        done.map_err(|error| format!("a stream of the client failed: {error}"))??;
    }
    Ok(())
}

impl<C, S> Loop<C, S> {
    /// About how long a request takes, from the first stream's first one, which has the server to itself: as soon as its
    /// pace is known, or it has ended.
    async fn duration_of_a_request(&self) -> Duration {
        let shared = &self.shared;
        let tokens = u64::from(self.closed.answer_tokens);
        let mut first: Option<(Duration, u64)> = None;
        let whole = loop {
            tokio::select! {
                biased;
                () = self.first_end.notified() => break shared.context.epoch.elapsed(),
                () = sleep(LOOK_EVERY) => {}
            }
            let chunks = shared.progress.chunks.load(Relaxed);
            let now = shared.context.epoch.elapsed();
            match first {
                None if chunks > 0 => first = Some((now, chunks)),
                Some((at, before)) if chunks >= before + CHUNKS_OF_A_PACE => {
                    let pace = (now - at).div_f64((chunks - before) as f64);
                    break at + pace.mul_f64(tokens.saturating_sub(before) as f64);
                }
                _ => {}
            }
        };
        match shared.drive.stop {
            Stop::Requests(_) => whole,
            Stop::Duration(span) => whole.min(span.duration() / 4),
        }
    }

    /// Whether a request may still start at an instant.
    fn is_open(&self, at: Nanos) -> bool {
        match (self.shared.drive.stop, self.measured_from.get()) {
            (Stop::Duration(span), Some(start)) => u128::from(at.0 - start.0) < span.duration().as_nanos(),
            (Stop::Duration(_), None) => true,
            (Stop::Requests(requests), _) => {
                self.next.load(Relaxed) < self.shared.drive.warmup.saturating_add(requests)
            }
        }
    }

    /// The next arrival's number, or that there is none.
    fn arrival(&self, now: Nanos) -> Option<u64> {
        if !self.is_open(now) {
            return None;
        }
        let index = self.next.fetch_add(1, Relaxed);
        if let Some(measured) = index.checked_sub(self.shared.drive.warmup) {
            if let Stop::Requests(requests) = self.shared.drive.stop
                && measured >= requests
            {
                return None;
            }
            self.measured_from.get_or_init(|| now);
        }
        Some(index)
    }
}

/// One place in the loop.
async fn stream<C, S>(
    all: Arc<Loop<C, S>>,
    number: u32,
    from: Instant,
    mut link: Option<Link<C>>,
    mut cancel: watch::Receiver<bool>,
) -> Result<(), String>
where
    C: Connect + Clone + Send + Sync + 'static,
    S: Sink,
{
    let shared = &*all.shared;
    let mut think = Think::of(all.closed.think, all.closed.seed, u64::from(number));
    if from > Instant::now() && is_cancelled_before(from, &mut cancel).await {
        return Ok(());
    }
    let requests = &*shared.drive.requests;
    // The conversation that the stream holds, until it ends or a turn fails.
    let mut talk: Option<Talk> = None;
    while !*cancel.borrow() {
        let scheduled = shared.context.now();
        let Some(index) = all.arrival(scheduled) else {
            break;
        };
        if talk.is_none() && requests.are_turns() {
            talk = Some(requests.begin(all.next_talk.fetch_add(1, Relaxed)));
        }
        let arrival = Arrival {
            index,
            stream: number,
            phase: shared.phase(index),
            scheduled,
            request: match &talk {
                Some(talk) => requests.turn(talk, index),
                None => requests.get(index),
            },
        };
        let (outcome, said) = shared.perform(arrival, &mut link, &mut cancel).await?;
        talk = match (talk, said) {
            (Some(talk), Some(said)) if outcome == Outcome::Completed => requests.answered(talk, &said),
            _ => None,
        };
        if number == 0 {
            all.first_end.notify_one();
        }
        let nobody = matches!(outcome, Outcome::Refused | Outcome::Reset | Outcome::Unreachable);
        let wait = if nobody { Some(AFTER_REFUSAL) } else { think.as_mut().map(Think::draw) };
        if let Some(wait) = wait {
            let at = Nanos(shared.context.now().0 + wait.as_nanos() as u64);
            if !all.is_open(at) || is_cancelled_before(Instant::now() + wait, &mut cancel).await {
                break;
            }
        }
    }
    Ok(())
}

/// Waits for an instant, or for the end of everything: whether that came first.
pub(super) async fn is_cancelled_before(at: Instant, cancel: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        () = sleep_until(at) => false,
        _ = cancel.wait_for(|cancelled| *cancelled) => true,
    }
}
