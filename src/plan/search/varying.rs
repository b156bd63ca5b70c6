//! The columns whose values follow a searched axis.

use crate::{
    manifest::{Column, Derived, Manifest, Path},
    plan::{
        columns::Columns,
        expression::{self, variable},
    },
};

/// The columns of searched axes, and of the values that expressions compute from them. `workload` names the
/// workload of a searched load; without one, the axes change the server.
pub(super) fn varying(
    manifest: &Manifest,
    columns: &Columns,
    searched: &[&Path],
    workload: Option<&str>,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut variables = Vec::new();
    let mut add = |path: &Path, variables: &mut Vec<String>| {
        let name = columns.name(&Column::Path(path.clone()));
        variables.extend([variable(name), variable(path.last())]);
        found.push(name.to_owned());
    };
    searched.iter().for_each(|path| add(path, &mut variables));
    let own = manifest.workloads.iter().filter(|base| Some(base.name.as_str()) == workload);
    let derived = manifest.sweep.derived.iter().chain(own.flat_map(|base| &base.sweep.derived));
    // Values of the server are computed before those of the load, and cannot follow it.
    let is_later = |derived: &&Derived| match workload {
        Some(workload) => derived.path.starts_with(&["workload", workload]),
        None => derived.path.starts_with(&["server"]),
    };
    let environment = expression::environment();
    for derived in derived.filter(is_later) {
        let Ok(compiled) = expression::compile(&environment, &derived.expr, &derived.place) else { continue };
        if compiled.undeclared_variables(false).iter().any(|word| variables.contains(word)) {
            add(&derived.path, &mut variables);
        }
    }
    found
}
