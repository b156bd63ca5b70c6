//! What to run besides the plan, and which stored run it continues.

use camino::{Utf8Path, Utf8PathBuf};

use super::{Budget, RunError};
use crate::store;

/// Everything a run needs besides its manifest and plan.
#[derive(Clone, Debug)]
pub struct Order {
    /// Where runs are stored.
    pub results: Utf8PathBuf,
    /// The run's name. Without one, the UTC time and the hardware.
    pub name: Option<String>,
    /// Patterns of the cells to measure; empty for every cell. The others stay in the plan and can be
    /// measured later.
    pub only: Vec<String>,
    /// Whether a stored run is continued.
    pub resume: Resume,
    /// How much it may spend.
    pub budget: Budget,
    /// The folder that holds the manifest; its git commit is stored.
    pub manifest_folder: Utf8PathBuf,
    /// The path of this binary, which starts servers through itself.
    pub runner: String,
    /// The command line to store.
    pub command: Vec<String>,
}

/// Whether a stored run is continued.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// Start a new run.
    #[default]
    Never,
    /// Continue the run of [`Order::name`], or the newest of the experiment without one; start a new run
    /// where there is none.
    IfPresent,
    /// Continue this run, named by its name, by `EXPERIMENT/RUN`, or by its folder.
    Run(String),
}

impl Order {
    /// The folder of the run to continue; `None` to start a new one.
    ///
    /// # Errors
    /// When the named run does not exist or was not measured by this tool, or the results cannot be read.
    pub(super) fn stored_run(&self, experiment: &str) -> Result<Option<Utf8PathBuf>, RunError> {
        let stored = |folder: &Utf8Path| folder.join("run.json").exists();
        let below = |name: &str| self.results.join(experiment).join(name);
        let found = match (&self.resume, &self.name) {
            (Resume::Never, _) => return Ok(None),
            (Resume::IfPresent, None) => store::newest(&self.results, experiment)?,
            (Resume::IfPresent, Some(name)) => Some(below(name)).filter(|folder| stored(folder)),
            (Resume::Run(name), _) => {
                let places = [Utf8PathBuf::from(name), below(name), self.results.join(name)];
                let folder = places.into_iter().find(|folder| stored(folder));
                Some(folder.ok_or_else(|| RunError::NoSuchRun {
                    name: name.clone(),
                    folder: self.results.join(experiment),
                })?)
            }
        };
        let Some(folder) = found else {
            return Ok(None);
        };
        // A run that cannot be read is repaired or refused when it is opened.
        let run = store::read(&folder).ok().map(|stored| stored.run);
        let origin = run.and_then(|run| match (run.predicted, run.imported) {
            (Some(_), _) => Some("predicted"),
            (_, Some(_)) => Some("imported"),
            _ => None,
        });
        match origin {
            None => Ok(Some(folder)),
            Some(_) if self.resume == Resume::IfPresent && self.name.is_none() => Ok(None),
            Some(origin) => Err(RunError::NotMeasured { folder, origin }),
        }
    }
}
