//! A real vLLM whose processes are killed one after the other, and one that hangs at its start.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::FileTypeExt,
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::experiment::{Experiment, cells_of};

use super::{Runner, START, descendants, expect, lives, manifest, server_log};

/// Processes, by their names in the log. Each of three cells loses one at its first attempt.
const VICTIMS: [&str; 3] = ["EngineCore", "APIServer", "Worker"];

pub(crate) fn each_killed_process_costs_one_attempt(vllm: &Path) -> Result<(), String> {
    let experiment = Experiment::new(&manifest(
        "kills",
        vllm,
        r#"
# The worker is a process of its own then.
distributed-executor-backend = "mp"

[workload.chat]
prompts = ["Say something, and do not stop."]
concurrency = 2
requests = 24
output = "exact"
[workload.chat.sweep]
max_tokens = [250, 251, 252]
"#,
    )?)?;
    let temporary = tempfile::tempdir().map_err(|e| e.to_string())?;
    let mut command = experiment.run();
    command.env("TMPDIR", temporary.path()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut runner = Runner(command.spawn().map_err(|e| format!("{command:?}: {e}"))?);
    let stderr = runner.0.stderr.take().ok_or("no standard error")?;
    let mut tree = BTreeMap::new();
    let mut said = String::new();
    let mut victims = VICTIMS.iter();
    let mut next = victims.next();
    for line in BufReader::new(stderr).lines() {
        let line = line.map_err(|e| e.to_string())?;
        said.push_str(&line);
        said.push('\n');
        // `cell 2/3 …: 24 requests` begins one; its second attempt is left alone.
        let cell = VICTIMS.len() - victims.len();
        if line.starts_with(&format!("cell {cell}/3 "))
            && line.ends_with(" requests")
            && let Some(victim) = next
        {
            // Requests are under way then.
            sleep(Duration::from_millis(500));
            let log = server_log(&experiment).ok_or("no log")?;
            let pid = pid_of(&log, victim).ok_or_else(|| format!("no {victim} in the log:\n{log}"))?;
            tree.extend(descendants(runner.0.id()));
            let sent = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
            if !sent.is_ok_and(|status| status.success()) {
                return Err(format!("{victim} (process {pid}) cannot be killed"));
            }
            next = victims.next();
        }
    }
    let status = runner.0.wait().map_err(|e| e.to_string())?;
    let mut seen = Vec::new();
    let mut cells: Vec<Value> = cells_of(&experiment.run_folder()?)?.into_values().collect();
    cells.sort_by_key(|cell| cell["load"]["max_tokens"].as_u64());
    for cell in &cells {
        let attempts = cell["attempts"].as_array().cloned().unwrap_or_default();
        let first = attempts.first().map_or("none", |first| first["outcome"].as_str().unwrap_or_default());
        seen.push((first.to_owned(), cell["outcome"].as_str().unwrap_or_default().to_owned()));
        if attempts.iter().any(|attempt| attempt["reason"].as_str().unwrap_or_default().is_empty()) {
            return Err(format!("an attempt ended without a reason: {attempts:?}"));
        }
    }
    expect("attempts and cells", &seen, &vec![("crashed".to_owned(), "ok".to_owned()); 3])
        .map_err(|error| format!("{error}\n{said}"))?;
    expect("exit code", &status.code(), &Some(0))?;
    no_socket_is_left(temporary.path())?;
    nobody_is_left(&tree)
}

/// ZeroMQ's socket files lie among the temporary files, and a killed process removes none.
fn no_socket_is_left(temporary: &Path) -> Result<(), String> {
    let left: Vec<_> = fs::read_dir(temporary)
        .map_err(|e| e.to_string())?
        .flatten()
        .filter(|file| file.file_type().is_ok_and(|kind| kind.is_socket()))
        .map(|file| file.file_name())
        .collect();
    expect("sockets that are left", &left, &Vec::new())
}

/// Its engine is stopped before it is ready, which no log tells: the start is given up in time, made again,
/// and its whole tree is gone, though a stopped process hears no TERM.
pub(crate) fn a_hung_start_times_out(vllm: &Path) -> Result<(), String> {
    let text = manifest(
        "stands-still",
        vllm,
        "\n[workload.chat]\nprompts = [\"x\"]\nrequests = 1\nmax_tokens = 1\n",
    )?;
    let text = text.replace("stop_within = \"15s\"", "stop_within = \"2s\"\nready_within = \"12s\"");
    let experiment = Experiment::new(&text)?;
    let mut command = experiment.run();
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut runner = Runner(command.spawn().map_err(|e| format!("{command:?}: {e}"))?);
    let began = Instant::now();
    let mut tree = BTreeMap::new();
    let status = loop {
        if let Some(status) = runner.0.try_wait().map_err(|e| e.to_string())? {
            break status;
        }
        if began.elapsed() > START {
            return Err(format!("the run is not over after {START:?}"));
        }
        let below = descendants(runner.0.id());
        // The guardian is a child, the API server its child; what that starts is stopped.
        let deep: Vec<String> =
            below.keys().filter(|pid| depth(&below, **pid) >= 3).map(u32::to_string).collect();
        if !deep.is_empty() {
            drop(Command::new("kill").arg("-STOP").args(&deep).stderr(Stdio::null()).status());
        }
        tree.extend(below);
        sleep(Duration::from_millis(100));
    };
    expect("exit code", &status.code(), &Some(3))?;
    let cells = experiment.cells()?;
    expect("outcome", &cells[0]["outcome"].as_str(), &"server_failed")?;
    nobody_is_left(&tree)
}

/// How many of a tree a process is below, itself included.
fn depth(tree: &BTreeMap<u32, u64>, pid: u32) -> usize {
    let parent = super::Process::read(pid).map(|process| process.parent);
    match parent {
        Some(parent) if tree.contains_key(&parent) => 1 + depth(tree, parent),
        _ => 1,
    }
}

fn nobody_is_left(tree: &BTreeMap<u32, u64>) -> Result<(), String> {
    let left: Vec<u32> =
        tree.iter().filter(|&(&pid, &started)| lives(pid, started)).map(|(&pid, _)| pid).collect();
    expect("processes that are left", &left, &Vec::new())
}

/// The last process of a name, or of one that begins with it, that a log tells of: `(Worker_TP0 pid=7)`.
fn pid_of(log: &str, name: &str) -> Option<u32> {
    log.rsplit('(').find_map(|rest| {
        let (who, rest) = rest.split_once(" pid=")?;
        let named =
            who == name || who.starts_with(&format!("{name}_")) || who.starts_with(&format!("Vllm{name}"));
        named.then(|| rest.split_once(')')?.0.parse().ok())?
    })
}
