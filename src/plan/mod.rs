//! Expands a manifest into a [`Plan`]: the cells in order, grouped by server so that each distinct server
//! starts once.
//!
//! ```
//! use runner::{manifest::{Manifest, Overrides}, plan::plan};
//!
//! let folder = tempfile::tempdir()?;
//! let path = camino::Utf8Path::from_path(folder.path()).unwrap().join("day.toml");
//! std::fs::write(&path, "[experiment]\nname = 'day'\n[server]\nmodel = 'm'\nengine = 'sim'\n[workload.chat]\n\
//!     prompts = ['hi']\nrequests = 16\nmax_tokens = 64\nsweep.concurrency = [1, 4, 16]\n")?;
//! let (manifest, _) = Manifest::load(&path, &Overrides::default());
//! let (plan, findings) = plan(&manifest.unwrap());
//! assert!(!findings.has_errors());
//! assert_eq!(plan.unwrap().len(), 3);
//! # Ok::<(), std::io::Error>(())
//! ```

mod axis;
mod check;
mod columns;
mod draft;
mod expand;
mod expansion;
mod expression;
mod identity;
mod ladder;
mod load_values;
mod order;
mod purpose;
mod search;
mod select;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    manifest::{Experiment, Hardware, Repeats, Server, Start, Workload},
    unit::TimeSpan,
};

pub use axis::{Axis, Quantity, Role};
pub use expand::{MOST_CELLS, plan};
pub use order::CellRepeat;
pub use search::{Expected, Goal, Search, TuneAxis, probe, with_first_probes};
pub use select::selects;

/// The servers and cells of a run, in order. Pure data, without clock, files and processes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of the file format.
    pub format: u32,
    /// The manifest's `[experiment]`.
    pub experiment: Experiment,
    /// The manifest's `[hardware]`.
    pub hardware: Hardware,
    /// Column names of the server axes, in the order of the manifest.
    pub server_axes: Vec<String>,
    /// Column names of the load axes, in the order of the manifest.
    pub load_axes: Vec<String>,
    /// One group per server to start. A run adds the probes of its searches.
    pub groups: Vec<Group>,
    /// The searches, in the order of the manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub searches: Vec<Search>,
}

/// One server and the cells that are measured on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Folder name of the server: the last part of its model's name, and a hash.
    pub id: String,
    /// The server with every axis applied.
    pub server: Arc<Server>,
    /// The value of each server axis, by column name.
    pub axes: BTreeMap<String, Value>,
    /// Cells in the order of the manifest; [`Group::repeats`] gives the order they are measured in.
    pub cells: Vec<Cell>,
}

/// One point of the matrix: one server, one workload, one value per axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Id such as `chat-c8-t128-1f3a9c20`; the last part is a hash of the resolved values and the content of
    /// the inputs.
    pub id: String,
    /// The workload's name in the manifest.
    pub workload: String,
    /// The workload with every axis applied.
    pub spec: Arc<Workload>,
    /// When the cell stops starting requests.
    pub stop: Stop,
    /// The most tokens a request may generate.
    pub max_tokens: u32,
    /// The value of each load axis of the workload, by column name.
    pub axes: BTreeMap<String, Value>,
    /// Seed of everything random in the cell.
    pub seed: u64,
    /// The reason for skipping the cell, if it is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<String>,
    /// With `stop_climbing`, the cell with the next lower load. This cell is skipped when climbing stops
    /// there or earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rung_below: Option<String>,
    /// The search that the cell is a probe of, by its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// Which measurement of its probe it is, from 1; absent where it is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
}

/// When a cell stops starting requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// After this many measured requests. With 0 only the server's start is tried, and no request is sent.
    Requests(u64),
    /// After this long.
    Duration(TimeSpan),
}

/// Fewest requests per stream, warm-up included, for a staggered start. With fewer, the time in which not all
/// streams are active would be too large a part of the cell.
const REQUESTS_TO_STAGGER: u64 = 8;

impl Cell {
    /// Whether the cell only tries the start of its server.
    pub fn is_start_only(&self) -> bool {
        self.stop == Stop::Requests(0)
    }

    /// How many times the cell is measured: a probe of a search once, whatever the experiment says.
    pub fn repeats<'a>(&self, experiment: &'a Experiment) -> &'a Repeats {
        if self.search.is_some() { Repeats::once() } else { &experiment.repeats }
    }

    /// How the streams of a closed loop start. By default staggered if there are enough requests per stream,
    /// or a duration. `None` in an open loop.
    pub fn start(&self) -> Option<Start> {
        let streams = u64::from(self.spec.streams()?);
        let enough = match self.stop {
            Stop::Requests(requests) => requests + self.spec.warmup >= REQUESTS_TO_STAGGER * streams,
            Stop::Duration(_) => true,
        };
        Some(self.spec.start.unwrap_or(if enough && streams > 1 {
            Start::Staggered
        } else {
            Start::Together
        }))
    }
}

impl Plan {
    /// The number of cells, including skipped ones.
    pub fn len(&self) -> usize {
        self.groups.iter().map(|group| group.cells.len()).sum()
    }

    /// Whether the plan has neither cells nor searches, which add cells to it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.searches.is_empty()
    }

    /// The plan as the manifest alone gives it: without the cells, servers and searches that probes added, and
    /// without predicted answers.
    pub fn without_probes(&self) -> Self {
        let mut plan = self.clone();
        plan.searches.retain(|search| !search.is_of_candidate());
        plan.searches.iter_mut().for_each(|search| search.expected = None);
        for group in &mut plan.groups {
            group.cells.retain(|cell| cell.search.is_none());
        }
        plan.drop_idle_groups();
        plan
    }

    /// Removes the servers on which nothing is measured.
    fn drop_idle_groups(&mut self) {
        let searched: BTreeSet<&String> =
            self.searches.iter().filter_map(|search| search.server.as_ref()).collect();
        self.groups.retain(|group| !group.cells.is_empty() || searched.contains(&group.id));
    }
}
