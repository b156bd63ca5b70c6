//! A server that dies or hangs while cells run: what the run, its files and its exit code say.

use std::{collections::BTreeMap, error::Error, fs, iter, os::unix::net::UnixListener, path::Path};

use libtest_mimic::Trial;
use serde_json::Value;

use crate::support::{
    experiment::{Experiment, cells_of},
    standin::with_stand_in,
};

use super::trial;
#[cfg(target_os = "linux")]
use {
    crate::support::processes::{alive, below, signal, until},
    rustix::process::Signal,
};

/// Three cells of four requests on one server.
const MANIFEST: &str = r#"
[experiment]
name = "lost"

[server]
model = "Qwen/Qwen2.5-1.5B-Instruct"
hung_after = "600ms"
[server.env]
STANDIN_TTFT_MS = "10"
STANDIN_TOKEN_MS = "2"
{fault}

[workload.chat]
prompts = ["What is a prefix cache?"]
requests = 4
concurrency = 2
[workload.chat.sweep]
max_tokens = [4, 5, 6]
"#;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_crashed_cell_is_retried", || tried_again("STANDIN_DIE_AFTER = \"6\"", "crashed")),
        trial("a_hung_cell_is_retried", || tried_again("STANDIN_HANG_AFTER = \"6\"", "hung")),
        trial("a_server_that_always_dies_ends_cells_not_the_run", || {
            always("STANDIN_DIE_AFTER = \"2\"", "crashed")
        }),
        trial("a_server_that_always_hangs_ends_cells_not_the_run", || {
            always("STANDIN_HANG_AFTER = \"2\"", "hung")
        }),
        trial("a_flood_of_log_is_bounded_on_disk", log_is_bounded),
        trial("only_the_files_of_a_killed_server_are_removed", files_go),
        #[cfg(target_os = "linux")]
        trial("the_next_run_removes_the_files_of_an_orphan", next_run_removes_files),
    ]
}

/// Runner, guardian and server are all killed: the next run, of whatever, removes what they had mapped and
/// bound.
#[cfg(target_os = "linux")]
fn next_run_removes_files() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let (told, state) = (folder.path().join("left.txt"), folder.path().join("state"));
    let fault = format!("STANDIN_TOKEN_MS = \"100000\"\nSTANDIN_LEAVES = \"{}\"", told.display());
    let manifest =
        MANIFEST.replace("STANDIN_TOKEN_MS = \"2\"", "").replace("600ms", "10m").replace("{fault}", &fault);
    let experiment = Experiment::new(&manifest)?;
    let mut command = experiment.run();
    with_stand_in(&mut command);
    let mut runner = command.env("XDG_STATE_HOME", &state).spawn()?;
    let pid = i32::try_from(runner.id())?;
    until("the guardian has seen both files", || {
        entry(&state).is_some_and(|entry| {
            let files = entry["files"].as_object();
            files.is_some_and(|files| files.len() == 2)
        })
    });
    let tree = below(pid);
    // All at once: those that are stopped see nobody's end.
    for which in [Signal::STOP, Signal::KILL] {
        for pid in iter::once(pid).chain(tree.iter().map(|(pid, _)| *pid)) {
            signal(pid, which);
        }
    }
    runner.wait()?;
    until("everybody is gone", || alive(&tree).is_empty());
    let paths = fs::read_to_string(&told)?;
    assert_eq!(paths.lines().count(), 2, "{paths}");
    for path in paths.lines() {
        assert!(Path::new(path).exists(), "{path} went by itself");
    }
    let next = Experiment::new(&MANIFEST.replace("{fault}", ""))?;
    let mut command = next.run();
    with_stand_in(&mut command);
    let output = command.env("XDG_STATE_HOME", &state).output()?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains(&format!("an earlier run (process {pid}) was killed"))
            && said.contains("removed 2 temporary and shared-memory files"),
        "{said}"
    );
    for path in paths.lines() {
        assert!(!Path::new(path).exists(), "{path} is left");
    }
    assert!(entry(&state).is_none());
    Ok(())
}

/// The only entry of the journal.
#[cfg(target_os = "linux")]
fn entry(state: &Path) -> Option<Value> {
    let file = fs::read_dir(state.join("runner/servers")).ok()?.next()?.ok()?;
    serde_json::from_slice(&fs::read(file.path()).ok()?).ok()
}

/// What a run left: its exit code, each cell's file by its `max_tokens`, the notes, and what they are made
/// of.
struct Left {
    code: Option<i32>,
    cells: BTreeMap<u64, Value>,
    notes: String,
    values: Value,
}

