//! What a cell's records do not say about themselves.

use crate::{
    load::ClientHealth,
    manifest::{Repeats, Start, Workload},
    observe::ServerSide,
};

/// What was requested of a cell, and what is known about its server and its client.
#[derive(Clone, Copy, Debug)]
pub struct CellContext<'a> {
    /// The workload with every axis applied.
    pub spec: &'a Workload,
    /// How many times it was to be measured.
    pub repeats: &'a Repeats,
    /// How the streams of a closed loop were to start; absent in an open loop.
    pub start: Option<Start>,
    /// Whether the embedded engine answered.
    pub engine_simulated: bool,
    /// Number of distinct prompts.
    pub inputs: usize,
    /// Whether the server's log shows the configured flags; absent when it shows none.
    pub flags_confirmed: Option<bool>,
    /// Whether the server's prefix cache is on; absent when that is not known.
    pub prefix_caching: Option<bool>,
    /// The server's limit on prompt and answer together, tokens; absent when it reports none.
    pub max_model_len: Option<u64>,
    /// Health of the client in each repeat; empty when it was not measured.
    pub client: &'a [ClientHealth],
    /// The server's own metrics over all repeats; absent when they were not collected.
    pub server: Option<&'a ServerSide>,
}
