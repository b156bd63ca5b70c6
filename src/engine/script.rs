//! The scripted engine emits tokens at the times that the manifest states.
//!
//! Requests run first come, first served, at most `max-num-seqs` at once. The first token is emitted after
//! `ttft`, and each further one `per_token + per_token_load × (running − 1)` after the one before, with the
//! number of requests that run then. Every time is multiplied by `1 + jitter × u`, with u uniform in [−1, 1).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::{Engine, Gauges, NewRequest, RequestId, Token, prefix_cache::PrefixCache};
use crate::{manifest::SimScript, unit::Nanos};

/// An engine that follows a script.
pub struct Script {
    script: SimScript,
    max_num_seqs: usize,
    seed: u64,
    arrived: u64,
    waiting: VecDeque<(RequestId, Lengths)>,
    running: BTreeMap<RequestId, Running>,
    /// The next token of each running request. The request breaks ties, so that the order is defined.
    due: BTreeSet<(Nanos, RequestId)>,
    prefixes: Option<PrefixCache>,
}

/// The lengths of a request in tokens, which are all that matters to the script.
#[derive(Clone, Copy)]
struct Lengths {
    prompt: u64,
    output: u64,
}

struct Running {
    lengths: Lengths,
    done: u64,
    began: Nanos,
    next: Nanos,
    jitter: ChaCha8Rng,
}

impl Script {
    /// An idle engine that runs at most `max_num_seqs` requests at once, but at least one.
    pub fn new(script: SimScript, max_num_seqs: usize, prefix_caching: bool, seed: u64) -> Self {
        Self {
            prefixes: prefix_caching.then(|| PrefixCache::new(script.kv_tokens)),
            script,
            max_num_seqs: max_num_seqs.max(1),
            seed,
            arrived: 0,
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            due: BTreeSet::new(),
        }
    }

    fn start_queued(&mut self, now: Nanos) {
        while self.running.len() < self.max_num_seqs {
            let Some((number, lengths)) = self.waiting.pop_front() else {
                return;
            };
            // One stream per request, so that requests do not affect each other's jitter.
            let mut jitter = ChaCha8Rng::seed_from_u64(self.seed);
            jitter.set_stream(number.0);
            let ttft = self.script.ttft.duration();
            let next = at_later(now, ttft, self.script.jitter, &mut jitter);
            self.due.insert((next, number));
            self.running.insert(number, Running { lengths, done: 0, began: now, next, jitter });
        }
    }
}

impl Engine for Script {
    fn admit(&mut self, now: Nanos, request: NewRequest<'_>) -> RequestId {
        let number = RequestId(self.arrived);
        self.arrived += 1;
        if let Some(prefixes) = &mut self.prefixes {
            prefixes.query(request.prompt);
        }
        let lengths = Lengths { prompt: request.prompt.len() as u64, output: request.output_tokens };
        self.waiting.push_back((number, lengths));
        self.start_queued(now);
        number
    }

    fn cancel(&mut self, now: Nanos, request: RequestId) {
        self.waiting.retain(|(number, _)| *number != request);
        if let Some(running) = self.running.remove(&request) {
            self.due.remove(&(running.next, request));
            self.start_queued(now);
        }
    }

    fn next_at(&self) -> Option<Nanos> {
        self.due.first().map(|(at, _)| *at)
    }

    fn next_token(&mut self, now: Nanos) -> Option<Token> {
        let (at, request) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.due.pop_first();
        let others = self.running.len() as u32 - 1;
        let script = &self.script;
        let gap = script.per_token.duration() + script.per_token_load.duration() * others;
        let fraction = script.jitter;
        let running = self.running.get_mut(&request)?;
        running.done += 1;
        let (number, began) = (running.done, running.began);
        let last = number >= running.lengths.output;
        if last {
            self.running.remove(&request);
            self.start_queued(at);
        } else {
            running.next = at_later(at, gap, fraction, &mut running.jitter);
            self.due.insert((running.next, request));
        }
        Some(Token { at, request, number, last, began })
    }

