//! One repeat of one cell on a running server, and how it ended.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{sync::watch, time::timeout};

use super::{
    Event,
    cell::{self, Seen},
    credentials::{api_key, mask},
    hang::wait_for_hang,
    sweep::Sweep,
};
use crate::{
    load::{Progress, Records},
    measure::CellOutcome,
    observe::ObservedServer,
    plan::{CellRepeat, Group, Stop},
    server::{self, Running, ServerOutcome},
    store::Attempt,
};

/// How long to wait for the news that a server has ended.
const CRASH_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) enum TurnEnd {
    /// The repeat was measured.
    Measured(Records, Box<Seen>),
    /// The person asked to stop.
    Interrupted,
    /// The client could not be set up.
    Failed(String),
    /// The server died or hung.
    Lost(Loss),
}

/// Why a turn was lost with its server.
pub(super) struct Loss {
    pub(super) cell: CellOutcome,
    pub(super) server: ServerOutcome,
    pub(super) reason: String,
    pub(super) log_tail: Vec<String>,
}

impl Sweep<'_> {
    /// Measures one repeat of one cell and watches the server meanwhile.
    pub(super) async fn turn(&mut self, group: &Group, turn: CellRepeat, alive: &mut Running) -> TurnEnd {
        let cell = &group.cells[turn.cell];
        let progress = Arc::new(Progress::default());
        let rule = cell.repeats(&self.stored.plan.experiment);
        let (at_least, at_most) = (rule.at_least(), rule.at_most());
        (self.emit)(Event::CellStarted {
            cell: cell.id.clone(),
            repeat: turn.repeat,
            at_least,
            at_most,
            requests: match cell.stop {
                Stop::Requests(requests) => Some(requests),
                Stop::Duration(_) => None,
            },
            progress: progress.clone(),
        });
        let (cancel, cancelled) = watch::channel(false);
        // Watching the server borrows it, so the client gets a copy of its address.
        let address = alive.address();
        let key = api_key(group);
        let measuring = cell::measure_once(
            cell,
            turn.repeat,
            &self.manifest.inputs,
            cell::Client {
                address: &address,
                mask: mask(group),
                api_key: key.clone(),
                observer: &self.observer,
                observed: ObservedServer {
                    url: address.url.clone(),
                    api_key: key,
                    every: self.stored.plan.experiment.scrape_every,
                    processes: alive.processes(),
                },
                token_counts: &mut self.token_counts,
                progress: progress.clone(),
                cancel: cancelled,
                spill: self.folder.path(),
            },
        );
        let mut measuring = std::pin::pin!(measuring);
        let mut stop = self.stop.clone();
        let hung_after = group.server.hung_after;
        let mut ended = false;
        let ending = tokio::select! {
            records = &mut measuring => match records {
                Ok(cell::Driven { records, client, ended_early, observation }) => {
                    ended = true;
                    match crash_behind_errors(&progress, alive).await {
                        Some(crash) => TurnEnd::Lost(crash.into()),
                        // Whatever happens to the server now, the repeat is complete.
                        None => {
                            let server = observation.end(progress.completed.load(Relaxed)).await;
                            TurnEnd::Measured(records, Box::new(Seen { client, ended_early, server }))
                        }
                    }
                }
                Err(error) => {
                    ended = true;
                    TurnEnd::Failed(error.to_string())
                }
            },
            crash = alive.crashed() => TurnEnd::Lost(crash.into()),
            waiting = wait_for_hang(&progress, hung_after.duration()) => TurnEnd::Lost(Loss {
                cell: CellOutcome::Hung,
                server: ServerOutcome::Crashed,
                reason: format!(
                    "hung: no output for {hung_after} (server.hung_after) with {waiting} requests in flight"
                ),
                log_tail: Vec::new(),
            }),
            _ = stop.wait_for(|stop| *stop) => TurnEnd::Interrupted,
        };
        if !ended {
            let _ = cancel.send(true);
            let _ = measuring.await;
        }
        match ending {
            TurnEnd::Lost(loss) if loss.cell == CellOutcome::Hung => {
                TurnEnd::Lost(Loss { log_tail: alive.log_tail(), ..loss })
            }
            other => other,
        }
    }
}

/// Returns how the server ended, or stopped serving, if requests failed because of that. The last request may
/// fail before the end of the server is known.
async fn crash_behind_errors(progress: &Progress, alive: &mut Running) -> Option<server::Crash> {
    if progress.errors.load(Relaxed) == 0 {
        return None;
    }
    if let Ok(crash) = timeout(CRASH_TIMEOUT, alive.crashed()).await {
        return Some(crash);
    }
    alive.stopped_serving().await
}

impl Loss {
    pub(super) fn into_attempt(self) -> Attempt {
        Attempt {
            outcome: self.cell,
            reason: self.reason,
            log_tail: self.log_tail,
            ended_at: Timestamp::now(),
        }
    }
}

impl From<server::Crash> for Loss {
    fn from(crash: server::Crash) -> Self {
        Self {
            cell: match crash.outcome {
                ServerOutcome::Oom(_) => CellOutcome::Oom,
                _ => CellOutcome::Crashed,
            },
            server: crash.outcome,
            reason: crash.reason,
            log_tail: crash.log_tail,
        }
    }
}
