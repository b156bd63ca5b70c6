//! What an earlier run left behind when its runner and its guardian were both killed: found by identity, ended, and told.

use std::{
    fs,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use rustix::process::Pid;
use tokio::time::{Instant, sleep, timeout};

use super::{
    files::Files,
    guard::AFTER_KILL,
    journal::{self, Entry, Identity},
    meeting,
};

/// How often a dying process is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// What takes longer is told while it goes on.
const MOMENT: Duration = Duration::from_millis(300);
/// An entry of another boot or machine (homes may be shared) is kept for as long as a server may well run there.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Ends what earlier runs of this user left on this machine, and tells what that was, a sentence each; of what takes longer
/// than a moment, also that it is at it. What belongs to a run that is still at work, to another user or to nobody that is
/// known is not touched.
pub async fn end_left_overs(tell: &mut (dyn FnMut(String) + Send)) {
    let Some(folder) = journal::folder() else {
        return;
    };
    for path in entries(&folder) {
        let Some(entry) = journal::read(&path) else {
            // What is no JSON at all was not left by another version.
            let dead = journal::guard_of(&path).is_some_and(|guard| !lives(guard));
            if dead && journal::is_damaged(&path) {
                journal::remove(&path);
            }
            continue;
        };
        if !entry.is_of_here() {
            let age = fs::metadata(&path).and_then(|file| file.modified());
            let age = age.ok().and_then(|then| then.elapsed().ok());
            if age.is_some_and(|age| age > KEPT) {
                journal::remove(&path);
            }
        } else if !lives(entry.runner) {
            let log = entry.log.clone();
            let runner = entry.runner.pid;
            let most = Duration::from_millis(entry.grace_ms) + AFTER_KILL;
            let mut ending = pin!(end(&path, entry));
            let told = match timeout(MOMENT, &mut ending).await {
                Ok(told) => told,
                Err(_) => {
                    let whose = if log.is_empty() { String::new() } else { format!("; its log is {log}") };
                    tell(format!(
                        "an earlier run (process {runner}) was killed, and what it had started is still there: ending it first, which takes up to {} s{whose}",
                        most.as_secs()
                    ));
                    ending.await
                }
            };
            if let Some(told) = told {
                tell(told);
            }
        }
    }
    forget_half_written(&folder);
    // It was made to be looked into; nobody needs an empty one.
    let _ = fs::remove_dir(&folder);
}

/// Removes what a guardian was writing when it was killed.
fn forget_half_written(folder: &Path) {
    for path in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = path.path();
        let guard = journal::guard_of(&path).filter(|_| path.extension().is_some_and(|kind| kind == "tmp"));
        if guard.is_some_and(|guard| !lives(guard)) {
            let _ = fs::remove_file(path);
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .collect();
    paths.sort();
    paths
}

fn lives(process: Identity) -> bool {
    journal::identity(process.pid) == Some(process)
}

/// Ends what is left of one server whose runner or guardian is gone; what that was, when there was anything.
pub(super) async fn end(path: &Path, entry: Entry) -> Option<String> {
    let grace = Duration::from_millis(entry.grace_ms);
    // A guardian that lives ends the tree by itself, unless somebody stopped it.
    let until = Instant::now() + grace + AFTER_KILL;
    let waited = lives(entry.guard);
    while lives(entry.guard) {
        if Instant::now() < until {
            signal(entry.guard, Ask::GoOn);
        } else {
            signal(entry.guard, Ask::Kill);
        }
        sleep(LOOK).await;
    }
    if waited && !path.exists() {
        // What was only asked something is no news.
        return (!entry.log.is_empty()).then(|| {
            format!(
                "waited for the end of an earlier run's server, whose runner ({}) was killed",
                entry.runner.pid
            )
        });
    }
    // The guardian may have written more before it ended.
    let entry = journal::read(path).unwrap_or(entry);
    let began = Instant::now();
    let mut asked: Vec<Identity> = Vec::new();
    let mut found = 0;
    let mut files = Files::known(entry.before.clone(), entry.files.clone());
    loop {
        let Some(left) = left(&entry) else {
            return Some(format!(
                "what an earlier run (process {}) left of its server cannot be looked for: processes cannot be listed; raise the limit on open files (`ulimit -n`) and start again",
                entry.runner.pid
            ));
        };
        let pids = left.iter().filter_map(|one| Pid::from_raw(one.pid));
        files.look(&pids.collect::<Vec<_>>());
        if left.is_empty() {
            break;
        }
        if began.elapsed() > grace + AFTER_KILL {
            let pids: Vec<String> = left.iter().map(|one| one.pid.to_string()).collect();
            return Some(format!(
                "processes {} of an earlier run's server do not end, not even by SIGKILL; its log is {}",
                pids.join(" "),
                entry.log
            ));
        }
        for process in left {
            if began.elapsed() > grace {
                signal(process, Ask::Kill);
            } else if !asked.contains(&process) {
                asked.push(process);
                found += 1;
                signal(process, Ask::End);
                // A stopped process hears nothing before it goes on.
                signal(process, Ask::GoOn);
            }
        }
        sleep(LOOK).await;
    }
    let removed = files.remove();
    let met = meeting::remove(Path::new(&entry.log));
    journal::remove(path);
    (found + removed + met > 0).then(|| {
        let done = [
            several("ended", found, "process", "processes"),
            several(
                "removed",
                removed,
                "file of shared memory or a socket",
                "files of shared memory and sockets",
            ),
            several("removed", met, "temporary file", "temporary files"),
        ];
        let done: Vec<String> = done.into_iter().flatten().collect();
        let (whose, log) = if entry.log.is_empty() {
            ("a program it had asked something", String::new())
        } else {
            ("its server", format!("; the server's log is {}", entry.log))
        };
        format!(
            "an earlier run (process {}) was killed together with the guardian of {whose}; {} that it had left{log}",
            entry.runner.pid,
            done.join(" and ")
        )
    })
}

/// `ended 2 processes`; nothing where there were none.
fn several(did: &str, number: usize, one: &str, more: &str) -> Option<String> {
    let what = if number == 1 { one } else { more };
    (number > 0).then(|| format!("{did} {number} {what}"))
}

/// What a process is asked.
#[derive(Clone, Copy)]
enum Ask {
    End,
    Kill,
    GoOn,
}

/// Asks the process that is meant, and no other that may have its number by now.
#[cfg(target_os = "linux")]
fn signal(process: Identity, ask: Ask) {
    use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

    let signal = match ask {
        Ask::End => Signal::TERM,
        Ask::Kill => Signal::KILL,
        Ask::GoOn => Signal::CONT,
    };
    let Some(pid) = Pid::from_raw(process.pid) else {
        return;
    };
    // The handle is of whoever has the number now; the look afterwards says who that is.
    if let Ok(handle) = pidfd_open(pid, PidfdFlags::empty())
        && lives(process)
    {
        // It may have ended since.
        let _ = pidfd_send_signal(handle, signal);
    }
}

#[cfg(not(target_os = "linux"))]
fn signal(_process: Identity, _ask: Ask) {}

/// The living processes of a server: those that were seen, all below them, those in the group of one of them that the server
/// was started in, and those that carry its marker.
#[cfg(target_os = "linux")]
fn left(entry: &Entry) -> Option<Vec<Identity>> {
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
    let known = |(stat, process): &&(procfs::process::Stat, procfs::process::Process)| {
        let identity = Identity { pid: stat.pid, start: stat.starttime };
        entry.members.contains(&identity)
            || process.environ().is_ok_and(|variables| {
                variables.get(OsStr::new(journal::MARKER)).is_some_and(|value| *value == *marker)
            })
    };
    let mut ours: BTreeSet<i32> = all.iter().filter(known).map(|(stat, _)| stat.pid).collect();
    // A group's number is given to no other group while anybody is in it.
    let group = all
        .iter()
        .filter(|(stat, _)| ours.contains(&stat.pid))
        .map(|(stat, _)| stat.pgrp)
        .find(|group| entry.group == Some(*group));
    loop {
        let more: Vec<i32> = all
            .iter()
            .filter(|(stat, _)| !ours.contains(&stat.pid))
            .filter(|(stat, _)| ours.contains(&stat.ppid) || Some(stat.pgrp) == group)
            .map(|(stat, _)| stat.pid)
            .collect();
        if more.is_empty() {
            break;
        }
        ours.extend(more);
    }
    let ours = all
        .iter()
        .filter(|(stat, _)| ours.contains(&stat.pid))
        .map(|(stat, _)| Identity { pid: stat.pid, start: stat.starttime })
        .collect();
    Some(ours)
}

#[cfg(not(target_os = "linux"))]
fn left(_entry: &Entry) -> Option<Vec<Identity>> {
    Some(Vec::new())
}
