//! A run folder → what it holds.

use std::{fs, io, num::NonZero, panic::resume_unwind, thread};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    CellFile, Predictions, RunFile, ServerFile, StoreError, StoredRun,
    atomic::names,
    folder::{check_id, layout},
    form::FORMAT,
    records,
};
use crate::{load::Records, plan::Plan};

/// So few cells are read sooner than another thread is started for them.
const FEW: usize = 100;

/// Reads a run from its light files alone: what a clone of its repository holds.
///
/// # Errors
///
/// When the folder is no run, or a file of it is cut, altered or newer than this program.
pub fn read(folder: &Utf8Path) -> Result<StoredRun, StoreError> {
    let run: RunFile = read_run(folder)?;
    let plan: Plan = json(&folder.join(layout::PLAN))?;
    let effective = text(&folder.join(layout::EFFECTIVE))?;
    let mut servers = Vec::new();
    let mut wanted: Vec<(Utf8PathBuf, &str)> = Vec::new();
    for group in &plan.groups {
        check_id(folder, &group.id)?;
        let path = folder.join(layout::SERVERS).join(&group.id).join(layout::SERVER);
        // The server's folder is made before it starts, so its file may be missing: then it never got that far.
        if path.exists() {
            let server: ServerFile = json(&path)?;
            same_id(&path, &server.id, &group.id)?;
            servers.push(server);
        }
        for cell in &group.cells {
            check_id(folder, &cell.id)?;
            let cell_folder = folder.join(layout::CELLS).join(&cell.id);
            if cell_folder.exists() {
                wanted.push((cell_folder, &cell.id));
            }
        }
    }
    for id in run.imported.iter().flat_map(|imported| &imported.cells) {
        check_id(folder, id)?;
        wanted.push((folder.join(layout::CELLS).join(id), id));
    }
    let cells = read_cells(&wanted)?;
    let predictions = folder.join(layout::PREDICTIONS);
    let predictions: Option<Predictions> = match predictions.exists() {
        true => Some(json(&predictions)?),
        false => None,
    };
    Ok(StoredRun { folder: folder.to_owned(), predictions, run, plan, servers, cells, effective })
}

/// Reads the records of every repeat of a cell, in order; none for a cell that was never asked anything.
///
/// # Errors
///
/// When the cell is not there, its records are missing although it was measured (they are not in a clone), or a
/// file is cut, altered or newer than this program.
pub fn read_records(folder: &Utf8Path, cell_id: &str) -> Result<Vec<Records>, StoreError> {
    check_id(folder, cell_id)?;
    let cell_folder = folder.join(layout::CELLS).join(cell_id);
    let cell = read_cell(&cell_folder, cell_id)?;
    let expected = match (&cell.summary, cell.repeats.len()) {
        (None, n) => n,
        (Some(_), n) => n.max(1),
    };
    let mut repeats = Vec::new();
    loop {
        let path = cell_folder.join(records::file_name(repeats.len() + 1));
        match fs::File::open(&path) {
            Ok(file) => repeats.push(records::decode(&path, file)?),
            Err(e) if e.kind() == io::ErrorKind::NotFound && repeats.len() >= expected => {
                return Ok(repeats);
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::new(
                    &path,
                    "the records are not here: they are too heavy for the repository",
                    "copy them from the machine that measured the run",
                ));
            }
            Err(e) => return Err(StoreError::io(&path, "read", &e)),
        }
    }
}

/// The run of an experiment that began last; `None` when there is none yet. One that was only predicted counts where there is
/// no other.
///
/// # Errors
///
/// When the results cannot be listed, or the provenance of one of its runs cannot be read.
pub fn newest(results: &Utf8Path, experiment: &str) -> Result<Option<Utf8PathBuf>, StoreError> {
    check_id(results, experiment)?;
    let parent = results.join(experiment);
    let mut newest = None;
    for name in names(&parent)? {
        let folder = parent.join(&name);
        if name.starts_with('.') || !folder.join(layout::RUN).exists() {
            continue;
        }
        let run = read_run(&folder)?;
        let age = (run.predicted.is_none(), run.started_at);
        // Names are sorted: of two runs that began at once, the last name counts.
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
            format!("is no run: it holds no {}", layout::RUN),
            "give the folder of a run, results/<experiment>/<run>",
        ));
    }
    json(&path)
}

/// Refuses a form that a newer program wrote, before anything of it is believed.
pub(super) fn refuse_newer(path: &Utf8Path, bytes: &[u8]) -> Result<(), StoreError> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    match serde_json::from_slice::<Version>(bytes) {
        Ok(version) if version.format > FORMAT => Err(StoreError::new(
            path,
            format!("has format {}, and this runner reads up to format {FORMAT}", version.format),
            "read it with a newer runner",
        )),
        Ok(_) => Ok(()),
        Err(e) => Err(altered(path, &e)),
    }
}

/// Reads cells in their order, several at a time: a large run has more than a gigabyte of them. Of several mistakes the first
/// one is told.
fn read_cells(wanted: &[(Utf8PathBuf, &str)]) -> Result<Vec<CellFile>, StoreError> {
    let readers = thread::available_parallelism().map_or(1, NonZero::get);
    let share = wanted.len().div_ceil(readers).max(FEW);
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
        return Err(StoreError::damaged(&path, "is missing in the folder of its cell"));
    }
    let cell: CellFile = json(&path)?;
    same_id(&path, &cell.id, id)?;
    Ok(cell)
}

fn same_id(path: &Utf8Path, found: &str, folder: &str) -> Result<(), StoreError> {
    if found == folder {
        return Ok(());
    }
    Err(StoreError::new(
        path,
        format!("belongs to {found:?}, not to the folder it lies in"),
        "put the folder back under its own name",
    ))
}

pub(super) fn json<T: DeserializeOwned>(path: &Utf8Path) -> Result<T, StoreError> {
    let bytes = text(path)?.into_bytes();
    refuse_newer(path, &bytes)?;
    serde_json::from_slice(&bytes).map_err(|e| altered(path, &e))
}

pub(super) fn text(path: &Utf8Path) -> Result<String, StoreError> {
    fs::read_to_string(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => StoreError::damaged(path, "is missing in the folder of its run"),
        io::ErrorKind::InvalidData => StoreError::damaged(path, "is no text"),
        io::ErrorKind::IsADirectory => StoreError::damaged(path, "is a folder, and should be a file"),
        _ => StoreError::io(path, "read", &e),
    })
}

fn altered(path: &Utf8Path, error: &serde_json::Error) -> StoreError {
    let what = if error.is_eof() { "is cut short" } else { "is not as the runner wrote it" };
    StoreError::damaged(path, format!("{what}: {error}"))
}
