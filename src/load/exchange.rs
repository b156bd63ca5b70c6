//! One HTTP exchange: sends a request on a connection, reads the answer to its end, and takes every stamp.
//!
//! The task of a stream writes and reads by itself, so that no chunk waits for another task to be scheduled.
//! All streams of the thread read into one shared buffer and process the bytes before they read again, so a
//! stream in flight owns no buffer.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    sync::atomic::Ordering::Relaxed,
    task::{Context as Waker, Poll},
    time::Duration,
};

use reqwest::header::HeaderValue;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, timeout},
};

use super::{
    answer::{Answer, Body, LONGEST_REFUSAL, fail},
    connection::{Connect, ConnectError},
    content_coding::Inflate,
    error::AnswerError,
    event, http,
    progress::Progress,
    record::{Outcome, Record},
};
use crate::{unit::Nanos, workload::Request};

/// How long to wait for the end of an answer after `[DONE]`, before its connection is closed.
const AFTER_DONE: Duration = Duration::from_secs(1);
/// Size of a read, bytes.
const READ: usize = 64 << 10;
/// Size of a read of a compressed body, which may decompress to a hundred times as much, bytes.
const READ_COMPRESSED: usize = 2 << 10;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

pub(super) struct Connection<C: Connect> {
    io: C::Io,
    /// Whether a request was already answered on this connection.
    used: bool,
}

impl<C: Connect> Connection<C> {
    pub(super) async fn open(connect: &C) -> Result<Self, ConnectError> {
        let io = connect.connect().await?;
        Ok(Self { io, used: false })
    }

    /// Whether a request can be sent: the server has neither closed the connection nor sent bytes that belong
    /// to no request.
    async fn is_idle(&mut self) -> bool {
        poll_fn(|cx| Poll::Ready(read_some(&mut self.io, cx, READ, |_| ()).is_pending())).await
    }
}

/// Reads once, at most `most` bytes, and passes them to `take`. Returns false when the connection ended.
fn read_some(
    io: &mut (impl AsyncRead + Unpin),
    cx: &mut Waker<'_>,
    most: usize,
    take: impl FnOnce(&[u8]),
) -> Poll<io::Result<bool>> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut buffer = ReadBuf::new(&mut buffer[..most]);
        std::task::ready!(Pin::new(io).poll_read(cx, &mut buffer))?;
        let filled = buffer.filled();
        if !filled.is_empty() {
            take(filled);
        }
        Poll::Ready(Ok(!filled.is_empty()))
    })
}

/// A request that is being written. The answer is read meanwhile: a server may reject a request before it has
/// all of it.
struct Sending<'a> {
    rest: &'a [u8],
    flushed: bool,
}

impl Sending<'_> {
    /// Writes what can be written now. A failed write is ignored, because the answer may say why.
    fn poll_write(&mut self, io: &mut (impl AsyncWrite + Unpin), cx: &mut Waker<'_>) {
        while !self.rest.is_empty() {
            match Pin::new(&mut *io).poll_write(cx, self.rest) {
                Poll::Ready(Ok(count)) if count > 0 => self.rest = &self.rest[count..],
                Poll::Ready(_) => {
                    self.rest = &[];
                    self.flushed = true;
                }
                Poll::Pending => return,
            }
        }
        if !self.flushed {
            self.flushed = Pin::new(io).poll_flush(cx).is_ready();
        }
    }
}

