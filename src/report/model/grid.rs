//! The grid of a run: axes, cells, servers, workloads, and the blocks of cells that are compared with each
//! other.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{
    Cell, Line, Noise, Server,
    cell::brings,
    line::{grouped, lines},
    numbers::Numbers,
};
use crate::{
    manifest::{LatencyKind, Objective, Slo, scalar_text},
    measure::Metric,
    plan::{self, Axis, Goal, Quantity, Role},
    report::{
        metrics::mean,
        origin::{Origin, origins},
    },
    search::{Answer, Evidence, Probe, State},
    store::StoredRun,
};

/// The name of a machine that nobody named.
const UNNAMED: &str = "unnamed machine";

/// A stored run, indexed. Cells, axes, servers, workloads and blocks refer to each other by index.
pub(crate) struct Grid<'a> {
    pub(crate) run: &'a StoredRun,
    /// Load axes, then server axes, each in the order of the manifest.
    pub(crate) axes: Vec<Axis>,
    /// In the order of the plan.
    pub(crate) cells: Vec<Cell<'a>>,
    /// In the order of the plan.
    pub(crate) servers: Vec<Server<'a>>,
    /// In the order of the plan.
    pub(crate) workloads: Vec<Workload<'a>>,
    /// By workload, then by server.
    pub(crate) blocks: Vec<Block<'a>>,
    /// Whether cells with numbers have several origins, so that each is marked with its own.
    pub(crate) is_mixed: bool,
    /// What the searches of the run found, in the order of the plan.
    pub(crate) answers: Vec<Answer>,
}

/// One workload of the plan.
pub(crate) struct Workload<'a> {
    pub(crate) name: &'a str,
    pub(crate) objective: Objective,
    pub(crate) slo: &'a Slo,
    /// Indices of its cells.
    pub(crate) cells: Vec<usize>,
    /// Indices of its blocks, best first once ranked; those without a recommended cell come last.
    pub(crate) blocks: Vec<usize>,
    /// The origin of the cells that are ranked: the one nearest to a measurement that has numbers.
    pub(crate) origin: Option<Origin>,
    noise: Noise,
}

/// The cells of one workload on one server: they share a table and are ranked together.
pub(crate) struct Block<'a> {
    pub(crate) workload: usize,
    /// `None` if the plan has no such server.
    pub(crate) server: Option<usize>,
    pub(crate) objective: Objective,
    pub(crate) slo: &'a Slo,
    /// Indices of its cells.
    pub(crate) cells: Vec<usize>,
    /// The load axes on which its cells have values.
    pub(crate) axes: Vec<usize>,
    /// The axis of the load: the rate if every cell has one, else the concurrency; `None` if it is no axis.
    pub(crate) load_axis: Option<usize>,
    /// The origin of the cells that are ranked.
    pub(crate) origin: Option<Origin>,
    /// The throughput metric: the first of output tokens, all tokens and requests per second that is known.
    pub(crate) brings: Option<Metric>,
    /// Whether a rate counts conversations instead of requests.
    pub(crate) has_turns: bool,
    /// The searches for the most load within the SLO whose probes its cells are, as indices of the answers.
    pub(crate) searches: Vec<usize>,
    lines: Vec<Vec<Line>>,
}

impl Block<'_> {
    /// The lines of usable cells along a load axis.
    pub(crate) fn lines(&self, axis: usize) -> &[Line] {
        let at = self.axes.iter().position(|own| *own == axis);
        at.and_then(|at| self.lines.get(at)).map_or(&[], Vec::as_slice)
    }

    /// The throughput of a cell, if it is positive and may be ranked.
    pub(crate) fn rate(&self, cell: &Cell<'_>) -> Option<f64> {
        cell.ranked(self.brings?).filter(|rate| *rate > 0.0)
    }

    /// The lines of usable cells along the axis of the load.
    pub(crate) fn load_lines(&self) -> &[Line] {
        self.load_axis.map_or(&[], |axis| self.lines(axis))
    }

    /// The line along the axis of the load on which a cell stands, and its position there.
    pub(crate) fn load_line_of(&self, cell: usize) -> Option<(&Line, usize)> {
        self.load_lines().iter().find_map(|line| Some((line, line.position(cell)?)))
    }
}

