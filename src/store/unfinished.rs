//! A run that did not come to its end: who starts the experiment again should hear of it.

use camino::{Utf8Path, Utf8PathBuf};

use super::{atomic::names, folder::layout, lock, read};

/// A run that nobody works on, and that did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Its folder.
    pub folder: Utf8PathBuf,
    /// How many cells of it are whole.
    pub cells: usize,
}

/// The newest run of an experiment, when it was cut off: by a kill, the machine, or a disk that took no more. `None` when it
/// came to its end, was interrupted by a person, is being worked on, or cannot be read: this is for a word beside another run.
pub fn unfinished(results: &Utf8Path, experiment: &str) -> Option<Unfinished> {
    let folder = read::newest(results, experiment).ok()??;
    let run = read::read_run(&folder).ok()?;
    let over = run.finished_at.is_some() || run.predicted.is_some() || run.imported.is_some();
    if over || lock::is_held(&folder) {
        return None;
    }
    let cells = names(&folder.join(layout::CELLS)).ok()?;
    let whole = cells.iter().filter(|name| !name.starts_with('.')).count();
    Some(Unfinished { folder, cells: whole })
}
