//! The body of an answer, part by part → the stamps and the outcome of its record.

use super::{
    event, http,
    record::{Outcome, Record},
    sse::{Decoder, LARGEST_EVENT},
};
use crate::unit::Nanos;

/// The most of an error that is kept.
const LONGEST_ERROR: usize = 300;
/// The most of a refused answer that is read for its message.
pub(super) const LONGEST_REFUSAL: usize = 64 << 10;

/// The most chunks that an answer may have: more than any model's context holds.
const MOST_CHUNKS: usize = 1 << 20;
/// The most text that is kept of an answer, for the next turn of its conversation.
const LONGEST_ANSWER: usize = 16 << 20;

/// What an answer is, once its head is there.
pub(super) enum Form {
    Unknown,
    /// Another status than 200, and the start of its body.
    Refused(u16, Vec<u8>),
    /// Neither an event stream nor JSON by its head: its first byte tells.
    Unsure,
    Stream(Decoder),
    /// One JSON value.
    Whole(Vec<u8>),
}

impl Form {
    pub(super) fn of(head: &http::Head) -> Self {
        let is = |kind: &str| head.content_type.as_ref().is_some_and(|said| said.starts_with(kind));
        if head.status != 200 {
            Self::Refused(head.status, Vec::new())
        } else if is("application/json") {
            Self::Whole(Vec::new())
        } else if is("text/event-stream") {
            Self::Stream(Decoder::default())
        } else {
            Self::Unsure
        }
    }

    /// Takes the next part of the body, which arrived at `now`.
    pub(super) fn take(&mut self, part: &[u8], now: Nanos, answer: &mut Answer, record: &mut Record) {
        match self {
            Self::Stream(decoder) => {
                let fed = decoder.feed(part, &mut |event| answer.take(event, now, record));
                if fed.is_err() {
                    answer.too_large();
                }
            }
            Self::Whole(body) if body.len() + part.len() <= LARGEST_EVENT => {
                body.extend_from_slice(part);
            }
            Self::Whole(_) => answer.too_large(),
            Self::Refused(_, body) => {
                let most = part.len().min(LONGEST_REFUSAL.saturating_sub(body.len()));
                body.extend_from_slice(&part[..most]);
            }
            Self::Unsure => {
                let first = part.iter().find(|byte| !byte.is_ascii_whitespace());
                if let Some(first) = first {
                    *self = if *first == b'{' {
                        Self::Whole(Vec::new())
                    } else {
                        Self::Stream(Decoder::default())
                    };
                    self.take(part, now, answer, record);
                }
            }
            Self::Unknown => {}
        }
    }
}

/// What the events of an answer said so far.
#[derive(Default)]
pub(super) struct Answer {
    reader: event::Reader,
    events: u64,
    /// It said its last word.
    pub(super) done: bool,
    error: Option<String>,
    /// Why it cannot be read any further.
    pub(super) malformed: Option<String>,
}

impl Answer {
    /// Takes one event.
    pub(super) fn take(&mut self, data: &[u8], now: Nanos, record: &mut Record) {
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
                            self.malformed =
                                Some(format!("the answer has more than {LONGEST_ANSWER} bytes of text"));
                        }
                    }
                    if record.chunks.len() >= MOST_CHUNKS {
                        self.malformed = Some(format!("the answer has more than {MOST_CHUNKS} chunks"));
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
        self.malformed.get_or_insert_with(|| format!("an event is larger than {LARGEST_EVENT} bytes"));
    }

    /// The outcome, from all that was said; `cut` is why the body did not end as it should.
    pub(super) fn settle(self, record: &mut Record, cut: Option<String>) {
        let reason = record.finish_reason.as_deref();
        let (outcome, error) = if let Some(error) = self.error {
            (Outcome::ServerError, Some(error))
        } else if let Some(malformed) = self.malformed {
            (Outcome::Malformed, Some(malformed))
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

/// The outcome of a request without an answer that could be read.
pub(super) fn fail(record: &mut Record, outcome: Outcome, message: String) {
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