/// Writes the rest of the request and reads until `take` returns `None`, or the connection ends: then returns
/// why. `take` returns the size of the next read. Yields after each buffer, because other streams and this
/// request's own timeout wait while a server sends as fast as the client reads.
async fn transfer(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    mut sending: Sending<'_>,
    mut take: impl FnMut(&[u8]) -> Option<usize>,
) -> Option<String> {
    let mut most = READ;
    poll_fn(|cx| {
        if !sending.flushed {
            sending.poll_write(io, cx);
        }
        let mut received = 0;
        loop {
            if received >= most {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut next = Some(most);
            match std::task::ready!(read_some(io, cx, most, |bytes| {
                received += bytes.len();
                next = take(bytes);
            })) {
                Ok(true) => match next {
                    Some(size) => most = size,
                    None => return Poll::Ready(None),
                },
                Ok(false) => return Poll::Ready(Some("the connection was closed".to_owned())),
                Err(error) => return Poll::Ready(Some(error.to_string())),
            }
        }
    })
    .await
}

/// The endpoint, headers and clock that all requests of a repeat share.
pub(super) struct Context {
    /// The zero of every stamp.
    pub(super) epoch: Instant,
    pub(super) authority: HeaderValue,
    /// Path of the endpoint, base included.
    pub(super) path: String,
    /// `Authorization` header; marked sensitive, so that debug output hides it.
    pub(super) authorization: Option<HeaderValue>,
}

impl Context {
    pub(super) fn now(&self) -> Nanos {
        Nanos(self.epoch.elapsed().as_nanos() as u64)
    }

    /// Builds the bytes of a request. It does not accept compression, which would hold tokens back.
    fn http(&self, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512 + body.len());
        let length = body.len().to_string();
        for part in [b"POST ", self.path.as_bytes(), b" HTTP/1.1\r\nhost: ", self.authority.as_bytes()] {
            bytes.extend_from_slice(part);
        }
        if let Some(key) = &self.authorization {
            bytes.extend_from_slice(b"\r\nauthorization: ");
            bytes.extend_from_slice(key.as_bytes());
        }
        bytes.extend_from_slice(
            b"\r\ncontent-type: application/json\r\naccept: text/event-stream, application/json\r\ncontent-length: ",
        );
        for part in [length.as_bytes(), b"\r\n\r\n", body] {
            bytes.extend_from_slice(part);
        }
        bytes
    }
}

/// Sends a request and reads its answer. The record is filled meanwhile, so that it holds every stamp taken
/// so far when this future is dropped. `connection` is left empty when it cannot be used again.
pub(super) async fn exchange<C: Connect>(
    context: &Context,
    connect: &C,
    connection: &mut Option<Connection<C>>,
    request: Request,
    record: &mut Record,
    progress: &Progress,
) {
    // Put back only after a complete answer: when this future is dropped halfway, the connection is closed.
    let kept = match connection.take() {
        Some(mut kept) => kept.is_idle().await.then_some(kept),
        None => None,
    };
    let mut open = match kept {
        Some(kept) => kept,
        None => match Connection::open(connect).await {
            Ok(opened) => opened,
            Err(error) => return fail(record, error.outcome, &error.message),
        },
    };
    record.reused_connection = open.used;
    let bytes = context.http(&request.body);
    // When a request is retried, its first attempt counts.
    record.sent.get_or_insert(context.now());
    progress.sent.fetch_add(1, Relaxed);
    let mut reader = AnswerReader {
        context,
        record,
        progress,
        http: http::Reader::default(),
        inflate: None,
        body: Body::Unknown,
        answer: Answer::default(),
        not_http: None,
    };
    let sending = Sending { rest: &bytes, flushed: false };
    let cut = transfer(&mut open.io, sending, |bytes| reader.take(bytes).then(|| reader.read_size())).await;
    if reader.answer.done && cut.is_none() && !reader.http.is_done() {
        let sent = Sending { rest: &[], flushed: true };
        let rest = transfer(&mut open.io, sent, |bytes| reader.skip(bytes).then_some(READ));
        let _ = timeout(AFTER_DONE, rest).await;
    }
    if reader.finish(cut) {
        open.used = true;
        *connection = Some(open);
    }
}

struct AnswerReader<'a> {
    context: &'a Context,
    record: &'a mut Record,
    progress: &'a Progress,
    http: http::Reader,
    inflate: Option<Inflate>,
    body: Body,
    answer: Answer,
    not_http: Option<AnswerError>,
}

