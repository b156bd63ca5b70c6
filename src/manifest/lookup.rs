//! Questions about paths and values, for checks that need the whole manifest.

use serde_json::Value;

use super::{
    Manifest, axis_path,
    grammar::Grammar,
    path::Path,
    tree::{Item, Node},
};
use crate::diagnostic::{Finding, Findings, Place};

impl Manifest {
    /// Reads the path of an axis.
    ///
    /// # Errors
    /// When the text is no path, or when no axis may have this path.
    pub(crate) fn axis_path(&self, text: &str, place: &Place) -> Result<Path, Finding> {
        let path = Path::parse(text).map_err(|error| {
            Finding::error(error.to_string())
                .at(place, "not a path")
                .help("for a flag: server.flags.max-model-len")
        })?;
        let workloads: Vec<String> = self.workloads.iter().map(|base| base.name.clone()).collect();
        axis_path::checked(&Grammar::new(), &workloads, path, place)
    }

    /// What is wrong with a value at a path, by the schema. The finding points at `place`.
    pub(crate) fn wrong_value(&self, path: &Path, value: &Value, place: &Place) -> Option<Finding> {
        let mut findings = Findings::default();
        let node = Node { item: Item::Scalar(value.clone()), place: place.clone() };
        Grammar::new().check_at(&node, path, &mut findings);
        findings.0.into_iter().next()
    }
}
