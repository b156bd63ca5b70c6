//! Errors of the values and files that a manifest names.

use std::error::Error;

use camino::{Utf8Path, Utf8PathBuf};

use crate::unit::UnitError;

/// Why a workload has no input: its prompts, documents, conversations or trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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

impl InputError {
    /// The error for a line that is not what is expected.
    pub(super) fn unreadable(file: &Utf8Path, line: u64, expected: &'static str, error: &dyn Error) -> Self {
        let problem = LineProblem::Unreadable { expected, reason: error.to_string() };
        Self::Line { file: file.to_owned(), line, problem }
    }
}

/// What is wrong with one line of an input file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineProblem {
    /// It cannot be parsed.
    #[error("is not {expected}: {reason}")]
    Unreadable {
        /// What it should be.
        expected: &'static str,
        /// The parser's message.
        reason: String,
    },
    /// A line has no prompt.
    #[error("has no text field `{0}`")]
    NoPrompt(String),
    /// A line has no output length.
    #[error("has no number of tokens from 1 up in its field `{0}`")]
    NoLength(String),
}

/// Why a text is no value of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not a dotted key.
    #[error("{0:?} is not a path; write keys with dots between them, as in server.flags.dtype")]
    NotAPath(String),
    /// Not a percentile and a latency.
    #[error(
        "{0:?} is not a latency target; write a percentile and a metric: p95_ttft, p99_itl, p50_tpot, \"p99.9_e2e\""
    )]
    NotATarget(String),
    /// Not the name of a metric.
    #[error(
        "{0:?} is not a metric; write a percentile or the mean of a latency (p95_ttft, mean_e2e), or a rate (throughput, goodput)"
    )]
    NotAMetric(String),
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
