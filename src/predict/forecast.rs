//! Simulates the client and the server of one cell in virtual time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, VecDeque},
    path::Path,
    rc::Rc,
};

use super::{Assumptions, PredictError, prompt};
use crate::{
    engine::{Engine, NewRequest, RequestId, Token, tokenizer},
    load::{Chunks, Closed, Outcome, Packer, Phase, Record, Records, Schedule, Think, Usage, Wait},
    manifest::{Cache, Start, ThinkTime},
    measure::EarlyEnd,
    plan::{Cell, Stop},
    unit::Nanos,
    workload::{Conversation, Request, Requests},
};

/// Estimated time from the client's send to the engine's queue: HTTP, tokenizer, and the hop to the engine's
/// process.
const FRONT_END_NS: u64 = 1_000_000;
/// Number of chunks after which the client extrapolates the duration of the first answer.
const CHUNKS_OF_A_PACE: u64 = 8;

/// The next event on the client's side.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A stream of the closed loop sends its next request.
    Stream(u32),
    /// An arrival of the open loop.
    Arrival(u64),
    /// The next turn of a conversation of the open loop.
    Turn(u64),
}

struct Flight {
    record: Record,
    stream: u32,
    /// The number of the conversation in the open loop.
    conversation_number: u64,
    conversation: Option<Conversation>,
}

/// A simulated repeat.
pub(super) struct Forecasted<E> {
    pub(super) records: Records,
    /// The engine in its final state.
    pub(super) engine: E,
    /// Why a probe ended before its last request.
    pub(super) ended_early: Option<String>,
}

/// The simulation of one repeat of a cell on an engine.
pub(super) struct Forecast<'a, E> {
    cell: &'a Cell,
    requests: &'a Requests,
    schedule: &'a Schedule,
    engine: E,
    assumed: Assumptions,
    due: BinaryHeap<Reverse<(Nanos, Due)>>,
    flights: BTreeMap<RequestId, Flight>,
    /// When requests time out, in the order they were sent.
    deadlines: VecDeque<(Nanos, RequestId)>,
    next: u64,
    next_conversation: u64,
    measured_from: Option<Nanos>,
    thinks: HashMap<u64, Think>,
    conversations: HashMap<u64, Conversation>,
    /// Streams that start once the duration of a request is known.
    unspread: u32,
    prompts: HashMap<u32, Rc<[u64]>>,
    records: Packer,
    /// Of the probe of a search.
    early: Option<EarlyEnd>,
    /// Whether the result is clear, so that no further request starts.
    is_clear: bool,
}

impl<'a, E: Engine> Forecast<'a, E> {
    pub(super) fn new(
        cell: &'a Cell,
        requests: &'a Requests,
        schedule: &'a Schedule,
        engine: E,
        assumed: Assumptions,
        spill: &Path,
    ) -> Self {
        Self {
            cell,
            requests,
            schedule,
            engine,
            assumed,
            due: BinaryHeap::new(),
            flights: BTreeMap::new(),
            deadlines: VecDeque::new(),
            next: 0,
            next_conversation: 0,
            measured_from: None,
            thinks: HashMap::new(),
            conversations: HashMap::new(),
            unspread: 0,
            prompts: HashMap::new(),
            records: Packer::new(spill),
            early: EarlyEnd::of(cell),
            is_clear: false,
        }
    }

    /// Runs until no event is left.
    pub(super) fn run(mut self) -> Result<Forecasted<E>, PredictError> {
        match self.schedule {
            Schedule::Closed(closed) => {
                self.due_at(Nanos(0), Due::Stream(0));
                let others = closed.streams.saturating_sub(1);
                match closed.start {
                    Start::Staggered => self.unspread = others,
                    Start::Together => {
                        (1..=others).for_each(|stream| self.due_at(Nanos(0), Due::Stream(stream)));
                    }
                }
            }
            Schedule::Open(open) => {
                if let Some(first) = open.due.first() {
                    self.due_at(*first, Due::Arrival(0));
                }
            }
        }
        loop {
            let due = self.due.peek().map(|Reverse((at, _))| *at);
            let token = self.engine.next_at();
            let deadline = self.deadlines.front().map(|(at, _)| *at);
            let Some(now) = [due, token, deadline].into_iter().flatten().min() else {
                break;
            };
            if token == Some(now) {
                while let Some(token) = self.engine.next_token(now) {
                    self.token(token)?;
                }
            } else if deadline == Some(now) {
                self.time_out(now)?;
            } else if let Some(Reverse((at, due))) = self.due.pop() {
                self.send(at, due)?;
            }
        }
        let ended_early = self.early.and_then(|early| early.reason().map(str::to_owned));
        Ok(Forecasted { records: self.records.finish()?, engine: self.engine, ended_early })
    }

