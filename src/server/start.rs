//! Starts a server or attaches to one, and waits until it is proven ready.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    command,
    http::HttpError,
    launched::{LaunchOptions, LaunchedServer, is_taken},
    log, model_cache,
    outcome::{Facts, ServerOutcome, StartPhase},
    probe::{Answer, Probe},
    process::tree::Listener,
    running::Running,
};
use crate::{
    manifest::{Engine, LaunchOn, Server},
    unit::TimeSpan,
};

/// Number of attempts when another program takes the chosen port.
const PORT_ATTEMPTS: u32 = 3;
/// The longest pause between two checks of a starting server.
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// What to start, and where its files go.
#[derive(Clone, Debug)]
pub struct Start<'a> {
    /// The server with every axis applied.
    pub server: &'a Server,
    /// An existing folder for the log.
    pub folder: &'a Utf8Path,
    /// Path of this binary, which is also the guardian and the embedded engine.
    pub runner: &'a str,
    /// The API key, if requests need one. The server gets it in its environment only.
    pub api_key: Option<String>,
}

/// A server that did not become ready.
#[derive(Clone, Debug)]
pub struct StartFailure {
    /// How the start ended.
    pub outcome: ServerOutcome,
    /// The log line that explains it, or what went wrong.
    pub reason: String,
    /// Its exit code, if it ended; a negative one is a signal.
    pub exit_code: Option<i32>,
    /// The last lines of its log.
    pub log_tail: Vec<String>,
    /// What it had reported about itself.
    pub facts: Facts,
    /// The argument vector.
    pub argv: Vec<String>,
}

/// Starts a server, or attaches to one, and waits until it is ready: our process, our model, our flags.
///
/// Unless the manifest fixes a port, the server gets a free one, and another one when that is lost meanwhile.
/// `on_phase` gets every new phase with the log's last line about it. `cancel` ends the start when it turns
/// `true`.
///
/// # Errors
/// How the start failed. The server's whole process tree has ended by then.
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
            "engine = \"openai\" has no default command; set server.command, with {port} in place of the port",
        ));
    }
    let host = command::host(server);
    if server.flags.get("port").is_some() {
        let port = fixed_port(server)?;
        // The engine would find out only after its imports.
        if is_taken(&host, port).await {
            return Err(failure(
                ServerOutcome::PortTaken,
                format!(
                    "port {port} is in use; end the program that listens there, or remove server.flags.port"
                ),
            ));
        }
        return Launch::new(&start, &host, port).await?.watch(on_phase, cancel).await;
    }
    let mut attempts = 0;
    loop {
        attempts += 1;
        let port = free_port(&host).await.map_err(|error| {
            failure(ServerOutcome::PortTaken, format!("{host} has no free port: {error}"))
        })?;
        let launch = Launch::new(&start, &host, port).await?;
        match launch.watch(on_phase, cancel.clone()).await {
            Err(failed) if failed.outcome == ServerOutcome::PortTaken && attempts < PORT_ATTEMPTS => {}
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

fn no_client(error: HttpError) -> StartFailure {
    failure(ServerOutcome::Crashed, error.to_string())
}

fn fixed_port(server: &Server) -> Result<u16, StartFailure> {
    let port = server.flags.integer("port");
    port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0).ok_or_else(|| {
        failure(
            ServerOutcome::BadFlags,
            "server.flags.port is not a port; write a number from 1 to 65535, or remove it",
        )
    })
}

async fn free_port(host: &str) -> std::io::Result<u16> {
    Ok(TcpListener::bind((host, 0)).await?.local_addr()?.port())
}

/// One attempt on one port.
struct Launch<'a> {
    server: &'a Server,
    launched: LaunchedServer,
    probe: Probe,
    port: u16,
    argv: Vec<String>,
    launched_at: Instant,
    /// The cache folder of the model, until its files are complete.
    downloading: Option<Utf8PathBuf>,
    /// When the time limit of the start began: at the launch, or when the download was complete.
    timed_from: Instant,
    /// Why the last probe found the server not ready.
    not_ready: Option<String>,
}

impl<'a> Launch<'a> {
    async fn new(start: &Start<'a>, host: &str, port: u16) -> Result<Self, StartFailure> {
        let server = start.server;
        let argv = command::argv(server, start.runner, host, port);
        let probe = Probe::new(url(host, port), start.api_key.clone()).map_err(no_client)?;
        let launched = LaunchedServer::spawn(LaunchOptions {
            runner: start.runner,
            server,
            argv: &argv,
            log: &log_path(start.folder),
            api_key: start.api_key.as_deref(),
            host,
            port,
        })
        .await
        .map_err(|error| StartFailure {
            argv: argv.clone(),
            ..failure(ServerOutcome::Crashed, error.to_string())
        })?;
        let launched_at = Instant::now();
        Ok(Self {
            server,
            launched,
            probe,
            port,
            argv,
            launched_at,
            downloading: model_cache::folder(server).filter(|folder| !model_cache::is_complete(folder)),
            timed_from: launched_at,
            not_ready: None,
        })
    }

