//! Records → [`Summary`], and how the cell ended by it.

use std::collections::BTreeMap;

use super::{
    outcome::CellOutcome,
    samples::{self, Samples},
    summary::Summary,
};
use crate::{
    load::{ClientHealth, Outcome, Phase, Records},
    manifest::{Start, Workload},
    observe::ServerSide,
};

/// What was asked, and what is known of who answered: all that records do not say of themselves.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The workload with every axis applied.
    pub spec: &'a Workload,
    /// How the streams of a closed loop were to start; absent in an open loop.
    pub start: Option<Start>,
    /// Whether the embedded engine answered.
    pub engine_simulated: bool,
    /// Number of distinct prompts.
    pub inputs: usize,
    /// Whether the server's log shows our flags; absent when it shows none.
    pub flags_confirmed: Option<bool>,
    /// Whether the server keeps prefixes for later prompts; absent when that is not known.
    pub prefix_caching: Option<bool>,
    /// The longest prompt and answer together that the server says it takes, tokens; absent where it says nothing.
    pub max_model_len: Option<u64>,
    /// How our own client fared in each repeat; empty where nobody looked.
    pub client: &'a [ClientHealth],
    /// What the server said of all repeats; absent where nobody asked.
    pub server: Option<&'a ServerSide>,
}

/// The summary of one repeat, from its measured requests.
pub fn summarize(records: &Records, asked: &Asked<'_>) -> Summary {
    Samples::gather(records, asked).summary(samples::itl(&[records]), asked)
}

/// The summary of several repeats as one: samples pooled, the windows' lengths added, rates over the sum.
pub fn pool(repeats: &[Records], asked: &Asked<'_>) -> Summary {
    let mut samples = Samples::default();
    for records in repeats {
        samples.pool(Samples::gather(records, asked));
    }
    let repeats: Vec<&Records> = repeats.iter().collect();
    samples.summary(samples::itl(&repeats), asked)
}

/// How a cell ended by its counts alone: all completed, some, or none.
pub fn outcome(summary: &Summary) -> CellOutcome {
    match (summary.counts.completed, summary.counts.errors()) {
        (0, _) => CellOutcome::Failed,
        (_, 0) => CellOutcome::Ok,
        _ => CellOutcome::Degraded,
    }
}

/// What failed requests said, the most common first, at most five: `rejected(429): too many requests`. A text that first
/// comes after ten thousand others is not counted: such texts differ in every request.
pub fn common_errors(repeats: &[Records]) -> Vec<(String, u64)> {
    const MOST: usize = 5;
    const DIFFERENT: usize = 10_000;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for record in repeats.iter().flatten() {
        if record.phase == Phase::Measured && record.outcome != Outcome::Completed {
            let text = match &record.error {
                Some(error) => format!("{}: {error}", record.outcome),
                None => record.outcome.to_string(),
            };
            if counts.len() < DIFFERENT || counts.contains_key(&text) {
                *counts.entry(text).or_default() += 1;
            }
        }
    }
    let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.truncate(MOST);
    counts
}
