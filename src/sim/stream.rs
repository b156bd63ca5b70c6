//! A request's tokens → the body of a streamed answer: one event per frame, so one per HTTP chunk.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body, Frame};

use super::{
    answer::Answer,
    clock::{Step, Ticket},
    text,
};

/// The body; dropped when the client goes away, and with it the request's place in the engine.
pub(super) struct Events {
    answer: Answer,
    /// Why the last token is the last.
    finish: &'static str,
    ticket: Ticket,
    sent: u64,
    ready: VecDeque<Bytes>,
    ended: bool,
}

impl Events {
    pub(super) fn new(answer: Answer, finish: &'static str, ticket: Ticket) -> Self {
        Self {
            answer,
            finish,
            ticket,
            sent: 0,
            ready: VecDeque::new(),
            ended: false,
        }
    }

    fn take(&mut self, step: Option<Step>) {
        // vLLM sends the role with the first token, not before.
        if self.answer.chat && self.sent == 0 {
            self.ready.push_back(self.answer.role());
        }
        let finish = match step {
            Some(Step::Token { last }) => {
                self.sent += 1;
                let finish = last.then_some(self.finish);
                self.ready
                    .push_back(self.answer.token(text::word(self.sent), self.sent, finish));
                finish
            }
            Some(Step::Abort) | None => {
                let event = self.answer.token("", self.sent, Some("abort"));
                self.ready.push_back(event);
                Some("abort")
            }
        };
        if finish.is_some() {
            if self.answer.include_usage {
                self.ready.push_back(self.answer.usage_event(self.sent));
            }
            self.ready
                .push_back(Bytes::from_static(b"data: [DONE]\n\n"));
            self.ended = true;
        }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.ready.is_empty() && !this.ended {
            let step = ready!(this.ticket.steps.poll_recv(context));
            this.take(step);
        }
        Poll::Ready(this.ready.pop_front().map(|event| Ok(Frame::data(event))))
    }
}
