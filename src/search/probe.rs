//! [`Probe`]: what one measured value says about the question of its search.

use serde_json::Value;

use super::{
    ratio::Ratio,
    trust::{invalid, trusted},
};
use crate::{
    manifest::{SearchObjective, That},
    measure::{CellOutcome, Metric, Rate},
    plan::{Cell, Goal, Group, Search, Stop},
    server::ServerOutcome,
    store::{CellFile, ServerFile, StoredRun},
};

/// One value of a search that was measured: all its cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// The value of each axis of the search.
    pub values: Vec<Value>,
    /// Ids of its cells.
    pub cells: Vec<String>,
    /// What it says.
    pub evidence: Evidence,
    /// Requests that were sent, warm-up included.
    pub requests: u64,
    /// Requests that were planned at most, warm-up included.
    pub planned: u64,
    /// Id of its server.
    pub server: String,
    /// Whether a server was started for it; of the probes that share one, the first.
    pub started: bool,
    /// Whether its result was clear before its last request.
    pub ended_early: bool,
}

/// What a search measures next.
#[derive(Clone, Debug, PartialEq)]
pub struct Next {
    /// The value of each axis of the search.
    pub values: Vec<Value>,
    /// Which measurement of these values it is, from 1.
    pub attempt: u32,
}

/// What a probe says.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// It was measured under load: how far the binding SLO term is from its limit, and the objectives.
    Measured(Ratio),
    /// For the best server: the server ran every workload.
    Scored(Score),
    /// The server does what the search asks for.
    Works,
    /// The server does not: `binding` is the outcome and where it ended, such as `oom at start (weights)`.
    /// `hint` is the largest value that would fit, in the engine's own words, where its log has it.
    Fails {
        /// Why.
        binding: String,
        /// The largest value that would fit, as the engine's log says.
        hint: Option<f64>,
    },
    /// It says nothing: a verdict, or an outcome that has nothing to do with the question. Never a bound.
    Invalid(String),
}

/// What a server reached that a search for the best one tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// The objective, in its own unit, whether or not the SLOs were met; absent where it could not be measured.
    pub objective: Option<f64>,
    /// p95 TTFT of the first workload that has one, milliseconds.
    pub p95_ttft_ms: Option<f64>,
    /// Output tokens per second, summed over workloads.
    pub throughput_tok_s: Option<f64>,
    /// The SLO term that is closest to its limit, or farthest beyond it, over all workloads; absent where no
    /// workload has an SLO. A server with a positive `log` does not meet its SLOs.
    pub slo: Option<Ratio>,
}

impl Score {
    /// Whether every SLO was met.
    pub fn meets_slo(&self) -> bool {
        self.slo.as_ref().is_none_or(|ratio| ratio.log <= 0.0)
    }
}

