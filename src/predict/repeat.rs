//! Predicts one repeat of a cell.

use std::path::Path;

use serde::Serialize;

use super::{
    Assumptions, Machine, PredictError,
    forecast::{Forecast, Forecasted},
    prompt,
};
use crate::{
    engine::{Engine, Gauges},
    load::{self, Records},
    manifest::{Inputs, Repeats},
    measure::{self, CellContext, Summary},
    plan::{Cell, Stop},
    workload::{self, Requests},
};

/// What the predictions of a plan's cells have in common.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The files that the manifest names.
    pub inputs: &'a Inputs,
    /// Assumptions about what the manifest does not decide.
    pub assumed: Assumptions,
    /// The folder for records that do not fit in memory.
    pub spill: &'a Path,
}

/// The prediction of one repeat of a cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Predicted {
    /// Its summary.
    pub summary: Summary,
    /// The assumed length of an answer, in tokens.
    pub output_tokens: u64,
    /// How often a running request was preempted because no KV block was free.
    pub preemptions: u64,
}

/// One simulated repeat of a cell.
#[derive(Debug)]
pub struct Simulated {
    /// Its records.
    pub records: Records,
    /// The engine's final state.
    pub gauges: Gauges,
    /// Why the probe of a search ended before its last request.
    pub ended_early: Option<String>,
}

impl Setup<'_> {
    /// Predicts the first repeat of a cell on a machine.
    ///
    /// # Errors
    /// When an input cannot be read, or no schedule of arrivals can be made.
    pub fn predict(&self, cell: &Cell, machine: &Machine) -> Result<Predicted, PredictError> {
        let Simulated { records, gauges, .. } = self.records(cell, machine.engine(), 1)?;
        let summary = measure::summarize(&records, &self.context(cell));
        records.intact()?;
        let output_tokens = self.assumed.output_tokens(cell);
        Ok(Predicted { summary, output_tokens, preemptions: gauges.preemptions })
    }

    /// Runs one repeat of a cell, counted from 1, on an engine.
    ///
    /// # Errors
    /// As [`Setup::predict`].
    pub fn records<E: Engine>(&self, cell: &Cell, engine: E, repeat: u32) -> Result<Simulated, PredictError> {
        let requests = requests(cell, self.inputs, repeat)?;
        let schedule = load::schedule(cell, self.inputs, repeat)?;
        let forecast = Forecast::new(cell, &requests, &schedule, engine, self.assumed, self.spill);
        let Forecasted { records, engine, ended_early } = forecast.run()?;
        Ok(Simulated { records, gauges: engine.gauges(), ended_early })
    }

    /// What a predicted cell's records do not say about themselves. A prediction cannot run with other flags
    /// than its own.
    pub(super) fn context<'c>(&self, cell: &'c Cell) -> CellContext<'c> {
        let inputs = self.inputs.count(&cell.spec);
        CellContext {
            spec: &cell.spec,
            repeats: Repeats::once(),
            start: cell.start(),
            engine_simulated: false,
            // Generated prompts have no end.
            inputs: inputs.map_or(1, |count| count.map_or(usize::MAX, |count| count as usize)),
            flags_confirmed: Some(true),
            max_model_len: None,
            prefix_caching: None,
            client: &[],
            server: None,
        }
    }
}

/// The mean length of a cell's prompts in tokens of the embedded engine, over at most the first 512 requests.
/// For conversations that ask every turn, the mean of their first turns.
///
/// # Errors
/// As [`Setup::predict`].
pub fn mean_prompt_tokens(cell: &Cell, inputs: &Inputs) -> Result<f64, PredictError> {
    const ENOUGH: u64 = 512;
    let requests = requests(cell, inputs, 1)?;
    let planned = match cell.stop {
        Stop::Requests(requests) => requests + cell.spec.warmup,
        Stop::Duration(_) => ENOUGH,
    };
    let counted = planned.clamp(1, ENOUGH);
    let length = |index: u64| {
        let conversation = requests.are_turns().then(|| requests.begin(index));
        let request = requests.turn(conversation.as_ref(), index);
        prompt::tokens(&request.body).len() as u64
    };
    let sum: u64 = (0..counted).map(length).sum();
    Ok(sum as f64 / counted as f64)
}

/// The requests of one repeat of a cell, counted from 1.
fn requests(cell: &Cell, inputs: &Inputs, repeat: u32) -> Result<Requests, PredictError> {
    const MODEL: &str = "model";
    if workload::needs_vocabulary(&cell.spec) {
        let vocabulary = prompt::vocabulary(&cell.spec, MODEL)?;
        return Ok(workload::generated_requests(cell, inputs, &vocabulary, MODEL, repeat)?);
    }
    Ok(workload::requests(cell, inputs, MODEL, repeat)?)
}
