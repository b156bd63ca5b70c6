//! Verdicts on a sound cell that come from the client's health or the server's metrics.

use serde_json::{Value, json};

use super::{context, failed, judge, pool, record, summarize, workload};
use crate::{
    load::{ClientHealth, LoopDelay, Outcome, Record},
    manifest::Workload,
    measure::{CellContext, Severity, Verdict, VerdictKind, totals},
    observe::ServerSide,
};

/// 700 requests of 10 prompt and 4 output tokens, one after the other, with a TTFT of 10 ms.
fn sound() -> Vec<Record> {
    (0..700)
        .map(|i| {
            let at = i * 40;
            record(at, &[at + 10, at + 20, at + 30, at + 40], at + 40, 4)
        })
        .collect()
}

fn of(records: &[Record], context: &CellContext<'_>) -> Vec<Verdict> {
    let repeats = [records.to_vec()];
    let each = [summarize(records, context)];
    judge(&pool(&repeats, context), &each, &repeats, context)
}

fn kinds(verdicts: &[Verdict]) -> Vec<(VerdictKind, Severity)> {
    verdicts.iter().map(|v| (v.kind, v.severity)).collect()
}

/// The verdicts when the engine's counters are those of a sound cell, except for these.
fn with_engine(spec: &Workload, records: &[Record], counted: Value) -> Vec<Verdict> {
    let mut engine = json!({
        "span_s": 28.0, "settled": true, "requests": 700, "prompt_tokens": 7000, "generation_tokens": 2800,
        "preemptions": 0, "prefix_queries": 7000, "prefix_hits": 0,
    });
    let counted = counted.as_object().unwrap().clone();
    engine.as_object_mut().unwrap().extend(counted);
    let side: ServerSide = serde_json::from_value(json!({ "span_s": 28.0, "engine": engine })).unwrap();
    of(records, &CellContext { server: Some(&side), ..context(spec) })
}

#[test]
fn equal_counters_give_no_verdict() {
    let spec = workload(json!({}));
    assert_eq!(with_engine(&spec, &sound(), json!({})), []);
    let totals = totals(&super::packed(&[sound()]));
    assert_eq!((totals.sent, totals.completed), (700, 700));
    assert_eq!((totals.input_tokens, totals.output_tokens), (Some(7000), Some(2800)));
    assert_eq!((totals.ttft_mean_ms, totals.e2e_mean_ms), (Some(10.0), Some(40.0)));
}

#[test]
fn counters_that_disagree_exclude_the_cell_and_are_named() {
    let spec = workload(json!({}));
    let cell = [(VerdictKind::TokenCounts, Severity::Cell)];
    for (counted, says) in [
        (json!({ "generation_tokens": 2801 }), "2800 output tokens by the answers' `usage`, 2801"),
        (json!({ "prompt_tokens": 6999 }), "7000 prompt tokens"),
        (json!({ "requests": 701 }), "finished 701 requests during the cell, and the client sent 700"),
    ] {
        let verdicts = with_engine(&spec, &sound(), counted);
        assert_eq!(kinds(&verdicts), cell);
        assert!(verdicts[0].reason.contains(says), "{}", verdicts[0].reason);
    }
    // Before it caught up, a server may have counted less.
    let unsettled = json!({ "generation_tokens": 2000, "settled": false });
    assert_eq!(with_engine(&spec, &sound(), unsettled), []);
    // What it does not count cannot disagree.
    assert_eq!(with_engine(&spec, &sound(), json!({ "generation_tokens": null })), []);
}

#[test]
fn the_server_may_count_more_for_incomplete_requests() {
    let spec = workload(json!({}));
    let mut records = sound();
    records[0] = failed(0, 40, Outcome::Truncated);
    let said = |output: u64| {
        let counted = json!({ "prompt_tokens": 7000, "generation_tokens": output });
        kinds(&with_engine(&spec, &records, counted)).contains(&(VerdictKind::TokenCounts, Severity::Cell))
    };
    assert!(!said(2798));
    assert!(said(2795), "fewer than the 2796 of those that completed");
}

#[test]
fn unintended_prefix_hits_exclude_the_cell_unless_they_are_few() {
    let fresh = workload(json!({ "cache": "fresh" }));
    let hits = |n: u64| with_engine(&fresh, &sound(), json!({ "prefix_hits": n }));
    assert_eq!(hits(0), []);
    assert_eq!(kinds(&hits(70)), [(VerdictKind::CacheContaminated, Severity::Note)]);
    let many = hits(700);
    assert_eq!(kinds(&many), [(VerdictKind::CacheContaminated, Severity::Cell)]);
    assert!(many[0].reason.contains("700 of 7000 prompt tokens (10 %)"), "{}", many[0].reason);
}

