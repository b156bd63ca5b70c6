//! [`Record`]: the raw stamps and the outcome of one request.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::chunks::Chunks;
use crate::{
    unit::Nanos,
    workload::{Request, Turn},
};

/// One request as the client saw it. All stamps are nanoseconds since the cell's epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Number of the arrival within the repeat, warm-up included.
    pub index: u64,
    /// The stream of a closed loop that sent it; 0 in an open loop.
    pub stream: u32,
    /// Whether it is warm-up or measured.
    pub phase: Phase,
    /// Which prompt was sent: its index in the workload's inputs. A synthetic prompt has the number of its
    /// prefix group, or else the arrival's number.
    pub input: u32,
    /// When it was due.
    pub scheduled: Nanos,
    /// When sending began; absent when it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Nanos>,
    /// When the answer's head arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<Nanos>,
    /// When each chunk with generated output arrived.
    pub chunks: Chunks,
    /// Whether the answer was one JSON value, not a stream. Its only chunk is its end and gives no time to
    /// first token.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
    /// When the request ended, with any outcome.
    pub end: Nanos,
    /// How it ended.
    pub outcome: Outcome,
    /// HTTP status of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The server's `finish_reason`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// Token counts reported by the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Its place in a conversation, for workloads of conversations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
    /// The answer's text, which the next turn of the conversation needs; never stored.
    #[serde(skip)]
    pub(crate) answer: Option<String>,
    /// Requested prompt length, tokens, where the workload sets an exact one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u32>,
    /// Requested `max_tokens`.
    pub max_tokens: u32,
    /// Whether the connection had been used before.
    pub reused_connection: bool,
    /// Whether it was sent again on a new connection, because the server was just closing the reused one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reconnected: bool,
    /// Number of retries, where the workload allows them. `sent` is from the first attempt, everything else
    /// from the last.
    #[serde(default, skip_serializing_if = "is_never")]
    pub retried: u32,
    /// Error message of the server or the socket, at most a few hundred bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Record {
    /// The record of an arrival that has not been sent.
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

#[cfg(test)]
impl Record {
    /// A completed request without stamps and counts, for tests to fill in.
    pub(crate) fn completed() -> Self {
        let (input, max_tokens) = (0, 8);
        let body = bytes::Bytes::new();
        let request = Request { index: 0, input, input_tokens: None, turn: None, body, max_tokens };
        let outcome = Outcome::Completed;
        Self { outcome, ..Self::unsent(0, 0, Phase::Measured, Nanos(0), &request) }
    }
}

fn is_never(times: &u32) -> bool {
    *times == 0
}

/// The phase of a cell that a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Sent in the same way but not counted.
    Warmup,
    /// Counted.
    Measured,
}

/// Token counts reported by the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// Prompt tokens found in the prefix cache, when the server reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
}

/// How a request ended. Every scheduled arrival ends in exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The whole answer arrived.
    Completed,
    /// The stream ended before the answer did.
    Truncated,
    /// The server aborted the request: `finish_reason: abort`.
    Aborted,
    /// The server reported an error after status 200.
    ServerError,
    /// The server answered with another status than 200.
    Rejected(u16),
    /// The answer is not HTTP, not an event stream, or not the JSON of the API.
    Malformed,
    /// The answer is complete and has no output.
    Empty,
    /// The request timed out while waiting for this part.
    TimedOut(Wait),
    /// The connection was refused.
    Refused,
    /// The connection was reset before the answer began.
    Reset,
    /// The server cannot be reached: name resolution, TLS or routing failed.
    Unreachable,
    /// An arrival that was never sent.
    Dropped,
    /// Ended by the client, because the cell was ended.
    Cancelled,
}

impl Outcome {
    /// Every outcome but [`Self::Rejected`], which has a status.
    pub const PLAIN: [Self; 14] = [
        Self::Completed,
        Self::Truncated,
        Self::Aborted,
        Self::ServerError,
        Self::Malformed,
        Self::Empty,
        Self::TimedOut(Wait::Connect),
        Self::TimedOut(Wait::FirstToken),
        Self::TimedOut(Wait::Rest),
        Self::Refused,
        Self::Reset,
        Self::Unreachable,
        Self::Dropped,
        Self::Cancelled,
    ];

    /// Whether a retry may succeed: the server was busy, or briefly not there.
    pub(super) fn is_transient(self) -> bool {
        matches!(self, Self::Rejected(429 | 502 | 503 | 504) | Self::Refused | Self::Reset)
    }
}

/// What a request was waiting for when it timed out.
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
    /// The name in files and tables: `completed`, `rejected(429)`, `timed_out(first_token)`.
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

/// The text names no [`Outcome`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown request outcome {0:?}")]
pub struct UnknownOutcome(String);

impl FromStr for Outcome {
    type Err = UnknownOutcome;

    fn from_str(text: &str) -> Result<Self, UnknownOutcome> {
        if let Some(status) = text
            .strip_prefix("rejected(")
            .and_then(|rest| rest.strip_suffix(')'))
            .and_then(|status| status.parse().ok())
        {
            return Ok(Self::Rejected(status));
        }
        Self::PLAIN
            .into_iter()
            .find(|outcome| outcome.to_string() == text)
            .ok_or_else(|| UnknownOutcome(text.to_owned()))
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
