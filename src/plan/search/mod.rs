//! Searches: which cells a run measures next is decided by what it has measured, so the plan holds the
//! question, and [`probe`] makes the cells of one value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::manifest::{Find, LoadAxis, SearchObjective, That};

mod declared;
mod demands;
mod expand;
mod ids;
mod load_question;
mod number;
mod probe;
mod range;
mod server_question;
#[cfg(test)]
mod tests;
mod tune_axis;
mod value_range;
mod varying;
mod words;

pub(super) use declared::Declared;
pub(super) use expand::{load_searches, server_searches};
pub(super) use ids::Ids;
pub use probe::{probe, with_first_probes};

/// One question of a plan, for one combination of the other axes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// Unique in the plan: the name, and a number from the second combination on (`chat`, `chat-2`).
    pub id: String,
    /// The name in the manifest: that of the workload, or of the table `[search.NAME]`.
    pub name: String,
    /// The workload that is loaded; absent where several may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// Id of the group that the probes run on; absent where each probe has its own server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The value of every other axis, by column name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub axes: BTreeMap<String, Value>,
    /// What is looked for.
    pub goal: Goal,
    /// Where the answer is expected by a prediction; absent without one. Set when the run begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
}

/// What a search looks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The most load within the SLO.
    Load {
        /// The load that varies; its key is also the column's name.
        axis: LoadAxis,
        /// The smallest load.
        from: f64,
        /// The largest load.
        to: f64,
        /// How far apart the ends of the answer may stay, as a fraction of the lower one.
        within: f64,
        /// The probability that the limit lies between the ends.
        confidence: f64,
    },
    /// The largest or smallest value of a server axis that works.
    Value {
        /// The path, as in the manifest: `server.flags.max-model-len`.
        axis: String,
        /// The axis' column name.
        column: String,
        /// Which end is wanted.
        find: Find,
        /// What a value has to do.
        that: That,
        /// The smallest value.
        from: f64,
        /// The largest value.
        to: f64,
        /// The distance between two values, from `from` on.
        step: f64,
        /// Whether values are integers.
        integer: bool,
    },
    /// The best combination of values of server axes.
    Best {
        /// The axes with the values that are tried.
        axes: Vec<TuneAxis>,
        /// What the best server has most of.
        objective: SearchObjective,
        /// The most server starts.
        starts: u32,
    },
}

/// An axis of a search for the best server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TuneAxis {
    /// The path, as in the manifest.
    pub axis: String,
    /// The axis' column name.
    pub column: String,
    /// The values, numbers ascending.
    pub values: Vec<Value>,
}

/// A predicted answer, with its 90 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// The predicted answer.
    pub value: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

impl Search {
    /// Whether a probe of another search added it: the search for the most users on a candidate for the best
    /// server (`tune/3/chat`).
    pub fn is_of_candidate(&self) -> bool {
        self.id.contains('/')
    }

    /// The id of the search in the manifest that it belongs to: its own, or that of the search for the best
    /// server.
    pub fn root(&self) -> &str {
        self.id.split('/').next().unwrap_or(&self.id)
    }
}
