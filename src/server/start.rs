//! Starting a server, proving that it is ours and ready, and ending it.

use std::{process::Stdio, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::{Child, ChildStdin, Command},
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    command,
    log::Log,
    outcome::{Facts, ServerOutcome, StartPhase},
    python,
};
use crate::manifest::{Engine, EnvValue, LaunchOn, Server, expand_home};

/// How often a start with a lost port is tried again.
const PORT_TRIES: u32 = 3;
/// How long beyond the grace the guardian may take.
const GUARD_PATIENCE: Duration = Duration::from_secs(15);

/// What is to be started, and where its files go.
#[derive(Clone, Debug)]
pub struct Start<'a> {
    /// The server with every axis applied.
    pub server: &'a Server,
    /// Its folder, which exists; the log goes there.
    pub folder: &'a Utf8Path,
    /// This binary: the guardian, and the embedded engine.
    pub runner: &'a str,
    /// The API key, when requests need one. It travels in the environment only.
    pub api_key: Option<String>,
}

/// A server that did not become ready.
#[derive(Clone, Debug)]
pub struct StartFailure {
    /// How its start ended.
    pub outcome: ServerOutcome,
    /// The line that says so, or why.
    pub reason: String,
    /// Its exit code, when it ended; a negative one is a signal.
    pub exit_code: Option<i32>,
    /// The end of its log.
    pub log_tail: Vec<String>,
    /// What it said of itself until then.
    pub facts: Facts,
    /// The argument vector.
    pub argv: Vec<String>,
}

/// How a server ended that nobody had asked to end.
#[derive(Clone, Debug)]
pub struct Death {
    /// Crashed, or out of memory under load.
    pub outcome: ServerOutcome,
    /// The line that says so, or how it ended.
    pub reason: String,
    /// The end of its log.
    pub log_tail: Vec<String>,
}

/// A server that serves.
#[derive(Debug)]
pub struct Running {
    /// Its address.
    pub url: String,
    /// The name requests use for the model.
    pub model: String,
    /// What it said of itself.
    pub facts: Facts,
    /// The argument vector; empty for an attached one.
    pub argv: Vec<String>,
    process: Option<Process>,
}

/// A guarded process tree with its log.
#[derive(Debug)]
struct Process {
    guard: Child,
    /// Its end tells the guardian to stop.
    leash: Option<ChildStdin>,
    leader: Option<Pid>,
    exited: watch::Receiver<Option<Option<i32>>>,
    log: Log,
    grace: Duration,
}

/// Starts a server, or attaches to one, and waits until it is ready: our process, our model, our flags.
///
/// # Errors
/// How the start ended, when it did not end well.
pub async fn start(
    start: Start<'_>,
    on_phase: &mut (dyn FnMut(StartPhase, &str) + Send),
    cancel: watch::Receiver<bool>,
) -> Result<Running, StartFailure> {
    if start.server.launch.on == LaunchOn::Attach {
        return attach(&start).await;
    }
    let fixed = start.server.flags.integer("port");
    let mut tries = 0;
    loop {
        tries += 1;
        let port = match fixed {
            Some(port) => port as u16,
            None => free_port().await.map_err(|error| {
                failure(ServerOutcome::PortTaken, format!("no free port: {error}"))
            })?,
        };
        match launch(&start, port, on_phase, cancel.clone()).await {
            Err(failed)
                if failed.outcome == ServerOutcome::PortTaken
                    && fixed.is_none()
                    && tries < PORT_TRIES => {}
            result => return result,
        }
    }
}

fn failure(outcome: ServerOutcome, reason: impl Into<String>) -> StartFailure {
    StartFailure {
        outcome,
        reason: reason.into(),
        exit_code: None,
        log_tail: Vec::new(),
        facts: Facts::default(),
        argv: Vec::new(),
    }
}

async fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port())
}

