//! Finds a stored run by what a person calls it.

use camino::{Utf8Path, Utf8PathBuf};

use super::{StoreError, atomic::names, check_name, layout, newest};

/// The most experiments that an error lists.
const LISTED: usize = 8;

/// Why there is no such run.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// Nothing has that name; `hint` says what there is instead.
    #[error(
        "no run {run} found: not a run folder, not EXPERIMENT/RUN, and not an experiment in {results}\n{hint}"
    )]
    NotFound {
        /// The name that was given.
        run: Utf8PathBuf,
        /// The folder that holds the experiments' results.
        results: Utf8PathBuf,
        /// A sentence.
        hint: String,
    },
    /// The results cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Returns the folder of a run that is named by its path, by `EXPERIMENT/RUN` below `results`, or by its
/// experiment, which means the newest run.
///
/// # Errors
///
/// When there is no such run, or the results cannot be read.
pub fn find(results: &Utf8Path, run: &Utf8Path) -> Result<Utf8PathBuf, FindError> {
    let below = results.join(run);
    if let Some(folder) = [run, &below].into_iter().find(|folder| is_run(folder)) {
        return Ok(folder.to_owned());
    }
    let is_name = run.components().count() == 1 && check_name(run.as_str()).is_ok();
    let newest = if is_name { newest(results, run.as_str())? } else { None };
    newest.ok_or_else(|| FindError::NotFound {
        run: run.to_owned(),
        results: results.to_owned(),
        hint: hint(results, run),
    })
}

fn is_run(folder: &Utf8Path) -> bool {
    folder.join(layout::RUN).exists()
}

/// What there is instead: runs of that name in any experiment, else the experiments.
fn hint(results: &Utf8Path, run: &Utf8Path) -> String {
    let runs = |experiment: &String| {
        let runs = names(&results.join(experiment))
            .unwrap_or_default()
            .into_iter()
            .filter(|name| !name.starts_with('.'));
        runs.map(|name| format!("{experiment}/{name}")).filter(|run| is_run(&results.join(run))).collect()
    };
    let mut experiments = Vec::new();
    let mut namesakes = Vec::new();
    for experiment in names(results).unwrap_or_default().into_iter().filter(|name| !name.starts_with('.')) {
        let runs: Vec<String> = runs(&experiment);
        if !runs.is_empty() {
            experiments.push(experiment);
        }
        namesakes.extend(runs.into_iter().filter(|path| Utf8Path::new(path).file_name() == run.file_name()));
    }
    if !namesakes.is_empty() {
        return format!("did you mean {}?", namesakes.join(" or "));
    }
    if experiments.is_empty() {
        return format!(
            "no run is stored in {results}; measure one with `runner run`, or name the folder with --results"
        );
    }
    let more = match experiments.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    experiments.truncate(LISTED);
    format!("experiments in {results}: {}{more}", experiments.join(", "))
}
