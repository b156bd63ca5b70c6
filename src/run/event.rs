//! The progress of a run.

use std::{sync::Arc, time::Duration};

use camino::Utf8PathBuf;
use serde_json::Value;

use super::Ended;
use crate::{
    load::Progress,
    measure::CellOutcome,
    search::Answer,
    server::{Facts, ServerOutcome, StartPhase},
};

/// A step of a run. The run emits them in order, and the screen shows them.
#[derive(Clone, Debug)]
pub enum Event {
    /// The run folder is ready.
    Started {
        /// The experiment's name.
        experiment: String,
        /// The run's folder.
        folder: Utf8PathBuf,
        /// Cells to measure now.
        cells: usize,
        /// Cells that an earlier start of this run finished.
        done: usize,
        /// Searches, each of which decides on further cells.
        searches: usize,
        /// Servers to start, without those that searches over servers start.
        servers: usize,
    },
    /// The cells are being predicted, which takes longer than two seconds.
    Predicting,
    /// A server is launched (or attached to).
    ServerStarting {
        /// Its id.
        server: String,
        /// The time limit of a start once the model's files are there.
        ready_within: Duration,
    },
    /// A server's start made progress.
    ServerPhase {
        /// Its id.
        server: String,
        /// The phase of the start.
        phase: StartPhase,
        /// The last line of its log.
        line: String,
    },
    /// A server is ready.
    ServerReady {
        /// Its id.
        server: String,
        /// What the server reports about itself.
        facts: Facts,
    },
    /// A server failed to start, or ended unexpectedly.
    ServerEnded {
        /// Its id.
        server: String,
        /// How it ended.
        outcome: ServerOutcome,
        /// The line of its log that says why.
        reason: String,
        /// Its log.
        log: Option<Utf8PathBuf>,
    },
    /// A server was stopped: after its last cell, or to start anew for the next repeats.
    ServerStopped {
        /// Its id.
        server: String,
    },
    /// A repeat of a cell begins.
    CellStarted {
        /// Its id.
        cell: String,
        /// Which repeat, from 1.
        repeat: u32,
        /// The fewest repeats of the cell.
        at_least: u32,
        /// The most repeats of the cell.
        at_most: u32,
        /// The number of measured requests, where it is known.
        requests: Option<u64>,
        /// Live counters.
        progress: Arc<Progress>,
    },
    /// A cell is stored.
    CellFinished {
        /// Its id.
        cell: String,
        /// How it ended.
        outcome: CellOutcome,
        /// Why it ended that way.
        reason: Option<String>,
        /// Output tokens per second.
        throughput_tok_s: Option<f64>,
        /// 95th percentile of TTFT, milliseconds.
        p95_ttft_ms: Option<f64>,
        /// Requests that did not complete.
        errors: u64,
    },
    /// A search measures its next probe.
    Probe {
        /// The value of each of its axes.
        values: Vec<Value>,
        /// What it knows so far.
        answer: Box<Answer>,
    },
    /// A search has its answer, or the run ends before it has.
    Answered(Box<Answer>),
    /// The person asked to stop: the running repeat is abandoned, and finished cells are kept.
    Interrupted,
    /// A warning.
    Warning(String),
    /// The run is over.
    Finished {
        /// How it ended.
        ended: Ended,
        /// The notes that were written.
        notes: Vec<Utf8PathBuf>,
    },
}
