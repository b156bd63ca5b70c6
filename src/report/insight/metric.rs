//! A number of a cell by its name, and whether it may be ranked.

use crate::{
    manifest::SloTerm,
    measure::{Severity, Summary, VerdictKind},
    report::number::{grouped, tok_s},
    store::CellFile,
};

/// What a server gives each second, by the best number that tells it: tools report different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) enum Yield {
    /// Output tokens.
    Output,
    /// Prompt and output tokens together.
    Total,
    /// Requests.
    Requests,
}

impl Yield {
    /// The first of these that some cell has, in the order above; `None` where no cell has any.
    pub(in crate::report) fn of_cells(cells: &[&CellFile]) -> Option<Self> {
        [Self::Output, Self::Total, Self::Requests]
            .into_iter()
            .find(|own| cells.iter().any(|cell| own.of(cell).is_some()))
    }

    /// Its name for [`of`].
    pub(in crate::report) fn key(self) -> &'static str {
        match self {
            Self::Output => "throughput",
            Self::Total => "total",
            Self::Requests => "req_s",
        }
    }

    /// Its column in the tables.
    pub(in crate::report) fn column(self) -> &'static str {
        match self {
            Self::Output => "throughput_tok_s",
            Self::Total => "total_tok_s",
            Self::Requests => "req_s",
        }
    }

    /// Its value in a cell; none is as good as unknown.
    pub(in crate::report) fn of(self, cell: &CellFile) -> Option<f64> {
        of(cell, self.key()).filter(|rate| *rate > 0.0)
    }

    /// What it is called: `throughput`, `requests per second`.
    pub(in crate::report) fn name(self) -> &'static str {
        match self {
            Self::Output => "throughput",
            Self::Total => "throughput of prompt and output tokens",
            Self::Requests => "throughput in requests",
        }
    }

    /// What it counts: `tokens per second`.
    pub(in crate::report) fn noun(self) -> &'static str {
        match self {
            Self::Output => "tokens per second",
            Self::Total => "prompt and output tokens per second",
            Self::Requests => "requests per second",
        }
    }

    /// A value with its unit.
    pub(in crate::report) fn said(self, rate: Option<f64>) -> String {
        match (self, rate) {
            (Self::Requests, Some(rate)) => format!("{} req/s", grouped(rate, 2)),
            (Self::Total, Some(_)) => format!("{} in and out", tok_s(rate)),
            _ => tok_s(rate),
        }
    }
}

/// Which number of a latency stands for it: tools report different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) enum Rank {
    /// The median, else the mean.
    Middle,
    /// The 95th percentile, else the 99th, else the 90th.
    Tail,
}

impl Rank {
    /// The first of these that some cell has: `p95_ttft`, `mean_ttft`; `None` where no cell has any.
    pub(in crate::report) fn key(self, cells: &[&CellFile], latency: &str) -> Option<String> {
        let ranks: &[&str] = match self {
            Self::Middle => &["p50", "mean"],
            Self::Tail => &["p95", "p99", "p90"],
        };
        ranks
            .iter()
            .map(|rank| format!("{rank}_{latency}"))
            .find(|key| cells.iter().any(|cell| of(cell, key).is_some()))
    }
}

/// A number of a summary by its column name without unit: `p95_ttft`, `mean_e2e`, or `throughput`, `user`, `goodput`.
/// Latencies in milliseconds. What is not finite is absent.
pub(in crate::report) fn metric(summary: &Summary, key: &str) -> Option<f64> {
    let value = match key {
        "throughput" => summary.throughput_tok_s,
        "total" => summary.total_tok_s,
        "user" => summary.user_tok_s,
        "goodput" => summary.goodput_req_s,
        "req_s" => summary.req_s,
        _ => {
            let latency = |name: &str| match name {
                "ttft" => summary.ttft.as_ref(),
                "itl" => summary.itl.as_ref(),
                "tpot" => summary.tpot.as_ref(),
                _ => summary.e2e.as_ref(),
            };
            match key.strip_prefix("mean_") {
                Some(name) => latency(name).map(|latency| latency.mean_ms),
                None => {
                    let (percentile, metric) = SloTerm::parse_key(key).ok()?;
                    latency(metric.name())?.percentile(percentile)
                }
            }
        }
    };
    value.filter(|number| number.is_finite())
}

/// The same of a cell that was measured; where it was imported without samples, as it was reported.
pub(in crate::report) fn of(cell: &CellFile, key: &str) -> Option<f64> {
    let own = cell
        .summary
        .as_ref()
        .and_then(|summary| metric(summary, key));
    own.or_else(|| {
        if cell.reported.is_empty() {
            return None;
        }
        let column = match key {
            "throughput" | "total" | "user" => format!("{key}_tok_s"),
            "goodput" => "goodput_req_s".into(),
            "req_s" => "req_s".into(),
            latency => format!("{latency}_ms"),
        };
        cell.reported
            .get(&column)
            .copied()
            .filter(|number| number.is_finite())
    })
}

/// Whether a cell may be ranked at all. A simulated cell may, among its like.
pub(in crate::report) fn may_rank(cell: &CellFile) -> bool {
    cell.outcome.is_measured()
        && !cell.verdicts.iter().any(|verdict| {
            verdict.severity == Severity::Cell && verdict.kind != VerdictKind::Simulated
        })
}

/// Whether a number of a cell may be ranked: no verdict takes away the cell or this metric.
pub(in crate::report) fn may_rank_by(cell: &CellFile, key: &str) -> bool {
    may_rank(cell)
        && !cell.verdicts.iter().any(|verdict| {
            verdict.severity == Severity::Metric
                && verdict.kind != VerdictKind::Simulated
                && (verdict.touches.is_empty()
                    || verdict.touches.iter().any(|touched| touches(touched, key)))
        })
}

/// `p95_ttft` touches itself; `ttft` touches all its percentiles; `throughput` touches `throughput_tok_s`.
pub(in crate::report) fn touches(touched: &str, key: &str) -> bool {
    let touched = ["_ms", "_tok_s", "_req_s"]
        .iter()
        .find_map(|unit| touched.strip_suffix(unit))
        .unwrap_or(touched);
    touched == key
        || key
            .strip_suffix(touched)
            .is_some_and(|rest| rest.ends_with('_'))
}
