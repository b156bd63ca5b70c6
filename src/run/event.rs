//! What happens while a plan is run: the one thing the screen knows of it.

use std::{sync::Arc, time::Duration};

use camino::Utf8PathBuf;

use crate::{
    load::Progress,
    measure::CellOutcome,
    server::{Facts, ServerOutcome, StartPhase},
};

/// Everything that happens in a run, in order. The engine emits, the screen shows; nothing comes back.
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
        /// Cells already done by an earlier start of this run.
        done: usize,
        /// Servers to start.
        servers: usize,
    },
    /// The cells are being predicted, and that takes longer than a moment.
    Predicting,
    /// A server is launched (or attached to).
    ServerStarting {
        /// Its id.
        server: String,
        /// How long a start may take once the model's files are there.
        ready_within: Duration,
    },
    /// A server's start got further.
    ServerPhase {
        /// Its id.
        server: String,
        /// What it does now.
        phase: StartPhase,
        /// The last line of its log.
        line: String,
    },
    /// A server serves.
    ServerReady {
        /// Its id.
        server: String,
        /// What it said of itself.
        facts: Facts,
    },
    /// A server did not start, or ended.
    ServerEnded {
        /// Its id.
        server: String,
        /// How.
        outcome: ServerOutcome,
        /// The line that says so, or why.
        reason: String,
        /// Its log.
        log: Option<Utf8PathBuf>,
    },
    /// A server was stopped because its cells are done.
    ServerStopped {
        /// Its id.
        server: String,
    },
    /// A cell begins.
    CellStarted {
        /// Its id.
        cell: String,
        /// Which repeat, from 1.
        repeat: u32,
        /// How many there will be.
        repeats: u32,
        /// Measured requests to come, when their number is known.
        requests: Option<u64>,
        /// Live counters, read by the screen at its own pace.
        progress: Arc<Progress>,
    },
    /// A cell is stored.
    CellFinished {
        /// Its id.
        cell: String,
        /// How it ended.
        outcome: CellOutcome,
        /// Why, when that is not plain.
        reason: Option<String>,
        /// Output tokens per second.
        throughput_tok_s: Option<f64>,
        /// 95th percentile of TTFT, milliseconds.
        p95_ttft_ms: Option<f64>,
        /// Requests that did not complete.
        errors: u64,
    },
    /// The person asked to stop: the running repeat is given up, everything stored stays.
    Interrupted,
    /// Something worth saying.
    Warning(String),
    /// The run is over.
    Finished {
        /// The run's folder.
        folder: Utf8PathBuf,
        /// How many cells ended in each way, in this start and earlier ones.
        outcomes: Vec<(CellOutcome, usize)>,
        /// The notes that were written.
        notes: Vec<Utf8PathBuf>,
    },
}
