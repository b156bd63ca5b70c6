//! The scripted engine: tokens leave at instants that the manifest writes down.
//!
//! Requests take turns first come, first served, with at most `max-num-seqs` of them running. A turn's first token
//! leaves after `ttft`; each further one `per_token + per_token_load × (running − 1)` after the one before, with the
//! number that runs at that instant. Every time is multiplied by `1 + jitter × u`, with u uniform in [−1, 1).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::{NewRequest, Engine, Gauges, RequestId, Token, prefix_cache::PrefixCache};
use crate::{manifest::SimScript, unit::Nanos};

/// Requests and what remains to be done for them.
pub struct Script {
    script: SimScript,
    max_num_seqs: usize,
    seed: u64,
    arrived: u64,
    waiting: VecDeque<(RequestId, Lengths)>,
    running: BTreeMap<RequestId, Turn>,
    /// Next tokens by instant; the number breaks ties, so that equal instants have one order.
    due: BTreeSet<(Nanos, RequestId)>,
    prefixes: Option<PrefixCache>,
}

/// The script's times depend on nothing else of a request.
#[derive(Clone, Copy)]
struct Lengths {
    prompt: u64,
    output: u64,
}

struct Turn {
    asked: Lengths,
    done: u64,
    began: Nanos,
    next: Nanos,
    jitter: ChaCha8Rng,
}

impl Script {
    /// An idle engine that runs at most `max_num_seqs` requests at once (at least one).
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

    fn take_turns(&mut self, now: Nanos) {
        while self.running.len() < self.max_num_seqs {
            let Some((number, asked)) = self.waiting.pop_front() else {
                return;
            };
            // A stream per request: what one draws does not depend on what others drew.
            let mut jitter = ChaCha8Rng::seed_from_u64(self.seed);
            jitter.set_stream(number.0);
            let ttft = self.script.ttft.duration();
            let next = at_later(now, ttft, self.script.jitter, &mut jitter);
            self.due.insert((next, number));
            self.running.insert(number, Turn { asked, done: 0, began: now, next, jitter });
        }
    }
}

impl Engine for Script {
    fn admit(&mut self, now: Nanos, asked: NewRequest<'_>) -> RequestId {
        let number = RequestId(self.arrived);
        self.arrived += 1;
        if let Some(prefixes) = &mut self.prefixes {
            prefixes.ask(asked.prompt);
        }
        let lengths = Lengths { prompt: asked.prompt.len() as u64, output: asked.output_tokens };
        self.waiting.push_back((number, lengths));
        self.take_turns(now);
        number
    }

    fn cancel(&mut self, now: Nanos, request: RequestId) {
        self.waiting.retain(|(number, _)| *number != request);
        if let Some(turn) = self.running.remove(&request) {
            self.due.remove(&(turn.next, request));
            self.take_turns(now);
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
        let turn = self.running.get_mut(&request)?;
        turn.done += 1;
        let (number, began) = (turn.done, turn.began);
        let last = number >= turn.asked.output;
        if last {
            self.running.remove(&request);
            self.take_turns(at);
        } else {
            turn.next = at_later(at, gap, fraction, &mut turn.jitter);
            self.due.insert((turn.next, request));
        }
        Some(Token { at, request, number, last, began })
    }

    fn gauges(&self) -> Gauges {
        let turns = self.running.values();
        // Prompts and what was produced so far: what a KV cache would hold.
        let held: u64 = turns.map(|turn| turn.asked.prompt + turn.done).sum();
        let usage = |size: u64| (held as f64 / size as f64).min(1.0);
        Gauges {
            running: self.running.len(),
            waiting: self.waiting.len(),
            kv_usage: self.script.kv_tokens.map(usage),
            // A script never takes a turn back.
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

    fn asked(output_tokens: u64) -> NewRequest<'static> {
        NewRequest { prompt: &[1, 2, 3, 4, 5], output_tokens }
    }

    fn all(engine: &mut Script) -> Vec<(u64, u64, bool)> {
        std::iter::from_fn(|| engine.next_token(Nanos(u64::MAX)))
            .map(|t| (t.request.0, t.at.0 / 1_000_000, t.last))
            .collect()
    }

    #[test]
    fn load_slows_every_token_and_a_third_waits_for_its_turn() {
        let mut engine = Script::new(script(0.0), 2, false, 1);
        for _ in 0..3 {
            engine.admit(Nanos(0), asked(2));
        }
        let gauges = engine.gauges();
        assert_eq!((gauges.running, gauges.waiting), (2, 1));
        assert_eq!(gauges.kv_usage, Some(0.1));
        let expected =
            vec![(0, 40, false), (1, 40, false), (0, 49, true), (1, 49, true), (2, 89, false), (2, 97, true)];
        assert_eq!(all(&mut engine), expected);
    }

    #[test]
    fn a_cancelled_request_frees_its_place_at_once() {
        let mut engine = Script::new(script(0.0), 1, false, 1);
        let first = engine.admit(Nanos(0), asked(100));
        engine.admit(Nanos(0), asked(1));
        engine.cancel(Nanos(5_000_000), first);
        assert_eq!(all(&mut engine), vec![(1, 45, true)]);
        assert_eq!(engine.next_at(), None);
    }

    #[test]
    fn nothing_leaves_before_its_instant() {
        let mut engine = Script::new(script(0.0), 1, false, 1);
        engine.admit(Nanos(0), asked(1));
        assert_eq!(engine.next_token(Nanos(39_999_999)), None);
        assert!(engine.next_token(Nanos(40_000_000)).is_some());
    }

    #[test]
    fn jitter_is_bounded_seeded_and_differs_between_requests() {
        let first_tokens = |seed| {
            let mut engine = Script::new(script(0.05), 8, false, seed);
            (0..8).for_each(|_| {
                engine.admit(Nanos(0), asked(1));
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
