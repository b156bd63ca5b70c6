//! Every kind of finding as a reader meets it: one sentence of each, from runs in which its rule finds
//! something.

use std::collections::BTreeMap;

use serde_json::{Value, from_value, json};

use super::{Finding, Kind, RULES, Rule, Words};
use crate::{
    measure::{CellOutcome, Summary},
    report::{fixtures, laws, model::Model},
    store::StoredRun,
};

/// Traces of an absent fact, which no sentence may contain.
const TRACES: [&str; 9] = ["  ", " .", " ,", "..", "none", "NaN", "{{", "undefined", "\n"];

/// The findings of some rules; each must have a sentence.
pub(super) fn found(model: &Model<'_>, rules: &[Rule]) -> Vec<Finding> {
    let found: Vec<Finding> = rules.iter().flat_map(|rule| rule.apply(model)).collect();
    let sentences = Words::new(None).unwrap().say(model, &found).unwrap();
    assert!(sentences.iter().all(|sentence| !sentence.is_empty()), "{sentences:?}");
    found
}

/// The summary of a cell.
fn summary(run: &mut StoredRun, cell: usize) -> &mut Summary {
    run.cells[cell].summary.as_mut().expect("a summary")
}

/// Streamed cells with everything that a client and an engine can report.
fn reported() -> StoredRun {
    let mut run = fixtures::streamed();
    run.plan.hardware = from_value(json!({ "label": "RunPod-RTX2000-16GB", "usd_per_hour": 0.24 })).unwrap();
    for (at, queue_ms) in [0.0, 10.0, 50.0, 950.0].into_iter().enumerate() {
        let times =
            |mean_ms: f64| json!({ "count": 200, "sum_s": mean_ms / 5.0, "mean_ms": mean_ms, "buckets": [] });
        run.cells[at].server_side = from_value(json!({
            "span_s": 10.0,
            "engine": {
                "span_s": 10.0, "settled": true, "requests": 200, "prompt_tokens": 8000 + 400 * at,
                "generation_tokens": 12_800, "preemptions": 2 * at, "prefix_queries": 2000, "prefix_hits": 500,
                "kv_usage_peak": 0.2 + 0.2 * at as f64, "queue": times(queue_ms), "prefill": times(40.0),
                "decode": times(1000.0), "ttft": times(queue_ms + 45.0), "e2e": times(queue_ms + 1046.0),
            },
            "process": { "cpu_s": 15.0, "cores": 1.5, "peak_rss_bytes": 2_147_483_648u64, "processes": 3 },
            "gpus": [{ "index": 0, "energy_j": 6400.0 }],
        }))
        .unwrap();
        run.cells[at].client_totals = from_value(json!({
            "sent": 200, "completed": 200, "input_tokens": 8000 + 400 * at, "output_tokens": 12_800,
            "ttft_mean_ms": queue_ms + 50.0, "e2e_mean_ms": queue_ms + 1050.0,
        }))
        .unwrap();
        let starts = if at < 3 { "staggered" } else { "together" };
        let own = summary(&mut run, at);
        own.output_tokens = Some(12_800);
        own.input_tokens = Some(8000 + 400 * at as u64);
        own.starts = from_value(json!({ "how": starts, "spread_s": 0.5 + at as f64 })).unwrap();
        own.output_length = from_value(
            json!({ "asked": 64, "min": 8, "p50": 64.0 - at as f64, "max": 64, "shorter": 5 * at }),
        )
        .unwrap();
        own.window = from_value(json!({ "start_s": 0.0, "length_s": 10.0 })).unwrap();
        own.steady = from_value(json!({ "start_s": 0.0, "length_s": 5.0 })).unwrap();
        own.steady_tok_s = own.throughput_tok_s.map(|rate| rate * (1.0 + 0.1 * at as f64));
    }
    run
}

/// Streamed cells that no verdict lets anybody conclude anything from.
fn excluded() -> StoredRun {
    let mut run = fixtures::streamed();
    for cell in &mut run.cells {
        cell.verdicts.push(fixtures::verdict("token_counts", "cell", &[]));
    }
    run
}

