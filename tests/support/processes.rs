//! Processes of this machine, from `/proc`.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use procfs::process::{Stat, all_processes};
use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a condition, and fails after [`PATIENCE`].
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        sleep(Duration::from_millis(10));
    }
}

fn living() -> Vec<Stat> {
    all_processes()
        .unwrap()
        .filter_map(|process| process.ok()?.stat().ok())
        .filter(|stat| !matches!(stat.state, 'Z' | 'X'))
        .collect()
}

/// All descendants of a process: PID and start time, which together identify a process even if its PID is
/// reused.
pub(crate) fn below(root: i32) -> Vec<(i32, u64)> {
    let all = living();
    let mut found: Vec<(i32, u64)> = Vec::new();
    let mut next = vec![root];
    while let Some(parent) = next.pop() {
        for stat in all.iter().filter(|stat| stat.ppid == parent) {
            found.push((stat.pid, stat.starttime));
            next.push(stat.pid);
        }
    }
    found
}

/// Those of the processes that are still alive.
pub(crate) fn alive(processes: &[(i32, u64)]) -> Vec<i32> {
    let all = living();
    processes
        .iter()
        .filter(|(pid, start)| all.iter().any(|stat| stat.pid == *pid && stat.starttime == *start))
        .map(|(pid, _)| *pid)
        .collect()
}

/// Sends a signal to one process.
pub(crate) fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}
