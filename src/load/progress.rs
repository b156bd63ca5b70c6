//! Live counters of a cell, for the screen. Written without waiting, read at the reader's pace.

use std::sync::atomic::AtomicU64;

/// Counters that only grow, but for `in_flight`.
#[derive(Debug, Default)]
pub struct Progress {
    /// Requests that were sent.
    pub sent: AtomicU64,
    /// Measured requests that ended, whatever way.
    pub ended: AtomicU64,
    /// Measured requests that ended without completing.
    pub errors: AtomicU64,
    /// Requests that completed, warm-up included.
    pub completed: AtomicU64,
    /// Answers that began: their head arrived.
    pub answers: AtomicU64,
    /// Chunks that carried output.
    pub chunks: AtomicU64,
    /// Requests in flight now.
    pub in_flight: AtomicU64,
}
