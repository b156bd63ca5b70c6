//! [`Ids`]: ids of searches, and which of them measure the same.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use super::Declared;

/// The ids of searches: `chat` for the first of a name, then `chat-2`, `chat-3` … The same manifest gives the
/// same ids.
pub(in crate::plan) struct Ids {
    /// Names that stand in the manifest, which no number may imitate.
    names: BTreeSet<String>,
    taken: BTreeSet<String>,
    /// The search that measures certain cells at the ends of its range.
    ends: BTreeMap<Vec<String>, String>,
}

impl Ids {
    pub(in crate::plan) fn new(declared: &Declared) -> Self {
        let server = declared.server.iter().map(|question| &question.name);
        let names = declared.load.keys().chain(server).cloned().collect();
        Self { names, taken: BTreeSet::new(), ends: BTreeMap::new() }
    }

    /// The search that measures the same cells at both ends of its range, if there is one.
    pub(super) fn same(&mut self, id: &str, ends: Vec<String>) -> Option<String> {
        match self.ends.entry(ends) {
            Entry::Occupied(known) => Some(known.get().clone()),
            Entry::Vacant(free) => {
                free.insert(id.to_owned());
                None
            }
        }
    }

    /// The next id of a name.
    pub(super) fn next(&mut self, name: &str) -> String {
        let mut id = name.to_owned();
        for number in 2.. {
            let is_free = !self.taken.contains(&id) && (id == name || !self.names.contains(&id));
            if is_free {
                break;
            }
            id = format!("{name}-{number}");
        }
        self.taken.insert(id.clone());
        id
    }
}
