//! `predict RUN`: predicts what a stored run measured, and stores the predictions beside it.

use camino::Utf8PathBuf;

use super::{
    super::{args, exit::Exit, settings::Settings},
    Ended, accept, predict_table as table, print, print_json, report, say, unexpected, wrong,
};
use crate::{
    measure::Metric,
    predict::{self, Accuracy, Assumptions, Calibration, Comparison, MeasuredRun, Placement, PredictError},
    store::{self, AnswersFrom, PredictedCell, RunFolder, StoredRun},
};

pub(super) fn predict_run(args: &args::Predict, settings: &Settings) -> Ended {
    if let Some(option) = args.of_manifest() {
        return Err(wrong(format!(
            "{option} needs a manifest, and {} is a run, which is compared with its own prediction",
            args.target
        )));
    }
    let mut stored = report::stored(&args.target, settings)?;
    let folder = stored.folder.clone();
    predict::check_measured(&stored).map_err(wrong)?;
    let predictions = predictions(args, &stored)?;
    {
        let open = RunFolder::open(&folder).map_err(unexpected)?;
        open.write_predictions(&predictions).map_err(unexpected)?;
        stored.predictions = Some(predictions.clone());
        open.write_tables(&stored).map_err(unexpected)?;
    }
    let notes = report::written(&folder, settings.templates.as_deref())?;
    if args.json {
        print_json(&predictions)?;
    } else if args.csv {
        let rows = store::cells_csv(&stored).map_err(unexpected)?;
        print(&String::from_utf8_lossy(&rows))?;
    } else {
        print(&compared(&stored, &predictions))?;
    }
    for missing in &predictions.missing {
        say(missing);
    }
    if !settings.quiet {
        let note = notes.iter().find(|note| note.ends_with("capacity.md"));
        say(&format!(
            "predicted for {}; {}; stored in {folder}/predicted.json and shown in {}",
            predictions.basis.hardware,
            predictions.basis.validation,
            note.map_or_else(|| folder.to_string(), Utf8PathBuf::to_string)
        ));
    }
    Ok(Exit::Finished)
}

fn predictions(args: &args::Predict, stored: &StoredRun) -> Result<store::Predictions, Exit> {
    let manifest = predict::manifest_of_run(stored, args.manifest.as_deref()).map_err(wrong)?;
    let calibration = args.calibration.as_deref().map(Calibration::read).transpose().map_err(wrong)?;
    let calibration = calibration.as_ref();
    let placement = Placement {
        gpu: args.gpu.as_deref(),
        calibration,
        detected: stored.run.gpus.first().map(|gpu| gpu.name.as_str()),
        required: true,
        ..Placement::of(&manifest)
    };
    let placements = placement.place(&stored.plan);
    accept(&placements.findings)?;
    let placed = &placements.placed;
    let assumed = Assumptions::with(args.answers, calibration);
    let basis = predict::basis(placed.values(), assumed, calibration);
    let run = MeasuredRun {
        plan: &stored.plan,
        placed,
        inputs: &manifest.inputs,
        basis: basis.ok_or(PredictError::NoServer).map_err(wrong)?,
        assumed,
        measured: &stored.cells,
        earlier: None,
        spill: &std::env::temp_dir(),
    };
    Ok(run.predict(&|| true))
}

/// The comparison, and below it the cells whose outcome was predicted wrongly.
fn compared(stored: &StoredRun, predictions: &store::Predictions) -> String {
    let mut wrong_outcomes = String::new();
    let mut rows = Vec::new();
    for cell in &stored.cells {
        let Some(predicted) = predictions.cells.get(&cell.id) else { continue };
        let latency = Comparison::of(predicted.p50_e2e_ms, cell.number(Metric::P50_E2E));
        let row = table::Row {
            cell: &cell.id,
            answers: answers(predicted),
            latency,
            throughput: Comparison::of(predicted.throughput_tok_s, cell.number(Metric::OUTPUT)),
            fitted: predictions.fitted().contains(&cell.id),
            inside: table::is_inside(latency, Metric::P50_E2E, Accuracy::of(&predictions.basis)),
        };
        if row.is_compared() {
            rows.push(row);
        } else if cell.outcome != predicted.outcome {
            let (expected, actual) = (predicted.outcome.name(), cell.outcome.name());
            wrong_outcomes.push_str(&format!("{}: predicted {expected}, measured {actual}\n", cell.id));
        }
    }
    table::compared(&rows).unwrap_or_default() + &wrong_outcomes
}

fn answers(predicted: &PredictedCell) -> String {
    let from = match predicted.answers_from {
        AnswersFrom::Exact => "exact",
        AnswersFrom::Assumed => "assumed",
        AnswersFrom::Measured => "measured",
    };
    predicted.output_tokens.map_or_else(|| from.to_owned(), |tokens| format!("{tokens:.0} {from}"))
}
