//! `predict` and `calibrate`: what a run would measure, in virtual time, and the constants that make it true.

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::json;

use super::{
    super::{args, exit::Exit},
    Ended, planned, print, report, say, selected, settings, unexpected, wrong,
};
use crate::{
    engine::{
        hardware::{Gpu, find_gpu, unknown_gpu},
        model::{ModelShape, find_model, model_of_config, unknown_model},
    },
    manifest::{Catalogue, Manifest, Overrides, Server},
    plan::{Cell, Group, Plan, selects},
    predict::{self, Against, Assumptions, Calibration, Comparison, Fitted, Machine, Predicted},
    store,
};

/// Version of the calibration's form.
const FORMAT: u32 = 1;

pub(super) fn predict(words: &args::Predict) -> Ended {
    settings(&words.talk, None, None)?;
    let (manifest, plan) = planned(&words.manifest, None)?;
    selected(&plan, &words.only)?;
    let calibration = words
        .calibration
        .as_deref()
        .map(read_calibration)
        .transpose()?;
    let gpu = hardware(
        words
            .gpu
            .as_deref()
            .or(calibration.as_ref().map(|known| known.hardware.as_str())),
        &plan,
    )?;
    let against = words.against.as_deref().map(measured).transpose()?;
    let assumed = Assumptions {
        answers: words.answers,
        prompts: calibration.as_ref().map_or(1.0, |known| known.prompts),
    };
    let mut rows = Vec::new();
    for group in &plan.groups {
        let machine = machine(group, &gpu, calibration.as_ref())?;
        for cell in group
            .cells
            .iter()
            .filter(|cell| selects(&words.only, &cell.id))
        {
            let outcome = match &machine {
                Ok(machine) => predict_cell(&manifest, cell, machine, assumed)?,
                Err(reason) => Err(reason.clone()),
            };
            let measured = against
                .as_ref()
                .and_then(|table| table.p50_e2e_ms(group, cell));
            rows.push(Row {
                group,
                cell,
                outcome,
                measured,
            });
        }
    }
    if words.json {
        let all: Vec<_> = rows.iter().map(|row| row.json(&gpu)).collect();
        print(&format!("{:#}\n", serde_json::Value::from(all)));
    } else if against.is_some() {
        print(&compared(&rows)?);
    } else {
        print(&table(&rows));
    }
    say(&format!(
        "predicted for {} in virtual time, not measured; answers of {} of max_tokens are assumed, {}",
        gpu.name,
        percent(words.answers),
        match &calibration {
            Some(known) => format!(
                "constants calibrated on {} cells of {} (median error there {})",
                known.cells,
                known.run,
                percent(known.median_e2e_error)
            ),
            None => "constants from the catalogue of hardware".to_owned(),
        }
    ));
    Ok(Exit::Finished)
}

struct Row<'a> {
    group: &'a Group,
    cell: &'a Cell,
    /// What it would measure, or why its server would not start.
    outcome: Result<Predicted, String>,
    /// The median E2E that was measured, milliseconds.
    measured: Option<f64>,
}

impl Row<'_> {
    fn json(&self, gpu: &Gpu) -> serde_json::Value {
        let (outcome, predicted, reason) = match &self.outcome {
            Ok(predicted) => ("predicted", json!(predicted), None),
            Err(reason) => ("does_not_fit", json!(null), Some(reason)),
        };
        json!({"cell": self.cell.id, "workload": self.cell.workload, "server": self.group.id, "gpu": gpu.name,
               "predicted": true, "outcome": outcome, "reason": reason, "prediction": predicted,
               "measured_p50_e2e_ms": self.measured})
    }
}

fn predict_cell(
    manifest: &Manifest,
    cell: &Cell,
    machine: &Machine,
    assumed: Assumptions,
) -> Result<Result<Predicted, String>, Exit> {
    if let Some(reason) = &cell.skip {
        return Ok(Err(format!("skipped: {reason}")));
    }
    let spill = std::env::temp_dir();
    let predicted = predict::predict(cell, &manifest.inputs, machine, assumed, &spill);
    predicted
        .map(Ok)
        .map_err(|why| wrong(format!("{} cannot be predicted: {why}", cell.id)))
}

