//! Live counters of a cell, for the screen.

use std::sync::atomic::AtomicU64;

/// Counters of a cell in progress. All but `in_flight` only grow.
#[derive(Debug, Default)]
pub struct Progress {
    /// Requests sent.
    pub sent: AtomicU64,
    /// Measured requests that ended, with any outcome.
    pub ended: AtomicU64,
    /// Measured requests that ended without completing.
    pub errors: AtomicU64,
    /// Requests that completed, warm-up included.
    pub completed: AtomicU64,
    /// Answers whose head arrived.
    pub answers: AtomicU64,
    /// Chunks that carried output.
    pub chunks: AtomicU64,
    /// Requests in flight now.
    pub in_flight: AtomicU64,
}
