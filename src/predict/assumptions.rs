//! Assumptions about what the manifest does not decide.

use super::Calibration;
use crate::{manifest::Output, plan::Cell};

/// Assumptions about what the manifest does not decide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assumptions {
    /// Length of answers that end by themselves, as a fraction of `max_tokens`.
    pub answers: f64,
    /// Prompt tokens by the server's tokenizer, per token of the embedded engine's.
    pub prompts: f64,
}

impl Default for Assumptions {
    /// Answers of `max_tokens` tokens, and prompts as long as the embedded engine counts them.
    fn default() -> Self {
        Self { answers: 1.0, prompts: 1.0 }
    }
}

impl Assumptions {
    /// Answers of a fraction of `max_tokens`, and the prompts' length by a calibration if there is one.
    pub fn with(answers: f64, calibration: Option<&Calibration>) -> Self {
        Self { answers, prompts: calibration.map_or(1.0, |calibration| calibration.prompts) }
    }

    /// The length of a cell's answers, in tokens.
    pub fn output_tokens(&self, cell: &Cell) -> u64 {
        self.answer_tokens(cell, cell.max_tokens)
    }

    /// The length of an answer that may have `max_tokens` tokens.
    pub(super) fn answer_tokens(&self, cell: &Cell, max_tokens: u32) -> u64 {
        match cell.spec.output {
            Output::Exact => u64::from(max_tokens),
            Output::Natural => (f64::from(max_tokens) * self.answers).ceil() as u64,
        }
    }
}
