//! A launched server: its guarded process tree and its log, from the start to the end.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    command::API_KEY,
    gpu,
    log::{self, LogReader},
    process::{
        KILL_TIMEOUT, ProcessTree, journal, orphans,
        tree::{self, Listener},
    },
};
use crate::manifest::{EnvValue, Server, expand_home};

/// How long the guardian may take in addition to the time it gives the tree.
const GUARD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a port may stay taken after the tree's end.
const PORT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a GPU may take to free memory.
const GPU_TIMEOUT: Duration = Duration::from_secs(30);
/// How far a GPU's memory in use may stay above its value before the start, MiB: other processes come and go
/// too.
const GPU_SLACK_MIB: u64 = 512;

#[derive(Debug, thiserror::Error)]
pub(super) enum LaunchError {
    #[error("cannot {verb} {log}: {error}")]
    Log { verb: &'static str, log: Utf8PathBuf, error: io::Error },
    #[error("cannot start {program}: {error}")]
    Guardian { program: String, error: io::Error },
    #[error("cannot start {0}")]
    Server(String),
    #[error("the guardian ended before it reported the server's start")]
    Silent,
}

/// What is left of a server that was ended.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum EndError {
    #[error("processes {0} of the server do not end, not even by SIGKILL")]
    Processes(String),
    #[error("port {0} is still taken after the server's end")]
    Port(u16),
    #[error("GPU {gpu} still holds {now} MiB after the server's end, {before} MiB before its start")]
    GpuMemory { gpu: usize, now: u64, before: u64 },
}

#[derive(Clone, Debug, Default)]
struct Report {
    /// The exit code of the server's first process, once it has ended.
    exited: Option<Option<i32>>,
    /// The guardian's last line: whether everybody has ended.
    ended: Option<Result<(), EndError>>,
    /// Whether the guardian's output has ended.
    silent: bool,
}

/// A server's processes and its log. When this is dropped, the guardian ends the processes.
#[derive(Debug)]
pub(super) struct LaunchedServer {
    guard: Child,
    guard_pid: Pid,
    /// The guardian's entry in the journal.
    entry: Option<PathBuf>,
    /// The guardian stops the server when this pipe closes.
    leash: Option<ChildStdin>,
    leader: Pid,
    report: watch::Receiver<Report>,
    pub(super) log: LogReader,
    grace: Duration,
    /// GPU memory in use before the start, MiB, one value per GPU.
    gpu_mib: Vec<u64>,
    /// Path of this binary.
    runner: String,
    host: String,
    port: u16,
    /// Whether the tree was ever seen to listen on the port. If not, its end does not free the port.
    listened: bool,
}

/// What to launch, and where it will listen.
pub(super) struct LaunchOptions<'a> {
    pub(super) runner: &'a str,
    pub(super) server: &'a Server,
    pub(super) argv: &'a [String],
    pub(super) log: &'a Utf8Path,
    pub(super) api_key: Option<&'a str>,
    pub(super) host: &'a str,
    pub(super) port: u16,
}