async fn launch(
    start: &Start<'_>,
    port: u16,
    on_phase: &mut (dyn FnMut(StartPhase, &str) + Send),
    mut cancel: watch::Receiver<bool>,
) -> Result<Running, StartFailure> {
    let server = start.server;
    let host = command::host(server);
    let argv = command::argv(server, start.runner, &host, port);
    let mut process = spawn(start, &argv).await.map_err(|reason| StartFailure {
        argv: argv.clone(),
        ..failure(ServerOutcome::Crashed, reason)
    })?;
    let reachable = if host == "0.0.0.0" || host == "::" {
        "127.0.0.1"
    } else {
        &host
    };
    let probe = Probe::new(format!("http://{reachable}:{port}"), start.api_key.clone());
    let began = Instant::now();
    let mut files_there = began;
    let mut pause = Duration::from_millis(10);
    loop {
        process.log.look();
        on_phase(process.log.phase, process.log.last_line());
        let exited = *process.exited.borrow();
        if let Some(code) = exited {
            process.log.look();
            let (outcome, reason) = process.log.conclude(code);
            return Err(process.fail(outcome, reason, code, &argv).await);
        }
        if *cancel.borrow() {
            return Err(process
                .fail(
                    ServerOutcome::TimedOut,
                    "interrupted while it started".into(),
                    None,
                    &argv,
                )
                .await);
        }
        let downloading = process.log.phase == StartPhase::Launch
            && is_hub_model(server)
            && process.log.facts.load_s.is_none();
        if downloading {
            files_there = Instant::now();
        }
        match probe.ready(server, &process).await {
            Readiness::Ready(mut facts) => {
                process.log.look();
                process.log.is_ready();
                let mut all = process.log.facts.clone();
                all.engine_version = facts.engine_version.take().or(all.engine_version);
                all.served_model = facts.served_model.take();
                all.max_model_len = facts.max_model_len;
                all.startup_s = Some(began.elapsed().as_secs_f64());
                if let Some(logged) = &process.log.arguments {
                    if let Some(reason) = python::contradiction(&server.flags, logged) {
                        return Err(process
                            .fail(ServerOutcome::NotOurs, reason, None, &argv)
                            .await);
                    }
                    all.flags_confirmed = Some(true);
                }
                return Ok(Running {
                    url: probe.url,
                    model: command::served_model(server),
                    facts: all,
                    argv,
                    process: Some(process),
                });
            }
            Readiness::NotYet => {}
            Readiness::NotOurs(reason) => {
                return Err(process
                    .fail(ServerOutcome::NotOurs, reason, None, &argv)
                    .await);
            }
        }
        let late = if downloading {
            (began.elapsed() > server.download_within.duration()).then(|| {
                format!(
                    "the model's files did not arrive within {}",
                    server.download_within
                )
            })
        } else {
            (files_there.elapsed() > server.ready_within.duration())
                .then(|| format!("not ready within {}", server.ready_within))
        };
        if let Some(reason) = late {
            return Err(process
                .fail(ServerOutcome::TimedOut, reason, None, &argv)
                .await);
        }
        tokio::select! {
            () = sleep(pause) => {}
            _ = cancel.wait_for(|cancelled| *cancelled) => {}
        }
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}

/// A hub id names a model whose files may have to be downloaded first.
fn is_hub_model(server: &Server) -> bool {
    server.engine == Engine::Vllm
        && !["/", "./", "../", "~/"]
            .iter()
            .any(|prefix| server.model.starts_with(prefix))
}

async fn spawn(start: &Start<'_>, argv: &[String]) -> Result<Process, String> {
    let server = start.server;
    let log = start.folder.join("server.log");
    // The log of an earlier try must not be read as this one's.
    std::fs::write(&log, b"").map_err(|error| format!("cannot write {log}: {error}"))?;
    let grace = server.stop_within.duration();
    let mut command = Command::new(start.runner);
    command
        .arg("guard")
        .arg(&log)
        .arg(grace.as_millis().to_string());
    for word in argv {
        command.arg(expand_home(word));
    }
    for (name, value) in &server.env {
        match value {
            EnvValue::Text(text) => command.env(name, text),
            EnvValue::Unset(_) => command.env_remove(name),
        };
    }
    if let Some(key) = &start.api_key {
        command.env("VLLM_API_KEY", key);
    }
    // A group of its own keeps the terminal's Ctrl-C away: the runner decides when a server ends.
    let mut guard = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", start.runner))?;
    let leash = guard.stdin.take();
    let stdout = guard.stdout.take().ok_or("the guardian has no output")?;
    let mut lines = BufReader::new(stdout).lines();
    let first = lines.next_line().await.ok().flatten().unwrap_or_default();
    let Some(leader) = first
        .strip_prefix("started ")
        .and_then(|pid| pid.parse().ok())
    else {
        return Err(first.strip_prefix("failed ").map_or_else(
            || "the guardian said nothing".to_owned(),
            |why| format!("cannot start {why}"),
        ));
    };
    let (tell, exited) = watch::channel(None);
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(code) = line.strip_prefix("exited ") {
                let _ = tell.send(Some(code.parse().ok()));
            }
        }
        // The guardian is gone, and with it what it guarded.
        tell.send_if_modified(|state| {
            state.is_none() && {
                *state = Some(None);
                true
            }
        });
    });
    let log = Log::open(&log).map_err(|error| format!("cannot read {log}: {error}"))?;
    Ok(Process {
        guard,
        leash,
        leader: Pid::from_raw(leader),
        exited,
        log,
        grace,
    })
}

