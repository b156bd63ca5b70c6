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
    /// A cell of the smaller one.
    pub(super) at: String,
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
            (out && smaller.id != group.id && needs_no_more(&smaller.server, &group.server)).then(
                || Impossible {
                    at: smaller
                        .cells
                        .first()
                        .map_or_else(String::new, |cell| cell.id.clone()),
                    reason: format!(
                        "{} needs no more memory and ended as {}: {}",
                        smaller.id,
                        ended.outcome,
                        ended.reason.as_deref().unwrap_or_default()
                    ),
                },
            )
        })
    }
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
            (
                json!({ "max-model-len": 8192, "max-num-seqs": 8, "dtype": "auto" }),
                true,
            ),
            (
                json!({ "max-model-len": 8192, "max-num-seqs": 16, "dtype": "auto" }),
                true,
            ),
            (
                json!({ "max-model-len": 8192, "max-num-seqs": 4, "dtype": "auto" }),
                false,
            ),
            (
                json!({ "max-model-len": 2048, "max-num-seqs": 8, "dtype": "auto" }),
                false,
            ),
            (
                json!({ "max-model-len": 8192, "max-num-seqs": 8, "dtype": "half" }),
                false,
            ),
            (json!({ "max-model-len": 8192, "dtype": "auto" }), false),
            (
                json!({ "max-model-len": 8192, "max-num-seqs": 8, "dtype": "auto", "gpu-memory-utilization": 0.9 }),
                false,
            ),
        ] {
            assert_eq!(
                needs_no_more(&small, &server(flags.clone())),
                expected,
                "{flags}"
            );
        }
    }
}
