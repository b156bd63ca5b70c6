//! Predicts what a run would measure, without a GPU and in virtual time.
//!
//! A cell's own requests arrive on its own schedule at the model of vLLM, and their timestamps go through the
//! same [`crate::measure`] as measured ones. The results are marked as predicted and are never ranked with
//! measured ones.
//!
//! ```
//! use camino::Utf8Path;
//! use runner::{
//!     manifest::{Manifest, Overrides},
//!     plan::plan,
//!     predict::{Assumptions, Placement, Setup},
//! };
//!
//! let path = Utf8Path::new("experiments/day003.toml");
//! let manifest = Manifest::load(path, &Overrides::default()).0.expect("the example is valid");
//! let plan = plan(&manifest).0.expect("the example is valid");
//! let placement = Placement { gpu: Some("L4"), ..Placement::of(&manifest) };
//! let placements = placement.place(&plan);
//!
//! let group = &plan.groups[0];
//! let machine = placements.placed[&group.id].machine.as_ref().expect("the model fits on an L4");
//! let spill = std::env::temp_dir();
//! let setup = Setup { inputs: &manifest.inputs, assumed: Assumptions::default(), spill: &spill };
//! let predicted = setup.predict(&group.cells[0], machine)?;
//! assert!(predicted.summary.e2e.is_some_and(|latency| latency.p50_ms > 100.0));
//! # Ok::<(), runner::predict::PredictError>(())
//! ```

mod assumptions;
mod basis;
mod calibrate;
mod calibration;
mod cells;
mod error;
mod estimate;
mod expect;
mod forecast;
mod interval;
mod machine;
mod measured_run;
mod measurements;
mod memory_fit;
mod parallel;
mod placement;
mod predicted_run;
mod prompt;
mod repeat;
mod run_inputs;
mod search_estimate;
#[cfg(test)]
mod search_tests;
#[cfg(test)]
mod tests;
mod virtual_search;

pub use assumptions::Assumptions;
pub use basis::basis;
pub use calibrate::calibrate;
pub use calibration::Calibration;
pub use error::PredictError;
pub use estimate::{Estimate, estimate};
pub use expect::expect;
pub use interval::{Accuracy, KV_CACHE, Spread, intervals};
pub use machine::Machine;
pub use measured_run::{MeasuredRun, check_measured};
pub use measurements::{Comparison, Measurements};
pub use memory_fit::MemoryFit;
pub use placement::{Placed, Placement, Placements};
pub use predicted_run::{Origin, predict_plan};
pub use repeat::{Predicted, Setup, Simulated, mean_prompt_tokens};
pub use run_inputs::manifest_of_run;
pub use search_estimate::{SearchEstimate, estimate_searches};
