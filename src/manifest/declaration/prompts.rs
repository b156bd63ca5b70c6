//! The tables that prompts come from: prompts, documents, conversations, and generated prompts.

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::manifest::length::Length;

/// Prompts, inline or from a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Prompts {
    /// The prompts themselves.
    Inline(#[schemars(length(min = 1))] Vec<String>),
    /// A JSONL file.
    File(PromptFile),
}

/// A JSONL file of prompts: one object per line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptFile {
    /// Path of the file, relative to the manifest's folder.
    #[schemars(with = "String")]
    pub file: Utf8PathBuf,
    /// The field that holds the prompt. Default: `prompt`.
    #[serde(default = "prompt_field")]
    pub field: String,
    /// The field that holds the exact number of tokens of the answer, in place of `max_tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_field: Option<String>,
}

/// Documents in one text file, divided by a separator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Documents {
    /// Path of the file, relative to the manifest's folder.
    #[schemars(with = "String")]
    pub file: Utf8PathBuf,
    /// The text between two documents. Without it, the file is one document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub separator: Option<String>,
}

/// A file of conversations in the ShareGPT format: a JSON array or JSONL, each conversation with a list of
/// turns (`conversations` with `from` and `value`, or `messages` with `role` and `content`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConversationFile {
    /// Path of the file, relative to the manifest's folder.
    #[schemars(with = "String")]
    pub file: Utf8PathBuf,
    /// The turns that are sent: `first`, `all`, or a number of turns. Every turn is a request, and later
    /// turns carry the answers that the server gave to earlier ones. In an open loop, `rate` and `requests`
    /// count conversations; the latency of a later turn counts from the end of the previous answer plus
    /// `think_time`.
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
    /// Exact number of tokens of each answer (sets `ignore_eos` and `min_tokens`). Without it, `max_tokens`
    /// and `output` decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<Length>,
}

/// Generated prompts in groups. The prompts of a group begin with the same tokens, which the prefix cache can
/// reuse, and end in tokens of their own. Requests go round the groups.
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
    /// Exact number of tokens of each answer (sets `ignore_eos` and `min_tokens`). Without it, `max_tokens`
    /// and `output` decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<Length>,
}

fn prompt_field() -> String {
    "prompt".into()
}
