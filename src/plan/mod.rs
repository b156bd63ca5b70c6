//! Manifest → [`Plan`]: the ordered cells, grouped by server so that each distinct server starts once.

mod arrivals;
mod axis;
mod columns;
mod content;
mod expand;
mod expression;
mod identity;
mod ladder;
mod load_values;
mod order;
mod samples;
mod select;
mod validate;

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    manifest::{Experiment, Hardware, Server, Start, Workload},
    unit::TimeSpan,
};

pub use axis::{Axis, Quantity, Role};
pub use expand::{MOST_CELLS, plan};
pub use order::Turn;
pub use select::selects;

/// What a run will do, in order. Pure data: it names no clock, no file and no process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of this form on disk.
    pub format: u32,
    /// The experiment as declared.
    pub experiment: Experiment,
    /// Label and price.
    pub hardware: Hardware,
    /// Column names of the server axes, in the order of the manifest.
    pub server_axes: Vec<String>,
    /// Column names of the load axes, in the order of the manifest.
    pub load_axes: Vec<String>,
    /// One group per server to start.
    pub groups: Vec<Group>,
}

/// One server and every cell that is measured on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Folder name of the server: its model or differing flags, and a hash.
    pub id: String,
    /// The server with every axis applied.
    pub server: Arc<Server>,
    /// Value of each server axis, by column name.
    pub axes: BTreeMap<String, Value>,
    /// Cells in the order of the manifest; [`Group::turns`] gives the order they are measured in.
    pub cells: Vec<Cell>,
}

/// One point of the matrix: one server, one workload, one value per axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// `chat-c8-t128-1f3a9c20`: for people, then a hash of the resolved values and the content of the inputs.
    pub id: String,
    /// The workload's name in the manifest.
    pub workload: String,
    /// The workload with every axis applied.
    pub spec: Arc<Workload>,
    /// When the cell stops asking.
    pub stop: Stop,
    /// The most tokens a request may generate.
    pub max_tokens: u32,
    /// Value of each load axis of this workload, by column name.
    pub axes: BTreeMap<String, Value>,
    /// Seed of this cell: everything random in it.
    pub seed: u64,
    /// Why it is not measured, when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<String>,
    /// The cell below it on the ladder it belongs to: where climbing ends there or earlier, this one is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rung_below: Option<String>,
}

/// When a cell stops starting requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// After this many measured requests.
    Requests(u64),
    /// After this long.
    Duration(TimeSpan),
}

/// With fewer requests than this for each stream, warm-up included, the time in which not all streams are there yet, or
/// not any more, would be too large a part of the cell.
const REQUESTS_TO_STAGGER: u64 = 8;

impl Cell {
    /// How the streams of its closed loop start: as told, else staggered where there are enough requests for each
    /// stream, or a duration. `None` in an open loop.
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
    /// A seed that the cells of a workload share, whatever their load and their server: what is drawn from it is the same in
    /// all of them. [`Cell::seed`] is of one cell alone.
    pub fn shared_seed(&self, cell: &Cell) -> u64 {
        let swept = cell.axes.get("seed").and_then(Value::as_u64);
        identity::workload_seed(&cell.workload, swept.unwrap_or(self.experiment.seed))
    }

    /// How many cells there are, skipped ones included.
    pub fn len(&self) -> usize {
        self.groups.iter().map(|group| group.cells.len()).sum()
    }

    /// Whether there is no cell at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
