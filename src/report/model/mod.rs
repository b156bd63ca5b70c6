//! A stored run as everything that is said of it sees it: axes, cells with each number as it may be used, lines along an
//! axis, pairs that differ in one, the fate of every server, and the ranking. Built once; notes, charts, page and comparison
//! borrow it, and nobody searches cells by id or groups them again.
//!
//! Everything refers to a cell, an axis, a server or a workload by its place in the model's lists.

mod cell;
mod curve;
mod effect;
mod failure;
mod front;
mod line;
mod noise;
mod numbers;
mod ranking;
mod server;

pub(in crate::report) use cell::{Cell, Number, Streaming};
pub(in crate::report) use curve::{Curve, Point, Window, carried, falls_behind, keeps_up};
pub(in crate::report) use effect::{Change, Effect, Judgement, Level, SAME};
pub(in crate::report) use failure::{Ended, failures};
pub(in crate::report) use front::front;
pub(in crate::report) use line::Line;
pub(in crate::report) use noise::{Doubt, Noise, between_repeats};
use numbers::Numbers;
pub(in crate::report) use ranking::{MEAN_E2E, MEAN_TTFT, Met, Ranking, Trust, deciding, is_beyond, meets};
pub(in crate::report) use server::{Fate, Server};

pub(in crate::report) use super::origin::Origin;

use std::{cmp::Ordering, collections::HashMap};

use serde_json::Value;

use crate::{
    manifest::{Objective, Slo},
    measure::Metric,
    plan::{self, Axis, Quantity, Role},
    store::StoredRun,
};

/// What a machine is called of which nothing is known.
const UNNAMED: &str = "unnamed machine";

/// A stored run, ready to be read.
pub(in crate::report) struct Model<'a> {
    pub(in crate::report) run: &'a StoredRun,
    /// Load axes, then server axes, each in the order of the manifest.
    pub(in crate::report) axes: Vec<Axis>,
    /// In the order of the plan.
    pub(in crate::report) cells: Vec<Cell<'a>>,
    /// In the order of the plan.
    pub(in crate::report) servers: Vec<Server<'a>>,
    /// In the order of the plan.
    pub(in crate::report) workloads: Vec<Workload<'a>>,
    /// The cells of one workload on one server: workloads in their order, then servers in theirs.
    pub(in crate::report) blocks: Vec<Block<'a>>,
    /// Whether cells with numbers are of several kinds, so that each says its own.
    pub(in crate::report) is_mixed: bool,
    rankings: Vec<Ranking>,
    effects: Vec<Vec<Effect>>,
}

/// One workload of the plan.
pub(in crate::report) struct Workload<'a> {
    pub(in crate::report) name: &'a str,
    pub(in crate::report) objective: Objective,
    pub(in crate::report) slo: &'a Slo,
    /// Places of its cells.
    pub(in crate::report) cells: Vec<usize>,
    /// Places of its blocks, best first once ranked; those without a recommended cell come last.
    pub(in crate::report) blocks: Vec<usize>,
    /// The kind of cell that is ranked: the nearest to a measurement that has numbers.
    pub(in crate::report) origin: Option<Origin>,
    noise: Noise,
}

/// The cells of one workload on one server: what a table shows and what is ranked together.
pub(in crate::report) struct Block<'a> {
    pub(in crate::report) workload: usize,
    /// `None` where the plan has no such server.
    pub(in crate::report) server: Option<usize>,
    pub(in crate::report) objective: Objective,
    pub(in crate::report) slo: &'a Slo,
    /// Places of its cells.
    pub(in crate::report) cells: Vec<usize>,
    /// Load axes on which its cells stand.
    pub(in crate::report) axes: Vec<usize>,
    /// The axis along which more is asked for: the rate where every cell has one, else the concurrency; `None` where neither
    /// is an axis.
    pub(in crate::report) load_axis: Option<usize>,
    /// The kind of cell that is ranked.
    pub(in crate::report) origin: Option<Origin>,
    /// What its cells bring per second: of output tokens, all tokens and requests the first that is known.
    pub(in crate::report) brings: Option<Metric>,
    /// What a rate counts conversations, not requests.
    pub(in crate::report) has_turns: bool,
    lines: Vec<Vec<Line>>,
}

