//! Checks of servers and workloads that need the values of their axes.

mod arrivals;
mod prompts;
mod samples;
mod server;
mod workload;

pub(super) use arrivals::arrivals;
pub(super) use samples::too_few_samples;
pub(super) use server::server;
pub(super) use workload::{stop, workload};
