//! The servers of a plan on the GPU they are predicted on, and what to say of one that is not known.

use std::collections::BTreeMap;

use crate::{
    diagnostic::{Finding, Findings},
    engine::{hardware::find_gpu, modelled::Unknown},
    manifest::{Catalogue, Hardware},
    plan::{Group, Plan},
    predict::{self, Calibration, Placed},
};

/// What is not known of a server, with what is and how to add to it.
pub(super) fn finding(unknown: &Unknown) -> Finding {
    let finding = Finding::error(&unknown.title);
    unknown.help.iter().fold(finding, Finding::help)
}

/// The servers of a plan by their groups' ids, on the GPU that is named, else on the one a calibration is of, else on the
/// one of the manifest, else on the one that was seen where they ran.
///
/// # Errors
/// What is not known, each once.
pub(super) fn placed(
    plan: &Plan,
    own: &Catalogue,
    named: Option<&str>,
    calibration: Option<&Calibration>,
    seen: Option<&str>,
) -> Result<BTreeMap<String, Placed>, Findings> {
    let mut findings = Findings::default();
    let mut said: Vec<Unknown> = Vec::new();
    let mut all = BTreeMap::new();
    for group in &plan.groups {
        let known = calibration.map(|known| known.hardware.as_str());
        let Some(gpu) = named.or(known).or_else(|| of_manifest(group, &plan.hardware, own, seen)) else {
            return Err(Findings(vec![
                Finding::error("no GPU is named, so nothing can be predicted")
                    .help("write --gpu NAME, or `gpu` or a label under [hardware] of the manifest"),
            ]));
        };
        match Placed::new(&group.server, gpu, own) {
            Ok(placed) => {
                let placed = match calibration {
                    Some(known) => placed.with_speed(known.speed),
                    None => placed,
                };
                all.insert(group.id.clone(), placed);
            }
            Err(unknown) => {
                if !said.contains(&unknown) {
                    findings.push(finding(&unknown));
                    said.push(unknown);
                }
            }
        }
    }
    match findings.has_errors() {
        true => Err(findings),
        false => Ok(all),
    }
}

/// What a manifest says that a server runs on.
fn of_manifest<'a>(
    group: &'a Group,
    hardware: &'a Hardware,
    own: &Catalogue,
    seen: Option<&'a str>,
) -> Option<&'a str> {
    let rehearsed = || group.server.sim.gpu.as_deref();
    let written = hardware.gpu.as_deref().or_else(rehearsed);
    // A label may be any name, so what was seen goes before one that means no GPU.
    let label = hardware.label.as_deref();
    let means = |name: &&str| find_gpu(name, own).is_some();
    written.or_else(|| label.filter(means)).or(seen).or(label)
}

/// The servers of a plan that run on a GPU and have a model that are known; the others are left out.
pub(super) fn known(plan: &Plan, own: &Catalogue, seen: Option<&str>) -> BTreeMap<String, Placed> {
    let placed = |group: &Group| {
        let gpu = predict::gpu_of(&group.server, &plan.hardware, own, seen)?;
        let placed = Placed::new(&group.server, gpu, own).ok()?;
        Some((group.id.clone(), placed))
    };
    plan.groups.iter().filter_map(placed).collect()
}
