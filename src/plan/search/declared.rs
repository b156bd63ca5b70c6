//! [`Declared`]: the searches of a manifest, checked as far as they can be without a workload's values.

use indexmap::IndexMap;

use super::{
    load_question::{self, LoadQuestion},
    server_question::{self, ServerQuestion},
};
use crate::{
    diagnostic::Findings,
    manifest::{Manifest, Path},
};

/// The searches of a manifest.
#[derive(Default)]
pub(in crate::plan) struct Declared {
    /// The searches for a load, by workload. Those that lack a key are `None`.
    pub(super) load: IndexMap<String, Option<LoadQuestion>>,
    /// The valid searches over servers, in the order of the manifest.
    pub(super) server: Vec<ServerQuestion>,
    /// Whether the manifest has searches over servers, valid or not.
    pub(in crate::plan) has_server: bool,
}

impl Declared {
    /// Reads the searches of a manifest, and reports those that are not valid.
    pub(in crate::plan) fn read(manifest: &Manifest, findings: &mut Findings) -> Self {
        let load = manifest.workloads.iter().filter_map(|base| {
            let value = base.value.get("search")?;
            Some((base.name.clone(), load_question::read(manifest, base, value, findings)))
        });
        Self {
            load: load.collect(),
            server: server_question::read(manifest, findings),
            has_server: !manifest.searches.is_empty(),
        }
    }

    /// Whether a workload is searched instead of measured at every load.
    pub(in crate::plan) fn searches_load_of(&self, workload: &str) -> bool {
        self.load.contains_key(workload)
    }

    /// The axes that the searches vary.
    pub(in crate::plan) fn paths(&self) -> Vec<&Path> {
        let load = self.load.values().flatten().map(|question| &question.path);
        load.chain(self.server.iter().flat_map(ServerQuestion::paths)).collect()
    }

    /// The searches over servers: the name, the axes that it varies, and whether workloads run on its servers.
    pub(in crate::plan) fn server_searches(&self) -> impl Iterator<Item = (&str, Vec<&Path>, bool)> {
        self.server.iter().map(|question| (question.name.as_str(), question.paths(), question.loads()))
    }
}
