//! Observes a server while requests run: its engine's metrics, its processes and the GPUs. The result is
//! [`ServerSide`].
//!
//! The client measures how long something took; this room shows where the time went. It scrapes the engine's
//! `/metrics` and samples the server's processes and the GPUs before a repeat, every
//! `experiment.scrape_every` during it, and after it. Counters and histograms are subtracted; of gauges the
//! peak is kept.
//!
//! What is unknown is absent with a reason, never zero: an engine without `/metrics`, a metric that is not on
//! the page, a counter that fell, an attached server's processes, a machine without a GPU.
//!
//! Metrics have vLLM's names, with the prefix `vllm:`, `vllm_` or none, with or without `_total`, summed over
//! engines and labels. The embedded engine has the same names. What scraping costs is measured in every cell
//! (`server_side.scraping` in `cell.json`).

mod durations;
mod engine_side;
mod exposition;
mod gpu_driver;
mod gpu_side;
mod nvidia_smi;
#[cfg(target_os = "linux")]
mod nvml;
mod observer;
mod process_side;
mod scrape;
mod server_side;
mod snapshot;
#[cfg(test)]
mod tests;

pub use durations::{Bucket, Durations};
pub use engine_side::{EngineSide, between_pages};
pub use gpu_side::{EnergyFrom, GpuSide};
pub use observer::{Observation, ObservedServer, Observer};
pub use process_side::ProcessSide;
pub use server_side::{Scraping, ServerSide};
pub use snapshot::GaugePoint;
