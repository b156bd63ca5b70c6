//! An open run folder: the only thing that writes in it.

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use serde::Serialize;

use super::{
    CellFile, Predictions, RunFile, ServerFile, StoreError, StoredRun, atomic,
    lock::{self, Lock},
    never_begun, read, records, tables,
};
use crate::{
    load::Records,
    plan::{Group, Plan},
    server,
};

/// Where things lie in a run folder.
pub(super) mod layout {
    pub(in crate::store) const RUN: &str = "run.json";
    pub(in crate::store) const PLAN: &str = "plan.json";
    pub(in crate::store) const MANIFEST: &str = "manifest.toml";
    pub(in crate::store) const EFFECTIVE: &str = "effective.toml";
    pub(in crate::store) const CELLS: &str = "cells";
    pub(in crate::store) const CELL: &str = "cell.json";
    pub(in crate::store) const SERVERS: &str = "servers";
    pub(in crate::store) const SERVER: &str = "server.json";
    pub(in crate::store) const PREDICTIONS: &str = "predicted.json";
    pub(in crate::store) const CHARTS: &str = "charts";
    pub(in crate::store) const NOTES: &str = "notes";
}

const IGNORED: &str = "\
# Heavy or passing: the other files suffice to render everything again.
records-*.jsonl.gz
server.log
server.log.*
.lock
.tmp-*
.damaged-*
";

/// A run folder that this process alone writes in, as long as this value lives.
#[derive(Debug)]
pub struct RunFolder {
    path: Utf8PathBuf,
    lock: Lock,
    /// Whether the folder was made for a run that is only beginning.
    made: bool,
}

impl RunFolder {
    /// Makes `results/<experiment>/<name>` and locks it.
    ///
    /// # Errors
    ///
    /// When there is such a run already, another process works on it, a name cannot be a folder's, or the disk refuses.
    pub fn create(results: &Utf8Path, experiment: &str, name: &str) -> Result<Self, StoreError> {
        check_id(results, experiment)?;
        check_id(results, name)?;
        let parent = results.join(experiment);
        let path = parent.join(name);
        never_begun::sweep(&parent);
        let made = atomic::create_folders(&parent)
            .and_then(|()| atomic::create_new_folder(&path))
            .map_err(StoreError::before_the_run)?;
        Self::begin(&parent, path, made)
    }

