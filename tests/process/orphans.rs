//! When runner and guardian are both killed, the next run ends the orphaned server, and no other process.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::support::{
    RUNNER,
    processes::{alive, below, signal, until},
};
use rustix::process::Signal;

/// A server that takes ten minutes to start.
const SLOW: &str = r#"
[experiment]
name = "slow"
[server]
engine = "sim"
model = "m"
[server.sim]
startup = "10m"
[workload.chat]
prompts = ["x"]
requests = 1
max_tokens = 1
"#;

fn run(folder: &Path, manifest: &str) -> Command {
    fs::write(folder.join("manifest.toml"), manifest).unwrap();
    // Two runs of one second would have one name.
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let name = format!("run-{}", RUNS.fetch_add(1, Ordering::Relaxed));
    let mut command = Command::new(RUNNER);
    command
        .args(["run", "manifest.toml", "--results", "results", "--name", &name])
        .current_dir(folder)
        .env("XDG_STATE_HOME", folder.join("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// The guardian of a run's server and its process tree, guardian included. Commands that a run captures (git,
/// nvidia-smi) have guardians of another kind.
fn guarded(runner: i32) -> (i32, Vec<(i32, u64)>) {
    let is_guard = |(pid, _): &(i32, u64)| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).nth(1) == Some(b"guard")
    };
    let Some(guard) = below(runner).into_iter().find(is_guard) else {
        return (0, Vec::new());
    };
    let mut tree = below(guard.0);
    tree.push(guard);
    (guard.0, tree)
}

/// Starts a run whose server is still starting. Returns the runner, the guardian's PID, and the tree of both.
fn slow(folder: &Path) -> (Child, i32, Vec<(i32, u64)>) {
    let runner = run(folder, SLOW).stderr(Stdio::null()).spawn().unwrap();
    let pid = i32::try_from(runner.id()).unwrap();
    until("guardian and engine are there", || guarded(pid).1.len() == 2);
    let (guard, tree) = guarded(pid);
    (runner, guard, tree)
}

/// Starts a run whose server ignores SIGTERM. Returns the runner, the guardian's PID, and the tree: guardian,
/// shell, sleep.
fn deaf(folder: &Path) -> (Child, i32, Vec<(i32, u64)>) {
    let deaf = SLOW.replace("[server.sim]", "").replace("startup = \"10m\"", "").replace(
        "engine = \"sim\"",
        r#"engine = "openai"
command = ["sh", "-c", "trap '' TERM; while :; do sleep 1; done", "{port}"]
stop_within = "2s""#,
    );
    let runner = run(folder, &deaf).stderr(Stdio::null()).spawn().unwrap();
    let pid = i32::try_from(runner.id()).unwrap();
    until("guardian, shell and sleep are there", || guarded(pid).1.len() == 3);
    let (guard, tree) = guarded(pid);
    (runner, guard, tree)
}

fn next(folder: &Path) -> String {
    let fast = SLOW.replace("10m", "0ms").replace("slow", "fast");
    let output = run(folder, &fast).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(!folder.join("state/runner/servers").exists(), "{said}");
    said
}

#[test]
fn the_next_run_ends_the_orphan_of_a_killed_runner_and_guardian() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Somebody else's server: the same program, the same words, not ours.
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let port = free.unwrap().port().to_string();
    let mut foreign = Command::new(RUNNER)
        .args(["sim", "m", "--port", &port])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut runner, guard, tree) = slow(folder);
    let pid = runner.id();
    // A stopped runner cannot do anything about its guardian's end.
    signal(i32::try_from(pid).unwrap(), Signal::STOP);
    signal(guard, Signal::KILL);
    runner.kill().unwrap();
    runner.wait().unwrap();
    until("only the server lives", || alive(&tree).len() == 1);
    let said = next(folder);
    assert_eq!(alive(&tree), [] as [i32; 0]);
    assert!(said.contains(&format!("(process {pid})")) && said.contains("ended 1 process"), "{said}");
    assert_eq!(foreign.try_wait().unwrap(), None, "not ours to end");
    foreign.kill().unwrap();
    foreign.wait().unwrap();
    // What was ended is not told twice.
    assert!(!next(folder).contains(&format!("(process {pid})")));
}

/// Ending an orphan may take seconds; the run says so before it waits.
#[test]
fn the_next_run_announces_that_it_ends_a_stubborn_orphan() {
    let folder = tempfile::tempdir().unwrap();
    let (mut runner, guard, tree) = deaf(folder.path());
    let pid = runner.id();
    signal(i32::try_from(pid).unwrap(), Signal::STOP);
    signal(guard, Signal::KILL);
    runner.kill().unwrap();
    runner.wait().unwrap();
    let said = next(folder.path());
    assert_eq!(alive(&tree), [] as [i32; 0]);
    let of_it = format!("(process {pid})");
    let lines: Vec<&str> = said.lines().filter(|line| line.contains(&of_it)).collect();
    let [announced, ended] = lines[..] else { panic!("{said}") };
    assert!(announced.contains("12 s") && announced.contains("server.log"), "{announced}");
    assert!(ended.contains("ended "), "{ended}");
}

