//! Records → summaries and verdicts. Pure: no clock, no file.

mod context;
mod in_flight;
mod judge;
mod latency;
mod metric;
mod outcome;
mod samples;
mod selection;
mod summarize;
mod summary;
mod target;
#[cfg(test)]
mod tests;
mod timeline;
mod totals;
mod verdict;

pub use context::CellContext;
pub use judge::judge;
pub use latency::percentile;
pub use metric::{Metric, Rank, Rate, Unit};
pub use outcome::CellOutcome;
pub use summarize::{common_errors, outcome, pool, summarize};
pub use summary::{AskedSpread, Counts, Histogram, Latency, OutputLength, Point, Starts, Summary, Window};
pub use target::{Lost, lost};
pub use timeline::timeline;
pub use totals::{ClientTotals, totals};
pub use verdict::{Severity, Verdict, VerdictKind};
