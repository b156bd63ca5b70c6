//! What the embedded engine does wrong on request, so that failure can be rehearsed.

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::unit::TimeSpan;

/// What goes wrong on request: with the server as a whole, and with single answers. (A slow start is `startup`; a KV cache that
/// is too small is `kv_tokens`.)
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// When it runs out of memory: streams end with an error event, its log says why, and it exits as vLLM does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_of_memory: Option<Moment>,
    /// When it crashes: every connection breaks, and it exits with 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crash: Option<Moment>,
    /// When it stops to generate; it lives on, and connections stay open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hang: Option<Moment>,
    /// Whether it hangs while it starts, and never becomes ready.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hang_at_start: bool,
    /// The share of requests whose answer has a fault, by fault: `{ cut = 0.1, crlf = 1 }`.
    #[serde(skip_serializing_if = "AnswerFaults::is_empty")]
    pub answers: AnswerFaults,
    /// The status of `http_error`.
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

/// A moment of a server's life: the earlier one where both are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Moment {
    /// As the request of this number arrives, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub at_request: Option<u64>,
    /// So long after it became ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<TimeSpan>,
}

impl Moment {
    /// Reads words such as `at_request=20` and `after=5s`.
    ///
    /// # Errors
    /// A sentence that names the word and what was expected.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let mut moment = Self::default();
        let reason = |word: &str| format!("{word:?} is no moment; write at_request=20 or after=5s");
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
            return Err("no moment is given; write at_request=20 or after=5s".into());
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

/// What may be wrong, or merely unusual, with one answer. Those that end an answer early exclude each other: of several drawn
/// for one request the first of this list counts. All others add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerFault {
    /// Refused, with `http_status`.
    HttpError,
    /// Refused: a redirect (307) to another address.
    Redirect,
    /// A stream that begins and brings no event at all.
    Empty,
    /// Half-way the connection ends.
    Cut,
    /// Half-way nothing more comes, and the connection stays open.
    Stall,
    /// Half-way an error event, after a status of 200.
    ErrorEvent,
    /// Half-way `finish_reason: abort`.
    Abort,
    /// Half-way an event whose JSON is broken.
    Malformed,
    /// The end without `[DONE]`.
    NoDone,
    /// Neither `finish_reason` nor `[DONE]`: the answer ends as if it were whole.
    NoEnd,
    /// No token count, though asked for.
    NoUsage,
    /// One JSON value instead of the stream that was asked for.
    Whole,
    /// Compressed with gzip, which nobody asked for.
    Gzip,
    /// Lines end with CR LF.
    Crlf,
    /// No space behind `data:`.
    NoSpace,
    /// Comments, `id` and `retry` lines between events.
    Comments,
    /// Four events in one write.
    SeveralPerWrite,
    /// One byte in one write.
    BytePerWrite,
    /// Three tokens in one event.
    SeveralTokens,
    /// A first event without output at once, long before the first token: a chat's role, a completion's empty text.
    EarlyRole,
    /// Usage in every event.
    UsageInEveryEvent,
    /// Chat: the first half of the answer is reasoning.
    Reasoning,
    /// Chat: the answer is a call of a tool.
    ToolCall,
}

impl AnswerFault {
    /// All of them, in the order declared.
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
}

impl fmt::Display for AnswerFault {
    /// The key in a manifest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl FromStr for AnswerFault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|fault| fault.to_string() == text);
        known.copied().ok_or_else(|| {
            let all: Vec<String> = Self::ALL.iter().map(Self::to_string).collect();
            format!("{text:?} is no fault of an answer; there are {}", all.join(", "))
        })
    }
}

/// Which faults how many answers have: the share of requests, 0 to 1, each drawn for itself from the seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AnswerFaults(pub BTreeMap<AnswerFault, f64>);

impl AnswerFaults {
    /// Whether nothing goes wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds what a word such as `cut=0.1` says.
    ///
    /// # Errors
    /// A sentence that names the word and what was expected.
    pub fn add(&mut self, word: &str) -> Result<(), String> {
        let (name, share) = word.split_once('=').unwrap_or((word, "1"));
        let share: f64 = share
            .parse()
            .ok()
            .filter(|share| (0.0..=1.0).contains(share))
            .ok_or_else(|| format!("{word:?} has no share between 0 and 1; write {name}=0.1"))?;
        self.0.insert(name.parse()?, share);
        Ok(())
    }
}

impl JsonSchema for AnswerFaults {
    fn schema_name() -> Cow<'static, str> {
        "AnswerFaults".into()
    }

    /// One key for each variant of the enum, with what its doc comment says.
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
        assert!(faults.add("cut=2").unwrap_err().contains("cut=2"));
        assert!(faults.add("cute=1").unwrap_err().contains("no_done"));
    }
}
