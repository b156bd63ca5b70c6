//! Plan → servers → load → measures → store, telling [`Event`]s.

mod cell;
mod event;
mod forecast;
mod impossible;
mod launch;
mod loss;
mod provenance;
mod silence;
mod vocabularies;
mod walk;

use std::{collections::BTreeSet, pin::pin, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use self::{vocabularies::Vocabularies, walk::Walk};
use crate::{
    load,
    manifest::{Engine, Manifest},
    measure::CellOutcome,
    observe::Observer,
    plan::{Group, Plan, selects},
    server,
    store::{self, CellFile, Gpu, RunFile, RunFolder, StoreError},
};

pub use event::Event;

/// Everything a run needs beside its plan.
#[derive(Clone, Debug)]
pub struct Order {
    /// Where runs are stored.
    pub results: Utf8PathBuf,
    /// The run's name; made of time and hardware when absent.
    pub name: Option<String>,
    /// Patterns of the cells to measure; every cell when there is none. The others stay in the plan, for a later start.
    pub only: Vec<String>,
    /// The folder of the run to go on with.
    pub resume: Option<Utf8PathBuf>,
    /// The folder that holds the manifest, for its commit.
    pub manifest_folder: Utf8PathBuf,
    /// This binary.
    pub runner: String,
    /// The command line, for provenance.
    pub command: Vec<String>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The run's folder.
    pub folder: Utf8PathBuf,
    /// How many cells ended in each way, earlier starts included.
    pub outcomes: Vec<(CellOutcome, usize)>,
    /// Whether it was cut short.
    pub interrupted: bool,
}

/// Why a run could not go on.
#[derive(Debug)]
pub enum RunError {
    /// The disk, or a run that cannot be opened.
    Store(StoreError),
    /// What was measured before is not comparable; what differs.
    Fingerprint(Vec<String>),
    /// The manifest cannot be written down.
    Manifest(String),
    /// The person asked to stop before anything was begun.
    Interrupted,
}

impl From<StoreError> for RunError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Runs a plan, cell by cell; everything finished is on disk before the next cell starts.
///
/// # Errors
/// When nothing can be stored any more, or a resumed run is not comparable.
pub async fn run(
    manifest: &Manifest,
    plan: &Plan,
    order: &Order,
    emit: &mut (dyn FnMut(Event) + Send),
    stop: watch::Receiver<bool>,
) -> Result<Ended, RunError> {
    let simulated = plan.groups.iter().all(|group| group.server.engine == Engine::Sim);
    let (git_commit, git_dirty) = provenance::git(&order.runner, &order.manifest_folder).await;
    let started_at = Timestamp::now();
    let mut asked_to_stop = stop.clone();
    let gpus = tokio::select! {
        gpus = gpus(&order.runner, emit) => gpus,
        _ = asked_to_stop.wait_for(|stop| *stop) => return Err(RunError::Interrupted),
    };
    let name = order.name.clone().unwrap_or_else(|| run_name(plan, started_at));
    let mut file = RunFile {
        host: Some(provenance::host()),
        gpus,
        simulated,
        git_commit,
        git_dirty,
        ..RunFile::new(name, &order.command, plan.experiment.seed, started_at)
    };
    // Before anything is measured beside them.
    server::end_orphans(&mut |report| emit(Event::Warning(report))).await;
    if *stop.borrow() {
        return Err(RunError::Interrupted);
    }
    let effective = manifest.effective().map_err(|error| RunError::Manifest(error.to_string()))?;
    let mut done = BTreeSet::new();
    let folder = match &order.resume {
        Some(path) => {
            let folder = RunFolder::open(path)?;
            for told in folder.repair(plan, &effective)? {
                emit(Event::Warning(told));
            }
            let old = store::read(path)?;
            let differences = store::fingerprint_difference(&old.run, &file);
            if !differences.is_empty() {
                return Err(RunError::Fingerprint(differences));
            }
            if old.run.finished_at.is_none() {
                emit(Event::Warning(cut_off(path, old.cells.len())));
            }
            file = RunFile { resumed: old.run.resumed + 1, finished_at: None, ..old.run };
            done.extend(done_in(&old.cells));
            folder
        }
        None => {
            let experiment = &plan.experiment.name;
            if let Some(before) = store::unfinished(&order.results, experiment) {
                emit(Event::Warning(format!(
                    "{}; to go on with it: the same command with --resume; this is a new run",
                    cut_off(&before.folder, before.cells)
                )));
            }
            let folder = match &order.name {
                Some(name) => RunFolder::create(&order.results, experiment, name)?,
                None => RunFolder::create_free(&order.results, experiment, &file.name)?,
            };
            file.name = folder.name().to_owned();
            folder
        }
    };
    let folder = folder.write_beginning(&manifest.text, &effective, plan, &file)?;
    let cells = || plan.groups.iter().flat_map(|group| &group.cells);
    let earlier = cells().filter(|cell| done.contains(&cell.id)).count();
    let left_out = cells().filter(|cell| !selects(&order.only, &cell.id));
    let settled: BTreeSet<String> = left_out.map(|cell| cell.id.clone()).chain(done).collect();
    let todo = |group: &Group| {
        let cells = group.cells.iter();
        cells.filter(|cell| !settled.contains(&cell.id)).count()
    };
    emit(Event::Started {
        experiment: plan.experiment.name.clone(),
        folder: folder.path().to_owned(),
        cells: plan.groups.iter().map(todo).sum(),
        done: earlier,
        servers: plan.groups.iter().filter(|group| todo(group) > 0).count(),
    });
    let stored = store::read(folder.path())?;
    let mut walk = Walk {
        manifest,
        plan,
        order,
        folder,
        stored,
        settled,
        tables_due: Instant::now(),
        emit,
        stop,
        vocabularies: Vocabularies::default(),
        observer: Observer::start(Some(&order.runner)),
        open_files: load::raise_open_files(),
    };
    let ended = walk.whole().await;
    if let Err(error) = &ended {
        walk.cut_short(error);
    }
    ended
}

/// The GPUs of this machine, while whoever waits for a driver's tool that hangs is told so.
async fn gpus(runner: &str, emit: &mut (dyn FnMut(Event) + Send)) -> Vec<Gpu> {
    let mut asking = pin!(provenance::gpus(runner));
    let gpus = match timeout(MOMENT, &mut asking).await {
        Ok(gpus) => gpus,
        Err(_) => {
            emit(Event::Warning("nvidia-smi has not answered yet; waiting a little longer for it".into()));
            asking.await
        }
    };
    gpus.unwrap_or_else(|error| {
        emit(Event::Warning(error.to_string()));
        Vec::new()
    })
}

/// How long a person is left without a word.
const MOMENT: Duration = Duration::from_secs(2);

/// What became of an earlier start that did not end as it should.
fn cut_off(folder: &Utf8Path, cells: usize) -> String {
    let whole = if cells == 1 { "cell is" } else { "cells are" };
    format!(
        "{folder}: the last start of this run did not come to its end (it was killed or stopped at once, the machine went down, or its disk took no more); {cells} finished {whole} whole, and what it was at is to be measured again"
    )
}

/// The cells that need not be run again. One that was skipped because of another one is done if that one is: measured again,
/// a ladder may go on where it ended, and a server may fit that did not.
fn done_in(cells: &[CellFile]) -> BTreeSet<String> {
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

/// The most characters of a label that a run's name shows: a folder's name has an end.
const LONGEST_LABEL: usize = 64;

/// `20261124T063000Z-RTX2000`
fn run_name(plan: &Plan, now: Timestamp) -> String {
    let time = now.strftime("%Y%m%dT%H%M%SZ");
    let sim = plan.groups.iter().all(|group| group.server.engine == Engine::Sim);
    let label = if sim { Some("sim") } else { plan.hardware.label.as_deref() };
    let label: String = label
        .unwrap_or("local")
        .chars()
        .take(LONGEST_LABEL)
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .collect();
    format!("{time}-{label}")
}