    /// Makes `results/<experiment>/<name>`, or `<name>-2`, `<name>-3` … where that is taken, and locks it. Of processes
    /// that ask for one name at the same instant each has a folder of its own.
    ///
    /// # Errors
    ///
    /// When a name cannot be a folder's, or the disk refuses.
    pub fn create_free(results: &Utf8Path, experiment: &str, name: &str) -> Result<Self, StoreError> {
        check_id(results, experiment)?;
        check_id(results, name)?;
        let parent = results.join(experiment);
        never_begun::sweep(&parent);
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

    /// `made` says that the folder is this call's own: then nothing of it stays when there can be no run in it.
    fn begin(parent: &Utf8Path, path: Utf8PathBuf, made: bool) -> Result<Self, StoreError> {
        let begun = || {
            let lock = lock::take(&path)?;
            // A run that was cut off before it wrote its first file is nothing to go on with.
            if path.join(layout::RUN).exists() {
                return Err(StoreError::new(
                    &path,
                    "there is a run of that name already",
                    "go on with it by --resume, or choose another name with --name",
                ));
            }
            atomic::write_file(&path.join(".gitignore"), IGNORED.as_bytes())?;
            atomic::sync_folder(parent)?;
            Ok(lock)
        };
        match begun() {
            Ok(lock) => Ok(Self { path, lock, made }),
            Err(error) => Err(not_begun(error, made.then_some(&path))),
        }
    }

    /// Writes what a run begins with, or leaves nothing of it: a folder without `run.json` is no run, and can be neither gone
    /// on with nor rendered.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
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
            Err(error) => Err(not_begun(error, self.made.then_some(&self.path))),
        }
    }

    /// Locks a run folder that is there, and clears what an interrupted write left in it.
    ///
    /// # Errors
    ///
    /// When it is no run, another process works on it, or a newer program wrote it.
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
        Ok(Self { path: path.to_owned(), lock, made: false })
    }

    /// Where it is.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// The run's name: its folder's, as it is written.
    pub fn name(&self) -> &str {
        self.path.file_name().unwrap_or_default()
    }

    /// Whether the folder still is where this run began; a person may have moved or removed it.
    pub fn is_present(&self) -> bool {
        self.lock.is_of(&self.path)
    }

    /// Refuses to write where the run is no more: half a run made anew would be taken for a whole one.
    fn check_present(&self) -> Result<(), StoreError> {
        if self.is_present() {
            return Ok(());
        }
        Err(StoreError::new(
            &self.path,
            "the folder of the run was removed, or replaced, while the run was at work",
            "where it was moved, put it back and go on with `runner run … --resume`; otherwise start the run again",
        ))
    }

    /// The folder of a server, made when it is not there.
    ///
    /// # Errors
    ///
    /// When the id cannot be a folder's name, or the disk refuses.
    pub fn server_folder(&self, id: &str) -> Result<Utf8PathBuf, StoreError> {
        check_id(&self.path, id)?;
        self.check_present()?;
        let folder = self.path.join(layout::SERVERS).join(id);
        atomic::create_folders(&folder)?;
        Ok(folder)
    }

    /// Writes a text file, and the folders above it; `relative` counts from the run folder.
    ///
    /// # Errors
    ///
    /// When `relative` leads out of the folder, or the disk refuses.
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

    /// Takes away pictures of an earlier rendering: the `.svg` files of `charts/` that `keep` does not name.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
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
    ///
    /// When the disk refuses.
    pub fn write_plan(&self, plan: &Plan) -> Result<(), StoreError> {
        self.write_json(&self.path.join(layout::PLAN), plan)
    }

    /// Writes `run.json`.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn write_run(&self, run: &RunFile) -> Result<(), StoreError> {
        self.write_json(&self.path.join(layout::RUN), run)
    }

    /// Writes `predicted.json`.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn write_predictions(&self, predictions: &Predictions) -> Result<(), StoreError> {
        self.write_json(&self.path.join(layout::PREDICTIONS), predictions)
    }

    /// Writes `servers/<id>/serve.sh` and `config.yaml`, which start the group's server by hand.
    ///
    /// # Errors
    ///
    /// When the id cannot be a folder's name, or the disk refuses.
    pub fn write_recipe(&self, group: &Group) -> Result<(), StoreError> {
        let folder = self.server_folder(&group.id)?;
        write_recipe(&folder, group)
    }

    /// Writes `servers/<id>/server.json`.
    ///
    /// # Errors
    ///
    /// When the id cannot be a folder's name, or the disk refuses.
    pub fn write_server(&self, server: &ServerFile) -> Result<(), StoreError> {
        let folder = self.server_folder(&server.id)?;
        self.write_json(&folder.join(layout::SERVER), server)
    }

    /// Writes the folder of a cell, complete or not at all, in place of an older one.
    ///
    /// # Errors
    ///
    /// When the id cannot be a folder's name, or the disk refuses.
    pub fn write_cell(&self, cell: &CellFile, repeats: &[Records]) -> Result<(), StoreError> {
        check_id(&self.path, &cell.id)?;
        self.check_present()?;
        let folder = self.path.join(layout::CELLS).join(&cell.id);
        let light = pretty(&folder.join(layout::CELL), cell)?;
        let mut files: Vec<atomic::Content<'_>> =
            vec![(layout::CELL.to_owned(), Box::new(move |file| file.write_all(&light)))];
        for (repeat, records) in (1..).zip(repeats) {
            files.push((
                records::file_name(repeat),
                Box::new(move |file| records::encode(&cell.id, repeat, records, file)),
            ));
        }
        atomic::write_folder(&folder, &files)
    }

    /// Writes `cells.csv`, and `repeats.csv` when a cell has several repeats.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn write_tables(&self, run: &StoredRun) -> Result<(), StoreError> {
        self.check_present()?;
        let write = |name: &str, table: Result<Vec<u8>, csv::Error>| {
            let path = self.path.join(name);
            let bytes = table
                .map_err(|e| StoreError::new(&path, format!("cannot make the table: {e}"), "report it"))?;
            atomic::write_file(&path, &bytes)
        };
        write("cells.csv", tables::cells(run))?;
        if run.cells.iter().any(|cell| !cell.repeats.is_empty()) {
            write("repeats.csv", tables::repeats(run))?;
        }
        Ok(())
    }

    fn write_json<T: Serialize>(&self, path: &Utf8Path, value: &T) -> Result<(), StoreError> {
        self.check_present()?;
        atomic::write_file(path, &pretty(path, value)?)
    }
}

/// Stores a run that is complete from the start (imported or predicted) as `results/<experiment>/<run>`, and returns its
/// folder. `manifest` is the text it was made from; an imported run has none, and no recipes of its servers.
///
/// # Errors
///
/// When there is such a run already, or the disk refuses.
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
///
/// When the disk refuses.
pub fn write_recipe(folder: &Utf8Path, group: &Group) -> Result<(), StoreError> {
    let recipe = server::recipe(&group.server);
    atomic::write_file(&folder.join("serve.sh"), recipe.serve_sh.as_bytes())?;
    atomic::write_file(&folder.join("config.yaml"), recipe.config_yaml.as_bytes())
}

/// The error of a run that could not begin; of a folder that was made for it nothing stays.
fn not_begun(error: StoreError, made: Option<&Utf8PathBuf>) -> StoreError {
    let Some(path) = made else {
        return error;
    };
    // What cannot be removed is no run either; the first error is what is told.
    let _ = atomic::remove(path);
    error.before_the_run()
}

fn pretty<T: Serialize>(path: &Utf8Path, value: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes =
        serde_json::to_vec_pretty(value).map_err(|e| StoreError::io(path, "write it as JSON", &e.into()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Refuses a name that is no plain folder name: one that leads elsewhere, hides, or is taken for a flag.
pub(super) fn check_id(folder: &Utf8Path, id: &str) -> Result<(), StoreError> {
    check_name(id).map_err(|_| {
        StoreError::new(folder, format!("{id:?} cannot be the name of a folder in it"), PLAIN_NAMES)
    })
}

const PLAIN_NAMES: &str =
    "use letters, digits, `-`, `_` and `.`, at most 200 of them, beginning with a letter or a digit";

/// Whether a run may have a name: a plain one, that neither leads elsewhere nor hides nor is taken for a flag.
///
/// # Errors
///
/// A sentence that says which names may be.
pub fn check_name(id: &str) -> Result<(), String> {
    let plain = !id.is_empty()
        && id.len() <= 200
        && !id.starts_with(['.', '-'])
        && !id.contains(['/', '\\'])
        && !id.contains(char::is_control);
    if plain {
        return Ok(());
    }
    Err(format!("{id:?} cannot be the name of a folder; {PLAIN_NAMES}"))
}
