//! One repeat of one cell on a running server, and what is stored of a cell.

use std::{collections::BTreeMap, sync::Arc};

use camino::Utf8Path;
use jiff::Timestamp;
use tokio::sync::watch;

use super::vocabularies::Vocabularies;
use crate::{
    load::{self, ClientHealth, LoadError, Progress, Recorder, Records, Repeat, Target, Timer},
    manifest::{Engine, Inputs},
    measure::{self, CellContext, CellOutcome},
    observe::{Observation, ObservedServer, Observer, ServerSide},
    plan::{Cell, Group},
    secret::Mask,
    server::{Address, Running},
    store::{CellFile, FORMAT},
    workload,
};

/// Whom the client asks, and who watches it.
pub(super) struct Client<'a> {
    pub(super) address: &'a Address,
    pub(super) api_key: Option<String>,
    /// What no record may show, though the server says it.
    pub(super) mask: Mask,
    /// Who looks at the server meanwhile, and at what.
    pub(super) observer: &'a Observer,
    pub(super) observed: ObservedServer,
    /// What is known of the server's tokens.
    pub(super) vocabularies: &'a mut Vocabularies,
    pub(super) progress: Arc<Progress>,
    /// Turns true when the repeat is given up.
    pub(super) cancel: watch::Receiver<bool>,
    /// Where records go that memory shall not hold.
    pub(super) spill: &'a Utf8Path,
}

/// One repeat that was driven to its end, while the server is still being looked at.
pub(super) struct Driven {
    pub(super) records: Records,
    pub(super) client: ClientHealth,
    pub(super) observation: Observation,
}

/// What was seen of one repeat beside its records: our own client, and the server.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) client: ClientHealth,
    pub(super) server: ServerSide,
}

/// Drives one repeat on a thread of its own, so that nothing else delays the client's clock.
pub(super) async fn measure_once(
    cell: &Cell,
    repeat: u32,
    inputs: &Inputs,
    client: Client<'_>,
) -> Result<Driven, String> {
    let Client { address, api_key, mask, observer, observed, vocabularies, progress, cancel, spill } = client;
    let requests = if workload::needs_vocabulary(&cell.spec) {
        let vocabulary = vocabularies.of(&cell.spec, address, api_key.as_deref(), cancel.clone()).await?;
        workload::generated_requests(cell, inputs, &vocabulary, &address.model, repeat)
            .map_err(|error| error.to_string())?
    } else {
        workload::requests(cell, inputs, &address.model, repeat).map_err(|error| error.to_string())?
    };
    let requests = Arc::new(requests);
    let text = |error: LoadError| error.to_string();
    let target = Target::parse(&address.url).map_err(text)?;
    let repeat = Repeat {
        requests,
        schedule: load::schedule(cell, inputs, repeat).map_err(text)?,
        stop: cell.stop,
        warmup: cell.spec.warmup,
        timeout: cell.spec.timeout.duration(),
        retries: cell.spec.retries,
        timer: Timer::Kernel,
        authority: target.authority(),
        base: target.base().to_owned(),
        api_key,
    };
    // Only now: what the server was asked to prepare the cell is no part of it.
    let observation = observer.observe(observed).await;
    let sink = Arc::new(Recorder::new(spill.as_std_path(), mask).map_err(text)?);
    let (done, records) = tokio::sync::oneshot::channel();
    let driving = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let result = match runtime {
            Ok(runtime) => {
                let driven = load::run_repeat(repeat, target, progress, cancel, sink.clone());
                let (driven, health) = runtime.block_on(load::with_health(driven));
                driven.map_err(text).and_then(|()| {
                    let records = Arc::into_inner(sink)
                        .ok_or_else(|| "a stream of the client outlived its cell".to_owned())?
                        .finish()
                        .map_err(text)?;
                    Ok((records, health))
                })
            }
            Err(error) => Err(format!("the client cannot start: {error}")),
        };
        let _ = done.send(result);
    };
    std::thread::Builder::new()
        .name("client".into())
        .spawn(driving)
        .map_err(|error| format!("the client cannot start: {error}"))?;
    let (records, client) = records.await.map_err(|_| "the client's thread failed".to_owned())??;
    Ok(Driven { records, client, observation })
}

/// What is stored of a cell that has no numbers.
pub(super) fn unmeasured(
    group: &Group,
    cell: &Cell,
    outcome: CellOutcome,
    reason: String,
    log_tail: Vec<String>,
) -> CellFile {
    let now = Timestamp::now();
    CellFile {
        format: FORMAT,
        id: cell.id.clone(),
        workload: cell.workload.clone(),
        server: group.id.clone(),
        outcome,
        reason: Some(reason),
        simulated: group.server.engine == Engine::Sim,
        predicted: false,
        ladder_ended_at: None,
        proved_impossible_by: None,
        load: cell.load_values(),
        axes: group.axes.iter().chain(&cell.axes).map(|(k, v)| (k.clone(), v.clone())).collect(),
        objective: cell.spec.objective,
        slo: cell.spec.slo.clone(),
        summary: None,
        reported: BTreeMap::new(),
        repeats: Vec::new(),
        server_side: None,
        server_side_repeats: Vec::new(),
        client: Vec::new(),
        client_totals: None,
        verdicts: Vec::new(),
        timeline: Vec::new(),
        errors: Vec::new(),
        log_tail,
        attempts: Vec::new(),
        started_at: now,
        finished_at: now,
    }
}

/// What is stored of a measured cell.
pub(super) fn measured(
    group: &Group,
    cell: &Cell,
    inputs: &Inputs,
    running: &Running,
    repeats: &[Records],
    seen: Vec<Seen>,
    started_at: Timestamp,
) -> CellFile {
    let (clients, servers): (Vec<ClientHealth>, Vec<ServerSide>) =
        seen.into_iter().map(|seen| (seen.client, seen.server)).unzip();
    let server_side = ServerSide::pool(&servers);
    let asked = CellContext {
        spec: &cell.spec,
        start: cell.start(),
        engine_simulated: group.server.engine == Engine::Sim,
        // Made prompts have no number: each request has its own.
        inputs: inputs.count(&cell.spec).map_or(1, |count| count.map_or(usize::MAX, |count| count as usize)),
        flags_confirmed: running.facts.flags_confirmed,
        max_model_len: running.facts.max_model_len,
        prefix_caching: group.server.flags.switch("enable-prefix-caching"),
        client: &clients,
        server: server_side.as_ref(),
    };
    let each: Vec<_> = repeats.iter().map(|records| measure::summarize(records, &asked)).collect();
    // A single repeat is its own pool.
    let summary = match &each[..] {
        [one] => one.clone(),
        _ => measure::pool(repeats, &asked),
    };
    let verdicts = measure::judge(&summary, &each, repeats, &asked);
    let errors = measure::common_errors(repeats);
    let outcome = measure::outcome(&summary);
    let reason = match outcome {
        CellOutcome::Ok => String::new(),
        _ => errors.first().map_or_else(String::new, |(error, count)| format!("{count} × {error}")),
    };
    CellFile {
        server_side,
        server_side_repeats: if servers.len() > 1 { servers } else { Vec::new() },
        client: clients,
        client_totals: Some(measure::totals(repeats)),
        reason: (!reason.is_empty()).then_some(reason),
        timeline: repeats.last().map(measure::timeline).unwrap_or_default(),
        repeats: if each.len() > 1 { each } else { Vec::new() },
        summary: Some(summary),
        reported: BTreeMap::new(),
        verdicts,
        errors,
        started_at,
        finished_at: Timestamp::now(),
        ..unmeasured(group, cell, outcome, String::new(), Vec::new())
    }
}
