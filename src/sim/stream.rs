//! A request's tokens → the body of a streamed answer: one event per frame, so one per HTTP chunk, unless a fault was
//! drawn for it.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body, Frame};

use super::{
    answer::{Answer, Said},
    clock::{Step, Ticket},
    fault::Drawn,
    shape::Shape,
    text,
};
use crate::manifest::AnswerFault;

/// Tokens of one event, where several share one.
const PER_EVENT: u64 = 3;

/// The body; dropped when the client goes away, and with it the request's place in the engine.
pub(super) struct Events {
    answer: Answer,
    /// Why the last token is the last.
    finish: &'static str,
    ticket: Ticket,
    /// Tokens that left the engine.
    sent: u64,
    /// How many the engine will make.
    all: u64,
    drawn: Drawn,
    shape: Shape,
    /// Text of tokens that have no event yet.
    held: String,
    role_sent: bool,
    ready: VecDeque<Bytes>,
    state: State,
    /// Whether what was written before has had its turn to leave.
    yielded: bool,
}

/// Whether more comes.
enum State {
    Going,
    Ended,
    /// The connection is to break.
    Cut,
    /// Nothing more comes, ever.
    Stalled,
}

impl Events {
    /// The answer of a request with so many tokens.
    pub(super) fn new(
        mut answer: Answer,
        finish: &'static str,
        ticket: Ticket,
        all: u64,
        drawn: Drawn,
    ) -> Self {
        answer.continuous_usage |= drawn.has(AnswerFault::UsageInEveryEvent);
        if drawn.has(AnswerFault::NoUsage) {
            (answer.include_usage, answer.continuous_usage) = (false, false);
        }
        let mut events = Self {
            finish,
            ticket,
            sent: 0,
            all,
            drawn,
            shape: Shape::of(drawn),
            held: String::new(),
            role_sent: false,
            ready: VecDeque::new(),
            state: State::Going,
            yielded: false,
            answer,
        };
        if drawn.ending() == Some(AnswerFault::Empty) {
            events.state = State::Ended;
        } else if drawn.has(AnswerFault::EarlyRole) {
            events.begin();
            if !events.answer.chat {
                let nothing = events.answer.token(Said::Content, "", 0, None);
                events.write(nothing);
            }
        }
        events
    }

    fn write(&mut self, event: Bytes) {
        self.shape.write(event, &mut self.ready);
    }

    fn begin(&mut self) {
        if self.answer.chat && !self.role_sent {
            self.role_sent = true;
            let role = self.answer.role();
            self.write(role);
        }
    }

    fn take(&mut self, step: Option<Step>) {
        // vLLM sends the role with the first token, not before.
        self.begin();
        match step {
            Some(Step::Token { last }) => self.token(last),
            Some(Step::Fail) => self.fail(),
            Some(Step::Abort) | None => self.end("abort"),
        }
    }

    fn token(&mut self, last: bool) {
        // Half-way, and for a single token in its place.
        if self.sent == self.all / 2 && self.breaks() {
            return;
        }
        self.sent += 1;
        self.held.push_str(text::word(self.sent));
        let several = self.drawn.has(AnswerFault::SeveralTokens);
        if last {
            self.end(self.finish);
        } else if !several || self.sent.is_multiple_of(PER_EVENT) {
            self.say(None);
        }
    }

    /// What was drawn to happen half-way; whether the answer ends with it.
    fn breaks(&mut self) -> bool {
        match self.drawn.ending() {
            Some(AnswerFault::Cut) => {
                self.shape.flush(&mut self.ready);
                self.state = State::Cut;
            }
            Some(AnswerFault::Stall) => {
                self.shape.flush(&mut self.ready);
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

    /// An event of the tokens that have none yet.
    fn say(&mut self, finish: Option<&str>) {
        let said = if self.drawn.has(AnswerFault::ToolCall) {
            Said::ToolCall
        } else if self.drawn.has(AnswerFault::Reasoning) && self.sent <= self.all / 2 {
            Said::Reasoning
        } else {
            Said::Content
        };
        let text = std::mem::take(&mut self.held);
        let event = self.answer.token(said, &text, self.sent, finish);
        self.write(event);
    }

    fn fail(&mut self) {
        let error = self.answer.error();
        self.write(error);
        self.done();
    }

    /// True every second time: between the two, what was written before is flushed.
    fn has_yielded(&mut self, context: &Context<'_>) -> bool {
        self.yielded = !self.yielded;
        if self.yielded {
            context.waker().wake_by_ref();
        }
        !self.yielded
    }

    fn end(&mut self, finish: &str) {
        if self.drawn.ending() == Some(AnswerFault::NoEnd) {
            self.say(None);
            self.shape.finish(&mut self.ready);
            self.state = State::Ended;
            return;
        }
        self.say(Some(finish));
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
        self.shape.finish(&mut self.ready);
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
                if this.shape.is_bytewise() && !this.has_yielded(context) {
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
                    return Poll::Ready(Some(Err(io::Error::other("cut on request"))));
                }
                State::Stalled => return Poll::Pending,
                State::Going => {
                    let step = ready!(this.ticket.steps.poll_recv(context));
                    this.take(step);
                }
            }
        }
    }
}
