//! Predicts the cells of a measured run, to be stored beside its measurements.
//!
//! The length of answers that end by themselves is assumed until the cell is measured, and then taken from
//! the measurement. What differs after that is an error of the model, not of the assumption.

use std::{collections::BTreeMap, path::Path, time::Duration};

use jiff::Timestamp;

use super::{
    Accuracy, Assumptions, Machine, Placed, PredictError, Setup, Simulated, basis::rounded, cells,
    interval::intervals, parallel::on_all_cores,
};
use crate::{
    manifest::{Inputs, Output},
    measure::{self, CellOutcome, Metric},
    plan::{Cell, Plan, Stop},
    store::{
        AnswersFrom, Basis, CellFile, FORMAT, PredictedCell, PredictedServer, Predictions, ServerFile,
        StoredRun, Tool,
    },
    unit::TimeSpan,
};

/// The most requests, and the longest duration, that are predicted of a cell, so that predicting costs a run
/// almost nothing.
const MOST_REQUESTS: u64 = 20_000;
const LONGEST: Duration = Duration::from_secs(600);
/// The numbers of a [`PredictedCell`] that have an interval.
const PREDICTED: [Metric; 4] = [Metric::P50_TTFT, Metric::P50_TPOT, Metric::P50_E2E, Metric::OUTPUT];
/// Relative difference below which a measured answer length counts as the assumed one.
const SAME_LENGTH: f64 = 0.005;

/// A measured run to predict.
pub struct MeasuredRun<'a> {
    /// The run's plan.
    pub plan: &'a Plan,
    /// Its servers by the ids of their groups. Cells of other servers are not predicted.
    pub placed: &'a BTreeMap<String, Placed>,
    /// The files that the manifest names.
    pub inputs: &'a Inputs,
    /// What the predictions rest on.
    pub basis: Basis,
    /// Assumptions for cells that are not measured yet.
    pub assumed: Assumptions,
    /// The cells that were measured.
    pub measured: &'a [CellFile],
    /// Earlier predictions, reused where they have the same basis.
    pub earlier: Option<&'a Predictions>,
    /// The folder for records that do not fit in memory.
    pub spill: &'a Path,
}

/// Checks that a run was measured on a real engine, from a plan.
///
/// # Errors
/// When it was predicted, imported or simulated.
pub fn check_measured(stored: &StoredRun) -> Result<(), PredictError> {
    let run = &stored.run;
    let why = if run.predicted.is_some() {
        "was predicted itself, so it has no measurements to compare a prediction with"
    } else if run.imported.is_some() {
        "was imported, so its requests are unknown; predict a manifest that sends the same requests, with --against and this run"
    } else if run.simulated {
        "was simulated, so nothing in it was measured on a real engine"
    } else {
        return Ok(());
    };
    Err(PredictError::NotMeasured { folder: stored.folder.clone(), why })
}

