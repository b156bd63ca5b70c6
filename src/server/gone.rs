//! A server that lives and serves no more: its first process does not end, or not yet.

use super::{Death, Running, outcome::ServerOutcome, probe::Probe, tree::Listener};

impl Running {
    /// How a server ended that lives and serves no more, asked when no request is in flight and some have failed: nothing of
    /// it listens on its port any more, or it calls itself unhealthy, as vLLM does whose engine died. `None` while it serves,
    /// and for an attached server.
    pub async fn gone(&mut self) -> Option<Death> {
        let process = self.process.as_mut()?;
        let port = process.port();
        let why = match process.listener() {
            Listener::Nobody => format!("none listens on port {port} any more"),
            Listener::Foreign => format!("another program listens on port {port}"),
            Listener::Ours | Listener::Unknown => Probe::new(self.url.clone(), None).ailment().await?,
        };
        process.log.look_to_the_end();
        // What a server says that lost its engine for want of memory.
        let (outcome, reason) = match process.log.conclude(None) {
            (outcome @ ServerOutcome::Oom(_), said) => (outcome, said),
            _ => (ServerOutcome::Crashed, format!("its processes live and serve no more: {why}")),
        };
        Some(Death { outcome, reason, exit_code: None, log_tail: process.log.tail() })
    }
}
