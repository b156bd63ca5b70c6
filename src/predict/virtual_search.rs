//! Runs the searches of a plan in virtual time: their probes are predicted instead of measured.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    Accuracy, Placed, Placement, PredictError, Setup, cells, interval::Spread, parallel::on_all_cores,
};
use crate::{
    manifest::{Slo, SloTerm},
    measure::Metric,
    plan::{self, Cell, Goal, Group, Plan, Search},
    search::{self, Next},
    store::StoredRun,
    unit::TimeSpan,
};

/// The searches of a plan, in virtual time.
pub(super) struct VirtualSearch<'a> {
    /// Places the servers of probes on their GPUs.
    pub(super) placement: Placement<'a>,
    pub(super) setup: Setup<'a>,
    /// Which predicted latencies count as within the SLO.
    pub(super) slo: Strictness,
    /// When everything is predicted.
    pub(super) now: Timestamp,
    /// Asked before each probe; a search ends unfinished once it returns false.
    pub(super) may_continue: &'a (dyn Fn() -> bool + Sync),
}

/// Which predicted latencies count as within the SLO, given that a measurement lies somewhere in the 90 %
/// interval of its prediction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Strictness {
    /// Those within it.
    AsPredicted,
    /// Those whose interval ends within it: fewer.
    Surely(Accuracy),
    /// Those whose interval begins within it: more.
    Possibly(Accuracy),
}

impl Strictness {
    /// As predicted, and at both ends of the intervals where it is known how accurate predictions are.
    pub(super) fn all(accuracy: Option<Accuracy>) -> Vec<Self> {
        let ends = accuracy.map(|accuracy| [Self::Surely(accuracy), Self::Possibly(accuracy)]);
        [Self::AsPredicted].into_iter().chain(ends.into_iter().flatten()).collect()
    }

    /// The SLO that a prediction has to meet.
    fn of(self, slo: &Slo) -> Slo {
        let scaled = |term: &SloTerm| {
            let limit = term.limit.as_ms();
            let behind = |accuracy| {
                Spread::of(Metric::of_term(term), accuracy).map_or([limit; 2], |spread| spread.behind(limit))
            };
            let limit = match self {
                Self::AsPredicted => return *term,
                Self::Surely(accuracy) => behind(accuracy)[0],
                Self::Possibly(accuracy) => behind(accuracy)[1],
            };
            // A limit that a front end alone may use up is met by no prediction.
            SloTerm { limit: TimeSpan::from(Duration::from_secs_f64(limit.max(LEAST_MS) / 1e3)), ..*term }
        };
        Slo(slo.0.iter().map(scaled).collect())
    }
}

/// The shortest limit of a latency, in milliseconds.
const LEAST_MS: f64 = 0.001;

