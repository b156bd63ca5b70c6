//! A plan on hardware → a predicted run, in the form of a measured one.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use jiff::Timestamp;

use super::{Assumptions, Placed, cells};
use crate::{
    manifest::Inputs,
    plan::{Cell, Group, Plan},
    store::{Basis, CellFile, EngineFact, RunFile, ServerFile, StoredRun, ladder_end},
};

/// What a predicted run is called and where it comes from.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its name.
    pub name: String,
    /// The command line.
    pub command: Vec<String>,
    /// The manifest with includes and overrides applied, as text.
    pub effective: String,
    /// When it is made.
    pub now: Timestamp,
}

/// The cells of a group that are climbed one after the other: each ladder, and each cell on none by itself.
///
/// What is drawn is drawn from a seed that they share: a run measures each cell with draws of its own and repeats tell what
/// that does, but a prediction has no noise, and lengths that differ by chance between two loads would look like a law.
fn ladders(plan: &Plan, group: &Group) -> Vec<Vec<Cell>> {
    let mut ladders: Vec<Vec<Cell>> = Vec::new();
    let mut known: HashMap<&str, usize> = HashMap::new();
    for cell in &group.cells {
        let below = cell.rung_below.as_deref().and_then(|below| known.get(below).copied());
        let at = below.unwrap_or(ladders.len());
        let own = Cell { seed: plan.shared_seed(cell), ..cell.clone() };
        match ladders.get_mut(at) {
            Some(ladder) => ladder.push(own),
            None => ladders.push(vec![own]),
        }
        known.insert(&cell.id, at);
    }
    ladders
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
    let work: Vec<(&Group, Vec<Cell>, &Placed, &ServerFile)> = groups
        .iter()
        .flat_map(|(group, placed, server)| {
            ladders(plan, group).into_iter().map(move |ladder| (*group, ladder, *placed, server))
        })
        .collect();
    let repeats = plan.experiment.repeats;
    let ladders: Vec<Vec<CellFile>> = cells::on_all_cores(&work, |(group, ladder, placed, server)| {
        let machine = placed.machine.as_ref().ok();
        let mut done: Vec<CellFile> = Vec::new();
        for cell in ladder {
            let file = match machine.and_then(|_| ladder_end(group, cell, &done)) {
                Some(end) => cells::beyond(group, cell, end, told.now),
                None => {
                    cells::cell(group, cell, server, machine, inputs, (assumed, repeats), (spill, told.now))
                        .map_err(|why| format!("{} cannot be predicted: {why}", cell.id))?
                }
            };
            done.push(file);
        }
        Ok(done)
    })
    .into_iter()
    .collect::<Result<_, String>>()?;
    let mut done: HashMap<String, CellFile> =
        ladders.into_iter().flatten().map(|file| (file.id.clone(), file)).collect();
    let planned = groups.iter().flat_map(|(group, ..)| &group.cells);
    let cells: Vec<CellFile> = planned.filter_map(|cell| done.remove(&cell.id)).collect();
    Ok(StoredRun {
        folder: camino::Utf8PathBuf::new(),
        run: RunFile {
            engine: Some(EngineFact { name: "vllm".into(), version: None }),
            predicted: Some(basis),
            finished_at: Some(told.now),
            ..RunFile::new(told.name, &told.command, plan.experiment.seed, told.now)
        },
        plan: plan.clone(),
        servers: groups.into_iter().map(|(_, _, server)| server).collect(),
        cells,
        effective: told.effective,
        predictions: None,
    })
}
