//! Prompts and documents that are written down, inline or in a file.

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where prompts come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Prompts {
    /// The prompts themselves.
    Inline(#[schemars(length(min = 1))] Vec<String>),
    /// A JSONL file.
    File(PromptFile),
}

/// A JSONL file of prompts: one object a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptFile {
    /// The file, from the manifest's folder.
    #[schemars(with = "String")]
    pub file: Utf8PathBuf,
    /// The field that holds the prompt.
    #[serde(default = "prompt_field")]
    pub field: String,
    /// The field that holds how many tokens the answer has, exactly, in place of `max_tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_field: Option<String>,
}

/// Where documents come from: one text file, cut at a separator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Documents {
    /// The file, from the manifest's folder.
    #[schemars(with = "String")]
    pub file: Utf8PathBuf,
    /// The text between two documents; without it the file is one document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub separator: Option<String>,
}

fn prompt_field() -> String {
    "prompt".into()
}
