//! [`RunFolder`]: an open, locked run folder, the only way to write in one.

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use serde::Serialize;

use super::{
    abandoned, atomic,
    error::StoreError,
    json, layout,
    lock::{self, Lock},
    name,
    prediction::Predictions,
    read, records,
    schema::{CellFile, RunFile, ServerFile, StoredRun},
    tables,
};
use crate::{
    load::Records,
    plan::{Group, Plan},
    server,
};

const IGNORED: &str = "\
# Large or temporary: the other files suffice to render everything again.
records-*.jsonl.gz
server.log
server.log.*
.lock
.tmp-*
.damaged-*
";

/// A run folder. As long as this value lives, no other process writes in it.
#[derive(Debug)]
pub struct RunFolder {
    path: Utf8PathBuf,
    lock: Lock,
    /// Whether this value created the folder, and removes it if the run cannot begin.
    is_new: bool,
}

impl RunFolder {
    /// Creates `results/<experiment>/<name>` and locks it.
    ///
    /// # Errors
    /// When the run exists already, another process works on it, a name is not a valid folder name, or the
    /// disk fails.
    pub fn create(results: &Utf8Path, experiment: &str, name: &str) -> Result<Self, StoreError> {
        let parent = Self::parent(results, experiment, name)?;
        let path = parent.join(name);
        let is_new = atomic::create_folders(&parent)
            .and_then(|()| atomic::create_new_folder(&path))
            .map_err(StoreError::before_the_run)?;
        Self::begin(&parent, path, is_new)
    }

    /// Creates `results/<experiment>/<name>`, or `<name>-2`, `<name>-3` … when that exists, and locks it.
    /// Processes that call this at the same time get different folders.
    ///
    /// # Errors
    /// When a name is not a valid folder name, or the disk fails.
    pub fn create_free(results: &Utf8Path, experiment: &str, name: &str) -> Result<Self, StoreError> {
        let parent = Self::parent(results, experiment, name)?;
        let free = || {
            atomic::create_folders(&parent)?;
            let mut path = parent.join(name);
            let mut number = 1;
            while !atomic::create_new_folder(&path)? {
                number += 1;
                path = parent.join(format!("{name}-{number}"));
            }
            Ok(path)
        };
        let path = free().map_err(StoreError::before_the_run)?;
        Self::begin(&parent, path, true)
    }

    /// Checks the names, removes abandoned runs of the experiment, and returns its folder.
    fn parent(results: &Utf8Path, experiment: &str, name: &str) -> Result<Utf8PathBuf, StoreError> {
        name::check_in(results, experiment)?;
        name::check_in(results, name)?;
        let parent = results.join(experiment);
        abandoned::remove(&parent);
        Ok(parent)
    }

    /// Locks the folder of a new run; a folder that is new is removed again on failure.
    fn begin(parent: &Utf8Path, path: Utf8PathBuf, is_new: bool) -> Result<Self, StoreError> {
        let begin = || {
            let lock = lock::take(&path)?;
            // Without run.json the folder holds no run, only what a killed process left.
            if path.join(layout::RUN).exists() {
                return Err(StoreError::new(
                    &path,
                    "a run of that name exists already",
                    "continue it with --resume, or choose another name with --name",
                ));
            }
            atomic::write_file(&path.join(layout::GITIGNORE), IGNORED.as_bytes())?;
            atomic::sync_folder(parent)?;
            Ok(lock)
        };
        match begin() {
            Ok(lock) => Ok(Self { path, lock, is_new }),
            Err(error) => Err(undo(error, is_new.then_some(&path))),
        }
    }

