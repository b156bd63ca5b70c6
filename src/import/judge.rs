//! How far imported numbers may be trusted, by what their file tells.

use crate::{
    manifest::LatencyKind,
    measure::{self, Metric, Rank, Severity, Verdict, VerdictKind},
    store::CellFile,
    unit::Percentile,
};

/// A TTFT of at least this part of E2E is that of a client that did not stream.
const WHOLE: f64 = 0.99;

/// What is to be said of a cell, whose numbers are in place already.
pub(super) fn judge(cell: &CellFile, client: &str, requests: Option<u64>) -> Vec<Verdict> {
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
        "unknown" => "measured by another tool that the file does not name".to_owned(),
        client => format!("measured by {client}"),
    };
    let samples = match requests {
        Some(_) => "",
        None => "; nobody says how many requests a percentile rests on",
    };
    Verdict {
        kind: VerdictKind::Imported,
        severity: Severity::Note,
        touches: Vec::new(),
        reason: format!("{by}, by its own definitions{samples}"),
        hint: "hold its definitions against those below before comparing; `runner import --requests` says the number of \
               requests where a file does not"
            .into(),
    }
}

/// How many samples a percentile of a cell rests on; `None` where it has none.
fn samples(cell: &CellFile, rank: Percentile, metric: LatencyKind, requests: u64) -> Option<u64> {
    let own = cell.summary.as_ref().and_then(|summary| summary.latency(metric));
    if let Some(own) = own {
        return Some(own.n);
    }
    // Gaps between events are many for each request: how many is not told.
    let counted = metric != LatencyKind::Itl;
    let reported = cell.number(Metric::Latency(Rank::At(rank), metric));
    (counted && reported.is_some()).then_some(requests)
}

fn not_streamed(cell: &CellFile) -> Option<Verdict> {
    let (ttft, e2e) = (cell.number(Metric::P50_TTFT)?, cell.number(Metric::P50_E2E)?);
    (e2e > 0.0 && ttft >= WHOLE * e2e).then(|| Verdict {
        kind: VerdictKind::NotStreamed,
        severity: Severity::Note,
        touches: Vec::new(),
        reason: format!(
            "p50 TTFT {ttft:.1} ms is p50 E2E {e2e:.1} ms: the client did not stream, or the server sent its answers whole"
        ),
        hint: "read TTFT as the whole answer's time; measure again with a client that streams".into(),
    })
}
