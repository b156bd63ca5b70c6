//! Plan → servers → load → measures → store, telling [`Event`]s.

mod cell;
mod event;
mod provenance;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use camino::Utf8PathBuf;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::{
    load::{Progress, Records},
    manifest::{Engine, Manifest},
    measure::CellOutcome,
    plan::{Group, Plan, Stop, Turn},
    server::{self, Running, ServerOutcome, Start, StartFailure},
    store::{self, CellFile, EngineFact, FORMAT, RunFile, RunFolder, ServerFile, StoreError},
};

pub use event::Event;

/// Everything a run needs beside its plan.
#[derive(Clone, Debug)]
pub struct Order {
    /// Where runs are stored.
    pub results: Utf8PathBuf,
    /// The run's name; made of time and hardware when absent.
    pub name: Option<String>,
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
    let simulated = plan
        .groups
        .iter()
        .all(|group| group.server.engine == Engine::Sim);
    let (git_commit, git_dirty) = provenance::git(&order.manifest_folder);
    let started_at = Timestamp::now();
    let mut file = RunFile {
        format: FORMAT,
        name: order
            .name
            .clone()
            .unwrap_or_else(|| run_name(plan, started_at)),
        tool: provenance::tool(),
        command: order.command.clone(),
        host: provenance::host(),
        gpus: provenance::gpus(),
        engine: None,
        simulated,
        seed: plan.experiment.seed,
        started_at,
        finished_at: None,
        resumed: 0,
        git_commit,
        git_dirty,
    };
    let mut done = BTreeSet::new();
    let folder = match &order.resume {
        Some(path) => {
            let folder = RunFolder::open(path)?;
            let old = store::read(path)?;
            let differences = store::fingerprint_difference(&old.run, &file);
            if !differences.is_empty() {
                return Err(RunError::Fingerprint(differences));
            }
            file = RunFile {
                resumed: old.run.resumed + 1,
                ..old.run
            };
            done.extend(
                old.cells
                    .into_iter()
                    .filter(|cell| cell.outcome.is_done())
                    .map(|cell| cell.id),
            );
            folder
        }
        None => RunFolder::create(&order.results, &plan.experiment.name, &file.name)?,
    };
    folder.write_text("manifest.toml", &manifest.text)?;
    folder.write_text(
        "effective.toml",
        &manifest.effective().map_err(RunError::Manifest)?,
    )?;
    folder.write_plan(plan)?;
    folder.write_run(&file)?;
    let todo = |group: &Group| {
        group
            .cells
            .iter()
            .filter(|cell| !done.contains(&cell.id))
            .count()
    };
    emit(Event::Started {
        experiment: plan.experiment.name.clone(),
        folder: folder.path().to_owned(),
        cells: plan.groups.iter().map(todo).sum(),
        done: plan
            .groups
            .iter()
            .flat_map(|group| &group.cells)
            .filter(|cell| done.contains(&cell.id))
            .count(),
        servers: plan.groups.iter().filter(|group| todo(group) > 0).count(),
    });
    let mut walk = Walk {
        manifest,
        plan,
        order,
        folder,
        file,
        emit,
        stop,
    };
    for group in &plan.groups {
        if *walk.stop.borrow() {
            break;
        }
        walk.group(group, &done).await?;
    }
    walk.finish()
}

/// `20261124T063000Z-RTX2000`
fn run_name(plan: &Plan, now: Timestamp) -> String {
    let time = now.strftime("%Y%m%dT%H%M%SZ");
    let sim = plan
        .groups
        .iter()
        .all(|group| group.server.engine == Engine::Sim);
    let label = if sim {
        Some("sim")
    } else {
        plan.hardware.label.as_deref()
    };
    let label: String = label
        .unwrap_or("local")
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect();
    format!("{time}-{label}")
}