impl Block<'_> {
    /// Its lines along a load axis: usable cells of the kind that is ranked.
    pub(in crate::report) fn lines(&self, axis: usize) -> &[Line] {
        let at = self.axes.iter().position(|own| *own == axis);
        at.and_then(|at| self.lines.get(at)).map_or(&[], Vec::as_slice)
    }

    /// Its lines along the axis along which more is asked for.
    pub(in crate::report) fn load_lines(&self) -> &[Line] {
        self.load_axis.map_or(&[], |axis| self.lines(axis))
    }
}

impl<'a> Model<'a> {
    /// Reads a run.
    pub(in crate::report) fn of(run: &'a StoredRun) -> Self {
        let axes =
            run.plan.axes(|name| run.cells.iter().filter_map(|cell| cell.axes.get(name).cloned()).collect());
        let mut servers = Server::all(run);
        let mut workloads = Vec::new();
        let cells = cells(run, &axes, &mut servers, &mut workloads);
        for server in &mut servers {
            server.judge(&cells);
        }
        let mut origins: Vec<Origin> =
            cells.iter().filter(|cell| cell.has_numbers()).map(|cell| cell.origin).collect();
        origins.sort_unstable();
        origins.dedup();
        let mut model = Self {
            run,
            axes,
            cells,
            servers,
            workloads,
            blocks: Vec::new(),
            is_mixed: origins.len() > 1,
            rankings: Vec::new(),
            effects: Vec::new(),
        };
        model.find_blocks();
        model.find_noise();
        model.rankings = model.blocks.iter().map(|block| ranking::rank(&model, block)).collect();
        model.effects =
            (0..model.workloads.len()).map(|workload| effect::effects(&model, workload)).collect();
        model.order_blocks();
        model
    }

    fn find_blocks(&mut self) {
        for workload in 0..self.workloads.len() {
            let mut groups: Vec<(Option<usize>, Vec<usize>)> = Vec::new();
            let mut known: HashMap<Option<usize>, usize> = HashMap::new();
            for at in &self.workloads[workload].cells {
                let server = self.cells[*at].server;
                let group = *known.entry(server).or_insert(groups.len());
                if group == groups.len() {
                    groups.push((server, Vec::new()));
                }
                groups[group].1.push(*at);
            }
            for (server, cells) in groups {
                self.workloads[workload].blocks.push(self.blocks.len());
                let block = self.block(workload, server, cells);
                self.blocks.push(block);
            }
        }
    }