    /// Writes the files that every run begins with. On failure a new folder is removed again: without
    /// `run.json` it could be neither resumed nor rendered.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write_beginning(
        self,
        manifest: &str,
        effective: &str,
        plan: &Plan,
        run: &RunFile,
    ) -> Result<Self, StoreError> {
        let write = || {
            self.write_text(layout::MANIFEST, manifest)?;
            self.write_text(layout::EFFECTIVE, effective)?;
            self.write_plan(plan)?;
            self.write_run(run)
        };
        match write() {
            Ok(()) => Ok(self),
            Err(error) => Err(undo(error, self.is_new.then_some(&self.path))),
        }
    }

    /// Locks an existing run folder and removes what interrupted writes left in it.
    ///
    /// # Errors
    /// When it is not a run, another process works on it, or a newer program wrote it.
    pub fn open(path: &Utf8Path) -> Result<Self, StoreError> {
        read::read_run(path)?;
        let lock = lock::take(path)?;
        atomic::recover(path)?;
        for below in [layout::CELLS, layout::CHARTS, layout::NOTES] {
            atomic::recover(&path.join(below))?;
        }
        let servers = path.join(layout::SERVERS);
        for server in atomic::names(&servers)? {
            let server = servers.join(server);
            if server.is_dir() {
                atomic::recover(&server)?;
            }
        }
        Ok(Self { path: path.to_owned(), lock, is_new: false })
    }

    /// The folder.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// The run's name, which is the name of its folder.
    pub fn name(&self) -> &str {
        self.path.file_name().unwrap_or_default()
    }

    /// Whether the folder is still in place. A person may have moved or removed it.
    pub fn is_present(&self) -> bool {
        self.lock.is_of(&self.path)
    }

    /// Refuses to write when the folder is gone: half a run created anew would look like a whole one.
    fn check_present(&self) -> Result<(), StoreError> {
        if self.is_present() {
            return Ok(());
        }
        Err(StoreError::new(
            &self.path,
            "the run folder was removed or replaced during the run",
            "if it was moved, put it back and go on with `runner run … --resume`; otherwise start the run again",
        ))
    }

    /// Returns the folder of a server, created when it does not exist.
    ///
    /// # Errors
    /// When the id is not a valid folder name, or the disk fails.
    pub fn server_folder(&self, id: &str) -> Result<Utf8PathBuf, StoreError> {
        name::check_in(&self.path, id)?;
        self.check_present()?;
        let folder = self.path.join(layout::SERVERS).join(id);
        atomic::create_folders(&folder)?;
        Ok(folder)
    }

    /// Writes a text file and creates the folders above it; `relative` is relative to the run folder.
    ///
    /// # Errors
    /// When `relative` leads out of the folder, or the disk fails.
    pub fn write_text(&self, relative: &str, text: &str) -> Result<(), StoreError> {
        let inside = !relative.is_empty()
            && Utf8Path::new(relative).components().all(|part| matches!(part, Utf8Component::Normal(_)));
        if !inside {
            return Err(StoreError::new(
                &self.path.join(relative),
                "leads out of the run folder",
                "give a path inside it, without `..` and without a leading `/`",
            ));
        }
        self.check_present()?;
        atomic::write_file(&self.path.join(relative), text.as_bytes())
    }

    /// Removes charts of an earlier rendering: the `.svg` files in `charts/` that `keep` does not name.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn keep_charts(&self, keep: &[&str]) -> Result<(), StoreError> {
        let folder = self.path.join(layout::CHARTS);
        for name in atomic::names(&folder)? {
            if name.ends_with(".svg") && !keep.contains(&name.as_str()) {
                atomic::remove(&folder.join(&name))?;
            }
        }
        Ok(())
    }

    /// Writes `plan.json`.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write_plan(&self, plan: &Plan) -> Result<(), StoreError> {
        self.write_json(&self.path.join(layout::PLAN), plan)
    }

    /// Writes `run.json`.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write_run(&self, run: &RunFile) -> Result<(), StoreError> {
        self.write_json(&self.path.join(layout::RUN), run)
    }

    /// Writes `predicted.json`.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write_predictions(&self, predictions: &Predictions) -> Result<(), StoreError> {
        self.write_json(&self.path.join(layout::PREDICTIONS), predictions)
    }

    /// Writes `servers/<id>/serve.sh` and `config.yaml`, which start the group's server by hand.
    ///
    /// # Errors
    /// When the id is not a valid folder name, or the disk fails.
    pub fn write_recipe(&self, group: &Group) -> Result<(), StoreError> {
        let folder = self.server_folder(&group.id)?;
        write_recipe(&folder, group)
    }

    /// Writes `servers/<id>/server.json`.
    ///
    /// # Errors
    /// When the id is not a valid folder name, or the disk fails.
    pub fn write_server(&self, server: &ServerFile) -> Result<(), StoreError> {
        let folder = self.server_folder(&server.id)?;
        self.write_json(&folder.join(layout::SERVER), server)
    }

    /// Writes the folder of a cell, complete or not at all, and replaces an older one.
    ///
    /// # Errors
    /// When the id is not a valid folder name, or the disk fails.
    pub fn write_cell(&self, cell: &CellFile, repeats: &[Records]) -> Result<(), StoreError> {
        name::check_in(&self.path, &cell.id)?;
        self.check_present()?;
        let folder = self.path.join(layout::CELLS).join(&cell.id);
        let light = json::pretty(&folder.join(layout::CELL), cell)?;
        let mut files: Vec<atomic::Content<'_>> =
            vec![(layout::CELL.to_owned(), Box::new(move |file| file.write_all(&light)))];
        for (repeat, records) in (1..).zip(repeats) {
            files.push((
                layout::records(repeat),
                Box::new(move |file| records::encode(&cell.id, repeat, records, file)),
            ));
        }
        atomic::write_folder(&folder, &files)
    }

    /// Reads a stored cell; `None` where there is none, or it is damaged.
    pub fn read_cell(&self, id: &str) -> Option<CellFile> {
        name::check_in(&self.path, id).ok()?;
        read::read_cell(&self.path.join(layout::CELLS).join(id), id).ok()
    }

    /// Reads a stored server; `None` where there is none, or it is damaged.
    pub fn read_server(&self, id: &str) -> Option<ServerFile> {
        name::check_in(&self.path, id).ok()?;
        json::read(&self.path.join(layout::SERVERS).join(id).join(layout::SERVER)).ok()
    }

    /// Writes `searches.csv`.
    ///
    /// # Errors
    /// When the disk fails, or the table could not be made.
    pub fn write_searches(&self, table: Result<Vec<u8>, csv::Error>) -> Result<(), StoreError> {
        self.write_table("searches.csv", table)
    }

    /// Writes `cells.csv`, and `repeats.csv` when a cell has several repeats.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write_tables(&self, run: &StoredRun) -> Result<(), StoreError> {
        self.write_table("cells.csv", tables::cells(run))?;
        if run.cells.iter().any(|cell| !cell.repeats.is_empty()) {
            self.write_table("repeats.csv", tables::repeats(run))?;
        }
        Ok(())
    }

    fn write_table(&self, name: &str, table: Result<Vec<u8>, csv::Error>) -> Result<(), StoreError> {
        self.check_present()?;
        let path = self.path.join(name);
        let bytes = table.map_err(|error| {
            StoreError::new(&path, format!("cannot make the table: {error}"), "report this as a bug")
        })?;
        atomic::write_file(&path, &bytes)
    }

    fn write_json<T: Serialize>(&self, path: &Utf8Path, value: &T) -> Result<(), StoreError> {
        self.check_present()?;
        atomic::write_file(path, &json::pretty(path, value)?)
    }
}

