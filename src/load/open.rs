//! The open loop: every request is sent when it is due, whatever became of earlier ones. In a workload of
//! conversations every conversation begins when it is due, and each later turn when the previous answer is
//! complete and the think time is over.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{JoinError, JoinSet, yield_now},
    time::Instant,
};

use super::{
    connection::Connect,
    error::LoadError,
    exchange::Connection,
    record::Outcome,
    schedule::{Open, Think},
    session::{Arrival, Session, is_cancelled_before},
    sink::Sink,
    timer::Clock,
};
use crate::{unit::Nanos, workload::Conversation};

/// Connections are opened ahead for the requests due within this time, nanoseconds.
const AHEAD_NS: u64 = 100_000_000;
/// The most connections that are opened before the clock starts.
const MOST_AHEAD: usize = 10_000;
/// Number of idle connections to maintain while requests are sent, unless fewer were opened at the start.
const SPARE: usize = 64;

/// Returns how many connections to open before the clock starts: the most requests that are due within a
/// tenth of a second.
pub(super) fn connections_ahead(open: &Open) -> usize {
    let mut most = 0;
    let mut from = 0;
    for (place, at) in open.due.iter().enumerate() {
        while at.0 - open.due[from].0 > AHEAD_NS {
            from += 1;
        }
        most = most.max(place + 1 - from);
    }
    let bound = open.max_in_flight.map_or(MOST_AHEAD, |most| most as usize);
    most.min(bound).min(MOST_AHEAD)
}

struct Pool<C: Connect> {
    idle: Mutex<Vec<Connection<C>>>,
    opening: AtomicUsize,
}

impl<C: Connect> Pool<C> {
    /// Takes the connection that was used last. Also returns how many are left or being opened.
    fn take(&self) -> (Option<Connection<C>>, usize) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = idle.pop();
        (connection, idle.len() + self.opening.load(Relaxed))
    }

    fn put(&self, connection: Connection<C>) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}

/// What the requests of an open loop share.
struct OpenLoop<C: Connect, S> {
    session: Arc<Session<C, S>>,
    pool: Pool<C>,
    in_flight: AtomicU64,
    /// Number of the next later turn of a conversation: they are numbered after the schedule's arrivals.
    next_turn: AtomicU64,
}

/// Sends every request when it is due and waits for the last answer.
pub(super) async fn run<C: Connect, S: Sink>(
    session: &Arc<Session<C, S>>,
    schedule: &Open,
    connections: Vec<Connection<C>>,
    mut cancel: watch::Receiver<bool>,
) -> Result<(), LoadError> {
    let clock = Clock::new(session.repeat.timer);
    let spare = connections.len().min(SPARE);
    let open = Arc::new(OpenLoop {
        session: session.clone(),
        pool: Pool { idle: Mutex::new(connections), opening: AtomicUsize::new(0) },
        in_flight: AtomicU64::new(0),
        next_turn: AtomicU64::new(schedule.due.len() as u64),
    });
    let mut flights = JoinSet::new();
    let mut openers = JoinSet::new();
    let most = schedule.max_in_flight.map(u64::from);
    for (index, due) in (0u64..).zip(&schedule.due) {
        let requests = &session.repeat.requests;
        let conversation = requests.are_turns().then(|| requests.begin(index));
        // Built before it is due, so that building a long prompt does not delay it.
        let arrival = Arrival {
            index,
            stream: 0,
            phase: session.phase(index),
            scheduled: *due,
            request: requests.turn(conversation.as_ref(), index),
        };
        let at = session.context.epoch + Duration::from_nanos(due.0);
        if at > Instant::now() {
            tokio::select! {
                biased;
                _ = cancel.wait_for(|cancelled| *cancelled) => {}
                () = clock.until(at) => {}
            }
        } else {
            // Late, or one of several that are due at once: let the earlier ones be sent first.
            yield_now().await;
        }
        while let Some(ended) = flights.try_join_next() {
            joined(ended)?;
        }
        while openers.try_join_next().is_some() {}
        if !session.sink.wants_more() {
            break;
        }
        if *cancel.borrow() {
            if *due > session.context.now() {
                break;
            }
            session.drop_arrival(&arrival, "it was due when the cell was ended".into())?;
            continue;
        }
        if let Some(most) = most.filter(|most| open.in_flight.load(Relaxed) >= *most) {
            session.drop_arrival(&arrival, format!("{most} requests were in flight already"))?;
            continue;
        }
        open.in_flight.fetch_add(1, Relaxed);
        let (connection, left) = open.pool.take();
        if left < spare {
            open.pool.opening.fetch_add(1, Relaxed);
            let open = open.clone();
            openers.spawn(async move {
                if let Ok(connection) = Connection::open(&open.session.connect).await {
                    open.pool.put(connection);
                }
                open.pool.opening.fetch_sub(1, Relaxed);
            });
        }
        let think = Think::of(schedule.think, schedule.seed, index);
        flights.spawn(open.clone().flight(arrival, conversation, think, connection, cancel.clone()));
    }
    while let Some(ended) = flights.join_next().await {
        joined(ended)?;
    }
    Ok(())
}

