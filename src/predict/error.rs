//! Why something could not be predicted or calibrated.

use camino::Utf8PathBuf;

use crate::{
    load::LoadError,
    workload::{RequestError, VocabularyError},
};

/// Why something could not be predicted or calibrated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PredictError {
    /// One cell of the plan failed.
    #[error("{cell} cannot be predicted: {source}")]
    Cell {
        /// The cell's id.
        cell: String,
        /// What failed.
        source: Box<PredictError>,
    },
    /// The cell's requests could not be built.
    #[error(transparent)]
    Requests(#[from] RequestError),
    /// The cell's schedule or records could not be made.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// No request of the cell would complete, so its duration is unknown.
    #[error("no request would complete")]
    NoRequestCompletes,
    /// A search asks for a probe that makes no valid cell.
    #[error("the next probe of the search {search} makes no valid cell\n{findings}")]
    Probe {
        /// The search's id.
        search: String,
        /// What is wrong with it, rendered.
        findings: String,
    },
    /// A search asks for a probe that it has.
    #[error("the search {search} asks for the same probe twice (this is a bug, please report it)")]
    Repeats {
        /// The search's id.
        search: String,
    },
    /// The server of a probe has no known GPU or model.
    #[error("the server {server} of a search cannot be predicted\n{findings}")]
    Unplaced {
        /// The server's id.
        server: String,
        /// Why, rendered.
        findings: String,
    },
    /// The plan has no server.
    #[error("the plan has no server, so there is nothing to predict")]
    NoServer,
    /// The run's numbers are of no use for a comparison or a calibration.
    #[error("{folder} {why}")]
    NotMeasured {
        /// The run folder.
        folder: Utf8PathBuf,
        /// What kind of run it is, and what follows from that.
        why: &'static str,
    },
    /// No selected cell of the run was measured.
    #[error("no selected cell of the run was measured, so there is nothing to fit constants to")]
    NothingToFit,
    /// The measured cells lack latencies or throughputs.
    #[error("no cell of the run has both a latency and a throughput")]
    NoNumbers,
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: Utf8PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is not a calibration.
    #[error("{path} is not a calibration file, which `runner calibrate` writes: {source}")]
    Calibration {
        /// The file.
        path: Utf8PathBuf,
        /// Where it does not match the format.
        source: Box<toml::de::Error>,
    },
    /// A calibration was written by a newer version of this tool.
    #[error("{path} has format {found}, newer than {known}, the newest that this version reads")]
    Format {
        /// The file.
        path: Utf8PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that is known.
        known: u32,
    },
    /// The run's prompts are not where they were.
    #[error("cannot read the run's prompts through {path}; name its manifest with --manifest\n{findings}")]
    Prompts {
        /// The manifest that was tried.
        path: Utf8PathBuf,
        /// What is wrong with it, rendered.
        findings: String,
    },
}

impl From<VocabularyError> for PredictError {
    fn from(error: VocabularyError) -> Self {
        Self::Requests(error.into())
    }
}
