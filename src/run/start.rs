//! Starts or continues a run: records its provenance, opens its folder, and runs what is left of the plan.

use std::{collections::BTreeSet, pin::pin, time::Duration};

use camino::Utf8Path;
use jiff::Timestamp;
use serde_json::Value;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{Ended, Event, Order, RunError, provenance, sweep::Sweep, token_counts::TokenCounts};
use crate::{
    load,
    manifest::{Engine, Manifest},
    observe::Observer,
    plan::{Group, Plan, selects},
    search, server,
    store::{self, CellFile, Gpu, RunFile, RunFolder, StoreError},
};

/// A driver's tool that takes longer than this is announced.
const ANNOUNCED_AFTER: Duration = Duration::from_secs(2);
/// The most characters of a label in a run's name: the length of a folder's name is limited.
const LONGEST_LABEL: usize = 64;

type Emit<'a> = &'a mut (dyn FnMut(Event) + Send);

/// Runs a plan. Every finished cell is on disk before the next one starts. Once `stop` turns true the running
/// repeat is abandoned, and the run ends with what is stored.
///
/// # Errors
/// When the run cannot start, its results can no longer be stored, or the stored run that it continues is not
/// comparable.
pub async fn run(
    manifest: &Manifest,
    plan: &Plan,
    order: &Order,
    emit: Emit<'_>,
    stop: watch::Receiver<bool>,
) -> Result<Ended, RunError> {
    let clock = order.budget.start(plan.hardware.usd_per_hour, stop.clone());
    let stored = order.stored_run(&plan.experiment.name)?;
    let effective = manifest.effective()?;
    if let Some(ended) =
        stored.as_deref().and_then(|folder| already_complete(folder, plan, &effective, order))
    {
        return Ok(ended);
    }
    let file = new_run_file(manifest, plan, order, emit, stop.clone()).await?;
    // Before anything is measured next to them.
    server::end_orphans(&mut |warning| emit(Event::Warning(warning))).await;
    if *stop.borrow() {
        return Err(RunError::Interrupted);
    }
    let Opened { folder, file, done, plan } = match &stored {
        Some(path) => reopen(path, plan, &effective, file, emit)?,
        None => create(plan, order, file, emit)?,
    };
    let folder = folder.write_beginning(&manifest.text, &effective, &plan, &file)?;
    let cells = || plan.groups.iter().flat_map(|group| &group.cells);
    let earlier = cells().filter(|cell| done.contains(&cell.id)).count();
    let left_out = cells().filter(|cell| !selects(&order.only, &cell.id));
    let settled: BTreeSet<String> = left_out.map(|cell| cell.id.clone()).chain(done).collect();
    let todo = |group: &Group| group.cells.iter().filter(|cell| !settled.contains(&cell.id)).count();
    let is_searched =
        |group: &Group| plan.searches.iter().any(|search| search.server.as_ref() == Some(&group.id));
    emit(Event::Started {
        experiment: plan.experiment.name.clone(),
        folder: folder.path().to_owned(),
        cells: plan.groups.iter().map(todo).sum(),
        done: earlier,
        searches: plan.searches.len(),
        servers: plan.groups.iter().filter(|group| todo(group) > 0 || is_searched(group)).count(),
    });
    let stored = store::read(folder.path())?;
    let (clock, halted) = clock;
    let mut sweep = Sweep {
        manifest,
        order,
        folder,
        stored,
        settled,
        tables_due: Instant::now(),
        emit,
        interrupt: stop,
        stop: halted,
        clock,
        token_counts: TokenCounts::default(),
        observer: Observer::start(Some(&order.runner)),
        open_files: load::raise_open_files(),
    };
    let ended = sweep.run().await;
    if let Err(error) = &ended {
        sweep.report_cut_short(error);
    }
    ended
}

/// How the stored run ended, if it is finished and nothing of this plan is left to measure.
fn already_complete(folder: &Utf8Path, plan: &Plan, effective: &str, order: &Order) -> Option<Ended> {
    // A damaged run is not complete: it is repaired when it is opened.
    let stored = store::read(folder).ok()?;
    let done = done(&stored.cells);
    let mut cells = stored.plan.groups.iter().flat_map(|group| &group.cells);
    let complete = stored.run.finished_at.is_some()
        && stored.plan.without_probes() == *plan
        && stored.effective == effective
        && stored.plan.searches.iter().all(|search| search::next(&stored, search).is_none())
        && cells.all(|cell| done.contains(&cell.id) || !selects(&order.only, &cell.id));
    complete.then(|| Ended { already_complete: true, ..Ended::of(&stored, false) })
}

/// The provenance of a new run on this machine.
async fn new_run_file(
    manifest: &Manifest,
    plan: &Plan,
    order: &Order,
    emit: Emit<'_>,
    mut stop: watch::Receiver<bool>,
) -> Result<RunFile, RunError> {
    let (git_commit, git_dirty) = provenance::git(&order.runner, &order.manifest_folder).await;
    let started_at = Timestamp::now();
    let gpus = tokio::select! {
        gpus = gpus(&order.runner, emit) => gpus,
        _ = stop.wait_for(|stop| *stop) => return Err(RunError::Interrupted),
    };
    let name = order.name.clone().unwrap_or_else(|| run_name(manifest, plan, started_at));
    Ok(RunFile {
        host: Some(provenance::host()),
        gpus,
        simulated: is_simulated(manifest, plan),
        git_commit,
        git_dirty,
        ..RunFile::new(name, &order.command, plan.experiment.seed, started_at)
    })
}