/// The probes of a search that say nothing, or that were measured again: a later probe of the same value takes
/// their place.
fn set_aside(answer: &Answer) -> impl Iterator<Item = &Probe> {
    let is_valid = |probe: &&Probe| !matches!(probe.evidence, Evidence::Invalid(_));
    let again = move |at: usize, probe: &Probe| {
        answer.probes[at + 1..].iter().filter(is_valid).any(|later| later.values == probe.values)
    };
    let probes = answer.probes.iter().enumerate();
    probes.filter(move |(at, probe)| !is_valid(probe) || again(*at, probe)).map(|(_, probe)| probe)
}

impl<'a> Grid<'a> {
    /// Indexes a run, with the answers of its searches.
    pub(super) fn of(run: &'a StoredRun, answers: Vec<Answer>) -> Self {
        let mut grid = Self {
            run,
            axes: run
                .plan
                .axes(|name| run.cells.iter().filter_map(|cell| cell.axes.get(name).cloned()).collect()),
            cells: Vec::with_capacity(run.cells.len()),
            servers: Server::all(run),
            workloads: Vec::new(),
            blocks: Vec::new(),
            is_mixed: origins(&run.cells).len() > 1,
            answers,
        };
        grid.add_cells();
        for server in &mut grid.servers {
            server.judge(&grid.cells);
        }
        grid.add_blocks();
        for workload in 0..grid.workloads.len() {
            grid.workloads[workload].noise = grid.noise_of(workload);
        }
        grid
    }