fn run(fault: &str) -> Result<Left, Box<dyn Error>> {
    let experiment = Experiment::new(&MANIFEST.replace("{fault}", fault))?;
    let mut command = experiment.run();
    with_stand_in(&mut command);
    let code = command.output()?.status.code();
    let folder = experiment.run_folder()?;
    let mut cells = BTreeMap::new();
    for cell in cells_of(&folder)?.into_values() {
        let key = cell["load"]["max_tokens"].as_u64();
        cells.insert(key.ok_or("a cell without max_tokens")?, cell);
    }
    let notes = fs::read_to_string(folder.join("notes/capacity.md"))?;
    Ok(Left { code, cells, notes, values: experiment.values()? })
}

/// Six answers, then the fault: the first cell is whole, the two others are lost after two answers and whole
/// when tried again.
fn tried_again(fault: &str, word: &str) -> Result<(), Box<dyn Error>> {
    let left = run(fault)?;
    assert_eq!(left.code, Some(0));
    let seen: Vec<(u64, &str, usize)> = left
        .cells
        .iter()
        .map(|(max_tokens, cell)| {
            let attempts = cell["attempts"].as_array().map_or(0, Vec::len);
            (*max_tokens, text(&cell["outcome"]), attempts)
        })
        .collect();
    assert_eq!(seen, [(4, "ok", 0), (5, "ok", 1), (6, "ok", 1)]);
    for max_tokens in [5, 6] {
        let cell = &left.cells[&max_tokens];
        assert_eq!(text(&cell["attempts"][0]["outcome"]), word);
        assert_eq!(cell["summary"]["counts"]["completed"], 4);
        let mut failures = left.values["failures"].as_array().into_iter().flatten();
        let told = |own: &Value| {
            let cells = own["cells"].as_array();
            own["outcome"] == word && cells.is_some_and(|cells| cells.contains(&cell["id"]))
        };
        assert!(
            failures.any(told) && left.notes.contains(&format!("| {word} | chat | ")),
            "the notes do not tell of the first attempt at {}:\n{}",
            cell["id"],
            left.notes
        );
    }
    Ok(())
}

/// Two answers, then the fault, at every start: no cell can be whole.
fn always(fault: &str, word: &str) -> Result<(), Box<dyn Error>> {
    let left = run(fault)?;
    assert_eq!(left.code, Some(3));
    for cell in left.cells.values() {
        assert_eq!(text(&cell["outcome"]), word);
        assert_eq!(cell["attempts"].as_array().map(Vec::len), Some(1));
        assert!(cell["summary"].is_null());
        assert!(!text(&cell["reason"]).is_empty());
    }
    assert_eq!(left.cells.len(), 3);
    Ok(())
}

/// Seventy megabytes of log: what is kept is its head, its end and the error between, and the server starts
/// all the same.
fn log_is_bounded() -> Result<(), Box<dyn Error>> {
    let experiment = Experiment::new(&MANIFEST.replace("{fault}", "STANDIN_FLOOD_MB = \"70\""))?;
    let mut command = experiment.run();
    with_stand_in(&mut command);
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let servers = fs::read_dir(experiment.run_folder()?.join("servers"))?;
    let folder = servers.flatten().next().ok_or("no server")?.path();
    let log = fs::read_to_string(folder.join("server.log"))?;
    assert!(log.len() < 34 << 20, "{} bytes", log.len());
    assert!(log.contains("000001 DEBUG") && log.contains("654149 DEBUG"));
    assert_eq!(log.matches("ERROR in the middle of the flood").count(), 1);
    assert!(log.contains("bytes of this log were left out"));
    assert!(log.contains("Application startup complete"));
    let names: Vec<_> = fs::read_dir(folder)?.flatten().map(|file| file.file_name()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    Ok(())
}

/// Two servers of the run are killed with their memory mapped and their sockets bound; what somebody else put
/// there meanwhile is not touched.
fn files_go() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let told = folder.path().join("left.txt");
    let foreign = tempfile::NamedTempFile::new_in("/dev/shm")?;
    let others = folder.path().join("socket");
    let listener = UnixListener::bind(&others)?;
    run(&format!("STANDIN_DIE_AFTER = \"6\"\nSTANDIN_LEAVES = \"{}\"", told.display()))?;
    let paths = fs::read_to_string(&told)?;
    assert_eq!(paths.lines().count(), 6, "{paths}");
    for path in paths.lines() {
        assert!(!Path::new(path).exists(), "{path} is left");
    }
    assert!(foreign.path().exists());
    drop(listener);
    assert!(others.exists());
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