/// An `nvidia-smi` that never answers and has started a child.
#[test]
fn a_hung_nvidia_smi_ends_with_a_killed_runner() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut runner = with_nvidia_smi(folder, "sleep 600 & sleep 600").spawn().unwrap();
    let pid = i32::try_from(runner.id()).unwrap();
    until("guardian, shell and two sleeps are there", || below(pid).len() == 4);
    let tree = below(pid);
    runner.kill().unwrap();
    runner.wait().unwrap();
    until("nobody of them is left", || alive(&tree).is_empty());
    until("nor their guardian's entry", || !folder.join("state/runner/servers").exists());
}

/// The user is told what the run waits for, and can interrupt it.
#[test]
fn ctrl_c_while_nvidia_smi_hangs_stores_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut command = with_nvidia_smi(folder, "exec sleep 600");
    let mut runner = command.stderr(Stdio::piped()).spawn().unwrap();
    let pid = i32::try_from(runner.id()).unwrap();
    let mut lines = BufReader::new(runner.stderr.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("nvidia-smi has not answered yet"), "{first}");
    let tree = below(pid);
    signal(pid, Signal::INT);
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(runner.wait().unwrap().code(), Some(130));
    assert!(rest.last().is_some_and(|line| line.ends_with("nothing was stored")), "{rest:?}");
    until("nobody is left", || alive(&tree).is_empty());
    assert!(!folder.join("results").exists());
}

/// A damaged entry names no process to end.
#[test]
fn a_damaged_journal_entry_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let servers = folder.path().join("state/runner/servers");
    fs::create_dir_all(&servers).unwrap();
    fs::write(servers.join("4194304-5.json"), "\0\0").unwrap();
    // Asserts that the journal's folder is gone, too.
    next(folder.path());
}

#[test]
fn a_flooding_nvidia_smi_costs_only_its_answer() {
    let folder = tempfile::tempdir().unwrap();
    let mut runner = with_nvidia_smi(folder.path(), "sleep 600 & exec yes 'H100, 81559, 550, 4'");
    let output = runner.stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let why =
        "warning: nvidia-smi: its output is longer than 4194304 bytes, so the GPUs of this run are unknown";
    assert!(said.contains(why), "{said}");
    let folder = folder.path().display().to_string();
    until("nobody of it is left", || {
        let mut living = procfs::process::all_processes().unwrap().flatten();
        // The others' environment cannot be read, nor would it name this folder.
        !living.any(|process| {
            let words = process.environ().unwrap_or_default().into_values();
            let mut words = words.filter_map(|word| word.into_string().ok());
            words.any(|word| word.contains(&folder))
        })
    });
}

/// A run of a fast server on a machine whose `nvidia-smi` is a script.
fn with_nvidia_smi(folder: &Path, script: &str) -> Command {
    let tools = folder.join("tools");
    fs::create_dir(&tools).unwrap();
    let tool = tools.join("nvidia-smi");
    fs::write(&tool, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut command = run(folder, &SLOW.replace("10m", "0ms"));
    command.env("PATH", format!("{}:{path}", tools.display())).stderr(Stdio::null());
    command
}

/// A live guardian ends its tree by itself, so the next run only waits.
#[test]
fn the_next_run_waits_for_a_guardian_that_is_still_cleaning_up() {
    let folder = tempfile::tempdir().unwrap();
    let (mut runner, _, tree) = deaf(folder.path());
    runner.kill().unwrap();
    runner.wait().unwrap();
    let said = next(folder.path());
    assert!(said.contains("waited for the server of an earlier run"), "{said}");
    assert_eq!(alive(&tree), [] as [i32; 0]);
}

#[test]
fn the_server_of_a_running_run_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (mut runner, _, tree) = slow(folder.path());
    let fast = SLOW.replace("10m", "0ms").replace("slow", "fast");
    let output = run(folder.path(), &fast).output().unwrap();
    assert!(output.status.success());
    assert_eq!(alive(&tree).len(), 2);
    signal(i32::try_from(runner.id()).unwrap(), Signal::INT);
    assert_eq!(runner.wait().unwrap().code(), Some(130));
    assert_eq!(alive(&tree), [] as [i32; 0]);
    assert!(!folder.path().join("state").join("runner/servers").exists());
}