fn table(rows: &[Row<'_>]) -> String {
    let mut lines = vec![
        [
            "predicted cell",
            "output",
            "p50 TTFT ms",
            "p95 TTFT ms",
            "p50 E2E ms",
            "p95 E2E ms",
            "tok/s",
            "preempted",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let mut notes = String::new();
    for row in rows {
        let mut line = vec![row.cell.id.clone()];
        match &row.outcome {
            Ok(predicted) => {
                let summary = &predicted.summary;
                let ms = |value: Option<f64>| {
                    value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0}"))
                };
                let (ttft, e2e) = (summary.ttft.as_ref(), summary.e2e.as_ref());
                line.push(predicted.output_tokens.to_string());
                line.push(ms(ttft.map(|latency| latency.p50_ms)));
                line.push(ms(ttft.map(|latency| latency.p95_ms)));
                line.push(ms(e2e.map(|latency| latency.p50_ms)));
                line.push(ms(e2e.map(|latency| latency.p95_ms)));
                line.push(ms(summary.throughput_tok_s));
                line.push(predicted.preemptions.to_string());
            }
            Err(reason) => {
                line.extend(["-"; 7].map(str::to_owned));
                notes.push_str(&format!("{}: {reason}\n", row.cell.id));
            }
        }
        lines.push(line);
    }
    aligned(&lines) + &notes
}

/// The table of predicted beside measured.
fn compared(rows: &[Row<'_>]) -> Result<String, Exit> {
    let mut lines = vec![
        [
            "cell",
            "output",
            "predicted p50 E2E ms",
            "measured p50 E2E ms",
            "error",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let mut all = Vec::new();
    for row in rows {
        let Some(measured_ms) = row.measured else {
            continue;
        };
        let Some(predicted_ms) = row
            .outcome
            .as_ref()
            .ok()
            .and_then(|predicted| predicted.summary.e2e.as_ref())
            .map(|latency| latency.p50_ms)
        else {
            continue;
        };
        let one = Comparison {
            predicted_ms,
            measured_ms,
        };
        let output = row
            .outcome
            .as_ref()
            .map_or(0, |predicted| predicted.output_tokens);
        lines.push(vec![
            row.cell.id.clone(),
            output.to_string(),
            format!("{predicted_ms:.0}"),
            format!("{measured_ms:.0}"),
            format!("{:+.1} %", one.error() * 100.0),
        ]);
        all.push(one);
    }
    let Some(median) = Comparison::median_error(&all) else {
        return Err(wrong(
            "no row of the table is one cell's: columns concurrency or rate, max_tokens, the axes and workload are matched \
             where the table has them; --only leaves cells out that would match twice",
        ));
    };
    Ok(format!(
        "{}median absolute error of p50 E2E over {} cells: {}\n",
        aligned(&lines),
        all.len(),
        percent(median)
    ))
}

/// Columns under each other, numbers to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let widths = lines.iter().filter_map(|line| line.get(column));
        widths
            .map(|text| text.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..lines.first().map_or(0, Vec::len)).map(width).collect();
    let mut out = String::new();
    for line in lines {
        for (column, (text, width)) in line.iter().zip(&widths).enumerate() {
            out.push_str(&match column {
                0 => format!("{text:<width$}"),
                _ => format!("  {text:>width$}"),
            });
        }
        out.push('\n');
    }
    out
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

/// The GPU that is named, or the one the manifest's label means.
fn hardware(named: Option<&str>, plan: &Plan) -> Result<Gpu, Exit> {
    let own = Catalogue::default();
    let label = named.or(plan.hardware.label.as_deref()).ok_or_else(|| {
        wrong("no GPU is named; write --gpu NAME, or a label under [hardware] of the manifest")
    })?;
    find_gpu(label, &own).ok_or_else(|| {
        let (title, help) = unknown_gpu(label, &own);
        wrong(format!("{title}\n  {}", help.join("\n  ")))
    })
}

/// The model of a server by its own config.json, or by its name.
fn shape(server: &Server) -> Result<ModelShape, Exit> {
    let own = Catalogue::default();
    let home = std::env::var("HOME").unwrap_or_default();
    let path = match server.model.strip_prefix("~/") {
        Some(rest) => Utf8Path::new(&home).join(rest),
        None => Utf8PathBuf::from(&server.model),
    };
    let config = path.join("config.json");
    if let Ok(text) = std::fs::read_to_string(&config) {
        return model_of_config(&server.model, &text)
            .map_err(|why| wrong(format!("{config} does not say the model's shape: {why}")));
    }
    find_model(&server.model, &own).ok_or_else(|| {
        let (title, help) = unknown_model(&server.model, &own);
        wrong(format!("{title}\n  {}", help.join("\n  ")))
    })
}

/// What a server would be, or why it would not start.
fn machine(
    group: &Group,
    gpu: &Gpu,
    calibration: Option<&Calibration>,
) -> Result<Result<Machine, String>, Exit> {
    let shape = shape(&group.server)?;
    Ok(
        Machine::new(&group.server, gpu, &shape).map(|machine| match calibration {
            Some(known) => machine.with_speed(known.speed),
            None => machine,
        }),
    )
}

fn measured(path: &Utf8Path) -> Result<Against, Exit> {
    let text =
        std::fs::read_to_string(path).map_err(|why| wrong(format!("cannot read {path}: {why}")))?;
    Against::read(&text).map_err(|why| wrong(format!("{path} is no table of measurements: {why}")))
}

fn read_calibration(path: &Utf8Path) -> Result<Calibration, Exit> {
    let text =
        std::fs::read_to_string(path).map_err(|why| wrong(format!("cannot read {path}: {why}")))?;
    let known: Calibration = toml::from_str(&text).map_err(|why| {
        wrong(format!(
            "{path} is no calibration, which `runner calibrate` writes: {why}"
        ))
    })?;
    if known.format > FORMAT {
        return Err(wrong(format!(
            "{path} has format {}, newer than {FORMAT}",
            known.format
        )));
    }
    Ok(known)
}

pub(super) fn calibrate(words: &args::Calibrate) -> Ended {
    let settings = settings(&words.talk, words.results.as_ref(), None)?;
    let folder = report::folder(&words.run, &settings)?;
    let stored = store::read(&folder).map_err(unexpected)?;
    let path = words
        .manifest
        .clone()
        .unwrap_or_else(|| folder.join("effective.toml"));
    let (manifest, findings) = Manifest::load(&path, &Overrides::default());
    let Some(manifest) = manifest else {
        return Err(wrong(format!(
            "the prompts of the run cannot be read from {path}; name its manifest with --manifest\n{}",
            findings.render(false)
        )));
    };
    if stored.run.simulated {
        say("the run was simulated: constants fitted to it are the embedded engine's");
    }
    let gpu = hardware(words.gpu.as_deref(), &stored.plan)?;
    let mut machines = Vec::new();
    for group in &stored.plan.groups {
        machines.push(machine(group, &gpu, None)?);
    }
    let groups = stored.plan.groups.iter().zip(&machines);
    let mut fitted = Vec::new();
    for (group, machine) in groups {
        let Ok(machine) = machine else { continue };
        for cell in group
            .cells
            .iter()
            .filter(|cell| selects(&words.only, &cell.id))
        {
            let file = stored.cells.iter().find(|file| file.id == cell.id);
            if let Some(summary) = file.and_then(|file| file.summary.as_ref()) {
                fitted.push(Fitted {
                    cell,
                    machine,
                    summary,
                });
            }
        }
    }
    let (speed, prompts, [median, largest, throughput]) =
        predict::calibrate(&fitted, &manifest.inputs, &std::env::temp_dir()).map_err(wrong)?;
    let calibration = Calibration {
        format: FORMAT,
        run: stored.run.name.clone(),
        hardware: gpu.name.clone(),
        model: stored
            .plan
            .groups
            .first()
            .map_or_else(String::new, |group| group.server.model.clone()),
        cells: fitted.len(),
        prompts,
        median_e2e_error: median,
        largest_e2e_error: largest,
        median_throughput_error: throughput,
        speed,
    };
    let text = toml::to_string(&calibration).map_err(unexpected)?;
    match &words.out {
        Some(out) => std::fs::write(out, text)
            .map_err(|why| unexpected(format!("cannot write {out}: {why}")))?,
        None => print(&text),
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

/// How long the requests of a plan would take on the hardware of its label, and what that costs; `None` where the hardware
/// or a model is in no catalogue.
pub(super) fn outlook(manifest: &Manifest, plan: &Plan) -> Option<String> {
    let own = Catalogue::default();
    let gpu = find_gpu(plan.hardware.label.as_deref()?, &own)?;
    let mut seconds = 0.0;
    for group in &plan.groups {
        let shape = find_model(&group.server.model, &own)?;
        // A server that would not start takes no requests.
        let Ok(machine) = Machine::new(&group.server, &gpu, &shape) else {
            continue;
        };
        for cell in group.cells.iter().filter(|cell| cell.skip.is_none()) {
            let once = predict::duration_s(cell, &manifest.inputs, &machine, &std::env::temp_dir())
                .ok()?;
            seconds += once * f64::from(plan.experiment.repeats);
        }
    }
    let cost = plan
        .hardware
        .usd_per_hour
        .or(gpu.usd_per_hour)
        .map_or_else(String::new, |price| {
            format!(", ${:.2}", price * seconds / 3600.0)
        });
    let whole = std::time::Duration::from_secs(seconds.ceil() as u64);
    Some(format!(
        "predicted on {}: the requests take {}{cost}; starts of servers come beside",
        gpu.name,
        crate::unit::TimeSpan::from(whole)
    ))
}
