//! Starts the server of a group and stores how the start went.

use jiff::Timestamp;

use super::{Event, RunError, credentials::api_key, sweep::Sweep};
use crate::{
    manifest::Engine,
    plan::Group,
    server::{self, Running, ServerOutcome, Start, StartFailure},
    store::{EngineFact, ServerFile},
};

impl Sweep<'_> {
    /// Starts the server of a group and stores `server.json`. An interrupted start is not stored: it tells
    /// nothing about the server.
    pub(super) async fn start(&mut self, group: &Group) -> Result<Result<Running, StartFailure>, RunError> {
        let folder = self.folder.server_folder(&group.id)?;
        let started_at = Timestamp::now();
        self.folder.write_recipe(group)?;
        (self.emit)(Event::ServerStarting {
            server: group.id.clone(),
            ready_within: group.server.ready_within.duration(),
        });
        let api_key = api_key(group);
        let emit = &mut *self.emit;
        let id = group.id.clone();
        let mut on_phase = |phase, line: &str| {
            emit(Event::ServerPhase { server: id.clone(), phase, line: line.to_owned() });
        };
        let start = Start { server: &group.server, folder: &folder, runner: &self.order.runner, api_key };
        let result = server::start(start, &mut on_phase, self.stop.clone()).await;
        let mut file = ServerFile::new(group, started_at);
        let result = match result {
            Ok(running) => {
                file.facts = running.facts.clone();
                file.argv = self.portable(&running.argv);
                if let Some(difference) = self.version_difference(&file) {
                    self.end(running).await;
                    return Err(RunError::Fingerprint(vec![difference]));
                }
                (self.emit)(Event::ServerReady { server: group.id.clone(), facts: running.facts.clone() });
                Ok(running)
            }
            Err(failed) => {
                file.outcome = failed.outcome;
                file.reason = Some(failed.reason.clone());
                file.argv = self.portable(&failed.argv);
                file.facts = failed.facts.clone();
                file.exit_code = failed.exit_code;
                file.log_tail = failed.log_tail.clone();
                (self.emit)(Event::ServerEnded {
                    server: group.id.clone(),
                    outcome: failed.outcome,
                    reason: failed.reason.clone(),
                    // An attached server has none.
                    log: Some(server::log_path(&folder)).filter(|log| log.exists()),
                });
                if failed.outcome == ServerOutcome::Interrupted {
                    return Ok(Err(failed));
                }
                Err(failed)
            }
        };
        file.follow(self.stored.servers.iter().find(|earlier| earlier.id == file.id));
        let mut stored = self.folder.write_server(&file).map_err(RunError::from);
        if let (Ok(()), Ok(running)) = (&stored, &result) {
            stored = self.store_engine(group, running);
        }
        if let Err(error) = stored {
            if let Ok(running) = result {
                self.end(running).await;
            }
            return Err(error);
        }
        self.stored.put_server(file);
        Ok(result)
    }

    /// Describes the difference when an earlier start of this server in the run had another engine version.
    /// Two servers of a run may have two versions; one server may not.
    fn version_difference(&self, file: &ServerFile) -> Option<String> {
        let same = |server: &&ServerFile| server.id == file.id;
        let before = self.stored.servers.iter().find(same)?;
        let old = before.facts.engine_version.as_ref()?;
        let new = file.facts.engine_version.as_ref()?;
        (old != new).then(|| format!("engine version of {}: {old} → {new}", file.id))
    }

    /// Stores the engine and version that the first ready server reports.
    fn store_engine(&mut self, group: &Group, running: &Running) -> Result<(), RunError> {
        if self.stored.run.engine.is_none() {
            self.stored.run.engine = Some(EngineFact {
                name: engine_name(group.server.engine).to_owned(),
                version: running.facts.engine_version.clone(),
            });
            self.folder.write_run(&self.stored.run)?;
        }
        Ok(())
    }

    /// An argument vector for the files, with `runner` in place of the path of this binary.
    fn portable(&self, argv: &[String]) -> Vec<String> {
        let portable = |word: &String| {
            let own = *word == self.order.runner;
            if own { "runner".to_owned() } else { word.clone() }
        };
        argv.iter().map(portable).collect()
    }
}

fn engine_name(engine: Engine) -> &'static str {
    match engine {
        Engine::Vllm => "vllm",
        Engine::Sim => "sim",
        Engine::Openai => "openai",
    }
}
