//! The engine by a real clock: one thread sleeps until the next token's instant and hands it to whoever waits for it.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::metrics::{self, Passage, Times};
use crate::{
    engine::{NewRequest, Engine, Gauges, RequestId},
    unit::Nanos,
};

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A token leaves; whether it is the last.
    Token { last: bool },
    /// The server stops: nothing more comes.
    Abort,
    /// The engine is dead.
    Fail,
}

/// The counters that `/metrics` shows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) engine: Gauges,
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
    engine: Box<dyn Engine>,
    listeners: HashMap<RequestId, Listener>,
    counters: Counters,
    times: Times,
    /// Tickets that exist: requests whose answer is not written yet.
    answering: usize,
    stopping: bool,
    hangs: bool,
}

impl State {
    fn counters(&self) -> Counters {
        Counters { engine: self.engine.gauges(), ..self.counters }
    }
}

struct Listener {
    steps: UnboundedSender<Step>,
    /// Whether the request ends before its `max_tokens`.
    early: bool,
    passage: Passage,
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
            if state.hangs {
                return;
            }
            let now = self.now();
            while let Some(token) = state.engine.next_token(now) {
                let state = &mut *state;
                state.counters.generation_tokens += 1;
                let Some(listener) = state.listeners.get_mut(&token.request) else {
                    continue;
                };
                // Counted before it is sent: who saw the last token finds it on the page.
                state.times.token(&mut listener.passage, token.began, token.at, token.number, token.last);
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
                    self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl Clock {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(super) fn start(engine: Box<dyn Engine>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                engine,
                listeners: HashMap::new(),
                counters: Counters::default(),
                times: Times::new(),
                answering: 0,
                stopping: false,
                hangs: false,
            }),
            changed: Condvar::new(),
            epoch: Instant::now(),
        });
        let theirs = Arc::clone(&shared);
        thread::Builder::new().name("engine-clock".to_owned()).spawn(move || theirs.run())?;
        Ok(Self { shared })
    }

    /// A request for a prompt arrives now; `early` says that it ends before its `max_tokens`.
    pub(super) fn admit(&self, prompt: &[u64], output_tokens: u64, early: bool) -> Ticket {
        let asked = NewRequest { prompt, output_tokens };
        let (sender, steps) = unbounded_channel();
        let mut state = self.shared.lock();
        state.answering += 1;
        state.counters.prompt_tokens += prompt.len() as u64;
        let arrived = self.shared.now();
        let number = state.engine.admit(arrived, asked);
        if state.stopping {
            state.engine.cancel(self.shared.now(), number);
            sender.send(Step::Abort).ok();
        } else {
            state.listeners.insert(
                number,
                Listener { steps: sender, early, passage: Passage { arrived, first: None, last: arrived } },
            );
        }
        drop(state);
        self.shared.changed.notify_one();
        Ticket { clock: self.clone(), number, steps }
    }

    /// Every request ends as aborted, and so does every later one.
    pub(super) fn abort_all(&self) {
        self.end_all(Step::Abort);
    }

    /// Every request ends as failed; every later one is aborted.
    pub(super) fn fail_all(&self) {
        self.end_all(Step::Fail);
    }

    /// From now on no token leaves.
    pub(super) fn hang(&self) {
        self.shared.lock().hangs = true;
        self.shared.changed.notify_one();
    }

    fn end_all(&self, step: Step) {
        let mut state = self.shared.lock();
        state.stopping = true;
        let listeners: Vec<_> = state.listeners.drain().collect();
        state.counters.aborted += listeners.len() as u64;
        for (number, listener) in listeners {
            state.engine.cancel(self.shared.now(), number);
            listener.steps.send(step).ok();
        }
    }

    /// What `/metrics` shows now.
    pub(super) fn metrics(&self, model: &str) -> String {
        let (counters, times) = {
            let state = self.shared.lock();
            (state.counters(), state.times.clone())
        };
        // Written without the lock: tokens do not wait for who asks.
        metrics::page(model, &counters, &times)
    }

    /// Requests whose answer is not handed over yet.
    pub(super) fn answering(&self) -> usize {
        self.shared.lock().answering
    }

    fn give_up(&self, number: RequestId) {
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
    pub(super) number: RequestId,
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
    use crate::{engine::Script, manifest::SimScript, unit::TimeSpan};

    fn clock(ttft: TimeSpan) -> Clock {
        let script = SimScript {
            ttft,
            per_token: TimeSpan::from_millis(0),
            per_token_load: TimeSpan::from_millis(0),
            kv_tokens: Some(100),
            ..SimScript::default()
        };
        Clock::start(Box::new(Script::new(script, 1, true, 1))).unwrap()
    }

    const PROMPT: &[u64] = &[1, 2, 3];

    fn counters(clock: &Clock) -> Counters {
        clock.shared.lock().counters()
    }

    /// Requests that run, and that wait.
    fn turns(clock: &Clock) -> (usize, usize) {
        let engine = counters(clock).engine;
        (engine.running, engine.waiting)
    }

    #[tokio::test]
    async fn tokens_arrive_in_order_and_are_counted() {
        let clock = clock(TimeSpan::from_millis(0));
        let mut ticket = clock.admit(PROMPT, 2, false);
        assert_eq!(ticket.steps.recv().await, Some(Step::Token { last: false }));
        assert_eq!(ticket.steps.recv().await, Some(Step::Token { last: true }));
        assert_eq!(ticket.steps.recv().await, None);
        let counters = counters(&clock);
        assert_eq!((counters.prompt_tokens, counters.generation_tokens), (3, 2));
        assert_eq!((counters.length, counters.aborted), (1, 0));
        assert_eq!((counters.engine.kv_usage, counters.engine.prefix), (Some(0.0), Some((3, 0))));
        let page = clock.metrics("tiny");
        for line in [
            "vllm:generation_tokens_total{engine=\"sim\",model_name=\"tiny\"} 2",
            "vllm:time_to_first_token_seconds_count{engine=\"sim\",model_name=\"tiny\"} 1",
            "vllm:inter_token_latency_seconds_count{engine=\"sim\",model_name=\"tiny\"} 1",
            "vllm:request_queue_time_seconds_count{engine=\"sim\",model_name=\"tiny\"} 1",
        ] {
            assert!(page.contains(line), "{line} in {page}");
        }
    }

    #[tokio::test]
    async fn a_dropped_request_lets_the_next_one_run() {
        let clock = clock(TimeSpan::from_secs(3600));
        let first = clock.admit(PROMPT, 1, false);
        let _second = clock.admit(PROMPT, 1, false);
        assert_eq!(turns(&clock), (1, 1));
        drop(first);
        assert_eq!(turns(&clock), (1, 0));
    }

    #[tokio::test]
    async fn a_stop_aborts_running_and_later_requests() {
        let clock = clock(TimeSpan::from_secs(3600));
        let mut running = clock.admit(PROMPT, 1, false);
        clock.abort_all();
        assert_eq!(running.steps.recv().await, Some(Step::Abort));
        assert_eq!(clock.admit(PROMPT, 1, false).steps.recv().await, Some(Step::Abort));
        assert_eq!(turns(&clock).0, 0);
    }
}