/// The GPUs of this machine. A driver's tool that is slow to answer is announced.
async fn gpus(runner: &str, emit: Emit<'_>) -> Vec<Gpu> {
    let mut detection = pin!(provenance::gpus(runner));
    let gpus = match timeout(ANNOUNCED_AFTER, &mut detection).await {
        Ok(gpus) => gpus,
        Err(_) => {
            emit(Event::Warning("nvidia-smi has not answered yet; waiting a little longer for it".into()));
            detection.await
        }
    };
    gpus.unwrap_or_else(|error| {
        emit(Event::Warning(error.to_string()));
        Vec::new()
    })
}

/// A run's folder, and what is written into it when the run begins.
struct Opened {
    folder: RunFolder,
    file: RunFile,
    /// Ids of the cells that are done.
    done: BTreeSet<String>,
    /// The manifest's plan, with the probes of an earlier start.
    plan: Plan,
}

/// Opens a stored run to continue it, and repairs it where it is damaged.
fn reopen(
    path: &Utf8Path,
    plan: &Plan,
    effective: &str,
    new: RunFile,
    emit: Emit<'_>,
) -> Result<Opened, RunError> {
    let folder = RunFolder::open(path)?;
    for repaired in folder.repair(plan, effective)? {
        emit(Event::Warning(repaired));
    }
    let old = store::read(path)?;
    let differences = store::fingerprint_difference(&old.run, &new);
    if !differences.is_empty() {
        return Err(RunError::Fingerprint(differences));
    }
    if old.run.finished_at.is_none() {
        emit(Event::Warning(cut_off(path, old.cells.len())));
    }
    let file = RunFile { resumed: old.run.resumed + 1, finished_at: None, ..old.run };
    Ok(Opened { folder, file, done: done(&old.cells), plan: grown(&old.plan, plan) })
}

fn create(plan: &Plan, order: &Order, mut file: RunFile, emit: Emit<'_>) -> Result<Opened, StoreError> {
    let experiment = &plan.experiment.name;
    if let Some(before) = store::unfinished(&order.results, experiment) {
        emit(Event::Warning(format!(
            "{}; to continue it, add --resume to the command; this is a new run",
            cut_off(&before.folder, before.cells)
        )));
    }
    let folder = match &order.name {
        Some(name) => RunFolder::create(&order.results, experiment, name)?,
        None => RunFolder::create_free(&order.results, experiment, &file.name)?,
    };
    file.name = folder.name().to_owned();
    Ok(Opened { folder, file, done: BTreeSet::new(), plan: plan.clone() })
}

/// The plan to go on with: the stored one with its probes where it grew from the manifest's plan. After a
/// change of the manifest, searches begin anew, and probes that are measured already are taken over.
fn grown(stored: &Plan, plan: &Plan) -> Plan {
    if stored.without_probes() == *plan {
        return stored.clone();
    }
    let mut plan = plan.clone();
    for search in &mut plan.searches {
        // With the same expectation it asks for the same probes.
        let earlier = stored.searches.iter().find(|earlier| earlier.id == search.id);
        search.expected = earlier.and_then(|earlier| earlier.expected);
    }
    plan
}

/// Says that an earlier start of a run was killed.
fn cut_off(folder: &Utf8Path, cells: usize) -> String {
    format!(
        "{folder}: the last start of this run did not finish (it was killed or stopped at once, the machine went down, or the disk was full); finished cells kept: {cells}"
    )
}

/// The ids of the cells that need no new measurement. A cell that was skipped because of another one is done
/// only if that one is: measured again, a ladder may climb on, and a server may fit.
fn done(cells: &[CellFile]) -> BTreeSet<String> {
    let is_done = |id: &String| {
        let mut same = cells.iter().filter(|cell| cell.id == *id);
        same.any(|cell| cell.outcome.is_done())
    };
    let is_out_of_memory = |server: &String| {
        let mut same = cells.iter().filter(|cell| cell.server == *server);
        same.any(|cell| cell.outcome.is_on_oom_surface())
    };
    cells
        .iter()
        .filter(|cell| cell.outcome.is_done())
        .filter(|cell| cell.ladder_ended_at.as_ref().is_none_or(is_done))
        .filter(|cell| cell.proved_impossible_by.as_ref().is_none_or(is_out_of_memory))
        .map(|cell| cell.id.clone())
        .collect()
}

/// Whether the embedded engine answers every cell.
fn is_simulated(manifest: &Manifest, plan: &Plan) -> bool {
    // Searches over servers begin without one.
    let declared = || manifest.server.get("engine").and_then(Value::as_str) == Some("sim");
    match plan.groups.as_slice() {
        [] => declared(),
        groups => groups.iter().all(|group| group.server.engine == Engine::Sim),
    }
}

/// The name of a new run: `20261124T063000Z-RTX2000`.
fn run_name(manifest: &Manifest, plan: &Plan, now: Timestamp) -> String {
    let time = now.strftime("%Y%m%dT%H%M%SZ");
    let label = if is_simulated(manifest, plan) { Some("sim") } else { plan.hardware.label.as_deref() };
    let label: String = label
        .unwrap_or("local")
        .chars()
        .take(LONGEST_LABEL)
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .collect();
    format!("{time}-{label}")
}
