//! One request over one connection: sent, read to its end, every stamp taken.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::atomic::Ordering::Relaxed,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request as HttpRequest, Response,
    body::Incoming,
    client::conn::http1,
    header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout};

use super::{
    connection::{Connect, ConnectError},
    event,
    progress::Progress,
    record::{Outcome, Record},
    sse::{Decoder, LARGEST_EVENT},
};
use crate::{unit::Nanos, workload::Request};

/// The most of an error that is kept.
const LONGEST_ERROR: usize = 300;
/// The most of a refused answer that is read for its message.
const LONGEST_REFUSAL: usize = 64 << 10;
/// How long an answer that said `[DONE]` may take to end, before its connection is given up.
const AFTER_DONE: Duration = Duration::from_secs(1);

/// hyper's half of a connection: it moves bytes whenever it is polled.
type Driven<Io> = http1::Connection<TokioIo<Io>, Full<Bytes>>;

/// An open connection. The same task drives it and reads from it, so that no chunk waits for another task's turn.
pub(super) struct Link<Io: Connect> {
    sender: http1::SendRequest<Full<Bytes>>,
    connection: Pin<Box<Driven<Io::Io>>>,
    /// Whether a request was already answered on it.
    used: bool,
}

impl<C: Connect> Link<C> {
    pub(super) async fn open(connect: &C) -> Result<Self, ConnectError> {
        let io = connect.connect().await?;
        let (sender, connection) = http1::Builder::new()
            .handshake(TokioIo::new(io))
            .await
            .map_err(|error| ConnectError {
                outcome: Outcome::Unreachable,
                message: error.to_string(),
            })?;
        Ok(Self {
            sender,
            connection: Box::pin(connection),
            used: false,
        })
    }

    /// Whether a request can be sent: a server may have closed a connection that idled.
    async fn is_open(&mut self) -> bool {
        let ended = poll_fn(|cx| Poll::Ready(self.connection.as_mut().poll(cx).is_ready())).await;
        !ended
            && !self.sender.is_closed()
            && drive(&mut self.connection, self.sender.ready())
                .await
                .is_ok()
    }
}

/// Polls a future while its connection makes progress.
async fn drive<T>(connection: &mut Pin<Box<impl Future>>, future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut ended = false;
    poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(value);
        }
        if !ended && connection.as_mut().poll(cx).is_ready() {
            ended = true;
        }
        future.as_mut().poll(cx)
    })
    .await
}

/// What every request of a cell shares.
pub(super) struct Context {
    pub(super) epoch: Instant,
    /// `Host` header.
    pub(super) authority: HeaderValue,
    /// Path of the endpoint, base included.
    pub(super) path: String,
    /// `Authorization` header; marked sensitive, so that nothing prints it.
    pub(super) authorization: Option<HeaderValue>,
}

impl Context {
    pub(super) fn now(&self) -> Nanos {
        Nanos(self.epoch.elapsed().as_nanos() as u64)
    }

    fn http(&self, body: Bytes) -> Result<HttpRequest<Full<Bytes>>, hyper::http::Error> {
        let mut request = HttpRequest::post(&self.path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "text/event-stream, application/json");
        if let Some(key) = &self.authorization {
            request = request.header(AUTHORIZATION, key);
        }
        request.body(Full::new(body))
    }
}

/// Sends a request and reads its answer. The record is filled while it happens, so that whoever drops this future still
/// has every stamp taken; `link` is left empty when its connection cannot be used again.
pub(super) async fn exchange<C: Connect>(
    context: &Context,
    connect: &C,
    link: &mut Option<Link<C>>,
    request: Request,
    record: &mut Record,
    progress: &Progress,
) {
    // The connection is taken out, and put back only after an answer that was read to its end: dropped half-way, it goes.
    let kept = match link.take() {
        Some(mut kept) => kept.is_open().await.then_some(kept),
        None => None,
    };
    let mut open = match kept {
        Some(kept) => kept,
        None => match Link::open(connect).await {
            Ok(opened) => opened,
            Err(error) => return fail(record, error.outcome, error.message),
        },
    };
    record.reused_connection = open.used;
    let http = match context.http(request.body) {
        Ok(http) => http,
        Err(error) => return fail(record, Outcome::Dropped, error.to_string()),
    };
    record.sent = Some(context.now());
    progress.sent.fetch_add(1, Relaxed);
    let answer = open.sender.send_request(http);
    let response = match drive(&mut open.connection, answer).await {
        Ok(response) => response,
        Err(error) => {
            let outcome = if error.is_parse() {
                Outcome::Malformed
            } else {
                Outcome::Reset
            };
            return fail(record, outcome, chain(&error));
        }
    };
    record.headers = Some(context.now());
    progress.answers.fetch_add(1, Relaxed);
    record.status = Some(response.status().as_u16());
    let whole = answer_of(context, &mut open, response, record, progress).await;
    if whole {
        open.used = true;
        *link = Some(open);
    }
}

