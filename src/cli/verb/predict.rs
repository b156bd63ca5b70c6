//! `predict` and `calibrate`: what a run would measure, in virtual time, and the constants that make it true.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;

use super::{
    super::{
        args,
        exit::Exit,
        outlook, placing,
        predict_table::{Row, compared, percent, table},
        settings::Settings,
    },
    Ended, command_line, counted, planned,
    predict_run::{manifest_of, predict_run},
    print, refuse, report, say, selected, settings, unexpected, wrong,
};
use crate::{
    engine::hardware::find_gpu,
    manifest::Manifest,
    plan::{Plan, selects},
    predict::{self, Against, Assumptions, Calibration, Fitted, Placed, Told},
    store::{self, StoredRun},
};

/// Version of the calibration's form.
const FORMAT: u32 = 1;

pub(super) fn predict(words: &args::Predict) -> Ended {
    let settings = settings(&words.talk, words.results.as_ref(), words.templates.as_ref())?;
    if words.is_of_run() {
        return predict_run(words, &settings);
    }
    let (manifest, mut plan) = planned(&words.as_manifest(), None)?;
    selected(&plan, &words.only)?;
    plan.keep(&words.only);
    let name = words.name.as_deref();
    let taken = name.map(|name| settings.results.join(&plan.experiment.name).join(name));
    if let Some(folder) = taken.filter(|folder| folder.join("run.json").exists()) {
        return Err(wrong(format!(
            "there is a run {folder} already; choose another name with --name, or remove that folder"
        )));
    }
    let calibration = words.calibration.as_deref().map(read_calibration).transpose()?;
    let against = words.against.as_deref().map(measured).transpose()?;
    let assumed = Assumptions {
        answers: words.answers,
        prompts: calibration.as_ref().map_or(1.0, |known| known.prompts),
    };
    let own = &manifest.catalogue;
    let placed = placing::placed(&plan, own, words.gpu.as_deref(), calibration.as_ref(), None)
        .map_err(|findings| refuse(&findings))?;
    let run = predicted(&manifest, plan, &placed, assumed, calibration.as_ref(), name)?;
    let notes = match name {
        Some(_) => stored(&manifest, &run, &settings)?,
        None => Vec::new(),
    };
    let rows = Row::all(&run, against.as_ref());
    if words.json {
        let all: Vec<_> = rows.iter().map(Row::json).collect();
        print(&format!("{:#}\n", serde_json::Value::from(all)))?;
    } else if words.csv {
        let table = store::cells_csv(&run).map_err(unexpected)?;
        print(&String::from_utf8_lossy(&table))?;
    } else if against.is_some() {
        print(&compared(&rows, calibration.as_ref()).map_err(wrong)?)?;
    } else if name.is_some() {
        for note in &notes {
            print(&format!("{note}\n"))?;
        }
    } else {
        print(&table(&rows))?;
    }
    if !settings.quiet {
        say(&rests_on(&run));
    }
    Ok(Exit::Finished)
}

/// The whole grid, as a run that is not on a disk.
fn predicted(
    manifest: &Manifest,
    mut plan: Plan,
    placed: &BTreeMap<String, Placed>,
    assumed: Assumptions,
    calibration: Option<&Calibration>,
    name: Option<&str>,
) -> Result<StoredRun, Exit> {
    let basis = predict::basis(placed.values(), assumed, calibration)
        .ok_or_else(|| wrong("the plan has no server, so there is nothing to predict"))?;
    // A label is another machine's where another GPU is named.
    let label =
        plan.hardware.label.take().filter(|label| {
            find_gpu(label, &manifest.catalogue).is_some_and(|gpu| gpu.name == basis.hardware)
        });
    plan.hardware.label = Some(label.unwrap_or_else(|| basis.hardware.clone()));
    plan.hardware.gpu = Some(basis.hardware.clone());
    plan.hardware.usd_per_hour = outlook::price(manifest, placed);
    let told = Told {
        name: name.unwrap_or("predicted").to_owned(),
        command: command_line(),
        effective: manifest.effective().map_err(unexpected)?,
        now: Timestamp::now(),
    };
    let spill = std::env::temp_dir();
    predict::stored(&plan, placed, basis, &manifest.inputs, assumed, told, &spill).map_err(wrong)
}

