//! `calibrate RUN`: fits the constants of the hardware to a measured run.

use super::{
    super::{args, exit::Exit, table::percent},
    Ended, print, refuse, report, say, settings, show, unexpected, wrong,
};
use crate::{
    predict::{self, Placement},
    store,
};

pub(super) fn calibrate(words: &args::Calibrate) -> Ended {
    let settings = settings(&words.talk, words.results.as_ref(), None)?;
    let folder = report::folder(&words.run, &settings)?;
    let stored = store::read(&folder).map_err(unexpected)?;
    let manifest = predict::manifest_of_run(&stored, words.manifest.as_deref()).map_err(wrong)?;
    if stored.run.predicted.is_some() {
        return Err(wrong(format!(
            "{folder} was predicted, not measured; constants fitted to it would be those it was made with"
        )));
    }
    if stored.run.simulated {
        say("the run was simulated, so the constants will be the embedded engine's");
    }
    let placement = Placement {
        gpu: words.gpu.as_deref(),
        detected: stored.run.gpus.first().map(|gpu| gpu.name.as_str()),
        required: true,
        ..Placement::of(&manifest)
    };
    let placements = placement.place(&stored.plan);
    if placements.findings.has_errors() {
        return Err(refuse(&placements.findings));
    }
    show(&placements.findings);
    let spill = std::env::temp_dir();
    let fitted = predict::calibrate(&stored, &placements.placed, &manifest.inputs, &words.only, &spill);
    let calibration = fitted.map_err(wrong)?;
    let text = toml::to_string(&calibration).map_err(unexpected)?;
    match &words.out {
        Some(out) => store::write_whole(out, text.as_bytes()).map_err(unexpected)?,
        None => print(&text)?,
    }
    say(&format!(
        "fitted to {} cells: median error of p50 E2E {}, largest {}; median error of throughput {}",
        calibration.cells,
        percent(calibration.median_e2e_error),
        percent(calibration.largest_e2e_error),
        percent(calibration.median_throughput_error)
    ));
    Ok(Exit::Finished)
}
