//! The scheduler: chooses which tokens of which requests the next step computes, as vLLM's v1 scheduler does
//! (`vllm/v1/core/sched/scheduler.py`).
//!
//! Every step has a budget of tokens. Running requests come first, in the order they started: each gets one
//! token when it decodes, and as much of its prompt as the budget allows when it prefills. If no KV block is
//! left for one, the request that started last is preempted: its blocks are freed, and its prompt and answer
//! are computed again later. Then, unless a request was preempted in this step, queued requests start in the
//! order of arrival while slots, budget and blocks last; each needs blocks for all its tokens. A request
//! samples a token in the step that computes the last of its tokens.

use std::collections::VecDeque;

use super::{
    Gauges, NewRequest, RequestId, Token,
    kv_cache::{BlockTable, KvCache},
    tokenizer::BlockHashes,
};
use crate::unit::Nanos;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// The most running requests (`max-num-seqs`).
    pub(super) max_num_seqs: usize,
    /// The most tokens in a step (`max-num-batched-tokens`).
    pub(super) max_num_batched_tokens: u64,
    /// The most tokens of a request, prompt and answer together (`max-model-len`).
    pub(super) max_model_len: u64,
    /// Whether a long prompt is computed in chunks (`enable-chunked-prefill`).
    pub(super) chunked_prefill: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    pub(super) sequences: u64,
    pub(super) tokens: u64,
    /// Computed tokens of requests that are in prefill.
    pub(super) prefill_tokens: u64,
    /// Tokens whose keys and values are read: all tokens of the step's requests once it is done.
    pub(super) context_tokens: u64,
    /// Pairs of a computed token and a token that it attends to.
    pub(super) attention_pairs: u64,
    pub(super) sampled: u64,
}

#[derive(Debug)]
struct Sequence {
    number: RequestId,
    prompt_tokens: u64,
    /// Sampled tokens of the answer, and how many there will be.
    generated: u64,
    output_tokens: u64,
    /// Leading tokens whose keys and values are in the cache.
    computed: u64,
    /// Tokens that the current step computes.
    in_step: u64,
    hashes: Option<BlockHashes>,
    table: BlockTable,
    began: Option<Nanos>,
}

impl Sequence {
    fn tokens(&self) -> u64 {
        self.prompt_tokens + self.generated
    }
}

/// The requests of an engine and their KV blocks.
#[derive(Debug)]
pub(super) struct Scheduler {
    limits: Limits,
    cache: KvCache,
    /// In the order they started.
    running: Vec<Sequence>,
    waiting: VecDeque<Sequence>,
    arrived: u64,
    preemptions: u64,
    prefix: (u64, u64),
}

impl Scheduler {
    /// A scheduler without requests. A request has at most `max_model_len` tokens, or as many as fit into the
    /// cache if fewer.
    pub(super) fn new(mut limits: Limits, cache: KvCache) -> Self {
        let fits = u64::from(cache.usable) * cache.block_size;
        limits.max_model_len = limits.max_model_len.min(fits);
        limits.max_num_seqs = limits.max_num_seqs.max(1);
        // Without chunks, a prompt must fit into one step, or it would wait forever.
        limits.max_num_batched_tokens = match limits.chunked_prefill {
            true => limits.max_num_batched_tokens.max(1),
            false => limits.max_num_batched_tokens.max(limits.max_model_len),
        };
        Self {
            limits,
            cache,
            running: Vec::new(),
            waiting: VecDeque::new(),
            arrived: 0,
            preemptions: 0,
            prefix: (0, 0),
        }
    }

