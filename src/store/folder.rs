//! An open run folder: the one place everything of a run is written through.

use std::fs;

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    durable,
    error::StoreError,
    form::{CellFile, RunFile, ServerFile, StoredRun},
    json,
    lock::Lock,
    name, records, table,
};
use crate::{load::Record, plan::Plan};

/// What does not go to git: heavy files, and what is only of use while a run is worked on.
const GITIGNORE: &str = "\
# The light files suffice to render everything again. These are heavy, or of use to a running runner only.
records-*.jsonl.gz
server.log
.lock
.tmp-*
";

/// A run folder that is open for writing. No other runner can open it until this is dropped or the process ends.
#[derive(Debug)]
pub struct RunFolder {
    path: Utf8PathBuf,
    _lock: Lock,
}

impl RunFolder {
    /// Creates `<results>/<experiment>/<name>`.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when it is there already; [`StoreError::BadName`] for a name that is a path.
    pub fn create(results: &Utf8Path, experiment: &str, name: &str) -> Result<Self, StoreError> {
        let path = results
            .join(name::checked("experiment", experiment)?)
            .join(name::checked("run", name)?);
        durable::create_folder(&path)?;
        let folder = Self {
            _lock: Lock::take(&path)?,
            path,
        };
        // Looked at under the lock: of two runners that begin the same run at once, one is refused. A folder without
        // it is empty, or was left before the run began.
        if folder.path.join("run.json").exists() {
            return Err(StoreError::Exists {
                folder: folder.path,
            });
        }
        folder.write_text(".gitignore", GITIGNORE)?;
        Ok(folder)
    }

    /// Opens a run to go on with it, and puts right what a crash left behind.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when it is not a run; [`StoreError::Locked`] when another runner works in it.
    pub fn open(path: &Utf8Path) -> Result<Self, StoreError> {
        let run = path.join("run.json");
        // Before the lock: a folder that is not a run gets no file from us.
        if !run.is_file() {
            return Err(StoreError::Missing { path: run });
        }
        let folder = Self {
            _lock: Lock::take(path)?,
            path: path.to_owned(),
        };
        for place in [path.to_owned(), path.join("cells")] {
            durable::recover(&place)?;
        }
        folder.write_text(".gitignore", GITIGNORE)?;
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// `servers/<id>`, created when it is not there.
    pub fn server_folder(&self, id: &str) -> Result<Utf8PathBuf, StoreError> {
        self.subfolder(&Utf8Path::new("servers").join(name::checked("server", id)?))
    }

    /// A folder of the run, created when it is not there. The run's own folder is never made anew: one that was
    /// removed meanwhile is an error, not an empty run.
    fn subfolder(&self, relative: &Utf8Path) -> Result<Utf8PathBuf, StoreError> {
        fs::metadata(&self.path).map_err(StoreError::io("write", &self.path))?;
        let folder = self.path.join(relative);
        durable::create_folder(&folder)?;
        Ok(folder)
    }

    /// Writes a text of the run, `notes/summary.md` say, with the folders it stands in.
    ///
    /// # Errors
    /// [`StoreError::BadName`] for a path that leads out of the run's folder.
    pub fn write_text(&self, relative: impl AsRef<Utf8Path>, text: &str) -> Result<(), StoreError> {
        let relative = name::inside(relative.as_ref())?;
        if let Some(parent) = relative.parent().filter(|parent| *parent != "") {
            self.subfolder(parent)?;
        }
        durable::write(&self.path.join(relative), text.as_bytes())
    }

    /// Writes `plan.json`.
    pub fn write_plan(&self, plan: &Plan) -> Result<(), StoreError> {
        json::write(&self.path.join("plan.json"), plan)
    }

    /// Writes `run.json`.
    pub fn write_run(&self, run: &RunFile) -> Result<(), StoreError> {
        json::write(&self.path.join("run.json"), run)
    }

    /// Writes `servers/<id>/server.json`.
    pub fn write_server(&self, server: &ServerFile) -> Result<(), StoreError> {
        json::write(&self.server_folder(&server.id)?.join("server.json"), server)
    }

    /// Writes `cells/<id>/`, whole or not at all: `cell.json` and the records of each repeat that has some. A folder
    /// that an earlier attempt left is replaced.
    pub fn write_cell(&self, cell: &CellFile, repeats: &[Vec<Record>]) -> Result<(), StoreError> {
        let id = name::checked("cell", &cell.id)?;
        let folder = self.subfolder("cells".into())?.join(id);
        let has_records = repeats.iter().any(|records| !records.is_empty());
        durable::place_folder(&folder, |at| {
            if has_records {
                // A repeat without records is kept as one, so that the others keep their numbers.
                for (repeat, records) in (1..).zip(repeats) {
                    records::write(at, id, repeat, records)?;
                }
            }
            json::write(&at.join("cell.json"), cell)
        })
    }

    /// Writes `cells.csv`, and `repeats.csv` where a cell has several, from what is stored of the run.
    pub fn write_tables(&self, run: &StoredRun) -> Result<(), StoreError> {
        let tables = table::Tables::of(run);
        self.write_text("cells.csv", &tables.cells)?;
        match tables.repeats {
            Some(text) => self.write_text("repeats.csv", &text),
            None => durable::remove(&self.path.join("repeats.csv")),
        }
    }
}
