//! Builds a run from measurements.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    File, Options,
    measurement::{Measurement, reported, summary},
    verdicts,
};
use crate::{
    diagnostic::Finding,
    manifest::{Hardware, Server, scalar_text, sha256},
    measure::{self, CellOutcome, Summary},
    plan::{Group, Plan},
    store::{CellFile, FORMAT, Imported, ImportedFile, RunFile, StoredRun},
};

/// The name of an imported run's folder.
const RUN: &str = "imported";

/// A cell and the measurements of its repeats.
struct Point {
    workload: String,
    server: Key,
    load: BTreeMap<String, Value>,
    rows: Vec<Measurement>,
}

/// What distinguishes servers.
#[derive(Clone, PartialEq)]
struct Key {
    model: Option<String>,
    flags: BTreeMap<String, Value>,
}

pub(super) fn build(
    rows: Vec<Measurement>,
    files: &[File],
    client: String,
    options: &Options,
    now: Timestamp,
) -> Result<StoredRun, Finding> {
    let (label, rows) = one_machine(rows, options)?;
    let points = points(rows, options);
    let axes = Axes::of(&points);
    let mut groups: Vec<(Key, Group)> = Vec::new();
    let mut cells = Vec::new();
    for point in &points {
        let at = match groups.iter().position(|(key, _)| *key == point.server) {
            Some(at) => at,
            None => {
                groups.push((point.server.clone(), group(&point.server, &axes)?));
                groups.len() - 1
            }
        };
        cells.push(cell(point, &groups[at].1, &axes, &client, options, now));
    }
    let first = cells.iter().map(|cell| cell.started_at).min().unwrap_or(now);
    let last = cells.iter().map(|cell| cell.finished_at).max().unwrap_or(now);
    let experiment = serde_json::from_value(json!({ "name": options.name }))
        .map_err(|error| Finding::error(format!("{:?} is not a name: {error}", options.name)))?;
    let plan = Plan {
        format: 1,
        experiment,
        hardware: Hardware { gpu: None, label, usd_per_hour: options.usd_per_hour },
        server_axes: axes.server,
        load_axes: axes.load,
        groups: groups.into_iter().map(|(_, group)| group).collect(),
        searches: Vec::new(),
    };
    let run = RunFile {
        imported: Some(Imported {
            client,
            files: files.iter().map(file).collect(),
            cells: cells.iter().map(|cell| cell.id.clone()).collect(),
            caveats: options.caveats.clone(),
        }),
        finished_at: Some(last),
        ..RunFile::new(RUN, &options.command, plan.experiment.seed, first)
    };
    Ok(StoredRun {
        folder: camino::Utf8PathBuf::new(),
        run,
        plan,
        servers: Vec::new(),
        cells,
        effective: "# Imported: there is no manifest.\n".into(),
        predictions: None,
    })
}

fn file(file: &File) -> ImportedFile {
    // The folder distinguishes the files of a sweep.
    let parts: Vec<&str> = file.name.rsplit('/').take(2).collect();
    let parts: Vec<&str> = parts.into_iter().rev().filter(|part| !matches!(*part, "" | "." | "..")).collect();
    ImportedFile { name: parts.join("/"), sha256: sha256(file.text.as_bytes()) }
}

/// The machine's name, and the rows that were measured on it.
fn one_machine(
    rows: Vec<Measurement>,
    options: &Options,
) -> Result<(Option<String>, Vec<Measurement>), Finding> {
    let named: BTreeSet<String> = rows.iter().filter_map(|row| row.gpu.clone()).collect();
    match &options.gpu {
        Some(gpu) if named.contains(gpu) => {
            let own = rows.into_iter().filter(|row| row.gpu.as_ref() == Some(gpu));
            Ok((Some(gpu.clone()), own.collect()))
        }
        Some(gpu) if named.len() < 2 => Ok((Some(gpu.clone()), rows)),
        None if named.len() < 2 => Ok((named.into_iter().next(), rows)),
        _ => {
            let names: Vec<String> = named.into_iter().collect();
            Err(Finding::error(format!(
                "the files contain rows of {} machines: {}",
                names.len(),
                names.join(", ")
            ))
            .help("a run has one machine: choose it with `runner import --gpu`, and import the others under other names"))
        }
    }
}

/// Groups rows by point; rows of the same point are its repeats.
fn points(rows: Vec<Measurement>, options: &Options) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for mut row in rows {
        row.completed = row.completed.or(options.requests);
        let workload = row.workload.clone().unwrap_or_else(|| options.workload.clone());
        let server =
            Key { model: row.model.clone().or_else(|| options.model.clone()), flags: row.server.clone() };
        let key = json!([workload, server.model, server.flags, row.load]).to_string();
        match known.get(&key) {
            Some(at) => points[*at].rows.push(row),
            None => {
                known.insert(key, points.len());
                points.push(Point { workload, server, load: row.load.clone(), rows: vec![row] });
            }
        }
    }
    points
}

/// The names of what varies.
struct Axes {
    server: Vec<String>,
    load: Vec<String>,
}

const MODEL: &str = "model";

