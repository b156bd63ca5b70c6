//! The light files of a run folder: what goes to git and suffices to render everything again.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::prediction::{Basis, Predictions};
use crate::{
    load::ClientHealth,
    manifest::{Objective, Slo},
    measure::{CellOutcome, ClientTotals, Metric, Point, Summary, Verdict},
    observe::ServerSide,
    plan::Plan,
    server::{Facts, ServerOutcome},
};

/// Version of every form this program writes, and the newest it reads.
pub const FORMAT: u32 = 1;

/// `cells/<id>/cell.json`: everything the notes need of one cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellFile {
    /// Version of this form.
    pub format: u32,
    /// The cell's id, which is also its folder.
    pub id: String,
    /// The workload's name.
    pub workload: String,
    /// Folder of the server it was measured on, under `servers/`.
    pub server: String,
    /// How it ended.
    pub outcome: CellOutcome,
    /// Why it ended so, when that is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The cell at which the ladder it belongs to ended, when it was skipped for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ladder_ended_at: Option<String>,
    /// The server that needs no more memory than this cell's and was out of it at its start, when this cell was skipped for
    /// that (`experiment.skip_impossible`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proved_impossible_by: Option<String>,
    /// Whether the embedded engine answered.
    pub simulated: bool,
    /// Whether the numbers were computed in virtual time, and nothing was measured.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub predicted: bool,
    /// Resolved load values that always have a column: `concurrency`, `max_tokens`, `requests` …
    pub load: BTreeMap<String, Value>,
    /// Value of every axis, server's and load's, by column name.
    pub axes: BTreeMap<String, Value>,
    /// What the workload wants most.
    pub objective: Objective,
    /// The targets the goodput was counted against.
    #[serde(default)]
    pub slo: Slo,
    /// Summary of the pooled repeats; absent when nothing was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// Numbers of an imported cell that came without the samples they were made of, by column name (`p95_ttft_ms`); of
    /// several repeats, the mean of what each reports. Empty for what this tool measured.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reported: BTreeMap<String, f64>,
    /// Summary of each repeat, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeats: Vec<Summary>,
    /// What the server and its machine said while the cell was measured, repeats pooled; absent where nobody asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_side: Option<ServerSide>,
    /// The same of each repeat, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub server_side_repeats: Vec<ServerSide>,
    /// What the client counted of every request, warm-up included, to be held against the server's counters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_totals: Option<ClientTotals>,
    /// How our own client fared in each repeat.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client: Vec<ClientHealth>,
    /// Which numbers may be trusted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<Verdict>,
    /// The cell's timeline, thinned; of the last repeat.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<Point>,
    /// The most common errors of failed requests, with their number.
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
    /// GPU energy for an output token, joules: energy of the GPUs that the server used over all output tokens, warm-up in both.
    /// Absent where the driver tells no energy or the answers no tokens.
    pub fn gpu_j_per_output_token(&self) -> Option<f64> {
        let energy = self.server_side.as_ref()?.gpu_energy_j()?;
        let tokens = self.client_totals?.output_tokens?;
        (tokens > 0).then(|| energy / tokens as f64)
    }
}

/// An attempt at a cell that a crash or a hang of its server ended; the cell was tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// How it ended: `crashed` or `hung`, or `server_failed` for a start that was made again.
    pub outcome: CellOutcome,
    /// The line that says so, or why.
    pub reason: String,
    /// The end of the server's log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
    /// When it ended.
    pub ended_at: Timestamp,
}

/// `servers/<name>-<hash>/server.json`: how one server started and what it said of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerFile {
    /// Version of this form.
    pub format: u32,
    /// The server's id, which is also its folder.
    pub id: String,
    /// How its start ended.
    pub outcome: ServerOutcome,
    /// The line that says so, or why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The argument vector it was started with; empty for an attached server.
    pub argv: Vec<String>,
    /// Value of each server axis, by column name.
    pub axes: BTreeMap<String, Value>,
    /// What it said of itself.
    pub facts: Facts,
    /// Process exit code, when it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The end of its log, when it failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
    /// When it was launched.
    pub started_at: Timestamp,
}

impl ServerFile {
    /// Whether it served.
    pub fn is_ready(&self) -> bool {
        self.outcome == ServerOutcome::Ready
    }
}

/// `run.json`: where the numbers come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunFile {
    /// Version of this form.
    pub format: u32,
    /// The run's name, which is also its folder.
    pub name: String,
    /// The tool that wrote it.
    pub tool: Tool,
    /// The command line.
    pub command: Vec<String>,
    /// The machine; absent where numbers were imported and nobody told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    /// The GPUs that were seen; empty where there is none.
    pub gpus: Vec<Gpu>,
    /// The engine and its version, as the first ready server told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineFact>,
    /// Whether the embedded engine answered.
    pub simulated: bool,
    /// Where the numbers come from, when another tool measured them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
    /// What the numbers rest on, when all of them were predicted and nothing was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<Basis>,
    /// Seed of the experiment.
    pub seed: u64,
    /// When the run began.
    pub started_at: Timestamp,
    /// When it was last worked on; absent while it runs for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// How often it was resumed.
    #[serde(default)]
    pub resumed: u32,
    /// Commit of the repository that holds the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_commit: Option<String>,
    /// Whether that repository had uncommitted changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_dirty: Option<bool>,
}

