//! Interprets the body of an answer, part by part: stamps its chunks and decides the outcome of its record.

use super::{
    error::AnswerError,
    event, http,
    record::{Outcome, Record},
    sse::{Decoder, LARGEST_EVENT},
};
use crate::unit::Nanos;

/// The longest error message that is kept, bytes.
const LONGEST_ERROR: usize = 300;
/// How much of an answer with another status than 200 is read for its message, bytes.
pub(super) const LONGEST_REFUSAL: usize = 64 << 10;

/// The most chunks that an answer may have: more than any model's context holds.
const MOST_CHUNKS: usize = 1 << 20;
/// The longest text of an answer that is kept for the next turn of its conversation, bytes.
const LONGEST_ANSWER: usize = 16 << 20;

/// The kind of body that an answer has, with what is needed to read it.
pub(super) enum Body {
    /// The head has not arrived.
    Unknown,
    /// Of another status than 200: the status, and the start of the body.
    Refused(u16, Vec<u8>),
    /// The head names neither an event stream nor JSON, so the first byte decides.
    Undetermined,
    /// An event stream.
    Stream(Decoder),
    /// One JSON value.
    Whole(Vec<u8>),
}

impl Body {
    pub(super) fn new(head: &http::Head) -> Self {
        let is = |kind: &str| head.content_type.as_ref().is_some_and(|own| own.starts_with(kind));
        if head.status != 200 {
            Self::Refused(head.status, Vec::new())
        } else if is("application/json") {
            Self::Whole(Vec::new())
        } else if is("text/event-stream") {
            Self::Stream(Decoder::default())
        } else {
            Self::Undetermined
        }
    }

    /// Takes the next part of the body, which arrived at `now`.
    pub(super) fn take(&mut self, part: &[u8], now: Nanos, answer: &mut Answer, record: &mut Record) {
        match self {
            Self::Stream(decoder) => {
                let fed = decoder.feed(part, &mut |event| answer.take(event, now, record));
                if let Err(error) = fed {
                    answer.malformed.get_or_insert(error);
                }
            }
            Self::Whole(body) if body.len() + part.len() <= LARGEST_EVENT => {
                body.extend_from_slice(part);
            }
            Self::Whole(_) => {
                answer.malformed.get_or_insert(AnswerError::LargeEvent(LARGEST_EVENT));
            }
            Self::Refused(_, body) => {
                let room = LONGEST_REFUSAL.saturating_sub(body.len());
                body.extend_from_slice(&part[..part.len().min(room)]);
            }
            Self::Undetermined => {
                let first = part.iter().find(|byte| !byte.is_ascii_whitespace());
                if let Some(first) = first {
                    *self = match first {
                        b'{' => Self::Whole(Vec::new()),
                        _ => Self::Stream(Decoder::default()),
                    };
                    self.take(part, now, answer, record);
                }
            }
            Self::Unknown => {}
        }
    }
}

/// The content of an answer so far.
#[derive(Default)]
pub(super) struct Answer {
    reader: event::Reader,
    events: u64,
    /// Whether the end was announced by `[DONE]`.
    pub(super) done: bool,
    /// An error that the server reported.
    error: Option<String>,
    /// Why the answer cannot be read any further.
    pub(super) malformed: Option<AnswerError>,
}

impl Answer {
    pub(super) fn take(&mut self, data: &[u8], now: Nanos, record: &mut Record) {
        if self.malformed.is_some() || self.done {
            return;
        }
        self.events += 1;
        match self.reader.read(data) {
            Ok(event) => {
                if event.output {
                    if let Some(text) = &mut record.answer {
                        event::append_text(data, text);
                        if text.len() > LONGEST_ANSWER {
                            self.malformed = Some(AnswerError::LongText(LONGEST_ANSWER));
                        }
                    }
                    if record.chunks.len() >= MOST_CHUNKS {
                        self.malformed = Some(AnswerError::TooManyChunks(MOST_CHUNKS));
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
            Err(error) => self.malformed = Some(error),
        }
    }

    /// Sets the record's outcome; `cut` says why the body ended early, if it did.
    pub(super) fn settle(self, record: &mut Record, cut: Option<String>) {
        let reason = record.finish_reason.as_deref();
        let (outcome, error) = if let Some(error) = self.error {
            (Outcome::ServerError, Some(error))
        } else if let Some(malformed) = self.malformed {
            (Outcome::Malformed, Some(malformed.to_string()))
        } else if reason == Some("abort") {
            (Outcome::Aborted, None)
        } else if reason == Some("error") {
            (Outcome::ServerError, Some("finish_reason: error".to_owned()))
        } else if let Some(cut) = cut {
            (Outcome::Truncated, Some(cut))
        } else if self.events == 0 {
            (Outcome::Empty, Some("the answer holds no event".to_owned()))
        } else if !self.done && reason.is_none() {
            (Outcome::Truncated, Some("the stream ended without a finish_reason or [DONE]".to_owned()))
        } else if record.chunks.is_empty() {
            (Outcome::Empty, None)
        } else {
            (Outcome::Completed, None)
        };
        record.outcome = outcome;
        record.error = error.map(|text| short(&text));
    }
}

/// Sets the outcome of a request that has no readable answer.
pub(super) fn fail(record: &mut Record, outcome: Outcome, message: &str) {
    record.outcome = outcome;
    record.error = Some(short(message));
}

/// Cuts a message to [`LONGEST_ERROR`] bytes at a character boundary and replaces control characters.
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
