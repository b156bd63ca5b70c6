//! Finds a run that was cut off, so that whoever starts the experiment again can resume it instead.

use camino::{Utf8Path, Utf8PathBuf};

use super::{atomic, layout, lock, read};

/// A run that did not finish and that no process is working on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Its folder.
    pub folder: Utf8PathBuf,
    /// Number of its complete cells.
    pub cells: usize,
}

/// Returns an experiment's newest run when it was cut off by a kill, a machine that went down, or a full
/// disk. Returns `None` when it finished, was interrupted with Ctrl-C, is in progress, or cannot be read.
pub fn unfinished(results: &Utf8Path, experiment: &str) -> Option<Unfinished> {
    let folder = read::newest(results, experiment).ok()??;
    let run = read::read_run(&folder).ok()?;
    let is_over = run.finished_at.is_some() || run.predicted.is_some() || run.imported.is_some();
    if is_over || lock::is_held(&folder) {
        return None;
    }
    let cells = atomic::names(&folder.join(layout::CELLS)).ok()?;
    let complete = cells.iter().filter(|name| !name.starts_with('.')).count();
    Some(Unfinished { folder, cells: complete })
}
