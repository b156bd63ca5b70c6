//! How good the predictions were: the error of each cell, and the cells whose error stands out.

use std::collections::{BTreeMap, HashMap};

use super::{Facts, Finding, Kind, Rule, Unit, place};
use crate::{
    measure::{CellOutcome, Metric, VerdictKind},
    observe::EngineSide,
    report::{
        model::{Cell, Doubt, Model, Origin},
        statistics::median,
    },
    store::PredictedCell,
};

pub(super) const RULES: &[Rule] = &[
    Rule::Run(prediction_errors),
    Rule::Run(far_cells),
    Rule::Run(starts),
    Rule::Run(kv_caches),
    Rule::Run(missing),
];

/// The smallest error that is worth explaining.
const FAR: f64 = 0.25;
/// The least distance from the median error at which a cell stands out.
const APART: f64 = 0.15;
/// The standard deviation of a normal distribution over its median absolute deviation.
const SCALE: f64 = 1.4826;
/// The fewest cells with a median error.
const GRID: usize = 4;
/// The most cells that are named one by one.
const NAMED: usize = 8;
/// KV cache sizes that differ by more than this part were predicted wrongly.
const KV_OFF: f64 = 0.1;

/// The metrics that are predicted; the first one decides whether a cell is far off.
pub(crate) const PREDICTED: [Metric; 4] =
    [Metric::P50_E2E, Metric::P50_TTFT, Metric::P50_TPOT, Metric::OUTPUT];

/// One cell, predicted and measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PredictionRow<'a> {
    /// Index of the cell.
    pub(crate) cell: usize,
    pub(crate) predicted: &'a PredictedCell,
    /// (predicted − measured) / measured of each of [`PREDICTED`].
    pub(crate) errors: [Option<f64>; 4],
    /// Whether each of [`PREDICTED`] was measured inside the 90 % interval of its prediction.
    pub(crate) inside: [Option<bool>; 4],
    /// Whether the constants were fitted to it: then its error does not test them.
    pub(crate) is_fitted: bool,
}

/// The errors of one metric over the grid, as parts of what was measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PredictionMedian {
    pub(crate) metric: Metric,
    /// Median of the signed errors.
    pub(crate) signed: f64,
    /// Median of their absolute values.
    pub(crate) absolute: f64,
    /// The largest absolute value.
    pub(crate) largest: f64,
    /// The number of cells with both numbers.
    pub(crate) cells: usize,
    /// Of the cells whose prediction has a 90 % interval, how many were measured inside it, and how many there
    /// are.
    pub(crate) inside: (usize, usize),
}

impl PredictionRow<'_> {
    /// The error of p50 E2E as a logarithm, in which half and twice weigh the same.
    fn log(&self) -> Option<f64> {
        self.errors[0].map(|error| (1.0 + error).ln()).filter(|log| log.is_finite())
    }
}

/// The predicted value of a metric.
pub(crate) fn prediction(predicted: &PredictedCell, metric: Metric) -> Option<f64> {
    match metric {
        Metric::P50_E2E => predicted.p50_e2e_ms,
        Metric::P50_TTFT => predicted.p50_ttft_ms,
        Metric::P50_TPOT => predicted.p50_tpot_ms,
        Metric::OUTPUT => predicted.throughput_tok_s,
        _ => None,
    }
}

/// (predicted − measured) / measured; `None` unless both are known and the measured one may be ranked.
pub(crate) fn prediction_error(cell: &Cell<'_>, predicted: &PredictedCell, metric: Metric) -> Option<f64> {
    let (predicted, measured) = (prediction(predicted, metric)?, cell.ranked(metric)?);
    (measured > 0.0).then(|| predicted / measured - 1.0)
}

/// Whether a metric was measured inside the 90 % interval of its prediction; `None` unless both are known and
/// the measured one may be ranked.
fn is_inside(cell: &Cell<'_>, predicted: &PredictedCell, metric: Metric) -> Option<bool> {
    let [low, high] = *predicted.intervals.get(&metric.column())?;
    Some((low..=high).contains(&cell.ranked(metric)?))
}