/// The stored probes of a search, in the order they were measured. A probe that lacks a cell is left out.
///
/// `users` returns the most load that a candidate for the best server carries, by the search of its own; `None`
/// while that goes on.
pub(super) fn probes(
    run: &StoredRun,
    search: &Search,
    users: &dyn Fn(&Group) -> Option<Users>,
) -> Vec<Probe> {
    let mut found: Vec<(Vec<Value>, u32, &Group, Vec<&Cell>)> = Vec::new();
    for group in &run.plan.groups {
        for cell in group.cells.iter().filter(|cell| cell.search.as_ref() == Some(&search.id)) {
            let Some(values) = values(search, group, cell) else { continue };
            let attempt = cell.attempt.unwrap_or(1);
            match found.iter_mut().find(|(known, number, ..)| *known == values && *number == attempt) {
                Some((.., cells)) => cells.push(cell),
                None => found.push((values, attempt, group, vec![cell])),
            }
        }
    }
    let mut probes: Vec<(jiff::Timestamp, Probe)> = found
        .into_iter()
        .filter_map(|(values, attempt, group, cells)| {
            let stored: Vec<&CellFile> = cells
                .iter()
                .map(|cell| run.cells.iter().find(|stored| stored.id == cell.id))
                .collect::<Option<_>>()?;
            let at = stored.iter().map(|cell| cell.started_at).min()?;
            let server = run.servers.iter().find(|server| server.id == group.id);
            let evidence = match &search.goal {
                Goal::Load { .. } => loaded(stored.first()?, server),
                Goal::Value { that, .. } => tried(*that, &stored, server),
                Goal::Best { objective, .. } => scored(*objective, &stored, server, || users(group))?,
            };
            let planned = cells.iter().map(|cell| match cell.stop {
                Stop::Requests(requests) if requests > 0 => requests + cell.spec.warmup,
                _ => 0,
            });
            let probe = Probe {
                values,
                server: group.id.clone(),
                evidence,
                requests: requests(run, search, group, &stored),
                planned: planned.sum(),
                started: search.server.is_none() && attempt == 1,
                ended_early: stored.iter().any(|cell| cell.ended_early.is_some()),
                cells: stored.iter().map(|cell| cell.id.clone()).collect(),
            };
            Some((at, probe))
        })
        .collect();
    probes.sort_by_key(|(at, _)| *at);
    let mut probes: Vec<Probe> = probes.into_iter().map(|(_, probe)| probe).collect();
    // Probes of a load share one server; that of a candidate is counted by the search for the best one.
    if let (Some(_), false, Some(first)) = (&search.server, search.is_of_candidate(), probes.first_mut()) {
        first.started = true;
    }
    probes
}

/// The values of a probe's cell on the axes of its search.
fn values(search: &Search, group: &Group, cell: &Cell) -> Option<Vec<Value>> {
    match &search.goal {
        Goal::Load { axis, .. } => Some(vec![cell.load_values().get(axis.key())?.clone()]),
        Goal::Value { column, .. } => Some(vec![group.axes.get(column)?.clone()]),
        Goal::Best { axes, .. } => axes.iter().map(|axis| group.axes.get(&axis.column).cloned()).collect(),
    }
}

/// The requests of a probe, with those of the searches on a candidate for the best server.
fn requests(run: &StoredRun, search: &Search, group: &Group, own: &[&CellFile]) -> u64 {
    match search.goal {
        Goal::Best { objective: SearchObjective::MostUsers, .. } => {
            run.cells.iter().filter(|cell| cell.server == group.id).map(sent).sum()
        }
        _ => own.iter().map(|cell| sent(cell)).sum(),
    }
}

fn sent(cell: &CellFile) -> u64 {
    cell.client_totals.map_or(0, |totals| totals.sent)
}

/// What a cell under load says.
fn loaded(cell: &CellFile, server: Option<&ServerFile>) -> Evidence {
    if let Some(ended) = ended(cell, server) {
        return ended;
    }
    let ratio = cell.summary.as_ref().and_then(|summary| Ratio::of(summary, &cell.slo));
    match ratio {
        None => {
            Evidence::Invalid(invalid(cell).unwrap_or_else(|| "no term of the SLO was measured".to_owned()))
        }
        Some(ratio) => trusted(cell, ratio).map_or_else(Evidence::Invalid, Evidence::Measured),
    }
}

/// What the cells of a server say that had to fit, to survive, or to meet the SLO.
fn tried(that: That, cells: &[&CellFile], server: Option<&ServerFile>) -> Evidence {
    let ends: Vec<Evidence> = cells.iter().filter_map(|cell| ended(cell, server)).collect();
    let fails = |evidence: &&Evidence| matches!(evidence, Evidence::Fails { .. });
    // A failure stands whatever the other cells say.
    if let Some(first) = ends.iter().find(fails).or(ends.first()) {
        return first.clone();
    }
    if that != That::MeetsSlo {
        return Evidence::Works;
    }
    let mut invalid = None;
    for cell in cells.iter().filter(|cell| !cell.slo.0.is_empty()) {
        match loaded(cell, server) {
            Evidence::Measured(ratio) if ratio.log > 0.0 => {
                return Evidence::Fails {
                    binding: format!("{} of {}", ratio.binding, cell.workload),
                    hint: None,
                };
            }
            Evidence::Measured(_) => {}
            other => invalid = Some(other),
        }
    }
    invalid.unwrap_or(Evidence::Works)
}

