//! The body of a streamed answer: one event per frame and HTTP chunk, unless a fault was drawn for the
//! request.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body, Frame};

use super::{
    answer::{Answer, Part},
    clock::{Step, Ticket},
    fault::DrawnFaults,
    wire_format::WireFormat,
};
use crate::{engine::tokenizer, manifest::AnswerFault};

/// Tokens per event if several share one.
const PER_EVENT: u64 = 3;

/// The body. When the client disconnects, it is dropped, which cancels the request.
pub(super) struct Events {
    answer: Answer,
    finish: &'static str,
    ticket: Ticket,
    /// Tokens that the engine emitted.
    sent: u64,
    /// Tokens that the engine will emit.
    total: u64,
    drawn: DrawnFaults,
    format: WireFormat,
    /// The text of tokens without an event yet.
    held: String,
    role_sent: bool,
    ready: VecDeque<Bytes>,
    state: State,
    /// Whether earlier writes were flushed.
    yielded: bool,
}

/// Whether more follows.
enum State {
    Running,
    Ended,
    /// The connection breaks.
    Cut,
    /// The stream hangs.
    Stalled,
}

impl Events {
    pub(super) fn new(
        mut answer: Answer,
        finish: &'static str,
        ticket: Ticket,
        total: u64,
        drawn: DrawnFaults,
    ) -> Self {
        answer.continuous_usage |= drawn.has(AnswerFault::UsageInEveryEvent);
        if drawn.has(AnswerFault::NoUsage) {
            (answer.include_usage, answer.continuous_usage) = (false, false);
        }
        let mut events = Self {
            finish,
            ticket,
            sent: 0,
            total,
            drawn,
            format: WireFormat::of(drawn),
            held: String::new(),
            role_sent: false,
            ready: VecDeque::new(),
            state: State::Running,
            yielded: false,
            answer,
        };
        if drawn.ending() == Some(AnswerFault::Empty) {
            events.state = State::Ended;
        } else if drawn.has(AnswerFault::EarlyRole) {
            events.begin();
            if !events.answer.chat {
                let nothing = events.answer.token(Part::Content, "", 0, None);
                events.write(nothing);
            }
        }
        events
    }

    fn write(&mut self, event: Bytes) {
        self.format.write(event, &mut self.ready);
    }

    fn begin(&mut self) {
        if self.answer.chat && !self.role_sent {
            self.role_sent = true;
            let role = self.answer.role();
            self.write(role);
        }
    }

    fn handle(&mut self, step: Option<Step>) {
        // vLLM sends the role with the first token, not before.
        self.begin();
        match step {
            Some(Step::Token { last }) => self.token(last),
            Some(Step::Fail) => self.fail(),
            Some(Step::Abort) | None => self.end("abort"),
        }
    }

    fn token(&mut self, last: bool) {
        // Faults happen half-way, which is before a single token.
        if self.sent == self.total / 2 && self.fault_ends_answer() {
            return;
        }
        self.sent += 1;
        self.held.push_str(tokenizer::answer_word(self.sent));
        let several = self.drawn.has(AnswerFault::SeveralTokens);
        if last {
            self.end(self.finish);
        } else if !several || self.sent.is_multiple_of(PER_EVENT) {
            self.write_tokens(None);
        }
    }

    /// Applies the fault that was drawn for the middle of the answer. Returns whether it ends the answer.
    fn fault_ends_answer(&mut self) -> bool {
        match self.drawn.ending() {
            Some(AnswerFault::Cut) => {
                self.format.flush(&mut self.ready);
                self.state = State::Cut;
            }
            Some(AnswerFault::Stall) => {
                self.format.flush(&mut self.ready);
                self.state = State::Stalled;
            }
            Some(AnswerFault::ErrorEvent) => self.fail(),
            Some(AnswerFault::Abort) => self.end("abort"),
            Some(AnswerFault::Malformed) => {
                self.write(Bytes::from_static(b"data: {\"id\":\"broken\",\"choices\":[{\"index\":0,\n\n"));
                return false;
            }
            _ => return false,
        }
        true
    }

    /// Writes an event with the tokens that have none yet.
    fn write_tokens(&mut self, finish: Option<&str>) {
        let part = if self.drawn.has(AnswerFault::ToolCall) {
            Part::ToolCall
        } else if self.drawn.has(AnswerFault::Reasoning) && self.sent <= self.total / 2 {
            Part::Reasoning
        } else {
            Part::Content
        };
        let text = std::mem::take(&mut self.held);
        let event = self.answer.token(part, &text, self.sent, finish);
        self.write(event);
    }

    fn fail(&mut self) {
        let error = self.answer.error();
        self.write(error);
        self.done();
    }

    /// Yields once, so that earlier writes are flushed, and then returns true.
    fn has_yielded(&mut self, context: &Context<'_>) -> bool {
        self.yielded = !self.yielded;
        if self.yielded {
            context.waker().wake_by_ref();
        }
        !self.yielded
    }

    fn end(&mut self, finish: &str) {
        if self.drawn.ending() == Some(AnswerFault::NoEnd) {
            self.write_tokens(None);
            self.format.finish(&mut self.ready);
            self.state = State::Ended;
            return;
        }
        self.write_tokens(Some(finish));
        if self.answer.include_usage {
            let usage = self.answer.usage_event(self.sent);
            self.write(usage);
        }
        self.done();
    }

    fn done(&mut self) {
        if self.drawn.ending() != Some(AnswerFault::NoDone) {
            self.write(Bytes::from_static(b"data: [DONE]\n\n"));
        }
        self.format.finish(&mut self.ready);
        self.state = State::Ended;
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        loop {
            if !this.ready.is_empty() {
                if this.format.bytewise && !this.has_yielded(context) {
                    return Poll::Pending;
                }
                return Poll::Ready(this.ready.pop_front().map(|event| Ok(Frame::data(event))));
            }
            match this.state {
                State::Ended => return Poll::Ready(None),
                State::Cut => {
                    if !this.has_yielded(context) {
                        return Poll::Pending;
                    }
                    return Poll::Ready(Some(Err(io::Error::other("injected fault (cut)"))));
                }
                State::Stalled => return Poll::Pending,
                State::Running => {
                    let step = ready!(this.ticket.steps.poll_recv(context));
                    this.handle(step);
                }
            }
        }
    }
}
