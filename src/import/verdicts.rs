//! Verdicts on imported numbers, by what their file states.

use crate::{
    manifest::LatencyKind,
    measure::{self, Metric, Rank, Severity, Verdict, VerdictKind},
    store::CellFile,
    unit::Percentile,
};

/// Fraction of E2E from which on a TTFT means that the client did not stream.
const NOT_STREAMED: f64 = 0.99;

/// Returns the verdicts on a cell with its numbers.
pub(super) fn verdicts(cell: &CellFile, client: &str, requests: Option<u64>) -> Vec<Verdict> {
    let mut verdicts = vec![imported(client, requests)];
    if let Some(requests) = requests {
        let samples = |rank, metric| samples(cell, rank, metric, requests);
        verdicts.extend(measure::few_samples(&cell.slo, "", samples));
    }
    verdicts.extend(not_streamed(cell));
    verdicts
}

fn imported(client: &str, requests: Option<u64>) -> Verdict {
    let by = match client {
        "unknown" => "measured by another tool, which the file does not name".to_owned(),
        client => format!("measured by {client}"),
    };
    let samples = match requests {
        Some(_) => "",
        None => "; the number of requests behind each percentile is unknown",
    };
    Verdict {
        kind: VerdictKind::Imported,
        severity: Severity::Note,
        touches: Vec::new(),
        reason: format!("{by}, by its own definitions{samples}"),
        hint: "check its definitions against those below before comparing; `runner import --requests` states the number of \
               requests if the file does not"
            .into(),
    }
}

/// The number of samples behind a percentile of a cell; `None` if the cell lacks it.
fn samples(cell: &CellFile, rank: Percentile, metric: LatencyKind, requests: u64) -> Option<u64> {
    let own = cell.summary.as_ref().and_then(|summary| summary.latency(metric));
    if let Some(own) = own {
        return Some(own.n);
    }
    // A request has many gaps between tokens; how many is unknown.
    let has_one_each = metric != LatencyKind::Itl;
    let reported = cell.number(Metric::Latency(Rank::At(rank), metric));
    (has_one_each && reported.is_some()).then_some(requests)
}

fn not_streamed(cell: &CellFile) -> Option<Verdict> {
    let (ttft, e2e) = (cell.number(Metric::P50_TTFT)?, cell.number(Metric::P50_E2E)?);
    (e2e > 0.0 && ttft >= NOT_STREAMED * e2e).then(|| Verdict {
        kind: VerdictKind::NotStreamed,
        severity: Severity::Note,
        touches: Vec::new(),
        reason: format!(
            "p50 TTFT ({ttft:.1} ms) equals p50 E2E ({e2e:.1} ms): the client did not stream, or the server sent whole answers"
        ),
        hint: "read TTFT as the time of the whole answer, or measure again with a client that streams".into(),
    })
}
