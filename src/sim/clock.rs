//! Drives the engine in real time: a thread sleeps until the next token and hands it to its request.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::metrics::{self, Counters, RequestTimes, Times};
use crate::{
    engine::{Engine, NewRequest, RequestId},
    unit::Nanos,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A token is emitted.
    Token { last: bool },
    /// The server stops, which aborts the request.
    Abort,
    /// The engine has died.
    Fail,
}

/// A handle to the engine and its thread, which ends with the process.
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
    /// Requests whose answer is not written yet.
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
    times: RequestTimes,
}

impl Shared {
    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Ignores poisoning: after a panic elsewhere the numbers are still usable.
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
                // Counted before it is sent, so that a client that saw the token finds it in the metrics.
                state.times.token(&mut listener.times, token.began, token.at, token.number, token.last);
                // A dropped listener cancels its request itself.
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

    /// Submits a request. `early` is whether it ends before its `max_tokens`.
    pub(super) fn admit(&self, prompt: &[u64], output_tokens: u64, early: bool) -> Ticket {
        let request = NewRequest { prompt, output_tokens };
        let (sender, steps) = unbounded_channel();
        let mut state = self.shared.lock();
        state.answering += 1;
        state.counters.prompt_tokens += prompt.len() as u64;
        let arrived = self.shared.now();
        let number = state.engine.admit(arrived, request);
        if state.stopping {
            state.engine.cancel(self.shared.now(), number);
            sender.send(Step::Abort).ok();
        } else {
            state.listeners.insert(
                number,
                Listener {
                    steps: sender,
                    early,
                    times: RequestTimes { arrived, first: None, last: arrived },
                },
            );
        }
        drop(state);
        self.shared.changed.notify_one();
        Ticket { clock: self.clone(), number, steps }
    }

    /// Stops emitting tokens.
    pub(super) fn hang(&self) {
        self.shared.lock().hangs = true;
        self.shared.changed.notify_one();
    }

    /// Ends all requests with this step, and aborts all later ones.
    pub(super) fn end_all(&self, step: Step) {
        let mut state = self.shared.lock();
        state.stopping = true;
        let listeners: Vec<_> = state.listeners.drain().collect();
        state.counters.aborted += listeners.len() as u64;
        for (number, listener) in listeners {
            state.engine.cancel(self.shared.now(), number);
            listener.steps.send(step).ok();
        }
    }

    /// The current page of `/metrics`.
    pub(super) fn metrics(&self, model: &str) -> String {
        let (counters, times) = {
            let state = self.shared.lock();
            (state.counters(), state.times.clone())
        };
        // Rendered without the lock, so that tokens are not delayed.
        metrics::page(model, &counters, &times)
    }

    /// The number of requests whose answer is not written yet.
    pub(super) fn answering(&self) -> usize {
        self.shared.lock().answering
    }

    fn drop_request(&self, number: RequestId) {
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

/// A request in the engine. Dropping it cancels the request.
pub(super) struct Ticket {
    clock: Clock,
    pub(super) number: RequestId,
    pub(super) steps: UnboundedReceiver<Step>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.clock.drop_request(self.number);
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

    /// Running and queued requests.
    fn load(clock: &Clock) -> (usize, usize) {
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
        assert_eq!(load(&clock), (1, 1));
        drop(first);
        assert_eq!(load(&clock), (1, 0));
    }

    #[tokio::test]
    async fn a_stop_aborts_running_and_later_requests() {
        let clock = clock(TimeSpan::from_secs(3600));
        let mut running = clock.admit(PROMPT, 1, false);
        clock.end_all(Step::Abort);
        assert_eq!(running.steps.recv().await, Some(Step::Abort));
        assert_eq!(clock.admit(PROMPT, 1, false).steps.recv().await, Some(Step::Abort));
        assert_eq!(load(&clock).0, 0);
    }
}
