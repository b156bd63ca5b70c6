//! How a cell ended.

use serde::{Deserialize, Serialize};

use crate::server::ServerOutcome;

/// How a cell ended. `oom` and `does_not_fit` are results: they belong on the out-of-memory surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellOutcome {
    /// Every measured request completed.
    Ok,
    /// Some requests failed, some completed.
    Degraded,
    /// No request completed, though the server lived: nothing was measured.
    Failed,
    /// Out of memory, at the server's start or under load.
    Oom,
    /// The KV cache cannot hold one request of `max-model-len`.
    DoesNotFit,
    /// The server did not start, for another reason than memory.
    ServerFailed,
    /// The server ended while the cell ran.
    Crashed,
    /// No token from anywhere for too long.
    Hung,
    /// Not done in time.
    TimedOut,
    /// Left out by the manifest.
    Skipped,
}

impl CellOutcome {
    /// The word for files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
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

    /// How the cells end of a server that did not start.
    pub fn of_start(server: ServerOutcome) -> Self {
        match server {
            ServerOutcome::Oom(_) => Self::Oom,
            ServerOutcome::KvTooSmall => Self::DoesNotFit,
            _ => Self::ServerFailed,
        }
    }

    /// Whether the cell has numbers.
    pub fn is_measured(self) -> bool {
        matches!(self, Self::Ok | Self::Degraded)
    }

    /// Whether the cell says where memory ends.
    pub fn is_on_oom_surface(self) -> bool {
        matches!(self, Self::Oom | Self::DoesNotFit)
    }

    /// Whether the cell is done: a resume does not run it again.
    pub fn is_done(self) -> bool {
        self.is_measured() || self.is_on_oom_surface() || self == Self::Skipped
    }
}
