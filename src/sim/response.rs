//! Answers that are not streamed, and the bodies of all responses.

use std::{
    io::{self, Write as _},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    body::Frame,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue},
};
use serde_json::json;

use super::{
    answer::Answer,
    clock::{Step, Ticket},
    fault::DrawnFaults,
    stream::Events,
};
use crate::{engine::tokenizer, manifest::AnswerFault};

pub(super) enum Body {
    /// All at once.
    Full(Full<Bytes>),
    /// Event by event.
    Events(Box<Events>),
    /// The part that is sent before the connection breaks, and whether it was flushed.
    Cut(Option<Bytes>, bool),
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::Full(Full::new(Bytes::from(text)))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Full(full) => Pin::new(full).poll_frame(context).map_err(|never| match never {}),
            Self::Events(events) => Pin::new(&mut **events).poll_frame(context),
            Self::Cut(bytes, flushed) => match bytes.take() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None if !std::mem::replace(flushed, true) => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                None => Poll::Ready(Some(Err(io::Error::other("injected fault (cut)")))),
            },
        }
    }
}

/// Waits for all tokens and answers with them at once.
pub(super) async fn respond(
    answer: &Answer,
    finish: &str,
    mut ticket: Ticket,
    all: u64,
    drawn: DrawnFaults,
) -> Response<Body> {
    let ending = drawn.ending();
    let (mut text, mut sent, mut ended) = (String::new(), 0, "abort");
    while let Some(step) = ticket.steps.recv().await {
        match step {
            Step::Token { last } => {
                if ending == Some(AnswerFault::Abort) && sent == all / 2 {
                    break;
                }
                sent += 1;
                text.push_str(tokenizer::answer_word(sent));
                if last {
                    ended = finish;
                }
            }
            Step::Fail => {
                let failure = answer.failure().to_string();
                return full(StatusCode::INTERNAL_SERVER_ERROR, "application/json", failure);
            }
            Step::Abort => {}
        }
    }
    let mut value = match ending {
        Some(AnswerFault::ErrorEvent) => answer.failure(),
        Some(AnswerFault::Empty) => answer.body("", sent, ended),
        _ => answer.body(&text, sent, ended),
    };
    if ending == Some(AnswerFault::NoEnd) {
        value["choices"][0]["finish_reason"] = json!(null);
    }
    if drawn.has(AnswerFault::NoUsage)
        && let Some(fields) = value.as_object_mut()
    {
        fields.shift_remove("usage");
    }
    let text = value.to_string();
    let half = text.len() / 2;
    match ending {
        Some(AnswerFault::Stall) => std::future::pending().await,
        Some(AnswerFault::Malformed) => json(text[..half].to_owned()),
        Some(AnswerFault::Cut) => {
            let mut reply = json(String::new());
            let length = HeaderValue::from(text.len());
            reply.headers_mut().insert(CONTENT_LENGTH, length);
            *reply.body_mut() = Body::Cut(Some(Bytes::from(text).slice(..half)), false);
            reply
        }
        _ if drawn.has(AnswerFault::Gzip) => {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            // Writing to memory does not fail.
            gzip.write_all(text.as_bytes()).ok();
            let mut reply = json(String::new());
            *reply.body_mut() = Body::Full(Full::new(gzip.finish().unwrap_or_default().into()));
            let gzip = HeaderValue::from_static("gzip");
            reply.headers_mut().insert(CONTENT_ENCODING, gzip);
            reply
        }
        _ => json(text),
    }
}

/// A response of this kind, all at once.
pub(super) fn full(status: StatusCode, kind: &'static str, body: String) -> Response<Body> {
    let mut reply = Response::new(Body::from(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}

fn json(text: String) -> Response<Body> {
    full(StatusCode::OK, "application/json", text)
}
