//! Faults that the embedded engine simulates on request.

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::ValueError;
use crate::unit::TimeSpan;

/// Faults that the embedded engine simulates, of the whole server and of single answers. For a slow start set
/// `startup`, for a KV cache that is too small `kv_tokens`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// When the server runs out of memory: streams end with an error event, the log shows the error, and it
    /// exits as vLLM does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_of_memory: Option<Moment>,
    /// When the server crashes: every connection breaks, and it exits with status 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crash: Option<Moment>,
    /// When the server stops generating: the process and its connections stay open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hang: Option<Moment>,
    /// Whether the server hangs during its start and never becomes ready.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hang_at_start: bool,
    /// The share of requests whose answers have a fault, from 0 to 1, by fault: `{ cut = 0.1, crlf = 1 }`.
    #[serde(skip_serializing_if = "AnswerFaults::is_empty")]
    pub answers: AnswerFaults,
    /// The HTTP status of `http_error`.
    #[schemars(range(min = 400, max = 599))]
    pub http_status: u16,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            out_of_memory: None,
            crash: None,
            hang: None,
            hang_at_start: false,
            answers: AnswerFaults::default(),
            http_status: 503,
        }
    }
}

/// A moment in a server's life. With both keys, the earlier one counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Moment {
    /// When this request arrives, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub at_request: Option<u64>,
    /// This long after the server became ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<TimeSpan>,
}

impl Moment {
    /// Reads words such as `at_request=20` and `after=5s`.
    ///
    /// # Errors
    /// When a word is not of these, or there is none.
    pub fn parse(words: &[String]) -> Result<Self, ValueError> {
        let mut moment = Self::default();
        let reason = |word: &str| ValueError::NotAMoment(word.to_owned());
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| reason(word))?;
            match key {
                "at_request" => {
                    let number = value.parse().ok().filter(|number| *number > 0);
                    moment.at_request = Some(number.ok_or_else(|| reason(word))?);
                }
                "after" => moment.after = Some(value.parse()?),
                _ => return Err(reason(word)),
            }
        }
        if moment == Self::default() {
            return Err(ValueError::NoMoment);
        }
        Ok(moment)
    }

    /// The words that [`Self::parse`] reads.
    pub fn words(self) -> Vec<String> {
        let request = self.at_request.map(|number| format!("at_request={number}"));
        let time = self.after.map(|span| format!("after={span}"));
        request.into_iter().chain(time).collect()
    }
}

/// A fault, or merely an unusual form, of one answer. Faults that end an answer early exclude each other:
/// where a request draws several of them, the first of this list applies. All others combine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerFault {
    /// The request is refused with the status `http_status`.
    HttpError,
    /// The request is redirected (307) to another address.
    Redirect,
    /// The stream ends before its first event.
    Empty,
    /// The connection ends half-way through the answer.
    Cut,
    /// The answer stops half-way, and the connection stays open.
    Stall,
    /// An error event ends the answer half-way, after a status of 200.
    ErrorEvent,
    /// `finish_reason: abort` ends the answer half-way.
    Abort,
    /// An event with broken JSON ends the answer half-way.
    Malformed,
    /// The answer ends without `[DONE]`.
    NoDone,
    /// The answer ends without `finish_reason` and `[DONE]`.
    NoEnd,
    /// The answer has no token counts, although they were requested.
    NoUsage,
    /// The answer is one JSON value instead of a stream.
    Whole,
    /// The answer is compressed with gzip, although the client did not offer it.
    Gzip,
    /// Lines end with CR LF.
    Crlf,
    /// No space follows `data:`.
    NoSpace,
    /// Comments, `id` and `retry` lines stand between events.
    Comments,
    /// Four events arrive in one write.
    SeveralPerWrite,
    /// Every byte arrives in its own write.
    BytePerWrite,
    /// Every event holds three tokens.
    SeveralTokens,
    /// An event without output comes long before the first token: a chat's role, or an empty text of a
    /// completion.
    EarlyRole,
    /// Every event holds the usage.
    UsageInEveryEvent,
    /// Chat: the first half of the answer is reasoning.
    Reasoning,
    /// Chat: the answer is a call of a tool.
    ToolCall,
}

