//! [`Answer`]: what a search found so far.

use serde_json::Value;

use super::probe::{Evidence, Next, Probe};
use crate::plan::{Expected, Search};

/// What a search does after its probes so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What it found, in state [`State::Unfinished`] while it goes on.
    pub answer: Answer,
    /// What it measures next; absent when it has its answer.
    pub next: Option<Next>,
}

/// What a search found, from its probes so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The search.
    pub search: Search,
    /// How it ended, or that it goes on.
    pub state: State,
    /// The value to use: the largest (or smallest) value that works; for the best server, the combination's
    /// values. Absent where none does, or none is known.
    pub found: Option<Vec<Value>>,
    /// The end of the bracket that works.
    pub feasible: Option<f64>,
    /// The end of the bracket that does not.
    pub infeasible: Option<f64>,
    /// The SLO term, or the outcome, that limits.
    pub binding: Option<String>,
    /// Whether the limit is a cliff or a slope, for a load.
    pub ending: Option<Ending>,
    /// Whether load and latency rise together, over the probes; absent where they cannot tell.
    pub monotone: Option<bool>,
    /// Every probe, in the order they were measured.
    pub probes: Vec<Probe>,
    /// Server starts of the probes.
    pub starts: u32,
    /// Requests that the probes sent.
    pub requests: u64,
    /// Of these, requests of probes that say nothing.
    pub wasted: u64,
    /// Where a prediction expected the answer.
    pub expected: Option<Expected>,
    /// For the best server: every candidate, the Pareto front first.
    pub candidates: Vec<Candidate>,
    /// Why the state is what it is, as a sentence; empty where the state says it.
    pub reason: String,
}

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The bracket is as narrow as asked.
    Found,
    /// Every value works: the answer is the end of the range.
    All,
    /// No value works.
    None,
    /// The bracket could not be made as narrow as asked with a sensible number of probes.
    Wide,
    /// Invalid probes, or contradictions, leave it open.
    CannotTell,
    /// It goes on, or the run ended before it.
    Unfinished,
}

/// How latency behaves at the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It jumps: a little more load costs a multiple.
    Cliff,
    /// It rises gradually.
    Slope,
}

/// A server that a search for the best one tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The value of each axis.
    pub values: Vec<Value>,
    /// The objective, in its own unit; absent where it could not be measured.
    pub objective: Option<f64>,
    /// p95 TTFT of the first workload that has one, milliseconds.
    pub p95_ttft_ms: Option<f64>,
    /// Output tokens per second, summed over workloads.
    pub throughput_tok_s: Option<f64>,
    /// Whether every SLO was met.
    pub meets_slo: bool,
    /// Whether no other candidate is better in both latency and throughput.
    pub is_pareto: bool,
    /// Why it has no numbers.
    pub reason: Option<String>,
}

impl Answer {
    /// Id of the server that the answer is about: the one that all probes share, or the one with the value
    /// found.
    pub fn server(&self) -> Option<&str> {
        let found = || self.probes.iter().find(|probe| Some(&probe.values) == self.found.as_ref());
        self.search.server.as_deref().or_else(|| found().map(|probe| probe.server.as_str()))
    }

    /// The answer of a search that goes on: its probes are counted, and nothing is found.
    pub(super) fn unfinished(search: &Search, probes: &[Probe]) -> Self {
        let invalid = probes.iter().filter(|probe| matches!(probe.evidence, Evidence::Invalid(_)));
        Self {
            search: search.clone(),
            state: State::Unfinished,
            found: None,
            feasible: None,
            infeasible: None,
            binding: None,
            ending: None,
            monotone: None,
            starts: probes.iter().map(|probe| u32::from(probe.started)).sum(),
            requests: probes.iter().map(|probe| probe.requests).sum(),
            wasted: invalid.map(|probe| probe.requests).sum(),
            probes: probes.to_vec(),
            expected: search.expected,
            candidates: Vec::new(),
            reason: String::new(),
        }
    }
}

impl State {
    /// The name in `searches.csv`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::All => "all",
            Self::None => "none",
            Self::Wide => "wide",
            Self::CannotTell => "cannot_tell",
            Self::Unfinished => "unfinished",
        }
    }
}
