//! A guarded process tree with its log: how it is started, watched and ended.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use camino::Utf8Path;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    gpu,
    guard::AFTER_KILL,
    journal, left_over,
    log::Log,
    log_file,
    tree::{self, Listener},
    usage::ProcessTree,
};
use crate::manifest::{EnvValue, Server, expand_home};

/// Where vLLM looks for the key that requests must bring.
pub(super) const API_KEY: &str = "VLLM_API_KEY";
/// How long the guardian may take beyond what it gives the tree.
const GUARD_PATIENCE: Duration = Duration::from_secs(5);
/// How long a port may stay taken after the tree's end.
const PORT_PATIENCE: Duration = Duration::from_secs(15);
/// How long a GPU may take to give memory back.
const GPU_PATIENCE: Duration = Duration::from_secs(30);
/// How far above its first value a GPU's memory in use may stay, MiB: other processes come and go too.
const GPU_SLACK_MIB: u64 = 512;

/// What the guardian told of the tree.
#[derive(Clone, Debug, Default)]
struct News {
    /// The exit code of the server's first process, once it ended.
    exited: Option<Option<i32>>,
    /// The guardian's last word: nobody is left, or who.
    last: Option<Result<(), String>>,
    /// The guardian's output ended.
    silent: bool,
}

/// A server's processes, with the guardian that ends them when this value is dropped.
#[derive(Debug)]
pub(super) struct Process {
    guard: Child,
    guard_pid: Pid,
    /// The guardian's entry in the journal.
    entry: Option<PathBuf>,
    /// Its end tells the guardian to stop.
    leash: Option<ChildStdin>,
    leader: Pid,
    news: watch::Receiver<News>,
    pub(super) log: Log,
    grace: Duration,
    /// GPU memory in use before the start, MiB, one value per GPU.
    gpu_mib: Vec<u64>,
    /// This binary.
    runner: String,
    host: String,
    port: u16,
    /// Whether the tree was ever seen to listen there; a port that others hold is not waited for.
    listened: bool,
}

/// What is started, and where it will listen.
pub(super) struct Spawn<'a> {
    pub(super) runner: &'a str,
    pub(super) server: &'a Server,
    pub(super) argv: &'a [String],
    pub(super) log: &'a Utf8Path,
    pub(super) api_key: Option<&'a str>,
    pub(super) host: &'a str,
    pub(super) port: u16,
}

impl Process {
    /// Starts the guardian and waits until it started the server.
    pub(super) async fn spawn(what: Spawn<'_>) -> Result<Self, String> {
        let log = what.log;
        // The log of an earlier try must not be read as this one's.
        log_file::begin(log.as_std_path()).map_err(|error| format!("cannot write {log}: {error}"))?;
        // Before anything is started: what cannot be read later would leave a server behind now.
        let reader = Log::open(log).map_err(|error| format!("cannot read {log}: {error}"))?;
        let gpu_mib = gpu::used_mib(what.runner).await;
        let grace = what.server.stop_within.duration();
        let journal = journal::folder();
        let mut command = Command::new(what.runner);
        command
            .arg("guard")
            .arg(log)
            .arg(journal.as_deref().unwrap_or(Path::new("")))
            .arg(grace.as_millis().to_string());
        for word in what.argv {
            command.arg(expand_home(word));
        }
        for (name, value) in &what.server.env {
            match value {
                EnvValue::Text(text) => command.env(name, text),
                EnvValue::Unset(_) => command.env_remove(name),
            };
        }
        if let Some(key) = what.api_key {
            command.env(API_KEY, key);
        }
        // A group of its own keeps the terminal's Ctrl-C away: the runner decides when a server ends.
        let mut guard = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", what.runner))?;
        let guard_pid = guard.id().and_then(|id| Pid::from_raw(id as i32));
        let (Some(leash), Some(stdout), Some(guard_pid)) =
            (guard.stdin.take(), guard.stdout.take(), guard_pid)
        else {
            return Err("the guardian ended before it was heard".into());
        };
        // Known from the first instant on: a guardian that is killed before it is heard may have started the server.
        let entry = journal.and_then(|folder| {
            let guard = journal::born(guard_pid.as_raw_nonzero().get())?;
            Some(journal::path(&folder, guard))
        });
        let mut lines = BufReader::new(stdout).lines();
        let first = lines.next_line().await.ok().flatten().unwrap_or_default();
        let leader = first.strip_prefix("started ").and_then(|pid| Pid::from_raw(pid.parse().ok()?));
        let Some(leader) = leader else {
            if let Some(why) = first.strip_prefix("failed ") {
                return Err(format!("cannot start {why}"));
            }
            let _ = timeout(GUARD_PATIENCE, guard.wait()).await;
            if let Some(path) = entry
                && let Some(entry) = journal::read(&path)
            {
                left_over::end(&path, entry).await;
            }
            return Err("the guardian ended before it was heard".into());
        };
        let (tell, news) = watch::channel(News::default());
        tokio::spawn(listen(lines, tell));
        Ok(Self {
            guard,
            guard_pid,
            entry,
            leash: Some(leash),
            leader,
            news,
            log: reader,
            grace,
            gpu_mib,
            runner: what.runner.to_owned(),
            host: what.host.to_owned(),
            port: what.port,
            listened: false,
        })
    }

    /// The exit code of the server's first process (a negative one is a signal), once it ended; the inner `None` is an end
    /// without a code that could be had.
    pub(super) fn exited(&self) -> Option<Option<i32>> {
        let news = self.news.borrow();
        // A guardian that fell silent can tell of no exit any more.
        news.exited.or_else(|| news.silent.then_some(None))
    }