#[test]
fn intended_prefix_hits_are_not_contamination() {
    let shared = workload(json!({
        "prompts": null, "shared_prefix": { "groups": 2, "prefix_tokens": 8, "suffix_tokens": 2 }
    }));
    let hits = |n: u64| kinds(&with_engine(&shared, &sound(), json!({ "prefix_hits": n })));
    assert_eq!(hits(5584), []);
    assert_eq!(hits(7000), [(VerdictKind::CacheContaminated, Severity::Cell)]);
    // A template's own words stand before what was to be new, and so does a system message.
    let chat = workload(json!({ "cache": "fresh", "api": "chat" }));
    assert_eq!(with_engine(&chat, &sound(), json!({ "prefix_hits": 7000 })), []);
    let written = workload(json!({}));
    assert_eq!(with_engine(&written, &sound(), json!({ "prefix_hits": 7000 })), []);
}

#[test]
fn repeated_prompts_without_hits_are_no_warm_cache() {
    let spec = workload(json!({}));
    let said = |hits: u64| {
        let engine = json!({ "span_s": 1.0, "settled": true, "prefix_hits": hits });
        let side: ServerSide = serde_json::from_value(json!({ "span_s": 1.0, "engine": engine })).unwrap();
        kinds(&of(&sound(), &CellContext { inputs: 1, server: Some(&side), ..context(&spec) }))
    };
    assert_eq!(said(0), []);
    assert_eq!(said(16), [(VerdictKind::WarmCache, Severity::Note)]);
}

#[test]
fn preemptions_are_judged_by_their_share() {
    let spec = workload(json!({}));
    let said = |n: u64| with_engine(&spec, &sound(), json!({ "preemptions": n }));
    assert_eq!(kinds(&said(1)), [(VerdictKind::Preempted, Severity::Note)]);
    let some = said(7);
    assert_eq!(kinds(&some), [(VerdictKind::Preempted, Severity::Metric)]);
    assert!(some[0].touches.contains(&"p99_itl".into()), "{:?}", some[0].touches);
    assert!(!some[0].touches.contains(&"throughput".into()));
    let many = said(70);
    assert!(many[0].touches.contains(&"throughput".into()));
    assert!(many[0].reason.contains("70 times"), "{}", many[0].reason);
}

#[test]
fn a_saturated_client_is_found_by_cpu_time_and_by_loop_delay() {
    let spec = workload(json!({}));
    let standing = |wall_s: f64, max_ms: f64| {
        let client = [ClientHealth {
            wall_s,
            cpu_s: 1.0,
            loop_delay: Some(LoopDelay { n: 1000, p50_ms: 0.5, p99_ms: 0.9, max_ms }),
        }];
        let context = CellContext { client: &client, ..context(&spec) };
        kinds(&of(&sound(), &context))
    };
    let kind = VerdictKind::ClientSaturated;
    assert_eq!(standing(10.0, 400.0), []);
    assert_eq!(standing(10.0, 2000.0), [(kind, Severity::Cell)]);
    assert_eq!(standing(1000.0, 2000.0), [(kind, Severity::Metric)]);
    let said = |cpu_s: f64, p50_ms: f64, p99_ms: f64| {
        let client = [ClientHealth {
            wall_s: 10.0,
            cpu_s,
            loop_delay: Some(LoopDelay { n: 1000, p50_ms, p99_ms, max_ms: p99_ms }),
        }];
        of(&sound(), &CellContext { client: &client, ..context(&spec) })
    };
    // The median TTFT is 10 ms: beyond the timer's own grain of 1 ms a loop may be 1 ms late.
    assert_eq!(said(5.0, 0.9, 1.9), []);
    assert_eq!(kinds(&said(8.0, 0.9, 1.9)), [(kind, Severity::Note)]);
    assert_eq!(kinds(&said(9.5, 0.9, 1.9)), [(kind, Severity::Cell)]);
    let tail = said(5.0, 0.9, 2.5);
    assert_eq!(kinds(&tail), [(kind, Severity::Metric)]);
    assert!(tail[0].touches.contains(&"p99_ttft".into()), "{:?}", tail[0].touches);
    let all = said(5.0, 2.5, 4.0);
    assert_eq!(kinds(&all), [(kind, Severity::Cell)]);
    assert!(all[0].reason.contains("50 % of a core"), "{}", all[0].reason);
}
