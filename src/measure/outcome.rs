//! The outcome of a cell.

use serde::{Deserialize, Serialize};

use crate::server::ServerOutcome;

/// How a cell ended. `oom` and `does_not_fit` are results: they mark where memory runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellOutcome {
    /// Every measured request completed.
    Ok,
    /// The server started, and the search asked for no more: no request was sent.
    Started,
    /// Some requests failed, some completed.
    Degraded,
    /// No request completed although the server was running, so nothing was measured.
    Failed,
    /// The server ran out of memory, at its start or under load.
    Oom,
    /// The KV cache cannot hold one request of `max-model-len` tokens.
    DoesNotFit,
    /// The server did not start for a reason other than memory.
    ServerFailed,
    /// The server process ended during the cell.
    Crashed,
    /// The server sent nothing for longer than `hung_after`.
    Hung,
    /// The cell exceeded its time limit.
    TimedOut,
    /// The cell was not run: a `skip` condition, a ladder that had ended, or memory known not to suffice.
    Skipped,
}

impl CellOutcome {
    /// The name in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Started => "started",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Oom => "oom",
            Self::DoesNotFit => "does_not_fit",
            Self::ServerFailed => "server_failed",
            Self::Crashed => "crashed",
            Self::Hung => "hung",
            Self::TimedOut => "timed_out",
            Self::Skipped => "skipped",
        }
    }

    /// The outcome of all cells of a server that did not start.
    pub fn of_start(server: ServerOutcome) -> Self {
        match server {
            ServerOutcome::Oom(_) => Self::Oom,
            ServerOutcome::KvTooSmall => Self::DoesNotFit,
            _ => Self::ServerFailed,
        }
    }

    /// Whether the cell was measured, at least in part.
    pub fn is_measured(self) -> bool {
        matches!(self, Self::Ok | Self::Degraded)
    }

    /// Whether the cell belongs on the out-of-memory surface.
    pub fn is_on_oom_surface(self) -> bool {
        matches!(self, Self::Oom | Self::DoesNotFit)
    }

    /// Whether the cell is final: a resumed run does not repeat it.
    pub fn is_done(self) -> bool {
        self.is_measured() || self.is_on_oom_surface() || matches!(self, Self::Started | Self::Skipped)
    }
}
