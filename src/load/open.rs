//! The open loop: every request starts at its instant, whatever became of those before. Where requests are turns, every
//! conversation does; each later turn is due when the answer before it is there and its think time is over.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{JoinSet, yield_now},
    time::Instant,
};

use super::{
    alarm::Alarm,
    closed::is_cancelled_before,
    connection::Connect,
    drive::{Arrival, Shared},
    exchange::Link,
    record::Outcome,
    schedule::{Open, Think},
    sink::Sink,
};
use crate::{unit::Nanos, workload::Talk};

/// Connections are opened ahead for what is due within this, nanoseconds.
const AHEAD_NS: u64 = 100_000_000;
/// The most connections that are opened before the clock starts.
const MOST_AHEAD: usize = 10_000;
/// While requests are sent, this many idle connections are kept ahead, or fewer where fewer were opened before.
const SPARE: usize = 64;

/// How many connections are opened before the clock starts: as many as requests are due within any tenth of a second.
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

/// Connections that are open and idle.
struct Pool<C: Connect> {
    idle: Mutex<Vec<Link<C>>>,
    opening: AtomicUsize,
}

impl<C: Connect> Pool<C> {
    /// The connection that was used last, and how many are left or on their way.
    fn take(&self) -> (Option<Link<C>>, usize) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let link = idle.pop();
        (link, idle.len() + self.opening.load(Relaxed))
    }

    fn put(&self, link: Link<C>) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(link);
    }
}

/// Sends every request at its instant and waits for the last answer.
pub(super) async fn run<C, S>(
    shared: &Arc<Shared<C, S>>,
    open: &Open,
    links: Vec<Link<C>>,
    mut cancel: watch::Receiver<bool>,
) -> Result<(), String>
where
    C: Connect + Clone + Send + Sync + 'static,
    S: Sink,
{
    let alarm = Alarm::new(shared.drive.timer);
    let spare = links.len().min(SPARE);
    let pool = Arc::new(Pool { idle: Mutex::new(links), opening: AtomicUsize::new(0) });
    let in_flight = Arc::new(AtomicU64::new(0));
    let mut flights = JoinSet::new();
    let mut openers = JoinSet::new();
    let most = open.max_in_flight.map(u64::from);
    // Later turns are numbered behind all arrivals of the schedule.
    let later = Arc::new(AtomicU64::new(open.due.len() as u64));
    for (index, due) in (0u64..).zip(&open.due) {
        let requests = &shared.drive.requests;
        let talk = requests.are_turns().then(|| requests.begin(index));
        // Made ahead, so that a long prompt does not make its own request late.
        let arrival = Arrival {
            index,
            stream: 0,
            phase: shared.phase(index),
            scheduled: *due,
            request: match &talk {
                Some(talk) => requests.turn(talk, index),
                None => requests.get(index),
            },
        };
        let at = shared.context.epoch + Duration::from_nanos(due.0);
        if at > Instant::now() {
            tokio::select! {
                biased;
                _ = cancel.wait_for(|cancelled| *cancelled) => {}
                () = alarm.until(at) => {}
            }
        } else {
            // Late, or several at one instant: those before are sent first.
            yield_now().await;
        }
        while let Some(ended) = flights.try_join_next() {
            joined(ended)?;
        }
        while openers.try_join_next().is_some() {}
        if *cancel.borrow() {
            if *due > shared.context.now() {
                break;
            }
            shared.drop_arrival(&arrival, "it was due as everything was ended".into())?;
            continue;
        }
        if let Some(most) = most.filter(|most| in_flight.load(Relaxed) >= *most) {
            shared.drop_arrival(&arrival, format!("{most} requests were in flight already"))?;
            continue;
        }
        in_flight.fetch_add(1, Relaxed);
        let (mut link, left) = pool.take();
        if left < spare {
            pool.opening.fetch_add(1, Relaxed);
            let (connect, pool) = (shared.connect.clone(), pool.clone());
            openers.spawn(async move {
                if let Ok(link) = Link::open(&connect).await {
                    pool.put(link);
                }
                pool.opening.fetch_sub(1, Relaxed);
            });
        }
        let (shared, pool) = (shared.clone(), pool.clone());
        let (in_flight, mut cancel) = (in_flight.clone(), cancel.clone());
        let think = Think::of(open.think, open.seed, index);
        let later = later.clone();
        flights.spawn(async move {
            let ended = match talk {
                None => {
                    let ended = shared.perform(arrival, &mut link, &mut cancel).await;
                    ended.map(|_| ())
                }
                Some(talk) => {
                    let all = Conversation { talk, think, later };
                    all.hold(&shared, arrival, &mut link, &mut cancel).await
                }
            };
            in_flight.fetch_sub(1, Relaxed);
            if let Some(link) = link {
                pool.put(link);
            }
            ended
        });
    }
    while let Some(ended) = flights.join_next().await {
        joined(ended)?;
    }
    Ok(())
}

/// A conversation that began at its instant.
struct Conversation {
    talk: Talk,
    think: Option<Think>,
    /// The next later turn's number.
    later: Arc<AtomicU64>,
}

impl Conversation {
    /// Asks its turns, each after the answer to the one before; a turn that fails is its last.
    async fn hold<C, S>(
        mut self,
        shared: &Shared<C, S>,
        first: Arrival,
        link: &mut Option<Link<C>>,
        cancel: &mut watch::Receiver<bool>,
    ) -> Result<(), String>
    where
        C: Connect,
        S: Sink,
    {
        let requests = &*shared.drive.requests;
        let phase = first.phase;
        let mut arrival = first;
        loop {
            let (outcome, said) = shared.perform(arrival, link, cancel).await?;
            let next = match said {
                Some(said) if outcome == Outcome::Completed => requests.answered(self.talk, &said),
                _ => None,
            };
            let Some(next) = next else {
                return Ok(());
            };
            self.talk = next;
            let wait = self.think.as_mut().map(Think::draw).unwrap_or_default();
            let scheduled = Nanos(shared.context.now().0 + wait.as_nanos() as u64);
            let at = shared.context.epoch + Duration::from_nanos(scheduled.0);
            if *cancel.borrow() || (!wait.is_zero() && is_cancelled_before(at, cancel).await) {
                return Ok(());
            }
            let index = self.later.fetch_add(1, Relaxed);
            arrival =
                Arrival { index, stream: 0, phase, scheduled, request: requests.turn(&self.talk, index) };
        }
    }
}

fn joined(ended: Result<Result<(), String>, tokio::task::JoinError>) -> Result<(), String> {
    ended.map_err(|error| format!("a request of the client failed: {error}"))?
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
