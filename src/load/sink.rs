//! Where records go as their requests end.

use std::sync::{Mutex, PoisonError};

use super::record::Record;

/// Takes every record, in the order in which the requests ended. It runs on the client's own thread: it must not wait,
/// neither for a disk nor for whoever reads the records.
pub trait Sink: Send + Sync + 'static {
    /// Takes one.
    ///
    /// # Errors
    /// A sentence when records can no longer be kept. Then nothing more is sent.
    fn take(&self, record: Record) -> Result<(), String>;
}

/// Keeps them in memory.
impl Sink for Mutex<Vec<Record>> {
    fn take(&self, record: Record) -> Result<(), String> {
        self.lock().unwrap_or_else(PoisonError::into_inner).push(record);
        Ok(())
    }
}
