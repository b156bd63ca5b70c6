//! Orphans of earlier runs: the processes and files of servers whose runner and guardian were both killed.
//! Finds them by their identity in the journal and ends them.

use std::{
    fs,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use rustix::process::{Pid, Signal};
use tokio::time::{Instant, sleep, timeout};

use super::{
    guard::KILL_TIMEOUT,
    ipc_files::IpcFiles,
    journal::{self, Entry, Identity},
    rendezvous, tree,
};

/// How often an ending process is checked.
const POLL: Duration = Duration::from_millis(50);
/// An end that takes longer than this is announced while it goes on.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(300);
/// How long to keep an entry of another boot or machine: homes may be shared, and the server may still run
/// there.
const FOREIGN_ENTRY_AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Ends what earlier runs of this user left on this machine. `report` gets one sentence for each server, and
/// one more beforehand when ending it takes longer than a moment. Runs that are still at work, other users'
/// processes and unknown processes are not touched.
pub async fn end_orphans(report: &mut (dyn FnMut(String) + Send)) {
    let Some(folder) = journal::folder() else {
        return;
    };
    for path in files_with(&folder, "json") {
        match journal::read(&path) {
            Some(entry) if !entry.is_local() => {
                let age = fs::metadata(&path).and_then(|file| file.modified());
                let age = age.ok().and_then(|then| then.elapsed().ok());
                if age.is_some_and(|age| age > FOREIGN_ENTRY_AGE) {
                    journal::remove(&path);
                }
            }
            Some(entry) if !is_alive(entry.runner) => end_and_report(&path, entry, report).await,
            Some(_) => {}
            // An entry of another version is JSON too, and left alone.
            None if guardian_is_gone(&path) && journal::is_damaged(&path) => journal::remove(&path),
            None => {}
        }
    }
    // A guardian that was killed while it wrote leaves a temporary file.
    for path in files_with(&folder, "tmp").into_iter().filter(|path| guardian_is_gone(path)) {
        let _ = fs::remove_file(path);
    }
    // Fails unless it is empty.
    let _ = fs::remove_dir(&folder);
}

async fn end_and_report(path: &Path, entry: Entry, report: &mut (dyn FnMut(String) + Send)) {
    let at_most = Duration::from_millis(entry.grace_ms) + KILL_TIMEOUT;
    let log = if entry.log.is_empty() { String::new() } else { format!("; its log is {}", entry.log) };
    let announcement = format!(
        "an earlier run (process {}) was killed and left processes behind; ending them first, which takes up to {} s{log}",
        entry.runner.pid,
        at_most.as_secs()
    );
    let mut ending = pin!(end(path, entry));
    let ended = match timeout(ANNOUNCE_AFTER, &mut ending).await {
        Ok(ended) => ended,
        Err(_) => {
            report(announcement);
            ending.await
        }
    };
    if let Some(ended) = ended {
        report(ended);
    }
}

/// The files of a folder with an extension, sorted by path.
fn files_with(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    paths.sort();
    paths
}

fn guardian_is_gone(path: &Path) -> bool {
    journal::guard_of(path).is_some_and(|guard| !is_alive(guard))
}

fn is_alive(process: Identity) -> bool {
    journal::identity(process.pid) == Some(process)
}

/// Ends the orphans of one server whose runner or guardian is gone. Returns what was done, as a sentence;
/// `None` when there was nothing to do.
pub(in crate::server) async fn end(path: &Path, entry: Entry) -> Option<String> {
    let grace = Duration::from_millis(entry.grace_ms);
    if wait_for_guardian(&entry, grace).await && !path.exists() {
        // A captured command is not worth reporting.
        return (!entry.log.is_empty()).then(|| {
            format!(
                "waited for the server of an earlier run (process {}) that was killed to end",
                entry.runner.pid
            )
        });
    }
    // The guardian may have written more before it ended.
    let entry = journal::read(path).unwrap_or(entry);
    let start = Instant::now();
    let mut terminated: Vec<Identity> = Vec::new();
    let mut files = IpcFiles::recorded(entry.before.clone(), entry.files.clone());
    loop {
        let Some(living) = living(&entry) else {
            return Some(format!(
                "cannot look for the server processes that an earlier run (process {}) left behind, because processes cannot be listed; raise the limit on open files (`ulimit -n`) and start again",
                entry.runner.pid
            ));
        };
        let pids: Vec<Pid> = living.iter().filter_map(|process| Pid::from_raw(process.pid)).collect();
        files.look(&pids);
        if living.is_empty() {
            break;
        }
        if start.elapsed() > grace + KILL_TIMEOUT {
            return Some(format!(
                "processes {} of an earlier run's server do not end, not even by SIGKILL; its log is {}",
                tree::join(pids),
                entry.log
            ));
        }
        for process in living {
            if start.elapsed() > grace {
                send(process, Signal::KILL);
            } else if !terminated.contains(&process) {
                terminated.push(process);
                send(process, Signal::TERM);
                // A stopped process handles the signal only once it continues.
                send(process, Signal::CONT);
            }
        }
        sleep(POLL).await;
    }
    let removed = files.remove() + rendezvous::remove(Path::new(&entry.log));
    journal::remove(path);
    cleanup_report(&entry, terminated.len(), removed)
}

/// Waits for a guardian that is still alive, which ends the tree by itself unless it is stopped or hangs.
/// Returns whether there was one.
async fn wait_for_guardian(entry: &Entry, grace: Duration) -> bool {
    let until = Instant::now() + grace + KILL_TIMEOUT;
    let waited = is_alive(entry.guard);
    while is_alive(entry.guard) {
        send(entry.guard, if Instant::now() < until { Signal::CONT } else { Signal::KILL });
        sleep(POLL).await;
    }
    waited
}

/// Says what was ended and removed; `None` when that is nothing.
fn cleanup_report(entry: &Entry, processes: usize, files: usize) -> Option<String> {
    let count = |verb: &str, number: usize, noun: &str, plural: &str| {
        let noun = if number == 1 { noun } else { plural };
        (number > 0).then(|| format!("{verb} {number} {noun}"))
    };
    let done = [
        count("ended", processes, "process", "processes"),
        count("removed", files, "temporary or shared-memory file", "temporary and shared-memory files"),
    ];
    let done: Vec<String> = done.into_iter().flatten().collect();
    let (what, log) = if entry.log.is_empty() {
        ("a program it had started", String::new())
    } else {
        ("its server", format!("; the server's log is {}", entry.log))
    };
    (!done.is_empty()).then(|| {
        format!(
            "an earlier run (process {}) was killed and left {what} behind; {}{log}",
            entry.runner.pid,
            done.join(" and ")
        )
    })
}

/// Sends a signal to exactly this process, never to another one that has its PID by now.
#[cfg(target_os = "linux")]
fn send(process: Identity, signal: Signal) {
    use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

    // The handle belongs to whoever has the PID now; the check afterwards says who that is.
    if let Some(pid) = Pid::from_raw(process.pid)
        && let Ok(handle) = pidfd_open(pid, PidfdFlags::empty())
        && is_alive(process)
    {
        // It may have ended since.
        let _ = pidfd_send_signal(handle, signal);
    }
}

#[cfg(not(target_os = "linux"))]
fn send(_process: Identity, _signal: Signal) {}

/// The living processes of a server: the recorded ones, those that carry its marker, everybody in the
/// server's process group while one of these is in it, and all their descendants. `None` where processes
/// cannot be listed.
#[cfg(target_os = "linux")]
fn living(entry: &Entry) -> Option<Vec<Identity>> {
    use std::{collections::BTreeSet, ffi::OsStr};

    let me = std::process::id();
    let user = rustix::process::getuid().as_raw();
    let all: Vec<_> = procfs::process::all_processes()
        .ok()?
        .flatten()
        .filter(|process| process.uid().is_ok_and(|owner| owner == user))
        .filter_map(|process| Some((process.stat().ok()?, process)))
        .filter(|(stat, _)| !matches!(stat.state, 'Z' | 'X') && stat.pid.unsigned_abs() != me)
        .collect();
    let marker = entry.marker();
    let is_recorded = |(stat, process): &&(procfs::process::Stat, procfs::process::Process)| {
        let identity = Identity { pid: stat.pid, start: stat.starttime };
        entry.members.contains(&identity)
            || process.environ().is_ok_and(|variables| {
                variables.get(OsStr::new(journal::MARKER)).is_some_and(|value| *value == *marker)
            })
    };
    let mut ours: BTreeSet<i32> = all.iter().filter(is_recorded).map(|(stat, _)| stat.pid).collect();
    // The kernel gives a group's number to no other group while anybody is in it.
    let group = all
        .iter()
        .filter(|(stat, _)| ours.contains(&stat.pid))
        .map(|(stat, _)| stat.pgrp)
        .find(|group| entry.group == Some(*group));
    loop {
        let relatives: Vec<i32> = all
            .iter()
            .filter(|(stat, _)| !ours.contains(&stat.pid))
            .filter(|(stat, _)| ours.contains(&stat.ppid) || Some(stat.pgrp) == group)
            .map(|(stat, _)| stat.pid)
            .collect();
        if relatives.is_empty() {
            break;
        }
        ours.extend(relatives);
    }
    let ours = all
        .iter()
        .filter(|(stat, _)| ours.contains(&stat.pid))
        .map(|(stat, _)| Identity { pid: stat.pid, start: stat.starttime })
        .collect();
    Some(ours)
}

#[cfg(not(target_os = "linux"))]
fn living(_entry: &Entry) -> Option<Vec<Identity>> {
    Some(Vec::new())
}
