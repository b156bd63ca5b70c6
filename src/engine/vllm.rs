//! The model of vLLM: its scheduler, with step times from a roofline.

use std::collections::VecDeque;

use super::{Engine, Gauges, NewRequest, RequestId, Token, scheduler::Scheduler, step_time::StepTime};
use crate::unit::Nanos;

/// A model of vLLM.
pub struct Vllm {
    scheduler: Scheduler,
    time: StepTime,
    /// When the current step ends.
    ends: Option<Nanos>,
    /// The tokens of the last step that were not taken yet.
    sampled: VecDeque<Token>,
}

impl Vllm {
    pub(super) fn new(scheduler: Scheduler, time: StepTime) -> Self {
        Self { scheduler, time, ends: None, sampled: VecDeque::new() }
    }

    fn begin_step(&mut self, now: Nanos) {
        self.ends = self.scheduler.schedule(now).map(|work| {
            let ns = self.time.seconds(&work) * 1e9;
            // At least 1 ns, so that time advances whatever the speed.
            Nanos(now.0 + (ns.round() as u64).max(1))
        });
    }
}

impl Engine for Vllm {
    fn admit(&mut self, now: Nanos, request: NewRequest<'_>) -> RequestId {
        let number = self.scheduler.admit(request);
        // A request that arrives during a step waits for the next one.
        if self.ends.is_none() {
            self.begin_step(now);
        }
        number
    }

    fn cancel(&mut self, _: Nanos, request: RequestId) {
        self.sampled.retain(|token| token.request != request);
        self.scheduler.cancel(request);
    }

    fn next_at(&self) -> Option<Nanos> {
        self.sampled.front().map(|token| token.at).or(self.ends)
    }

    fn next_token(&mut self, now: Nanos) -> Option<Token> {
        loop {
            if let Some(token) = self.sampled.pop_front() {
                return Some(token);
            }
            let ends = self.ends.filter(|ends| *ends <= now)?;
            self.scheduler.complete(ends, &mut self.sampled);
            // vLLM begins the next step before this one's tokens are read.
            self.begin_step(ends);
        }
    }

    fn gauges(&self) -> Gauges {
        self.scheduler.gauges()
    }
}