impl AnswerReader<'_> {
    /// Takes bytes that arrived. Returns whether the answer goes on.
    fn take(&mut self, bytes: &[u8]) -> bool {
        // Everything that arrived together has one stamp.
        let now = self.context.now();
        let chunks = self.record.chunks.len();
        let more = self.take_at(bytes, now);
        let new = self.record.chunks.len() - chunks;
        if new > 0 {
            self.progress.chunks.fetch_add(new as u64, Relaxed);
        }
        if !more {
            self.record.end = now;
        }
        more
    }

    fn take_at(&mut self, bytes: &[u8], now: Nanos) -> bool {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (body, answer, record) = (&mut self.body, &mut self.answer, &mut *self.record);
            let took = match &mut self.inflate {
                None => self.http.next(rest, &mut |part| body.take(part, now, answer, record)),
                Some(inflate) => self.http.next(rest, &mut |part| {
                    let fed = inflate.feed(part, &mut |plain| body.take(plain, now, answer, record));
                    if let Err(error) = fed {
                        answer.malformed.get_or_insert(error);
                    }
                }),
            };
            match took {
                Ok(left) => rest = left,
                Err(error) => {
                    self.not_http = Some(error);
                    return false;
                }
            }
            if matches!(self.body, Body::Unknown)
                && let Some(head) = self.http.head()
            {
                self.record.headers = Some(now);
                self.record.status = Some(head.status);
                self.progress.answers.fetch_add(1, Relaxed);
                if let Some(encoding) = &head.encoding {
                    self.inflate = Inflate::for_coding(encoding);
                    if self.inflate.is_none() && head.status == 200 {
                        self.answer.malformed = Some(AnswerError::Encoding(encoding.clone()));
                    }
                }
                self.body = Body::new(head);
            }
        }
        let refused_enough = matches!(&self.body, Body::Refused(_, body) if body.len() >= LONGEST_REFUSAL);
        !(self.http.is_done() || self.answer.done || self.answer.malformed.is_some() || refused_enough)
    }

    /// Size of the next read, bytes.
    fn read_size(&self) -> usize {
        match self.inflate {
            Some(_) => READ_COMPRESSED,
            None => READ,
        }
    }

    /// Skips bytes after `[DONE]`. Returns whether the answer goes on.
    fn skip(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match self.http.next(bytes, &mut |_| {}) {
                Ok(left) => bytes = left,
                Err(_) => return false,
            }
        }
        !self.http.is_done()
    }

    /// Sets the outcome; `cut` says why the connection ended, if it did. Returns whether the connection can
    /// be used again.
    fn finish(mut self, cut: Option<String>) -> bool {
        let now = self.context.now();
        let record = self.record;
        if let Some(error) = self.not_http {
            fail(record, Outcome::Malformed, &error.to_string());
            return false;
        }
        let cut = cut.filter(|_| !self.answer.done && !self.http.closed());
        match self.body {
            Body::Unknown => {
                fail(record, Outcome::Reset, &format!("no answer: {}", cut.unwrap_or_default()));
                return false;
            }
            Body::Refused(status, body) => {
                let message = event::read(&body)
                    .ok()
                    .and_then(|event| event.error)
                    .unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
                fail(record, Outcome::Rejected(status), &message);
            }
            Body::Whole(body) => {
                let at = record.end;
                record.whole = true;
                if cut.is_none() && self.answer.malformed.is_none() {
                    self.answer.take(&body, at, record);
                    self.progress.chunks.fetch_add(record.chunks.len() as u64, Relaxed);
                    // A JSON body is complete without `[DONE]`.
                    self.answer.done |= self.answer.malformed.is_none();
                }
                self.answer.settle(record, cut);
            }
            Body::Undetermined => self.answer.settle(record, cut),
            Body::Stream(mut decoder) => {
                if cut.is_none() {
                    // The last event of a complete answer may lack its blank line; one that was cut off is no
                    // event.
                    let answer = &mut self.answer;
                    let _ = decoder.finish(&mut |event| answer.take(event, now, record));
                }
                self.answer.settle(record, cut);
            }
        }
        self.http.is_reusable()
    }
}
