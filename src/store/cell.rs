//! Makes the `cell.json` of a cell from its records, measured or predicted.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::schema::{CellFile, FORMAT};
use crate::{
    load::Records,
    manifest::Engine,
    measure::{self, CellContext, CellOutcome, Summary},
    plan::{Cell, Group},
};

impl CellFile {
    /// A cell of a plan without numbers, which ended at `now`.
    pub fn without_numbers(
        group: &Group,
        cell: &Cell,
        outcome: CellOutcome,
        reason: Option<String>,
        now: Timestamp,
    ) -> Self {
        Self {
            format: FORMAT,
            id: cell.id.clone(),
            workload: cell.workload.clone(),
            server: group.id.clone(),
            outcome,
            reason,
            ladder_ended_at: None,
            proved_impossible_by: None,
            search: cell.search.clone(),
            ended_early: None,
            simulated: group.server.engine == Engine::Sim,
            predicted: false,
            load: cell.load_values(),
            axes: group.axes.iter().chain(&cell.axes).map(|(k, v)| (k.clone(), v.clone())).collect(),
            objective: cell.spec.objective,
            slo: cell.spec.slo.clone(),
            summary: None,
            reported: BTreeMap::new(),
            repeats: Vec::new(),
            precision: BTreeMap::new(),
            server_side: None,
            server_side_repeats: Vec::new(),
            client_totals: None,
            client: Vec::new(),
            verdicts: Vec::new(),
            timeline: Vec::new(),
            errors: Vec::new(),
            log_tail: Vec::new(),
            attempts: Vec::new(),
            started_at: now,
            finished_at: now,
        }
    }

    /// Adds the numbers of the cell's repeats, their verdicts, and the outcome that follows from them.
    pub fn with_records(mut self, repeats: &[Records], context: &CellContext<'_>) -> Self {
        let each: Vec<Summary> = repeats.iter().map(|records| measure::summarize(records, context)).collect();
        // A single repeat is its own pool.
        let summary = match &each[..] {
            [one] => one.clone(),
            _ => measure::pool(repeats, context),
        };
        self.verdicts.extend(measure::judge(&summary, &each, repeats, context));
        self.errors = measure::common_errors(repeats);
        self.outcome = measure::outcome(&summary);
        self.reason = measure::reason(self.outcome, &self.errors);
        self.client_totals = Some(measure::totals(repeats));
        self.timeline = repeats.last().map(measure::timeline).unwrap_or_default();
        self.precision = measure::precision(context.repeats, &each);
        self.repeats = if each.len() > 1 { each } else { Vec::new() };
        self.summary = Some(summary);
        self
    }
}