/// Writes a predicted run, and its notes; the paths are theirs.
fn stored(manifest: &Manifest, run: &StoredRun, settings: &Settings) -> Result<Vec<Utf8PathBuf>, Exit> {
    let folder = store::write_run(&settings.results, Some(&manifest.text), run).map_err(unexpected)?;
    report::written(&folder, settings.templates.as_deref())
}

/// What the numbers are, in a line.
fn rests_on(run: &StoredRun) -> String {
    let Some(basis) = &run.run.predicted else {
        return String::new();
    };
    format!(
        "{} predicted for {} in virtual time, not measured; answers that end by themselves are taken to be {} of max_tokens \
         long; {}",
        counted(run.cells.len(), "cell"),
        basis.hardware,
        percent(basis.answers),
        basis.validation
    )
}

fn measured(path: &Utf8Path) -> Result<Against, Exit> {
    let text = std::fs::read_to_string(path).map_err(|why| wrong(format!("cannot read {path}: {why}")))?;
    Against::read(&text).map_err(|why| wrong(format!("{path} is no table of measurements: {why}")))
}

pub(super) fn read_calibration(path: &Utf8Path) -> Result<Calibration, Exit> {
    let text = std::fs::read_to_string(path).map_err(|why| wrong(format!("cannot read {path}: {why}")))?;
    let known: Calibration = toml::from_str(&text)
        .map_err(|why| wrong(format!("{path} is no calibration, which `runner calibrate` writes: {why}")))?;
    if known.format > FORMAT {
        return Err(wrong(format!("{path} has format {}, newer than {FORMAT}", known.format)));
    }
    Ok(known)
}

pub(super) fn calibrate(words: &args::Calibrate) -> Ended {
    let settings = settings(&words.talk, words.results.as_ref(), None)?;
    let folder = report::folder(&words.run, &settings)?;
    let stored = store::read(&folder).map_err(unexpected)?;
    let manifest = manifest_of(&stored, words.manifest.as_deref())?;
    if stored.run.predicted.is_some() {
        return Err(wrong(format!(
            "{folder} was predicted, and nothing in it was measured: constants fitted to it would be those it was made with"
        )));
    }
    if stored.run.simulated {
        say("the run was simulated: constants fitted to it are the embedded engine's");
    }
    let placed = placing::placed(
        &stored.plan,
        &manifest.catalogue,
        words.gpu.as_deref(),
        None,
        stored.run.gpus.first().map(|gpu| gpu.name.as_str()),
    )
    .map_err(|findings| refuse(&findings))?;
    let hardware = placed.values().next().map_or_else(String::new, |placed| placed.modelled.gpu.name.clone());
    let mut fitted = Vec::new();
    for group in &stored.plan.groups {
        let machine = placed.get(&group.id).and_then(|placed| placed.machine.as_ref().ok());
        let Some(machine) = machine else { continue };
        for cell in group.cells.iter().filter(|cell| selects(&words.only, &cell.id)) {
            let file = stored.cells.iter().find(|file| file.id == cell.id);
            if let Some(summary) = file.and_then(|file| file.summary.as_ref()) {
                fitted.push(Fitted { cell, machine, summary });
            }
        }
    }
    let (speed, prompts, [median, largest, throughput]) =
        predict::calibrate(&fitted, &manifest.inputs, &std::env::temp_dir()).map_err(wrong)?;
    let calibration = Calibration {
        format: FORMAT,
        run: stored.run.name.clone(),
        hardware,
        model: stored.plan.groups.first().map_or_else(String::new, |group| group.server.model.clone()),
        cells: fitted.len(),
        fitted: fitted.iter().map(|one| one.cell.id.clone()).collect(),
        prompts,
        median_e2e_error: median,
        largest_e2e_error: largest,
        median_throughput_error: throughput,
        speed,
    };
    let text = toml::to_string(&calibration).map_err(unexpected)?;
    match &words.out {
        Some(out) => store::write_whole(out, text.as_bytes()).map_err(unexpected)?,
        None => print(&text)?,
    }
    say(&format!(
        "fitted to {} cells: median error of p50 E2E {}, largest {}; of throughput {}",
        fitted.len(),
        percent(median),
        percent(largest),
        percent(throughput)
    ));
    Ok(Exit::Finished)
}
