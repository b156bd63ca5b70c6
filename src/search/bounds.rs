//! [`bounds`]: how many probes and server starts a search may take.

use super::{load::most_probes, value::most_starts};
use crate::plan::{Goal, Search};

/// The fewest and the most that a search takes, where every probe is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Measured values.
    pub probes: [u32; 2],
    /// Servers that are started. Probes of a load share one.
    pub starts: [u32; 2],
}

/// The bounds of a search by its range alone. A search whose first probe is its answer takes one.
pub fn bounds(search: &Search) -> Bounds {
    match &search.goal {
        Goal::Load { .. } => Bounds { probes: [1, most_probes(search)], starts: [1, 1] },
        Goal::Value { .. } => {
            let most = most_starts(search).unwrap_or(1);
            Bounds { probes: [1, most], starts: [1, most] }
        }
        Goal::Best { starts, .. } => Bounds { probes: [1, *starts], starts: [1, *starts] },
    }
}
