//! Where a workload's prompts come from: the typed tables, and which of them a workload uses.

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    arrivals::Trace,
    declaration::{Documents, Output, PromptFile, Prompts, Workload},
    error::InputError,
    length::Length,
};

/// A file of conversations in the ShareGPT format: a JSON array or JSONL, each conversation with a list of turns
/// (`conversations` with `from` and `value`, or `messages` with `role` and `content`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConversationFile {
    /// Path of the file, relative to the manifest's folder.
    #[schemars(with = "String")]
    pub file: Utf8PathBuf,
    /// The turns that are sent: `first`, `all`, or a number of turns. Every turn is a request, and later turns carry the answers
    /// that the server gave to earlier ones. In an open loop, `rate` and `requests` count conversations; the latency of a later
    /// turn counts from the end of the previous answer plus `think_time`.
    #[serde(default, skip_serializing_if = "Turns::is_first")]
    pub turns: Turns,
}

/// The turns of a conversation that are sent: a word, or the most turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Turns {
    /// A word.
    Named(NamedTurns),
    /// At most this many turns.
    Most(#[schemars(range(min = 1))] u32),
}

impl Default for Turns {
    fn default() -> Self {
        Self::Named(NamedTurns::First)
    }
}

impl Turns {
    /// Whether only first turns are sent, so that no request depends on another.
    pub fn is_first(&self) -> bool {
        *self == Self::default()
    }

    /// The most turns of a conversation that are sent.
    pub fn most(&self) -> usize {
        match self {
            Self::Named(NamedTurns::First) => 1,
            Self::Named(NamedTurns::All) => usize::MAX,
            Self::Most(most) => *most as usize,
        }
    }
}

/// The turns of a conversation that are sent, as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NamedTurns {
    /// Only the first turn.
    First,
    /// Every user turn.
    All,
}

/// Generated prompts, each of an exact length in the server's tokens and new to its prefix cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Synthetic {
    /// Tokens of each prompt as the server counts them, including the chat template.
    pub input_tokens: Length,
    /// Exact number of tokens of each answer (sets `ignore_eos` and `min_tokens`). Without it, `max_tokens` and `output`
    /// decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<Length>,
}

/// Generated prompts in groups. The prompts of a group begin with the same tokens, which the prefix cache can reuse, and end
/// in tokens of their own. Requests go round the groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SharedPrefix {
    /// Number of groups, each with its own prefix.
    #[schemars(range(min = 1, max = 100_000))]
    pub groups: u32,
    /// Tokens of the shared prefix, including what the chat template puts before the text.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub prefix_tokens: u32,
    /// Tokens that follow the prefix in each prompt, including what the chat template puts after the text.
    pub suffix_tokens: Length,
    /// Exact number of tokens of each answer (sets `ignore_eos` and `min_tokens`). Without it, `max_tokens` and `output`
    /// decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<Length>,
}

/// The key of a workload that its prompts come from.
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
    /// `trace`, where the workload has no other prompts.
    Trace(&'a Trace),
}

impl Source<'_> {
    /// The key in the manifest.
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

    /// Whether prompts are generated: every one is new, with an exact length in the server's tokens.
    pub fn is_generated(&self) -> bool {
        matches!(self, Self::Synthetic(_) | Self::SharedPrefix(_) | Self::Trace(_))
    }
}

impl Workload {
    /// Whether every answer has exactly its maximum length.
    pub fn exact_output(&self) -> bool {
        self.output == Output::Exact || self.exact_length_key().is_some()
    }

    /// The key that sets the exact length of answers, in place of `max_tokens`.
    pub fn exact_length_key(&self) -> Option<&'static str> {
        match &self.prompts {
            Some(Prompts::File(file)) if file.output_tokens_field.is_some() => Some("output_tokens_field"),
            _ if matches!(self.source(), Ok(Source::Trace(_))) => Some("trace"),
            _ => self.output_tokens().map(|_| "output_tokens"),
        }
    }

    /// The exact length of answers, where `synthetic` or `shared_prefix` sets it.
    pub fn output_tokens(&self) -> Option<&Length> {
        let synthetic = self.synthetic.as_ref().and_then(|s| s.output_tokens.as_ref());
        let shared = self.shared_prefix.as_ref().and_then(|s| s.output_tokens.as_ref());
        synthetic.or(shared)
    }

    /// Whether requests are turns of conversations that carry the earlier answers.
    pub fn has_turns(&self) -> bool {
        let conversations = self.conversations.as_ref();
        conversations.is_some_and(|file| !file.turns.is_first())
    }

    /// The key that the workload's prompts come from.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn source(&self) -> Result<Source<'_>, InputError> {
        let prompts = self.prompts.as_ref().map(|prompts| match prompts {
            Prompts::Inline(prompts) => Source::Inline(prompts),
            Prompts::File(file) => Source::Lines(file),
        });
        let sources: Vec<Source<'_>> = [
            prompts,
            self.documents.as_ref().map(Source::Documents),
            self.conversations.as_ref().map(Source::Conversations),
            self.synthetic.as_ref().map(Source::Synthetic),
            self.shared_prefix.as_ref().map(Source::SharedPrefix),
        ]
        .into_iter()
        .flatten()
        .collect();
        match (sources.as_slice(), &self.trace) {
            ([source], _) => Ok(*source),
            ([], Some(trace)) => Ok(Source::Trace(trace)),
            ([], None) => Err(InputError::NoSource),
            (several, _) => Err(InputError::SeveralSources(several.iter().map(Source::key).collect())),
        }
    }
}