/// Streamed cells with failed requests, of several origins, and with one step that a smaller load made
/// superfluous.
fn mixed() -> StoredRun {
    let mut run = fixtures::streamed();
    run.cells[0].simulated = true;
    run.cells[1].predicted = true;
    let counts = &mut summary(&mut run, 2).counts;
    (counts.completed, counts.scheduled) = (190, 200);
    counts.by_outcome = [("completed", 190), ("reset", 10)].map(|(word, n)| (word.to_owned(), n)).into();
    run.cells[2].errors = vec![("connection reset.".into(), 10)];
    run.cells[3].verdicts.push(fixtures::verdict("not_steady", "note", &[]));
    run
}

/// A ladder that ended below its last step.
fn ladder() -> StoredRun {
    let mut run = fixtures::streamed();
    let below = run.cells[2].id.clone();
    let last = &mut run.cells[3];
    (last.outcome, last.summary) = (CellOutcome::Skipped, None);
    last.reason = Some(format!("climbing ended at {below}: p95_ttft was 210 ms, its limit is 200ms"));
    last.ladder_ended_at = Some(below);
    run
}

/// The same requests sent by an open loop.
fn open() -> StoredRun {
    let mut run = fixtures::streamed();
    run.plan.load_axes = vec!["rate".into()];
    for (cell, rate) in run.cells.iter_mut().zip([1, 2, 4, 8]) {
        cell.axes = BTreeMap::from([("rate".to_owned(), json!(rate))]);
        cell.load.remove("concurrency");
        cell.load.extend([("rate".into(), json!(rate)), ("arrivals".into(), json!("poisson"))]);
        cell.summary.as_mut().unwrap().issue_delay = Some(fixtures::latency(200, 0.1, 0.4));
    }
    run
}

/// Predictions of a run: E2E of each cell (ms), and the KV cache of each server.
fn predict(run: &mut StoredRun, ms: &[f64]) {
    let cells: serde_json::Map<String, Value> = run
        .cells
        .iter()
        .zip(ms)
        .map(|(cell, ms)| {
            let own = json!({ "outcome": "ok", "answers_from": "assumed", "output_tokens": cell.load["max_tokens"],
                              "p50_e2e_ms": ms, "preemptions": 0 });
            (cell.id.clone(), own)
        })
        .collect();
    let servers: serde_json::Map<String, Value> = run
        .servers
        .iter()
        .map(|own| (own.id.clone(), json!({ "outcome": "ready", "kv_cache_tokens": 300_000 })))
        .collect();
    let predictions = json!({
        "format": 1, "tool": { "name": "runner", "version": "0" },
        "basis": { "hardware": "RTX 2000 Ada", "memory_gib": 15.6, "models": [], "answers": 1.0,
                   "validation": "unvalidated: a test" },
        "servers": servers, "cells": cells, "missing": ["The model of x is not known."],
    });
    run.predictions = Some(from_value(predictions).expect("predictions"));
}

/// The measured grid with predictions, one of them far off.
fn predicted() -> StoredRun {
    let mut run = fixtures::grid();
    let ms = [1104.0, 2208.0, 4418.0, 1125.0, 2235.0, 4462.0, 1131.0, 2249.0, 4500.0, 1143.0, 2278.0, 4577.0];
    predict(&mut run, &ms);
    summary(&mut run, 8).output_tokens = Some(16 * 170);
    run
}

/// Servers that were predicted to start.
fn ended() -> StoredRun {
    let mut run = fixtures::oom_surface();
    predict(&mut run, &[]);
    run
}

/// Servers that all start, with the KV caches that they log.
fn fitting() -> StoredRun {
    let mut run = fixtures::oom_surface();
    run.cells.truncate(3);
    run.servers.truncate(3);
    run.plan.groups.truncate(3);
    for (at, server) in run.servers.iter_mut().enumerate() {
        server.facts.kv_cache_tokens = Some(200_000 + 10_000 * at as u64);
    }
    run
}

/// One load axis with these medians of E2E (ms), tails (as a factor) and output tokens per second.
fn line(own: impl Fn(usize) -> (f64, f64, f64)) -> StoredRun {
    let mut run = fixtures::empty();
    let cells = (0..9).map(|nth| {
        let (e2e, tail, rate) = own(nth);
        let users = 1 << nth;
        let mut cell = fixtures::cell(&format!("chat-c{users}"), "qwen-1", users, 64, &Default::default());
        let mut summary = fixtures::summary(200);
        summary.e2e = Some(fixtures::latency(200, e2e, tail * e2e));
        summary.ttft = Some(fixtures::latency(200, 50.0, 55.0));
        summary.throughput_tok_s = Some(rate);
        cell.summary = Some(summary);
        cell
    });
    let cells = cells.collect();
    fixtures::add(&mut run, "qwen-1", BTreeMap::new(), "ready", cells);
    run
}

