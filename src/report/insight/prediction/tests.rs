use serde_json::{Value, json};

use crate::{
    observe::ServerSide,
    report::{fixtures, render, values},
    store::{Predictions, StoredRun},
};

/// Predictions of a run's cells: p50 E2E, milliseconds, for answers of so many tokens.
fn predicted(run: &StoredRun, cells: &[(f64, f64)]) -> Predictions {
    let cells: serde_json::Map<String, Value> = run
        .cells
        .iter()
        .zip(cells)
        .map(|(cell, (ms, tokens))| {
            let value = json!({ "outcome": "ok", "answers_from": "assumed", "output_tokens": tokens, "p50_e2e_ms": ms,
                                "preemptions": 0 });
            (cell.id.clone(), value)
        })
        .collect();
    let servers: serde_json::Map<String, Value> = run
        .servers
        .iter()
        .map(|server| {
            (
                server.id.clone(),
                json!({ "outcome": "ready", "kv_cache_tokens": 300_000 }),
            )
        })
        .collect();
    serde_json::from_value(json!({
        "format": 1,
        "tool": { "name": "runner", "version": "0" },
        "basis": { "hardware": "RTX 2000 Ada", "memory_gib": 15.6, "models": [], "answers": 1.0,
                   "validation": "unvalidated: a test" },
        "servers": servers,
        "cells": cells,
    }))
    .expect("predictions")
}

/// The measured grid, and what the catalogue's constants predict of it.
fn grid() -> StoredRun {
    let mut run = fixtures::grid();
    let ms = [
        1104.0, 2208.0, 4418.0, 1125.0, 2235.0, 4462.0, 1131.0, 2249.0, 4500.0, 1143.0, 2278.0,
        4577.0,
    ];
    let tokens = [64.0, 128.0, 256.0];
    let cells: Vec<(f64, f64)> = ms
        .into_iter()
        .enumerate()
        .map(|(at, ms)| (ms, tokens[at % 3]))
        .collect();
    run.predictions = Some(predicted(&run, &cells));
    run
}

fn note(run: &StoredRun) -> String {
    let notes = render(run, None).unwrap_or_else(|findings| panic!("{}", findings.render(false)));
    notes
        .into_iter()
        .find(|note| note.file == "capacity.md")
        .unwrap()
        .text
}

fn far(run: &StoredRun) -> Vec<String> {
    let values = values(run);
    let far = values["prediction"]["far"].as_array().unwrap().iter();
    far.map(|one| one["text"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_one_cell_whose_answers_stopped_early_stands_apart_and_says_why() {
    let mut run = grid();
    let cell = &mut run.cells[8];
    cell.summary.as_mut().unwrap().output_tokens = Some(16 * 170);
    let far = far(&run);
    assert_eq!(far.len(), 1, "{far:?}");
    assert!(
        far[0].starts_with("concurrency 8, max_tokens 256: predicted p50 E2E 4,500 ms"),
        "{far:?}"
    );
    assert!(far[0].contains("(+35 %)"), "{far:?}");
    assert!(
        far[0].contains("answers had 170 tokens, and 256 were predicted with"),
        "{far:?}"
    );
    let note = note(&run);
    assert!(note.contains("## Predicted beside measured"), "{note}");
    assert!(note.contains("is off by 7.0 % in the median"), "{note}");
    assert!(
        note.contains("What that rests on: unvalidated: a test."),
        "{note}"
    );
    assert!(note.contains("| concurrency 16, max_tokens 64 |"), "{note}");
    // Without evidence nothing is made up.
    let plain = super::super::prediction::beside(&grid()).unwrap();
    assert!(
        plain.far[0].text.ends_with("Nothing in the cell says why."),
        "{:?}",
        plain.far
    );
}

#[test]
fn a_grid_that_is_off_as_a_whole_blames_the_constants_and_no_cell() {
    let mut run = fixtures::grid();
    let cells: Vec<(f64, f64)> = run
        .cells
        .iter()
        .map(|cell| {
            (
                2.0 * cell.summary.as_ref().unwrap().e2e.as_ref().unwrap().p50_ms,
                64.0,
            )
        })
        .collect();
    run.predictions = Some(predicted(&run, &cells));
    assert!(far(&run).is_empty(), "{:?}", far(&run));
    assert!(note(&run).contains("The whole grid is off to one side"));
}

#[test]
fn only_evidence_that_points_the_way_of_the_error_is_named() {
    let side = |preemptions: u64| -> ServerSide {
        serde_json::from_value(json!({
            "span_s": 1.0,
            "engine": { "span_s": 1.0, "settled": true, "preemptions": preemptions,
                        "queue": { "count": 16, "sum_s": 40.0, "mean_ms": 2500.0, "buckets": [] } },
        }))
        .unwrap()
    };
    let mut run = grid();
    let slow = run.cells[0].id.clone();
    let told = &mut run.predictions.as_mut().unwrap().cells;
    told.get_mut(&slow).unwrap().p50_e2e_ms = Some(300.0);
    let quick = run.cells[8].id.clone();
    let told = &mut run.predictions.as_mut().unwrap().cells;
    told.get_mut(&quick).unwrap().p50_e2e_ms = Some(10_000.0);
    run.cells[0].server_side = Some(side(7));
    run.cells[8].server_side = Some(side(7));
    let far = far(&run);
    assert_eq!(far.len(), 2, "{far:?}");
    assert!(
        far[0].contains("put back for want of KV cache 7 times, predicted were 0"),
        "{far:?}"
    );
    assert!(
        far[0].contains("waited 2,500 ms in the server's queue"),
        "{far:?}"
    );
    // This one was quicker than predicted: waiting does not explain it.
    assert!(
        !far[1].contains("waited") && !far[1].contains("want of KV"),
        "{far:?}"
    );
}

#[test]
fn servers_that_turned_out_otherwise_are_named_and_a_large_grid_shows_its_worst() {
    let mut run = grid();
    run.servers[0].facts.kv_cache_tokens = Some(200_000);
    let text = note(&run);
    assert!(
        text.contains("The server said that its KV cache holds 200,000 tokens; 300,000 were predicted (+50 %)."),
        "{text}"
    );
    let cells = run.cells.clone();
    for round in 1..4 {
        run.cells.extend(cells.iter().cloned().map(|mut cell| {
            cell.id = format!("{}-{round}", cell.id);
            cell
        }));
    }
    let all: Vec<(f64, f64)> = (0..48).map(|at| (1000.0 + f64::from(at), 64.0)).collect();
    run.predictions = Some(predicted(&run, &all));
    let text = note(&run);
    assert!(
        text.contains("The 12 of 48 cells that are furthest off"),
        "{text}"
    );
    let beside = super::beside(&run).unwrap();
    assert_eq!((beside.rows.len(), beside.compared), (12, 48));
}

#[test]
fn what_was_simulated_or_not_predicted_has_no_such_section() {
    let mut run = grid();
    run.predictions = None;
    assert!(!note(&run).contains("Predicted beside measured"));
    let mut run = grid();
    run.cells.iter_mut().for_each(|cell| cell.simulated = true);
    assert!(note(&run).contains("No cell has been measured yet that was predicted."));
}
