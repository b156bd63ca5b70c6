//! The guardian ends the whole process tree of a server, whoever dies first.

use std::{
    fs,
    io::{BufRead, BufReader, Lines, Read},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::support::{
    RUNNER,
    processes::{alive, below, signal, until},
};
use rustix::process::Signal;

struct Guard {
    child: Child,
    leash: Option<ChildStdin>,
    said: Vec<String>,
    lines: Lines<BufReader<ChildStdout>>,
    folder: tempfile::TempDir,
}

/// A guardian with a tree of shells; `grace` is in milliseconds.
fn guard(grace: &str, script: &str) -> Guard {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(RUNNER)
        .args(["guard", folder.path().join("log").to_str().unwrap()])
        .args([folder.path().join("journal").to_str().unwrap(), grace])
        .args(["sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.starts_with("started "), "{first}");
    Guard { leash: child.stdin.take(), child, said: Vec::new(), lines, folder }
}

impl Guard {
    fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    /// Waits until the tree has `size` processes.
    fn tree(&self, size: usize) -> Vec<(i32, u64)> {
        until("the tree is there", || below(self.pid()).len() == size);
        below(self.pid())
    }

    fn end(&mut self) {
        self.said.extend(self.lines.by_ref().map(Result::unwrap));
        assert!(self.child.wait().unwrap().success(), "{:?}", self.said);
    }
}

#[test]
fn the_guardian_of_a_dead_runner_ends_the_whole_process_tree() {
    // One child in the group, one in a session of its own with children there.
    let mut guard = guard("20000", "sleep 300 & setsid sh -c 'sleep 300 & sleep 300 & wait' & wait");
    let tree = guard.tree(5);
    drop(guard.leash.take());
    let begun = Instant::now();
    guard.end();
    assert_eq!(alive(&tree), [] as [i32; 0]);
    assert!(begun.elapsed() < Duration::from_secs(15), "TERM would have done");
    assert_eq!(guard.said, ["exited -15", "ended"]);
}

#[test]
fn processes_that_ignore_term_are_killed_after_the_grace_period() {
    let mut guard = guard("200", "trap '' TERM; sleep 300 & setsid sleep 300 & while :; do sleep 300; done");
    let tree = guard.tree(4);
    drop(guard.leash.take());
    guard.end();
    assert_eq!(alive(&tree), [] as [i32; 0]);
    assert_eq!(guard.said, ["exited -9", "ended"]);
}

#[test]
fn processes_left_by_an_ended_server_are_ended() {
    let mut guard = guard("5000", "setsid sleep 300 & sleep 300 & sleep 0.3; exit 7");
    let tree = guard.tree(4);
    guard.end();
    assert_eq!(alive(&tree), [] as [i32; 0]);
    assert_eq!(guard.said, ["exited 7", "ended"]);
}

#[test]
fn the_guardian_ignores_signals_and_the_server_does_not() {
    let mut guard = guard("5000", "exec sleep 300");
    let tree = guard.tree(1);
    for which in
        [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::ALARM, Signal::USR1, Signal::USR2]
    {
        signal(guard.pid(), which);
    }
    // Its end would be seen by now if a signal had moved it: the tree is a look away from being asked.
    sleep(Duration::from_millis(150));
    assert_eq!(alive(&tree).len(), 1);
    assert_eq!(guard.child.try_wait().unwrap(), None);
    signal(tree[0].0, Signal::INT);
    guard.end();
    assert_eq!(guard.said, ["exited -2", "ended"]);
}

#[test]
fn a_command_that_cannot_be_started_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(RUNNER)
        .args(["guard", folder.path().join("log").to_str().unwrap(), "", "1"])
        .arg("/nonexistent/engine")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("failed /nonexistent/engine: "), "{said}");
}

/// A captured command may leave a process behind in another session, with our pipe open.
#[test]
fn processes_left_by_a_captured_command_are_ended() {
    let mut asked = Command::new(RUNNER)
        .args(["guard-capture", "", "sh", "-c"])
        .arg("setsid sleep 300 & sleep 300 & sleep 0.3; echo 1.2.3; exit 5")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = i32::try_from(asked.id()).unwrap();
    until("the shell and three sleepers are there", || below(pid).len() == 4);
    let tree = below(pid);
    let mut said = String::new();
    asked.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "1.2.3\n");
    assert_eq!(asked.wait().unwrap().code(), Some(5));
    assert_eq!(alive(&tree), [] as [i32; 0]);
}

