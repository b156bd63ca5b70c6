//! The client's own counts over a whole cell, warm-up included, for comparison with the server's counters.

use serde::{Deserialize, Serialize};

use crate::load::{Outcome, Records};

/// Counts of all requests that the client sent in a cell, in all repeats and warm-up, as a server counts
/// them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientTotals {
    /// Requests sent; each retry counts.
    pub sent: u64,
    /// Requests whose whole answer arrived.
    pub completed: u64,
    /// Prompt tokens of completed requests, by each answer's `usage`; absent when one answer has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Output tokens of completed requests, by each answer's `usage`; absent when one answer has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Mean of first chunk − sent over completed, streamed requests, milliseconds: the part of TTFT that a
    /// server can see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_mean_ms: Option<f64>,
    /// Mean of last chunk − sent over completed requests, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e2e_mean_ms: Option<f64>,
}

/// Counts the requests of all repeats.
pub fn totals(repeats: &[Records]) -> ClientTotals {
    let mut totals =
        ClientTotals { input_tokens: Some(0), output_tokens: Some(0), ..ClientTotals::default() };
    let (mut ttft, mut streamed, mut e2e, mut timed) = (0.0, 0u64, 0.0, 0u64);
    for record in repeats.iter().flatten() {
        let Some(sent) = record.sent else {
            continue;
        };
        // To a server each attempt is a request.
        totals.sent += 1 + u64::from(record.retried);
        if record.outcome != Outcome::Completed {
            continue;
        }
        totals.completed += 1;
        let add = |sum: Option<u64>, more: Option<u64>| Some(sum? + more?);
        let usage = record.usage;
        totals.input_tokens = add(totals.input_tokens, usage.map(|u| u.prompt_tokens));
        totals.output_tokens = add(totals.output_tokens, usage.map(|u| u.completion_tokens));
        if let (Some(first), Some(last)) = (record.chunks.first(), record.chunks.last()) {
            if !record.whole {
                ttft += first.ms_since(sent);
                streamed += 1;
            }
            e2e += last.ms_since(sent);
            timed += 1;
        }
    }
    if totals.completed == 0 {
        (totals.input_tokens, totals.output_tokens) = (None, None);
    }
    if streamed > 0 {
        totals.ttft_mean_ms = Some(ttft / streamed as f64);
    }
    if timed > 0 {
        totals.e2e_mean_ms = Some(e2e / timed as f64);
    }
    totals
}
