//! `calibrate RUN`: fits the constants of the hardware to a measured run.

use super::{
    super::{args, exit::Exit, table::percent},
    Ended, accept, print, report, say, settings, unexpected, wrong,
};
use crate::{
    predict::{self, Placement},
    store,
};

pub(super) fn calibrate(args: &args::Calibrate) -> Ended {
    let settings = settings(&args.settings)?;
    let stored = report::stored(&args.run, &settings)?;
    let manifest = predict::manifest_of_run(&stored, args.manifest.as_deref()).map_err(wrong)?;
    if stored.run.predicted.is_some() {
        return Err(wrong(format!(
            "{} was predicted, not measured; constants fitted to it would be those it was made with",
            stored.folder
        )));
    }
    if stored.run.simulated {
        say("the run was simulated, so the constants will be the embedded engine's");
    }
    let placement = Placement {
        gpu: args.gpu.as_deref(),
        detected: stored.run.gpus.first().map(|gpu| gpu.name.as_str()),
        required: true,
        ..Placement::of(&manifest)
    };
    let placements = placement.place(&stored.plan);
    accept(&placements.findings)?;
    let spill = std::env::temp_dir();
    let fitted = predict::calibrate(&stored, &placements.placed, &manifest.inputs, &args.only, &spill);
    let calibration = fitted.map_err(wrong)?;
    let text = toml::to_string(&calibration).map_err(unexpected)?;
    match &args.out {
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
