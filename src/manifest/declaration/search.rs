//! `[workload.NAME.search]` and `[search.NAME]`: questions whose answer a run looks for, instead of measuring
//! every value of an axis.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Number;

use crate::unit::Percent;

/// The most load at which the workload meets its SLO. One search for each combination of the workload's other
/// axes, on each server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadSearch {
    /// The load to search: `concurrency` in a closed loop, `rate` in an open one.
    pub axis: LoadAxis,
    /// The smallest load that is tried.
    #[schemars(range(min = 0))]
    pub from: f64,
    /// The largest load that is tried.
    #[schemars(range(min = 0))]
    pub to: f64,
    /// How far apart the two ends of the answer may stay, relative to the lower one. Default: `"5%"`.
    #[serde(default = "within")]
    pub within: Percent,
    /// The probability that the limit lies between the two ends. Default: 0.95.
    #[serde(default = "confidence")]
    #[schemars(range(min = 0.5, max = 0.999))]
    pub confidence: f64,
}

/// The load that a search varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LoadAxis {
    /// Requests in flight, an integer.
    Concurrency,
    /// Requests per second.
    Rate,
}

impl LoadAxis {
    /// The key of the workload that it sets.
    pub fn key(self) -> &'static str {
        match self {
            Self::Concurrency => "concurrency",
            Self::Rate => "rate",
        }
    }
}

/// A search over servers: either for the largest or smallest value of one axis that works (`axis`, `find`,
/// `that`, `from`, `to`, `step`), or for the best server (`axes`, `objective`, `starts`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerSearch {
    /// The server axis to search, as in `[sweep]`: `server.flags.max-model-len`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub axis: Option<String>,
    /// Which end of the axis is wanted. Default: `largest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub find: Option<Find>,
    /// What a value has to do. Default: `fits`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub that: Option<That>,
    /// The smallest value that is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Number>,
    /// The largest value that is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Number>,
    /// The distance between two values. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Number>,
    /// The best server: the server axes to vary. An axis takes its values from `[sweep]`, else those that are
    /// usual for the flag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub axes: Option<Vec<String>>,
    /// The best server: what it should have most of, while it meets the SLO. Default: `throughput`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<SearchObjective>,
    /// The best server: the most server starts. Default: 12.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub starts: Option<u32>,
}

/// Which end of an axis a search looks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Find {
    /// The largest value that works.
    #[default]
    Largest,
    /// The smallest value that works.
    Smallest,
}

/// What a server has to do for a value to count as one that works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum That {
    /// It starts.
    #[default]
    Fits,
    /// It starts, and stays alive while every workload runs through.
    Survives,
    /// It survives, and every workload meets its SLO.
    MeetsSlo,
}

/// What the best server has most of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchObjective {
    /// Output tokens per second, among the servers that meet the SLO.
    #[default]
    Throughput,
    /// Requests per second that meet the SLO.
    Goodput,
    /// The most load within the SLO, by the workload's own search.
    MostUsers,
}

impl SearchObjective {
    /// The name in manifests and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Goodput => "goodput",
            Self::MostUsers => "most_users",
        }
    }
}

impl Find {
    /// The name in manifests and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Largest => "largest",
            Self::Smallest => "smallest",
        }
    }
}

impl That {
    /// The name in manifests and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::Survives => "survives",
            Self::MeetsSlo => "meets-slo",
        }
    }
}

fn within() -> Percent {
    Percent::new(5.0)
}

fn confidence() -> f64 {
    0.95
}
