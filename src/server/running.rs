//! A server that is ready: its address, how it is watched, and how it is stopped.

use super::{
    launched::LaunchedServer,
    outcome::{Facts, ServerOutcome},
    probe::Probe,
    process::{ProcessTree, tree::Listener},
};

/// A server that is ready. When this is dropped, a launched server ends.
#[derive(Debug)]
pub struct Running {
    /// Its URL, `http://host:port`.
    pub url: String,
    /// The name that requests use for the model.
    pub model: String,
    /// What it reported about itself.
    pub facts: Facts,
    /// The argument vector; empty for an attached server.
    pub argv: Vec<String>,
    pub(super) probe: Probe,
    /// Absent for an attached server.
    pub(super) launched: Option<LaunchedServer>,
}

/// How a server failed after it was ready.
#[derive(Clone, Debug)]
pub struct Crash {
    /// Crashed, or out of memory under load.
    pub outcome: ServerOutcome,
    /// The log line that explains it, or how it ended.
    pub reason: String,
    /// Its exit code, if known; a negative one is a signal.
    pub exit_code: Option<i32>,
    /// The last lines of its log.
    pub log_tail: Vec<String>,
}

/// Where requests go.
#[derive(Clone, Debug)]
pub struct Address {
    /// `http://host:port`
    pub url: String,
    /// The name that requests use for the model.
    pub model: String,
}

impl Running {
    /// Where requests go.
    pub fn address(&self) -> Address {
        Address { url: self.url.clone(), model: self.model.clone() }
    }

    /// The server's process tree; absent for an attached server.
    pub fn processes(&self) -> Option<ProcessTree> {
        self.launched.as_ref().map(LaunchedServer::tree)
    }

    /// Waits until the server's first process ends, whatever its exit code. Never returns for an attached
    /// server. Cancel safe.
    pub async fn crashed(&mut self) -> Crash {
        let Some(launched) = &mut self.launched else {
            return std::future::pending().await;
        };
        let exit_code = launched.wait().await;
        launched.log.finish();
        let (outcome, reason) = launched.log.outcome(exit_code);
        Crash { outcome, reason, exit_code, log_tail: launched.log.tail() }
    }

    /// Checks whether a server whose processes live has stopped serving: nothing of it listens on its port
    /// any more, or it reports itself unhealthy, as vLLM does when its engine has died. Meant for when
    /// requests failed and none is in flight. `None` while it serves, and for an attached server.
    pub async fn stopped_serving(&mut self) -> Option<Crash> {
        let launched = self.launched.as_mut()?;
        let port = launched.port();
        let reason = match launched.listener() {
            Listener::Nobody => format!("nothing listens on port {port} any more"),
            Listener::Foreign => format!("another program listens on port {port}"),
            Listener::Ours | Listener::Unknown => self.probe.health_failure().await?,
        };
        launched.log.read_to_end();
        let (outcome, reason) = match launched.log.outcome(None) {
            // An engine that ran out of memory says so in the log.
            (outcome @ ServerOutcome::Oom(_), line) => (outcome, line),
            _ => {
                let reason = format!("its processes are alive but no longer serve: {reason}");
                (ServerOutcome::Crashed, reason)
            }
        };
        Some(Crash { outcome, reason, exit_code: None, log_tail: launched.log.tail() })
    }

    /// The last lines of the server's log so far; empty for an attached server.
    pub fn log_tail(&mut self) -> Vec<String> {
        let Some(launched) = &mut self.launched else {
            return Vec::new();
        };
        launched.log.read_to_end();
        launched.log.tail()
    }

    /// Ends the server's process tree, then waits until its port and its GPU's memory are free again. Returns
    /// what could not be ended or freed, as a sentence. An attached server is left alone.
    pub async fn stop(self) -> Option<String> {
        self.launched?.end().await.err().map(|error| error.to_string())
    }
}