/// Throughput that dips at 16 users.
fn dip() -> StoredRun {
    line(|nth| (1e3, 1.1, f64::from(1 << nth) * if nth == 4 { 12.5 } else { 50.0 }))
}

/// Requests that take less time from 32 users on, since answers are shorter there.
fn falling() -> StoredRun {
    let mut run = line(|nth| (if nth < 5 { 1e3 } else { 4e2 }, 1.1, f64::from(1 << nth) * 50.0));
    for nth in 0..9 {
        summary(&mut run, nth).output_tokens = Some(200 * if nth < 5 { 64 } else { 24 });
    }
    run
}

/// Cells that were measured until an interval was narrow, one of them in vain.
fn repeated() -> StoredRun {
    let mut run = line(|nth| (1e3, 1.1, f64::from(1 << nth) * 50.0));
    for (nth, cell) in run.cells.iter_mut().enumerate() {
        let is_last = nth == 8;
        let own = json!({ "mean": 55.0, "half_width": if is_last { 4.4 } else { 1.1 }, "n": if is_last { 10 } else { 3 },
                          "within": 0.05, "suffices": !is_last });
        cell.precision = BTreeMap::from([("p95_ttft".to_owned(), from_value(own).unwrap())]);
    }
    run
}

/// A tail that is long from 128 users on.
fn long_tail() -> StoredRun {
    line(|nth| (1e3, if nth >= 7 { 3.0 } else { 1.1 }, f64::from(1 << nth) * 50.0))
}

/// Latency and throughput that are the same in three servers, and little better in a fourth.
fn alike() -> StoredRun {
    let values = [json!(16), json!(32), json!(64), json!(128)];
    let grid: (&[u32], &[u32]) = (&[1, 2, 4, 8, 16], &[64, 128, 256]);
    let mut dice = fixtures::Dice::new(7);
    fixtures::servers("max-num-seqs", &values, grid, |_, _, _| {
        (0..3).map(|_| (dice.factor(0.01), dice.factor(0.01))).collect()
    })
}

/// The runs, the plainest first: a kind is quoted from the first in which it is found.
fn runs() -> Vec<StoredRun> {
    let own = [
        reported(),
        fixtures::grid(),
        excluded(),
        mixed(),
        ladder(),
        open(),
        predicted(),
        ended(),
        fixtures::oom_surface(),
        fitting(),
        dip(),
        falling(),
        long_tail(),
        repeated(),
        alike(),
        fixtures::large(6),
    ];
    own.into_iter().chain(laws::one_of_each_scene()).collect()
}

#[test]
fn every_kind_has_its_sentence() {
    let mut sentences: BTreeMap<String, String> = BTreeMap::new();
    let mut unclean: Vec<String> = Vec::new();
    let words = Words::new(None).unwrap_or_else(|findings| panic!("{}", findings.render(false)));
    for run in runs() {
        let model = Model::of(&run);
        // Those that others make superfluous have their sentences, too.
        let found: Vec<Finding> =
            RULES.iter().copied().flatten().flat_map(|rule| rule.apply(&model)).collect();
        let said = words.say(&model, &found).unwrap_or_else(|findings| panic!("{}", findings.render(false)));
        for (finding, text) in found.iter().zip(said) {
            let kind = finding.kind.name();
            let is_clean = TRACES.iter().all(|trace| !text.contains(trace))
                && text.starts_with(|first: char| !first.is_whitespace())
                && text.ends_with(['.', ':', ')']);
            if !is_clean {
                unclean.push(format!("{kind}: {text:?}"));
            }
            sentences.entry(kind.to_owned()).or_insert(text);
        }
    }
    assert_eq!(unclean, [""; 0]);
    let missing = Kind::ALL.iter().filter(|kind| !sentences.contains_key(kind.name()));
    assert_eq!(missing.collect::<Vec<_>>(), [&Kind::Answer; 0]);
    let lines = Kind::ALL.iter().map(|kind| format!("{}: {}", kind.name(), sentences[kind.name()]));
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
}
