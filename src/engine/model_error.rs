//! Why a server cannot be modelled.

/// What an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The GPU.
    Gpu,
    /// The model's dimensions.
    Model,
    /// The value of a flag.
    Flags,
}

/// Why a server cannot be modelled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{title}")]
pub struct ModelError {
    /// What it is about.
    pub subject: Subject,
    /// What is unknown, in one sentence.
    pub title: String,
    /// What to do next, one line each.
    pub help: Vec<String>,
}
