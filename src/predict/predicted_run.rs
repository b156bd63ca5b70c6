//! Predicts every cell of a plan, as a run in the format of a measured one.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use jiff::Timestamp;

use super::{
    Assumptions, Placed, Placement, PredictError, Setup,
    basis::basis,
    cells,
    estimate::usd_per_hour,
    parallel::on_all_cores,
    virtual_search::{Strictness, VirtualSearch},
};
use crate::{
    engine::hardware::find_gpu,
    plan::{Cell, Group, Plan},
    store::{CellFile, EngineFact, RunFile, ServerFile, StoredRun, ladder_end},
};

/// The name of a predicted run and where it comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The run's name.
    pub name: String,
    /// The command line.
    pub command: Vec<String>,
    /// The manifest with includes and overrides applied, as text.
    pub effective: String,
    /// When the prediction is made.
    pub now: Timestamp,
}

/// Predicts every cell and repeat of a plan, and the probes of its searches. Groups without a placed server
/// have no cells in the run.
///
/// # Errors
/// When no server is predicted, or a cell cannot be.
pub fn predict_plan(
    placement: &Placement<'_>,
    plan: Plan,
    mut placed: BTreeMap<String, Placed>,
    assumed: Assumptions,
    origin: Origin,
    spill: &Path,
) -> Result<StoredRun, PredictError> {
    let (manifest, calibration) = (placement.manifest, placement.calibration);
    let setup = Setup { inputs: &manifest.inputs, assumed, spill };
    let (servers, cells) = predict_cells(&plan, &placed, &setup, origin.now)?;
    let mut run = StoredRun {
        folder: camino::Utf8PathBuf::new(),
        run: RunFile {
            engine: Some(EngineFact { name: "vllm".into(), version: None }),
            finished_at: Some(origin.now),
            ..RunFile::new(origin.name, &origin.command, plan.experiment.seed, origin.now)
        },
        plan,
        servers,
        cells,
        effective: origin.effective,
        predictions: None,
    };
    let search = VirtualSearch {
        placement: *placement,
        setup,
        slo: Strictness::AsPredicted,
        now: origin.now,
        may_continue: &|| true,
    };
    search.run(&mut run, &mut placed)?;
    let basis = basis(placed.values(), assumed, calibration).ok_or(PredictError::NoServer)?;
    // A label that names another GPU is not this one's.
    let is_own =
        |label: &String| find_gpu(label, &manifest.catalogue).is_some_and(|gpu| gpu.name == basis.hardware);
    let hardware = &mut run.plan.hardware;
    let label = hardware.label.take().filter(is_own);
    hardware.label = Some(label.unwrap_or_else(|| basis.hardware.clone()));
    hardware.gpu = Some(basis.hardware.clone());
    hardware.usd_per_hour = usd_per_hour(manifest, &placed);
    run.run.predicted = Some(basis);
    Ok(run)
}

/// The servers of a plan and their cells, in the plan's order.
fn predict_cells(
    plan: &Plan,
    placed: &BTreeMap<String, Placed>,
    setup: &Setup<'_>,
    now: Timestamp,
) -> Result<(Vec<ServerFile>, Vec<CellFile>), PredictError> {
    let groups: Vec<(&Group, &Placed, ServerFile)> = plan
        .groups
        .iter()
        .filter_map(|group| {
            let placed = placed.get(&group.id)?;
            Some((group, placed, cells::server(group, placed, now)))
        })
        .collect();
    let work: Vec<(&Group, Vec<Cell>, &Placed, &ServerFile)> = groups
        .iter()
        .flat_map(|(group, placed, server)| {
            ladders(plan, group).into_iter().map(move |ladder| (*group, ladder, *placed, server))
        })
        .collect();
    let ladders = on_all_cores(&work, |(group, ladder, placed, server)| {
        let machine = placed.machine.as_ref().ok();
        let mut done: Vec<CellFile> = Vec::new();
        for cell in ladder {
            let file = match machine.and_then(|_| ladder_end(group, cell, &done)) {
                Some(end) => cells::beyond(group, cell, end, now),
                None => {
                    let repeats = plan.experiment.repeats.at_least();
                    cells::predict(group, cell, repeats, server, machine, setup).map_err(|source| {
                        PredictError::Cell { cell: cell.id.clone(), source: Box::new(source) }
                    })?
                }
            };
            done.push(file);
        }
        Ok(done)
    });
    let ladders = ladders.into_iter().collect::<Result<Vec<_>, PredictError>>()?;
    let mut done: HashMap<String, CellFile> =
        ladders.into_iter().flatten().map(|file| (file.id.clone(), file)).collect();
    let planned = groups.iter().flat_map(|(group, ..)| &group.cells);
    let cells = planned.filter_map(|cell| done.remove(&cell.id)).collect();
    Ok((groups.into_iter().map(|(_, _, server)| server).collect(), cells))
}

/// The ladders of a group, each from its lowest rung up; a cell outside a ladder is one by itself.
///
/// The cells of a workload share one seed. A measured run draws anew in every cell, and repeats show what
/// that changes; a prediction has no noise, so lengths that differ by chance between two loads would look
/// like an effect of the load.
fn ladders(plan: &Plan, group: &Group) -> Vec<Vec<Cell>> {
    let mut ladders: Vec<Vec<Cell>> = Vec::new();
    let mut ladder_of: HashMap<&str, usize> = HashMap::new();
    for cell in &group.cells {
        let below = cell.rung_below.as_deref().and_then(|below| ladder_of.get(below).copied());
        let at = below.unwrap_or(ladders.len());
        let own = Cell { seed: plan.shared_seed(cell), ..cell.clone() };
        match ladders.get_mut(at) {
            Some(ladder) => ladder.push(own),
            None => ladders.push(vec![own]),
        }
        ladder_of.insert(&cell.id, at);
    }
    ladders
}