impl RunFile {
    /// The provenance of a run that this program writes. The machine, the engine and the commit are unknown until filled in.
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
            finished_at: None,
            resumed: 0,
            git_commit: None,
            git_dirty: None,
        }
    }
}

/// The engine of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineFact {
    /// `vllm`, `sim` or `openai`.
    pub name: String,
    /// Its version, when it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Numbers that another tool measured, and what is known of how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// What measured, as its files tell: `vllm bench serve`, `GuideLLM 0.5.0`; `unknown` for a table that does not say.
    pub client: String,
    /// The files, in the order they were read.
    pub files: Vec<ImportedFile>,
    /// Ids of the cells, in the order of the files. Nothing was planned, so the plan's groups hold no cells.
    pub cells: Vec<String>,
    /// What whoever imported them says of the numbers, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caveats: Vec<String>,
}

/// A file that numbers were imported from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedFile {
    /// Its name and that of its folder.
    pub name: String,
    /// SHA-256 of its bytes, in hexadecimal digits.
    pub sha256: String,
}

/// The tool that wrote a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// `runner`.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Tool {
    /// This program and its version.
    pub fn this() -> Self {
        Self { name: "runner".into(), version: crate::VERSION.into() }
    }
}

/// The machine a run was measured on: its class, not its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Operating system and architecture: `linux-x86_64`.
    pub platform: String,
    /// Name of the processor, when it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Number of logical processors.
    pub cores: u32,
    /// Memory, GiB, rounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_gib: Option<u64>,
}

/// One GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// Its name, as its driver says.
    pub name: String,
    /// Memory, MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
    /// Version of its driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
}

/// A run as read from its light files.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRun {
    /// The run's folder.
    pub folder: Utf8PathBuf,
    /// Provenance.
    pub run: RunFile,
    /// What the run set out to do.
    pub plan: Plan,
    /// Servers that were started, in the order of the plan.
    pub servers: Vec<ServerFile>,
    /// Cells that are done, in the order of the plan.
    pub cells: Vec<CellFile>,
    /// The effective manifest, as text.
    pub effective: String,
    /// What was predicted of its cells, to be laid beside what was measured; absent where nothing was.
    pub predictions: Option<Predictions>,
}

impl CellFile {
    /// Whether the numbers were measured on a real engine, by whatever tool: neither simulated nor predicted.
    pub fn is_real(&self) -> bool {
        !self.simulated && !self.predicted
    }

    /// Whether the cell has numbers of its own: measured here, or reported by whoever measured it.
    pub fn has_numbers(&self) -> bool {
        self.outcome.is_measured() && (self.summary.is_some() || !self.reported.is_empty())
    }

    /// A number of the cell, in the metric's unit: of its pooled repeats, or as another tool reported it. Absent where it was
    /// not measured.
    pub fn number(&self, metric: Metric) -> Option<f64> {
        let own = self.summary.as_ref().and_then(|summary| metric.of(summary));
        own.or_else(|| {
            // Spelling a column's name takes a while, and few cells need it.
            if self.reported.is_empty() {
                return None;
            }
            let reported = self.reported.get(&metric.column()).copied();
            reported.filter(|number| number.is_finite())
        })
    }
}

impl StoredRun {
    /// What the machine is called: its label, else its GPUs, else its processor. `None` where nobody told.
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

    /// Takes in a cell that was just stored, in place of an older one; its place is the plan's.
    pub fn put_cell(&mut self, cell: CellFile) {
        let ids = self.plan.groups.iter().flat_map(|group| &group.cells);
        put(&mut self.cells, cell, ids.map(|cell| &cell.id), |cell| &cell.id);
    }

    /// Takes in a server that was just stored, in place of an older one; its place is the plan's.
    pub fn put_server(&mut self, server: ServerFile) {
        let ids = self.plan.groups.iter().map(|group| &group.id);
        put(&mut self.servers, server, ids, |server| &server.id);
    }
}

/// Puts an item where `order` says, among items that stand in that order.
fn put<'a, T>(
    items: &mut Vec<T>,
    item: T,
    order: impl Iterator<Item = &'a String>,
    id: impl Fn(&T) -> &String,
) {
    let mut at = 0;
    for next in order {
        let here = items.get(at).is_some_and(|item| id(item) == next);
        if next == id(&item) {
            if here {
                items[at] = item;
            } else {
                items.insert(at, item);
            }
            return;
        }
        at += usize::from(here);
    }
}
