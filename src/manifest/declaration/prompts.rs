//! Prompts and documents from the manifest or a file.

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

fn prompt_field() -> String {
    "prompt".into()
}
