//! `predict RUN`: predictions laid beside what a stored run measured.

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    super::{
        args,
        exit::Exit,
        placing,
        predict_table::{aligned, percent},
        settings::Settings,
    },
    Ended,
    predict::read_calibration,
    print, refuse, report, say, unexpected, wrong,
};
use crate::{
    manifest::{Manifest, Overrides},
    predict::{self, Assumptions, Beside, Comparison},
    store::{self, PredictedCell, RunFolder, StoredRun},
};

pub(super) fn predict_run(words: &args::Predict, settings: &Settings) -> Ended {
    if let Some(option) = words.of_manifest() {
        return Err(wrong(format!(
            "{option} is for a manifest, and {} is a run: its own predictions are laid beside it",
            words.target
        )));
    }
    let folder = report::folder(&words.target, settings)?;
    let mut stored = store::read(&folder).map_err(unexpected)?;
    if let Some(what) = unmeasured(&stored) {
        return Err(wrong(format!("{folder} {what}")));
    }
    let manifest = manifest_of(&stored, words.manifest.as_deref())?;
    let calibration = words.calibration.as_deref().map(read_calibration).transpose()?;
    let seen = stored.run.gpus.first().map(|gpu| gpu.name.clone());
    let placed = placing::placed(
        &stored.plan,
        &manifest.catalogue,
        words.gpu.as_deref(),
        calibration.as_ref(),
        seen.as_deref(),
    )
    .map_err(|findings| refuse(&findings))?;
    let assumed = Assumptions {
        answers: words.answers,
        prompts: calibration.as_ref().map_or(1.0, |known| known.prompts),
    };
    let basis = predict::basis(placed.values(), assumed, calibration.as_ref())
        .ok_or_else(|| wrong("the run has no server, so there is nothing to predict"))?;
    let with = Beside {
        plan: &stored.plan,
        placed: &placed,
        inputs: &manifest.inputs,
        basis,
        assumed,
        measured: &stored.cells,
        earlier: None,
        spill: &std::env::temp_dir(),
    };
    let predictions = predict::beside(&with, &|| true);
    {
        let open = RunFolder::open(&folder).map_err(unexpected)?;
        open.write_predictions(&predictions).map_err(unexpected)?;
        stored.predictions = Some(predictions);
        open.write_tables(&stored).map_err(unexpected)?;
    }
    let notes = report::written(&folder, settings.templates.as_deref())?;
    let Some(predictions) = &stored.predictions else {
        return Ok(Exit::Finished);
    };
    if words.json {
        let text = serde_json::to_string_pretty(predictions).map_err(unexpected)?;
        print(&format!("{text}\n"))?;
    } else if words.csv {
        let table = store::cells_csv(&stored).map_err(unexpected)?;
        print(&String::from_utf8_lossy(&table))?;
    } else {
        print(&table(&stored))?;
    }
    for missing in &predictions.missing {
        say(missing);
    }
    if !settings.quiet {
        say(&format!(
            "predicted for {}; {}; stored in {folder}/predicted.json, and in {}",
            predictions.basis.hardware,
            predictions.basis.validation,
            notes
                .iter()
                .find(|note| note.ends_with("capacity.md"))
                .map_or_else(|| folder.to_string(), Utf8PathBuf::to_string)
        ));
    }
    Ok(Exit::Finished)
}

/// Why nothing in a run was measured on a real engine from a plan; `None` where it was.
fn unmeasured(stored: &StoredRun) -> Option<&'static str> {
    if stored.run.predicted.is_some() {
        Some("was predicted itself, so there is nothing measured to lay a prediction beside")
    } else if stored.run.imported.is_some() {
        Some(
            "was imported: nobody knows what was asked; predict a manifest that asks the same, with --against its cells.csv",
        )
    } else if stored.run.simulated {
        Some("was simulated: nothing in it was measured on a real engine")
    } else {
        None
    }
}