struct Walk<'a> {
    manifest: &'a Manifest,
    plan: &'a Plan,
    order: &'a Order,
    folder: RunFolder,
    file: RunFile,
    emit: &'a mut (dyn FnMut(Event) + Send),
    stop: watch::Receiver<bool>,
}

impl Walk<'_> {
    /// One server and its cells.
    async fn group(&mut self, group: &Group, done: &BTreeSet<String>) -> Result<(), RunError> {
        for cell in group.cells.iter().filter(|cell| !done.contains(&cell.id)) {
            if let Some(reason) = &cell.skip {
                self.store(
                    cell::unmeasured(
                        group,
                        cell,
                        CellOutcome::Skipped,
                        reason.clone(),
                        Vec::new(),
                    ),
                    &[],
                )?;
            }
        }
        let turns: Vec<Turn> = group
            .turns(&self.plan.experiment)
            .into_iter()
            .filter(|turn| !done.contains(&group.cells[turn.cell].id))
            .collect();
        let mut collected: BTreeMap<usize, Vec<Records>> = BTreeMap::new();
        let mut begun: BTreeMap<usize, Timestamp> = BTreeMap::new();
        let mut lost: BTreeSet<usize> = BTreeSet::new();
        let mut running: Option<Running> = None;
        for turn in turns {
            if *self.stop.borrow() {
                break;
            }
            if lost.contains(&turn.cell) {
                continue;
            }
            let cell = &group.cells[turn.cell];
            let mut alive = match running.take() {
                Some(alive) => alive,
                None => match self.start(group).await? {
                    Ok(alive) => alive,
                    Err(failed) if *self.stop.borrow() => {
                        let _ = failed;
                        break;
                    }
                    Err(failed) => {
                        let at_least_one = !collected.is_empty() || !lost.is_empty();
                        return self.give_up(group, done, &lost, &failed, at_least_one);
                    }
                },
            };
            begun.entry(turn.cell).or_insert_with(Timestamp::now);
            let repeats = self.plan.experiment.repeats;
            match self.turn(group, turn, &mut alive).await {
                Turned::Records(records) => {
                    running = Some(alive);
                    let kept = collected.entry(turn.cell).or_default();
                    kept.push(records);
                    if kept.len() as u32 == repeats {
                        let records = collected.remove(&turn.cell).unwrap_or_default();
                        let started = begun[&turn.cell];
                        if let Some(alive) = &running {
                            let file = cell::measured(
                                group,
                                cell,
                                &self.manifest.inputs,
                                alive,
                                &records,
                                started,
                            );
                            self.store(file, &records)?;
                        }
                    }
                }
                Turned::Interrupted => {
                    running = Some(alive);
                    break;
                }
                Turned::Failed(reason) => {
                    running = Some(alive);
                    lost.insert(turn.cell);
                    self.store(
                        cell::unmeasured(group, cell, CellOutcome::Failed, reason, Vec::new()),
                        &[],
                    )?;
                }
                Turned::Died(death) => {
                    let outcome = match death.outcome {
                        ServerOutcome::Oom(_) => CellOutcome::Oom,
                        _ => CellOutcome::Crashed,
                    };
                    (self.emit)(Event::ServerEnded {
                        server: group.id.clone(),
                        outcome: death.outcome,
                        reason: death.reason.clone(),
                        log: Some(server::log_path(
                            &self.folder.path().join("servers").join(&group.id),
                        )),
                    });
                    lost.insert(turn.cell);
                    self.store(
                        cell::unmeasured(group, cell, outcome, death.reason, death.log_tail),
                        &[],
                    )?;
                    // What the API server left running ends before the next start.
                    self.end(alive).await;
                }
            }
        }
        if let Some(alive) = running {
            self.end(alive).await;
            (self.emit)(Event::ServerStopped {
                server: group.id.clone(),
            });
        }
        Ok(())
    }

    /// Ends a server; what it left behind is worth a word, and the run goes on.
    async fn end(&mut self, server: Running) {
        if let Some(left) = server.stop().await {
            (self.emit)(Event::Warning(left));
        }
    }

    async fn start(&mut self, group: &Group) -> Result<Result<Running, StartFailure>, RunError> {
        let folder = self.folder.server_folder(&group.id)?;
        let started_at = Timestamp::now();
        let recipe = server::recipe(&group.server);
        for (name, text) in [
            ("serve.sh", &recipe.serve_sh),
            ("config.yaml", &recipe.config_yaml),
        ] {
            self.folder
                .write_text(&format!("servers/{}/{name}", group.id), text)?;
        }
        (self.emit)(Event::ServerStarting {
            server: group.id.clone(),
            ready_within: group.server.ready_within.duration(),
        });
        let api_key = self.api_key(group);
        let emit = &mut *self.emit;
        let id = group.id.clone();
        let mut on_phase = |phase, line: &str| {
            emit(Event::ServerPhase {
                server: id.clone(),
                phase,
                line: line.to_owned(),
            });
        };
        let start = Start {
            server: &group.server,
            folder: &folder,
            runner: &self.order.runner,
            api_key,
        };
        let result = server::start(start, &mut on_phase, self.stop.clone()).await;
        let mut file = ServerFile {
            format: FORMAT,
            id: group.id.clone(),
            outcome: ServerOutcome::Ready,
            reason: None,
            argv: Vec::new(),
            axes: group.axes.clone(),
            facts: server::Facts::default(),
            exit_code: None,
            log_tail: Vec::new(),
            started_at,
        };
        match &result {
            Ok(running) => {
                file.facts = running.facts.clone();
                file.argv = self.shown(&running.argv);
                if self.file.engine.is_none() {
                    self.file.engine = Some(EngineFact {
                        name: engine_name(group.server.engine).to_owned(),
                        version: running.facts.engine_version.clone(),
                    });
                    self.folder.write_run(&self.file)?;
                }
                (self.emit)(Event::ServerReady {
                    server: group.id.clone(),
                    facts: running.facts.clone(),
                });
            }
            Err(failed) => {
                file.outcome = failed.outcome;
                file.reason = Some(failed.reason.clone());
                file.argv = self.shown(&failed.argv);
                file.facts = failed.facts.clone();
                file.exit_code = failed.exit_code;
                file.log_tail = failed.log_tail.clone();
                (self.emit)(Event::ServerEnded {
                    server: group.id.clone(),
                    outcome: failed.outcome,
                    reason: failed.reason.clone(),
                    log: Some(server::log_path(&folder)),
                });
            }
        }
        self.folder.write_server(&file)?;
        Ok(result)
    }

    /// An argument vector for the files: this binary's own path says nothing to the next person.
    fn shown(&self, argv: &[String]) -> Vec<String> {
        argv.iter()
            .map(|word| {
                if *word == self.order.runner {
                    "runner".to_owned()
                } else {
                    word.clone()
                }
            })
            .collect()
    }

    fn api_key(&self, group: &Group) -> Option<String> {
        let name = group.server.launch.api_key_env.as_ref()?;
        std::env::var(name).ok().filter(|key| !key.is_empty())
    }

    /// The server cannot be had: every cell of it that is not done says so.
    fn give_up(
        &mut self,
        group: &Group,
        done: &BTreeSet<String>,
        lost: &BTreeSet<usize>,
        failed: &StartFailure,
        again: bool,
    ) -> Result<(), RunError> {
        let outcome = match failed.outcome {
            ServerOutcome::Oom(_) => CellOutcome::Oom,
            ServerOutcome::KvTooSmall => CellOutcome::DoesNotFit,
            _ => CellOutcome::ServerFailed,
        };
        let prefix = if again {
            "started again after a crash: "
        } else {
            ""
        };
        for (index, cell) in group.cells.iter().enumerate() {
            let stored = done.contains(&cell.id) || lost.contains(&index) || cell.skip.is_some();
            if stored
                || self
                    .folder
                    .path()
                    .join("cells")
                    .join(&cell.id)
                    .join("cell.json")
                    .exists()
                    && again
            {
                continue;
            }
            let reason = format!("{prefix}{}: {}", failed.outcome, failed.reason);
            self.store(
                cell::unmeasured(group, cell, outcome, reason, failed.log_tail.clone()),
                &[],
            )?;
        }
        Ok(())
    }

    /// One repeat of one cell, while the server's life is watched.
    async fn turn(&mut self, group: &Group, turn: Turn, alive: &mut Running) -> Turned {
        let cell = &group.cells[turn.cell];
        let progress = Arc::new(Progress::default());
        (self.emit)(Event::CellStarted {
            cell: cell.id.clone(),
            repeat: turn.repeat,
            repeats: self.plan.experiment.repeats,
            requests: match cell.stop {
                Stop::Requests(requests) => Some(requests),
                Stop::Duration(_) => None,
            },
            progress: progress.clone(),
        });
        let (cancel, cancelled) = watch::channel(false);
        // Watching the server borrows it, and the client needs its address: the address is copied out first.
        let seat = alive.address();
        let client = cell::Client {
            address: &seat,
            api_key: self.api_key(group),
            progress,
            cancel: cancelled,
            spill: self.folder.path(),
        };
        let measuring = cell::measure_once(cell, turn.repeat, &self.manifest.inputs, client);
        let mut measuring = std::pin::pin!(measuring);
        let mut stop = self.stop.clone();
        let ending = tokio::select! {
            records = &mut measuring => match records {
                Ok(records) => Turned::Records(records),
                Err(reason) => Turned::Failed(reason),
            },
            death = alive.died() => Turned::Died(death),
            _ = stop.wait_for(|stop| *stop) => Turned::Interrupted,
        };
        if !matches!(ending, Turned::Records(_) | Turned::Failed(_)) {
            let _ = cancel.send(true);
            let _ = measuring.await;
        }
        ending
    }

    fn store(&mut self, file: CellFile, records: &[Records]) -> Result<(), RunError> {
        self.folder.write_cell(&file, records)?;
        let run = store::read(self.folder.path())?;
        self.folder.write_tables(&run)?;
        (self.emit)(Event::CellFinished {
            cell: file.id,
            outcome: file.outcome,
            reason: file.reason,
            throughput_tok_s: file
                .summary
                .as_ref()
                .and_then(|summary| summary.throughput_tok_s),
            p95_ttft_ms: file
                .summary
                .as_ref()
                .and_then(|summary| summary.ttft.as_ref())
                .map(|ttft| ttft.p95_ms),
            errors: file
                .summary
                .as_ref()
                .map_or(0, |summary| summary.counts.errors()),
        });
        Ok(())
    }

    fn finish(mut self) -> Result<Ended, RunError> {
        self.file.finished_at = Some(Timestamp::now());
        self.folder.write_run(&self.file)?;
        let stored = store::read(self.folder.path())?;
        self.folder.write_tables(&stored)?;
        let mut outcomes: BTreeMap<CellOutcome, usize> = BTreeMap::new();
        for cell in &stored.cells {
            *outcomes.entry(cell.outcome).or_default() += 1;
        }
        let interrupted = *self.stop.borrow();
        if interrupted {
            (self.emit)(Event::Interrupted);
        }
        Ok(Ended {
            folder: self.folder.path().to_owned(),
            outcomes: outcomes.into_iter().collect(),
            interrupted,
        })
    }
}

enum Turned {
    Records(Records),
    Interrupted,
    Failed(String),
    Died(server::Death),
}

fn engine_name(engine: Engine) -> &'static str {
    match engine {
        Engine::Vllm => "vllm",
        Engine::Sim => "sim",
        Engine::Openai => "openai",
    }
}
