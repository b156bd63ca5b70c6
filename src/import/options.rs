//! What the user states about imported files.

use crate::manifest::{Objective, Slo};

/// What the user states about imported files.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The name of the run's experiment.
    pub name: String,
    /// The name of the workload, if a file has none.
    pub workload: String,
    /// The name of the machine. Of a file with several machines, the one to take.
    pub gpu: Option<String>,
    /// The price of the machine.
    pub usd_per_hour: Option<f64>,
    /// The model, if a file does not name it.
    pub model: Option<String>,
    /// The number of requests behind each number, if a file does not state it.
    pub requests: Option<u64>,
    /// Latency targets to rank by.
    pub slo: Slo,
    /// The objective of the workload.
    pub objective: Objective,
    /// Columns of a table that are axes of the server. A column that is missing is an error.
    pub axes: Vec<String>,
    /// Columns of a table that are axes of the server if the table has them.
    pub optional_axes: Vec<String>,
    /// Sentences that the notes repeat about these numbers.
    pub caveats: Vec<String>,
    /// The command line.
    pub command: Vec<String>,
}
