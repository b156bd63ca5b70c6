//! Starting a server, proving that it is ours and ready, and ending it.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    command, hub,
    outcome::{Facts, ServerOutcome, StartPhase},
    probe::{Answer, Probe},
    process::{Process, Spawn, taken},
    python,
    tree::Listener,
    usage::ProcessTree,
};
use crate::{
    manifest::{Engine, LaunchOn, Server},
    unit::TimeSpan,
};

/// How often a start whose port was lost is made.
const PORT_TRIES: u32 = 3;
/// The longest pause between two looks at a starting server.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

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
    /// Its exit code, when it had one; a negative one is a signal.
    pub exit_code: Option<i32>,
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
    pub(super) process: Option<Process>,
}

/// Starts a server, or attaches to one, and waits until it is ready: our process, our model, our flags.
///
/// A free port is taken for it, and another one when that is lost meanwhile; a port that the manifest fixes is used as it is.
/// `on_phase` hears of every step and every new last line of the log. `cancel` ends the start when it turns `true`.
///
/// # Errors
/// How the start ended, when it did not end well; the whole process tree is gone by then.
pub async fn start(
    start: Start<'_>,
    on_phase: &mut (dyn FnMut(StartPhase, &str) + Send),
    cancel: watch::Receiver<bool>,
) -> Result<Running, StartFailure> {
    let server = start.server;
    if server.launch.on == LaunchOn::Attach {
        return attach(&start).await;
    }
    if server.engine == Engine::Openai && server.command.is_none() {
        return Err(failure(
            ServerOutcome::BadFlags,
            "engine = \"openai\" has no command of its own; write server.command, with {port} where the port belongs",
        ));
    }
    let host = command::host(server);
    if server.flags.get("port").is_some() {
        let port = fixed_port(server)?;
        // Found here in no time, and by the engine after its imports.
        if taken(&host, port).await {
            return Err(failure(
                ServerOutcome::PortTaken,
                format!("port {port} is in use; end what listens there, or leave server.flags.port out"),
            ));
        }
        return Launch::new(&start, &host, port).await?.watch(on_phase, cancel).await;
    }
    let mut tries = 0;
    loop {
        tries += 1;
        let port = free_port(&host).await.map_err(|error| {
            failure(ServerOutcome::PortTaken, format!("no port is free on {host}: {error}"))
        })?;
        let launch = Launch::new(&start, &host, port).await?;
        match launch.watch(on_phase, cancel.clone()).await {
            Err(failed) if failed.outcome == ServerOutcome::PortTaken && tries < PORT_TRIES => {}
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

fn fixed_port(server: &Server) -> Result<u16, StartFailure> {
    let port = server.flags.integer("port");
    port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0).ok_or_else(|| {
        failure(
            ServerOutcome::BadFlags,
            "server.flags.port is no port; write a number from 1 to 65535, or leave it out",
        )
    })
}

async fn free_port(host: &str) -> std::io::Result<u16> {
    Ok(TcpListener::bind((host, 0)).await?.local_addr()?.port())
}

/// One try on one port.
struct Launch<'a> {
    server: &'a Server,
    process: Process,
    probe: Probe,
    port: u16,
    argv: Vec<String>,
    began: Instant,
    /// Where the model's files will be, as long as they are not there.
    awaited: Option<Utf8PathBuf>,
    /// From when on the start is timed: the launch, or the arrival of the model's files.
    timed_from: Instant,
    /// What the last answer on its port lacked.
    lacking: Option<String>,
}

impl<'a> Launch<'a> {
    async fn new(start: &Start<'a>, host: &str, port: u16) -> Result<Self, StartFailure> {
        let server = start.server;
        let argv = command::argv(server, start.runner, host, port);
        let process = Process::spawn(Spawn {
            runner: start.runner,
            server,
            argv: &argv,
            log: &log_path(start.folder),
            api_key: start.api_key.as_deref(),
            host,
            port,
        })
        .await
        .map_err(|reason| StartFailure { argv: argv.clone(), ..failure(ServerOutcome::Crashed, reason) })?;
        let began = Instant::now();
        Ok(Self {
            server,
            process,
            probe: Probe::new(url(host, port), start.api_key.clone()),
            port,
            argv,
            began,
            awaited: hub::model_folder(server).filter(|folder| !hub::is_complete(folder)),
            timed_from: began,
            lacking: None,
        })
    }

    async fn watch(
        mut self,
        on_phase: &mut (dyn FnMut(StartPhase, &str) + Send),
        mut cancel: watch::Receiver<bool>,
    ) -> Result<Running, StartFailure> {
        let mut told: Option<(StartPhase, String)> = None;
        let mut pause = Duration::from_millis(10);
        loop {
            // Before the log is read, so that what an ended server wrote is read whole.
            let exited = self.process.exited();
            self.process.log.look();
            self.look_for_files();
            let (phase, line) = self.doing();
            if told.as_ref().is_none_or(|before| (before.0, before.1.as_str()) != (phase, line.as_str())) {
                on_phase(phase, &line);
                told = Some((phase, line));
            }
            if let Some(code) = exited {
                return Err(self.ended(code).await);
            }
            if *cancel.borrow() {
                return Err(self.fail(ServerOutcome::Interrupted, "its start was given up").await);
            }
            if let Some((outcome, reason)) = self.prove().await {
                return match outcome {
                    ServerOutcome::Ready => Ok(self.ready()),
                    outcome => Err(self.fail(outcome, reason).await),
                };
            }
            if let Some(reason) = self.late() {
                return Err(self.fail(ServerOutcome::TimedOut, reason).await);
            }
            tokio::select! {
                () = sleep(pause) => {}
                _ = cancel.wait_for(|cancelled| *cancelled) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// What the server does now, and the last that is known of it.
    fn doing(&self) -> (StartPhase, String) {
        let line = self.process.log.last_line();
        match &self.awaited {
            None => (self.process.log.phase, line.to_owned()),
            Some(folder) => {
                let gigabytes = hub::arrived(folder) as f64 / 1e9;
                (StartPhase::Download, format!("{gigabytes:.1} GB on disk · {line}"))
            }
        }
    }

    fn look_for_files(&mut self) {
        if let Some(folder) = &self.awaited
            && (self.process.log.loading || hub::is_complete(folder))
        {
            self.awaited = None;
            self.timed_from = Instant::now();
        }
    }

    fn late(&self) -> Option<String> {
        let over = |from: Instant, span: TimeSpan| from.elapsed() > span.duration();
        if self.awaited.is_some() {
            let span = self.server.download_within;
            over(self.began, span)
                .then(|| format!("the model's files did not arrive within {span} (server.download_within)"))
        } else {
            let span = self.server.ready_within;
            over(self.timed_from, span).then(|| {
                let lacking = match &self.lacking {
                    Some(lacking) => lacking.clone(),
                    None => self.process.elsewhere(),
                };
                format!("not ready within {span} (server.ready_within): {lacking}")
            })
        }
    }

    /// Whether what listens on the port is the server that was launched; `None` while nothing can be said.
    async fn prove(&mut self) -> Option<(ServerOutcome, String)> {
        match self.process.listener() {
            Listener::Nobody => {
                self.lacking = None;
                return None;
            }
            Listener::Foreign => {
                return Some((
                    ServerOutcome::PortTaken,
                    format!("another process listens on port {}", self.port),
                ));
            }
            Listener::Ours | Listener::Unknown => {}
        }
        match self.probe.ask(self.server, false).await {
            Answer::NotYet(seen) => {
                self.lacking = Some(seen);
                None
            }
            Answer::NotOurs(reason) => Some((ServerOutcome::NotOurs, reason)),
            Answer::Ours(facts) => {
                self.process.log.look();
                let log = &mut self.process.log;
                let contradiction =
                    log.arguments.as_ref().map(|logged| python::contradiction(&self.server.flags, logged));
                if let Some(Some(reason)) = contradiction {
                    return Some((ServerOutcome::NotOurs, reason));
                }
                log.confirm(*facts, contradiction.is_some());
                Some((ServerOutcome::Ready, String::new()))
            }
        }
    }

    fn ready(mut self) -> Running {
        self.process.log.serves();
        let mut facts = self.process.log.facts.clone();
        facts.startup_s = Some(self.began.elapsed().as_secs_f64());
        Running {
            url: self.probe.url,
            model: facts.served_model.clone().unwrap_or_else(|| command::served_model(self.server)),
            facts,
            argv: self.argv,
            process: Some(self.process),
        }
    }

    /// The server ended by itself: what its log says in the end is why.
    async fn ended(mut self, code: Option<i32>) -> StartFailure {
        let left = self.process.end().await;
        self.process.log.finish();
        let (outcome, reason) = self.process.log.conclude(code);
        self.failed(outcome, reason, code, left)
    }

    async fn fail(mut self, outcome: ServerOutcome, reason: impl Into<String>) -> StartFailure {
        let left = self.process.end().await;
        self.process.log.finish();
        self.failed(outcome, reason.into(), None, left)
    }

    fn failed(
        self,
        outcome: ServerOutcome,
        reason: String,
        exit_code: Option<i32>,
        left: Result<(), String>,
    ) -> StartFailure {
        StartFailure {
            outcome,
            reason: match left {
                Ok(()) => reason,
                Err(left) => format!("{reason}; {left}"),
            },
            exit_code,
            log_tail: self.process.log.tail(),
            facts: self.process.log.facts.clone(),
            argv: self.argv,
        }
    }
}

/// Where a server that listens on a host is reached from this machine.
fn url(host: &str, port: u16) -> String {
    let host = match host {
        "0.0.0.0" | "::" | "" => "127.0.0.1",
        other => other,
    };
    if host.contains(':') { format!("http://[{host}]:{port}") } else { format!("http://{host}:{port}") }
}

async fn attach(start: &Start<'_>) -> Result<Running, StartFailure> {
    let url = start.server.launch.url.as_deref().unwrap_or_default();
    let url = url.trim_end_matches('/').trim_end_matches("/v1").to_owned();
    let probe = Probe::new(url, start.api_key.clone());
    match probe.ask(start.server, true).await {
        Answer::Ours(facts) => Ok(Running {
            url: probe.url,
            model: facts.served_model.clone().unwrap_or_else(|| command::served_model(start.server)),
            facts: *facts,
            argv: Vec::new(),
            process: None,
        }),
        Answer::NotYet(reason) | Answer::NotOurs(reason) => Err(failure(ServerOutcome::NotOurs, reason)),
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
        Address { url: self.url.clone(), model: self.model.clone() }
    }

    /// The server's processes; absent for an attached one.
    pub fn processes(&self) -> Option<ProcessTree> {
        self.process.as_ref().map(Process::tree)
    }

    /// Waits until the server ends unasked, whatever its exit code. An attached server is not watched: this never returns.
    /// The wait may be given up and begun again.
    pub async fn died(&mut self) -> Death {
        let Some(process) = &mut self.process else {
            return std::future::pending().await;
        };
        let exit_code = process.exit().await;
        process.log.finish();
        let (outcome, reason) = process.log.conclude(exit_code);
        Death { outcome, reason, exit_code, log_tail: process.log.tail() }
    }

    /// The end of the server's log so far; empty for an attached server.
    pub fn log_tail(&mut self) -> Vec<String> {
        let Some(process) = &mut self.process else {
            return Vec::new();
        };
        process.log.look_to_the_end();
        process.log.tail()
    }

    /// Ends the server's whole tree, then waits until its port and its GPU's memory are free again. An attached server is
    /// left alone. Returns what could not be ended or freed, as a sentence.
    pub async fn stop(self) -> Option<String> {
        self.process?.end().await.err()
    }
}

/// Where a server's log is.
pub fn log_path(folder: &Utf8Path) -> Utf8PathBuf {
    folder.join("server.log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_reached_where_it_listens() {
        assert_eq!(url("0.0.0.0", 1), "http://127.0.0.1:1");
        assert_eq!(url("::1", 1), "http://[::1]:1");
        assert_eq!(url("10.0.0.1", 80), "http://10.0.0.1:80");
    }
}
