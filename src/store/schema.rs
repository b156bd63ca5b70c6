//! The types of the light files: what goes to git and suffices to render everything again.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use super::{
    prediction::{Basis, Predictions},
    tool::Tool,
};
use crate::{
    load::ClientHealth,
    manifest::{Objective, Slo},
    measure::{CellOutcome, ClientTotals, Metric, Point, Precision, Summary, Verdict},
    observe::ServerSide,
    plan::{Group, Plan},
    server::{Facts, ServerOutcome},
};

/// Version of every file format that this program writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// `cells/<id>/cell.json`: everything that the notes need about one cell.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellFile {
    /// Version of the format.
    pub format: u32,
    /// The cell's id, which is also its folder.
    pub id: String,
    /// The workload's name.
    pub workload: String,
    /// Folder of its server, under `servers/`.
    pub server: String,
    /// How it ended.
    pub outcome: CellOutcome,
    /// Why it ended that way, where the outcome does not say it.
    pub reason: Option<String>,
    /// The cell at which its ladder ended, when it was skipped for that reason.
    pub ladder_ended_at: Option<String>,
    /// The server that needs no more memory than this cell's server and ran out of it, when this cell was
    /// skipped for that reason (`experiment.skip_impossible`).
    pub proved_impossible_by: Option<String>,
    /// The search that the cell is a probe of, by its id in the plan.
    pub search: Option<String>,
    /// Why a probe stopped before its last request: its result was clear. Absent where it ran to its end.
    pub ended_early: Option<String>,
    /// Whether the embedded engine answered.
    pub simulated: bool,
    /// Whether the numbers were predicted in virtual time, and nothing was measured.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub predicted: bool,
    /// Resolved load values, which always have a column: `concurrency`, `max_tokens`, `requests` …
    pub load: BTreeMap<String, Value>,
    /// Value of every server and load axis, by column name.
    pub axes: BTreeMap<String, Value>,
    /// The objective of the workload.
    pub objective: Objective,
    /// The latency targets that goodput is based on.
    #[serde(default)]
    pub slo: Slo,
    /// Summary over all repeats pooled; absent when nothing was measured.
    pub summary: Option<Summary>,
    /// Numbers of an imported cell that came without samples, by column name (`p95_ttft_ms`); with several
    /// repeats, the mean of their numbers. Empty for cells that this tool measured.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reported: BTreeMap<String, f64>,
    /// Summary of each repeat, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeats: Vec<Summary>,
    /// The interval of each metric that `experiment.repeats.until` names, by the metric's name (`p95_ttft`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub precision: BTreeMap<String, Precision>,
    /// Metrics of the server and its machine during the cell, repeats pooled; absent where they were not
    /// collected.
    pub server_side: Option<ServerSide>,
    /// Metrics of the server in each repeat, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub server_side_repeats: Vec<ServerSide>,
    /// The client's counts of all requests, warm-up included, for comparison with the server's counters.
    pub client_totals: Option<ClientTotals>,
    /// Load on the client itself in each repeat.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client: Vec<ClientHealth>,
    /// Problems with the numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<Verdict>,
    /// The timeline of the last repeat.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<Point>,
    /// The most common errors of requests, with their number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<(String, u64)>,
    /// The end of the server's log, when the server was the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
    /// Earlier attempts at the cell, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// When the cell began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
}

impl CellFile {
    /// GPU energy per output token, joules: energy of the server's GPUs / output tokens, warm-up included in
    /// both. Absent when the driver reports no energy or the answers no token counts.
    pub fn gpu_j_per_output_token(&self) -> Option<f64> {
        let energy = self.server_side.as_ref()?.gpu_energy_j()?;
        let tokens = self.client_totals?.output_tokens?;
        (tokens > 0).then(|| energy / tokens as f64)
    }
}

/// An attempt at a cell that was ended by a crash or hang of its server, and repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// How it ended: `crashed`, `hung`, or `server_failed` for a start that was repeated.
    pub outcome: CellOutcome,
    /// The log line or other reason for the outcome.
    pub reason: String,
    /// The end of the server's log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
    /// When it ended.
    pub ended_at: Timestamp,
}

