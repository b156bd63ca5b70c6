//! Whether a server's memory cannot suffice, because a smaller one's did not.

use super::walk::Walk;
use crate::{
    manifest::Server,
    plan::Group,
    server::{OomAt, ServerOutcome},
};

/// Flags that need no less memory when they are larger.
const NEED: [&str; 3] = ["max-model-len", "max-num-seqs", "max-num-batched-tokens"];

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

/// The flags of memory that a server has, for a person.
fn memory_flags(server: &Server) -> String {
    let flags: Vec<String> =
        NEED.iter().filter_map(|name| Some(format!("{name} {}", server.flags.integer(name)?))).collect();
    flags.join(", ")
}

/// Whether two servers differ in nothing but flags of memory, and the first one needs no more of it in any.
fn needs_no_more(smaller: &Server, larger: &Server) -> bool {
    let mut same = smaller.clone();
    for name in NEED {
        match (smaller.flags.integer(name), larger.flags.integer(name)) {
            (None, None) => {}
            (Some(small), Some(large)) if small <= large => {
                if let Some(flag) = larger.flags.0.get(name) {
                    same.flags.0.insert(name.to_owned(), flag.clone());
                }
            }
            _ => return false,
        }
    }
    same == *larger
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn server(flags: serde_json::Value) -> Server {
        serde_json::from_value(json!({ "model": "m", "flags": flags })).unwrap()
    }

    #[test]
    fn only_more_of_what_needs_memory_is_impossible() {
        let small = server(json!({ "max-model-len": 4096, "max-num-seqs": 8, "dtype": "auto" }));
        for (flags, expected) in [
            (json!({ "max-model-len": 8192, "max-num-seqs": 8, "dtype": "auto" }), true),
            (json!({ "max-model-len": 8192, "max-num-seqs": 16, "dtype": "auto" }), true),
            (json!({ "max-model-len": 8192, "max-num-seqs": 4, "dtype": "auto" }), false),
            (json!({ "max-model-len": 2048, "max-num-seqs": 8, "dtype": "auto" }), false),
            (json!({ "max-model-len": 8192, "max-num-seqs": 8, "dtype": "half" }), false),
            (json!({ "max-model-len": 8192, "dtype": "auto" }), false),
            (
                json!({ "max-model-len": 8192, "max-num-seqs": 8, "dtype": "auto", "gpu-memory-utilization": 0.9 }),
                false,
            ),
        ] {
            assert_eq!(needs_no_more(&small, &server(flags.clone())), expected, "{flags}");
        }
    }
}
