//! Sends the requests of one repeat of a cell, and makes the `cell.json` of a cell.

use std::sync::Arc;

use camino::Utf8Path;
use jiff::Timestamp;
use tokio::sync::watch;

use super::token_counts::{CountError, TokenCounts};
use crate::{
    load::{self, ClientHealth, LoadError, Progress, Recorder, Records, Repeat, Target, Timer},
    manifest::{Engine, Inputs, Repeats},
    measure::{CellContext, CellOutcome, Watched},
    observe::{Observation, ObservedServer, Observer, ServerSide},
    plan::{Cell, Group},
    secret::Mask,
    server::{Address, Facts},
    store::CellFile,
    workload::{self, RequestError},
};

/// Why a repeat could not be measured: the `reason` of its cell.
#[derive(Debug, thiserror::Error)]
pub(super) enum MeasureError {
    #[error(transparent)]
    Requests(#[from] RequestError),
    #[error(transparent)]
    Tokens(#[from] CountError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the load client cannot start: {0}")]
    Start(#[from] std::io::Error),
    #[error("the thread of the load client panicked")]
    Panicked,
}

/// The server that a repeat is measured on, and what observes it.
pub(super) struct Client<'a> {
    pub(super) address: &'a Address,
    pub(super) api_key: Option<String>,
    /// The secrets that no record may contain.
    pub(super) mask: Mask,
    pub(super) observer: &'a Observer,
    pub(super) observed: ObservedServer,
    /// The vocabularies of the server.
    pub(super) token_counts: &'a mut TokenCounts,
    pub(super) progress: Arc<Progress>,
    /// Turns true when the repeat is abandoned.
    pub(super) cancel: watch::Receiver<bool>,
    /// Folder for records that are too many to keep in memory.
    pub(super) spill: &'a Utf8Path,
}

/// A finished repeat. The server is still being observed.
pub(super) struct Driven {
    pub(super) records: Records,
    pub(super) client: ClientHealth,
    /// Why a probe of a search ended before its last request.
    pub(super) ended_early: Option<String>,
    pub(super) observation: Observation,
}

/// The measurements of one repeat beside its records: the health of the client, and the server's side.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) client: ClientHealth,
    pub(super) ended_early: Option<String>,
    pub(super) server: ServerSide,
}

/// Sends the requests of one repeat, on a thread of its own so that nothing else delays the client's clock.
///
/// # Errors
/// When the requests cannot be made, or the client cannot start.
pub(super) async fn measure_once(
    cell: &Cell,
    repeat: u32,
    inputs: &Inputs,
    client: Client<'_>,
) -> Result<Driven, MeasureError> {
    let Client { address, api_key, mask, observer, observed, token_counts, progress, cancel, spill } = client;
    let requests = if workload::needs_vocabulary(&cell.spec) {
        let vocabulary =
            token_counts.vocabulary(&cell.spec, address, api_key.as_deref(), cancel.clone()).await?;
        workload::generated_requests(cell, inputs, &vocabulary, &address.model, repeat)?
    } else {
        workload::requests(cell, inputs, &address.model, repeat)?
    };
    let requests = Arc::new(requests);
    let target = Target::parse(&address.url)?;
    let load = Repeat {
        requests,
        schedule: load::schedule(cell, inputs, repeat)?,
        stop: cell.stop,
        warmup: cell.spec.warmup,
        timeout: cell.spec.timeout.duration(),
        retries: cell.spec.retries,
        timer: Timer::Kernel,
        authority: target.authority(),
        base: target.base().to_owned(),
        api_key,
    };
    // Only now: the requests that count tokens are not part of the cell.
    let observation = observer.observe(observed).await;
    let sink = Arc::new(Watched::new(Recorder::new(spill.as_std_path(), mask)?, cell));
    let (done, records) = tokio::sync::oneshot::channel();
    let drive = move || -> Result<(Records, ClientHealth, Option<String>), MeasureError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let driven = load::run_repeat(load, target, progress, cancel, sink.clone());
        let (driven, health) = runtime.block_on(load::with_health(driven));
        driven?;
        let (recorder, ended_early) = Arc::into_inner(sink).ok_or(MeasureError::Panicked)?.into_parts();
        Ok((recorder.finish()?, health, ended_early))
    };
    std::thread::Builder::new().name("client".into()).spawn(move || {
        // The receiver is gone when the repeat is abandoned.
        let _ = done.send(drive());
    })?;
    let (records, client, ended_early) = records.await.map_err(|_| MeasureError::Panicked)??;
    Ok(Driven { records, client, ended_early, observation })
}

/// The `cell.json` of a cell without numbers.
pub(super) fn unmeasured(group: &Group, cell: &Cell, outcome: CellOutcome, reason: String) -> CellFile {
    CellFile::without_numbers(group, cell, outcome, Some(reason), Timestamp::now())
}

/// What a cell's records do not say about themselves, but for the client's health and the server's metrics.
pub(super) fn context<'a>(
    group: &Group,
    cell: &'a Cell,
    repeats: &'a Repeats,
    inputs: &Inputs,
    facts: &Facts,
) -> CellContext<'a> {
    CellContext {
        spec: &cell.spec,
        repeats,
        start: cell.start(),
        engine_simulated: group.server.engine == Engine::Sim,
        // Generated prompts are not counted: each request has its own.
        inputs: inputs.count(&cell.spec).map_or(1, |count| count.map_or(usize::MAX, |count| count as usize)),
        flags_confirmed: facts.flags_confirmed,
        max_model_len: facts.max_model_len,
        prefix_caching: group.server.flags.switch("enable-prefix-caching"),
        client: &[],
        server: None,
    }
}

/// The `cell.json` of a measured cell.
pub(super) fn measured(
    group: &Group,
    cell: &Cell,
    context: &CellContext<'_>,
    repeats: &[Records],
    seen: Vec<Seen>,
    started_at: Timestamp,
) -> CellFile {
    let ended_early = seen.iter().find_map(|seen| seen.ended_early.clone());
    let (client, servers): (Vec<ClientHealth>, Vec<ServerSide>) =
        seen.into_iter().map(|seen| (seen.client, seen.server)).unzip();
    let server_side = ServerSide::pool(&servers);
    let context = CellContext { client: &client, server: server_side.as_ref(), ..*context };
    let file = CellFile::without_numbers(group, cell, CellOutcome::Ok, None, Timestamp::now())
        .with_records(repeats, &context);
    CellFile {
        server_side,
        server_side_repeats: if servers.len() > 1 { servers } else { Vec::new() },
        client,
        ended_early,
        started_at,
        // Summing up many records takes a while.
        finished_at: Timestamp::now(),
        ..file
    }
}
