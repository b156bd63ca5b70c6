//! How long a plan's requests would take, and what that costs.

use std::collections::BTreeMap;

use crate::{
    engine::hardware::find_gpu,
    manifest::Manifest,
    plan::Plan,
    predict::{self, Placed},
    unit::TimeSpan,
};

/// In a line; `None` where the GPU or the model of a server is not known.
pub(super) fn outlook(manifest: &Manifest, plan: &Plan, placed: &BTreeMap<String, Placed>) -> Option<String> {
    let gpu = &placed.values().next()?.modelled.gpu;
    let mut seconds = 0.0;
    for group in &plan.groups {
        // A server that would not start takes no requests.
        let Ok(machine) = &placed.get(&group.id)?.machine else {
            continue;
        };
        for cell in group.cells.iter().filter(|cell| cell.skip.is_none()) {
            let once = predict::duration_s(cell, &manifest.inputs, machine, &std::env::temp_dir());
            seconds += once.ok()? * f64::from(plan.experiment.repeats);
        }
    }
    let cost = price(manifest, placed)
        .map_or_else(String::new, |price| format!(", ${:.2} at ${price} per hour", price * seconds / 3600.0));
    let whole = std::time::Duration::from_secs(seconds.ceil() as u64);
    Some(format!(
        "predicted on {}: the requests take {}{cost}, plus the time that servers take to start",
        gpu.name,
        TimeSpan::from(whole)
    ))
}

/// Dollars an hour: the manifest's where its own GPU is predicted, else the catalogue's, where it has one, for every card.
pub(super) fn price(manifest: &Manifest, placed: &BTreeMap<String, Placed>) -> Option<f64> {
    let gpu = &placed.values().next()?.modelled.gpu;
    let hardware = &manifest.hardware;
    let is_own = match hardware.gpu.as_deref().or(hardware.label.as_deref()) {
        Some(named) => find_gpu(named, &manifest.catalogue).is_some_and(|found| found.name == gpu.name),
        None => true,
    };
    let cards = placed.values().map(|placed| placed.modelled.settings.tensor_parallel).max()?;
    let listed = gpu.usd_per_hour.map(|price| price * cards as f64);
    hardware.usd_per_hour.filter(|_| is_own).or(listed)
}