    /// The block of some cells of a workload on a server.
    fn block(&self, workload: usize, server: Option<usize>, cells: Vec<usize>) -> Block<'a> {
        let own = &self.workloads[workload];
        let all = || cells.iter().map(|at| &self.cells[*at]);
        let is_load = |axis: &usize| self.axes[*axis].role == Role::Load;
        let stands = |axis: &usize| all().any(|cell| cell.at[*axis].is_some());
        let axes: Vec<usize> = (0..self.axes.len()).filter(is_load).filter(stands).collect();
        let wanted = match all().all(|cell| cell.load.is_open && cell.load.asked.is_some()) {
            true => Quantity::Rate,
            false => Quantity::Concurrency,
        };
        let load_axis = axes.iter().copied().find(|axis| self.axes[*axis].quantity() == wanted);
        let usable = || all().filter(|cell| cell.is_usable() && Some(cell.origin) == own.origin);
        let brings = curve::brings(usable());
        let compared: Vec<usize> = usable().map(|cell| cell.index).collect();
        let lines = axes.iter().map(|axis| line::lines(&self.cells, &compared, *axis)).collect();
        let has_turns = all().any(|cell| cell.plan.is_some_and(|cell| cell.spec.has_turns()));
        Block {
            workload,
            server,
            objective: own.objective,
            slo: own.slo,
            cells,
            axes,
            load_axis,
            origin: own.origin,
            brings,
            has_turns,
            lines,
        }
    }

    fn find_noise(&mut self) {
        let numbers: Vec<Vec<Option<f64>>> =
            self.axes.iter().map(|axis| axis.values.iter().map(Value::as_f64).collect()).collect();
        for at in 0..self.workloads.len() {
            let own = &self.workloads[at];
            let usable: Vec<&Cell<'_>> = own
                .cells
                .iter()
                .map(|at| &self.cells[*at])
                .filter(|cell| cell.is_usable() && Some(cell.origin) == own.origin)
                .collect();
            let lines = own.blocks.iter().flat_map(|block| {
                let block = &self.blocks[*block];
                block
                    .axes
                    .iter()
                    .zip(&block.lines)
                    .filter(|(axis, _)| self.axes[**axis].is_numeric())
                    .flat_map(|(_, lines)| lines)
            });
            let lines: Vec<Line> = lines.cloned().collect();
            let means = [ranking::MEAN_E2E, ranking::MEAN_TTFT];
            let metrics: Vec<Metric> = Metric::COLUMNS.into_iter().chain(means).collect();
            self.workloads[at].noise = Noise::of(&usable, &lines, &self.cells, &numbers, &metrics);
        }
    }

    /// The blocks, best first in `order`, that are as good as the first of them: what they recommend has the same load and
    /// meets the SLO alike, and its throughput differs by at most 5 %, or with `chance` by what may be chance.
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
            same && curve::RATES.iter().find_map(near).unwrap_or(false)
        };
        order.iter().copied().filter(as_good).collect()
    }

    /// The blocks of a workload that are as good as its best one, or may be, that one among them.
    pub(in crate::report) fn tied(&self, workload: usize) -> Vec<usize> {
        self.ties(&self.workloads[workload].blocks, true)
    }

    /// Puts the blocks of each workload in order, best first.
    fn order_blocks(&mut self) {
        for at in 0..self.workloads.len() {
            let mut order = self.workloads[at].blocks.clone();
            order.sort_by(|one, other| self.order(*one, *other));
            // Of those that are nearly equal the first of the plan is taken for the best. What may be chance alone is no such tie:
            // the larger number is the likelier one.
            if let Some(first) = self.ties(&order, false).into_iter().min() {
                order.retain(|block| *block != first);
                order.insert(0, first);
            }
            self.workloads[at].blocks = order;
        }
    }

    /// Which of two blocks serves better: a recommended cell before none, then by what the objective asks.
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

    /// Which of two cells gives more; without rates, at the same load, which is quicker.
    fn faster(
        &self,
        one: &Cell<'_>,
        other: &Cell<'_>,
        larger: &dyn Fn(Option<f64>, Option<f64>) -> Ordering,
    ) -> Ordering {
        for metric in curve::RATES {
            let (x, y) = (one.ranked(metric), other.ranked(metric));
            if x.is_some() || y.is_some() {
                return larger(x, y);
            }
        }
        let quick = |cell: &Cell<'_>| {
            cell.first_ranked(&[Metric::P50_E2E, MEAN_E2E, Metric::P50_TTFT, MEAN_TTFT]).map(|(_, ms)| -ms)
        };
        larger(quick(one), quick(other))
    }

    /// What the machine is called.
    pub(in crate::report) fn machine(&self) -> String {
        self.run.machine().unwrap_or_else(|| UNNAMED.into())
    }

    /// The experiment's title, or its name.
    pub(in crate::report) fn title(&self) -> String {
        let experiment = &self.run.plan.experiment;
        experiment.title.clone().unwrap_or_else(|| experiment.name.clone())
    }

    /// The price of the machine, US dollars per hour, where it is known.
    pub(in crate::report) fn usd_per_hour(&self) -> Option<f64> {
        self.run.plan.hardware.usd_per_hour.filter(|price| price.is_finite() && *price > 0.0)
    }

    /// What a workload's numbers may be off by.
    pub(in crate::report) fn noise(&self, workload: usize) -> &Noise {
        &self.workloads[workload].noise
    }

    /// The ranking of a block.
    pub(in crate::report) fn ranking(&self, block: usize) -> &Ranking {
        &self.rankings[block]
    }

    /// What each axis does to a workload.
    pub(in crate::report) fn effects(&self, workload: usize) -> &[Effect] {
        &self.effects[workload]
    }

    /// The best block of a workload; `None` where it has no recommended cell anywhere.
    pub(in crate::report) fn best(&self, workload: usize) -> Option<usize> {
        let first = *self.workloads[workload].blocks.first()?;
        self.rankings[first].first().map(|_| first)
    }

    /// The values of a server's axes: `max-model-len 4096`; empty where there is one server, its id where it has no axes.
    pub(in crate::report) fn server_label(&self, server: Option<usize>) -> String {
        let Some(server) = server.and_then(|at| self.servers.get(at)).filter(|_| self.servers.len() > 1)
        else {
            return String::new();
        };
        let axes = self.axes.iter().filter(|axis| axis.role == Role::Server);
        let parts: Vec<String> =
            axes.filter_map(|axis| Some(format!("{} {}", axis.name, server.value(&axis.name)?))).collect();
        match parts.is_empty() {
            true => server.group.id.clone(),
            false => parts.join(", "),
        }
    }

    /// Where a cell stands on the load axes that vary, by their names: `concurrency 16, max_tokens 64`.
    pub(in crate::report) fn place(&self, cell: &Cell<'_>) -> String {
        let axes = (0..self.axes.len()).filter(|axis| self.axes[*axis].role == Role::Load);
        let parts: Vec<String> = axes
            .filter_map(|axis| {
                Some(format!("{} {}", self.axes[axis].label(), self.axes[axis].text(cell.at[axis]?)))
            })
            .collect();
        if !parts.is_empty() {
            return parts.join(", ");
        }
        let fixed = ["concurrency", "rate", "arrivals", "max_tokens"];
        let parts: Vec<String> = fixed
            .iter()
            .filter_map(|name| {
                let value = cell.file.load.get(*name).filter(|value| !value.is_null())?;
                Some(format!("{name} {}", crate::manifest::scalar_text(value)))
            })
            .collect();
        match parts.is_empty() {
            true => cell.id().to_owned(),
            false => parts.join(", "),
        }
    }

    /// The digits that numbers resting on these cells carry: two of fewer than a hundred samples, else three. What a model
    /// computed is exact.
    pub(in crate::report) fn digits(&self, cells: &[usize]) -> u8 {
        let few = cells.iter().filter_map(|at| self.cells.get(*at)).any(|cell| {
            let completed = cell.file.summary.as_ref().map(|summary| summary.counts.completed);
            cell.origin != Origin::Predicted && completed.is_some_and(|n| n < 100)
        });
        if few { 2 } else { 3 }
    }
}

