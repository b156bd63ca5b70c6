//! A running server, and its processes → what they say of a cell while it runs: [`ServerSide`].
//!
//! The client's numbers say how long something took; this room says where the time went. Before a repeat, every
//! `experiment.scrape_every` while it runs, and after it, the engine's `/metrics` is asked, the server's processes are
//! looked at, and so are the GPUs where there are any. Counters and histograms are subtracted, gauges keep their peak.
//!
//! What a server does not have is absent, with the reason, and never zero: an engine without `/metrics`, a metric that is
//! not on the page, a counter that fell, a server that somebody else started, a machine without a GPU.
//!
//! Metrics are known by vLLM's names, with `vllm:` before them, `vllm_` or nothing, and with or without `_total`. Several
//! engines and label sets are summed. The embedded engine shows the same names.
//!
//! # What a scrape takes
//!
//! It is measured with every cell: `server_side.scraping` in `cell.json`. The numbers for a real vLLM and the embedded
//! engine, and the command that measures them again, stand in the README.

mod durations;
mod engine_side;
mod exposition;
mod gpu_side;
mod gpus;
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
pub use engine_side::EngineSide;
pub use gpu_side::{EnergyFrom, GpuSide};
pub use observer::{Observer, Watched, Watching};
pub use process_side::ProcessSide;
pub use server_side::{GaugePoint, Scraping, ServerSide};
pub use snapshot::between_pages;
