//! A plan on hardware → a predicted run, in the form of a measured one.

use std::{collections::BTreeMap, path::Path};

use jiff::Timestamp;

use super::{Assumptions, Placed, cells};
use crate::{
    manifest::Inputs,
    plan::{Cell, Group, Plan},
    store::{Basis, CellFile, EngineFact, FORMAT, RunFile, ServerFile, StoredRun, Tool},
};

/// What a predicted run is called and where it comes from.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its name.
    pub name: String,
    /// The tool that predicts.
    pub tool: Tool,
    /// The command line.
    pub command: Vec<String>,
    /// The manifest with includes and overrides applied, as text.
    pub effective: String,
    /// When it is made.
    pub now: Timestamp,
}

/// Predicts every cell of a plan, each repeat of it. `placed` are the plan's groups by their ids; a group that is not there
/// has no cell in the run.
///
/// # Errors
/// A sentence when an input cannot be read, or a schedule cannot be made.
pub fn stored(
    plan: &Plan,
    placed: &BTreeMap<String, Placed>,
    basis: Basis,
    inputs: &Inputs,
    assumed: Assumptions,
    told: Told,
    spill: &Path,
) -> Result<StoredRun, String> {
    let groups: Vec<(&Group, &Placed, ServerFile)> = plan
        .groups
        .iter()
        .filter_map(|group| {
            let placed = placed.get(&group.id)?;
            Some((group, placed, cells::server(group, placed, told.now)))
        })
        .collect();
    let work: Vec<(&Group, &Cell, &Placed, &ServerFile)> = groups
        .iter()
        .flat_map(|(group, placed, server)| {
            let cells = group.cells.iter();
            cells.map(move |cell| (*group, cell, *placed, server))
        })
        .collect();
    let repeats = plan.experiment.repeats;
    let cells: Vec<CellFile> = cells::on_all_cores(&work, |(group, cell, placed, server)| {
        let machine = placed.machine.as_ref().ok();
        let how = (assumed, repeats);
        cells::cell(group, cell, server, machine, inputs, how, (spill, told.now))
            .map_err(|why| format!("{} cannot be predicted: {why}", cell.id))
    })
    .into_iter()
    .collect::<Result<_, _>>()?;
    Ok(StoredRun {
        folder: camino::Utf8PathBuf::new(),
        run: RunFile {
            format: FORMAT,
            name: told.name,
            tool: told.tool,
            command: told.command,
            host: None,
            gpus: Vec::new(),
            engine: Some(EngineFact {
                name: "vllm".into(),
                version: None,
            }),
            simulated: false,
            imported: None,
            predicted: Some(basis),
            seed: plan.experiment.seed,
            started_at: told.now,
            finished_at: Some(told.now),
            resumed: 0,
            git_commit: None,
            git_dirty: None,
        },
        plan: plan.clone(),
        servers: groups.into_iter().map(|(_, _, server)| server).collect(),
        cells,
        effective: told.effective,
        predictions: None,
    })
}
