//! The guardian: a small process between the runner and a server, so that the server's whole tree ends with the runner,
//! even after `kill -9`. It takes in the tree's orphans, whatever process group they moved to.
//!
//! It is told to stop, and learns of the runner's death, by the end of its standard input; signals a terminal or a person
//! would send it do not move it. On its standard output it says `started PID` or `failed REASON`, then `exited CODE` when
//! the server does (a negative code is a signal), and last `ended`, or `left PID…` when something could not be ended.

use std::{
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions, WaitStatus, getpid, wait},
};

use super::{
    files::Files,
    journal::{Identity, Journal, MARKER},
    log_pipe::LogPipe,
    meeting,
    process::API_KEY,
    tree::{self, Member},
};
use crate::secret::{Mask, environment};

/// How often a dying tree is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// The shortest pause between two looks at what the tree has mapped and bound: shared memory is made, then mapped.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// The longest one. Looks cost a little of the machine that is measured, so they grow rarer until something new is there.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);
/// How long a tree may take to vanish after SIGKILL: the kernel may have memory of a GPU to give back.
pub(super) const AFTER_KILL: Duration = Duration::from_secs(10);

/// The exit code for a command that cannot be started, as shells have it.
pub(super) const NOT_STARTED: i32 = 127;

enum Told {
    /// The runner asks for the end, or is gone.
    Stop,
    /// The server's first process ended.
    Exited(Option<i32>),
    /// No child is left, and so no descendant: orphans become children.
    Empty,
}