/// Every measured cell with a predicted latency, in the order of the plan.
pub(crate) fn prediction_rows<'a>(model: &Model<'a>) -> Vec<PredictionRow<'a>> {
    let Some(predictions) = &model.run.predictions else { return Vec::new() };
    let cells = model.cells.iter().filter(|cell| cell.has_numbers());
    let real = cells.filter(|cell| matches!(cell.origin, Origin::Measured | Origin::Imported));
    real.filter_map(|cell| {
        let predicted = predictions.cells.get(cell.id()).filter(|own| own.p50_e2e_ms.is_some())?;
        Some(PredictionRow {
            cell: cell.index,
            predicted,
            errors: PREDICTED.map(|metric| prediction_error(cell, predicted, metric)),
            inside: PREDICTED.map(|metric| is_inside(cell, predicted, metric)),
            is_fitted: predictions.fitted().iter().any(|id| id == cell.id()),
        })
    })
    .collect()
}

/// The errors of each metric over the cells that test the constants; over all cells if none does.
pub(crate) fn prediction_medians(rows: &[PredictionRow<'_>]) -> Vec<PredictionMedian> {
    let is_tested = rows.iter().any(|row| !row.is_fitted);
    let tests = || rows.iter().filter(move |row| !is_tested || !row.is_fitted);
    let of = |(at, metric): (usize, &Metric)| {
        let errors: Vec<f64> = tests().filter_map(|row| row.errors[at]).collect();
        let sizes: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
        let inside: Vec<bool> = tests().filter_map(|row| row.inside[at]).collect();
        Some(PredictionMedian {
            metric: *metric,
            signed: median(&errors)?,
            absolute: median(&sizes)?,
            largest: sizes.iter().copied().fold(0.0, f64::max),
            cells: errors.len(),
            inside: (inside.iter().filter(|inside| **inside).count(), inside.len()),
        })
    };
    PREDICTED.iter().enumerate().filter_map(of).collect()
}

/// The errors of the predictions as a whole.
fn prediction_errors(model: &Model<'_>) -> Vec<Finding> {
    if model.run.predictions.is_none() {
        return Vec::new();
    }
    let rows = prediction_rows(model);
    let medians = prediction_medians(&rows);
    let fitted = rows.iter().filter(|row| row.is_fitted).count();
    let e2e = medians.iter().find(|median| median.metric == Metric::P50_E2E);
    let is_one_sided = e2e.is_some_and(|e2e| e2e.signed.abs() > FAR && e2e.cells >= GRID);
    let fact = |own: &PredictionMedian| {
        Facts::new()
            .metric("metric", own.metric)
            .part("signed", own.signed)
            .part("absolute", own.absolute)
            .part("largest", own.largest)
            .count("count", own.cells)
            .count("inside", own.inside.0)
            .count("with_interval", own.inside.1)
    };
    let facts = Facts::new()
        .count("compared", rows.iter().filter(|row| row.errors[0].is_some()).count())
        .count("fitted", fitted)
        .flag("are_held_out", fitted > 0 && fitted < rows.len())
        .flag("is_one_sided", is_one_sided)
        .count("far", far_rows(model, &rows).len())
        .list("medians", medians.iter().map(fact));
    vec![Finding::of_run(Kind::PredictionError, rows.iter().map(|row| row.cell)).with(facts)]
}

/// Rows with an error beyond [`FAR`] that stand out from the grid, beyond its spread and the noise; worst
/// first.
fn far_rows<'r, 'a>(model: &Model<'_>, rows: &'r [PredictionRow<'a>]) -> Vec<(&'r PredictionRow<'a>, f64)> {
    let logs: Vec<f64> = rows.iter().filter_map(PredictionRow::log).collect();
    let is_grid = logs.len() >= GRID;
    let middle = median(&logs).filter(|_| is_grid).unwrap_or_default();
    let distances: Vec<f64> = logs.iter().map(|log| (log - middle).abs()).collect();
    let spread = median(&distances).filter(|_| is_grid).map_or(0.0, |distance| SCALE * distance);
    let stands_out = |row: &PredictionRow<'_>, log: f64| {
        let cell = &model.cells[row.cell];
        let noise = model.noise(cell.workload);
        let once = noise.known(Metric::P50_E2E).unwrap_or_default();
        let doubt = match is_grid {
            true => Doubt { error: spread.max(once), df: f64::INFINITY },
            false => noise.of_cell(cell, Metric::P50_E2E),
        };
        let apart = log - middle;
        apart.abs() > (1.0 + APART).ln() && doubt.is_beaten_by(apart, logs.len())
    };
    let mut found: Vec<(&PredictionRow<'_>, f64)> = rows
        .iter()
        .filter_map(|row| Some((row, row.errors[0].filter(|error| error.abs() > FAR)?, row.log()?)))
        .filter(|(row, _, log)| stands_out(row, *log))
        .map(|(row, error, _)| (row, error))
        .collect();
    let size = |error: f64| (1.0 + error).ln().abs();
    found.sort_by(|a, b| size(b.1).total_cmp(&size(a.1)));
    found
}

/// Cells far from their prediction, with possible reasons found in them.
fn far_cells(model: &Model<'_>) -> Vec<Finding> {
    let rows = prediction_rows(model);
    let mut blocks: HashMap<usize, usize> = HashMap::new();
    for (at, block) in model.blocks.iter().enumerate() {
        blocks.extend(block.cells.iter().map(|cell| (*cell, at)));
    }
    let finding = |(row, error): (&PredictionRow<'_>, f64)| {
        let cell = &model.cells[row.cell];
        let digits = model.digits(&[row.cell]);
        let metric = Metric::P50_E2E;
        // The part of the time that is off says where to look, whatever the reason.
        let [_, ttft, tpot, _] = row.errors;
        let facts = Facts::new()
            .place("place", place(model, cell))
            .metric("metric", metric)
            .measure("predicted", metric, row.predicted.p50_e2e_ms, digits)
            .measure("measured", metric, cell.ranked(metric), digits)
            .part("error", error)
            .list("evidence", evidence(cell, row.predicted, error))
            .when(ttft.zip(tpot), |facts, (ttft, tpot)| {
                facts.part("ttft_error", ttft).part("tpot_error", tpot)
            });
        let block = *blocks.get(&row.cell)?;
        let finding = Finding::of_block(Kind::PredictionFar, model, block, [row.cell]);
        Some(finding.strong_as(1.0 + error).with(facts))
    };
    far_rows(model, &rows).into_iter().take(NAMED).filter_map(finding).collect()
}

/// The properties of a cell that change its time in the direction of the error, the most likely cause first.
fn evidence(cell: &Cell<'_>, predicted: &PredictedCell, error: f64) -> Vec<Facts> {
    let is_slower = error < 0.0;
    let engine = cell.file.server_side.as_ref().and_then(|side| side.engine.as_ref());
    let pair = |what: &'static str, got: f64, expected: f64, unit: Unit| {
        Facts::new().name("what", what).number("got", got, unit, 3).number("told", expected, unit, 3)
    };
    // More tokens take longer, and so does repeated work.
    let by_more = |what: &'static str, got: Option<f64>, expected: Option<f64>, least: f64| {
        let (got, expected) = (got?, expected?);
        let is_cause = match is_slower {
            true => got > expected * (1.0 + least),
            false => got < expected * (1.0 - least),
        };
        is_cause.then(|| pair(what, got, expected, Unit::Count))
    };
    let preempted = engine.and_then(|engine| engine.preemptions).map(|count| count as f64);
    let predicted_preempted = predicted.preemptions.map(|count| count as f64);
    let queue = engine.and_then(|engine| engine.queue.as_ref()?.mean_ms);
    let waits =
        queue.zip(cell.ranked(Metric::P50_E2E)).filter(|(queue, e2e)| is_slower && *queue > 0.1 * e2e);
    let hits = engine.and_then(EngineSide::prefix_hit_rate).zip(predicted.prefix_hit_rate);
    let sign = if is_slower { 1.0 } else { -1.0 };
    let hits = hits.filter(|(got, expected)| sign * (expected - got) > 0.2);
    let counts = cell.file.summary.as_ref().map(|summary| &summary.counts);
    let counts = counts.filter(|counts| counts.completed < counts.scheduled);
    let verdicts = cell.file.verdicts.iter().filter(|verdict| EXPLAINING.contains(&verdict.kind));
    let found = [
        by_more("answer_tokens", cell.answer_tokens(), predicted.output_tokens, 0.05),
        by_more("prompt_tokens", cell.prompt_tokens(), predicted.prompt_tokens, 0.1),
        by_more("preemptions", preempted, predicted_preempted, 0.0),
        waits.map(|(queue, _)| Facts::new().name("what", "queue").number("got", queue, Unit::Ms, 3)),
        hits.map(|(got, expected)| pair("prefix_hits", got, expected, Unit::Part)),
        counts.map(|counts| {
            let (lost, all) = (counts.errors() as usize, counts.scheduled as usize);
            Facts::new().name("what", "errors").count("got", lost).count("of", all)
        }),
    ];
    let verdicts = verdicts.map(|verdict| {
        let facts = Facts::new().name("what", "verdict").name("verdict", verdict.kind.name());
        facts.name("reason", verdict.reason.as_str())
    });
    found.into_iter().flatten().chain(verdicts).collect()
}

