//! A number of a cell by its name, and whether it may be ranked.

use crate::{
    manifest::SloTerm,
    measure::{Severity, Summary, VerdictKind},
    store::CellFile,
};

/// A number of a summary by its column name without unit: `p95_ttft`, or `throughput`, `user`, `goodput`.
/// Latencies in milliseconds. What is not finite is absent.
pub(in crate::report) fn metric(summary: &Summary, key: &str) -> Option<f64> {
    let value = match key {
        "throughput" => summary.throughput_tok_s,
        "total" => summary.total_tok_s,
        "user" => summary.user_tok_s,
        "goodput" => summary.goodput_req_s,
        "req_s" => summary.req_s,
        _ => {
            let (percentile, metric) = SloTerm::parse_key(key).ok()?;
            let latency = match metric.name() {
                "ttft" => &summary.ttft,
                "itl" => &summary.itl,
                "tpot" => &summary.tpot,
                _ => &summary.e2e,
            };
            latency.as_ref()?.percentile(percentile)
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
    let touched = touched
        .trim_end_matches("_ms")
        .trim_end_matches("_tok_s")
        .trim_end_matches("_req_s");
    touched == key
        || key
            .strip_suffix(touched)
            .is_some_and(|rest| rest.ends_with('_'))
}
