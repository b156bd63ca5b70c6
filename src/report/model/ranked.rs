//! The model of a run: its grid with a ranking of each block and the effect of each axis.

use std::{cmp::Ordering, ops::Deref};

use super::{Cell, Effect, Grid, Met, Ranking, SAME, Trust, effect::effects, ranking::rank};
use crate::{
    manifest::Objective,
    measure::Metric,
    report::metrics::{RATES, response},
    search::{Answer, answers},
    store::StoredRun,
};

/// A stored run, indexed and ranked. Built once; notes, charts, page and comparison borrow it.
pub(crate) struct Model<'a> {
    grid: Grid<'a>,
    rankings: Vec<Ranking>,
    effects: Vec<Vec<Effect>>,
}

impl<'a> Deref for Model<'a> {
    type Target = Grid<'a>;

    fn deref(&self) -> &Grid<'a> {
        &self.grid
    }
}

impl<'a> Model<'a> {
    /// Reads a run.
    pub(crate) fn of(run: &'a StoredRun) -> Self {
        Self::with(run, answers(run))
    }

    /// Reads a run with the answers of its searches.
    pub(crate) fn with(run: &'a StoredRun, answers: Vec<Answer>) -> Self {
        let grid = Grid::of(run, answers);
        let mut model = Self {
            rankings: grid.blocks.iter().map(|block| rank(&grid, block)).collect(),
            effects: (0..grid.workloads.len()).map(|workload| effects(&grid, workload)).collect(),
            grid,
        };
        for workload in 0..model.workloads.len() {
            model.grid.workloads[workload].blocks = model.ordered(workload);
        }
        model
    }

    /// The blocks in `order`, best first, that are as good as the first: their recommended cells have the
    /// same load, meet the SLO equally well, and differ in throughput by at most 5 %, or with `chance` by
    /// what chance explains.
    fn ties(&self, order: &[usize], chance: bool) -> Vec<usize> {
        let Some((first, best)) = order.first().and_then(|at| Some((*at, self.rankings[*at].first()?)))
        else {
            return Vec::new();
        };
        let best = &self.cells[best];
        let as_good = |at: &usize| {
            let (own, other) = (&self.rankings[first], &self.rankings[*at]);
            let Some(cell) = other.first().map(|at| &self.cells[at]) else { return false };
            let same = own.met == other.met
                && own.trust == other.trust
                && cell.origin == best.origin
                && cell.load.reached == best.load.reached;
            let near = |metric: &Metric| {
                let (x, y) = (best.ranked(*metric)?, cell.ranked(*metric)?);
                let log = (x / y).ln();
                let doubt = self.noise(best.workload).of_ratio(best, cell, *metric);
                Some(log.abs() < SAME || chance && !doubt.is_beaten_by(log, order.len()))
            };
            same && RATES.iter().find_map(near).unwrap_or(false)
        };
        order.iter().copied().filter(as_good).collect()
    }

    /// The blocks of a workload that are, or may be, as good as its best one, which is among them.
    pub(crate) fn tied(&self, workload: usize) -> Vec<usize> {
        self.ties(&self.workloads[workload].blocks, true)
    }

    /// The blocks of a workload, best first.
    fn ordered(&self, workload: usize) -> Vec<usize> {
        let mut order = self.workloads[workload].blocks.clone();
        order.sort_by(|one, other| self.order(*one, *other));
        // The best of nearly equal blocks is the first of the plan. A difference that may be chance is no
        // such tie: the larger number is the likelier one.
        if let Some(first) = self.ties(&order, false).into_iter().min() {
            order.retain(|block| *block != first);
            order.insert(0, first);
        }
        order
    }

    /// Compares two blocks, the better one first: a recommended cell before none, then by the objective.
    fn order(&self, one: usize, other: usize) -> Ordering {
        let rank = |at: usize| &self.rankings[at];
        let (a, b) = (rank(one), rank(other));
        let (Some(first), Some(second)) = (a.first(), b.first()) else {
            return b.first().is_some().cmp(&a.first().is_some());
        };
        let (first, second) = (&self.cells[first], &self.cells[second]);
        let block = &self.blocks[one];
        // Absent is worse than any number.
        let larger = |x: Option<f64>, y: Option<f64>| match (x, y) {
            (Some(x), Some(y)) => y.total_cmp(&x),
            _ => y.is_some().cmp(&x.is_some()),
        };
        let merit = |ranking: &Ranking| match ranking.met {
            Met::Yes | Met::NoSlo => 0,
            Met::ByStandIn => 1,
            Met::Contradicted => 2,
            Met::No => 3,
        };
        let nearer = match (a.met, b.met) {
            (Met::No, Met::No) => larger(a.of_limit.map(|x| -x), b.of_limit.map(|x| -x)),
            _ => Ordering::Equal,
        };
        let load = match block.objective {
            Objective::Latency if !block.slo.0.is_empty() => larger(first.load.reached, second.load.reached),
            _ => Ordering::Equal,
        };
        first
            .origin
            .distance()
            .cmp(&second.origin.distance())
            .then((a.trust != Trust::Full).cmp(&(b.trust != Trust::Full)))
            .then(merit(a).cmp(&merit(b)))
            .then(nearer)
            .then(load)
            .then_with(|| self.faster(first, second, &larger))
    }

    /// Compares two cells by throughput; without any, by latency.
    fn faster(
        &self,
        one: &Cell<'_>,
        other: &Cell<'_>,
        larger: &dyn Fn(Option<f64>, Option<f64>) -> Ordering,
    ) -> Ordering {
        for metric in RATES {
            let (x, y) = (one.ranked(metric), other.ranked(metric));
            if x.is_some() || y.is_some() {
                return larger(x, y);
            }
        }
        let quick = |cell: &Cell<'_>| cell.first_ranked(&response()).map(|(_, ms)| -ms);
        larger(quick(one), quick(other))
    }

    /// The ranking of a block.
    pub(crate) fn ranking(&self, block: usize) -> &Ranking {
        &self.rankings[block]
    }

    /// The effect of each axis on a workload.
    pub(crate) fn effects(&self, workload: usize) -> &[Effect] {
        &self.effects[workload]
    }

    /// The best block of a workload; `None` if no block has a recommended cell.
    pub(crate) fn best(&self, workload: usize) -> Option<usize> {
        let first = *self.workloads[workload].blocks.first()?;
        self.rankings[first].first().map(|_| first)
    }
}
