//! [`Watched`]: a sink that ends a probe as soon as its result is clear.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use super::early::EarlyEnd;
use crate::{
    load::{LoadError, Record, Sink},
    plan::Cell,
};

/// Hands records on to another sink and watches those of a probe. Records of other cells are only handed on.
pub struct Watched<S> {
    sink: S,
    early: Option<Mutex<EarlyEnd>>,
    is_clear: AtomicBool,
}

impl<S> Watched<S> {
    /// Watches the records of a cell on their way to a sink.
    pub fn new(sink: S, cell: &Cell) -> Self {
        Self { sink, early: EarlyEnd::of(cell).map(Mutex::new), is_clear: AtomicBool::new(false) }
    }

    /// Returns the sink, and why the cell ended before its last request.
    pub fn into_parts(self) -> (S, Option<String>) {
        let early = self.early.map(|early| early.into_inner().unwrap_or_else(PoisonError::into_inner));
        (self.sink, early.and_then(|early| early.reason().map(str::to_owned)))
    }
}

impl<S: Sink> Sink for Watched<S> {
    fn take(&self, record: Record) -> Result<(), LoadError> {
        if let Some(early) = &self.early {
            let mut early = early.lock().unwrap_or_else(PoisonError::into_inner);
            if early.take(&record) {
                self.is_clear.store(true, Relaxed);
            }
        }
        self.sink.take(record)
    }

    fn wants_more(&self) -> bool {
        !self.is_clear.load(Relaxed)
    }
}