impl AnswerFault {
    /// All faults, in the order declared.
    pub const ALL: [Self; 23] = [
        Self::HttpError,
        Self::Redirect,
        Self::Empty,
        Self::Cut,
        Self::Stall,
        Self::ErrorEvent,
        Self::Abort,
        Self::Malformed,
        Self::NoDone,
        Self::NoEnd,
        Self::NoUsage,
        Self::Whole,
        Self::Gzip,
        Self::Crlf,
        Self::NoSpace,
        Self::Comments,
        Self::SeveralPerWrite,
        Self::BytePerWrite,
        Self::SeveralTokens,
        Self::EarlyRole,
        Self::UsageInEveryEvent,
        Self::Reasoning,
        Self::ToolCall,
    ];

    pub(crate) fn ends_answer(self) -> bool {
        self <= Self::NoEnd
    }
}

impl fmt::Display for AnswerFault {
    /// The key in a manifest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl FromStr for AnswerFault {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let known = Self::ALL.iter().find(|fault| fault.to_string() == text);
        known.copied().ok_or_else(|| {
            let all: Vec<String> = Self::ALL.iter().map(Self::to_string).collect();
            ValueError::NotAFault { word: text.to_owned(), known: all.join(", ") }
        })
    }
}

/// Faults of answers with the share of requests that have them, from 0 to 1. Each fault is drawn
/// independently, from the seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AnswerFaults(pub BTreeMap<AnswerFault, f64>);

impl AnswerFaults {
    /// Whether there is no fault.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the fault and share of a word such as `cut=0.1`.
    ///
    /// # Errors
    /// When the fault is unknown or the share is not between 0 and 1.
    pub fn add(&mut self, word: &str) -> Result<(), ValueError> {
        let (name, share) = word.split_once('=').unwrap_or((word, "1"));
        let share: f64 = share
            .parse()
            .ok()
            .filter(|share| (0.0..=1.0).contains(share))
            .ok_or_else(|| ValueError::NotAShare { word: word.to_owned(), fault: name.to_owned() })?;
        self.0.insert(name.parse()?, share);
        Ok(())
    }
}

impl JsonSchema for AnswerFaults {
    fn schema_name() -> Cow<'static, str> {
        "AnswerFaults".into()
    }

    /// One key for each variant of [`AnswerFault`], described by its doc comment.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let faults = AnswerFault::json_schema(generator).to_value();
        let properties: serde_json::Map<String, Value> = faults["oneOf"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|fault| {
                let share = serde_json::json!({
                    "description": fault["description"], "type": "number", "minimum": 0, "maximum": 1,
                });
                Some((fault["const"].as_str()?.to_owned(), share))
            })
            .collect();
        json_schema!({ "type": "object", "properties": properties, "additionalProperties": false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_key_and_a_word_on_it() {
        let schema = AnswerFaults::json_schema(&mut SchemaGenerator::default()).to_value();
        let keys = schema["properties"].as_object().unwrap();
        assert_eq!(keys.len(), AnswerFault::ALL.len());
        for (place, fault) in AnswerFault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, place, "{fault}");
            assert_eq!(fault.to_string().parse(), Ok(fault));
            assert!(keys[&fault.to_string()]["description"].is_string(), "{fault}");
        }
    }

    #[test]
    fn moments_and_shares_are_read_from_words_and_mistakes_name_them() {
        let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
        let moment = Moment::parse(&words("at_request=20 after=5s")).unwrap();
        assert_eq!(moment.words(), words("at_request=20 after=5s"));
        for wrong in ["20", "at_request=0", "after=5", "at=3"] {
            assert!(Moment::parse(&words(wrong)).is_err(), "{wrong}");
        }
        let mut faults = AnswerFaults::default();
        faults.add("cut=0.25").unwrap();
        faults.add("crlf").unwrap();
        assert_eq!(faults.0, BTreeMap::from([(AnswerFault::Cut, 0.25), (AnswerFault::Crlf, 1.0)]));
        assert!(faults.add("cut=2").unwrap_err().to_string().contains("cut=2"));
        assert!(faults.add("cute=1").unwrap_err().to_string().contains("no_done"));
    }
}