    async fn watch(
        mut self,
        on_phase: &mut (dyn FnMut(StartPhase, &str) + Send),
        mut cancel: watch::Receiver<bool>,
    ) -> Result<Running, StartFailure> {
        let mut reported: Option<(StartPhase, String)> = None;
        let mut pause = Duration::from_millis(10);
        loop {
            // Checked before the log is read, so that the log of an ended server is read whole.
            let exited = self.launched.exited();
            self.launched.log.read_new();
            self.check_download();
            let progress = self.progress();
            if reported.as_ref() != Some(&progress) {
                on_phase(progress.0, &progress.1);
                reported = Some(progress);
            }
            if let Some(code) = exited {
                return Err(self.fail(None, code).await);
            }
            if *cancel.borrow() {
                let cause = (ServerOutcome::Interrupted, "the start was interrupted".to_owned());
                return Err(self.fail(Some(cause), None).await);
            }
            if let Some(proof) = self.prove().await {
                return match proof.0 {
                    ServerOutcome::Ready => Ok(self.ready()),
                    _ => Err(self.fail(Some(proof), None).await),
                };
            }
            if let Some(reason) = self.late() {
                return Err(self.fail(Some((ServerOutcome::TimedOut, reason)), None).await);
            }
            tokio::select! {
                () = sleep(pause) => {}
                _ = cancel.wait_for(|cancelled| *cancelled) => {}
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// The current phase and its detail. vLLM logs many warnings, so of its log only lines about progress are
    /// shown; of other engines' logs the last line.
    fn progress(&self) -> (StartPhase, String) {
        let log = &self.launched.log;
        match &self.downloading {
            Some(folder) => {
                let gigabytes = model_cache::bytes_on_disk(folder) as f64 / 1e9;
                (StartPhase::Download, format!("{gigabytes:.1} GB on disk"))
            }
            None if self.server.engine == Engine::Vllm => (log.phase, log.progress.clone()),
            None => (log.phase, log.last_line().to_owned()),
        }
    }

    fn check_download(&mut self) {
        if let Some(folder) = &self.downloading
            && (self.launched.log.loading || model_cache::is_complete(folder))
        {
            self.downloading = None;
            self.timed_from = Instant::now();
        }
    }

    /// Says which time limit is over.
    fn late(&self) -> Option<String> {
        let over = |from: Instant, span: TimeSpan| from.elapsed() > span.duration();
        if self.downloading.is_some() {
            let span = self.server.download_within;
            over(self.launched_at, span)
                .then(|| format!("the model was not downloaded within {span} (server.download_within)"))
        } else {
            let span = self.server.ready_within;
            over(self.timed_from, span).then(|| {
                let reason = self.not_ready.clone().unwrap_or_else(|| self.launched.port_mismatch());
                format!("not ready within {span} (server.ready_within): {reason}")
            })
        }
    }

    /// Checks whether the launched server listens on the port and is ready; `None` while that is open.
    async fn prove(&mut self) -> Option<(ServerOutcome, String)> {
        match self.launched.listener() {
            Listener::Nobody => {
                self.not_ready = None;
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
            Answer::NotYet(reason) => {
                self.not_ready = Some(reason);
                None
            }
            Answer::NotOurs(reason) => Some((ServerOutcome::NotOurs, reason)),
            Answer::Ours(facts) => {
                let log = &mut self.launched.log;
                log.read_new();
                let contradiction =
                    log.arguments.as_ref().map(|logged| log::contradiction(&self.server.flags, logged));
                if let Some(Some(reason)) = contradiction {
                    return Some((ServerOutcome::NotOurs, reason));
                }
                log.confirm(*facts, contradiction.is_some());
                Some((ServerOutcome::Ready, String::new()))
            }
        }
    }

    fn ready(mut self) -> Running {
        self.launched.log.set_serving();
        let mut facts = self.launched.log.facts.clone();
        facts.startup_s = Some(self.launched_at.elapsed().as_secs_f64());
        running(self.server, self.probe, facts, self.argv, Some(self.launched))
    }

    /// Ends the server, whose start failed. Without a `cause` its log says why.
    async fn fail(mut self, cause: Option<(ServerOutcome, String)>, exit_code: Option<i32>) -> StartFailure {
        let left = self.launched.end().await.err();
        let log = &mut self.launched.log;
        log.finish();
        let (outcome, reason) = cause.unwrap_or_else(|| log.outcome(exit_code));
        StartFailure {
            outcome,
            reason: match left {
                None => reason,
                Some(left) => format!("{reason}; {left}"),
            },
            exit_code,
            log_tail: log.tail(),
            facts: log.facts.clone(),
            argv: self.argv,
        }
    }
}

/// The URL at which this machine reaches a server that listens on a host.
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
    let probe = Probe::new(url, start.api_key.clone()).map_err(no_client)?;
    match probe.ask(start.server, true).await {
        Answer::Ours(facts) => Ok(running(start.server, probe, *facts, Vec::new(), None)),
        Answer::NotYet(reason) | Answer::NotOurs(reason) => Err(failure(ServerOutcome::NotOurs, reason)),
    }
}

fn running(
    server: &Server,
    probe: Probe,
    facts: Facts,
    argv: Vec<String>,
    launched: Option<LaunchedServer>,
) -> Running {
    Running {
        url: probe.url.clone(),
        model: facts.served_model.clone().unwrap_or_else(|| command::served_model(server)),
        facts,
        argv,
        probe,
        launched,
    }
}

/// The path of a server's log in its folder.
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