/// The manifest with a run's prompts: the one that is named; else the run's own copy; else one that its command names, when it
/// asks the same. Only the files it names and its catalogue count: the plan is the run's.
pub(super) fn manifest_of(stored: &StoredRun, named: Option<&Utf8Path>) -> Result<Manifest, Exit> {
    let read = |path: &Utf8Path| Manifest::load(path, &Overrides::default());
    let own = stored.folder.join("effective.toml");
    let (found, findings) = read(named.unwrap_or(&own));
    if let Some(manifest) = found {
        return Ok(manifest);
    }
    let same = |manifest: &Manifest| {
        let mut inputs = manifest.inputs.0.values();
        inputs.all(|input| stored.effective.contains(&input.sha256))
    };
    let of_command = || {
        let words = stored.run.command.iter().map(Utf8Path::new);
        words
            .filter(|word| word.extension() == Some("toml") && word.is_file())
            .find_map(|path| read(path).0.filter(same))
    };
    match named {
        None => of_command(),
        Some(_) => None,
    }
    .ok_or_else(|| {
        wrong(format!(
            "the prompts of the run cannot be read from {}; name its manifest with --manifest\n{}",
            named.unwrap_or(&own),
            findings.render(false)
        ))
    })
}

/// Predicted beside measured, a line for each cell that was measured.
fn table(stored: &StoredRun) -> String {
    let head = [
        "cell",
        "answers",
        "predicted p50 E2E ms",
        "measured p50 E2E ms",
        "error",
        "predicted tok/s",
        "measured tok/s",
        "error",
        "",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    // Of the cells that the constants were fitted to, and of the others.
    let mut errors: [[Vec<Comparison>; 2]; 2] = Default::default();
    let mut otherwise = String::new();
    for cell in &stored.cells {
        let predicted = stored.predictions.as_ref().and_then(|all| all.cells.get(&cell.id));
        let Some(predicted) = predicted else { continue };
        let measured = cell.summary.as_ref();
        let latency =
            pair(predicted.p50_e2e_ms, measured.and_then(|summary| Some(summary.e2e.as_ref()?.p50_ms)));
        let rate = pair(predicted.throughput_tok_s, measured.and_then(|summary| summary.throughput_tok_s));
        if latency.is_none() && rate.is_none() {
            if cell.outcome != predicted.outcome {
                otherwise.push_str(&format!(
                    "{}: predicted {}, measured {}\n",
                    cell.id,
                    predicted.outcome.name(),
                    cell.outcome.name()
                ));
            }
            continue;
        }
        let mut line = vec![cell.id.clone(), answers(predicted)];
        let fitted = stored.predictions.as_ref().is_some_and(|all| all.fitted().contains(&cell.id));
        for (pair, all) in [latency, rate].into_iter().zip(&mut errors[usize::from(fitted)]) {
            match pair {
                Some(pair) => {
                    line.push(format!("{:.0}", pair.predicted));
                    line.push(format!("{:.0}", pair.measured));
                    line.push(format!("{:+.1} %", pair.error() * 100.0));
                    all.push(pair);
                }
                None => line.extend(["-"; 3].map(str::to_owned)),
            }
        }
        line.push(if fitted { "fitted" } else { "" }.to_owned());
        lines.push(line);
    }
    let [others, fitted] = errors;
    let median = |[e2e, throughput]: &[Vec<Comparison>; 2], cells: &str| {
        Comparison::median_error(e2e).map_or_else(String::new, |error| {
            let of_throughput = Comparison::median_error(throughput)
                .map_or_else(String::new, |error| format!(", of throughput {}", percent(error)));
            format!(
                "median absolute error of p50 E2E over {} {cells}: {}{of_throughput}\n",
                e2e.len(),
                percent(error)
            )
        })
    };
    let held_out = match fitted[0].is_empty() {
        true => "cells",
        false => "cells that were not fitted",
    };
    format!("{}{otherwise}{}{}", aligned(&lines), median(&others, held_out), median(&fitted, "fitted cells"))
}

fn answers(predicted: &PredictedCell) -> String {
    use crate::store::AnswersFrom;
    let from = match predicted.answers_from {
        AnswersFrom::Exact => "asked",
        AnswersFrom::Assumed => "assumed",
        AnswersFrom::Measured => "measured",
    };
    predicted.output_tokens.map_or_else(|| from.to_owned(), |tokens| format!("{tokens:.0} {from}"))
}

/// Two values of one number, whatever its unit.
fn pair(predicted: Option<f64>, measured: Option<f64>) -> Option<Comparison> {
    let (predicted, measured) = predicted.zip(measured)?;
    (measured > 0.0).then_some(Comparison { predicted, measured })
}