/// Verdicts that explain why a time may differ.
const EXPLAINING: [VerdictKind; 7] = [
    VerdictKind::ClientLate,
    VerdictKind::ClientSaturated,
    VerdictKind::NotSteady,
    VerdictKind::RepeatsDisagree,
    VerdictKind::ConcurrencyNotReached,
    VerdictKind::RateNotSustained,
    VerdictKind::Retried,
];

/// A finding on servers that were predicted wrongly in the same way; the first one names them.
fn of_servers(
    model: &Model<'_>,
    servers: &[usize],
    first: usize,
    what: &str,
    more: impl FnOnce(Facts) -> Facts,
) -> Finding {
    let cells = servers.iter().flat_map(|at| model.servers[*at].cells.iter().copied());
    let facts = Facts::new()
        .name("what", what)
        .count("count", servers.len())
        .name("on_server", model.server_label(Some(first)));
    Finding::of_run(Kind::PredictionServer, cells).with(more(facts))
}

/// Servers whose start was predicted wrongly, in one finding for each kind of error.
fn starts(model: &Model<'_>) -> Vec<Finding> {
    let Some(predictions) = &model.run.predictions else { return Vec::new() };
    let mut alike: BTreeMap<(&'static str, String, String), Vec<usize>> = BTreeMap::new();
    for (at, server) in model.servers.iter().enumerate() {
        let pair = server.file.zip(predictions.servers.get(&server.group.id));
        let Some((file, predicted)) = pair else { continue };
        let (got, expected) = (CellOutcome::of_start(file.outcome), CellOutcome::of_start(predicted.outcome));
        let what = match (file.is_ready(), predicted.is_ready()) {
            (true, false) => "started",
            (false, true) if got.is_on_oom_surface() => "ended",
            (false, false) if got != expected => "ended_otherwise",
            _ => continue,
        };
        let key = (what, file.outcome.to_string(), predicted.outcome.to_string());
        alike.entry(key).or_default().push(at);
    }
    let finding = |((what, got, expected), servers): ((&'static str, String, String), Vec<usize>)| {
        of_servers(model, &servers, servers[0], what, |facts| facts.name("got", got).name("told", expected))
    };
    alike.into_iter().map(finding).collect()
}

/// Servers whose KV cache has another size than predicted, with the largest error.
fn kv_caches(model: &Model<'_>) -> Vec<Finding> {
    let Some(predictions) = &model.run.predictions else { return Vec::new() };
    let sizes = model.servers.iter().enumerate().filter_map(|(at, server)| {
        let expected = predictions.servers.get(&server.group.id)?.kv_cache_tokens?;
        let got = server.file?.facts.kv_cache_tokens.filter(|got| *got > 0)?;
        Some((at, got as f64, expected as f64))
    });
    let sizes: Vec<(usize, f64, f64)> = sizes.collect();
    let error = |(_, got, expected): &(usize, f64, f64)| expected / got - 1.0;
    let off = || sizes.iter().filter(|own| error(own).abs() > KV_OFF);
    let worst = off().max_by(|a, b| error(a).abs().total_cmp(&error(b).abs()));
    let servers: Vec<usize> = off().map(|(at, ..)| *at).collect();
    let finding = worst.map(|worst| {
        of_servers(model, &servers, worst.0, "kv_cache", |facts| {
            facts
                .count("of", sizes.len())
                .number("got", worst.1, Unit::Count, 3)
                .number("told", worst.2, Unit::Count, 3)
                .part("error", error(worst))
        })
    });
    finding.into_iter().collect()
}

/// The reasons why something was not predicted.
fn missing(model: &Model<'_>) -> Vec<Finding> {
    let missing = model.run.predictions.iter().flat_map(|predictions| &predictions.missing);
    let finding = |reason: &String| {
        let facts = Facts::new().name("reason", reason.trim_end_matches('.'));
        Finding::of_run(Kind::PredictionMissing, []).with(facts)
    };
    missing.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        report::{finding::sentences, fixtures},
        store::{Predictions, StoredRun},
    };

    /// Predictions of a run's cells: p50 E2E, milliseconds, for answers of so many tokens.
    fn predictions(run: &StoredRun, cells: &[(f64, f64)]) -> Predictions {
        let cells: serde_json::Map<String, Value> = run
            .cells
            .iter()
            .zip(cells)
            .map(|(cell, (ms, tokens))| {
                let value = json!({ "outcome": "ok", "answers_from": "assumed", "output_tokens": tokens,
                                    "p50_e2e_ms": ms, "preemptions": 0 });
                (cell.id.clone(), value)
            })
            .collect();
        let servers: serde_json::Map<String, Value> = run
            .servers
            .iter()
            .map(|server| (server.id.clone(), json!({ "outcome": "ready", "kv_cache_tokens": 300_000 })))
            .collect();
        serde_json::from_value(json!({
            "format": 1,
            "tool": { "name": "runner", "version": "0" },
            "basis": { "hardware": "RTX 2000 Ada", "memory_gib": 15.6, "models": [], "answers": 1.0,
                       "validation": "unvalidated: a test" },
            "servers": servers, "cells": cells, "missing": ["The model of x is not known."],
        }))
        .unwrap()
    }

    /// The measured grid, and what constants of a catalogue predict of it.
    fn grid() -> StoredRun {
        let mut run = fixtures::grid();
        let ms =
            [1104.0, 2208.0, 4418.0, 1125.0, 2235.0, 4462.0, 1131.0, 2249.0, 4500.0, 1143.0, 2278.0, 4577.0];
        let cells: Vec<(f64, f64)> = ms.into_iter().zip([64.0, 128.0, 256.0].into_iter().cycle()).collect();
        run.predictions = Some(predictions(&run, &cells));
        run
    }

    fn found(run: &StoredRun, kind: Kind) -> Vec<Finding> {
        let all = sentences::found(&Model::of(run), RULES);
        all.into_iter().filter(|finding| finding.kind == kind).collect()
    }

    fn evidence_of(finding: &Finding) -> Vec<Value> {
        let all = finding.facts.json()["evidence"].clone();
        all.as_array().unwrap().iter().map(|own| own["what"].clone()).collect()
    }

    #[test]
    fn the_one_cell_whose_answers_stopped_early_stands_apart_and_says_why() {
        let mut run = grid();
        assert_eq!(evidence_of(&found(&run, Kind::PredictionFar)[0]), [] as [Value; 0]);
        run.cells[8].summary.as_mut().unwrap().output_tokens = Some(16 * 170);
        let far = found(&run, Kind::PredictionFar);
        assert_eq!((far.len(), far[0].cells.as_slice()), (1, [8].as_slice()));
        assert_eq!(evidence_of(&far[0]), ["answer_tokens"]);
        let error = far[0].facts.value("error").unwrap();
        assert!((error - 0.3496).abs() < 1e-3, "{error}");
        let whole = &found(&run, Kind::PredictionError)[0].facts;
        assert_eq!((whole.value("compared"), whole.value("far")), (Some(12.0), Some(1.0)));
        assert_eq!(found(&run, Kind::PredictionMissing).len(), 1);
        // A cell from which nothing may be concluded is no test of a prediction.
        run.cells[8].verdicts = vec![fixtures::verdict("client_saturated", "cell", &[])];
        assert_eq!(found(&run, Kind::PredictionFar), []);
        assert_eq!(found(&run, Kind::PredictionError)[0].facts.value("compared"), Some(11.0));
    }

    #[test]
    fn a_grid_that_is_off_as_a_whole_blames_the_constants_and_no_cell() {
        let mut run = fixtures::grid();
        let twice = |cell: &crate::store::CellFile| (2.0 * cell.number(Metric::P50_E2E).unwrap(), 64.0);
        let cells: Vec<(f64, f64)> = run.cells.iter().map(twice).collect();
        run.predictions = Some(predictions(&run, &cells));
        assert_eq!(found(&run, Kind::PredictionFar), []);
        let whole = &found(&run, Kind::PredictionError)[0].facts.json();
        assert_eq!(whole["is_one_sided"], true);
    }

    #[test]
    fn only_evidence_that_points_the_way_of_the_error_is_named() {
        let mut run = grid();
        let (slow, quick) = (run.cells[0].id.clone(), run.cells[8].id.clone());
        let cells = &mut run.predictions.as_mut().unwrap().cells;
        cells.get_mut(&slow).unwrap().p50_e2e_ms = Some(300.0);
        cells.get_mut(&quick).unwrap().p50_e2e_ms = Some(10_000.0);
        for cell in [0, 8] {
            run.cells[cell].server_side = serde_json::from_value(json!({
                "span_s": 1.0,
                "engine": { "span_s": 1.0, "settled": true, "preemptions": 7,
                            "queue": { "count": 16, "sum_s": 40.0, "mean_ms": 2500.0, "buckets": [] } },
            }))
            .unwrap();
        }
        let far = found(&run, Kind::PredictionFar);
        assert_eq!(far.iter().map(|own| own.cells[0]).collect::<Vec<_>>(), [0, 8]);
        assert_eq!(evidence_of(&far[0]), ["preemptions", "queue"]);
        assert_eq!(evidence_of(&far[1]), [] as [Value; 0]);
    }

    #[test]
    fn servers_that_turned_out_alike_are_one_finding() {
        let mut run = fixtures::oom_surface();
        run.predictions = Some(predictions(&run, &[]));
        for server in &mut run.servers[..3] {
            server.facts.kv_cache_tokens = Some(200_000);
        }
        let servers = found(&run, Kind::PredictionServer);
        let predictions: Vec<Value> = servers.iter().map(|own| own.facts.json()).collect();
        let of = |own: &Value| (own["what"].clone(), own["count"].clone(), own["got"].clone());
        assert_eq!(of(&predictions[0]), (json!("ended"), json!(1.0), json!("kv_too_small")));
        assert_eq!(of(&predictions[1]), (json!("ended"), json!(2.0), json!("oom(kv_cache)")));
        assert_eq!(of(&predictions[2]), (json!("kv_cache"), json!(3.0), json!(200_000.0)));
        assert_eq!(found(&run, Kind::PredictionError)[0].facts.value("compared"), Some(0.0));
    }

    #[test]
    fn cells_that_the_constants_were_fitted_to_are_no_test_of_them() {
        let mut run = grid();
        let fitted: Vec<String> = run.cells[..6].iter().map(|cell| cell.id.clone()).collect();
        run.predictions.as_mut().unwrap().basis.calibration = serde_json::from_value(json!({
            "run": "other", "model": "x", "cells": 6, "fitted": fitted, "median_e2e_error": 0.01 }))
        .unwrap();
        let model = Model::of(&run);
        let rows = prediction_rows(&model);
        assert_eq!(rows.len(), 12);
        assert_eq!(prediction_medians(&rows)[0].cells, 6);
        // What was simulated was not measured.
        run.cells.iter_mut().for_each(|cell| cell.simulated = true);
        assert_eq!(found(&run, Kind::PredictionError)[0].facts.value("compared"), Some(0.0));
    }
}
