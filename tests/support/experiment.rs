//! An experiment: a temporary folder with a manifest, and the files that a run leaves there.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use super::RUNNER;

/// A manifest in a temporary folder.
pub(crate) struct Experiment {
    folder: TempDir,
}

/// One row of `cells.csv`, by column.
pub(crate) type Row = BTreeMap<String, String>;

impl Experiment {
    /// Writes the manifest.
    pub(crate) fn new(manifest: &str) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
        fs::write(folder.path().join("manifest.toml"), manifest).map_err(|e| e.to_string())?;
        Ok(Self { folder })
    }

    /// A path beside the manifest.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `runner` with arguments, in the manifest's folder.
    pub(crate) fn runner(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(RUNNER);
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// `runner run` of the manifest.
    pub(crate) fn run(&self) -> Command {
        self.runner(&["run", "manifest.toml", "--results", "results"])
    }

    /// The folder of the only run of the only experiment.
    pub(crate) fn run_folder(&self) -> Result<PathBuf, String> {
        only_folder(&only_folder(&self.path("results"))?)
    }

    /// The output of `runner report --values` for the only run.
    pub(crate) fn values(&self) -> Result<Value, String> {
        let run = self.run_folder()?;
        let run = run.to_str().ok_or("the temporary folder's path is no text")?;
        let output = self.runner(&["report", run, "--values"]).output().map_err(|e| e.to_string())?;
        serde_json::from_slice(&output.stdout)
            .map_err(|e| format!("{e}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// The rows of `cells.csv`.
    pub(crate) fn cells(&self) -> Result<Vec<Row>, String> {
        let path = self.run_folder()?.join("cells.csv");
        let mut reader = csv::Reader::from_path(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        reader.deserialize().collect::<Result<_, _>>().map_err(|e| format!("{}: {e}", path.display()))
    }
}

/// Every `cell.json` of a run, by the name of its folder.
pub(crate) fn cells_of(run: &Path) -> Result<BTreeMap<String, Value>, String> {
    let entries = fs::read_dir(run.join("cells")).map_err(|e| format!("{}: {e}", run.display()))?;
    let read = |folder: PathBuf| -> Result<Value, String> {
        let text = fs::read(folder.join("cell.json")).map_err(|e| format!("{}: {e}", folder.display()))?;
        serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", folder.display()))
    };
    entries
        .flatten()
        .map(|entry| Ok((entry.file_name().to_string_lossy().into(), read(entry.path())?)))
        .collect()
}

/// The only cell of a run.
pub(crate) fn only_cell(run: &Path) -> Result<Value, String> {
    let cells = cells_of(run)?;
    match cells.len() {
        1 => Ok(cells.into_values().next().unwrap()),
        count => Err(format!("{} has {count} cells", run.display())),
    }
}

/// Runs a command. Unless it exits with 0, the error quotes its output.
pub(crate) fn succeed(mut command: Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{command:?} ended with {}\nstdout:\n{}\nstderr:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// A field of a row as a number.
pub(crate) fn number(row: &Row, column: &str) -> Result<f64, String> {
    let text = row.get(column).ok_or_else(|| format!("cells.csv has no column {column}: {row:?}"))?;
    text.parse().map_err(|_| format!("{column} is {text:?}, not a number: {row:?}"))
}

fn only_folder(parent: &Path) -> Result<PathBuf, String> {
    let entries = fs::read_dir(parent).map_err(|e| format!("{}: {e}", parent.display()))?;
    // A link to the newest run may stand beside the runs.
    let folders: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect();
    match folders.as_slice() {
        [folder] => Ok(folder.clone()),
        _ => Err(format!("{} should hold one folder: {folders:?}", parent.display())),
    }
}
