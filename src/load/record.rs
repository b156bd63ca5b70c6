//! The raw stamps and the outcome of one request.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::chunks::Chunks;
use crate::{
    unit::Nanos,
    workload::{Request, Turn},
};

/// One request as the client saw it. All stamps count from the cell's epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Number of the arrival in the cell, warm-up included.
    pub index: u64,
    /// The stream (the place in the closed loop) that sent it.
    pub stream: u32,
    /// Whether it counts.
    pub phase: Phase,
    /// Which prompt was sent: its place in the workload's inputs, or its group where prompts are made in groups; a made
    /// prompt without a group has the arrival's number.
    pub input: u32,
    /// When it was due.
    pub scheduled: Nanos,
    /// When its first byte was handed to the connection; absent when it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Nanos>,
    /// When the answer's head had arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<Nanos>,
    /// When each chunk that carries generated output arrived.
    pub chunks: Chunks,
    /// Whether the answer came as one JSON value and not as a stream: its only chunk is its end, and says nothing of a first
    /// token.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
    /// When the request ended, whatever way.
    pub end: Nanos,
    /// How it ended.
    pub outcome: Outcome,
    /// HTTP status of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The server's `finish_reason`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// Tokens by the server's own count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Where in a conversation it stands, where the workload asks conversations turn by turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
    /// The answer's text, while the next turn waits for it; never stored.
    #[serde(skip)]
    pub(crate) answer: Option<String>,
    /// Prompt tokens that were asked for, where the workload asks for an exact length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u32>,
    /// The most output tokens that were asked for.
    pub max_tokens: u32,
    /// Whether an open connection was used again.
    pub reused_connection: bool,
    /// Whether it was sent again, on a new connection, because the server had closed the one it was sent on, unanswered.
    #[serde(default, skip_serializing_if = "is_not")]
    pub reconnected: bool,
    /// How often it was tried again, where the workload asks for that. `sent` is of the first try, all else of the last.
    #[serde(default, skip_serializing_if = "is_never")]
    pub retried: u32,
    /// What the server or the socket said, at most a few hundred bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Record {
    /// A record with nothing in it but the arrival: never sent.
    pub fn unsent(index: u64, stream: u32, phase: Phase, at: Nanos, request: &Request) -> Self {
        Self {
            index,
            stream,
            phase,
            input: request.input,
            scheduled: at,
            sent: None,
            headers: None,
            chunks: Chunks::default(),
            whole: false,
            end: at,
            outcome: Outcome::Dropped,
            status: None,
            finish_reason: None,
            usage: None,
            turn: request.turn,
            answer: None,
            input_tokens: request.input_tokens,
            max_tokens: request.max_tokens,
            reused_connection: false,
            reconnected: false,
            retried: 0,
            error: None,
        }
    }
}

fn is_not(flag: &bool) -> bool {
    !flag
}

fn is_never(times: &u32) -> bool {
    *times == 0
}

/// The part of a cell a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Sent the same way, not counted.
    Warmup,
    /// Counted.
    Measured,
}

/// Tokens by the server's own count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// Tokens of the prompt that the prefix cache already held, when the server tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
}

/// How a request ended. Every scheduled arrival ends in exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The whole answer arrived.
    Completed,
    /// The stream was cut: no end of the answer.
    Truncated,
    /// The server gave up: `finish_reason: abort`.
    Aborted,
    /// An error event in a stream that began with 200.
    ServerError,
    /// Another status than 200.
    Rejected(u16),
    /// Not HTTP, not an event stream, or not JSON in it.
    Malformed,
    /// A whole answer with no output in it.
    Empty,
    /// Too late; which part was waited for.
    TimedOut(Wait),
    /// Nobody listened.
    Refused,
    /// The connection was reset before the answer began.
    Reset,
    /// No way there: name resolution, TLS, routing.
    Unreachable,
    /// Never sent.
    Dropped,
    /// Ended by us.
    Cancelled,
}

impl Outcome {
    /// Whether the same request may fare better in a moment: the server was busy, or not there.
    pub(super) fn may_pass(self) -> bool {
        matches!(self, Self::Rejected(429 | 502 | 503 | 504) | Self::Refused | Self::Reset)
    }
}

/// What a request was waiting for when its time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wait {
    /// The connection.
    Connect,
    /// The head of the answer, or the first output.
    FirstToken,
    /// The rest of the answer.
    Rest,
}

impl fmt::Display for Outcome {
    /// The word for files and tables: `completed`, `rejected(429)`, `timed_out(first_token)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Completed => "completed",
            Self::Truncated => "truncated",
            Self::Aborted => "aborted",
            Self::ServerError => "server_error",
            Self::Rejected(status) => return write!(f, "rejected({status})"),
            Self::Malformed => "malformed",
            Self::Empty => "empty",
            Self::TimedOut(Wait::Connect) => "timed_out(connect)",
            Self::TimedOut(Wait::FirstToken) => "timed_out(first_token)",
            Self::TimedOut(Wait::Rest) => "timed_out(rest)",
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Unreachable => "unreachable",
            Self::Dropped => "dropped",
            Self::Cancelled => "cancelled",
        })
    }
}

impl FromStr for Outcome {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const PLAIN: [Outcome; 14] = [
            Outcome::Completed,
            Outcome::Truncated,
            Outcome::Aborted,
            Outcome::ServerError,
            Outcome::Malformed,
            Outcome::Empty,
            Outcome::TimedOut(Wait::Connect),
            Outcome::TimedOut(Wait::FirstToken),
            Outcome::TimedOut(Wait::Rest),
            Outcome::Refused,
            Outcome::Reset,
            Outcome::Unreachable,
            Outcome::Dropped,
            Outcome::Cancelled,
        ];
        if let Some(status) = text
            .strip_prefix("rejected(")
            .and_then(|rest| rest.strip_suffix(')'))
            .and_then(|status| status.parse().ok())
        {
            return Ok(Self::Rejected(status));
        }
        PLAIN
            .into_iter()
            .find(|outcome| outcome.to_string() == text)
            .ok_or_else(|| format!("unknown request outcome {text:?}"))
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
