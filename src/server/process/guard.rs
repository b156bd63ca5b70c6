//! The guardian: a small process between the runner and a server. It ends the server's whole process tree
//! when the runner ends, even after `kill -9`. As a subreaper it adopts the tree's orphans, whatever process
//! group they moved to.
//!
//! The end of its standard input tells the guardian to stop, whether the runner closed the pipe or died. It
//! ignores the signals that a terminal or a person would send. On its standard output it writes `started PID`
//! or `failed REASON`, then `exited CODE` when the server's first process ends (a negative code is a signal),
//! and last `ended`, or `left PID…` when some processes could not be ended.

use std::{
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions, WaitStatus, getpid, wait},
};

use super::{
    ipc_files::IpcFiles,
    journal::{Identity, Journal, MARKER},
    rendezvous,
    tree::{self, Member},
};
use crate::{
    secret::{Mask, environment},
    server::{command::API_KEY, log::LogPipe},
};

/// How often an ending tree is checked.
const POLL: Duration = Duration::from_millis(50);
/// The shortest pause between two looks at the tree's files: shared memory is created first and mapped later.
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause. A look takes a little of the machine that is being measured, so looks grow rarer until
/// something new appears.
const MAX_PAUSE: Duration = Duration::from_secs(16);
/// How long a tree may take to disappear after SIGKILL: the kernel may have to free a GPU's memory.
pub(in crate::server) const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// Exit code for a command that cannot be started, as in shells.
pub(super) const NOT_STARTED: i32 = 127;

enum Event {
    /// The runner closed the pipe, or is gone.
    Stop,
    /// The first process of the tree ended, with its exit code.
    Exited(Option<i32>),
    /// No child is left, and so no descendant: orphans become children.
    NoChildren,
}

/// Why a guardian could not start its command. The runner shows it after "cannot start".
#[derive(Debug, thiserror::Error)]
enum GuardError {
    #[error("the guardian: cannot {0}: {1}")]
    Setup(&'static str, io::Error),
    #[error("the server: its log {path} cannot be written: {error}")]
    Log { path: String, error: io::Error },
    #[error("{program}: {error}")]
    Spawn { program: String, error: io::Error },
}

/// Runs the hidden verb `runner guard LOG JOURNAL GRACE_MS COMMAND…`, which guards a server. JOURNAL is the
/// journal's folder; empty means no journal.
pub fn guard(words: &[String]) {
    let [log, journal, grace, program, arguments @ ..] = words else {
        return;
    };
    let Ok(grace) = grace.parse().map(Duration::from_millis) else {
        return;
    };
    let mut command = Command::new(program);
    command.args(arguments);
    match guard_server(log, journal, grace, command) {
        Ok(left) if left.is_empty() => say("ended"),
        Ok(left) => say(&format!("left {}", tree::join(left))),
        Err(error) => say(&format!("failed {error}")),
    }
}

/// Runs a server to its end and returns the processes that could not be ended.
fn guard_server(
    log: &str,
    journal: &str,
    grace: Duration,
    mut command: Command,
) -> Result<Vec<Pid>, GuardError> {
    let mut guardian = Guardian::new()?;
    let log_error = |error| GuardError::Log { path: log.to_owned(), error };
    let mask = Mask::of(environment(), &[API_KEY]);
    let (pipe, out) = LogPipe::open(log, &mask).map_err(log_error)?;
    let err = out.try_clone().map_err(log_error)?;
    guardian.begin_journal(journal, log, grace);
    command.stdout(out).stderr(err);
    let leader = guardian.spawn(command)?;
    say(&format!("started {}", leader.as_raw_nonzero()));
    let report = |event: &Event| {
        if let Event::Exited(code) = event {
            // Whoever hears of the end reads the log for its reason.
            pipe.drain();
            let code = code.map_or_else(|| "unknown".to_owned(), |code| code.to_string());
            say(&format!("exited {code}"));
        }
    };
    let first = guardian.wait(leader);
    first.iter().for_each(&report);
    // Whatever ended the wait, the rest of the tree ends too: a dead API server leaves its engine running.
    let left = guardian.end_tree(leader, grace, matches!(first, Some(Event::NoChildren)), &report);
    if left.is_empty() {
        guardian.files.remove();
        guardian.journal.into_iter().for_each(Journal::end);
        while let Ok(event) = guardian.events.recv_timeout(POLL) {
            report(&event);
        }
        pipe.close();
        rendezvous::remove(Path::new(log));
    }
    Ok(left)
}

/// Runs the hidden verb `runner guard-capture JOURNAL COMMAND…`, which guards a command whose output the
/// runner reads, such as an engine's `--help`. The command's process tree ends when its first process does,
/// or with the runner. Returns the command's exit code; for a signal, 128 plus its number.
pub fn guard_capture(words: &[String]) -> i32 {
    let [journal, program, arguments @ ..] = words else {
        return 2;
    };
    let Ok(mut guardian) = Guardian::new() else {
        return 1;
    };
    guardian.begin_journal(journal, "", Duration::ZERO);
    let mut command = Command::new(program);
    command.args(arguments);
    let leader = match guardian.spawn(command) {
        Ok(leader) => leader,
        Err(GuardError::Spawn { error, .. }) => {
            let _ = writeln!(io::stderr(), "{error}");
            return NOT_STARTED;
        }
        Err(_) => return 1,
    };
    let code = match guardian.events.recv() {
        Ok(Event::Exited(code)) => code,
        Ok(_) | Err(_) => None,
    };
    if guardian.end_tree(leader, Duration::ZERO, false, &|_| ()).is_empty() {
        guardian.journal.into_iter().for_each(Journal::end);
    }
    code.map_or(1, |code| if code < 0 { 128 - code } else { code })
}

/// What the guardian of one process tree knows and waits for.
struct Guardian {
    files: IpcFiles,
    journal: Option<Journal>,
    events: Receiver<Event>,
    /// Takes the first process of the tree once it exists.
    leader: Sender<Pid>,
}

impl Guardian {
    /// Makes this process a guardian. Everything that can fail does so here, before there is a tree.
    fn new() -> Result<Self, GuardError> {
        handle_signals().map_err(|error| GuardError::Setup("handle signals", error))?;
        #[cfg(target_os = "linux")]
        rustix::process::set_child_subreaper(Some(getpid()))
            .map_err(|error| GuardError::Setup("become a subreaper", error.into()))?;
        let (leader, events) = send_events().map_err(|error| GuardError::Setup("start a thread", error))?;
        Ok(Self { files: IpcFiles::before(), journal: None, events, leader })
    }