/// The hidden verb `runner guard LOG JOURNAL GRACE_MS COMMAND…`; JOURNAL is the folder of the journal, empty where there is
/// none.
pub fn guard(words: &[String]) -> ExitCode {
    let [log, journal, grace, program, arguments @ ..] = words else {
        return ExitCode::from(2);
    };
    let Ok(grace_ms) = grace.parse() else {
        return ExitCode::from(2);
    };
    let grace = Duration::from_millis(grace_ms);
    if let Err(error) = ignore_signals() {
        say(&format!("failed to set up signals: {error}"));
        return ExitCode::from(1);
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_child_subreaper(Some(getpid())) {
        say(&format!("failed to become a subreaper: {error}"));
        return ExitCode::from(1);
    }
    let mut files = Files::before();
    let mut journal = Journal::begin(journal, log, grace_ms, files.there());
    let mask = Mask::of(environment(), &[API_KEY]);
    let opened = LogPipe::open(log, &mask)
        .map_err(|error| format!("its log {log} cannot be written: {error}"))
        .and_then(|(pipe, out)| {
            let (lead, told) = news().map_err(|error| format!("no thread for its end: {error}"))?;
            Ok((pipe, out, lead, told))
        });
    let (pipe, out, lead, told) = match opened {
        Ok(opened) => opened,
        Err(reason) => {
            journal.into_iter().for_each(Journal::end);
            say(&format!("failed the server: {reason}"));
            return ExitCode::from(1);
        }
    };
    let spawned = out.try_clone().and_then(|err| {
        let mut command = Command::new(program);
        if let Some(journal) = &journal {
            command.env(MARKER, journal.marker());
        }
        let child =
            command.args(arguments).stdin(Stdio::null()).stdout(out).stderr(err).process_group(0).spawn()?;
        Ok(child.id())
    });
    // The child is waited for below with all others, never through its handle.
    let id = match spawned {
        Ok(id) => id,
        Err(error) => {
            journal.into_iter().for_each(Journal::end);
            say(&format!("failed {program}: {error}"));
            return ExitCode::from(1);
        }
    };
    let Some(leader) = i32::try_from(id).ok().and_then(Pid::from_raw) else {
        return ExitCode::from(1);
    };
    if let Some(members) = tree::members(getpid(), leader) {
        note(&mut journal, leader, &members, &files);
    }
    say(&format!("started {id}"));
    let _ = lead.send(leader);
    // Whatever ends the waiting, what is left of the tree ends too: a dead API server leaves its engine running.
    let first = watch(leader, &told, &mut files, &mut journal);
    let alone = first.is_some_and(|news| hear(&news, &pipe));
    let left = end_tree(leader, grace, alone, &told, &|news| hear(news, &pipe));
    if left.is_empty() {
        files.remove();
        journal.into_iter().for_each(Journal::end);
        // The news of the last ends may still be under way.
        while let Ok(news) = told.recv_timeout(LOOK) {
            hear(&news, &pipe);
        }
        pipe.close();
        meeting::remove(Path::new(log));
        say("ended");
        return ExitCode::SUCCESS;
    }
    let left: Vec<String> = left.iter().map(|pid| pid.as_raw_nonzero().to_string()).collect();
    say(&format!("left {}", left.join(" ")));
    ExitCode::from(1)
}

/// The hidden verb `runner ask JOURNAL COMMAND…`: a command that is to answer and end, such as an engine that is asked for its
/// flags. Its output is this process's own; its whole tree ends with it, or with the runner, and is not waited for.
/// Returns its exit code; for a signal, 128 and its number.
pub fn ask(words: &[String]) -> i32 {
    let [journal, program, arguments @ ..] = words else {
        return 2;
    };
    if ignore_signals().is_err() {
        return 1;
    }
    #[cfg(target_os = "linux")]
    if rustix::process::set_child_subreaper(Some(getpid())).is_err() {
        return 1;
    }
    let files = Files::before();
    let mut journal = Journal::begin(journal, "", 0, files.there());
    let Ok((lead, told)) = news() else {
        journal.into_iter().for_each(Journal::end);
        return 1;
    };
    let mut command = Command::new(program);
    if let Some(journal) = &journal {
        command.env(MARKER, journal.marker());
    }
    let spawned = command.args(arguments).stdin(Stdio::null()).process_group(0).spawn();
    let leader = match spawned {
        Ok(child) => i32::try_from(child.id()).ok().and_then(Pid::from_raw),
        Err(error) => {
            journal.into_iter().for_each(Journal::end);
            let _ = writeln!(io::stderr(), "{error}");
            return NOT_STARTED;
        }
    };
    let Some(leader) = leader else {
        return 1;
    };
    if let Some(members) = tree::members(getpid(), leader) {
        note(&mut journal, leader, &members, &files);
    }
    let _ = lead.send(leader);
    let answered = match told.recv() {
        Ok(Told::Exited(code)) => code,
        Ok(_) | Err(_) => None,
    };
    if end_tree(leader, Duration::ZERO, false, &told, &|news| matches!(news, Told::Empty)).is_empty() {
        journal.into_iter().for_each(Journal::end);
    }
    match answered {
        Some(code) if code < 0 => 128 - code,
        Some(code) => code,
        None => 1,
    }
}

/// What happens to the runner, to the server's first process and to all children. Where no thread can be started, that is
/// known before there is a server; its first process is told of when there is one.
fn news() -> io::Result<(Sender<Pid>, Receiver<Told>)> {
    let (tell, told) = mpsc::channel();
    let (lead, leaders) = mpsc::channel();
    let tell_stop = tell.clone();
    thread::Builder::new().spawn(move || {
        let mut byte = [0];
        while io::stdin().read(&mut byte).is_ok_and(|read| read > 0) {}
        let _ = tell_stop.send(Told::Stop);
    })?;
    thread::Builder::new().spawn(move || {
        let Ok(leader) = leaders.recv() else {
            return;
        };
        loop {
            let news = match wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) if pid == leader => Told::Exited(code(status)),
                Ok(_) | Err(Errno::INTR) => continue,
                Err(_) => Told::Empty,
            };
            let over = matches!(news, Told::Empty);
            if tell.send(news).is_err() || over {
                return;
            }
        }
    })?;
    Ok((lead, told))
}

