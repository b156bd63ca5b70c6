//! Why a run cannot start or go on.

use camino::Utf8PathBuf;

use crate::{diagnostic::Findings, store::StoreError};

/// Why a run cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The results cannot be stored, or a stored run cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored run was measured elsewhere; each difference is a line.
    #[error(
        "the stored run was measured on another machine or engine, so new measurements cannot be added to it:\n  {}\nto start a new run, leave out --resume",
        .0.join("\n  ")
    )]
    Fingerprint(Vec<String>),
    /// There is no run of that name.
    #[error(
        "there is no run {name} in {folder}; to start a run of that name, or continue it: --name {name} --resume"
    )]
    NoSuchRun {
        /// The name that was given.
        name: String,
        /// The folder of the experiment's runs.
        folder: Utf8PathBuf,
    },
    /// The stored run holds no measurements of this tool.
    #[error(
        "{folder} was {origin}, so there are no measurements to continue; to start a new run, choose another --name and leave out --resume"
    )]
    NotMeasured {
        /// The run's folder.
        folder: Utf8PathBuf,
        /// `predicted` or `imported`.
        origin: &'static str,
    },
    /// A value of a search makes no valid cell.
    #[error("search `{search}`: {}", .findings.render(false))]
    Probe {
        /// The search's id.
        search: String,
        /// What is wrong.
        findings: Findings,
    },
    /// The resolved manifest cannot be written as TOML.
    #[error("cannot write the resolved manifest: {0}")]
    Manifest(#[from] toml::ser::Error),
    /// The person interrupted the run before anything was started.
    #[error("interrupted before anything was started; nothing was stored")]
    Interrupted,
}
