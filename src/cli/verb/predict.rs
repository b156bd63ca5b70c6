//! `predict MANIFEST`: predicts what a run would measure.

use camino::Utf8Path;
use jiff::Timestamp;

use super::{
    super::{
        args,
        exit::Exit,
        screen::answered,
        table::{number, percent},
    },
    Ended, accept, command_line, counted, planned,
    predict_run::predict_run,
    predict_table as table, print, print_json, refuse, report, say, selected, settings, unexpected, wrong,
};
use crate::{
    import,
    measure::Metric,
    plan::Plan,
    predict::{self, Accuracy, Assumptions, Calibration, Comparison, Measurements, Origin, Placement},
    search,
    store::{self, RunFolder, StoredRun},
};

pub(super) fn predict(args: &args::Predict) -> Ended {
    let settings = settings(&args.settings)?;
    if args.is_of_run() {
        return predict_run(args, &settings);
    }
    let (manifest, mut plan) = planned(&args.as_manifest(), None)?;
    selected(&plan, &args.only)?;
    plan.keep(&args.only);
    let name = args.name.as_deref();
    let taken = name.map(|name| settings.results.join(&plan.experiment.name).join(name));
    if let Some(folder) = taken.filter(|folder| folder.join("run.json").exists()) {
        return Err(wrong(format!(
            "there is a run {folder} already; choose another name with --name, or remove that folder"
        )));
    }
    let calibration = args.calibration.as_deref().map(Calibration::read).transpose().map_err(wrong)?;
    let calibration = calibration.as_ref();
    let measured = args.against.as_deref().map(|path| measurements(path, &plan)).transpose()?;
    let placement =
        Placement { gpu: args.gpu.as_deref(), calibration, required: true, ..Placement::of(&manifest) };
    let placements = placement.place(&plan);
    // Warnings about the manifest's own GPU were shown with its other findings.
    if args.gpu.is_some() || placements.findings.has_errors() {
        accept(&placements.findings)?;
    }
    let origin = Origin {
        name: name.unwrap_or("predicted").to_owned(),
        command: command_line(),
        effective: manifest.effective().map_err(unexpected)?,
        now: Timestamp::now(),
    };
    let assumed = Assumptions::with(args.answers, calibration);
    let spill = std::env::temp_dir();
    let run =
        predict::predict_plan(&placement, plan, placements.placed, assumed, origin, &spill).map_err(wrong)?;
    let answers = search::answers(&run);
    let notes = match name {
        Some(_) => {
            let folder =
                store::write_run(&settings.results, Some(&manifest.text), &run).map_err(unexpected)?;
            if !answers.is_empty() {
                let open = RunFolder::open(&folder).map_err(unexpected)?;
                open.write_searches(search::table(&answers)).map_err(unexpected)?;
            }
            report::written(&folder, settings.templates.as_deref())?
        }
        None => Vec::new(),
    };
    if args.json {
        let all: Vec<_> = run.cells.iter().map(|cell| table::json(&run, cell)).collect();
        print_json(&all)?;
    } else if args.csv {
        let rows = store::cells_csv(&run).map_err(unexpected)?;
        print(&String::from_utf8_lossy(&rows))?;
    } else if let Some(measured) = &measured {
        print(&compared(&run, measured, calibration)?)?;
    } else if name.is_some() {
        for note in &notes {
            print(&format!("{note}\n"))?;
        }
    } else {
        print(&table::predicted(&run))?;
        for answer in &answers {
            print(&format!("{}\n", answered(answer)))?;
        }
    }
    if !settings.quiet {
        say(&basis_of(&run));
    }
    Ok(Exit::Finished)
}

/// What the numbers are and what they rest on, in one line.
fn basis_of(run: &StoredRun) -> String {
    let Some(basis) = &run.run.predicted else {
        return String::new();
    };
    format!(
        "{} predicted for {}, not measured; answers that end by themselves are assumed to have {} of max_tokens; {}",
        counted(run.cells.len(), "cell"),
        basis.hardware,
        percent(basis.answers),
        basis.validation
    )
}

/// Reads the measurements that `--against` names: a stored run, or any file that `import` reads.
fn measurements(path: &Utf8Path, plan: &Plan) -> Result<StoredRun, Exit> {
    if path.join("run.json").exists() {
        return store::read(path).map_err(unexpected);
    }
    let options = import::Options {
        name: "measurements".to_owned(),
        optional_axes: plan.server_axes.iter().chain(&plan.load_axes).cloned().collect(),
        ..import::Options::default()
    };
    let files = import::files(&[path.to_owned()]).map_err(refuse)?;
    let imported = import::import(&files, &options, Timestamp::now());
    imported.map(|(run, _)| run).map_err(refuse)
}

fn compared(
    run: &StoredRun,
    measured: &StoredRun,
    calibration: Option<&Calibration>,
) -> Result<String, Exit> {
    let measurements = Measurements::of(measured);
    let accuracy = run.run.predicted.as_ref().map(Accuracy::of);
    let planned = run.plan.groups.iter().flat_map(|group| group.cells.iter().map(move |cell| (group, cell)));
    let row = |(group, planned)| {
        let measured = measurements.of_cell(group, planned)?;
        let cell = run.cells.iter().find(|cell| cell.id == planned.id)?;
        let compare = |metric: Metric| Comparison::of(cell.number(metric), measured.number(metric));
        let latency = compare(Metric::P50_E2E);
        let inside = accuracy.and_then(|accuracy| table::is_inside(latency, Metric::P50_E2E, accuracy));
        Some(table::Row {
            cell: &cell.id,
            answers: number(table::output_tokens(cell), 0),
            latency,
            throughput: compare(Metric::OUTPUT),
            fitted: calibration.is_some_and(|calibration| calibration.fitted.contains(&cell.id)),
            inside,
        })
    };
    let rows: Vec<table::Row<'_>> = planned.filter_map(row).filter(table::Row::is_compared).collect();
    table::compared(&rows).ok_or_else(|| {
        wrong(
            "no measurement belongs to exactly one cell; measurements are matched by workload, concurrency or rate, \
             max_tokens and the axes, as far as they state them; use --only to leave out cells that match twice",
        )
    })
}
