//! [`Purpose`]: how the cells of the grid differ from the probes of a search.

use super::Stop;
use crate::manifest::{Start, Workload};

/// What a cell is measured for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A point of the grid.
    Grid,
    /// A load that a search tries.
    Load,
    /// A workload on a server that a search tries. With `any_length`, the server's longest request is what the
    /// search varies, so requests that do not fit are a result.
    Server {
        /// Whether requests may be longer than the server's `max-model-len`.
        any_length: bool,
    },
}

impl Purpose {
    /// Adapts a workload to the purpose, and returns when its cell stops.
    ///
    /// A load that a search tries starts with at least one warm-up request per stream, and its streams start
    /// staggered unless the manifest says otherwise: the first wave of requests, which are all prefilled at
    /// once, says nothing about the steady state. It sends at most twice the larger of the workload's requests
    /// and the streams, since it ends early where the result is clear.
    pub(super) fn adapt(self, spec: &mut Workload, stop: Stop) -> Stop {
        if self != Self::Load {
            return stop;
        }
        let streams = u64::from(spec.streams().unwrap_or(0));
        if streams > 0 {
            spec.warmup = spec.warmup.max(streams);
            let default = if streams > 1 { Start::Staggered } else { Start::Together };
            spec.start = spec.start.or(Some(default));
        }
        match stop {
            Stop::Requests(requests) => Stop::Requests(requests.max(streams).saturating_mul(2)),
            Stop::Duration(_) => stop,
        }
    }
}
