//! The source of a workload's prompts: which of its keys they come from.

use super::{
    arrivals::Trace,
    declaration::{
        ConversationFile, Documents, Output, PromptFile, Prompts, SharedPrefix, Synthetic, Workload,
    },
    error::InputError,
    length::Length,
};

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
