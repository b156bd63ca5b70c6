//! What a search measures next, and what it found.

use super::{answer::Answer, probe::Next};
use crate::{plan::Search, store::StoredRun};

/// What a search measures next; `None` when it has its answer.
pub fn next(run: &StoredRun, search: &Search) -> Option<Next> {
    let _ = (run, search);
    None
}

/// The answers of a run, in the order of the plan's searches.
pub fn answers(run: &StoredRun) -> Vec<Answer> {
    let _ = run;
    Vec::new()
}