    /// Adds the cells to the grid and to their servers, and those that are not set aside to their workloads.
    fn add_cells(&mut self) {
        let run = self.run;
        let set_aside: HashSet<String> =
            self.answers.iter().flat_map(set_aside).flat_map(|probe| probe.cells.iter().cloned()).collect();
        let groups = || run.plan.groups.iter();
        let planned: HashMap<&str, &plan::Cell> =
            groups().flat_map(|group| &group.cells).map(|cell| (cell.id.as_str(), cell)).collect();
        let server_at: HashMap<&str, usize> =
            groups().enumerate().map(|(at, group)| (group.id.as_str(), at)).collect();
        let value_at: Vec<HashMap<String, usize>> = self
            .axes
            .iter()
            .map(|axis| axis.values.iter().enumerate().map(|(at, value)| (value.to_string(), at)).collect())
            .collect();
        let mut workload_at: HashMap<&str, usize> = HashMap::new();
        for (index, file) in run.cells.iter().enumerate() {
            let plan = planned.get(file.id.as_str()).copied();
            let workload = *workload_at.entry(file.workload.as_str()).or_insert(self.workloads.len());
            if workload == self.workloads.len() {
                self.workloads.push(Workload {
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
            let axes = self.axes.iter().zip(&value_at);
            let cell = Cell {
                file,
                plan,
                index,
                workload,
                server: server_at.get(file.server.as_str()).copied(),
                at: axes.map(|(axis, known)| known.get(&value(axis)?.to_string()).copied()).collect(),
                origin: Origin::of(file),
                load: Cell::load_of(file, plan),
                streaming: Cell::streaming_of(file),
                is_set_aside: set_aside.contains(&file.id),
                numbers: Numbers::of(file),
            };
            let own = &mut self.workloads[workload];
            if !cell.is_set_aside {
                own.cells.push(index);
            }
            if cell.has_numbers() && own.origin.is_none_or(|known| cell.origin.distance() < known.distance())
            {
                own.origin = Some(cell.origin);
            }
            if let Some(server) = cell.server {
                self.servers[server].cells.push(index);
            }
            self.cells.push(cell);
        }
    }

    fn add_blocks(&mut self) {
        for workload in 0..self.workloads.len() {
            let cells = self.workloads[workload].cells.iter().copied();
            for cells in grouped(cells, |cell| self.cells[cell].server) {
                let block = self.block(workload, cells);
                self.workloads[workload].blocks.push(self.blocks.len());
                self.blocks.push(block);
            }
        }
    }

    /// The block of some cells that share a workload and a server.
    fn block(&self, workload: usize, cells: Vec<usize>) -> Block<'a> {
        let own = &self.workloads[workload];
        let all = || self.cells_at(&cells);
        let is_load = |axis: &usize| self.axes[*axis].role == Role::Load;
        let has_value = |axis: &usize| all().any(|cell| cell.at[*axis].is_some());
        let axes: Vec<usize> = (0..self.axes.len()).filter(is_load).filter(has_value).collect();
        let wanted = match all().all(|cell| cell.load.is_open && cell.load.configured.is_some()) {
            true => Quantity::Rate,
            false => Quantity::Concurrency,
        };
        let usable = || all().filter(|cell| cell.is_usable_as(own.origin));
        let compared: Vec<usize> = usable().map(|cell| cell.index).collect();
        let brings = brings(usable());
        let has_turns = all().any(|cell| cell.plan.is_some_and(|cell| cell.spec.has_turns()));
        Block {
            workload,
            server: self.cells[cells[0]].server,
            objective: own.objective,
            slo: own.slo,
            load_axis: axes.iter().copied().find(|axis| self.axes[*axis].quantity() == wanted),
            origin: own.origin,
            brings,
            has_turns,
            searches: self.load_searches(&cells),
            lines: axes.iter().map(|axis| lines(&self.cells, &compared, *axis)).collect(),
            axes,
            cells,
        }
    }

    /// The searches over the load that some cells are probes of.
    fn load_searches(&self, cells: &[usize]) -> Vec<usize> {
        let is_own = |answer: &Answer| {
            let id = Some(answer.search.id.as_str());
            let is_load = matches!(answer.search.goal, Goal::Load { .. });
            is_load && self.cells_at(cells).any(|cell| cell.file.search.as_deref() == id)
        };
        (0..self.answers.len()).filter(|at| is_own(&self.answers[*at])).collect()
    }

    fn noise_of(&self, workload: usize) -> Noise {
        let own = &self.workloads[workload];
        let numbers: Vec<Vec<Option<f64>>> =
            self.axes.iter().map(|axis| axis.values.iter().map(Value::as_f64).collect()).collect();
        let usable: Vec<&Cell<'_>> =
            self.cells_at(&own.cells).filter(|cell| cell.is_usable_as(own.origin)).collect();
        let blocks = own.blocks.iter().map(|block| &self.blocks[*block]);
        let lines = blocks.flat_map(|block| {
            let axes = block.axes.iter().zip(&block.lines);
            // The probes of a search lie where the latency is steep: their neighbours show no noise.
            let is_even = |axis: usize| block.searches.is_empty() || Some(axis) != block.load_axis;
            axes.filter(move |(axis, _)| self.axes[**axis].is_numeric() && is_even(**axis))
                .flat_map(|(_, lines)| lines)
        });
        let lines: Vec<&Line> = lines.collect();
        // Some tools report no medians.
        let means = [LatencyKind::E2e, LatencyKind::Ttft].map(mean);
        let metrics: Vec<Metric> = Metric::COLUMNS.into_iter().chain(means).collect();
        Noise::of(&usable, &lines, &self.cells, &numbers, &metrics)
    }

    /// The planned cells that are not stored, each with the index of its server: those that the run has not
    /// reached. A search that has its answer needs no more of its probes.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (usize, &'a plan::Cell)> {
        let stored: HashSet<&str> = self.cells.iter().map(|cell| cell.id()).collect();
        let open = self.answers.iter().filter(|answer| answer.state == State::Unfinished);
        let open: HashSet<String> = open.map(|answer| answer.search.id.clone()).collect();
        let planned = self.run.plan.groups.iter().enumerate();
        let planned = planned.flat_map(|(server, group)| group.cells.iter().map(move |cell| (server, cell)));
        let is_needed = move |cell: &plan::Cell| cell.search.as_ref().is_none_or(|own| open.contains(own));
        planned.filter(move |(_, cell)| !stored.contains(cell.id.as_str()) && is_needed(cell))
    }

    /// The cells at some indices.
    pub(crate) fn cells_at<'m>(&'m self, at: &'m [usize]) -> impl Iterator<Item = &'m Cell<'a>> + Clone {
        at.iter().map(|at| &self.cells[*at])
    }

