//! The engine by a real clock: one thread sleeps until the next token's instant and hands it to whoever waits for it.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{
    engine::{Asked, Engine, RequestNo},
    unit::Nanos,
};

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A token leaves; whether it is the last.
    Token { last: bool },
    /// The server stops: nothing more comes.
    Abort,
}

/// The counters that `/metrics` shows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) running: usize,
    pub(super) waiting: usize,
    pub(super) prompt_tokens: u64,
    pub(super) generation_tokens: u64,
    /// Requests that got all they asked for.
    pub(super) length: u64,
    /// Requests that ended by themselves before that.
    pub(super) stop: u64,
    pub(super) aborted: u64,
}

/// A handle on the engine and its thread, which ends with the process.
#[derive(Clone)]
pub(super) struct Clock {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    epoch: Instant,
}

struct State {
    engine: Engine,
    listeners: HashMap<RequestNo, Listener>,
    counters: Counters,
    /// Tickets that exist: requests whose answer is not written yet.
    answering: usize,
    stopping: bool,
}

struct Listener {
    steps: UnboundedSender<Step>,
    /// Whether the request ends before its `max_tokens`.
    early: bool,
}

impl Shared {
    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// A panic elsewhere leaves plain numbers behind, which are fit to go on with.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            let now = self.now();
            while let Some(token) = state.engine.next_token(now) {
                state.counters.generation_tokens += 1;
                let Some(listener) = state.listeners.get(&token.request) else {
                    continue;
                };
                // A listener that is gone cancels by itself.
                listener.steps.send(Step::Token { last: token.last }).ok();
                if token.last {
                    if listener.early {
                        state.counters.stop += 1;
                    } else {
                        state.counters.length += 1;
                    }
                    state.listeners.remove(&token.request);
                }
            }
            state = match state.engine.next_at() {
                Some(at) => {
                    let wait = Duration::from_nanos(at.0.saturating_sub(self.now().0));
                    self.changed
                        .wait_timeout(state, wait)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl Clock {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(super) fn start(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                engine,
                listeners: HashMap::new(),
                counters: Counters::default(),
                answering: 0,
                stopping: false,
            }),
            changed: Condvar::new(),
            epoch: Instant::now(),
        });
        let theirs = Arc::clone(&shared);
        thread::Builder::new()
            .name("engine-clock".to_owned())
            .spawn(move || theirs.run())?;
        Ok(Self { shared })
    }

    /// A request arrives now; `early` says that it ends before its `max_tokens`.
    pub(super) fn admit(&self, asked: Asked, early: bool) -> Ticket {
        let (sender, steps) = unbounded_channel();
        let mut state = self.shared.lock();
        state.answering += 1;
        state.counters.prompt_tokens += asked.prompt_tokens;
        let number = state.engine.admit(self.shared.now(), asked);
        if state.stopping {
            state.engine.cancel(self.shared.now(), number);
            sender.send(Step::Abort).ok();
        } else {
            state.listeners.insert(
                number,
                Listener {
                    steps: sender,
                    early,
                },
            );
        }
        drop(state);
        self.shared.changed.notify_one();
        Ticket {
            clock: self.clone(),
            number,
            steps,
        }
    }

    /// Every request ends as aborted, and so does every later one.
    pub(super) fn abort_all(&self) {
        let mut state = self.shared.lock();
        state.stopping = true;
        let listeners: Vec<_> = state.listeners.drain().collect();
        state.counters.aborted += listeners.len() as u64;
        for (number, listener) in listeners {
            state.engine.cancel(self.shared.now(), number);
            listener.steps.send(Step::Abort).ok();
        }
    }

    pub(super) fn counters(&self) -> Counters {
        let state = self.shared.lock();
        Counters {
            running: state.engine.running(),
            waiting: state.engine.waiting(),
            ..state.counters
        }
    }

    /// Requests whose answer is not handed over yet.
    pub(super) fn answering(&self) -> usize {
        self.shared.lock().answering
    }

    fn give_up(&self, number: RequestNo) {
        let mut state = self.shared.lock();
        state.answering -= 1;
        if state.listeners.remove(&number).is_some() {
            state.counters.aborted += 1;
            state.engine.cancel(self.shared.now(), number);
            drop(state);
            self.shared.changed.notify_one();
        }
    }
}

/// One request's place in the engine; dropped, it frees the place.
pub(super) struct Ticket {
    clock: Clock,
    pub(super) number: RequestNo,
    pub(super) steps: UnboundedReceiver<Step>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.clock.give_up(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{manifest::SimScript, unit::TimeSpan};

    fn clock(ttft: TimeSpan) -> Clock {
        let script = SimScript {
            ttft,
            per_token: TimeSpan::from_millis(0),
            per_token_load: TimeSpan::from_millis(0),
            ..SimScript::default()
        };
        Clock::start(Engine::new(script, 1, 1)).unwrap()
    }

    fn asked(output_tokens: u64) -> Asked {
        Asked {
            prompt_tokens: 3,
            output_tokens,
        }
    }

    #[tokio::test]
    async fn tokens_arrive_in_order_and_are_counted() {
        let clock = clock(TimeSpan::from_millis(0));
        let mut ticket = clock.admit(asked(2), false);
        assert_eq!(ticket.steps.recv().await, Some(Step::Token { last: false }));
        assert_eq!(ticket.steps.recv().await, Some(Step::Token { last: true }));
        assert_eq!(ticket.steps.recv().await, None);
        let counters = clock.counters();
        assert_eq!((counters.prompt_tokens, counters.generation_tokens), (3, 2));
        assert_eq!((counters.length, counters.aborted), (1, 0));
    }

    #[tokio::test]
    async fn a_dropped_request_lets_the_next_one_run() {
        let clock = clock(TimeSpan::from_secs(3600));
        let first = clock.admit(asked(1), false);
        let _second = clock.admit(asked(1), false);
        assert_eq!((clock.counters().running, clock.counters().waiting), (1, 1));
        drop(first);
        assert_eq!((clock.counters().running, clock.counters().waiting), (1, 0));
    }

    #[tokio::test]
    async fn a_stop_aborts_running_and_later_requests() {
        let clock = clock(TimeSpan::from_secs(3600));
        let mut running = clock.admit(asked(1), false);
        clock.abort_all();
        assert_eq!(running.steps.recv().await, Some(Step::Abort));
        assert_eq!(
            clock.admit(asked(1), false).steps.recv().await,
            Some(Step::Abort)
        );
        assert_eq!(clock.counters().running, 0);
    }
}
