//! Typed statements on whether a number may be trusted.

use serde::{Deserialize, Serialize};

/// Whether a number of a cell may be trusted, why, and what would help.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What was seen.
    pub kind: VerdictKind,
    /// How much of the cell it touches.
    pub severity: Severity,
    /// The metrics it touches, as column names without unit (`p95_ttft`, `throughput`); a latency's bare name (`ttft`)
    /// stands for all its percentiles. Empty for `note` and `cell`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub touches: Vec<String>,
    /// What was seen, with its numbers.
    pub reason: String,
    /// What to do next.
    pub hint: String,
}

/// How much of a cell a verdict touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Read on.
    Note,
    /// The metrics it touches are not to be ranked.
    Metric,
    /// Nothing in the cell is to be ranked.
    Cell,
}

/// What a verdict is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// The embedded engine answered: nothing here was measured on a real one.
    Simulated,
    /// Computed in virtual time: nothing answered, and nothing was measured.
    Predicted,
    /// Another tool measured, by its own definitions.
    Imported,
    /// Too few samples for a percentile.
    FewSamples,
    /// Some requests failed.
    Errors,
    /// Requests were tried again, as was asked for.
    Retried,
    /// The same prompts met a warm prefix cache.
    WarmCache,
    /// Prefixes were found in the cache where none were meant to be.
    CacheContaminated,
    /// Answers shorter than an exact length.
    ShortOutput,
    /// Prompts had another length than asked for.
    InputLength,
    /// The server's token counts are missing or do not agree with what arrived.
    TokenCounts,
    /// Our own client sent late.
    ClientLate,
    /// Our own client had no time for what arrived.
    ClientSaturated,
    /// Arrivals that were due were never sent.
    ArrivalsDropped,
    /// The concurrency asked for was not reached.
    ConcurrencyNotReached,
    /// Requests of an open loop came faster than they ended.
    RateNotSustained,
    /// Answers came whole: nothing was streamed.
    NotStreamed,
    /// First and last part of the cell disagree.
    NotSteady,
    /// The engine put running requests back into its queue.
    Preempted,
    /// Repeats of the cell disagree.
    RepeatsDisagree,
    /// The server's flags could not be confirmed.
    FlagsUnverified,
}

impl VerdictKind {
    /// The word for files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Simulated => "simulated",
            Self::Predicted => "predicted",
            Self::Imported => "imported",
            Self::FewSamples => "few_samples",
            Self::Errors => "errors",
            Self::Retried => "retried",
            Self::WarmCache => "warm_cache",
            Self::CacheContaminated => "cache_contaminated",
            Self::ShortOutput => "short_output",
            Self::InputLength => "input_length",
            Self::TokenCounts => "token_counts",
            Self::ClientLate => "client_late",
            Self::ClientSaturated => "client_saturated",
            Self::ArrivalsDropped => "arrivals_dropped",
            Self::ConcurrencyNotReached => "concurrency_not_reached",
            Self::RateNotSustained => "rate_not_sustained",
            Self::NotStreamed => "not_streamed",
            Self::NotSteady => "not_steady",
            Self::Preempted => "preempted",
            Self::RepeatsDisagree => "repeats_disagree",
            Self::FlagsUnverified => "flags_unverified",
        }
    }
}