impl LaunchedServer {
    /// Starts the guardian, and waits until it has started the server.
    pub(super) async fn spawn(options: LaunchOptions<'_>) -> Result<Self, LaunchError> {
        let log_error = |verb| move |error| LaunchError::Log { verb, log: options.log.to_owned(), error };
        // Empties the log of an earlier attempt, which must not be read as this one's.
        log::begin(options.log.as_std_path()).map_err(log_error("write"))?;
        // Opened before anything is started: failing later would leave a server behind.
        let log = LogReader::open(options.log).map_err(log_error("read"))?;
        let gpu_mib = gpu::used_mib(options.runner).await;
        let journal = journal::folder();
        let mut guard = guard_command(&options, journal.as_deref())
            .spawn()
            .map_err(|error| LaunchError::Guardian { program: options.runner.to_owned(), error })?;
        let guard_pid = guard.id().and_then(|id| Pid::from_raw(id as i32));
        let (Some(leash), Some(stdout), Some(guard_pid)) =
            (guard.stdin.take(), guard.stdout.take(), guard_pid)
        else {
            return Err(LaunchError::Silent);
        };
        // Determined at once: a guardian may be killed before it reports that it has started the server.
        let entry = journal.and_then(|folder| {
            let guard = journal::child_identity(guard_pid.as_raw_nonzero().get())?;
            Some(journal::path(&folder, guard))
        });
        let mut lines = BufReader::new(stdout).lines();
        let first = lines.next_line().await.ok().flatten().unwrap_or_default();
        let leader = first.strip_prefix("started ").and_then(|pid| Pid::from_raw(pid.parse().ok()?));
        let Some(leader) = leader else {
            if let Some(reason) = first.strip_prefix("failed ") {
                return Err(LaunchError::Server(reason.to_owned()));
            }
            let _ = timeout(GUARD_TIMEOUT, guard.wait()).await;
            end_orphans(entry.as_deref()).await;
            return Err(LaunchError::Silent);
        };
        let (sender, report) = watch::channel(Report::default());
        tokio::spawn(receive(lines, sender));
        Ok(Self {
            guard,
            guard_pid,
            entry,
            leash: Some(leash),
            leader,
            report,
            log,
            grace: options.server.stop_within.duration(),
            gpu_mib,
            runner: options.runner.to_owned(),
            host: options.host.to_owned(),
            port: options.port,
            listened: false,
        })
    }

    /// The exit code of the server's first process (a negative one is a signal), once it has ended; the inner
    /// `None` is an end without a known code.
    pub(super) fn exited(&self) -> Option<Option<i32>> {
        let report = self.report.borrow();
        // A guardian whose output has ended cannot report an exit any more.
        report.exited.or_else(|| report.silent.then_some(None))
    }

    /// Waits until the server's first process ends, and returns its exit code. Cancel safe.
    pub(super) async fn wait(&mut self) -> Option<i32> {
        let report = self.report.wait_for(|report| report.exited.is_some() || report.silent).await;
        report.ok().and_then(|report| report.exited).flatten()
    }

