//! Runner and guardian killed both: the server they leave is ended by the next run, and nobody else is. Reads the kernel's
//! process table, so it is for Linux.
#![cfg(target_os = "linux")]

mod processes;

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use processes::{RUNNER, alive, below, signal, until};
use rustix::process::Signal;

/// A server that is at its start for as long as anybody looks.
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
        .args([
            "run",
            "manifest.toml",
            "--results",
            "results",
            "--name",
            &name,
        ])
        .current_dir(folder)
        .env("XDG_STATE_HOME", folder.join("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// A run of a slow server: the runner, its guardian, and the server, which nobody has asked anything yet.
fn slow(folder: &Path) -> (Child, i32, Vec<(i32, u64)>) {
    let runner = run(folder, SLOW).stderr(Stdio::null()).spawn().unwrap();
    let pid = i32::try_from(runner.id()).unwrap();
    until("guardian and engine are there", || below(pid).len() == 2);
    let tree = below(pid);
    let guard = tree
        .iter()
        .find(|(pid, _)| !below(*pid).is_empty())
        .unwrap()
        .0;
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
fn what_a_killed_runner_and_a_killed_guardian_left_ends_at_the_next_run() {
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
    assert!(
        said.contains(&format!("an earlier run (process {pid}) was killed"))
            && said.contains("ended 1 process that"),
        "{said}"
    );
    assert_eq!(foreign.try_wait().unwrap(), None, "not ours to end");
    foreign.kill().unwrap();
    foreign.wait().unwrap();
    // What was ended is not told twice.
    assert!(!next(folder).contains("an earlier run"));
}

/// A guardian that is still at work ends the tree by itself, however long that takes: the next run waits for it.
#[test]
fn the_next_run_waits_for_a_guardian_that_is_still_at_work() {
    let folder = tempfile::tempdir().unwrap();
    let deaf = SLOW
        .replace("[server.sim]", "")
        .replace("startup = \"10m\"", "")
        .replace(
            "engine = \"sim\"",
            r#"engine = "openai"
command = ["sh", "-c", "trap '' TERM; while :; do sleep 1; done", "{port}"]
stop_within = "2s""#,
        );
    let mut runner = run(folder.path(), &deaf).spawn().unwrap();
    let pid = i32::try_from(runner.id()).unwrap();
    until("guardian, shell and sleep are there", || {
        below(pid).len() == 3
    });
    let tree = below(pid);
    runner.kill().unwrap();
    runner.wait().unwrap();
    let said = next(folder.path());
    assert!(said.contains("waited for the end"), "{said}");
    assert_eq!(alive(&tree), [] as [i32; 0]);
}

#[test]
fn a_server_whose_run_is_at_work_is_left_alone() {
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
