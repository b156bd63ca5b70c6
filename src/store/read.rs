//! Reads a run folder.

use std::{fs, io, num::NonZero, panic::resume_unwind, thread};

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    atomic,
    error::StoreError,
    json, layout, name,
    prediction::Predictions,
    records,
    schema::{CellFile, RunFile, ServerFile, StoredRun},
};
use crate::{load::Records, plan::Plan};

/// Fewer cells than this are read faster than a thread starts.
const CELLS_PER_THREAD: usize = 100;

/// Reads a run from its light files, which is all that a clone of its repository holds.
///
/// # Errors
/// When the folder is not a run, or one of its files is cut short, altered or newer than this program.
pub fn read(folder: &Utf8Path) -> Result<StoredRun, StoreError> {
    let run = read_run(folder)?;
    let plan: Plan = json::read(&folder.join(layout::PLAN))?;
    let effective = json::read_text(&folder.join(layout::EFFECTIVE))?;
    let mut servers = Vec::new();
    let mut wanted: Vec<(Utf8PathBuf, &str)> = Vec::new();
    for group in &plan.groups {
        name::check_in(folder, &group.id)?;
        let path = folder.join(layout::SERVERS).join(&group.id).join(layout::SERVER);
        // The folder is made before the server starts, so its file may be missing.
        if path.exists() {
            let server: ServerFile = json::read(&path)?;
            check_same_id(&path, &server.id, &group.id)?;
            servers.push(server);
        }
        for cell in &group.cells {
            name::check_in(folder, &cell.id)?;
            let cell_folder = folder.join(layout::CELLS).join(&cell.id);
            if cell_folder.exists() {
                wanted.push((cell_folder, &cell.id));
            }
        }
    }
    for id in run.imported.iter().flat_map(|imported| &imported.cells) {
        name::check_in(folder, id)?;
        wanted.push((folder.join(layout::CELLS).join(id), id));
    }
    let cells = read_cells(&wanted)?;
    let predictions = folder.join(layout::PREDICTIONS);
    let predictions: Option<Predictions> =
        predictions.exists().then(|| json::read(&predictions)).transpose()?;
    Ok(StoredRun { folder: folder.to_owned(), predictions, run, plan, servers, cells, effective })
}

/// Reads the records of every repeat of a cell, in order. A cell to which no request was sent has none.
///
/// # Errors
/// When the cell does not exist, its records are missing although it was measured (a clone does not hold
/// them), or a file is cut short, altered or newer than this program.
pub fn read_records(folder: &Utf8Path, cell_id: &str) -> Result<Vec<Records>, StoreError> {
    name::check_in(folder, cell_id)?;
    let cell_folder = folder.join(layout::CELLS).join(cell_id);
    let cell = read_cell(&cell_folder, cell_id)?;
    let expected = match (&cell.summary, cell.repeats.len()) {
        (None, n) => n,
        (Some(_), n) => n.max(1),
    };
    let mut repeats = Vec::new();
    loop {
        let path = cell_folder.join(layout::records(repeats.len() + 1));
        match fs::File::open(&path) {
            Ok(file) => repeats.push(records::decode(&path, file)?),
            Err(e) if e.kind() == io::ErrorKind::NotFound && repeats.len() >= expected => {
                return Ok(repeats);
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::new(
                    &path,
                    "the records are missing: they are too large for the repository",
                    "copy them from the machine that measured the run",
                ));
            }
            Err(e) => return Err(StoreError::io(&path, "read", &e)),
        }
    }
}

/// Returns the folder of an experiment's newest run; `None` when there is none yet. A predicted run counts
/// only when there is no other.
///
/// # Errors
/// When the results cannot be listed, or the `run.json` of one of its runs cannot be read.
pub fn newest(results: &Utf8Path, experiment: &str) -> Result<Option<Utf8PathBuf>, StoreError> {
    name::check_in(results, experiment)?;
    let parent = results.join(experiment);
    let mut newest = None;
    for name in atomic::names(&parent)? {
        let folder = parent.join(&name);
        if name.starts_with('.') || !folder.join(layout::RUN).exists() {
            continue;
        }
        let run = read_run(&folder)?;
        let age = (run.predicted.is_none(), run.started_at);
        // Names are sorted: of two runs with the same start time, the last name wins.
        if newest.as_ref().is_none_or(|(other, _)| age >= *other) {
            newest = Some((age, folder));
        }
    }
    Ok(newest.map(|(_, folder)| folder))
}

pub(super) fn read_run(folder: &Utf8Path) -> Result<RunFile, StoreError> {
    let path = folder.join(layout::RUN);
    if !path.exists() {
        return Err(StoreError::new(
            folder,
            format!("is not a run folder: it holds no {}", layout::RUN),
            "give the path of a run folder, results/<experiment>/<run>",
        ));
    }
    json::read(&path)
}

/// Reads cells in the order given, on all processors: a large run has more than a gigabyte of them. Returns
/// the first error in that order.
fn read_cells(wanted: &[(Utf8PathBuf, &str)]) -> Result<Vec<CellFile>, StoreError> {
    let readers = thread::available_parallelism().map_or(1, NonZero::get);
    let share = wanted.len().div_ceil(readers).max(CELLS_PER_THREAD);
    thread::scope(|scope| {
        let parts: Vec<_> = wanted
            .chunks(share)
            .map(|part| {
                scope.spawn(|| -> Result<Vec<CellFile>, StoreError> {
                    part.iter().map(|(folder, id)| read_cell(folder, id)).collect()
                })
            })
            .collect();
        let mut cells = Vec::with_capacity(wanted.len());
        for part in parts {
            cells.extend(part.join().unwrap_or_else(|panic| resume_unwind(panic))?);
        }
        Ok(cells)
    })
}

pub(super) fn read_cell(folder: &Utf8Path, id: &str) -> Result<CellFile, StoreError> {
    let path = folder.join(layout::CELL);
    if !path.exists() {
        return Err(StoreError::damaged(&path, "is missing from the folder of its cell"));
    }
    let cell: CellFile = json::read(&path)?;
    check_same_id(&path, &cell.id, id)?;
    Ok(cell)
}

fn check_same_id(path: &Utf8Path, found: &str, folder: &str) -> Result<(), StoreError> {
    if found == folder {
        return Ok(());
    }
    Err(StoreError::new(
        path,
        format!("has the id {found:?}, which is not the name of its folder"),
        "rename the folder back to its id",
    ))
}