/// Waits for the first news, looking now and then at what the tree has mapped and bound; `None` when none can come.
fn watch(
    leader: Pid,
    told: &Receiver<Told>,
    files: &mut Files,
    journal: &mut Option<Journal>,
) -> Option<Told> {
    let mut look = |files: &mut Files| {
        let Some(members) = tree::members(getpid(), leader) else {
            return;
        };
        files.look(&members.iter().map(|member| member.pid).collect::<Vec<_>>());
        note(journal, leader, &members, files);
    };
    let (mut pause, mut due) = (SHORTEST_PAUSE, Instant::now());
    loop {
        match told.recv_timeout(SHORTEST_PAUSE) {
            Ok(news) => {
                // The last chance before the tree ends.
                look(files);
                return Some(news);
            }
            Err(RecvTimeoutError::Timeout) => {
                if files.is_more() {
                    (pause, due) = (SHORTEST_PAUSE, Instant::now());
                }
                if Instant::now() >= due {
                    look(files);
                    due = Instant::now() + pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// Keeps the journal up to date.
fn note(journal: &mut Option<Journal>, leader: Pid, members: &[Member], files: &Files) {
    if let Some(journal) = journal {
        let members = members
            .iter()
            .map(|member| Identity { pid: member.pid.as_raw_nonzero().get(), start: member.start });
        let group = leader.as_raw_nonzero().get();
        journal.note(group, members.collect(), files.ours());
    }
}

/// A guardian that a signal ended would leave the tree to nobody. A handler, unlike an ignored signal, is not handed down
/// to the server.
fn ignore_signals() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _inside = runtime.enter();
    for kind in [
        SignalKind::alarm(),
        SignalKind::hangup(),
        SignalKind::interrupt(),
        SignalKind::quit(),
        SignalKind::terminate(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
        // A log that meets a limit on the size of files loses words, and nothing else.
        SignalKind::from_raw(Signal::XFSZ.as_raw()),
    ] {
        // The handler stays when the listener is dropped.
        let _ = signal(kind)?;
    }
    Ok(())
}

fn code(status: WaitStatus) -> Option<i32> {
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| -signal))
}

fn say(line: &str) {
    let mut out = io::stdout();
    // Nobody listens any more when the runner is gone.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Passes on how the server ended; whether the news are that nothing is left.
fn hear(news: &Told, pipe: &LogPipe) -> bool {
    if let Told::Exited(code) = news {
        // Who hears of the end reads the log for its reason.
        pipe.drain();
        let code = code.map_or_else(|| "unknown".to_owned(), |code| code.to_string());
        say(&format!("exited {code}"));
    }
    matches!(news, Told::Empty)
}

/// Asks everybody once, waits, then kills until nobody is left; returns who is left all the same. `hear` takes the news
/// meanwhile, and says whether they are that no child is left; `alone` says that this is known already.
fn end_tree(
    leader: Pid,
    grace: Duration,
    mut alone: bool,
    told: &Receiver<Told>,
    hear: &dyn Fn(&Told) -> bool,
) -> Vec<Pid> {
    let me = getpid();
    let mut asked: Vec<Pid> = Vec::new();
    let start = Instant::now();
    loop {
        let listed = tree::members(me, leader);
        // Where nobody can be listed, only the kernel's word that no child is left means that nobody is.
        let nobody = listed.is_some() || alone;
        let mut members = listed.unwrap_or_else(|| tree::whole_group(leader));
        if members.is_empty() && nobody {
            return Vec::new();
        }
        if start.elapsed() < grace {
            let first = asked.is_empty();
            members.retain(|member| !asked.contains(&member.pid));
            for member in &mut members {
                // A second signal to the group would make a server hurry that is ending cleanly.
                member.in_group &= first;
            }
            asked.extend(members.iter().map(|member| member.pid));
            tree::send(Signal::TERM, leader, &members);
            // One that was stopped hears nothing before it goes on.
            tree::send(Signal::CONT, leader, &members);
        } else if start.elapsed() < grace + AFTER_KILL {
            tree::send(Signal::KILL, leader, &members);
        } else {
            if members.is_empty() {
                // Somebody is, in a group of their own, and who cannot be told.
                return vec![leader];
            }
            return members.iter().map(|member| member.pid).collect();
        }
        let next_look = Instant::now() + LOOK;
        loop {
            let pause = next_look.saturating_duration_since(Instant::now());
            match told.recv_timeout(pause) {
                Ok(news) => {
                    // Where orphans are not taken in, no child left does not mean nobody left.
                    if hear(&news) {
                        alone = true;
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    thread::sleep(pause);
                    break;
                }
            }
        }
    }
}
