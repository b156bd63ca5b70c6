//! Checks of servers and workloads that need the values of their axes.

mod arrivals;
mod prompts;
mod repeats;
mod samples;
mod server;
mod workload;

use crate::{
    diagnostic::{Finding, Place},
    manifest::{Manifest, Workload},
};

pub(super) use repeats::repeats;
pub(super) use samples::too_few_samples;
pub(super) use server::server;
pub(super) use workload::stop;

pub(super) struct WorkloadCheck<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) name: &'a str,
    pub(super) spec: &'a Workload,
    pub(super) found: Vec<Finding>,
}

impl WorkloadCheck<'_> {
    fn at(&self, keys: &[&str]) -> Place {
        let path: Vec<&str> = ["workload", self.name].iter().chain(keys).copied().collect();
        self.manifest.place(&path)
    }
}