    /// The usable cells of a block that have the origin that is ranked.
    pub(crate) fn usable<'m>(&'m self, block: &'m Block<'_>) -> impl Iterator<Item = &'m Cell<'a>> + Clone {
        self.cells_at(&block.cells).filter(|cell| cell.is_usable_as(block.origin))
    }

    /// The cells of a block with numbers of the origin that is ranked, usable or not.
    pub(crate) fn with_numbers<'m>(
        &'m self,
        block: &'m Block<'_>,
    ) -> impl Iterator<Item = &'m Cell<'a>> + Clone {
        let cells = self.cells_at(&block.cells);
        cells.filter(|cell| cell.has_numbers() && Some(cell.origin) == block.origin)
    }

    /// The noise of the numbers of a workload.
    pub(crate) fn noise(&self, workload: usize) -> &Noise {
        &self.workloads[workload].noise
    }

    /// The name of the machine.
    pub(crate) fn machine(&self) -> String {
        self.run.machine().unwrap_or_else(|| UNNAMED.into())
    }

    /// The title of the experiment, or its name.
    pub(crate) fn title(&self) -> String {
        let experiment = &self.run.plan.experiment;
        experiment.title.clone().unwrap_or_else(|| experiment.name.clone())
    }

    /// The price of the machine, US dollars per hour, if it is known.
    pub(crate) fn usd_per_hour(&self) -> Option<f64> {
        self.run.plan.hardware.usd_per_hour.filter(|price| price.is_finite() && *price > 0.0)
    }

    /// Values on some axes with the labels of these: `concurrency 16, max_tokens 64`.
    pub(crate) fn spelled(
        &self,
        at: impl Fn(usize) -> Option<usize>,
        axes: impl IntoIterator<Item = usize>,
    ) -> String {
        let value =
            |axis: usize| Some(format!("{} {}", self.axes[axis].label(), self.axes[axis].text(at(axis)?)));
        axes.into_iter().filter_map(value).collect::<Vec<_>>().join(", ")
    }

    /// The values of a server's axes, `max-model-len 4096`; its id if it has no axes; empty for a single
    /// server.
    pub(crate) fn server_label(&self, server: Option<usize>) -> String {
        let server = server.and_then(|at| self.servers.get(at)).filter(|_| self.servers.len() > 1);
        let Some(server) = server else { return String::new() };
        let axes = self.axes.iter().filter(|axis| axis.role == Role::Server);
        let parts: Vec<String> =
            axes.filter_map(|axis| Some(format!("{} {}", axis.name, server.value(&axis.name)?))).collect();
        if parts.is_empty() { server.group.id.clone() } else { parts.join(", ") }
    }

    /// The values of a cell on the load axes that vary; its fixed load if none does.
    pub(crate) fn place(&self, cell: &Cell<'_>) -> String {
        let axes = (0..self.axes.len()).filter(|axis| self.axes[*axis].role == Role::Load);
        let place = self.spelled(|axis| cell.at[axis], axes);
        if !place.is_empty() {
            return place;
        }
        let fixed = ["concurrency", "rate", "arrivals", "max_tokens"].iter().filter_map(|name| {
            let value = cell.file.load.get(*name).filter(|value| !value.is_null())?;
            Some(format!("{name} {}", scalar_text(value)))
        });
        let fixed: Vec<String> = fixed.collect();
        if fixed.is_empty() { cell.id().to_owned() } else { fixed.join(", ") }
    }

    /// The significant digits of numbers that rest on these cells: two if one has fewer than a hundred
    /// samples, else three. Predicted numbers are exact.
    pub(crate) fn digits(&self, cells: &[usize]) -> u8 {
        let few = cells.iter().filter_map(|at| self.cells.get(*at)).any(|cell| {
            let completed = cell.file.summary.as_ref().map(|summary| summary.counts.completed);
            cell.origin != Origin::Predicted && completed.is_some_and(|n| n < 100)
        });
        if few { 2 } else { 3 }
    }
}
