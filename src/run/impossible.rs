//! Whether a server's memory cannot suffice, because a smaller one's did not.

use super::walk::Walk;
use crate::{
    manifest::Server,
    plan::Group,
    server::{OomAt, ServerOutcome},
};

/// The server that was smaller, and why this one cannot be had.
pub(super) struct Impossible {
    /// The smaller one.
    pub(super) by: String,
    /// Why, as a sentence.
    pub(super) reason: String,
}

impl Walk<'_> {
    /// Whether another server of the plan, which needed no more memory, was out of it at its start.
    pub(super) fn impossible(&self, group: &Group) -> Option<Impossible> {
        if !self.plan.experiment.skip_impossible {
            return None;
        }
        self.stored.servers.iter().find_map(|ended| {
            let out = matches!(
                ended.outcome,
                ServerOutcome::KvTooSmall
                    | ServerOutcome::Oom(OomAt::Weights | OomAt::KvCache | OomAt::Graphs)
            );
            let smaller = self.plan.groups.iter().find(|other| other.id == ended.id)?;
            // A start that failed after another one went well proves nothing: somebody else had the memory then.
            let fits =
                self.stored.cells.iter().any(|cell| cell.server == smaller.id && cell.outcome.is_measured());
            (out && !fits && smaller.id != group.id && needs_no_more(&smaller.server, &group.server)).then(
                || Impossible {
                    by: smaller.id.clone(),
                    reason: format!(
                        "not tried: the server with {} needs no more memory and ended as {}: {}",
                        memory_flags(&smaller.server),
                        ended.outcome,
                        ended.reason.as_deref().unwrap_or_default()
                    ),
                },
            )
        })
    }
}

/// The flags that decide how much memory a server needs: `max-model-len 4096, max-num-seqs 8`.
fn memory_flags(server: &Server) -> String {
    let flags: Vec<String> =
        server.flags.memory_flags().map(|(name, value)| format!("{name} {value}")).collect();
    flags.join(", ")
}

/// Whether two servers differ in nothing but their flags, and the first one's need no more memory.
fn needs_no_more(smaller: &Server, larger: &Server) -> bool {
    let mut same = smaller.clone();
    same.flags = larger.flags.clone();
    same == *larger && smaller.flags.need_no_more_memory_than(&larger.flags)
}