impl Axes {
    fn of(points: &[Point]) -> Self {
        let varies = |get: &dyn Fn(&Point) -> Option<Value>| {
            let texts: BTreeSet<Option<String>> =
                points.iter().map(|point| get(point).map(|v| v.to_string())).collect();
            texts.len() > 1
        };
        let names = |of: fn(&Point) -> &BTreeMap<String, Value>| {
            let names: BTreeSet<&String> = points.iter().flat_map(|point| of(point).keys()).collect();
            let varying =
                names.into_iter().filter(|name| varies(&|point: &Point| of(point).get(*name).cloned()));
            varying.cloned().collect::<Vec<String>>()
        };
        let mut server = names(|point| &point.server.flags);
        if varies(&|point: &Point| point.server.model.clone().map(Value::from)) {
            server.insert(0, MODEL.into());
        }
        Self { server, load: names(|point| &point.load) }
    }

    fn of_server(&self, key: &Key) -> BTreeMap<String, Value> {
        let value = |axis: &String| match axis.as_str() {
            MODEL => key.model.clone().map(Value::from),
            axis => key.flags.get(axis).cloned(),
        };
        let each = self.server.iter();
        each.filter_map(|axis| Some((axis.clone(), value(axis)?))).collect()
    }
}

fn group(key: &Key, axes: &Axes) -> Result<Group, Finding> {
    // A server needs a model; an unknown one is empty, and shown as absent.
    let model = key.model.clone().unwrap_or_default();
    let server: Server = serde_json::from_value(json!({ "model": model, "flags": key.flags }))
        .map_err(|error| Finding::error(format!("the server's parameters cannot be flags: {error}")))?;
    let name = model.trim_end_matches('/').rsplit('/').next();
    let name = name.filter(|name| !name.is_empty()).unwrap_or("server");
    Ok(Group {
        id: format!("{}-{}", folder_name(name), hash(&json!([key.model, key.flags]))),
        server: Arc::new(server),
        axes: axes.of_server(key),
        cells: Vec::new(),
    })
}

fn cell(
    point: &Point,
    group: &Group,
    axes: &Axes,
    client: &str,
    options: &Options,
    now: Timestamp,
) -> CellFile {
    let rows: Vec<&Measurement> = point.rows.iter().collect();
    let pooled = summary(&rows);
    let reported = reported(&rows);
    let requests = pooled.as_ref().map(|summary| summary.counts.completed);
    let mut load = point.load.clone();
    if let Some(summary) = &pooled {
        load.insert("requests".into(), json!(summary.counts.scheduled));
    }
    let mut values = group.axes.clone();
    let own = axes.load.iter();
    values.extend(own.filter_map(|axis| Some((axis.clone(), point.load.get(axis)?.clone()))));
    let repeats: Vec<Summary> = match rows.len() {
        1 => Vec::new(),
        _ => rows.iter().filter_map(|row| summary(&[row])).collect(),
    };
    let measured_at = rows.iter().filter_map(|row| row.at).min().unwrap_or(now);
    let mut file = CellFile {
        format: FORMAT,
        id: id(point, &group.id),
        workload: point.workload.clone(),
        server: group.id.clone(),
        outcome: outcome(&rows, pooled.as_ref(), !reported.is_empty()),
        reason: None,
        ladder_ended_at: None,
        proved_impossible_by: None,
        search: None,
        ended_early: None,
        simulated: false,
        predicted: false,
        load,
        axes: values,
        objective: options.objective,
        slo: options.slo.clone(),
        summary: pooled,
        reported,
        repeats,
        server_side: None,
        precision: BTreeMap::new(),
        server_side_repeats: Vec::new(),
        client_totals: None,
        client: Vec::new(),
        verdicts: Vec::new(),
        timeline: Vec::new(),
        errors: Vec::new(),
        log_tail: Vec::new(),
        attempts: Vec::new(),
        started_at: measured_at,
        finished_at: measured_at,
    };
    if !file.outcome.is_measured() {
        file.summary = None;
        file.reported.clear();
        file.reason = Some(format!("The imported file says {}.", file.outcome.name().replace('_', " ")));
    }
    file.verdicts = verdicts::verdicts(&file, client, requests);
    file
}

fn outcome(rows: &[&Measurement], summary: Option<&Summary>, has_reported: bool) -> CellOutcome {
    if let Some(outcome) = rows.iter().find_map(|row| row.outcome) {
        return outcome;
    }
    match summary {
        Some(summary) => measure::outcome(summary),
        None if has_reported => CellOutcome::Ok,
        None => CellOutcome::Failed,
    }
}

/// A cell's id as in a plan: `chat-c8-t128-1f3a9c20`.
fn id(point: &Point, server: &str) -> String {
    let mut id = folder_name(&point.workload);
    for (axis, letter) in [("concurrency", "c"), ("rate", "r"), ("max_tokens", "t")] {
        if let Some(value) = point.load.get(axis) {
            id.push_str(&format!("-{letter}{}", scalar_text(value)));
        }
    }
    let key = json!([point.workload, server, point.load]);
    format!("{id}-{}", hash(&key))
}

/// Replaces what cannot be part of a folder's name.
fn folder_name(name: &str) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }
    };
    let name: String = name.chars().map(safe).take(60).collect();
    let name = name.trim_start_matches(['.', '-']);
    if name.is_empty() { "x".into() } else { name.to_owned() }
}

fn hash(value: &Value) -> String {
    sha256(value.to_string().as_bytes())[..8].to_owned()
}
