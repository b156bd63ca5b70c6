//! The constants of one machine, fitted to a measured run.

use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use super::PredictError;
use crate::engine::Speed;

pub(super) const FORMAT: u32 = 1;

/// The file that `runner calibrate` writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// The version of this format.
    pub format: u32,
    /// The run it was fitted to.
    pub run: String,
    /// The hardware it holds for.
    pub hardware: String,
    /// The model that was measured.
    pub model: String,
    /// The number of cells it was fitted to.
    pub cells: usize,
    /// The ids of these cells, which cannot be used to test it.
    #[serde(default)]
    pub fitted: Vec<String>,
    /// Prompt tokens by the server's tokenizer, per token of the embedded engine's.
    pub prompts: f64,
    /// Median absolute error of the fitted cells' p50 E2E, as a fraction.
    pub median_e2e_error: f64,
    /// Largest absolute error of the fitted cells' p50 E2E, as a fraction.
    pub largest_e2e_error: f64,
    /// Median absolute error of the fitted cells' throughput, as a fraction.
    pub median_throughput_error: f64,
    /// The constants.
    pub speed: Speed,
}

impl Calibration {
    /// Reads a file that `runner calibrate` wrote.
    ///
    /// # Errors
    /// When the file cannot be read, is not a calibration, or has a newer format.
    pub fn read(path: &Utf8Path) -> Result<Self, PredictError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| PredictError::Read { path: path.to_owned(), source })?;
        let calibration: Self = toml::from_str(&text).map_err(|source| PredictError::Calibration {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        match calibration.format {
            found if found > FORMAT => {
                Err(PredictError::Format { path: path.to_owned(), found, known: FORMAT })
            }
            _ => Ok(calibration),
        }
    }
}