/// The cells of a run with their places; fills in those of servers and workloads.
fn cells<'a>(
    run: &'a StoredRun,
    axes: &[Axis],
    servers: &mut [Server<'a>],
    workloads: &mut Vec<Workload<'a>>,
) -> Vec<Cell<'a>> {
    let planned: HashMap<&str, &plan::Cell> =
        run.plan.groups.iter().flat_map(|group| &group.cells).map(|cell| (cell.id.as_str(), cell)).collect();
    let server_at: HashMap<&str, usize> =
        run.plan.groups.iter().enumerate().map(|(at, group)| (group.id.as_str(), at)).collect();
    let places: Vec<HashMap<String, usize>> = axes
        .iter()
        .map(|axis| axis.values.iter().enumerate().map(|(at, value)| (value.to_string(), at)).collect())
        .collect();
    let mut workload_at: HashMap<&str, usize> = HashMap::new();
    let mut cells = Vec::with_capacity(run.cells.len());
    for (index, file) in run.cells.iter().enumerate() {
        let plan = planned.get(file.id.as_str()).copied();
        let workload = *workload_at.entry(file.workload.as_str()).or_insert(workloads.len());
        if workload == workloads.len() {
            workloads.push(Workload {
                name: &file.workload,
                objective: file.objective,
                slo: &file.slo,
                cells: Vec::new(),
                blocks: Vec::new(),
                origin: None,
                noise: Noise::default(),
            });
        }
        let value = |axis: &Axis| file.axes.get(&axis.name).filter(|value| !value.is_null());
        let at =
            axes.iter().zip(&places).map(|(axis, places)| places.get(&value(axis)?.to_string()).copied());
        let cell = Cell {
            file,
            plan,
            index,
            workload,
            server: server_at.get(file.server.as_str()).copied(),
            at: at.collect(),
            origin: Origin::of(file),
            load: Cell::load_of(file, plan),
            streaming: Cell::streaming_of(file),
            numbers: Numbers::of(file),
        };
        let own = &mut workloads[workload];
        own.cells.push(index);
        if cell.has_numbers() && own.origin.is_none_or(|known| cell.origin.distance() < known.distance()) {
            own.origin = Some(cell.origin);
        }
        if let Some(server) = cell.server {
            servers[server].cells.push(index);
        }
        cells.push(cell);
    }
    cells
}
