//! Cells and hardware → summaries, in virtual time: what a run would measure, before anything is rented.
//!
//! A cell's own requests arrive by its own schedule at the model of vLLM, and their stamps go through the same
//! [`crate::measure`] as measured ones. What comes out is predicted, says so, and is never ranked with what was measured.

mod against;
mod basis;
mod beside;
mod calibrate;
mod cells;
mod forecast;
mod machine;
mod prompt;
mod run;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::Serialize;

use crate::{
    engine::{Engine, Gauges},
    load::{self, Records},
    manifest::{Inputs, Output},
    measure::{self, CellContext, Summary},
    plan::{Cell, Stop},
    workload::{self, Requests},
};

pub use against::{Against, Comparison, Measured};
pub use basis::basis;
pub use beside::{Beside, beside};
pub use calibrate::{Calibration, Fitted, calibrate};
pub use machine::{Machine, Placed, gpu_of};
pub use run::{Told, stored};

use forecast::Forecast;

/// What is assumed where the manifest does not say it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assumptions {
    /// How long answers are that end by themselves, as part of `max_tokens`.
    pub answers: f64,
    /// The server's tokens of a prompt for each of the embedded engine's.
    pub prompts: f64,
}

impl Default for Assumptions {
    /// Answers as long as they may be, prompts as long as the embedded engine counts them.
    fn default() -> Self {
        Self { answers: 1.0, prompts: 1.0 }
    }
}

impl Assumptions {
    /// Tokens of a cell's answers, as assumed.
    pub fn output_tokens(&self, cell: &Cell) -> u64 {
        match cell.spec.output {
            Output::Exact => u64::from(cell.max_tokens),
            Output::Natural => (f64::from(cell.max_tokens) * self.answers).ceil() as u64,
        }
    }
}

/// What a cell would measure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Predicted {
    /// Its summary.
    pub summary: Summary,
    /// Tokens of an answer, as assumed.
    pub output_tokens: u64,
    /// Turns that were taken back because no KV block was left.
    pub preemptions: u64,
}

/// Predicts one repeat of a cell on a machine.
///
/// # Errors
/// A sentence when an input cannot be read, or a schedule cannot be made.
pub fn predict(
    cell: &Cell,
    inputs: &Inputs,
    machine: &Machine,
    assumed: Assumptions,
    spill: &Path,
) -> Result<Predicted, String> {
    let (records, gauges) = records(cell, inputs, machine.engine(), assumed, spill)?;
    let summary = summary(cell, inputs, &records);
    records.intact().map_err(|error| error.to_string())?;
    Ok(Predicted { summary, output_tokens: assumed.output_tokens(cell), preemptions: gauges.preemptions })
}

/// The summary of one predicted repeat.
fn summary(cell: &Cell, inputs: &Inputs, records: &Records) -> Summary {
    let asked = CellContext {
        spec: &cell.spec,
        start: cell.start(),
        engine_simulated: true,
        inputs: inputs.count(&cell.spec).map_or(1, |count| count.map_or(usize::MAX, |count| count as usize)),
        flags_confirmed: None,
        max_model_len: None,
        prefix_caching: None,
        client: &[],
        server: None,
    };
    measure::summarize(records, &asked)
}

/// About how long one repeat of a cell takes, seconds: of many requests the first few thousand are predicted, and the others
/// taken for as long.
///
/// # Errors
/// As [`predict`].
pub fn duration_s(cell: &Cell, inputs: &Inputs, machine: &Machine, spill: &Path) -> Result<f64, String> {
    const ENOUGH: u64 = 2000;
    let requests = match cell.stop {
        Stop::Duration(span) => return Ok(span.duration().as_secs_f64()),
        Stop::Requests(requests) => requests,
    };
    let some = requests.min(ENOUGH.max(4 * u64::from(cell.spec.streams().unwrap_or(0))));
    let shorter = Cell { stop: Stop::Requests(some), ..cell.clone() };
    let predicted = predict(&shorter, inputs, machine, Assumptions::default(), spill)?;
    let window = predicted.summary.window.ok_or("no request would end")?;
    Ok(window.length_s * requests as f64 / some as f64)
}

/// Mean length of a cell's prompts, tokens, as the embedded engine counts them: of many requests the first few hundred. Of
/// conversations whose turns are all asked, that of their first turns.
///
/// # Errors
/// As [`predict`].
pub fn mean_prompt_tokens(cell: &Cell, inputs: &Inputs) -> Result<f64, String> {
    const ENOUGH: u64 = 512;
    let requests = requests(cell, inputs, 1)?;
    let asked = match cell.stop {
        Stop::Requests(requests) => requests + cell.spec.warmup,
        Stop::Duration(_) => ENOUGH,
    };
    let some = asked.clamp(1, ENOUGH);
    let length = |index: u64| {
        let request = match requests.are_turns() {
            true => requests.turn(&requests.begin(index), index),
            false => requests.get(index),
        };
        prompt::tokens(&request.body).len() as u64
    };
    let sum: u64 = (0..some).map(length).sum();
    Ok(sum as f64 / some as f64)
}

/// The records of one repeat of a cell on an engine, and what the engine held at the end.
///
/// # Errors
/// As [`predict`].
pub fn records<E: Engine>(
    cell: &Cell,
    inputs: &Inputs,
    engine: E,
    assumed: Assumptions,
    spill: &Path,
) -> Result<(Records, Gauges), String> {
    repeat_records(cell, inputs, engine, assumed, spill, 1)
}

/// The same of a repeat, counted from 1.
fn repeat_records<E: Engine>(
    cell: &Cell,
    inputs: &Inputs,
    engine: E,
    assumed: Assumptions,
    spill: &Path,
    repeat: u32,
) -> Result<(Records, Gauges), String> {
    let requests = requests(cell, inputs, repeat)?;
    let schedule = load::schedule(cell, inputs, repeat).map_err(|error| error.to_string())?;
    let forecast = Forecast::new(cell, &requests, &schedule, engine, assumed, spill);
    let (records, engine) = forecast.run()?;
    Ok((records, engine.gauges()))
}

/// What a cell asks in a repeat, counted from 1.
fn requests(cell: &Cell, inputs: &Inputs, repeat: u32) -> Result<Requests, String> {
    const MODEL: &str = "model";
    if workload::needs_vocabulary(&cell.spec) {
        let vocabulary = prompt::vocabulary(&cell.spec, MODEL)?;
        return workload::made_requests(cell, inputs, &vocabulary, MODEL, repeat);
    }
    workload::requests(cell, inputs, MODEL, repeat)
}