impl Process {
    async fn fail(
        mut self,
        outcome: ServerOutcome,
        reason: String,
        exit_code: Option<i32>,
        argv: &[String],
    ) -> StartFailure {
        self.end().await;
        self.log.look();
        StartFailure {
            outcome,
            reason,
            exit_code,
            log_tail: self.log.tail(),
            facts: self.log.facts.clone(),
            argv: argv.to_vec(),
        }
    }

    /// Ends the whole tree: the guardian first asks, then kills; a guardian that does not answer is ended with it, by id.
    async fn end(&mut self) {
        drop(self.leash.take());
        if timeout(self.grace + GUARD_PATIENCE, self.guard.wait())
            .await
            .is_ok()
        {
            return;
        }
        if let Some(leader) = self.leader {
            let _ = kill_process_group(leader, Signal::KILL);
        }
        if let Some(guard) = self.guard.id().and_then(|id| Pid::from_raw(id as i32)) {
            let _ = kill_process(guard, Signal::KILL);
        }
        let _ = self.guard.wait().await;
    }

    /// Whether the socket that listens on a port belongs to the tree; `None` where that cannot be seen.
    #[cfg(target_os = "linux")]
    fn owns(&self, port: u16) -> Option<bool> {
        use std::collections::HashSet;

        use procfs::{net::TcpState, process::FDTarget};
        let mut sockets: HashSet<u64> = HashSet::new();
        for table in [procfs::net::tcp(), procfs::net::tcp6()]
            .into_iter()
            .flatten()
        {
            let listening = table.into_iter().filter(|entry| {
                entry.state == TcpState::Listen && entry.local_address.port() == port
            });
            sockets.extend(listening.map(|entry| entry.inode));
        }
        if sockets.is_empty() {
            return None;
        }
        let group = self.leader?.as_raw_nonzero().get();
        let guard = i32::try_from(self.guard.id()?).ok()?;
        let owners = procfs::process::all_processes()
            .ok()?
            .filter_map(Result::ok);
        let ours = owners.filter(|process| {
            process
                .stat()
                .is_ok_and(|stat| stat.pgrp == group || stat.ppid == guard)
        });
        let found = ours
            .filter_map(|process| process.fd().ok())
            .flatten()
            .filter_map(Result::ok)
            .any(|fd| matches!(fd.target, FDTarget::Socket(inode) if sockets.contains(&inode)));
        Some(found)
    }

    #[cfg(not(target_os = "linux"))]
    fn owns(&self, _port: u16) -> Option<bool> {
        None
    }
}

/// Where a running server answers, and by which name it calls its model.
#[derive(Clone, Debug)]
pub struct Address {
    /// `http://host:port`
    pub url: String,
    /// The name requests use for the model.
    pub model: String,
}

impl Running {
    /// What a client needs of the server.
    pub fn address(&self) -> Address {
        Address {
            url: self.url.clone(),
            model: self.model.clone(),
        }
    }

