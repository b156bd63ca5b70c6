//! A file operation of a run fails, or is the runner's last: one trial each. strace lets it fail.
//!
//! One run is traced first, so that every operation of the runner on its run folder is known by its call, its
//! path and which of several it is; some are then drawn with a stated seed, and others with another one
//! (`RUNNER_TEST_SEED=7`).

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use libtest_mimic::{Completion, Failed, Trial};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use crate::support::{RUNNER, lacking};

use super::injected::{at, manifest, nothing_is_left, surround};

/// The seed, where none is told.
const SEED: u64 = 6;
/// So many operations of each call are tried, each once failing and once as the last.
const OF_EACH_CALL: usize = 3;
/// The calls, and how each fails.
const CALLS: [(&str, &str); 7] = [
    ("mkdir", "ENOSPC"),
    ("openat", "EIO"),
    ("write", "ENOSPC"),
    ("ftruncate", "EIO"),
    ("fsync", "EIO"),
    ("rename", "EIO"),
    ("unlink", "EIO"),
];
/// Where the run is.
const RUN: &str = "results/faults/run";

/// One operation of a run: the n-th of a call on a path, which counts from the folder of the trial.
#[derive(Clone, Debug)]
struct Operation {
    call: &'static str,
    error: &'static str,
    path: PathBuf,
    number: usize,
}

pub(crate) fn trials() -> Vec<Trial> {
    let drawn = match traceable() {
        Ok(None) => drawn(),
        Ok(Some(reason)) => {
            return vec![Trial::ignorable_test("file_operations_that_fail", || {
                Ok(Completion::ignored_with(reason))
            })];
        }
        Err(error) => Err(error),
    };
    match drawn {
        Ok(drawn) => drawn.into_iter().flat_map(both).collect(),
        Err(error) => vec![Trial::test("file_operations_that_fail", || Err(Failed::from(error)))],
    }
}

/// The two trials of an operation.
fn both(operation: Operation) -> [Trial; 2] {
    [("fails", false), ("is_the_last", true)].map(|(what, last)| {
        let operation = operation.clone();
        let name = format!("{}_{}_of_{}_{what}", operation.call, operation.number, operation.path.display());
        Trial::test(name, move || tried(&operation, last).map_err(|error| Failed::from(error.to_string())))
    })
}

fn traceable() -> Result<Option<String>, String> {
    let tried =
        Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if tried.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    lacking(
        "a file operation that fails needs strace, and leave to trace; get it with: apt-get install strace",
    )
    .map(Some)
}

/// A run under strace, which follows the threads of the runner and the processes that it starts.
fn traced(folder: &Path, more: &[&str], options: &[&str]) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-y", "-o"]).arg(folder.join("trace")).args(options).arg(RUNNER);
    run(command, folder, more)
}

fn run(mut command: Command, folder: &Path, more: &[&str]) -> Command {
    command.args(["run", "manifest.toml", "--results"]).arg(folder.join("results")).args(more);
    surround(&mut command, folder);
    command
}

/// The operations of a whole run, and some of them.
fn drawn() -> Result<Vec<Operation>, String> {
    let said = |error: std::io::Error| error.to_string();
    let folder = tempfile::tempdir().map_err(said)?;
    let folder = folder.path().canonicalize().map_err(said)?;
    manifest(&folder, "", "").map_err(said)?;
    let calls: Vec<&str> = CALLS.iter().map(|(call, _)| *call).collect();
    let trace = format!("trace={}", calls.join(","));
    let command = traced(&folder, &["--name", "run"], &["-e", &trace]);
    let (code, told) = at(command, "", |_| ()).map_err(|error| error.to_string())?;
    if code != "0" {
        return Err(format!("a run under strace ended with {code}: {told}"));
    }
    let trace = fs::read_to_string(folder.join("trace")).map_err(said)?;
    let mut random = ChaCha8Rng::seed_from_u64(seed()?);
    let mut drawn = Vec::new();
    for (call, error) in CALLS {
        let mut seen: BTreeMap<(&str, PathBuf), usize> = BTreeMap::new();
        let mut all: Vec<Operation> = Vec::new();
        for (thread, line) in calls_of(&trace, call) {
            let Some(path) = path_of(line, &folder) else {
                continue;
            };
            // strace counts the calls of each thread.
            let number = seen.entry((thread, path.clone())).or_default();
            *number += 1;
            all.push(Operation { call, error, path, number: *number });
        }
        if all.is_empty() {
            return Err(format!("a run makes no {call} in its folder:\n{trace}"));
        }
        for _ in 0..OF_EACH_CALL.min(all.len()) {
            let which = random.next_u32() as usize % all.len();
            drawn.push(all.swap_remove(which));
        }
    }
    Ok(drawn)
}

