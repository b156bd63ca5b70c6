//! [`Verdict`]: a typed statement on whether a number may be trusted.

use serde::{Deserialize, Serialize};

/// A problem with the numbers of a cell: what it is, what it affects, and what to do about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The problem.
    pub kind: VerdictKind,
    /// How much of the cell it affects.
    pub severity: Severity,
    /// The metrics it affects, as column names without unit (`p95_ttft`, `throughput`); a latency's bare name
    /// (`ttft`) stands for all of its percentiles. Empty for `note` and `cell`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub touches: Vec<String>,
    /// The observation, with its numbers.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
}

/// How much of a cell a verdict affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing is excluded from rankings; read the reason.
    Note,
    /// The metrics in [`Verdict::touches`] are excluded from rankings.
    Metric,
    /// The whole cell is excluded from rankings.
    Cell,
}

/// The kinds of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// The embedded engine answered, not a real server.
    Simulated,
    /// The numbers were computed in virtual time; nothing was measured.
    Predicted,
    /// Another tool measured the numbers, by its own definitions.
    Imported,
    /// A percentile has too few samples.
    FewSamples,
    /// Some requests failed.
    Errors,
    /// Requests were retried, as the workload allows.
    Retried,
    /// Repeated prompts found their prefix in the cache.
    WarmCache,
    /// Prompts that should be new found a prefix in the cache.
    CacheContaminated,
    /// Answers are shorter than the exact length requested.
    ShortOutput,
    /// Prompts had another length than requested.
    InputLength,
    /// The server's token counts are missing or contradict what arrived.
    TokenCounts,
    /// The client sent requests late.
    ClientLate,
    /// The client was too busy to stamp chunks in time.
    ClientSaturated,
    /// Arrivals of an open loop were never sent.
    ArrivalsDropped,
    /// The configured concurrency was not reached.
    ConcurrencyNotReached,
    /// Requests of an open loop arrived faster than they ended.
    RateNotSustained,
    /// Answers were not streamed.
    NotStreamed,
    /// The first and the second half of the cell differ.
    NotSteady,
    /// The engine preempted running requests.
    Preempted,
    /// Repeats of the cell differ.
    RepeatsDisagree,
    /// The interval of a number over the repeats is wider than the experiment allows.
    WideInterval,
    /// The server's flags could not be confirmed.
    FlagsUnverified,
}

impl VerdictKind {
    /// The name in files and tables.
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
            Self::WideInterval => "wide_interval",
            Self::FlagsUnverified => "flags_unverified",
        }
    }
}
