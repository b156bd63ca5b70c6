//! Skips a server that cannot fit in memory, because one that needs no more memory did not fit.

use super::{RunError, cell, sweep::Sweep};
use crate::{
    manifest::Server,
    measure::CellOutcome,
    plan::Group,
    server::{OomAt, ServerOutcome},
    store::{CellFile, ServerStart},
};

pub(super) struct Proof {
    /// Id of the server that did not fit.
    by: String,
    /// A sentence.
    reason: String,
}

impl Sweep<'_> {
    /// Finds a server of the plan that needs no more memory than the group's and did not fit.
    pub(super) fn proof_of_misfit(&self, group: &Group) -> Option<Proof> {
        if !self.stored.plan.experiment.skip_impossible {
            return None;
        }
        self.stored.servers.iter().find_map(|ended| {
            let out = matches!(
                ended.outcome,
                ServerOutcome::KvTooSmall
                    | ServerOutcome::Oom(OomAt::Weights | OomAt::KvCache | OomAt::Graphs)
            );
            let smaller = self.stored.plan.groups.iter().find(|other| other.id == ended.id)?;
            // A failed start proves nothing where another start of that server went well: something else held
            // the memory.
            let measured = |cell: &CellFile| cell.server == smaller.id && cell.outcome.is_measured();
            let ready = |start: &ServerStart| start.outcome == ServerOutcome::Ready;
            let fits = ended.starts.iter().any(ready) || self.stored.cells.iter().any(measured);
            (out && !fits && smaller.id != group.id && needs_no_more(&smaller.server, &group.server)).then(
                || Proof {
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

    /// Stores the cells of a server that cannot fit as skipped.
    pub(super) fn store_impossible(&mut self, group: &Group, proof: &Proof) -> Result<(), RunError> {
        for cell in group.cells.iter().filter(|cell| !self.settled.contains(&cell.id)).collect::<Vec<_>>() {
            let file = CellFile {
                proved_impossible_by: Some(proof.by.clone()),
                ..cell::unmeasured(group, cell, CellOutcome::Skipped, proof.reason.clone())
            };
            self.store(file, &[])?;
        }
        Ok(())
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
