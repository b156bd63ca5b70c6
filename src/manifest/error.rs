//! Errors of the values and files that a manifest names.

use camino::Utf8PathBuf;
use thiserror::Error;

use crate::unit::UnitError;

/// Why a workload has no input: its prompts, documents, conversations or trace.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InputError {
    /// The file is not among those that were read with the manifest.
    #[error("{0} was not read with the manifest")]
    NotRead(Utf8PathBuf),
    /// The file holds nothing of what is needed.
    #[error("{file} holds no {what}")]
    Empty {
        /// The file, as the manifest writes it.
        file: Utf8PathBuf,
        /// What is missing from it.
        what: &'static str,
    },
    /// A line of the file cannot be used.
    #[error("{file}:{line} {problem}")]
    Line {
        /// The file, as the manifest writes it.
        file: Utf8PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        problem: LineProblem,
    },
    /// A time in a trace is infinite or not a number.
    #[error("arrival {number} of {file} has no finite time")]
    NotFinite {
        /// The file, as the manifest writes it.
        file: Utf8PathBuf,
        /// The arrival, counted from 1.
        number: usize,
    },
    /// The workload has no key that names its prompts.
    #[error("no prompts: needs one of prompts, documents, conversations, synthetic or shared_prefix")]
    NoSource,
    /// The workload has several keys that name its prompts.
    #[error("prompts come from {}; keep one of them", .0.join(" and "))]
    SeveralSources(Vec<&'static str>),
}

/// What is wrong with one line of an input file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LineProblem {
    /// A line of a JSONL file is no JSON object.
    #[error("is not a JSON object: {0}")]
    NotAnObject(String),
    /// A line has no prompt.
    #[error("has no text field `{0}`")]
    NoPrompt(String),
    /// A line has no output length.
    #[error("has no number of tokens from 1 up in its field `{0}`")]
    NoLength(String),
    /// A file is no array of conversations.
    #[error("is not a list of conversations: {0}")]
    NotAList(String),
    /// A line is no conversation.
    #[error("is not a conversation: {0}")]
    NotAConversation(String),
    /// A line is no arrival of a trace.
    #[error("is not a line of a trace: {0}")]
    NotAnArrival(String),
}

/// Why a text is no value of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ValueError {
    /// Not a dotted key.
    #[error("{0:?} is not a path; write keys with dots between them, as in server.flags.dtype")]
    NotAPath(String),
    /// Not a percentile and a latency.
    #[error(
        "{0:?} is not a latency target; write a percentile and a metric: p95_ttft, p99_itl, p50_tpot, \"p99.9_e2e\""
    )]
    NotATarget(String),
    /// Neither a time nor `off`.
    #[error("{0}; or write \"off\"")]
    NotAnInterval(UnitError),
    /// Scraping this often would load the server.
    #[error(
        "{0:?} is so often that scraping would load the server; write \"10ms\" or more, \"0s\" or \"off\""
    )]
    TooOften(String),
    /// Not a moment in a server's life.
    #[error("{0:?} is not a moment; write at_request=20 or after=5s")]
    NotAMoment(String),
    /// No moment at all.
    #[error("no moment; write at_request=20 or after=5s")]
    NoMoment,
    /// A moment's time cannot be read.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// Not a fault that answers can have.
    #[error("{word:?} is not a fault of an answer; known are {known}")]
    NotAFault {
        /// The word as written.
        word: String,
        /// All faults.
        known: String,
    },
    /// A fault without a share.
    #[error("{word:?} has no share between 0 and 1; write {fault}=0.1")]
    NotAShare {
        /// The word as written.
        word: String,
        /// The fault in it.
        fault: String,
    },
}
