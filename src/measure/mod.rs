//! Records → summaries and verdicts. Pure: no clock, no file.

mod outcome;
mod summary;
mod verdict;

pub use outcome::CellOutcome;
pub use summary::{Counts, Histogram, Latency, OutputLength, Point, Summary, Window};
pub use verdict::{Severity, Verdict, VerdictKind};