/// Stores a run that is complete from the start (imported or predicted) as `results/<experiment>/<run>`, and
/// returns its folder. `manifest` is the text it was made from; an imported run has none, and no recipes of
/// its servers.
///
/// # Errors
/// When the run exists already, or the disk fails.
pub fn write_run(
    results: &Utf8Path,
    manifest: Option<&str>,
    run: &StoredRun,
) -> Result<Utf8PathBuf, StoreError> {
    let folder = RunFolder::create(results, &run.plan.experiment.name, &run.run.name)?;
    folder.write_text(layout::EFFECTIVE, &run.effective)?;
    folder.write_plan(&run.plan)?;
    if let Some(manifest) = manifest {
        folder.write_text(layout::MANIFEST, manifest)?;
        run.plan.groups.iter().try_for_each(|group| folder.write_recipe(group))?;
    }
    run.servers.iter().try_for_each(|server| folder.write_server(server))?;
    run.cells.iter().try_for_each(|cell| folder.write_cell(cell, &[]))?;
    folder.write_tables(run)?;
    // Last: a folder that holds it is a complete run.
    folder.write_run(&run.run)?;
    Ok(folder.path().to_owned())
}

/// Writes `serve.sh` and `config.yaml` of a group's server into `folder`.
///
/// # Errors
/// When the disk fails.
pub fn write_recipe(folder: &Utf8Path, group: &Group) -> Result<(), StoreError> {
    let recipe = server::recipe(&group.server);
    atomic::write_file(&folder.join("serve.sh"), recipe.serve_sh.as_bytes())?;
    atomic::write_file(&folder.join("config.yaml"), recipe.config_yaml.as_bytes())
}

/// Removes the folder that was created for a run that cannot begin, and returns the error to report.
fn undo(error: StoreError, new: Option<&Utf8PathBuf>) -> StoreError {
    let Some(path) = new else {
        return error;
    };
    // Best effort: the first error is the one that matters.
    let _ = atomic::remove(path);
    error.before_the_run()
}
