//! Why the requests of a cell cannot be built.

use thiserror::Error;

use crate::manifest::InputError;

/// Why the requests of a cell cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The workload's prompts cannot be read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Prompts of this source are generated, and need a vocabulary.
    #[error("`{0}` prompts are generated and need the server's vocabulary")]
    Generated(&'static str),
    /// The workload's prompts are fixed, and need no vocabulary.
    #[error("the workload's prompts are fixed, so none can be generated")]
    Fixed,
    /// The prompt template is not valid.
    #[error("the prompt template is not valid: {0}")]
    Template(String),
    /// The prompt template cannot be filled in.
    #[error("the prompt template fails for input {number}: {reason}")]
    Render {
        /// The input, counted from 1.
        number: usize,
        /// The template engine's message.
        reason: String,
    },
    /// A trace that should give the lengths has none.
    #[error("the trace has no lengths")]
    NoLengths,
    /// A prompt would be shorter than the tokens that every prompt has.
    #[error(
        "prompts this short are impossible: the server counts {before} tokens before their first word and {after} after the last (chat template, system message)"
    )]
    TooShort {
        /// Tokens before the first word.
        before: u32,
        /// Tokens after the last word.
        after: u32,
    },
    /// The server's token counts cannot be used.
    #[error(transparent)]
    Vocabulary(#[from] VocabularyError),
}

/// Why a vocabulary cannot be learned from a server's token counts.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VocabularyError {
    /// Not every sample was counted.
    #[error("{counted} of {needed} words were counted")]
    Incomplete {
        /// Words that were counted.
        counted: usize,
        /// Words that have to be counted.
        needed: usize,
    },
    /// No word is a single token, so that not every length is possible.
    #[error("no common word is a single token on this server, so no prompt of an exact length is possible")]
    NoSingleToken,
    /// The server counts no more tokens for a longer text.
    #[error("the server counts no tokens for a word")]
    NoTokens,
}