/// `servers/<name>-<hash>/server.json`: how a server started, and what it reports about itself.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerFile {
    /// Version of the format.
    pub format: u32,
    /// The server's id, which is also its folder.
    pub id: String,
    /// How its start ended.
    pub outcome: ServerOutcome,
    /// The log line or other reason for the outcome.
    pub reason: Option<String>,
    /// Its argument vector; empty for an attached server.
    pub argv: Vec<String>,
    /// Value of each server axis, by column name.
    pub axes: BTreeMap<String, Value>,
    /// What its log and API report about it.
    pub facts: Facts,
    /// Exit code of its process, when it ended by itself.
    pub exit_code: Option<i32>,
    /// The end of its log, when it failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
    /// When it was launched.
    pub started_at: Timestamp,
    /// Every start of the server in the run, the last one included; empty in files of older versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub starts: Vec<ServerStart>,
}

/// One start of a server.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerStart {
    /// When it was launched.
    pub started_at: Timestamp,
    /// How the start ended.
    pub outcome: ServerOutcome,
    /// Time from launch to ready, seconds; absent where it did not become ready, or was already running.
    pub startup_s: Option<f64>,
}

impl ServerFile {
    /// A group's server, launched at `started_at` and ready, before anything is known about it.
    pub fn new(group: &Group, started_at: Timestamp) -> Self {
        Self {
            format: FORMAT,
            id: group.id.clone(),
            outcome: ServerOutcome::Ready,
            reason: None,
            argv: Vec::new(),
            axes: group.axes.clone(),
            facts: Facts::default(),
            exit_code: None,
            log_tail: Vec::new(),
            started_at,
            starts: Vec::new(),
        }
    }

    /// Appends this start to those of an earlier file of the same server.
    pub fn follow(&mut self, earlier: Option<&Self>) {
        let start = |file: &Self| ServerStart {
            started_at: file.started_at,
            outcome: file.outcome,
            startup_s: file.facts.startup_s,
        };
        let mut starts = earlier.map(|file| file.starts.clone()).unwrap_or_default();
        if starts.is_empty() {
            starts.extend(earlier.map(start));
        }
        starts.push(start(self));
        self.starts = starts;
    }

    /// Whether it became ready.
    pub fn is_ready(&self) -> bool {
        self.outcome == ServerOutcome::Ready
    }
}

/// `run.json`: the provenance of the numbers.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunFile {
    /// Version of the format.
    pub format: u32,
    /// The run's name, which is also its folder.
    pub name: String,
    /// The tool that wrote it.
    pub tool: Tool,
    /// The command line.
    pub command: Vec<String>,
    /// The machine; absent for imported numbers of an unknown one.
    pub host: Option<Host>,
    /// The GPUs of the machine.
    pub gpus: Vec<Gpu>,
    /// The engine and its version, as reported by the first ready server.
    pub engine: Option<EngineFact>,
    /// Whether the embedded engine answered.
    pub simulated: bool,
    /// Where the numbers come from, when another tool measured them.
    pub imported: Option<Imported>,
    /// The basis of the numbers, when all of them were predicted.
    pub predicted: Option<Basis>,
    /// Seed of the experiment.
    pub seed: u64,
    /// When the run began.
    pub started_at: Timestamp,
    /// The budget that ended it before everything was measured, in words: `2h`, `$3`.
    pub budget_spent: Option<String>,
    /// When it finished last; absent during a start of the run, and after one that was cut off.
    pub finished_at: Option<Timestamp>,
    /// Number of times that it was resumed.
    #[serde(default)]
    pub resumed: u32,
    /// Commit of the repository that holds the manifest.
    pub git_commit: Option<String>,
    /// Whether that repository had uncommitted changes.
    pub git_dirty: Option<bool>,
}

impl RunFile {
    /// The provenance of a run that this program writes. The machine, the engine and the commit are unknown
    /// until filled in.
    pub fn new(name: impl Into<String>, command: &[String], seed: u64, started_at: Timestamp) -> Self {
        Self {
            format: FORMAT,
            name: name.into(),
            tool: Tool::this(),
            command: command.to_vec(),
            host: None,
            gpus: Vec::new(),
            engine: None,
            simulated: false,
            imported: None,
            predicted: None,
            seed,
            started_at,
            budget_spent: None,
            finished_at: None,
            resumed: 0,
            git_commit: None,
            git_dirty: None,
        }
    }
}

/// The engine of a run.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineFact {
    /// `vllm`, `sim` or `openai`.
    pub name: String,
    /// Its version, when it reports one.
    pub version: Option<String>,
}

/// The source of imported numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The tool that measured, according to its files: `vllm bench serve`, `GuideLLM 0.5.0`; else `unknown`.
    pub client: String,
    /// The files, in the order they were read.
    pub files: Vec<ImportedFile>,
    /// Ids of the cells, in the order of the files. The groups of an imported run's plan hold no cells.
    pub cells: Vec<String>,
    /// Remarks of the person who imported the numbers, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caveats: Vec<String>,
}

