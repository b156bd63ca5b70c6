//! Predictions of cells, to be laid beside what is measured of them.
//!
//! Where answers end by themselves nobody knows beforehand how long they are; once they are measured, the prediction takes their
//! mean length. What is left then is an error of the model, and not of an assumption.

use std::{collections::BTreeMap, path::Path};

use jiff::Timestamp;

use super::{
    Assumptions, Machine, Placed,
    basis::rounded,
    cells::{self, on_all_cores},
    repeat_records, summary,
};
use crate::{
    manifest::{Inputs, Output},
    measure::{self, CellOutcome},
    plan::{Cell, Plan, Stop},
    store::{
        AnswersFrom, Basis, CellFile, FORMAT, PredictedCell, PredictedServer, Predictions, ServerFile, Tool,
    },
    unit::TimeSpan,
};

/// Of a longer cell so many requests are predicted, and so many seconds: it is to cost a measured run nothing.
const REQUESTS: u64 = 20_000;
const SECONDS: u64 = 600;
/// A measured length within this part of the assumed one is the assumed one.
const SAME_LENGTH: f64 = 0.005;

/// What predictions beside a run are made of.
pub struct Beside<'a> {
    /// The run's plan.
    pub plan: &'a Plan,
    /// Its servers, by their groups' ids; cells of others are not predicted.
    pub placed: &'a BTreeMap<String, Placed>,
    /// The files that the manifest names.
    pub inputs: &'a Inputs,
    /// What it all rests on.
    pub basis: Basis,
    /// What is assumed where nothing was measured yet.
    pub assumed: Assumptions,
    /// The cells that were measured.
    pub measured: &'a [CellFile],
    /// Earlier predictions, which stay as far as they rest on the same.
    pub earlier: Option<&'a Predictions>,
    /// Where records go that memory shall not hold.
    pub spill: &'a Path,
}

/// Predicts every cell that is not there yet, or whose answers turned out to have another length. `go_on` is asked before each;
/// once it says no the others are missing, and a sentence says so.
pub fn beside(with: &Beside<'_>, go_on: &(dyn Fn() -> bool + Sync)) -> Predictions {
    let mut all = Predictions {
        format: FORMAT,
        tool: Tool::this(),
        basis: with.basis.clone(),
        servers: BTreeMap::new(),
        cells: BTreeMap::new(),
        missing: Vec::new(),
    };
    let earlier = with.earlier.filter(|earlier| earlier.basis == with.basis);
    let mut work: Vec<(&Cell, &Placed, ServerFile)> = Vec::new();
    for group in &with.plan.groups {
        let Some(placed) = with.placed.get(&group.id) else {
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
    let measured: BTreeMap<&str, f64> =
        with.measured.iter().filter_map(|cell| Some((cell.id.as_str(), mean_output(cell)?))).collect();
    let done = on_all_cores(&work, |(cell, placed, server)| {
        let known = earlier.and_then(|earlier| earlier.cells.get(&cell.id));
        if !go_on() {
            // What is there already is better than nothing.
            return known.cloned().ok_or(None);
        }
        let length = measured.get(cell.id.as_str()).copied();
        match &placed.machine {
            Err(_) => Ok(unstarted(cell, server)),
            Ok(machine) => with.one(cell, machine, known, length).map_err(Some),
        }
    });
    let mut given_up = 0;
    for ((cell, ..), result) in work.iter().zip(done) {
        match result {
            Ok(predicted) => {
                all.cells.insert(cell.id.clone(), predicted);
            }
            Err(None) => given_up += 1,
            Err(Some(why)) => all.missing.push(format!("{} was not predicted: {why}", cell.id)),
        }
    }
    if given_up > 0 {
        all.missing.push(format!(
            "{given_up} of {} cells were not predicted: it would have taken too long; `runner predict` with the run does it",
            work.len()
        ));
    }
    all
}

/// Mean length of a cell's answers, tokens.
fn mean_output(cell: &CellFile) -> Option<f64> {
    let summary = cell.summary.as_ref()?;
    let completed = summary.counts.completed;
    Some(summary.output_tokens? as f64 / completed as f64).filter(|mean| *mean > 0.0)
}

impl Beside<'_> {
    fn one(
        &self,
        cell: &Cell,
        machine: &Machine,
        known: Option<&PredictedCell>,
        measured: Option<f64>,
    ) -> Result<PredictedCell, String> {
        let natural = cell.spec.output == Output::Natural;
        let measured = measured.filter(|_| natural);
        let stays = known.filter(|known| match (known.answers_from, measured) {
            (AnswersFrom::Measured, Some(length)) => {
                known.output_tokens.is_some_and(|taken| is_same(taken, length))
            }
            (AnswersFrom::Assumed, None) | (AnswersFrom::Exact, _) => true,
            _ => false,
        });
        if let Some(known) = stays {
            return Ok(known.clone());
        }
        let from = if natural { AnswersFrom::Assumed } else { AnswersFrom::Exact };
        let first = self.predicted(cell, machine, self.assumed, from)?;
        let (Some(length), Some(taken)) = (measured, first.output_tokens) else {
            return Ok(first);
        };
        if is_same(taken, length) {
            return Ok(PredictedCell { answers_from: AnswersFrom::Measured, ..first });
        }
        let assumed =
            Assumptions { answers: (self.assumed.answers * length / taken).clamp(1e-6, 1.0), ..self.assumed };
        self.predicted(cell, machine, assumed, AnswersFrom::Measured)
    }

    fn predicted(
        &self,
        cell: &Cell,
        machine: &Machine,
        assumed: Assumptions,
        answers_from: AnswersFrom,
    ) -> Result<PredictedCell, String> {
        let shorter = Cell {
            stop: match cell.stop {
                Stop::Requests(requests) => Stop::Requests(requests.min(REQUESTS)),
                Stop::Duration(span) => {
                    let most = std::time::Duration::from_secs(SECONDS);
                    Stop::Duration(TimeSpan::from(span.duration().min(most)))
                }
            },
            ..cell.clone()
        };
        let (records, gauges) =
            repeat_records(&shorter, self.inputs, machine.engine(), assumed, self.spill, 1)?;
        let summary = summary(&shorter, self.inputs, &records);
        records.intact().map_err(|error| error.to_string())?;
        let completed = summary.counts.completed;
        let mean = |sum: Option<u64>| {
            sum.filter(|_| completed > 0).map(|sum| rounded(sum as f64 / completed as f64))
        };
        let outcome = measure::outcome(&summary);
        let errors = measure::common_errors(std::slice::from_ref(&records));
        Ok(PredictedCell {
            outcome,
            reason: errors
                .first()
                .filter(|_| outcome != CellOutcome::Ok)
                .map(|(error, count)| format!("{count} × {error}")),
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
                .filter(|(looked, _)| *looked > 0)
                .map(|(looked, found)| rounded(found as f64 / looked as f64)),
        })
    }
}

/// A cell whose server would not start.
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
    }
}

/// The length that was taken is rounded up to whole tokens in every request.
fn is_same(taken: f64, measured: f64) -> bool {
    (taken - measured).abs() <= (SAME_LENGTH * measured).max(1.0)
}
