//! Where records go when their requests end.

use std::sync::{Mutex, PoisonError};

use super::{error::LoadError, record::Record};

/// Receives every record, in the order in which the requests end. Called on the client's thread, so it must
/// not block.
pub trait Sink: Send + Sync + 'static {
    /// Takes a record.
    ///
    /// # Errors
    /// When records can no longer be kept. No further request is sent then.
    fn take(&self, record: Record) -> Result<(), LoadError>;

    /// Whether further requests are wanted, which is asked before each. Once it returns false, no request
    /// starts, and those in flight end normally.
    fn wants_more(&self) -> bool {
        true
    }
}

/// Keeps records in memory.
impl Sink for Mutex<Vec<Record>> {
    fn take(&self, record: Record) -> Result<(), LoadError> {
        self.lock().unwrap_or_else(PoisonError::into_inner).push(record);
        Ok(())
    }
}
