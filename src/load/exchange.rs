//! One request over one connection: sent, read to its end, every stamp taken.
//!
//! The task of a stream writes and reads by itself, so that no chunk waits for another task's turn. It reads into a buffer
//! that all streams of the thread share, and looks at the bytes before it reads again: a stream in flight holds no buffer.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    sync::atomic::Ordering::Relaxed,
    task::{Context as Waker, Poll},
    time::Duration,
};

use hyper::header::HeaderValue;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, timeout},
};

use super::{
    answer::{Answer, Form, LONGEST_REFUSAL, fail},
    connection::{Connect, ConnectError},
    content_coding::Inflate,
    event, http,
    progress::Progress,
    record::{Outcome, Record},
};
use crate::{unit::Nanos, workload::Request};

/// How long an answer that said `[DONE]` may take to end, before its connection is given up.
const AFTER_DONE: Duration = Duration::from_secs(1);
/// The most that is read at once, bytes.
const READ: usize = 64 << 10;
/// The same of a compressed body, which may hold a hundred times as much.
const READ_PACKED: usize = 2 << 10;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// An open connection.
pub(super) struct Link<C: Connect> {
    io: C::Io,
    /// Whether a request was already answered on it.
    used: bool,
}

impl<C: Connect> Link<C> {
    pub(super) async fn open(connect: &C) -> Result<Self, ConnectError> {
        let io = connect.connect().await?;
        Ok(Self { io, used: false })
    }

    /// Whether a request can be sent: a server may have closed a connection that idled, and whatever it said unasked makes
    /// the next answer unknowable.
    async fn is_open(&mut self) -> bool {
        poll_fn(|cx| Poll::Ready(read_some(&mut self.io, cx, READ, |_| ()).is_pending())).await
    }
}

/// Reads once, at most so many bytes; what came is seen by `see` before this returns. False when the connection ended.
fn read_some(
    io: &mut (impl AsyncRead + Unpin),
    cx: &mut Waker<'_>,
    most: usize,
    see: impl FnOnce(&[u8]),
) -> Poll<io::Result<bool>> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut buffer = ReadBuf::new(&mut buffer[..most]);
        std::task::ready!(Pin::new(io).poll_read(cx, &mut buffer))?;
        let filled = buffer.filled();
        if !filled.is_empty() {
            see(filled);
        }
        Poll::Ready(Ok(!filled.is_empty()))
    })
}

/// A request on its way out. It is read for while it is written: a server may refuse before it has all of it.
struct Sending<'a> {
    rest: &'a [u8],
    flushed: bool,
}