/// Reads an answer; whether its connection can be used again.
async fn answer_of<C: Connect>(
    context: &Context,
    open: &mut Link<C>,
    response: Response<Incoming>,
    record: &mut Record,
    progress: &Progress,
) -> bool {
    let status = response.status();
    if status.as_u16() != 200 {
        let (body, whole) = read_whole(open, response, LONGEST_REFUSAL).await;
        let message = event::read(&body)
            .ok()
            .and_then(|event| event.error)
            .unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
        fail(record, Outcome::Rejected(status.as_u16()), message);
        return whole;
    }
    let header = |name| {
        let value: Option<&HeaderValue> = response.headers().get(name);
        value
            .and_then(|value| value.to_str().ok())
            .map(str::to_ascii_lowercase)
    };
    if let Some(encoding) = header(CONTENT_ENCODING)
        && encoding != "identity"
    {
        fail(
            record,
            Outcome::Malformed,
            format!("the answer is compressed ({encoding}), which nobody asked for"),
        );
        return false;
    }
    let mut answer = Answer::default();
    if header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json")) {
        let (body, whole) = read_whole(open, response, LARGEST_EVENT).await;
        let now = context.now();
        if whole {
            answer.take(&body, now, record, progress);
            // A whole answer needs no end mark: its length was its end.
            answer.done |= answer.malformed.is_none();
        }
        answer.settle(record, (!whole).then(|| "the answer was cut".to_owned()));
        return whole;
    }
    let mut decoder = Decoder::default();
    let mut body = response.into_body();
    let cut = loop {
        let frame = match drive(&mut open.connection, body.frame()).await {
            None => break None,
            Some(Ok(frame)) => frame,
            Some(Err(error)) => break Some(chain(&error)),
        };
        let Some(data) = frame.data_ref() else {
            continue;
        };
        // One reading of the clock for everything that arrived together.
        let now = context.now();
        let fed = decoder.feed(data, &mut |event| answer.take(event, now, record, progress));
        if fed.is_err() {
            fail(
                record,
                Outcome::Malformed,
                format!("an event is larger than {LARGEST_EVENT} bytes"),
            );
            return false;
        }
        if answer.done {
            record.end = now;
            answer.settle(record, None);
            let rest = async {
                while let Some(Ok(_)) = drive(&mut open.connection, body.frame()).await {}
            };
            return timeout(AFTER_DONE, rest).await.is_ok();
        }
        if answer.malformed.is_some() {
            answer.settle(record, None);
            return false;
        }
    };
    let clean = cut.is_none();
    if clean {
        // The last event of a whole answer may lack its blank line; what a cut left behind is no event.
        let now = context.now();
        let _ = decoder.finish(&mut |event| answer.take(event, now, record, progress));
    }
    answer.settle(record, cut);
    clean
}

/// Reads a body up to a bound; whether it was read to its end.
async fn read_whole<C: Connect>(
    open: &mut Link<C>,
    response: Response<Incoming>,
    bound: usize,
) -> (Vec<u8>, bool) {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    loop {
        match drive(&mut open.connection, body.frame()).await {
            None => return (bytes, true),
            Some(Err(_)) => return (bytes, false),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    if bytes.len() + data.len() > bound {
                        return (bytes, false);
                    }
                    bytes.extend_from_slice(data);
                }
            }
        }
    }
}

/// What the events of an answer said so far.
#[derive(Default)]
struct Answer {
    events: u64,
    done: bool,
    error: Option<String>,
    malformed: Option<String>,
}

impl Answer {
    fn take(&mut self, data: &[u8], now: Nanos, record: &mut Record, progress: &Progress) {
        if self.malformed.is_some() || self.done {
            return;
        }
        self.events += 1;
        match event::read(data) {
            Ok(event) => {
                if event.output {
                    if let Some(said) = &mut record.answer {
                        event::append_text(data, said);
                    }
                    record.chunks.push(now);
                    progress.chunks.fetch_add(1, Relaxed);
                }
                if event.finish_reason.is_some() {
                    record.finish_reason = event.finish_reason;
                }
                if event.usage.is_some() {
                    record.usage = event.usage;
                }
                if event.error.is_some() {
                    self.error = event.error;
                }
                self.done |= event.done;
            }
            Err(reason) => self.malformed = Some(reason),
        }
    }

    /// The outcome, from all that was said; `cut` is why the body did not end as it should.
    fn settle(self, record: &mut Record, cut: Option<String>) {
        let reason = record.finish_reason.as_deref();
        let (outcome, error) = if let Some(error) = self.error {
            (Outcome::ServerError, Some(error))
        } else if let Some(malformed) = self.malformed {
            (Outcome::Malformed, Some(malformed))
        } else if reason == Some("abort") {
            (Outcome::Aborted, None)
        } else if reason == Some("error") {
            (
                Outcome::ServerError,
                Some("finish_reason: error".to_owned()),
            )
        } else if let Some(cut) = cut {
            (Outcome::Truncated, Some(cut))
        } else if self.events == 0 {
            (Outcome::Empty, Some("the answer holds no event".to_owned()))
        } else if !self.done && reason.is_none() {
            (
                Outcome::Truncated,
                Some("the stream ended without a finish_reason or [DONE]".to_owned()),
            )
        } else if record.chunks.is_empty() {
            (Outcome::Empty, None)
        } else {
            (Outcome::Completed, None)
        };
        record.outcome = outcome;
        record.error = error.map(|text| short(&text));
    }
}

fn fail(record: &mut Record, outcome: Outcome, message: String) {
    record.outcome = outcome;
    record.error = Some(short(&message));
}

/// The first few hundred bytes of a message, on a character's boundary, without control characters.
fn short(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if out.len() + c.len_utf8() > LONGEST_ERROR {
            break;
        }
        out.push(c);
    }
    out
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