    /// Queues a request. Prompt and answer are truncated at the most tokens of a request.
    pub(super) fn admit(&mut self, request: NewRequest<'_>) -> RequestId {
        let number = RequestId(self.arrived);
        self.arrived += 1;
        let most = self.limits.max_model_len;
        let kept = (request.prompt.len() as u64).min(most.saturating_sub(1));
        let hashes = self.cache.caches_prefixes().then(|| {
            let mut hashes = BlockHashes::new(self.cache.block_size);
            let prompt = request.prompt.iter().take(kept as usize);
            prompt.for_each(|token| hashes.push(*token));
            hashes
        });
        self.waiting.push_back(Sequence {
            number,
            prompt_tokens: kept,
            generated: 0,
            output_tokens: request.output_tokens.min(most - kept).max(1),
            computed: 0,
            in_step: 0,
            hashes,
            table: BlockTable::default(),
            began: None,
        });
        number
    }

    /// Cancels a request and frees its blocks. Returns whether it was there.
    pub(super) fn cancel(&mut self, request: RequestId) -> bool {
        let is_it = |sequence: &Sequence| sequence.number == request;
        if let Some(place) = self.running.iter().position(is_it) {
            let mut sequence = self.running.remove(place);
            self.cache.release(&mut sequence.table);
            return true;
        }
        let place = self.waiting.iter().position(is_it);
        place.is_some_and(|place| self.waiting.remove(place).is_some())
    }

    /// The current state. As in vLLM, a request counts as a query of the prefix cache when it starts, and not
    /// again after a preemption.
    pub(super) fn gauges(&self) -> Gauges {
        Gauges {
            running: self.running.len(),
            waiting: self.waiting.len(),
            kv_usage: Some(self.cache.usage()),
            preemptions: self.preemptions,
            prefix: self.cache.caches_prefixes().then_some(self.prefix),
        }
    }

    /// Chooses the work of the step that begins now; `None` if there is nothing to do.
    /// [`Scheduler::complete`] must end the step before the next one is chosen.
    pub(super) fn schedule(&mut self, now: Nanos) -> Option<Work> {
        let mut work = Work::default();
        let mut budget = self.limits.max_num_batched_tokens;
        let preempted = self.schedule_running(&mut work, &mut budget);
        if !preempted {
            self.schedule_waiting(now, &mut work, &mut budget);
        }
        (work.sequences > 0).then_some(work)
    }

    /// Schedules the running requests. Returns whether one was preempted.
    fn schedule_running(&mut self, work: &mut Work, budget: &mut u64) -> bool {
        let mut preempted = false;
        let mut place = 0;
        'next: while place < self.running.len() && *budget > 0 {
            loop {
                let sequence = &mut self.running[place];
                let new = (sequence.tokens() - sequence.computed).min(*budget);
                let then = sequence.computed + new;
                if self.cache.grow(&mut sequence.table, then) {
                    register(&mut self.cache, sequence, then);
                    count(work, sequence, new);
                    *budget -= new;
                    place += 1;
                    continue 'next;
                }
                preempted = true;
                self.preempt_last();
                if place == self.running.len() {
                    break 'next;
                }
            }
        }
        preempted
    }

    fn preempt_last(&mut self) {
        let Some(mut last) = self.running.pop() else {
            return;
        };
        self.cache.release(&mut last.table);
        last.computed = 0;
        last.in_step = 0;
        self.preemptions += 1;
        self.waiting.push_front(last);
    }

    fn schedule_waiting(&mut self, now: Nanos, work: &mut Work, budget: &mut u64) {
        while *budget > 0 && self.running.len() < self.limits.max_num_seqs {
            let Some(sequence) = self.waiting.front_mut() else {
                return;
            };
            let tokens = sequence.tokens();
            let hashes = sequence.hashes.as_ref().map_or(&[][..], BlockHashes::blocks);
            let found = self.cache.find_prefix(hashes, tokens);
            let cached = found as u64 * self.cache.block_size;
            let lacking = tokens - cached;
            if lacking > *budget && !self.limits.chunked_prefill {
                return;
            }
            let new = lacking.min(*budget);
            let table = &mut sequence.table;
            if !self.cache.admit(table, hashes, found, cached + new, tokens) {
                return;
            }
            let Some(mut sequence) = self.waiting.pop_front() else {
                return;
            };
            if sequence.began.is_none() {
                self.prefix.0 += tokens;
                self.prefix.1 += cached;
            }
            sequence.began.get_or_insert(now);
            sequence.computed = cached;
            register(&mut self.cache, &mut sequence, cached + new);
            count(work, &mut sequence, new);
            *budget -= new;
            self.running.push(sequence);
        }
    }

    /// Ends the step at `at`. Sampled tokens go to `out`, in the order in which the requests started;
    /// completed requests are removed.
    pub(super) fn complete(&mut self, at: Nanos, out: &mut impl Extend<Token>) {
        let cache = &mut self.cache;
        let most = self.limits.max_model_len;
        self.running.retain_mut(|sequence| {
            sequence.computed += std::mem::take(&mut sequence.in_step);
            let Some(began) = sequence.began else {
                return true;
            };
            if sequence.computed < sequence.tokens() {
                return true;
            }
            sequence.generated += 1;
            if let Some(hashes) = &mut sequence.hashes {
                hashes.push_answer_token(sequence.generated);
            }
            let last = sequence.generated >= sequence.output_tokens || sequence.tokens() >= most;
            out.extend([Token { at, request: sequence.number, number: sequence.generated, last, began }]);
            if last {
                cache.release(&mut sequence.table);
            }
            !last
        });
    }
}

