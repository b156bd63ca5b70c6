//! `[experiment]` and `[hardware]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::manifest::scrape::ScrapeEvery;

/// What the experiment is called, and what holds for all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Name of the results folder: letters, digits, `-`, `_` and `.`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"), length(max = 100))]
    pub name: String,
    /// The question the experiment answers; the heading of its notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Where everything that looks random comes from.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// How many times each cell is measured.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub repeats: u32,
    /// The order of the cells of one server.
    #[serde(default)]
    pub order: Order,
    /// How often the server's `/metrics`, its processes and its GPUs are looked at while a cell runs: `"1s"` unless told,
    /// `"0s"` for before and after only, `"off"` to leave `/metrics` alone altogether.
    #[serde(default)]
    pub scrape_every: ScrapeEvery,
    /// Whether a server is left out when a smaller one was out of memory at its start, with the reason in place of numbers.
    /// Smaller is one that differs in nothing but `max-model-len`, `max-num-seqs` and `max-num-batched-tokens`, and has more
    /// of none: let such axes ascend. Otherwise every server is tried, since a failed start is a measurement, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_impossible: bool,
}

/// The order in which the cells of one server are measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// As the manifest lists them, the last axis fastest; the repeats of a cell follow each other.
    #[default]
    AsWritten,
    /// In blocks that hold each cell once, every block shuffled from the seed, against drift.
    Shuffled,
}

/// What cannot be detected about the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hardware {
    /// What the machine is called in tables, `RunPod-RTX2000-16GB` say; detected when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The GPU it has, as the catalogue calls it, for predictions: `"RTX 2000 Ada"`; read from `label` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// The price of one hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub usd_per_hour: Option<f64>,
}

fn default_seed() -> u64 {
    1
}

fn one() -> u32 {
    1
}