/// A file from which numbers were imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedFile {
    /// The names of its folder and of the file.
    pub name: String,
    /// SHA-256 of its bytes, in hexadecimal digits.
    pub sha256: String,
}

/// The kind of machine on which a run was measured; not its host name.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Operating system and architecture: `linux-x86_64`.
    pub platform: String,
    /// Name of the processor, when it is known.
    pub cpu: Option<String>,
    /// Number of logical processors.
    pub cores: u32,
    /// Memory, GiB, rounded.
    pub memory_gib: Option<u64>,
}

/// One GPU.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// Its name, as reported by the driver.
    pub name: String,
    /// Memory, MiB.
    pub memory_mib: Option<u64>,
    /// Version of its driver.
    pub driver: Option<String>,
}

/// A run as read from its light files.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRun {
    /// The run's folder.
    pub folder: Utf8PathBuf,
    /// Provenance.
    pub run: RunFile,
    /// The plan of the run.
    pub plan: Plan,
    /// Servers that were started, in the order of the plan.
    pub servers: Vec<ServerFile>,
    /// Cells that are done, in the order of the plan.
    pub cells: Vec<CellFile>,
    /// The effective manifest, as text.
    pub effective: String,
    /// Predictions for its cells, for comparison with the measurements; absent where there are none.
    pub predictions: Option<Predictions>,
}

impl CellFile {
    /// Whether the numbers were measured on a real engine, by this or another tool: neither simulated nor
    /// predicted.
    pub fn is_real(&self) -> bool {
        !self.simulated && !self.predicted
    }

    /// Whether the cell has numbers, measured or imported.
    pub fn has_numbers(&self) -> bool {
        self.outcome.is_measured() && (self.summary.is_some() || !self.reported.is_empty())
    }

    /// Returns a metric of the cell, from its pooled repeats or as imported, in the metric's unit; `None`
    /// where it was not measured.
    pub fn number(&self, metric: Metric) -> Option<f64> {
        let own = self.summary.as_ref().and_then(|summary| metric.of(summary));
        own.or_else(|| {
            // Building the column's name is slow, and few cells need it.
            if self.reported.is_empty() {
                return None;
            }
            let reported = self.reported.get(&metric.column()).copied();
            reported.filter(|number| number.is_finite())
        })
    }
}

impl StoredRun {
    /// The name of the machine: its label, else its GPUs, else its processor. `None` when nothing is known.
    pub fn machine(&self) -> Option<String> {
        if let Some(label) = &self.plan.hardware.label {
            return Some(label.clone());
        }
        match self.run.gpus.as_slice() {
            [] => self.run.host.as_ref().map(|host| match &host.cpu {
                Some(cpu) => format!("{cpu} (CPU)"),
                None => format!("{} (CPU)", host.platform),
            }),
            [one] => Some(one.name.clone()),
            several if several.iter().all(|gpu| gpu.name == several[0].name) => {
                Some(format!("{}× {}", several.len(), several[0].name))
            }
            several => {
                let names: Vec<&str> = several.iter().map(|gpu| gpu.name.as_str()).collect();
                Some(names.join(" + "))
            }
        }
    }

    /// Inserts a cell, or replaces it; cells keep the order of the plan.
    pub fn put_cell(&mut self, cell: CellFile) {
        let ids = self.plan.groups.iter().flat_map(|group| &group.cells);
        put(&mut self.cells, cell, ids.map(|cell| &cell.id), |cell| &cell.id);
    }

    /// Inserts a server, or replaces it; servers keep the order of the plan.
    pub fn put_server(&mut self, server: ServerFile) {
        let ids = self.plan.groups.iter().map(|group| &group.id);
        put(&mut self.servers, server, ids, |server| &server.id);
    }
}

/// Inserts or replaces an item among items that are sorted by `order`.
fn put<'a, T>(
    items: &mut Vec<T>,
    item: T,
    order: impl Iterator<Item = &'a String>,
    id: impl Fn(&T) -> &String,
) {
    let mut at = 0;
    for before in order.take_while(|next| *next != id(&item)) {
        at += usize::from(items.get(at).is_some_and(|item| id(item) == before));
    }
    match items.get_mut(at).filter(|old| id(old) == id(&item)) {
        Some(old) => *old = item,
        None => items.insert(at, item),
    }
}