/// Registers the blocks that the step fills. As in vLLM, others find them from this step on.
fn register(cache: &mut KvCache, sequence: &mut Sequence, then: u64) {
    let full = (then / cache.block_size) as usize;
    if full <= sequence.table.registered {
        return;
    }
    let hashes = sequence.hashes.as_ref().map_or(&[][..], BlockHashes::blocks);
    let full = full.min(hashes.len());
    cache.register(&mut sequence.table, &hashes[..full]);
}

/// Adds `new` tokens of a sequence to the step.
fn count(work: &mut Work, sequence: &mut Sequence, new: u64) {
    let before = sequence.computed;
    let then = before + new;
    sequence.in_step = new;
    work.sequences += 1;
    work.tokens += new;
    if before < sequence.prompt_tokens {
        work.prefill_tokens += new;
    }
    work.context_tokens += then;
    // The k-th new token attends to all before it and to itself.
    work.attention_pairs += new * before + new * (new + 1) / 2;
    work.sampled += u64::from(then == sequence.tokens());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits =
        Limits { max_num_seqs: 8, max_num_batched_tokens: 16, max_model_len: 64, chunked_prefill: true };

    fn admit(scheduler: &mut Scheduler, prompt: u64, output_tokens: u64) -> RequestId {
        // Prompts of the same length are equal.
        let prompt: Vec<u64> = (0..prompt).map(|token| token + 1000 * prompt).collect();
        scheduler.admit(NewRequest { prompt: &prompt, output_tokens })
    }

    fn step(scheduler: &mut Scheduler, out: &mut Vec<Token>) -> Option<Work> {
        let work = scheduler.schedule(Nanos(0))?;
        scheduler.complete(Nanos(0), out);
        Some(work)
    }

    #[test]
    fn a_long_prompt_is_computed_in_chunks_beside_decoding_requests() {
        let mut scheduler = Scheduler::new(LIMITS, KvCache::new(33, 4, false));
        let mut out = Vec::new();
        admit(&mut scheduler, 4, 8);
        let first = step(&mut scheduler, &mut out).unwrap();
        assert_eq!((first.tokens, first.prefill_tokens, first.sampled), (4, 4, 1));
        assert_eq!(first.attention_pairs, 1 + 2 + 3 + 4);
        admit(&mut scheduler, 20, 2);
        let second = step(&mut scheduler, &mut out).unwrap();
        assert_eq!((second.tokens, second.prefill_tokens, second.sampled), (16, 15, 1));
        let third = step(&mut scheduler, &mut out).unwrap();
        assert_eq!((third.tokens, third.prefill_tokens, third.sampled), (6, 5, 2));
        assert_eq!(third.context_tokens, 6 + 20);
        // Without chunks, it waits until it fits into a step as a whole.
        let whole =
            Limits { chunked_prefill: false, max_model_len: 20, max_num_batched_tokens: 20, ..LIMITS };
        let mut scheduler = Scheduler::new(whole, KvCache::new(33, 4, false));
        admit(&mut scheduler, 4, 3);
        admit(&mut scheduler, 19, 1);
        let tokens: Vec<u64> =
            std::iter::from_fn(|| step(&mut scheduler, &mut out)).map(|work| work.tokens).collect();
        assert_eq!(tokens, [4, 20, 1]);
    }

    #[test]
    fn when_blocks_run_out_the_last_request_is_preempted_and_repeats_no_token() {
        // Two requests of 4 + 8 tokens need 3 blocks each, and there are 4.
        let mut scheduler = Scheduler::new(LIMITS, KvCache::new(5, 4, false));
        let mut out = Vec::new();
        let first = admit(&mut scheduler, 4, 8);
        let second = admit(&mut scheduler, 4, 8);
        while step(&mut scheduler, &mut out).is_some() {}
        assert_eq!(scheduler.preemptions, 1);
        let ends: Vec<RequestId> = out.iter().filter(|s| s.last).map(|s| s.request).collect();
        assert_eq!(ends, [first, second]);
        let numbers: Vec<u64> = out.iter().filter(|s| s.request == second).map(|s| s.number).collect();
        assert_eq!(numbers, (1..=8).collect::<Vec<u64>>());
        assert_eq!(scheduler.cache.free(), 4);
    }

    #[test]
    fn an_equal_prompt_is_a_hit_in_the_step_that_computes_it() {
        let mut scheduler = Scheduler::new(LIMITS, KvCache::new(33, 4, true));
        let mut out = Vec::new();
        admit(&mut scheduler, 9, 1);
        admit(&mut scheduler, 9, 1);
        let work = step(&mut scheduler, &mut out).unwrap();
        assert_eq!((work.tokens, work.sampled), (9 + 1, 2));
        assert_eq!(scheduler.gauges().prefix, Some((18, 8)));
    }

    #[test]
    fn cancelling_a_request_frees_its_slot_at_once() {
        let one = Limits { max_num_seqs: 1, ..LIMITS };
        let mut scheduler = Scheduler::new(one, KvCache::new(33, 4, false));
        let mut out = Vec::new();
        let first = admit(&mut scheduler, 4, 60);
        let second = admit(&mut scheduler, 5, 1);
        step(&mut scheduler, &mut out);
        assert_eq!((scheduler.running.len(), scheduler.waiting.len()), (1, 1));
        assert!(scheduler.cancel(first));
        assert!(!scheduler.cancel(first));
        step(&mut scheduler, &mut out);
        assert_eq!(out.last().map(|s| (s.request, s.last)), Some((second, true)));
        assert_eq!(scheduler.cache.usage(), 0.0);
    }

    #[derive(Clone, Debug)]
    enum Event {
        Admit(u64, u64),
        Cancel(prop::sample::Index),
        Step,
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            2 => (1u64..40, 1u64..30).prop_map(|(prompt, output)| Event::Admit(prompt, output)),
            1 => any::<prop::sample::Index>().prop_map(Event::Cancel),
            6 => Just(Event::Step),
        ];
        prop::collection::vec(event, 1..150)
    }

    fn limits() -> impl Strategy<Value = Limits> {
        (1usize..9, 1u64..40, 2u64..64, any::<bool>()).prop_map(|(seqs, tokens, len, chunked)| Limits {
            max_num_seqs: seqs,
            max_num_batched_tokens: tokens,
            max_model_len: len,
            chunked_prefill: chunked,
        })
    }

    proptest! {
        #[test]
        fn every_token_is_sampled_once_in_order_and_blocks_are_conserved(
            limits in limits(), blocks in 2u32..40, size in 1u32..6, prefixes in any::<bool>(), events in events()
        ) {
            let mut scheduler = Scheduler::new(limits, KvCache::new(blocks, size, prefixes));
            let most = scheduler.limits.max_model_len;
            let budget = scheduler.limits.max_num_batched_tokens;
            let mut expected: BTreeMap<RequestId, u64> = BTreeMap::new();
            let mut emitted: BTreeMap<RequestId, u64> = BTreeMap::new();
            let mut cancelled = Vec::new();
            let drain = std::iter::repeat_n(Event::Step, 20_000);
            for event in events.into_iter().chain(drain) {
                match event {
                    Event::Admit(prompt, output) => {
                        let number = admit(&mut scheduler, prompt, output);
                        let kept = prompt.min(most.saturating_sub(1));
                        expected.insert(number, output.min(most - kept).max(1));
                    }
                    Event::Cancel(who) => {
                        if !expected.is_empty() {
                            let number = RequestId(who.index(expected.len()) as u64);
                            if scheduler.cancel(number) {
                                cancelled.push(number);
                            }
                        }
                    }
                    Event::Step => {
                        let mut out = Vec::new();
                        let Some(work) = scheduler.schedule(Nanos(0)) else {
                            if scheduler.running.len() + scheduler.waiting.len() == 0 { break } else { continue }
                        };
                        prop_assert!(work.tokens <= budget);
                        prop_assert!(work.sequences <= limits.max_num_seqs as u64);
                        scheduler.complete(Nanos(0), &mut out);
                        prop_assert_eq!(out.len() as u64, work.sampled);
                        for sampled in out {
                            let before = emitted.insert(sampled.request, sampled.number);
                            prop_assert_eq!(before.unwrap_or(0) + 1, sampled.number);
                            prop_assert_eq!(sampled.last, sampled.number == expected[&sampled.request]);
                        }
                    }
                }
                prop_assert!(scheduler.cache.free() <= scheduler.cache.usable);
                for sequence in &scheduler.running {
                    prop_assert!(sequence.computed <= sequence.tokens());
                    prop_assert!(sequence.table.blocks.len() as u64 * u64::from(size) >= sequence.computed);
                }
                if let Some((queries, hits)) = scheduler.gauges().prefix {
                    prop_assert!(hits <= queries);
                }
            }
            prop_assert_eq!((scheduler.running.len(), scheduler.waiting.len()), (0, 0));
            prop_assert_eq!(scheduler.cache.free(), scheduler.cache.usable);
            for (number, wanted) in &expected {
                let got = emitted.get(number).copied().unwrap_or(0);
                prop_assert!(got == *wanted || cancelled.contains(number), "{:?}: {} of {}", number, got, wanted);
            }
        }

        // Nine blocks, of which eight are usable, hold the longest request: none is cut short for want of memory.
        #[test]
        fn more_memory_never_means_fewer_users(
            blocks in 9u32..60, more in 1u32..20, prompt in 1u64..20, output in 1u64..12, users in 1u64..20
        ) {
            let run = |blocks: u32| {
                let limits = Limits { max_num_seqs: 64, max_num_batched_tokens: 4096, ..LIMITS };
                let mut scheduler = Scheduler::new(limits, KvCache::new(blocks, 4, false));
                for _ in 0..users {
                    admit(&mut scheduler, prompt, output);
                }
                let (mut most, mut steps) = (0, 0u64);
                while scheduler.schedule(Nanos(0)).is_some() {
                    most = most.max(scheduler.running.len());
                    steps += 1;
                    scheduler.complete(Nanos(0), &mut Vec::new());
                }
                (most, steps)
            };
            let (less, longer) = run(blocks);
            let (enough, shorter) = run(blocks + more);
            prop_assert!(enough >= less, "{} at once, then {}", less, enough);
            // Slightly more memory may take more steps, because a request that starts with it may be
            // preempted. With room for all requests none is, and one token of each per step is the fastest.
            let everybody = users * (prompt + output).div_ceil(4) + 1;
            let (all, fewest) = run(everybody as u32);
            prop_assert_eq!((all as u64, fewest), (users, output));
            prop_assert!(fewest <= longer.min(shorter), "{} steps, with less {} and {}", fewest, longer, shorter);
        }
    }
}