impl Sending<'_> {
    /// Writes what can be written now. What cannot be written any more is no failure yet: the answer may say why.
    fn go_on(&mut self, io: &mut (impl AsyncWrite + Unpin), cx: &mut Waker<'_>) {
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

/// Writes what is left to write and reads until `take` has enough (else it says how much to read next) or the connection
/// ends: then why. A server that writes as fast as it is read gets a buffer's worth at a time: the runtime looks at its clock
/// and its sockets only between so many turns, and other streams, and this one's own timeout, wait for that.
async fn talk(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    mut sending: Sending<'_>,
    mut take: impl FnMut(&[u8]) -> Option<usize>,
) -> Option<String> {
    let mut most = READ;
    poll_fn(|cx| {
        if !sending.flushed {
            sending.go_on(io, cx);
        }
        let mut came = 0;
        loop {
            if came >= most {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut more = Some(most);
            match std::task::ready!(read_some(io, cx, most, |bytes| {
                came += bytes.len();
                more = take(bytes);
            })) {
                Ok(true) => match more {
                    Some(next) => most = next,
                    None => return Poll::Ready(None),
                },
                Ok(false) => return Poll::Ready(Some("the connection was closed".to_owned())),
                Err(error) => return Poll::Ready(Some(error.to_string())),
            }
        }
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

    /// The bytes of a request. Compression is not asked for: it holds tokens back.
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
    let bytes = context.http(&request.body);
    // Of several tries the first one counts.
    record.sent.get_or_insert(context.now());
    progress.sent.fetch_add(1, Relaxed);
    let mut reading = Reading {
        context,
        record,
        progress,
        http: http::Reader::default(),
        inflate: None,
        form: Form::Unknown,
        answer: Answer::default(),
        not_http: None,
    };
    let sending = Sending { rest: &bytes, flushed: false };
    let cut = talk(&mut open.io, sending, |bytes| reading.take(bytes).then(|| reading.most())).await;
    if reading.answer.done && cut.is_none() && !reading.http.is_done() {
        let sent = Sending { rest: &[], flushed: true };
        let rest = talk(&mut open.io, sent, |bytes| reading.take_rest(bytes).then_some(READ));
        let _ = timeout(AFTER_DONE, rest).await;
    }
    if reading.settle(cut) {
        open.used = true;
        *link = Some(open);
    }
}

/// An answer while it arrives.
struct Reading<'a> {
    context: &'a Context,
    record: &'a mut Record,
    progress: &'a Progress,
    http: http::Reader,
    /// For a body that is compressed.
    inflate: Option<Inflate>,
    form: Form,
    answer: Answer,
    not_http: Option<String>,
}

impl Reading<'_> {
    /// Takes what arrived; whether there is more to wait for.
    fn take(&mut self, bytes: &[u8]) -> bool {
        // One reading of the clock for everything that arrived together.
        let now = self.context.now();
        let chunks = self.record.chunks.len();
        let more = self.take_at(bytes, now);
        let came = self.record.chunks.len() - chunks;
        if came > 0 {
            self.progress.chunks.fetch_add(came as u64, Relaxed);
        }
        if !more {
            self.record.end = now;
        }
        more
    }

    fn take_at(&mut self, bytes: &[u8], now: Nanos) -> bool {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (form, answer, record) = (&mut self.form, &mut self.answer, &mut *self.record);
            let took = match &mut self.inflate {
                None => self.http.next(rest, &mut |part| form.take(part, now, answer, record)),
                Some(inflate) => self.http.next(rest, &mut |part| {
                    let fed = inflate.feed(part, &mut |plain| form.take(plain, now, answer, record));
                    if let Err(reason) = fed {
                        answer.malformed.get_or_insert(reason);
                    }
                }),
            };
            match took {
                Ok(left) => rest = left,
                Err(reason) => {
                    self.not_http = Some(reason);
                    return false;
                }
            }
            if matches!(self.form, Form::Unknown)
                && let Some(head) = self.http.head()
            {
                self.record.headers = Some(now);
                self.record.status = Some(head.status);
                self.progress.answers.fetch_add(1, Relaxed);
                if let Some(encoding) = &head.encoding {
                    self.inflate = Inflate::of(encoding);
                    if self.inflate.is_none() && head.status == 200 {
                        self.answer.malformed = Some(format!(
                            "the answer is encoded ({encoding}), which nobody asked for and this client does not read"
                        ));
                    }
                }
                self.form = Form::of(head);
            }
        }
        let refused_enough = matches!(&self.form, Form::Refused(_, body) if body.len() >= LONGEST_REFUSAL);
        !(self.http.is_done() || self.answer.done || self.answer.malformed.is_some() || refused_enough)
    }

    /// The most to read at once, bytes.
    fn most(&self) -> usize {
        match self.inflate {
            Some(_) => READ_PACKED,
            None => READ,
        }
    }

    /// Takes what follows an answer that has said `[DONE]`; whether there is more to wait for.
    fn take_rest(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match self.http.next(bytes, &mut |_| {}) {
                Ok(left) => bytes = left,
                Err(_) => return false,
            }
        }
        !self.http.is_done()
    }

    /// Fills in the outcome; `cut` is why the connection ended. Whether the connection can be used again.
    fn settle(mut self, cut: Option<String>) -> bool {
        let now = self.context.now();
        let record = self.record;
        if let Some(reason) = self.not_http {
            fail(record, Outcome::Malformed, reason);
            return false;
        }
        let cut = cut.filter(|_| !self.answer.done && !self.http.closed());
        match self.form {
            Form::Unknown => {
                let why = cut.unwrap_or_default();
                fail(record, Outcome::Reset, format!("no answer: {why}"));
                return false;
            }
            Form::Refused(status, body) => {
                let message = event::read(&body)
                    .ok()
                    .and_then(|event| event.error)
                    .unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
                fail(record, Outcome::Rejected(status), message);
            }
            Form::Whole(body) => {
                let at = record.end;
                record.whole = true;
                if cut.is_none() && self.answer.malformed.is_none() {
                    self.answer.take(&body, at, record);
                    self.progress.chunks.fetch_add(record.chunks.len() as u64, Relaxed);
                    // A whole answer needs no end mark: its length was its end.
                    self.answer.done |= self.answer.malformed.is_none();
                }
                self.answer.settle(record, cut);
            }
            Form::Unsure => self.answer.settle(record, cut),
            Form::Stream(mut decoder) => {
                if cut.is_none() {
                    // The last event of a whole answer may lack its blank line; what a cut left behind is no event.
                    let answer = &mut self.answer;
                    let _ = decoder.finish(&mut |event| answer.take(event, now, record));
                }
                self.answer.settle(record, cut);
            }
        }
        self.http.is_reusable()
    }
}