    /// Waits for the server's end. Safe to give up and call again.
    pub(super) async fn exit(&mut self) -> Option<i32> {
        let over = self.news.wait_for(|news| news.exited.is_some() || news.silent).await;
        over.ok().and_then(|news| news.exited).flatten()
    }

    /// Who listens on the server's port.
    pub(super) fn listener(&mut self) -> Listener {
        let listener = tree::listener(self.port, self.guard_pid, self.leader);
        self.listened |= listener == Listener::Ours;
        listener
    }

    /// Where the server should listen.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Where the server listens instead of its port, as a clause.
    pub(super) fn elsewhere(&self) -> String {
        let ports = tree::ports(self.guard_pid, self.leader);
        let nothing = format!("nothing listens on port {}", self.port);
        if ports.is_empty() {
            return format!("{nothing} yet");
        }
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        format!(
            "{nothing}; its processes listen on {} (a command takes its port where it says {{port}})",
            ports.join(", ")
        )
    }

    /// The server's processes, for those who look at them.
    pub(super) fn tree(&self) -> ProcessTree {
        ProcessTree { guard: self.guard_pid, group: self.leader }
    }

    /// Ends the whole tree: the guardian first asks, then kills; the tree of a guardian that does not answer is killed by
    /// id. Then waits until the port and the GPU's memory are free, so that the next server starts as this one did.
    ///
    /// # Errors
    /// What is still there, as a sentence.
    pub(super) async fn end(&mut self) -> Result<(), String> {
        drop(self.leash.take());
        if self.guard.id().is_some() {
            // Somebody may have stopped it.
            let _ = kill_process(self.guard_pid, Signal::CONT);
        }
        let patience = self.grace + AFTER_KILL + GUARD_PATIENCE;
        let mut news = self.news.clone();
        let heard = async move {
            let news = news.wait_for(|news| news.last.is_some() || news.silent);
            news.await.ok().and_then(|news| news.last.clone())
        };
        let last = timeout(patience, heard).await.ok().flatten();
        match last {
            Some(Ok(())) => {}
            // It may have lacked the means to see them; the journal knows who they are.
            Some(Err(said)) => {
                self.kill().await?;
                if self.entry.as_ref().is_none_or(|entry| entry.exists()) {
                    return Err(said);
                }
            }
            None => self.kill().await?,
        }
        let _ = timeout(GUARD_PATIENCE, self.guard.wait()).await;
        self.settle().await
    }

    /// The guardian hangs, or was killed.
    async fn kill(&mut self) -> Result<(), String> {
        let until = Instant::now() + AFTER_KILL;
        loop {
            let members =
                tree::members(self.guard_pid, self.leader).unwrap_or_else(|| tree::whole_group(self.leader));
            if members.is_empty() {
                break;
            }
            if Instant::now() > until {
                let pids: Vec<String> =
                    members.iter().map(|member| member.pid.as_raw_nonzero().to_string()).collect();
                return Err(format!(
                    "processes {} of the server do not end, not even by SIGKILL",
                    pids.join(" ")
                ));
            }
            tree::send(Signal::KILL, self.leader, &members);
            sleep(Duration::from_millis(50)).await;
        }
        // Last, since it is what takes in the orphans.
        if self.guard.id().is_some() {
            let _ = kill_process(self.guard_pid, Signal::KILL);
            let _ = timeout(GUARD_PATIENCE, self.guard.wait()).await;
        }
        // What had left the group is nobody's child any more, and shared memory has nobody to remove it.
        if let Some(path) = &self.entry
            && let Some(entry) = journal::read(path)
        {
            left_over::end(path, entry).await;
        }
        Ok(())
    }

    async fn settle(&self) -> Result<(), String> {
        let until = Instant::now() + PORT_PATIENCE;
        while self.listened && taken(&self.host, self.port).await {
            if Instant::now() > until {
                return Err(format!("port {} is still taken after the server's end", self.port));
            }
            sleep(Duration::from_millis(50)).await;
        }
        let until = Instant::now() + GPU_PATIENCE;
        while !self.gpu_mib.is_empty() {
            let now = gpu::used_mib(&self.runner).await;
            let held = now.iter().zip(&self.gpu_mib).position(|(now, before)| *now > before + GPU_SLACK_MIB);
            let Some(held) = held else {
                break;
            };
            if Instant::now() > until {
                return Err(format!(
                    "GPU {held} still holds {} MiB after the server's end, {} MiB before its start",
                    now[held], self.gpu_mib[held]
                ));
            }
            sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }
}

/// Whether a port of an address of this machine cannot be listened on because somebody does.
pub(super) async fn taken(host: &str, port: u16) -> bool {
    matches!(
        TcpListener::bind((host, port)).await,
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse
    )
}

async fn listen(mut lines: Lines<BufReader<ChildStdout>>, tell: watch::Sender<News>) {
    while let Ok(Some(line)) = lines.next_line().await {
        tell.send_modify(|news| {
            if let Some(code) = line.strip_prefix("exited ") {
                news.exited = Some(code.parse().ok());
            } else if let Some(pids) = line.strip_prefix("left ") {
                news.last =
                    Some(Err(format!("processes {pids} of the server do not end, not even by SIGKILL")));
            } else if line == "ended" {
                news.last = Some(Ok(()));
            }
        });
    }
    tell.send_modify(|news| news.silent = true);
}
