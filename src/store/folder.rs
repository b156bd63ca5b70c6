//! A run folder that is being written: every file is whole or absent at any instant.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, Write},
};

use camino::{Utf8Path, Utf8PathBuf};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use rustix::fs::{FlockOperation, flock};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::form::{CellFile, RunFile, ServerFile, StoredRun};
use crate::{load::Record, plan::Plan};

/// Version of every form this program writes; it reads this one and older ones.
pub const FORMAT: u32 = 1;

const IGNORED: &str = "# Heavy files stay out of git; everything else is enough to render the notes again.\nrecords-*.jsonl.gz\nserver.log\n.lock\n.tmp-*\n";

/// Why something could not be stored or read: what, where, why, and what to do.
#[derive(Debug)]
pub struct StoreError {
    path: Utf8PathBuf,
    reason: String,
    next: &'static str,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path, self.reason, self.next)
    }
}

impl std::error::Error for StoreError {}

fn wrong(path: &Utf8Path, reason: impl fmt::Display, next: &'static str) -> StoreError {
    StoreError {
        path: path.to_owned(),
        reason: reason.to_string(),
        next,
    }
}

fn disk(path: &Utf8Path) -> impl Fn(io::Error) -> StoreError + '_ {
    move |error| {
        wrong(
            path,
            error,
            "what was stored before is intact; check space and permissions, then --resume",
        )
    }
}

/// A run folder, held by this process alone.
#[derive(Debug)]
pub struct RunFolder {
    path: Utf8PathBuf,
    /// Held for its lock.
    _lock: File,
}

impl RunFolder {
    /// Makes the folder of a new run.
    ///
    /// # Errors
    /// When it exists already, or cannot be written.
    pub fn create(results: &Utf8Path, experiment: &str, name: &str) -> Result<Self, StoreError> {
        let path = results.join(experiment).join(name);
        if path.join("run.json").exists() {
            return Err(wrong(
                &path,
                "this run exists already",
                "go on with --resume, or give another --name",
            ));
        }
        fs::create_dir_all(path.join("cells")).map_err(disk(&path))?;
        fs::create_dir_all(path.join("servers")).map_err(disk(&path))?;
        let folder = Self::open(&path)?;
        folder.write_text(".gitignore", IGNORED)?;
        Ok(folder)
    }

    /// Opens an existing run to go on with it.
    ///
    /// # Errors
    /// When it is not there, cannot be written, or another process works on it.
    pub fn open(path: &Utf8Path) -> Result<Self, StoreError> {
        let at = path.join(".lock");
        let mut lock = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&at)
            .map_err(disk(&at))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            let _ = lock.read_to_string(&mut holder);
            return Err(wrong(
                path,
                format!("process {} works on this run", holder.trim()),
                "wait for it, or end it",
            ));
        }
        let pid = std::process::id().to_string();
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| lock.write_all(pid.as_bytes()))
            .map_err(disk(&at))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// The folder of a server, made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn server_folder(&self, id: &str) -> Result<Utf8PathBuf, StoreError> {
        let path = self.path.join("servers").join(id);
        fs::create_dir_all(&path).map_err(disk(&path))?;
        Ok(path)
    }

    /// Writes a text file at a path below the run.
    ///
    /// # Errors
    /// When the disk refuses; the file then is as it was before.
    pub fn write_text(&self, relative: &str, text: &str) -> Result<(), StoreError> {
        let path = self.path.join(relative);
        whole(&path, text.as_bytes()).map_err(disk(&path))
    }

    fn write_json(&self, relative: &str, value: &impl Serialize) -> Result<(), StoreError> {
        let mut text = serde_json::to_string_pretty(value).map_err(|error| {
            wrong(
                &self.path.join(relative),
                error,
                "this is a fault of runner",
            )
        })?;
        text.push('\n');
        self.write_text(relative, &text)
    }

    /// `plan.json`
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_plan(&self, plan: &Plan) -> Result<(), StoreError> {
        self.write_json("plan.json", plan)
    }

    /// `run.json`
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_run(&self, run: &RunFile) -> Result<(), StoreError> {
        self.write_json("run.json", run)
    }

    /// `servers/<id>/server.json`
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_server(&self, server: &ServerFile) -> Result<(), StoreError> {
        self.server_folder(&server.id)?;
        self.write_json(&format!("servers/{}/server.json", server.id), server)
    }

    /// `cells/<id>/`: the cell and the records of each repeat. The folder appears whole; an older one is replaced.
    ///
    /// # Errors
    /// When the disk refuses; an older folder is then still there.
    pub fn write_cell(&self, cell: &CellFile, repeats: &[Vec<Record>]) -> Result<(), StoreError> {
        let cells = self.path.join("cells");
        let beside = cells.join(format!(".tmp-{}", cell.id));
        let place = cells.join(&cell.id);
        let write = || -> io::Result<()> {
            if beside.exists() {
                fs::remove_dir_all(&beside)?;
            }
            fs::create_dir_all(&beside)?;
            let mut text = serde_json::to_string_pretty(cell).map_err(io::Error::other)?;
            text.push('\n');
            whole(&beside.join("cell.json"), text.as_bytes())?;
            for (index, records) in repeats.iter().enumerate() {
                let name = format!("records-{}.jsonl.gz", index + 1);
                whole(&beside.join(name), &packed(cell, index + 1, records)?)?;
            }
            if place.exists() {
                fs::remove_dir_all(&place)?;
            }
            fs::rename(&beside, &place)?;
            File::open(&cells)?.sync_all()
        };
        write().map_err(disk(&place))
    }
}