/// The lines of a trace that begin a call, each with the id of its thread: `4711 mkdir("/a/b", 0777) = 0`.
fn calls_of<'a>(trace: &'a str, call: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let begins = format!("{call}(");
    let split = trace.lines().filter_map(|line| line.split_once(' '));
    split.map(|(thread, rest)| (thread, rest.trim_start())).filter(move |(_, rest)| rest.starts_with(&begins))
}

fn seed() -> Result<u64, String> {
    match env::var("RUNNER_TEST_SEED") {
        Ok(told) => told.parse().map_err(|error| format!("RUNNER_TEST_SEED={told}: {error}")),
        Err(_) => Ok(SEED),
    }
}

/// What a call is about, when that is in the run's folder: `mkdir("/a/b", 0777)`, `openat(AT_FDCWD</c>,
/// "/a/b", O_RDONLY)`, `fsync(9</a/b>)`. What is written may name the folder too.
fn path_of(line: &str, folder: &Path) -> Option<PathBuf> {
    let (_, arguments) = line.split_once('(')?;
    let path = if arguments.starts_with(|c: char| c.is_ascii_digit()) {
        arguments.split(['<', '>']).nth(1)?
    } else {
        arguments.split('"').nth(1)?
    };
    let path = Path::new(path);
    path.starts_with(folder.join("results")).then(|| path.strip_prefix(folder).ok().map(Path::to_owned))?
}

/// How often a run is tried until it comes to the operation: on a slow disk tables are written less often.
const TRIES: usize = 5;

fn tried(operation: &Operation, last: bool) -> Result<(), Box<dyn std::error::Error>> {
    for _ in 0..TRIES {
        if came_to(operation, last)? {
            return Ok(());
        }
    }
    Err(format!("of {TRIES} runs none came to the operation").into())
}

/// A run of which one operation fails, or is the last; then the next run. `false` where it ended without
/// coming to the operation that was to be its last.
fn came_to(operation: &Operation, last: bool) -> Result<bool, Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path().canonicalize()?;
    manifest(&folder, "", "")?;
    let Operation { call, error, path, number } = operation;
    let what = if last { "signal=KILL".to_owned() } else { format!("error={error}") };
    let inject = format!("inject={call}:{what}:when={number}");
    let trace = format!("trace={call}");
    let path = folder.join(path);
    let path = path.to_str().ok_or("a path that is text")?;
    let options = ["-P", path, "-e", &trace, "-e", &inject];
    let (code, said) = at(traced(&folder, &["--name", "run"], &options), "", |_| ())?;
    let whole = cells(&folder)?;
    let trace = fs::read_to_string(folder.join("trace"))?;
    let calls = calls_of(&trace, call).count();
    match code.as_str() {
        "killed" if last => {}
        "0" if last && calls < *number => return Ok(false),
        // What only speeds things up, or is looked at without need, may fail unheard.
        "0" if !last => {}
        "1" if !last && said.contains("error: ") => nothing_is_left(&folder)?,
        _ => return Err(format!("ended with {code}:\n{said}").into()),
    }
    if said.contains("panicked") {
        return Err(said.into());
    }
    let more: &[&str] =
        if folder.join(RUN).join("run.json").exists() { &["--resume"] } else { &["--name", "run"] };
    let (code, again) = at(run(Command::new(RUNNER), &folder, more), "", |_| ())?;
    if code != "0" {
        return Err(format!("{said}\nthen {more:?} ended with {code}:\n{again}").into());
    }
    nothing_is_left(&folder)?;
    let now = cells(&folder)?;
    if now.len() != 3 {
        return Err(format!("{} cells are there:\n{said}\n{again}", now.len()).into());
    }
    for (name, files) in whole {
        if now.get(&name) != Some(&files) {
            return Err(format!("{name:?} was whole, and is another one:\n{said}\n{again}").into());
        }
    }
    Ok(true)
}

/// The bytes of each cell's files, in the order of their names.
type Cells = BTreeMap<PathBuf, Vec<Vec<u8>>>;

/// Every cell of the run, with the bytes of its files. One that is not whole is an error.
fn cells(folder: &Path) -> Result<Cells, Box<dyn std::error::Error>> {
    let mut cells = BTreeMap::new();
    let there = fs::read_dir(folder.join(RUN).join("cells"));
    for cell in there.into_iter().flatten() {
        let cell = cell?.path();
        let name = cell.file_name().unwrap_or_default();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let text = fs::read_to_string(cell.join("cell.json"))?;
        let value: serde_json::Value = serde_json::from_str(&text)?;
        if value["outcome"] != "ok" {
            return Err(format!("{}: {value:#}", cell.display()).into());
        }
        let mut paths: Vec<PathBuf> =
            fs::read_dir(&cell)?.map(|file| file.map(|file| file.path())).collect::<Result<_, _>>()?;
        paths.sort();
        let files: Result<Vec<Vec<u8>>, _> = paths.iter().map(fs::read).collect();
        cells.insert(cell, files?);
    }
    Ok(cells)
}
