//! Estimates how long a plan takes and what it costs.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{Assumptions, Machine, Placed, PredictError, Setup};
use crate::{
    engine::hardware::find_gpu,
    manifest::Manifest,
    plan::{Cell, Plan, Stop},
    unit::TimeSpan,
};

/// The predicted duration and cost of a plan's requests, without the starts of its servers.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// The GPU it is predicted for.
    pub gpu: String,
    /// Duration of the fewest repeats, in seconds.
    pub seconds: f64,
    /// Duration of the most repeats, in seconds.
    pub seconds_at_most: f64,
    /// Price per hour, where one is known.
    pub usd_per_hour: Option<f64>,
}

/// Estimates the cells of a plan. `None` if there are none, or the GPU or the model of a server is unknown.
pub fn estimate(manifest: &Manifest, plan: &Plan, placed: &BTreeMap<String, Placed>) -> Option<Estimate> {
    let has_cells = plan.groups.iter().any(|group| !group.cells.is_empty());
    let gpu = placed.values().next().filter(|_| has_cells)?.server.gpu.name.clone();
    let spill = std::env::temp_dir();
    let setup = Setup { inputs: &manifest.inputs, assumed: Assumptions::default(), spill: &spill };
    let (mut seconds, mut seconds_at_most) = (0.0, 0.0);
    for group in &plan.groups {
        // A server that would not start takes no requests.
        let Ok(machine) = &placed.get(&group.id)?.machine else {
            continue;
        };
        for cell in group.cells.iter().filter(|cell| cell.skip.is_none()) {
            let repeat = duration_s(&setup, cell, machine).ok()?;
            let repeats = cell.repeats(&plan.experiment);
            seconds += repeat * f64::from(repeats.at_least());
            seconds_at_most += repeat * f64::from(repeats.at_most());
        }
    }
    Some(Estimate { gpu, seconds, seconds_at_most, usd_per_hour: usd_per_hour(manifest, placed) })
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |text: &dyn Fn(f64) -> String| {
            let (least, most) = (text(self.seconds), text(self.seconds_at_most));
            if least == most { least } else { format!("{least} to {most}") }
        };
        let span = range(&|seconds| TimeSpan::from(Duration::from_secs(seconds.ceil() as u64)).to_string());
        write!(f, "predicted on {}: the requests take {span}", self.gpu)?;
        if let Some(price) = self.usd_per_hour {
            let cost = range(&|seconds| format!("${:.2}", price * seconds / 3600.0));
            write!(f, ", {cost} at ${price} per hour")?;
        }
        f.write_str(", plus the time that servers take to start")
    }
}

/// The approximate duration of one repeat of a cell, in seconds. Of a long cell only the first few thousand
/// requests are predicted.
fn duration_s(setup: &Setup<'_>, cell: &Cell, machine: &Machine) -> Result<f64, PredictError> {
    const ENOUGH: u64 = 2000;
    let requests = match cell.stop {
        Stop::Duration(span) => return Ok(span.duration().as_secs_f64()),
        Stop::Requests(0) => return Ok(0.0),
        Stop::Requests(requests) => requests,
    };
    let predicted = requests.min(ENOUGH.max(4 * u64::from(cell.spec.streams().unwrap_or(0))));
    let shorter = Cell { stop: Stop::Requests(predicted), ..cell.clone() };
    let window = setup.predict(&shorter, machine)?.summary.window;
    let window = window.ok_or(PredictError::NoRequestCompletes)?;
    Ok(window.length_s * requests as f64 / predicted as f64)
}

/// The price of the servers' GPUs in dollars per hour: the manifest's if they are the manifest's own GPU,
/// else the catalogue's.
pub(super) fn usd_per_hour(manifest: &Manifest, placed: &BTreeMap<String, Placed>) -> Option<f64> {
    let gpu = &placed.values().next()?.server.gpu;
    let hardware = &manifest.hardware;
    let is_own = match hardware.gpu.as_deref().or(hardware.label.as_deref()) {
        Some(named) => find_gpu(named, &manifest.catalogue).is_some_and(|found| found.name == gpu.name),
        None => true,
    };
    let gpus = placed.values().map(|placed| placed.server.settings.gpus).max()?;
    let listed = gpu.usd_per_hour.map(|price| price * gpus as f64);
    hardware.usd_per_hour.filter(|_| is_own).or(listed)
}