/// One header line, then one record a line, compressed.
fn packed(cell: &CellFile, repeat: usize, records: &[Record]) -> io::Result<Vec<u8>> {
    let mut out = GzEncoder::new(Vec::new(), Compression::default());
    writeln!(
        out,
        "{}",
        json!({ "format": FORMAT, "cell": cell.id, "repeat": repeat })
    )?;
    for record in records {
        serde_json::to_writer(&mut out, record)?;
        out.write_all(b"\n")?;
    }
    out.finish()
}

/// Writes beside, syncs, renames, and syncs the folder.
fn whole(path: &Utf8Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Utf8Path::new("."));
    fs::create_dir_all(folder)?;
    let beside = folder.join(format!(".tmp-{}", path.file_name().unwrap_or("file")));
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

fn read_json<T: DeserializeOwned>(path: &Utf8Path) -> Result<T, StoreError> {
    let text = fs::read_to_string(path)
        .map_err(|error| wrong(path, error, "is this the folder of a run?"))?;
    let value: Value = serde_json::from_str(&text).map_err(|error| {
        wrong(
            path,
            format!("not the JSON it should be: {error}"),
            "restore it from git, or run the cell again with --resume",
        )
    })?;
    let format = value.get("format").and_then(Value::as_u64);
    if format.is_none_or(|format| format > u64::from(FORMAT)) {
        return Err(wrong(
            path,
            "its format is newer than this program's, or missing",
            "use the runner that wrote it, or a newer one",
        ));
    }
    serde_json::from_value(value).map_err(|error| {
        wrong(
            path,
            format!("not the form it should be: {error}"),
            "restore it from git, or run the cell again with --resume",
        )
    })
}

/// Reads a run from its light files alone; servers and cells come in the order of the plan.
///
/// # Errors
/// When a file is missing, broken, or newer than this program.
pub fn read(folder: &Utf8Path) -> Result<StoredRun, StoreError> {
    let plan: Plan = read_json(&folder.join("plan.json"))?;
    let run: RunFile = read_json(&folder.join("run.json"))?;
    let effective_at = folder.join("effective.toml");
    let effective = fs::read_to_string(&effective_at)
        .map_err(|error| wrong(&effective_at, error, "is this the folder of a run?"))?;
    let mut servers = Vec::new();
    let mut cells = Vec::new();
    for group in &plan.groups {
        let at = folder.join("servers").join(&group.id).join("server.json");
        if at.exists() {
            servers.push(read_json(&at)?);
        }
        for cell in &group.cells {
            let at = folder.join("cells").join(&cell.id).join("cell.json");
            if at.exists() {
                cells.push(read_json(&at)?);
            }
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

/// The records of a cell, one list per repeat.
///
/// # Errors
/// When a file cannot be read or holds something else than records.
pub fn read_records(folder: &Utf8Path, cell: &str) -> Result<Vec<Vec<Record>>, StoreError> {
    let mut repeats = Vec::new();
    for repeat in 1.. {
        let path = folder
            .join("cells")
            .join(cell)
            .join(format!("records-{repeat}.jsonl.gz"));
        let Ok(file) = File::open(&path) else {
            break;
        };
        let broken = |error: String| wrong(&path, error, "measure the cell again");
        let mut records = Vec::new();
        for line in BufReader::new(GzDecoder::new(file)).lines().skip(1) {
            let line = line.map_err(|error| broken(error.to_string()))?;
            records.push(serde_json::from_str(&line).map_err(|error| broken(error.to_string()))?);
        }
        repeats.push(records);
    }
    Ok(repeats)
}

/// The newest run of an experiment.
///
/// # Errors
/// When the results cannot be read.
pub fn newest(results: &Utf8Path, experiment: &str) -> Result<Option<Utf8PathBuf>, StoreError> {
    let folder = results.join(experiment);
    if !folder.exists() {
        return Ok(None);
    }
    let mut newest: Option<(jiff::Timestamp, Utf8PathBuf)> = None;
    for entry in folder.read_dir_utf8().map_err(disk(&folder))? {
        let path = entry.map_err(disk(&folder))?.into_path();
        if !path.join("run.json").exists() {
            continue;
        }
        let run: RunFile = read_json(&path.join("run.json"))?;
        if newest.as_ref().is_none_or(|(at, _)| run.started_at > *at) {
            newest = Some((run.started_at, path));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

/// What keeps two starts of one run from being mixed, each with its name and both values.
pub fn fingerprint_difference(old: &RunFile, new: &RunFile) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |name: &str, a: String, b: String| {
        if a != b {
            differences.push(format!("{name}: {a} → {b}"));
        }
    };
    let gpus = |run: &RunFile| {
        let names: Vec<&str> = run.gpus.iter().map(|gpu| gpu.name.as_str()).collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    compare("gpu", gpus(old), gpus(new));
    compare(
        "platform",
        old.host.platform.clone(),
        new.host.platform.clone(),
    );
    compare(
        "cores",
        old.host.cores.to_string(),
        new.host.cores.to_string(),
    );
    compare(
        "simulated",
        old.simulated.to_string(),
        new.simulated.to_string(),
    );
    if let (Some(a), Some(b)) = (&old.engine, &new.engine) {
        compare("engine", a.name.clone(), b.name.clone());
        if let (Some(a), Some(b)) = (&a.version, &b.version) {
            compare("engine version", a.clone(), b.clone());
        }
    }
    differences
}