    fn begin_journal(&mut self, folder: &str, log: &str, grace: Duration) {
        self.journal = Journal::begin(folder, log, grace, self.files.before_start());
    }

    /// Starts the command in a process group of its own. Consumes it, since it holds the write ends of its
    /// output.
    fn spawn(&mut self, mut command: Command) -> Result<Pid, GuardError> {
        if let Some(journal) = &self.journal {
            command.env(MARKER, journal.marker());
        }
        let spawned = command.stdin(Stdio::null()).process_group(0).spawn().and_then(|child| {
            // The thread that waits for every child collects this one too, never through its handle.
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            pid.ok_or_else(|| io::ErrorKind::InvalidData.into())
        });
        let leader = spawned.map_err(|error| {
            self.journal.take().into_iter().for_each(Journal::end);
            GuardError::Spawn { program: command.get_program().to_string_lossy().into_owned(), error }
        })?;
        if let Some(members) = tree::members(getpid(), leader) {
            self.record(leader, &members);
        }
        let _ = self.leader.send(leader);
        Ok(leader)
    }

    /// Waits for the first event and looks at the tree's files now and then; `None` when no event can come.
    fn wait(&mut self, leader: Pid) -> Option<Event> {
        let (mut pause, mut due) = (MIN_PAUSE, Instant::now());
        loop {
            match self.events.recv_timeout(MIN_PAUSE) {
                Ok(event) => {
                    // The last chance before the tree ends.
                    self.look(leader);
                    return Some(event);
                }
                Err(RecvTimeoutError::Timeout) => {
                    if self.files.have_new() {
                        (pause, due) = (MIN_PAUSE, Instant::now());
                    }
                    if Instant::now() >= due {
                        self.look(leader);
                        due = Instant::now() + pause;
                        pause = (pause * 2).min(MAX_PAUSE);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Looks at what the tree has mapped and bound, and records it in the journal.
    fn look(&mut self, leader: Pid) {
        if let Some(members) = tree::members(getpid(), leader) {
            self.files.look(&members.iter().map(|member| member.pid).collect::<Vec<_>>());
            self.record(leader, &members);
        }
    }

    fn record(&mut self, leader: Pid, members: &[Member]) {
        if let Some(journal) = &mut self.journal {
            let members = members.iter().map(Identity::from).collect();
            journal.record(leader.as_raw_nonzero().get(), members, self.files.ours());
        }
    }

    /// Sends SIGTERM once to every process, waits for `grace`, then sends SIGKILL until nobody is left.
    /// Returns the processes that are left all the same. `childless` says that no child is left already;
    /// `report` gets every event.
    fn end_tree(
        &self,
        leader: Pid,
        grace: Duration,
        mut childless: bool,
        report: &dyn Fn(&Event),
    ) -> Vec<Pid> {
        let mut terminated: Vec<Pid> = Vec::new();
        let start = Instant::now();
        loop {
            let listed = tree::members(getpid(), leader);
            // Where processes cannot be listed, only the kernel's "no child" proves that nobody is left.
            let proven = listed.is_some() || childless;
            let mut members = listed.unwrap_or_else(|| tree::whole_group(leader));
            if members.is_empty() && proven {
                return Vec::new();
            }
            if start.elapsed() < grace {
                let first = terminated.is_empty();
                members.retain(|member| !terminated.contains(&member.pid));
                for member in &mut members {
                    // A second signal to the group would hurry a server that is shutting down cleanly.
                    member.in_group &= first;
                }
                terminated.extend(members.iter().map(|member| member.pid));
                tree::send(Signal::TERM, leader, &members);
                // A stopped process handles the signal only once it continues.
                tree::send(Signal::CONT, leader, &members);
            } else if start.elapsed() < grace + KILL_TIMEOUT {
                tree::send(Signal::KILL, leader, &members);
            } else if members.is_empty() {
                // Somebody is left, but cannot be listed.
                return vec![leader];
            } else {
                return members.iter().map(|member| member.pid).collect();
            }
            childless |= self.wait_for_no_children(Instant::now() + POLL, report);
        }
    }

    /// Reports events until a moment; true as soon as one of them says that no child is left.
    fn wait_for_no_children(&self, until: Instant, report: &dyn Fn(&Event)) -> bool {
        loop {
            let pause = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(pause) {
                Ok(event) => {
                    report(&event);
                    // Where orphans are not adopted, this does not prove that nobody is left.
                    if matches!(event, Event::NoChildren) {
                        return true;
                    }
                }
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => {
                    thread::sleep(pause);
                    return false;
                }
            }
        }
    }
}

/// Starts the threads that send events: one waits for the end of standard input, one for children. The second
/// begins once it receives the first process of the tree.
fn send_events() -> io::Result<(Sender<Pid>, Receiver<Event>)> {
    let (sender, events) = mpsc::channel();
    let (leader_sender, leaders) = mpsc::channel();
    let stop = sender.clone();
    thread::Builder::new().spawn(move || {
        let mut byte = [0];
        while io::stdin().read(&mut byte).is_ok_and(|read| read > 0) {}
        let _ = stop.send(Event::Stop);
    })?;
    thread::Builder::new().spawn(move || {
        let Ok(leader) = leaders.recv() else {
            return;
        };
        loop {
            let event = match wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) if pid == leader => Event::Exited(code(status)),
                Ok(_) | Err(Errno::INTR) => continue,
                Err(_) => Event::NoChildren,
            };
            let last = matches!(event, Event::NoChildren);
            if sender.send(event).is_err() || last {
                return;
            }
        }
    })?;
    Ok((leader_sender, events))
}

/// Installs handlers that do nothing: a guardian that a signal ended would abandon the tree. The server does
/// not inherit a handler, as it would an ignored signal.
fn handle_signals() -> io::Result<()> {
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
        // A log that reaches the limit on file sizes loses text, and nothing else.
        SignalKind::from_raw(Signal::XFSZ.as_raw()),
    ] {
        // The handler stays when the listener is dropped.
        let _ = signal(kind)?;
    }
    Ok(())
}

/// The exit code of a process; a negative one is a signal.
fn code(status: WaitStatus) -> Option<i32> {
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| -signal))
}

fn say(line: &str) {
    let mut out = io::stdout();
    // Nobody listens when the runner is gone.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