#[test]
fn a_capture_ends_when_its_parent_dies() {
    let mut asked = Command::new(RUNNER)
        .args(["guard-capture", "", "sh", "-c", "trap '' TERM; setsid sleep 300 & sleep 300"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = i32::try_from(asked.id()).unwrap();
    until("the shell and two sleepers are there", || below(pid).len() == 3);
    let tree = below(pid);
    drop(asked.stdin.take());
    asked.wait().unwrap();
    assert_eq!(alive(&tree), [] as [i32; 0]);
}

/// The runner is killed with SIGKILL while its server starts.
#[test]
fn a_killed_runner_leaves_no_server() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("manifest.toml");
    fs::write(
        &manifest,
        r#"
[experiment]
name = "killed"
[server]
engine = "sim"
model = "m"
[server.sim]
startup = "60s"
[workload.chat]
prompts = ["x"]
requests = 1
max_tokens = 1
"#,
    )
    .unwrap();
    let mut runner = Command::new(RUNNER)
        .args(["run", "manifest.toml", "--results", "results"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = i32::try_from(runner.id()).unwrap();
    until("guardian and engine are there", || below(pid).len() == 2);
    let tree = below(pid);
    runner.kill().unwrap();
    runner.wait().unwrap();
    until("the killed runner's tree is gone", || alive(&tree).is_empty());
}

#[test]
fn a_stopped_server_is_continued_so_that_it_can_end() {
    let mut guard = guard("20000", "sleep 300 & kill -STOP $$; wait");
    let tree = guard.tree(2);
    let begun = Instant::now();
    drop(guard.leash.take());
    guard.end();
    assert_eq!(alive(&tree), [] as [i32; 0]);
    assert!(begun.elapsed() < Duration::from_secs(15), "it was waited for");
}

/// A guardian that cannot open files cannot list processes, which must not look like an empty list.
#[test]
fn a_guardian_without_file_descriptors_still_ends_the_server() {
    let mut guard = guard("5000", "sleep 300 & exec sleep 300");
    let tree = guard.tree(2);
    let none = rustix::process::Rlimit { current: Some(3), maximum: Some(3) };
    let pid = rustix::process::Pid::from_raw(guard.pid());
    rustix::process::prlimit(pid, rustix::process::Resource::Nofile, none).unwrap();
    drop(guard.leash.take());
    guard.end();
    assert_eq!(alive(&tree), [] as [i32; 0]);
    assert_eq!(guard.said, ["exited -15", "ended"]);
}

/// Two hundred megabytes of log, the last part one line: the stored log is bounded and keeps errors and the
/// last line.
#[test]
fn a_flood_of_log_lines_takes_bounded_disk_space() {
    let mut guard = guard(
        "1000",
        "yes '(EngineCore pid=7) INFO 11-24 19:52:04 [loggers.py:1] Engine 000: Running: 1 reqs, Waiting: 0 reqs' | head -c 120000000; \
         echo; echo 'RuntimeError: in the middle'; \
         yes '(EngineCore pid=7) INFO 11-24 19:52:04 [loggers.py:1] Engine 000: Running: 1 reqs, Waiting: 0 reqs' | head -c 40000000; \
         head -c 40000000 /dev/zero | tr '\\0' x; echo; echo 'the last words'",
    );
    guard.end();
    assert_eq!(guard.said, ["exited 0", "ended"]);
    let log = guard.folder.path().join("log");
    let size = fs::metadata(&log).unwrap().len();
    assert!(size < 34 << 20, "{size} bytes");
    let log = fs::read(log).unwrap();
    assert!(log.ends_with(b"\nthe last words\n"));
    assert!(memchr::memmem::find(&log, b"RuntimeError: in the middle\n").is_some());
    let files = fs::read_dir(guard.folder.path()).unwrap().flatten();
    let names: Vec<_> = files.map(|file| file.file_name()).collect();
    assert_eq!(names, ["log"]);
}