    pub(super) fn listener(&mut self) -> Listener {
        let listener = tree::listener(self.port, self.guard_pid, self.leader);
        self.listened |= listener == Listener::Ours;
        listener
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Says that nothing listens on the server's port, and where the server listens instead.
    pub(super) fn port_mismatch(&self) -> String {
        let ports = tree::ports(self.guard_pid, self.leader);
        let nothing = format!("nothing listens on port {}", self.port);
        if ports.is_empty() {
            return format!("{nothing} yet");
        }
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        format!(
            "{nothing}; its processes listen on {} (write {{port}} in the command where it takes the port)",
            ports.join(", ")
        )
    }

    pub(super) fn tree(&self) -> ProcessTree {
        ProcessTree { guard: self.guard_pid, group: self.leader }
    }

    /// Ends the whole tree: the guardian sends SIGTERM, then SIGKILL. When the guardian does not answer, its
    /// tree is killed directly. Then waits until the port and the GPU's memory are free, so that the next
    /// server finds what this one found.
    ///
    /// # Errors
    /// What is still there.
    pub(super) async fn end(&mut self) -> Result<(), EndError> {
        drop(self.leash.take());
        if self.guard.id().is_some() {
            // Somebody may have stopped it.
            let _ = kill_process(self.guard_pid, Signal::CONT);
        }
        let mut report = self.report.clone();
        let ended = async move {
            let report = report.wait_for(|report| report.ended.is_some() || report.silent);
            report.await.ok().and_then(|report| report.ended.clone())
        };
        match timeout(self.grace + KILL_TIMEOUT + GUARD_TIMEOUT, ended).await.ok().flatten() {
            Some(Ok(())) => {}
            // The guardian may have been unable to list processes; the journal knows them.
            Some(Err(error)) => {
                self.kill().await?;
                if self.entry.as_ref().is_none_or(|entry| entry.exists()) {
                    return Err(error);
                }
            }
            None => self.kill().await?,
        }
        let _ = timeout(GUARD_TIMEOUT, self.guard.wait()).await;
        self.wait_until_free().await
    }

    /// Kills the tree of a guardian that hangs or was killed, then the guardian.
    async fn kill(&mut self) -> Result<(), EndError> {
        let until = Instant::now() + KILL_TIMEOUT;
        loop {
            let members =
                tree::members(self.guard_pid, self.leader).unwrap_or_else(|| tree::whole_group(self.leader));
            if members.is_empty() {
                break;
            }
            if Instant::now() > until {
                return Err(EndError::Processes(tree::join(members.iter().map(|member| member.pid))));
            }
            tree::send(Signal::KILL, self.leader, &members);
            sleep(Duration::from_millis(50)).await;
        }
        // Last, because it adopts the orphans.
        if self.guard.id().is_some() {
            let _ = kill_process(self.guard_pid, Signal::KILL);
            let _ = timeout(GUARD_TIMEOUT, self.guard.wait()).await;
        }
        // Processes that had left the group have no parent of ours any more, and shared memory is still
        // there.
        end_orphans(self.entry.as_deref()).await;
        Ok(())
    }

    async fn wait_until_free(&self) -> Result<(), EndError> {
        let until = Instant::now() + PORT_TIMEOUT;
        while self.listened && is_taken(&self.host, self.port).await {
            if Instant::now() > until {
                return Err(EndError::Port(self.port));
            }
            sleep(Duration::from_millis(50)).await;
        }
        let until = Instant::now() + GPU_TIMEOUT;
        while !self.gpu_mib.is_empty() {
            let used = gpu::used_mib(&self.runner).await;
            let held = used.iter().zip(&self.gpu_mib).position(|(now, before)| *now > before + GPU_SLACK_MIB);
            let Some(gpu) = held else {
                break;
            };
            if Instant::now() > until {
                return Err(EndError::GpuMemory { gpu, now: used[gpu], before: self.gpu_mib[gpu] });
            }
            sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }
}

/// The guardian's command line and environment, which the server inherits.
fn guard_command(options: &LaunchOptions<'_>, journal: Option<&Path>) -> Command {
    let mut command = Command::new(options.runner);
    command
        .arg("guard")
        .arg(options.log)
        .arg(journal.unwrap_or(Path::new("")))
        .arg(options.server.stop_within.duration().as_millis().to_string())
        .args(options.argv.iter().map(|word| expand_home(word)));
    for (name, value) in &options.server.env {
        match value {
            EnvValue::Text(text) => command.env(name, text),
            EnvValue::Unset(_) => command.env_remove(name),
        };
    }
    if let Some(key) = options.api_key {
        command.env(API_KEY, key);
    }
    // A process group of its own keeps the terminal's Ctrl-C away: the runner decides when a server ends.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    command
}

/// Ends what the guardian of an entry in the journal has left behind.
async fn end_orphans(entry: Option<&Path>) {
    if let Some(path) = entry
        && let Some(entry) = journal::read(path)
    {
        orphans::end(path, entry).await;
    }
}

/// Whether somebody listens on a port of an address of this machine.
pub(super) async fn is_taken(host: &str, port: u16) -> bool {
    matches!(
        TcpListener::bind((host, port)).await,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse
    )
}

/// Receives what the guardian reports on its standard output.
async fn receive(mut lines: Lines<BufReader<ChildStdout>>, sender: watch::Sender<Report>) {
    while let Ok(Some(line)) = lines.next_line().await {
        sender.send_modify(|report| {
            if let Some(code) = line.strip_prefix("exited ") {
                report.exited = Some(code.parse().ok());
            } else if let Some(pids) = line.strip_prefix("left ") {
                report.ended = Some(Err(EndError::Processes(pids.to_owned())));
            } else if line == "ended" {
                report.ended = Some(Ok(()));
            }
        });
    }
    sender.send_modify(|report| report.silent = true);
}
