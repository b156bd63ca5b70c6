//! How a run ended.

use std::collections::{BTreeMap, HashSet};

use camino::Utf8PathBuf;

use crate::{measure::CellOutcome, store::StoredRun};

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The run's folder.
    pub folder: Utf8PathBuf,
    /// The number of cells by outcome, earlier starts of the run included.
    pub outcomes: Vec<(CellOutcome, usize)>,
    /// Cells of the plan that have no outcome yet.
    pub missing: usize,
    /// Searches that have no answer yet.
    pub unanswered: usize,
    /// The budget, in words, where it ended the run before everything was measured.
    pub budget_spent: Option<String>,
    /// Whether the person interrupted it.
    pub interrupted: bool,
    /// Whether there was nothing to do: an earlier start finished the run.
    pub already_complete: bool,
}

impl Ended {
    /// Counts the cells of a run.
    pub(super) fn of(run: &StoredRun, interrupted: bool) -> Self {
        let mut outcomes: BTreeMap<CellOutcome, usize> = BTreeMap::new();
        for cell in &run.cells {
            *outcomes.entry(cell.outcome).or_default() += 1;
        }
        let stored: HashSet<&str> = run.cells.iter().map(|cell| cell.id.as_str()).collect();
        let planned = run.plan.groups.iter().flat_map(|group| &group.cells);
        Self {
            folder: run.folder.clone(),
            outcomes: outcomes.into_iter().collect(),
            missing: planned.filter(|cell| !stored.contains(cell.id.as_str())).count(),
            unanswered: 0,
            budget_spent: run.run.budget_spent.clone(),
            interrupted,
            already_complete: false,
        }
    }
}
