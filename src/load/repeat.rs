//! Runs one repeat of a cell: opens connections, starts the clock, and sends what the schedule says.

use std::sync::Arc;

use reqwest::header::HeaderValue;
use tokio::{sync::watch, task::JoinSet, time::Instant};

use super::{
    closed,
    connection::Connect,
    error::LoadError,
    exchange::{Connection, Context},
    open,
    progress::Progress,
    schedule::Schedule,
    session::{Repeat, Session},
    sink::Sink,
};

/// Sends one repeat's requests to a server and hands the sink one record for each arrival, when it ends.
///
/// When `cancel` becomes true, requests in flight end as cancelled and no other starts.
///
/// # Errors
/// When the authority or the API key cannot be put in a header, or the sink fails.
pub async fn run_repeat<C: Connect, S: Sink>(
    repeat: Repeat,
    connect: C,
    progress: Arc<Progress>,
    cancel: watch::Receiver<bool>,
    sink: Arc<S>,
) -> Result<(), LoadError> {
    let ahead = match &repeat.schedule {
        Schedule::Closed(closed) => closed.streams as usize,
        Schedule::Open(open) => open::connections_ahead(open),
    };
    let connections = open_connections(ahead, &connect, cancel.clone()).await;
    let bearer = |key: &String| {
        let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| LoadError::ApiKey)?;
        value.set_sensitive(true);
        Ok(value)
    };
    let session = Arc::new(Session {
        context: Context {
            authority: HeaderValue::from_str(&repeat.authority)
                .map_err(|_| LoadError::Host(repeat.authority.clone()))?,
            path: format!("{}{}", repeat.base, repeat.requests.path()),
            authorization: repeat.api_key.as_ref().map(bearer).transpose()?,
            // The clock starts when the connections are open.
            epoch: Instant::now(),
        },
        connect,
        sink,
        progress,
        repeat,
    });
    match &session.repeat.schedule {
        Schedule::Closed(closed) => closed::run(&session, *closed, connections, cancel).await,
        Schedule::Open(open) => open::run(&session, open, connections, cancel).await,
    }
}

/// Opens connections concurrently. Those that fail are left out: the first request without a connection opens
/// one itself, and then has an outcome.
async fn open_connections<C: Connect>(
    count: usize,
    connect: &C,
    mut cancel: watch::Receiver<bool>,
) -> Vec<Connection<C>> {
    let mut opening = JoinSet::new();
    for _ in 0..count {
        let connect = connect.clone();
        opening.spawn(async move { Connection::open(&connect).await.ok() });
    }
    tokio::select! {
        connections = opening.join_all() => connections.into_iter().flatten().collect(),
        _ = cancel.wait_for(|cancelled| *cancelled) => Vec::new(),
    }
}