    fn due_at(&mut self, at: Nanos, what: Due) {
        self.due.push(Reverse((at, what)));
    }

    fn is_open(&self, at: Nanos) -> bool {
        match (self.cell.stop, self.measured_from) {
            (Stop::Duration(span), Some(from)) => u128::from(at.0 - from.0) < span.duration().as_nanos(),
            (Stop::Duration(_), None) => true,
            (Stop::Requests(requests), _) => self.next < self.cell.spec.warmup.saturating_add(requests),
        }
    }

    fn send(&mut self, at: Nanos, due: Due) -> Result<(), PredictError> {
        if self.is_clear {
            return Ok(());
        }
        let (index, stream, conversation_number, conversation) = match (due, self.schedule) {
            (Due::Stream(stream), _) => {
                if !self.is_open(at) {
                    return Ok(());
                }
                let index = self.next;
                self.next += 1;
                let conversation = match self.conversations.remove(&u64::from(stream)) {
                    None if self.requests.are_turns() => {
                        self.next_conversation += 1;
                        Some(self.requests.begin(self.next_conversation - 1))
                    }
                    conversation => conversation,
                };
                (index, stream, 0, conversation)
            }
            (Due::Arrival(number), Schedule::Open(open)) => {
                if let Some(next) = open.due.get(number as usize + 1) {
                    self.due_at(*next, Due::Arrival(number + 1));
                }
                self.next = self.next.max(open.due.len() as u64);
                let conversation = self.requests.are_turns().then(|| self.requests.begin(number));
                (number, 0, number, conversation)
            }
            (Due::Turn(conversation_number), _) => {
                let index = self.next;
                self.next += 1;
                (index, 0, conversation_number, self.conversations.remove(&conversation_number))
            }
            (Due::Arrival(_), Schedule::Closed(_)) => return Ok(()),
        };
        let request = self.requests.turn(conversation.as_ref(), index);
        let counted = if self.requests.are_turns() && matches!(self.schedule, Schedule::Open(_)) {
            conversation_number
        } else {
            index
        };
        let phase = if counted < self.cell.spec.warmup { Phase::Warmup } else { Phase::Measured };
        let mut record = Record::unsent(index, stream, phase, at, &request);
        if record.phase == Phase::Measured {
            self.measured_from.get_or_insert(at);
        }
        if let Schedule::Open(open) = self.schedule
            && open.max_in_flight.is_some_and(|most| self.flights.len() >= most as usize)
        {
            record.error = Some("max_in_flight requests were in flight".to_owned());
            return Ok(self.records.add(&record)?);
        }
        let prompt = self.prompt(&request);
        record.sent = Some(at);
        record.usage =
            Some(Usage { prompt_tokens: prompt.len() as u64, completion_tokens: 0, cached_tokens: None });
        let output_tokens = self.assumed.answer_tokens(self.cell, request.max_tokens);
        let number =
            self.engine.admit(Nanos(at.0 + FRONT_END_NS), NewRequest { prompt: &prompt, output_tokens });
        let timeout = self.cell.spec.timeout.duration().as_nanos() as u64;
        self.deadlines.push_back((Nanos(at.0.saturating_add(timeout)), number));
        self.flights.insert(number, Flight { record, stream, conversation_number, conversation });
        Ok(())
    }

    /// The tokens of a request's prompt, computed once for prompts that recur.
    fn prompt(&mut self, request: &Request) -> Rc<[u64]> {
        let recurs = request.turn.is_none()
            && request.input_tokens.is_none()
            && self.cell.spec.cache == Cache::AsWritten;
        // The length of a synthetic prompt is already in the server's tokens.
        let scale = match request.input_tokens {
            Some(_) => 1.0,
            None => self.assumed.prompts,
        };
        let read = || prompt::stretched(prompt::tokens(&request.body), scale).into();
        if !recurs {
            return read();
        }
        Rc::clone(self.prompts.entry(request.input).or_insert_with(read))
    }

