//! The typed form of what a workload asks, beside prompts and documents: the part of the declaration that this room's
//! other half, the workloads, makes requests of.

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::declaration::{Documents, Output, PromptFile, Prompts, Workload};

/// A file of conversations in the ShareGPT form: a JSON array, or one object a line, each with a list of turns
/// (`conversations`, of `from` and `value`; `messages`, of `role` and `content`, are read as well).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConversationFile {
    /// The file, from the manifest's folder.
    #[schemars(with = "String")]
    pub file: Utf8PathBuf,
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
}

impl Source<'_> {
    /// The key, as the manifest writes it.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Inline(_) | Self::Lines(_) => "prompts",
            Self::Documents(_) => "documents",
            Self::Conversations(_) => "conversations",
        }
    }
}

impl Workload {
    /// Whether every answer is exactly as long as it may be.
    pub fn exact_output(&self) -> bool {
        self.output == Output::Exact
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
        ]
        .into_iter()
        .flatten()
        .collect();
        match given.as_slice() {
            [source] => Ok(*source),
            [] => Err("there is nothing to ask: no prompts, documents or conversations".into()),
            several => {
                let keys: Vec<&str> = several.iter().map(Source::key).collect();
                Err(format!(
                    "there are {}; one of them is enough",
                    keys.join(" and ")
                ))
            }
        }
    }
}
