//! Run folder → [`StoredRun`], from its light files alone.

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    durable,
    error::StoreError,
    form::{CellFile, RunFile, ServerFile, StoredRun},
    json, name,
};
use crate::plan::Plan;

/// Reads a run. Servers and cells come in the order of its plan; what was measured under an earlier plan of the same
/// run, and is in this one no more, is passed over. It takes no lock: a run may be read while it goes on.
///
/// # Errors
/// When the folder is not a whole run, or one of its files is damaged or of a later format.
pub fn read(folder: &Utf8Path) -> Result<StoredRun, StoreError> {
    let run: RunFile = json::read(&folder.join("run.json"))?;
    let plan: Plan = json::read(&folder.join("plan.json"))?;
    let effective = json::read_text(&folder.join("effective.toml"))?;
    let mut servers: Vec<ServerFile> = Vec::new();
    let mut cells: Vec<CellFile> = Vec::new();
    for group in &plan.groups {
        let id = name::checked("server", &group.id)?;
        let path = folder.join("servers").join(id).join("server.json");
        servers.extend(if_there(&path)?);
        for cell in &group.cells {
            let id = name::checked("cell", &cell.id)?;
            cells.extend(if_there(&folder.join("cells").join(id).join("cell.json"))?);
        }
    }
    Ok(StoredRun {
        folder: folder.to_owned(),
        run,
        plan,
        servers,
        cells,
        effective,
    })
}

/// The run of an experiment that began last; `None` when there is none.
///
/// # Errors
/// When the `run.json` of one of them is damaged or of a later format: the newest could be that one.
pub fn newest(results: &Utf8Path, experiment: &str) -> Result<Option<Utf8PathBuf>, StoreError> {
    let parent = results.join(name::checked("experiment", experiment)?);
    let mut newest = None;
    for name in durable::names(&parent)? {
        let folder = parent.join(name);
        // A link names a run that stands here, or elsewhere, under its own name.
        if folder.is_symlink() {
            continue;
        }
        let Some(run) = if_there::<RunFile>(&folder.join("run.json"))? else {
            continue;
        };
        newest = newest.max(Some((run.started_at, folder)));
    }
    Ok(newest.map(|(_, folder)| folder))
}

fn if_there<T: serde::de::DeserializeOwned>(path: &Utf8Path) -> Result<Option<T>, StoreError> {
    if path.is_file() {
        json::read(path).map(Some)
    } else {
        Ok(None)
    }
}
