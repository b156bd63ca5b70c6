//! `[experiment]` and `[hardware]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::repeats::Repeats;
use crate::manifest::scrape::ScrapeEvery;

/// Name and settings of the whole experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Name of the results folder: letters, digits, `-`, `_` and `.`; starts with a letter or a digit.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"), length(max = 100))]
    pub name: String,
    /// The question that the experiment answers, shown as the heading of its notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Seed of everything random. Default: 1.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// How many times each cell is measured: a number, or a table with the rule that ends it. Default: 1.
    #[serde(default)]
    pub repeats: Repeats,
    /// The order in which the cells of a server are measured.
    #[serde(default)]
    pub order: Order,
    /// How often the server's `/metrics`, its processes and its GPUs are sampled while a cell runs: `"0s"`
    /// samples only before and after the cell, `"off"` never reads `/metrics`. Default: `"1s"`.
    #[serde(default)]
    pub scrape_every: ScrapeEvery,
    /// Skips a server when one that needs no more memory ran out of memory at its start: a server that
    /// differs only in smaller `max-model-len`, `max-num-seqs` or `max-num-batched-tokens`. List these axes
    /// in ascending order. By default every server is tried, because a failed start is a result too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_impossible: bool,
}

/// The order in which the cells of one server are measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// As the manifest lists them, the last axis fastest; the repeats of a cell follow one another.
    #[default]
    AsWritten,
    /// In blocks that hold each cell once, each shuffled from the seed, so that drift affects all cells
    /// alike.
    Shuffled,
}

/// What cannot be detected about the machine: its label and its price.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hardware {
    /// Name of the machine in tables, such as `RunPod-RTX2000-16GB`. Default: the GPUs or the processor
    /// found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The GPU's name in the catalogue, for predictions: `"RTX 2000 Ada"`. Default: the GPU that `label`
    /// names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// Price of one hour, in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub usd_per_hour: Option<f64>,
}

fn default_seed() -> u64 {
    1
}
