//! The typed form of what a workload asks, beside prompts and documents: the part of the declaration that this room's
//! other half, the workloads, makes requests of.

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    arrivals::Trace,
    declaration::{Documents, Output, PromptFile, Prompts, Workload},
    length::Length,
};

/// A file of conversations in the ShareGPT form: a JSON array, or one object a line, each with a list of turns
/// (`conversations`, of `from` and `value`; `messages`, of `role` and `content`, are read as well).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConversationFile {
    /// The file, from the manifest's folder.
    #[schemars(with = "String")]
    pub file: Utf8PathBuf,
    /// How much of a conversation is asked: `first` asks its first turn alone; `all`, or the most turns of each, asks one
    /// turn after the other, each with the answers that the server gave before. Every turn is a request. In an open loop the
    /// arrivals are conversations: `rate` and `requests` count those, and a later turn is due, and its latency counts, from when
    /// the answer before it was there and `think_time` was over.
    #[serde(default, skip_serializing_if = "Turns::is_first")]
    pub turns: Turns,
}

/// How many turns of a conversation are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Turns {
    /// By a word.
    Named(NamedTurns),
    /// At most so many.
    Most(#[schemars(range(min = 1))] u32),
}

impl Default for Turns {
    fn default() -> Self {
        Self::Named(NamedTurns::First)
    }
}

impl Turns {
    /// Whether only first turns are asked, so that no request belongs to another.
    pub fn is_first(&self) -> bool {
        *self == Self::default()
    }

    /// The most turns of a conversation that are asked.
    pub fn most(&self) -> usize {
        match self {
            Self::Named(NamedTurns::First) => 1,
            Self::Named(NamedTurns::All) => usize::MAX,
            Self::Most(most) => *most as usize,
        }
    }
}

/// How many turns of a conversation are asked, by a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NamedTurns {
    /// The first turn alone; no request waits for another's answer.
    First,
    /// Every turn of the person's.
    All,
}

/// Prompts made for the purpose, each with an exact number of the server's own tokens and new to its prefix cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Synthetic {
    /// Tokens of each prompt by the server's count, those of a chat's template included.
    pub input_tokens: Length,
    /// Tokens of each answer, exactly (`ignore_eos`, `min_tokens`). Without it `max_tokens` and `output` say how long
    /// an answer is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<Length>,
}

/// Prompts in groups: those of a group begin with the same tokens, which the prefix cache may know, and end in tokens
/// of their own. Groups are asked in turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SharedPrefix {
    /// How many different prefixes there are.
    #[schemars(range(min = 1, max = 100_000))]
    pub groups: u32,
    /// Tokens that the prompts of a group begin with, those before a chat's text included.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub prefix_tokens: u32,
    /// Tokens of each prompt's own that follow, those behind a chat's text included.
    pub suffix_tokens: Length,
    /// Tokens of each answer, exactly (`ignore_eos`, `min_tokens`). Without it `max_tokens` and `output` say how long
    /// an answer is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<Length>,
}

/// The one key of a workload that says what it asks.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// `prompts = […]`
    Inline(&'a [String]),
    /// `prompts = { file = … }`
    Lines(&'a PromptFile),
    /// `documents`
    Documents(&'a Documents),
    /// `conversations`
    Conversations(&'a ConversationFile),
    /// `synthetic`
    Synthetic(&'a Synthetic),
    /// `shared_prefix`
    SharedPrefix(&'a SharedPrefix),
    /// `trace`, when no other key says what is asked.
    Trace(&'a Trace),
}

impl Source<'_> {
    /// The key, as the manifest writes it.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Inline(_) | Self::Lines(_) => "prompts",
            Self::Documents(_) => "documents",
            Self::Conversations(_) => "conversations",
            Self::Synthetic(_) => "synthetic",
            Self::SharedPrefix(_) => "shared_prefix",
            Self::Trace(_) => "trace",
        }
    }

    /// Whether prompts are made rather than given: each is new, and its length is counted in the server's tokens.
    pub fn is_made(&self) -> bool {
        matches!(self, Self::Synthetic(_) | Self::SharedPrefix(_) | Self::Trace(_))
    }
}

impl Workload {
    /// Whether every answer is exactly as long as it may be.
    pub fn exact_output(&self) -> bool {
        self.output == Output::Exact || self.exact_length_key().is_some()
    }

    /// The key that says how long answers are, exactly, in place of `max_tokens`.
    pub fn exact_length_key(&self) -> Option<&'static str> {
        match &self.prompts {
            Some(Prompts::File(file)) if file.output_tokens_field.is_some() => Some("output_tokens_field"),
            _ if matches!(self.source(), Ok(Source::Trace(_))) => Some("trace"),
            _ => self.output_tokens().map(|_| "output_tokens"),
        }
    }

    /// The exact length of each answer, where the workload has one of its own beside `max_tokens`.
    pub fn output_tokens(&self) -> Option<&Length> {
        let synthetic = self.synthetic.as_ref().and_then(|s| s.output_tokens.as_ref());
        let shared = self.shared_prefix.as_ref().and_then(|s| s.output_tokens.as_ref());
        synthetic.or(shared)
    }

    /// Whether requests are turns of conversations, each with the answers before it.
    pub fn has_turns(&self) -> bool {
        let conversations = self.conversations.as_ref();
        conversations.is_some_and(|file| !file.turns.is_first())
    }

    /// What the workload asks.
    ///
    /// # Errors
    /// A sentence when no key says it, or more than one.
    pub fn source(&self) -> Result<Source<'_>, String> {
        let prompts = self.prompts.as_ref().map(|prompts| match prompts {
            Prompts::Inline(prompts) => Source::Inline(prompts),
            Prompts::File(file) => Source::Lines(file),
        });
        let given: Vec<Source<'_>> = [
            prompts,
            self.documents.as_ref().map(Source::Documents),
            self.conversations.as_ref().map(Source::Conversations),
            self.synthetic.as_ref().map(Source::Synthetic),
            self.shared_prefix.as_ref().map(Source::SharedPrefix),
        ]
        .into_iter()
        .flatten()
        .collect();
        match (given.as_slice(), &self.trace) {
            ([source], _) => Ok(*source),
            ([], Some(trace)) => Ok(Source::Trace(trace)),
            ([], None) => Err(
                "there is nothing to ask: no prompts, documents, conversations, synthetic or shared_prefix"
                    .into(),
            ),
            (several, _) => {
                let keys: Vec<&str> = several.iter().map(Source::key).collect();
                Err(format!("there are {}; one of them is enough", keys.join(" and ")))
            }
        }
    }
}
