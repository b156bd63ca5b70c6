//! Paths that an axis may have.

use super::{
    grammar::Grammar,
    path::Path,
    suggest::{question, suggestion},
};
use crate::{
    diagnostic::{Finding, Place},
    flags,
};

/// Checks that an axis may have a path, and spells a flag's name canonically.
///
/// # Errors
/// When there is no such path, or when no axis may change it.
pub(super) fn checked(
    grammar: &Grammar,
    workloads: &[String],
    mut path: Path,
    place: &Place,
) -> Result<Path, Finding> {
    let table = path.0.get(2).filter(|_| path.starts_with(&["workload"]));
    if let Some(table @ ("sweep" | "search")) = table.map(String::as_str) {
        return Err(Finding::error(format!("an axis cannot change a {table}"))
            .at(place, "this axis")
            .help("vary a key that changes what a request or a server is"));
    }
    let reason = if path.starts_with(&["workload"]) {
        match path.0.get(1) {
            Some(name) if !workloads.contains(name) => {
                let known: Vec<&str> = workloads.iter().map(String::as_str).collect();
                Some(format!("there is no workload `{name}`{}", suggestion(name, &known)))
            }
            _ => None,
        }
    } else if path.starts_with(&["server"]) || path.0 == ["experiment", "seed"] {
        None
    } else {
        Some(format!("`{path}` cannot be an axis"))
    };
    if let Some(reason) = reason.or_else(|| grammar.at(&path).err().map(|error| error.to_string())) {
        let question = question(&meant(grammar, workloads, &path));
        // Where the whole path is suggested, a similar key of the same table would only distract.
        let reason = if question.is_some() { format!("`{path}`") } else { reason };
        return Err(Finding::error(format!("axis on a path that does not exist: {reason}"))
            .at(place, "no such path")
            .help(question.unwrap_or_else(|| {
                "axes are paths under `server`, `workload.<name>`, or `experiment.seed`; in a workload's own sweep, keys of that workload".to_owned()
            })));
    }
    if path.starts_with(&["server", "flags"])
        && let Some(flag) = path.0.get_mut(2)
    {
        *flag = flags::canonical(flag);
    }
    Ok(path)
}

/// The paths that could be meant where one key, or a workload's key, is no path.
fn meant(grammar: &Grammar, workloads: &[String], path: &Path) -> Vec<String> {
    let (key, workloads) = match path.0.as_slice() {
        [key] => (key, workloads),
        [table, name, key] if table == "workload" => (key, std::slice::from_ref(name)),
        _ => return Vec::new(),
    };
    let mut meant = grammar.meant(key, workloads);
    meant.retain(|path| {
        ["server.", "workload."].iter().any(|table| path.starts_with(table)) || path == "experiment.seed"
    });
    meant
}