    /// Waits until the server ends unasked. An attached server is not watched.
    pub async fn died(&mut self) -> Death {
        let Some(process) = &mut self.process else {
            return std::future::pending().await;
        };
        let code = match process.exited.wait_for(Option::is_some).await {
            Ok(state) => state.flatten(),
            Err(_) => None,
        };
        process.log.look();
        let (outcome, reason) = process.log.conclude(code);
        Death {
            outcome,
            reason,
            log_tail: process.log.tail(),
        }
    }

    /// Ends the server's whole tree and waits until its port is free. An attached server is left alone.
    pub async fn stop(mut self) {
        let Some(process) = &mut self.process else {
            return;
        };
        process.end().await;
    }
}

enum Readiness {
    Ready(Box<Facts>),
    NotYet,
    NotOurs(String),
}

struct Probe {
    url: String,
    client: reqwest::Client,
    api_key: Option<String>,
}

impl Probe {
    fn new(url: String, api_key: Option<String>) -> Self {
        // A second installation fails, and the first one is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()
            .unwrap_or_else(|_| reqwest::Client::new());
        Self {
            url,
            client,
            api_key,
        }
    }

    async fn get(&self, path: &str) -> Option<(u16, Value)> {
        let mut request = self.client.get(format!("{}{path}", self.url));
        if let Some(key) = &self.api_key {
            request = request.bearer_auth(key);
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let body = response.text().await.ok()?;
        Some((status, serde_json::from_str(&body).unwrap_or(Value::Null)))
    }

    async fn ready(&self, server: &Server, process: &Process) -> Readiness {
        let port = self
            .url
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        match port.and_then(|port| process.owns(port)) {
            Some(false) => return Readiness::NotOurs("another process listens on its port".into()),
            None if cfg!(target_os = "linux") => return Readiness::NotYet,
            _ => {}
        }
        match self.get("/health").await {
            Some((200 | 404, _)) => self.identity(server).await,
            _ => Readiness::NotYet,
        }
    }

    /// Whether what answers serves our model.
    async fn identity(&self, server: &Server) -> Readiness {
        let Some((200, models)) = self.get("/v1/models").await else {
            return Readiness::NotYet;
        };
        let wanted = command::served_model(server);
        let expanded = expand_home(&wanted).to_string();
        let listed = models["data"].as_array().cloned().unwrap_or_default();
        let ours = listed
            .iter()
            .find(|model| model["id"] == wanted || model["id"] == expanded);
        let Some(ours) = ours else {
            let names: Vec<String> = listed.iter().map(|model| model["id"].to_string()).collect();
            return Readiness::NotOurs(format!("it serves {}, not {wanted:?}", names.join(", ")));
        };
        let length = ours["max_model_len"].as_u64();
        if let (Some(asked), Some(length)) = (server.flags.integer("max-model-len"), length)
            && asked != length
        {
            return Readiness::NotOurs(format!(
                "it serves a max_model_len of {length}, not {asked}"
            ));
        }
        let version = self.get("/version").await;
        Readiness::Ready(Box::new(Facts {
            engine_version: version
                .and_then(|(_, body)| body["version"].as_str().map(str::to_owned)),
            served_model: ours["id"].as_str().map(str::to_owned),
            max_model_len: length,
            ..Facts::default()
        }))
    }
}

async fn attach(start: &Start<'_>) -> Result<Running, StartFailure> {
    let url = start.server.launch.url.clone().unwrap_or_default();
    let url = url.trim_end_matches('/').trim_end_matches("/v1").to_owned();
    let probe = Probe::new(url, start.api_key.clone());
    match probe.identity(start.server).await {
        Readiness::Ready(facts) => Ok(Running {
            url: probe.url,
            model: facts
                .served_model
                .clone()
                .unwrap_or_else(|| command::served_model(start.server)),
            facts: *facts,
            argv: Vec::new(),
            process: None,
        }),
        Readiness::NotYet => Err(failure(
            ServerOutcome::NotOurs,
            format!("nothing that lists models answers at {}", probe.url),
        )),
        Readiness::NotOurs(reason) => Err(failure(ServerOutcome::NotOurs, reason)),
    }
}

/// Where a server's log is.
pub fn log_path(folder: &Utf8Path) -> Utf8PathBuf {
    folder.join("server.log")
}