    fn gauges(&self) -> Gauges {
        // Prompts and answers so far, which a KV cache would hold.
        let held: u64 = self.running.values().map(|running| running.lengths.prompt + running.done).sum();
        let usage = |size: u64| (held as f64 / size as f64).min(1.0);
        Gauges {
            running: self.running.len(),
            waiting: self.waiting.len(),
            kv_usage: self.script.kv_tokens.map(usage),
            // A script never preempts.
            preemptions: 0,
            prefix: self.prefixes.as_ref().map(|known| (known.queries, known.hits)),
        }
    }
}

/// `from + span × (1 + fraction × u)`, u uniform in [−1, 1).
fn at_later(from: Nanos, span: Duration, fraction: f64, rng: &mut ChaCha8Rng) -> Nanos {
    let u = f64::from(rng.next_u32()) / 2f64.powi(31) - 1.0;
    let ns = span.as_nanos() as f64 * (1.0 + fraction * u);
    Nanos(from.0 + ns.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::TimeSpan;

    fn script(jitter: f64) -> SimScript {
        SimScript {
            ttft: TimeSpan::from_millis(40),
            per_token: TimeSpan::from_millis(8),
            per_token_load: TimeSpan::from_millis(1),
            jitter,
            kv_tokens: Some(100),
            ..SimScript::default()
        }
    }

    fn request(output_tokens: u64) -> NewRequest<'static> {
        NewRequest { prompt: &[1, 2, 3, 4, 5], output_tokens }
    }

    fn all(engine: &mut Script) -> Vec<(u64, u64, bool)> {
        std::iter::from_fn(|| engine.next_token(Nanos(u64::MAX)))
            .map(|t| (t.request.0, t.at.0 / 1_000_000, t.last))
            .collect()
    }

    #[test]
    fn load_slows_every_token_and_a_third_request_waits() {
        let mut engine = Script::new(script(0.0), 2, false, 1);
        for _ in 0..3 {
            engine.admit(Nanos(0), request(2));
        }
        let gauges = engine.gauges();
        assert_eq!((gauges.running, gauges.waiting), (2, 1));
        assert_eq!(gauges.kv_usage, Some(0.1));
        let expected =
            vec![(0, 40, false), (1, 40, false), (0, 49, true), (1, 49, true), (2, 89, false), (2, 97, true)];
        assert_eq!(all(&mut engine), expected);
    }

    #[test]
    fn a_cancelled_request_frees_its_slot_at_once() {
        let mut engine = Script::new(script(0.0), 1, false, 1);
        let first = engine.admit(Nanos(0), request(100));
        engine.admit(Nanos(0), request(1));
        engine.cancel(Nanos(5_000_000), first);
        assert_eq!(all(&mut engine), vec![(1, 45, true)]);
        assert_eq!(engine.next_at(), None);
    }

    #[test]
    fn no_token_is_emitted_before_its_time() {
        let mut engine = Script::new(script(0.0), 1, false, 1);
        engine.admit(Nanos(0), request(1));
        assert_eq!(engine.next_token(Nanos(39_999_999)), None);
        assert!(engine.next_token(Nanos(40_000_000)).is_some());
    }

    #[test]
    fn jitter_is_bounded_seeded_and_differs_between_requests() {
        let first_tokens = |seed| {
            let mut engine = Script::new(script(0.05), 8, false, seed);
            (0..8).for_each(|_| {
                engine.admit(Nanos(0), request(1));
            });
            let mut at: Vec<_> =
                std::iter::from_fn(|| engine.next_token(Nanos(u64::MAX))).map(|t| t.at.0).collect();
            assert!(at.iter().all(|ns| (38_000_000..=42_000_000).contains(ns)));
            at.dedup();
            at
        };
        assert_eq!(first_tokens(1), first_tokens(1));
        assert_ne!(first_tokens(1), first_tokens(2));
        assert_eq!(first_tokens(1).len(), 8);
    }
}
