//! Names of the files and folders in a run folder.

pub(super) const RUN: &str = "run.json";
pub(super) const PLAN: &str = "plan.json";
pub(super) const MANIFEST: &str = "manifest.toml";
pub(super) const EFFECTIVE: &str = "effective.toml";
pub(super) const CELLS: &str = "cells";
pub(super) const CELL: &str = "cell.json";
pub(super) const SERVERS: &str = "servers";
pub(super) const SERVER: &str = "server.json";
pub(super) const PREDICTIONS: &str = "predicted.json";
pub(super) const CHARTS: &str = "charts";
pub(super) const NOTES: &str = "notes";
pub(super) const GITIGNORE: &str = ".gitignore";
pub(super) const LOCK: &str = ".lock";

/// The compressed records of one repeat, counted from 1.
pub(super) fn records(repeat: usize) -> String {
    format!("records-{repeat}.jsonl.gz")
}