impl<C: Connect, S: Sink> OpenLoop<C, S> {
    /// Performs one arrival: a request, or all turns of a conversation. Returns its connection to the pool.
    async fn flight(
        self: Arc<Self>,
        arrival: Arrival,
        conversation: Option<Conversation>,
        think: Option<Think>,
        mut connection: Option<Connection<C>>,
        mut cancel: watch::Receiver<bool>,
    ) -> Result<(), LoadError> {
        let ended = match conversation {
            None => self.session.perform(arrival, &mut connection, &mut cancel).await.map(|_| ()),
            Some(conversation) => {
                self.converse(arrival, conversation, think, &mut connection, &mut cancel).await
            }
        };
        self.in_flight.fetch_sub(1, Relaxed);
        if let Some(connection) = connection {
            self.pool.put(connection);
        }
        ended
    }

    /// Sends the turns of a conversation, each after the answer to the previous one. A failed turn is the
    /// last.
    async fn converse(
        &self,
        mut arrival: Arrival,
        mut conversation: Conversation,
        mut think: Option<Think>,
        connection: &mut Option<Connection<C>>,
        cancel: &mut watch::Receiver<bool>,
    ) -> Result<(), LoadError> {
        let session = &*self.session;
        let requests = &*session.repeat.requests;
        let phase = arrival.phase;
        loop {
            let (outcome, answer) = session.perform(arrival, connection, cancel).await?;
            let next = match answer {
                Some(answer) if outcome == Outcome::Completed => requests.answered(conversation, &answer),
                _ => None,
            };
            let Some(next) = next else {
                return Ok(());
            };
            conversation = next;
            let wait = think.as_mut().map(Think::draw).unwrap_or_default();
            let scheduled = Nanos(session.context.now().0 + wait.as_nanos() as u64);
            let at = session.context.epoch + Duration::from_nanos(scheduled.0);
            if *cancel.borrow() || (!wait.is_zero() && is_cancelled_before(at, cancel).await) {
                return Ok(());
            }
            if !session.sink.wants_more() {
                return Ok(());
            }
            let index = self.next_turn.fetch_add(1, Relaxed);
            let request = requests.turn(Some(&conversation), index);
            arrival = Arrival { index, stream: 0, phase, scheduled, request };
        }
    }
}

fn joined(ended: Result<Result<(), LoadError>, JoinError>) -> Result<(), LoadError> {
    ended.map_err(|error| LoadError::Task(error.to_string()))?
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn connections_are_opened_for_the_densest_tenth_of_a_second() {
        let of = |ms: &[u64], max_in_flight| {
            connections_ahead(&Open {
                due: ms.iter().map(|ms| Nanos(ms * 1_000_000)).collect(),
                max_in_flight,
                think: None,
                seed: 7,
            })
        };
        assert_eq!(of(&[0, 200, 201, 250, 300, 301, 900], None), 4);
        assert_eq!(of(&[0, 200, 201, 250, 300, 301, 900], Some(2)), 2);
        assert_eq!(of(&[], None), 0);
    }
}
