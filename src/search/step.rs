//! [`next`]: what a search measures next.

use serde_json::Value;

use crate::{plan::Search, store::StoredRun};

/// What a search measures next.
#[derive(Clone, Debug, PartialEq)]
pub struct Next {
    /// The value of each axis of the search.
    pub values: Vec<Value>,
    /// Which measurement of these values it is, from 1.
    pub attempt: u32,
}

/// What a search measures next; `None` when it has its answer.
pub fn next(run: &StoredRun, search: &Search) -> Option<Next> {
    let _ = (run, search);
    None
}