impl VirtualSearch<'_> {
    /// Adds the probes of all searches to a run until each search has its answer, and the servers of probes to
    /// `placed`. Searches for the most load run on all cores: each has cells of its own on a given server.
    ///
    /// # Errors
    /// When a probe cannot be planned, placed or predicted.
    pub(super) fn run(
        &self,
        run: &mut StoredRun,
        placed: &mut BTreeMap<String, Placed>,
    ) -> Result<(), PredictError> {
        let loads: Vec<Search> = run.plan.searches.iter().filter(|search| is_load(search)).cloned().collect();
        let each = on_all_cores(&loads, |search| -> Result<_, PredictError> {
            let (mut alone, mut placed) = (alone(run, search), placed.clone());
            self.answer(&mut alone, &mut placed)?;
            Ok((alone, placed))
        });
        for result in each {
            let (alone, more) = result?;
            merge(run, alone);
            placed.extend(more);
        }
        self.answer(run, placed)
    }

    /// Predicts one probe after another until no search asks for one.
    fn answer(&self, run: &mut StoredRun, placed: &mut BTreeMap<String, Placed>) -> Result<(), PredictError> {
        while (self.may_continue)()
            && let Some((search, next)) = pending(run)
        {
            self.probe(run, placed, &search, &next)?;
        }
        Ok(())
    }

    fn probe(
        &self,
        run: &mut StoredRun,
        placed: &mut BTreeMap<String, Placed>,
        search: &Search,
        next: &Next,
    ) -> Result<(), PredictError> {
        let manifest = self.placement.manifest;
        let (group, cells) = plan::probe(manifest, &mut run.plan, &search.id, &next.values, next.attempt)
            .map_err(|findings| PredictError::Probe {
                search: search.id.clone(),
                findings: findings.render(false),
            })?;
        let group = run.plan.groups[group].clone();
        if !placed.contains_key(&group.id) {
            placed.insert(group.id.clone(), self.place(&run.plan, &group)?);
        }
        let placed = &placed[&group.id];
        let server = match run.servers.iter().find(|server| server.id == group.id) {
            Some(server) => server.clone(),
            None => cells::server(&group, placed, self.now),
        };
        run.put_server(server.clone());
        let is_new = |cell: &&Cell| run.cells.iter().all(|stored| stored.id != cell.id);
        let cells: Vec<Cell> = cells
            .into_iter()
            .map(|at| &group.cells[at])
            .filter(is_new)
            .map(|cell| self.own(&run.plan, cell))
            .collect();
        if cells.is_empty() {
            return Err(PredictError::Repeats { search: search.id.clone() });
        }
        let machine = placed.machine.as_ref().ok();
        let files = on_all_cores(&cells, |cell| {
            cells::predict(&group, cell, 1, &server, machine, &self.setup)
                .map_err(|source| PredictError::Cell { cell: cell.id.clone(), source: Box::new(source) })
        });
        for file in files {
            run.put_cell(file?);
        }
        Ok(())
    }

    /// A probe's cell with the seed that all cells of its workload share in a prediction, and with the SLO that
    /// a prediction has to meet.
    fn own(&self, plan: &Plan, cell: &Cell) -> Cell {
        let mut own = Cell { seed: plan.shared_seed(cell), ..cell.clone() };
        if self.slo != Strictness::AsPredicted && !own.spec.slo.0.is_empty() {
            let spec = Arc::make_mut(&mut own.spec);
            spec.slo = self.slo.of(&spec.slo);
        }
        own
    }

    /// Places the server of a probe.
    fn place(&self, plan: &Plan, group: &Group) -> Result<Placed, PredictError> {
        let alone = Plan { groups: vec![group.clone()], searches: Vec::new(), ..plan.clone() };
        let mut placements = self.placement.place(&alone);
        placements.placed.remove(&group.id).ok_or_else(|| PredictError::Unplaced {
            server: group.id.clone(),
            findings: placements.findings.render(false),
        })
    }
}

fn is_load(search: &Search) -> bool {
    matches!(search.goal, Goal::Load { .. })
}

/// The next probe of the searches. Those for the most load are first: a search for the best server waits for
/// those on its candidates.
fn pending(run: &StoredRun) -> Option<(Search, Next)> {
    let searches = &run.plan.searches;
    let loads = searches.iter().filter(|search| is_load(search));
    let others = searches.iter().filter(|search| !is_load(search));
    loads.chain(others).find_map(|search| Some((search.clone(), search::next(run, search)?)))
}

/// A run with one search and no cells.
fn alone(run: &StoredRun, search: &Search) -> StoredRun {
    StoredRun {
        plan: Plan { searches: vec![search.clone()], ..run.plan.clone() },
        cells: Vec::new(),
        predictions: None,
        ..run.clone()
    }
}

/// Adds the probes of a search that was alone.
fn merge(run: &mut StoredRun, alone: StoredRun) {
    for more in alone.plan.groups {
        let Some(own) = run.plan.groups.iter_mut().find(|group| group.id == more.id) else { continue };
        let known: Vec<String> = own.cells.iter().map(|cell| cell.id.clone()).collect();
        own.cells.extend(more.cells.into_iter().filter(|cell| !known.contains(&cell.id)));
    }
    for server in alone.servers {
        run.put_server(server);
    }
    for cell in alone.cells {
        run.put_cell(cell);
    }
}
