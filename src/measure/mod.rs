//! Computes summaries from records, and verdicts that say which numbers may be trusted. Reads no clock and no
//! file.
//!
//! ```
//! use runner::measure::{CellContext, Severity, VerdictKind, judge, outcome, summarize};
//! use runner::{load::Records, manifest::{Repeats, Workload}};
//!
//! let spec: Workload = toml::from_str("prompts = [\"Hello\"]\nrate = 5.0\narrivals = \"constant\"\nrequests = 9").unwrap();
//! let context = CellContext {
//!     spec: &spec,
//!     repeats: Repeats::once(),
//!     start: None,
//!     engine_simulated: true,
//!     inputs: 1,
//!     flags_confirmed: Some(true),
//!     prefix_caching: Some(false),
//!     max_model_len: None,
//!     client: &[],
//!     server: None,
//! };
//! // Absent is never zero: a cell without requests has no latency.
//! let repeats = [Records::default()];
//! let summary = summarize(&repeats[0], &context);
//! assert_eq!((summary.ttft.is_none(), outcome(&summary).name()), (true, "failed"));
//!
//! let verdicts = judge(&summary, &[summary.clone()], &repeats, &context);
//! assert_eq!((verdicts[0].kind, verdicts[0].severity), (VerdictKind::Simulated, Severity::Note));
//! ```

mod context;
mod early;
mod in_flight;
mod judge;
mod latency;
mod metric;
mod outcome;
mod precision;
mod samples;
mod selection;
mod statistics;
mod summarize;
mod summary;
mod target;
#[cfg(test)]
mod tests;
mod timeline;
mod totals;
mod verdict;
mod watched;

pub use crate::manifest::{Metric, Rank, Rate, Unit};
pub use context::CellContext;
pub use early::EarlyEnd;
pub use judge::{few_samples, judge};
pub use latency::percentile;
pub use outcome::CellOutcome;
pub use precision::{Precision, precision, suffices};
#[cfg(test)]
pub(crate) use statistics::normal_quantile;
pub(crate) use statistics::{mean_variance, t_quantile};
pub use summarize::{common_errors, outcome, pool, reason, summarize};
pub use summary::{AskedSpread, Counts, Histogram, Latency, OutputLength, Point, Starts, Summary, Window};
pub use target::{MissedTarget, missed_targets};
pub use timeline::timeline;
pub use totals::{ClientTotals, totals};
pub use verdict::{Severity, Verdict, VerdictKind};
pub use watched::Watched;