impl MeasuredRun<'_> {
    /// Predicts every cell that has no prediction yet, or whose answers turned out to have another length.
    /// `may_continue` is asked before each cell; once it returns false, the rest is listed in
    /// [`Predictions::missing`].
    pub fn predict(&self, may_continue: &(dyn Fn() -> bool + Sync)) -> Predictions {
        let mut all = Predictions {
            format: FORMAT,
            tool: Tool::this(),
            basis: self.basis.clone(),
            servers: BTreeMap::new(),
            cells: BTreeMap::new(),
            missing: Vec::new(),
        };
        let earlier = self.earlier.filter(|earlier| earlier.basis == self.basis);
        let mut work: Vec<(&Cell, &Placed, ServerFile)> = Vec::new();
        for group in &self.plan.groups {
            let Some(placed) = self.placed.get(&group.id) else {
                continue;
            };
            let server = cells::server(group, placed, Timestamp::UNIX_EPOCH);
            all.servers.insert(
                group.id.clone(),
                PredictedServer {
                    outcome: server.outcome,
                    reason: server.reason.clone(),
                    kv_cache_tokens: server.facts.kv_cache_tokens,
                },
            );
            let cells = group.cells.iter().filter(|cell| cell.skip.is_none());
            work.extend(cells.map(|cell| (cell, placed, server.clone())));
        }
        let measured = self.measured.iter();
        let lengths: BTreeMap<&str, f64> =
            measured.filter_map(|cell| Some((cell.id.as_str(), mean_output(cell)?))).collect();
        let done = on_all_cores(&work, |(cell, placed, server)| {
            let known = earlier.and_then(|earlier| earlier.cells.get(&cell.id));
            if !may_continue() {
                // An old prediction is better than none.
                return known.cloned().ok_or(None);
            }
            let length = lengths.get(cell.id.as_str()).copied();
            match &placed.machine {
                Err(_) => Ok(unstarted(cell, server)),
                Ok(_) if cell.is_start_only() => {
                    Ok(PredictedCell { outcome: CellOutcome::Started, ..unstarted(cell, server) })
                }
                Ok(machine) => self.cell(cell, machine, known, length).map_err(Some),
            }
        });
        let mut left_out = 0;
        for ((cell, ..), result) in work.iter().zip(done) {
            match result {
                Ok(predicted) => {
                    all.cells.insert(cell.id.clone(), predicted);
                }
                Err(None) => left_out += 1,
                Err(Some(why)) => all.missing.push(format!("{} was not predicted: {why}", cell.id)),
            }
        }
        if left_out > 0 {
            all.missing.push(format!(
                "{left_out} of {} cells were not predicted because it would have delayed the run; `runner predict RUN` predicts them",
                work.len()
            ));
        }
        all
    }

    fn cell(
        &self,
        cell: &Cell,
        machine: &Machine,
        known: Option<&PredictedCell>,
        measured: Option<f64>,
    ) -> Result<PredictedCell, PredictError> {
        let natural = cell.spec.output == Output::Natural;
        let measured = measured.filter(|_| natural);
        let is_current = |known: &&PredictedCell| match (known.answers_from, measured) {
            (AnswersFrom::Measured, Some(length)) => {
                known.output_tokens.is_some_and(|assumed| is_same_length(assumed, length))
            }
            (AnswersFrom::Assumed, None) | (AnswersFrom::Exact, _) => true,
            _ => false,
        };
        if let Some(known) = known.filter(is_current) {
            return Ok(known.clone());
        }
        let from = if natural { AnswersFrom::Assumed } else { AnswersFrom::Exact };
        let first = self.predict_cell(cell, machine, self.assumed, from)?;
        let (Some(length), Some(assumed)) = (measured, first.output_tokens) else {
            return Ok(first);
        };
        if is_same_length(assumed, length) {
            return Ok(PredictedCell { answers_from: AnswersFrom::Measured, ..first });
        }
        let answers = (self.assumed.answers * length / assumed).clamp(1e-6, 1.0);
        self.predict_cell(cell, machine, Assumptions { answers, ..self.assumed }, AnswersFrom::Measured)
    }

    fn predict_cell(
        &self,
        cell: &Cell,
        machine: &Machine,
        assumed: Assumptions,
        answers_from: AnswersFrom,
    ) -> Result<PredictedCell, PredictError> {
        let shorter = Cell {
            stop: match cell.stop {
                Stop::Requests(requests) => Stop::Requests(requests.min(MOST_REQUESTS)),
                Stop::Duration(span) => Stop::Duration(TimeSpan::from(span.duration().min(LONGEST))),
            },
            ..cell.clone()
        };
        let setup = Setup { inputs: self.inputs, assumed, spill: self.spill };
        let Simulated { records, gauges, .. } = setup.records(&shorter, machine.engine(), 1)?;
        let summary = measure::summarize(&records, &setup.context(&shorter));
        records.intact()?;
        let completed = summary.counts.completed;
        let mean = |sum: Option<u64>| {
            sum.filter(|_| completed > 0).map(|sum| rounded(sum as f64 / completed as f64))
        };
        let outcome = measure::outcome(&summary);
        let errors = measure::common_errors(std::slice::from_ref(&records));
        Ok(PredictedCell {
            outcome,
            reason: measure::reason(outcome, &errors),
            answers_from,
            output_tokens: mean(summary.output_tokens),
            prompt_tokens: mean(summary.input_tokens),
            p50_ttft_ms: summary.ttft.as_ref().map(|latency| rounded(latency.p50_ms)),
            p50_tpot_ms: summary.tpot.as_ref().map(|latency| rounded(latency.p50_ms)),
            p50_e2e_ms: summary.e2e.as_ref().map(|latency| rounded(latency.p50_ms)),
            throughput_tok_s: summary.throughput_tok_s.map(rounded),
            preemptions: Some(gauges.preemptions),
            prefix_hit_rate: gauges
                .prefix
                .filter(|(queried, _)| *queried > 0)
                .map(|(queried, hit)| rounded(hit as f64 / queried as f64)),
            intervals: intervals(Accuracy::of(&self.basis), |metric| {
                PREDICTED.contains(&metric).then(|| metric.of(&summary))?
            }),
        })
    }
}

/// The mean length of a cell's answers, in tokens.
fn mean_output(cell: &CellFile) -> Option<f64> {
    let summary = cell.summary.as_ref()?;
    let completed = summary.counts.completed;
    Some(summary.output_tokens? as f64 / completed as f64).filter(|mean| *mean > 0.0)
}

/// The prediction of a cell without numbers, whose server would not start.
fn unstarted(cell: &Cell, server: &ServerFile) -> PredictedCell {
    PredictedCell {
        outcome: CellOutcome::of_start(server.outcome),
        reason: server.reason.clone(),
        answers_from: match cell.spec.output {
            Output::Exact => AnswersFrom::Exact,
            Output::Natural => AnswersFrom::Assumed,
        },
        output_tokens: None,
        prompt_tokens: None,
        p50_ttft_ms: None,
        p50_tpot_ms: None,
        p50_e2e_ms: None,
        throughput_tok_s: None,
        preemptions: None,
        prefix_hit_rate: None,
        intervals: BTreeMap::new(),
    }
}

/// Whether two lengths are the same; assumed lengths are rounded up to whole tokens in every request.
fn is_same_length(assumed: f64, measured: f64) -> bool {
    (assumed - measured).abs() <= (SAME_LENGTH * measured).max(1.0)
}
