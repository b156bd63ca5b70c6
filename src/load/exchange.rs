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
    connection::{Connect, ConnectError},
    event, http,
    progress::Progress,
    record::{Outcome, Record},
    sse::{Decoder, LARGEST_EVENT},
};
use crate::{unit::Nanos, workload::Request};

/// The most of an error that is kept.
const LONGEST_ERROR: usize = 300;
/// The most of a refused answer that is read for its message.
const LONGEST_REFUSAL: usize = 64 << 10;
/// The most chunks that an answer may have: more than any model's context holds.
const MOST_CHUNKS: usize = 1 << 20;
/// The most text that is kept of an answer, for the next turn of its conversation.
const LONGEST_ANSWER: usize = 16 << 20;
/// How long an answer that said `[DONE]` may take to end, before its connection is given up.
const AFTER_DONE: Duration = Duration::from_secs(1);
/// The most that is read at once, bytes.
const READ: usize = 64 << 10;

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
        poll_fn(|cx| Poll::Ready(read_some(&mut self.io, cx, |_| ()).is_pending())).await
    }
}

/// Reads once; what came is seen by `see` before this returns. False when the connection ended.
fn read_some(
    io: &mut (impl AsyncRead + Unpin),
    cx: &mut Waker<'_>,
    see: impl FnOnce(&[u8]),
) -> Poll<io::Result<bool>> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut buffer = ReadBuf::new(buffer);
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

/// Writes what is left to write and reads until `take` has enough (false) or the connection ends: then why.
async fn talk(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    mut sending: Sending<'_>,
    mut take: impl FnMut(&[u8]) -> bool,
) -> Option<String> {
    poll_fn(|cx| {
        if !sending.flushed {
            sending.go_on(io, cx);
        }
        loop {
            let mut more = true;
            match std::task::ready!(read_some(io, cx, |bytes| more = take(bytes))) {
                Ok(true) if more => {}
                Ok(true) => return Poll::Ready(None),
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
        for part in [
            b"POST ",
            self.path.as_bytes(),
            b" HTTP/1.1\r\nhost: ",
            self.authority.as_bytes(),
        ] {
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
        form: Form::Unknown,
        answer: Answer::default(),
        not_http: None,
    };
    let sending = Sending {
        rest: &bytes,
        flushed: false,
    };
    let cut = talk(&mut open.io, sending, |bytes| reading.take(bytes)).await;
    if reading.answer.done && cut.is_none() && !reading.http.is_done() {
        let sent = Sending {
            rest: &[],
            flushed: true,
        };
        let rest = talk(&mut open.io, sent, |bytes| reading.take_rest(bytes));
        let _ = timeout(AFTER_DONE, rest).await;
    }
    if reading.settle(cut) {
        open.used = true;
        *link = Some(open);
    }
}

/// What an answer is, once its head is there.
enum Form {
    Unknown,
    /// Another status than 200, and the start of its body.
    Refused(u16, Vec<u8>),
    /// Neither an event stream nor JSON by its head: its first byte tells.
    Unsure,
    Stream(Decoder),
    /// One JSON value.
    Whole(Vec<u8>),
}

/// An answer while it arrives.
struct Reading<'a> {
    context: &'a Context,
    record: &'a mut Record,
    progress: &'a Progress,
    http: http::Reader,
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
            let took = self.http.next(rest, &mut |part| match form {
                Form::Stream(decoder) => {
                    let fed = decoder.feed(part, &mut |event| answer.take(event, now, record));
                    if fed.is_err() {
                        answer.too_large();
                    }
                }
                Form::Whole(body) if body.len() + part.len() <= LARGEST_EVENT => {
                    body.extend_from_slice(part);
                }
                Form::Whole(_) => answer.too_large(),
                Form::Refused(_, body) => {
                    let most = part.len().min(LONGEST_REFUSAL.saturating_sub(body.len()));
                    body.extend_from_slice(&part[..most]);
                }
                Form::Unsure => {
                    let first = part.iter().find(|byte| !byte.is_ascii_whitespace());
                    if let Some(first) = first {
                        *form = if *first == b'{' {
                            Form::Whole(part.to_vec())
                        } else {
                            let mut decoder = Decoder::default();
                            let fed =
                                decoder.feed(part, &mut |event| answer.take(event, now, record));
                            if fed.is_err() {
                                answer.too_large();
                            }
                            Form::Stream(decoder)
                        };
                    }
                }
                Form::Unknown => {}
            });
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
                if head.status == 200
                    && let Some(encoding) = &head.encoding
                {
                    self.answer.malformed = Some(format!(
                        "the answer is compressed ({encoding}), which nobody asked for"
                    ));
                }
                self.form = form_of(head);
            }
        }
        let refused_enough =
            matches!(&self.form, Form::Refused(_, body) if body.len() >= LONGEST_REFUSAL);
        !(self.http.is_done()
            || self.answer.done
            || self.answer.malformed.is_some()
            || refused_enough)
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
                    self.progress
                        .chunks
                        .fetch_add(record.chunks.len() as u64, Relaxed);
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

fn form_of(head: &http::Head) -> Form {
    let is = |kind: &str| {
        head.content_type
            .as_ref()
            .is_some_and(|said| said.starts_with(kind))
    };
    if head.status != 200 {
        Form::Refused(head.status, Vec::new())
    } else if is("application/json") {
        Form::Whole(Vec::new())
    } else if is("text/event-stream") {
        Form::Stream(Decoder::default())
    } else {
        Form::Unsure
    }
}

/// What the events of an answer said so far.
#[derive(Default)]
struct Answer {
    reader: event::Reader,
    events: u64,
    done: bool,
    error: Option<String>,
    malformed: Option<String>,
}

impl Answer {
    fn take(&mut self, data: &[u8], now: Nanos, record: &mut Record) {
        if self.malformed.is_some() || self.done {
            return;
        }
        self.events += 1;
        match self.reader.read(data) {
            Ok(event) => {
                if event.output {
                    if let Some(said) = &mut record.answer {
                        event::append_text(data, said);
                        if said.len() > LONGEST_ANSWER {
                            self.malformed = Some(format!(
                                "the answer has more than {LONGEST_ANSWER} bytes of text"
                            ));
                        }
                    }
                    if record.chunks.len() >= MOST_CHUNKS {
                        self.malformed =
                            Some(format!("the answer has more than {MOST_CHUNKS} chunks"));
                        return;
                    }
                    record.chunks.push(now);
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

    fn too_large(&mut self) {
        self.malformed
            .get_or_insert_with(|| format!("an event is larger than {LARGEST_EVENT} bytes"));
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
