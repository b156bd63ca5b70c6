//! The guardian: a small process between the runner and a server, so that the server's whole tree ends with the runner,
//! even after `kill -9`. It takes in the tree's orphans, whatever process group they moved to.
//!
//! It is told to stop, and learns of the runner's death, by the end of its standard input. On its standard output it says
//! `started PID`, `failed REASON` and `exited CODE`; a negative code is a signal.

use std::{
    fs::OpenOptions,
    io::{Read, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Command, ExitCode, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, wait};

/// How often a dying tree is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long a tree may take to vanish after SIGKILL.
const AFTER_KILL: Duration = Duration::from_secs(10);

enum Told {
    Stop,
    Exited(Option<i32>),
}

/// The hidden verb `runner guard LOG GRACE_MS COMMAND…`.
pub fn guard(words: &[String]) -> ExitCode {
    let [log, grace, program, arguments @ ..] = words else {
        return ExitCode::from(2);
    };
    let Ok(grace) = grace.parse().map(Duration::from_millis) else {
        return ExitCode::from(2);
    };
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let spawned = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .and_then(|out| {
            let err = out.try_clone()?;
            Command::new(program)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(out)
                .stderr(err)
                .process_group(0)
                .spawn()
        });
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            say(&format!("failed {program}: {error}"));
            return ExitCode::from(1);
        }
    };
    let Some(leader) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return ExitCode::from(1);
    };
    say(&format!("started {}", child.id()));
    let (tell, told) = mpsc::channel();
    let tell_stop = tell.clone();
    thread::spawn(move || {
        let mut byte = [0];
        while std::io::stdin().read(&mut byte).is_ok_and(|read| read > 0) {}
        let _ = tell_stop.send(Told::Stop);
    });
    thread::spawn(move || {
        let code = child.wait().ok().and_then(|status| {
            status
                .code()
                .or_else(|| status.signal().map(|signal| -signal))
        });
        let _ = tell.send(Told::Exited(code));
    });
    // Whatever ends the waiting, what is left of the tree ends too: a dead API server leaves its engine running.
    let first = told.recv();
    if let Ok(Told::Exited(code)) = first {
        say(&format!(
            "exited {}",
            code.map_or_else(|| "unknown".to_owned(), |code| code.to_string())
        ));
    }
    end_tree(leader, grace);
    ExitCode::SUCCESS
}

fn say(line: &str) {
    let mut out = std::io::stdout();
    // Nobody listens any more when the runner is gone.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn end_tree(leader: Pid, grace: Duration) {
    let _ = kill_process_group(leader, Signal::TERM);
    let patience = Instant::now() + grace;
    while Instant::now() < patience {
        reap();
        if remaining(leader).is_empty() {
            return;
        }
        thread::sleep(LOOK);
    }
    let patience = Instant::now() + AFTER_KILL;
    while Instant::now() < patience {
        let _ = kill_process_group(leader, Signal::KILL);
        for pid in remaining(leader) {
            let _ = kill_process(pid, Signal::KILL);
        }
        reap();
        if remaining(leader).is_empty() {
            return;
        }
        thread::sleep(LOOK);
    }
}

fn reap() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

/// The living members of the server's group, and every process that the guardian took in.
#[cfg(target_os = "linux")]
fn remaining(leader: Pid) -> Vec<Pid> {
    let me = rustix::process::getpid().as_raw_nonzero().get();
    let group = leader.as_raw_nonzero().get();
    let Ok(processes) = procfs::process::all_processes() else {
        return Vec::new();
    };
    processes
        .filter_map(|process| process.ok()?.stat().ok())
        .filter(|stat| (stat.pgrp == group || stat.ppid == me) && stat.state != 'Z')
        .filter_map(|stat| Pid::from_raw(stat.pid))
        .collect()
}

#[cfg(not(target_os = "linux"))]
fn remaining(leader: Pid) -> Vec<Pid> {
    match rustix::process::test_kill_process_group(leader) {
        Ok(()) => vec![leader],
        Err(_) => Vec::new(),
    }
}