    fn token(&mut self, token: Token) -> Result<(), PredictError> {
        let Some(flight) = self.flights.get_mut(&token.request) else {
            return Ok(());
        };
        let record = &mut flight.record;
        record.headers.get_or_insert(token.at);
        record.chunks.push(token.at);
        let (stream, first) = (flight.stream, record.chunks.first());
        if self.unspread > 0
            && stream == 0
            && let Schedule::Closed(closed) = *self.schedule
            && (token.last || self.cell.spec.stream && token.number > CHUNKS_OF_A_PACE)
        {
            let first = first.unwrap_or(token.at);
            let pace = (token.at.0 - first.0) / (token.number - 1).max(1);
            let rest = u64::from(closed.answer_tokens).saturating_sub(1);
            let duration = if token.last { token.at.0 } else { first.0 + pace * rest };
            self.spread(&closed, duration, token.at);
        }
        if token.last {
            self.end(token.request, token.at, Outcome::Completed)?;
        }
        Ok(())
    }

    /// Starts the waiting streams evenly over the duration of a request; those whose time has passed start
    /// one duration later.
    fn spread(&mut self, closed: &Closed, duration: u64, now: Nanos) {
        let spread = match self.cell.stop {
            Stop::Requests(_) => duration,
            Stop::Duration(span) => duration.min(span.duration().as_nanos() as u64 / 4),
        };
        for stream in 1..=std::mem::take(&mut self.unspread) {
            let mut from = spread * u64::from(stream) / u64::from(closed.streams);
            if from < now.0 {
                from += spread;
            }
            self.due_at(Nanos(from.max(now.0)), Due::Stream(stream));
        }
    }

    /// Ends the request whose deadline is first.
    fn time_out(&mut self, now: Nanos) -> Result<(), PredictError> {
        let Some((_, number)) = self.deadlines.pop_front() else {
            return Ok(());
        };
        let Some(flight) = self.flights.get(&number) else {
            return Ok(());
        };
        let is_silent = flight.record.chunks.is_empty() || !self.cell.spec.stream;
        let wait = if is_silent { Wait::FirstToken } else { Wait::Rest };
        self.engine.cancel(now, number);
        self.end(number, now, Outcome::TimedOut(wait))
    }

    fn end(&mut self, number: RequestId, now: Nanos, outcome: Outcome) -> Result<(), PredictError> {
        let Some(mut flight) = self.flights.remove(&number) else {
            return Ok(());
        };
        // A deadline of a request that has ended is not an event.
        while let Some((_, first)) = self.deadlines.front() {
            if self.flights.contains_key(first) {
                break;
            }
            self.deadlines.pop_front();
        }
        let record = &mut flight.record;
        let tokens = record.chunks.len() as u64;
        record.end = now;
        record.outcome = outcome;
        if !self.cell.spec.stream {
            make_unstreamed(record);
        }
        if outcome == Outcome::Completed {
            record.status = Some(200);
            let is_full = tokens >= u64::from(record.max_tokens);
            record.finish_reason = Some(if is_full { "length" } else { "stop" }.to_owned());
            if let Some(usage) = &mut record.usage {
                usage.completion_tokens = tokens;
            }
        } else {
            record.usage = None;
        }
        self.is_clear |= self.early.as_mut().is_some_and(|early| early.take(record));
        self.records.add(record)?;
        let conversation =
            flight.conversation.filter(|_| outcome == Outcome::Completed).and_then(|conversation| {
                let answer: String = (1..=tokens).map(tokenizer::answer_word).collect();
                self.requests.answered(conversation, &answer)
            });
        match self.schedule {
            Schedule::Closed(closed) => {
                let number = u64::from(flight.stream);
                let at = Nanos(now.0 + self.think(closed.think, closed.seed, number));
                if let Some(conversation) = conversation {
                    self.conversations.insert(u64::from(flight.stream), conversation);
                }
                self.due_at(at, Due::Stream(flight.stream));
            }
            Schedule::Open(open) => {
                if let Some(conversation) = conversation {
                    let conversation_number = flight.conversation_number;
                    let at = Nanos(now.0 + self.think(open.think, open.seed, conversation_number));
                    self.conversations.insert(conversation_number, conversation);
                    self.due_at(at, Due::Turn(conversation_number));
                }
            }
        }
        Ok(())
    }

    /// The think time of a stream or a conversation, in nanoseconds.
    fn think(&mut self, think: Option<ThinkTime>, seed: u64, number: u64) -> u64 {
        let Some(new) = Think::of(think, seed, number) else {
            return 0;
        };
        let think = self.thinks.entry(number).or_insert(new);
        think.draw().as_nanos() as u64
    }
}

/// Turns a record into that of an answer that was not streamed: all of it arrives at its end.
fn make_unstreamed(record: &mut Record) {
    record.chunks = Chunks::default();
    record.headers = None;
    if record.outcome == Outcome::Completed {
        record.whole = true;
        record.headers = Some(record.end);
        record.chunks.push(record.end);
    }
}