/// The most load that a server carries, as a search found.
pub(super) enum Users {
    /// This much, which is 0 where no load meets the SLO.
    Most(f64),
    /// The search came to no answer.
    Unknown(String),
}

/// What the cells of a candidate for the best server say; `None` while its own search goes on.
fn scored(
    objective: SearchObjective,
    cells: &[&CellFile],
    server: Option<&ServerFile>,
    users: impl FnOnce() -> Option<Users>,
) -> Option<Evidence> {
    let ends: Vec<Evidence> = cells.iter().filter_map(|cell| ended(cell, server)).collect();
    if let Some(first) = ends.into_iter().next() {
        return Some(first);
    }
    if let Some(reason) = cells.iter().find_map(|cell| invalid(cell)) {
        return Some(Evidence::Invalid(reason));
    }
    let sum = |metric: Metric| {
        let each: Vec<f64> = cells.iter().filter_map(|cell| cell.number(metric)).collect();
        (!each.is_empty()).then(|| each.iter().sum::<f64>())
    };
    let throughput_tok_s = sum(Metric::OUTPUT);
    let objective = match objective {
        SearchObjective::Throughput => throughput_tok_s,
        SearchObjective::Goodput => sum(Metric::Rate(Rate::Goodput)),
        SearchObjective::MostUsers => match users()? {
            Users::Most(load) => Some(load),
            Users::Unknown(reason) => return Some(Evidence::Invalid(reason)),
        },
    };
    let Some(objective) = objective else {
        return Some(Evidence::Invalid("the objective was not measured".to_owned()));
    };
    let slo = cells.iter().filter_map(|cell| Ratio::of(cell.summary.as_ref()?, &cell.slo));
    Some(Evidence::Scored(Score {
        objective: Some(objective),
        p95_ttft_ms: cells.iter().find_map(|cell| cell.number(Metric::P95_TTFT)),
        throughput_tok_s,
        slo: slo.max_by(|a, b| a.log.total_cmp(&b.log)),
    }))
}

/// How the server ended, where that decides what a cell says.
fn ended(cell: &CellFile, server: Option<&ServerFile>) -> Option<Evidence> {
    let fails = |binding: String, hint: Option<f64>| Some(Evidence::Fails { binding, hint });
    let start = server.filter(|server| !server.is_ready());
    match (cell.outcome, start) {
        (CellOutcome::Oom | CellOutcome::DoesNotFit, Some(server)) => {
            let hint = server.facts.estimated_max_model_len.map(|tokens| tokens as f64);
            match server.outcome {
                // `oom(weights)` is `oom at start (weights)`.
                ServerOutcome::Oom(_) => {
                    fails(server.outcome.to_string().replacen("oom(", "oom at start (", 1), hint)
                }
                _ => fails(cell.outcome.name().to_owned(), hint),
            }
        }
        (CellOutcome::Oom, None) => fails("oom under load".to_owned(), None),
        (CellOutcome::DoesNotFit, None) => fails(cell.outcome.name().to_owned(), None),
        // A server that does this twice at a load does not carry it.
        (CellOutcome::Crashed | CellOutcome::Hung | CellOutcome::TimedOut, _) => {
            fails(format!("{} under load", cell.outcome.name().replace('_', " ")), None)
        }
        (CellOutcome::Failed, _) if cell.summary.is_some() => fails("errors".to_owned(), None),
        (CellOutcome::Failed | CellOutcome::ServerFailed | CellOutcome::Skipped, _) => {
            Some(Evidence::Invalid(cell.reason.clone().unwrap_or_else(|| cell.outcome.name().to_owned())))
        }
        (CellOutcome::Ok | CellOutcome::Started | CellOutcome::Degraded, _) => None,
    }
}
