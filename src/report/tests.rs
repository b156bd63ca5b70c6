//! Whole notes, and what odd runs say.

use serde_json::{Value, json};

use super::{
    Note,
    finding::Words,
    fixtures, render,
    template::{Template, render as render_templates},
    values,
};
use crate::{
    manifest::Objective,
    measure::{CellOutcome, Severity, Verdict, VerdictKind},
    store::StoredRun,
};

fn note(run: &StoredRun) -> String {
    match render(run, None) {
        Ok(notes) => {
            let capacity = notes.iter().find(|note| note.file == "capacity.md");
            let Some(Note { text, .. }) = capacity else { panic!("no capacity.md") };
            assert!(!text.contains("NaN") && !text.contains("inf "), "{text}");
            text.clone()
        }
        Err(findings) => panic!("{}", findings.render(false)),
    }
}

fn own(text: &str, run: &StoredRun) -> Result<String, String> {
    let templates = [Template::new("own.md.j2", "templates/own.md.j2", text.into())];
    let values = values(run, None).map_err(|findings| findings.render(false))?;
    match render_templates(&templates, &values) {
        Ok(notes) => Ok(notes[0].text.clone()),
        Err(findings) => Err(findings.render(false)),
    }
}

#[test]
fn the_measured_grid_writes_its_own_note() {
    insta::assert_snapshot!(note(&fixtures::grid()));
}

#[test]
fn the_oom_surface_writes_its_own_note() {
    insta::assert_snapshot!(note(&fixtures::oom_surface()));
}

#[test]
fn the_same_run_gives_the_same_bytes() {
    assert_eq!(note(&fixtures::grid()), note(&fixtures::grid()));
}

/// The findings of a kind.
fn found(run: &StoredRun, kind: &str) -> Vec<Value> {
    let all = values(run, None).unwrap_or_else(|findings| panic!("{}", findings.render(false)));
    let all = all["findings"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|finding| finding["kind"] == kind).collect()
}

/// The evidence of the only finding of a kind.
fn evidence(run: &StoredRun, kind: &str) -> Value {
    let all = found(run, kind);
    assert_eq!(all.len(), 1, "{kind}: {all:#?}");
    all[0]["evidence"].clone()
}

fn against_the_cell(kind: VerdictKind) -> Verdict {
    Verdict {
        kind,
        severity: Severity::Cell,
        touches: Vec::new(),
        reason: "seen".into(),
        hint: "Do better.".into(),
    }
}

#[test]
fn trusted_cells_are_ranked_by_the_slo_itself() {
    let run = fixtures::streamed();
    let answer = evidence(&run, "answer");
    assert_eq!(
        (&answer["load"], &answer["met"], &answer["trust"]),
        (&json!(4.0), &json!("yes"), &json!("full"))
    );
    let limit = evidence(&run, "limit");
    assert_eq!(limit["worst"]["metric"], "p95 TTFT");
    assert_eq!((&limit["worst"]["value"], &limit["worst"]["target"]), (&json!(900.0), &json!(200.0)));
    assert_eq!(evidence(&run, "decode_speed")["user_tok_s"], 62.5);
}

#[test]
fn a_cell_verdict_takes_the_best_cell_out_of_the_ranking_and_out_of_every_finding() {
    let mut run = fixtures::streamed();
    run.cells[2].verdicts.push(against_the_cell(VerdictKind::ClientLate));
    assert_eq!(evidence(&run, "answer")["load"], 2.0);
    assert_eq!(evidence(&run, "basis")["left_out"], json!([{ "verdict": "client_late", "cells": 1.0 }]));
    let all = values(&run, None).unwrap();
    let data = ["excluded", "errors", "asked_and_got", "starts", "open_loop", "measured_once"];
    for finding in all["findings"].as_array().unwrap() {
        let kind = finding["kind"].as_str().unwrap();
        let rests = finding["cells"].as_array().unwrap().contains(&json!(run.cells[2].id));
        assert!(!rests || data.contains(&kind), "{finding}");
    }
}

#[test]
fn when_nothing_may_be_ranked_nothing_is_recommended() {
    let mut run = fixtures::streamed();
    for cell in &mut run.cells {
        cell.verdicts.push(against_the_cell(VerdictKind::TokenCounts));
    }
    assert_eq!(found(&run, "answer"), Vec::<Value>::new());
    assert_eq!(evidence(&run, "no_answer")["verdicts"], json!([{ "verdict": "token_counts", "cells": 4.0 }]));
    assert!(!render(&run, None).unwrap().iter().any(|note| note.file == "playbook.md"));
}

#[test]
fn without_an_slo_the_knee_is_named_and_for_throughput_the_fastest() {
    let mut run = fixtures::streamed();
    for cell in &mut run.cells {
        cell.slo = Default::default();
    }
    let answer = evidence(&run, "answer");
    assert_eq!((&answer["reason"], &answer["load"]), (&json!("knee"), &json!(4.0)));
    assert_eq!(evidence(&run, "knee")["load"], 4.0);
    for cell in &mut run.cells {
        cell.objective = Objective::Throughput;
    }
    assert_eq!(evidence(&run, "answer")["load"], 8.0);
}

#[test]
fn an_slo_that_no_cell_meets_names_the_nearest() {
    let mut run = fixtures::streamed();
    for cell in &mut run.cells {
        cell.slo = serde_json::from_value(json!({ "p95_ttft": "40ms" })).expect("an SLO");
    }
    let answer = evidence(&run, "answer");
    assert_eq!(
        (&answer["met"], &answer["load"], &answer["beyond"]),
        (&json!("no"), &json!(1.0), &json!(0.25))
    );
    assert_eq!(found(&run, "cost"), Vec::<Value>::new());
}

#[test]
fn fewer_requests_than_streams_are_a_smaller_load() {
    let mut run = fixtures::streamed();
    for cell in &mut run.cells {
        cell.slo = serde_json::from_value(json!({ "p95_ttft": "2s" })).expect("an SLO");
        let streams = cell.load["concurrency"].as_u64().unwrap() as u32;
        cell.summary.as_mut().unwrap().peak_in_flight = Some(streams.min(5));
    }
    assert_eq!(evidence(&run, "answer")["load"], 5.0);
    let text = note(&run);
    assert!(text.contains("8 (5 reached)"), "{text}");
}

#[test]
fn what_was_predicted_is_never_ranked_with_what_was_measured() {
    let mut run = fixtures::streamed();
    // The predicted cell would be the best by far.
    let best = run.cells.last_mut().unwrap();
    best.predicted = true;
    best.summary.as_mut().unwrap().throughput_tok_s = Some(10_000.0);
    best.summary.as_mut().unwrap().ttft = Some(fixtures::latency(200, 1.0, 2.0));
    assert_eq!(evidence(&run, "answer")["load"], 4.0);
    // Among its like it is ranked.
    run.cells.iter_mut().for_each(|cell| cell.predicted = true);
    let answer = evidence(&run, "answer");
    assert_eq!((&answer["load"], &answer["origin"]), (&json!(8.0), &json!("predicted")));
}

#[test]
fn what_was_simulated_says_so_at_the_top_and_in_the_sentence() {
    let mut run = fixtures::streamed();
    run.run.simulated = true;
    for cell in &mut run.cells {
        cell.simulated = true;
    }
    let text = note(&run);
    let top: Vec<&str> = text.lines().take(8).collect();
    assert!(top.join("\n").contains("**SIMULATED.**"), "{text}");
    assert!(text.contains("**Simulated, not measured:"), "{text}");
}

#[test]
fn odd_runs_give_sensible_sentences() {
    let none = note(&fixtures::empty());
    assert!(none.contains("Nothing was measured on NVIDIA RTX 2000 Ada Generation"), "{none}");

    let mut failed = fixtures::streamed();
    for cell in &mut failed.cells {
        cell.outcome = CellOutcome::Failed;
        cell.summary = None;
        cell.errors = vec![("HTTP 500".into(), 200)];
    }
    assert_eq!(evidence(&failed, "no_answer")["outcomes"], json!([{ "outcome": "failed", "cells": 4.0 }]));
    let text = note(&failed);
    assert!(text.contains("200× HTTP 500"), "{text}");

    let mut one = fixtures::streamed();
    one.cells.truncate(1);
    let text = note(&one);
    assert!(text.contains("serves 1 user of chat"), "{text}");
    assert!(text.contains("Not measured yet: the run ended before it."), "{text}");

    let mut zero = fixtures::streamed();
    for cell in &mut zero.cells {
        let summary = cell.summary.as_mut().expect("a summary");
        summary.throughput_tok_s = Some(0.0);
        summary.ttft = Some(fixtures::latency(200, f64::NAN, f64::NAN));
        summary.e2e = None;
        summary.req_s = Some(0.0);
    }
    note(&zero);
}

#[test]
fn every_kind_has_its_macro_and_every_sentence_is_clean() {
    let words = Words::new(None).unwrap_or_else(|findings| panic!("{}", findings.render(false)));
    assert_eq!(words.missing(), Vec::<&str>::new());
    for run in [fixtures::grid(), fixtures::streamed(), fixtures::oom_surface()] {
        let values = values(&run, None).unwrap();
        for finding in values["findings"].as_array().unwrap() {
            let text = finding["text"].as_str().unwrap();
            assert!(text.ends_with('.') || text.ends_with(':') || text.ends_with(')'), "{finding}");
            assert!(text.chars().next().is_some_and(|c| !c.is_whitespace()), "{finding}");
            for odd in ["  ", " .", " ,", "..", "none", "NaN", "{{", "{%"] {
                assert!(!text.contains(odd), "{odd:?} in {text}");
            }
        }
    }
}

/// What stands before the first fold: lines that are not empty, and words.
fn first_page(text: &str) -> (usize, usize) {
    let page = text.split("<details>").next().unwrap_or(text);
    (page.lines().count(), page.split_whitespace().count())
}

#[test]
fn the_first_page_is_short_whatever_the_size_of_the_run() {
    let large = fixtures::large(100);
    for run in [fixtures::grid(), fixtures::streamed(), fixtures::oom_surface(), large] {
        let text = note(&run);
        let (lines, words) = first_page(&text);
        assert!(lines <= 60 && words <= 450, "{lines} lines, {words} words:\n{text}");
    }
}

#[test]
fn that_nothing_is_unstable_is_said_where_nothing_is() {
    let runs = [fixtures::grid(), fixtures::streamed(), fixtures::oom_surface(), fixtures::large(4)];
    for run in runs.into_iter().chain(super::laws::one_of_each_scene()) {
        let all = values(&run, None).unwrap();
        let mut findings = all["findings"].as_array().unwrap().iter();
        let is_unstable = findings.any(|finding| {
            finding["question"] == "stability" && finding["kind"] != "noise" && finding["kind"] != "tail"
        });
        assert_ne!(note(&run).contains("No instability beyond chance was found."), is_unstable);
    }
}

#[test]
fn a_macro_of_one_s_own_takes_the_place_of_the_built_in_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = camino::Utf8Path::from_path(folder.path()).expect("a UTF-8 path");
    let own = "{% macro peak(f) %}At most {{ f.value }}, {{ f.value.value }}.{% endmacro %}";
    std::fs::write(path.join("findings.md.j2"), own).expect("written");
    let values = values(&fixtures::streamed(), Some(path))
        .unwrap_or_else(|findings| panic!("{}", findings.render(false)));
    let peak =
        values["findings"].as_array().unwrap().iter().find(|finding| finding["kind"] == "peak").unwrap();
    assert_eq!(peak["text"], "At most 260 tok/s, 260.0.");
    std::fs::write(path.join("findings.md.j2"), "\n{% macro peak(f) %}{{ f.walue }}{% endmacro %}")
        .expect("written");
    let Err(findings) = super::values(&fixtures::streamed(), Some(path)) else { panic!("no error") };
    let shown = findings.render(false);
    assert!(shown.contains("findings.md.j2:2:"), "{shown}");
}

#[test]
fn hostile_names_do_no_harm() {
    let mut run = fixtures::streamed();
    run.plan.experiment.title = Some("x\n# y <script>alert(1)</script> \u{1b}[2J".into());
    run.plan.hardware.label = Some("a|b`c".into());
    run.run.command.push("`rm`|\n".into());
    let mut hostile = run.cells[3].clone();
    hostile.outcome = CellOutcome::Crashed;
    hostile.reason = Some("| a | b |\n```\n<img src=x>".into());
    hostile.log_tail = vec!["```".into(), "\u{1b}[31m# heading".into()];
    hostile.summary = None;
    run.cells[3] = hostile;
    let text = note(&run);
    assert!(!text.contains('\u{1b}') && !text.contains("<script") && !text.contains("<img"), "{text}");
    assert!(!text.contains("\n# y"), "{text}");
    assert!(text.contains("a\\|b\\`c"), "{text}");
    assert!(text.contains("````text\n```\n"), "{text}");
}

#[test]
fn a_value_that_does_not_exist_is_shown_with_its_line_and_what_was_meant() {
    let run = fixtures::streamed();
    let error = own("# mine\n\n{{ run.nmae }}\n", &run).expect_err("an error");
    assert!(error.contains("templates/own.md.j2:3:"), "{error}");
    assert!(error.contains("^"), "{error}");
    assert!(error.contains("did you mean `name`?"), "{error}");
    assert!(error.contains("names in `run`: name, tool"), "{error}");
    let error = own("{{ titel }}", &run).expect_err("an error");
    assert!(error.contains("did you mean `title`?"), "{error}");
    let error = own("{% for c in cells %}{{ c.p95_tftt_ms | ms }}{% endfor %}", &run).expect_err("an error");
    assert!(error.contains("did you mean `p95_ttft_ms`?"), "{error}");
}

#[test]
fn a_wrong_filter_a_wrong_type_and_wrong_syntax_are_findings_too() {
    let run = fixtures::streamed();
    let error = own("{{ 1 | tok_z }}", &run).expect_err("an error");
    assert!(error.contains("did you mean `tok_s`?"), "{error}");
    let error = own("{{ title | ms }}", &run).expect_err("an error");
    assert!(error.contains("the filter `ms` shows a number"), "{error}");
    let error = own("a\n{% for x %}", &run).expect_err("an error");
    assert!(error.contains("templates/own.md.j2:2"), "{error}");
}

#[test]
fn user_templates_stand_beside_the_built_in_and_may_replace_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = camino::Utf8Path::from_path(folder.path()).expect("a UTF-8 path");
    std::fs::write(path.join("mine.md.j2"), "{{ cells[0].p95_ttft_ms | ms }} {{ usd_per_hour }}")
        .expect("written");
    std::fs::write(path.join("README.md"), "{{ not a template").expect("written");
    let notes = render(&fixtures::streamed(), Some(path)).expect("notes");
    let files: Vec<&str> = notes.iter().map(|note| note.file.as_str()).collect();
    assert_eq!(files, ["capacity.md", "definitions.md", "mine.md", "playbook.md"]);
    assert_eq!(notes[2].text, "50.0 ms –\n");
    std::fs::write(path.join("capacity.md.j2"), "mine\n{% include \"built-in/capacity.md.j2\" %}")
        .expect("written");
    let notes = render(&fixtures::streamed(), Some(path)).expect("notes");
    assert!(notes[0].text.starts_with("mine\n# day003\n"), "{}", notes[0].text);
    let missing = render(&fixtures::streamed(), Some(&path.join("no"))).expect_err("an error");
    assert!(missing.render(false).contains("cannot read"), "{}", missing.render(false));
}

#[test]
fn a_median_within_the_slo_does_not_hide_a_percentile_beyond_it() {
    let mut run = fixtures::grid();
    // The largest cell's median holds; its p95, however few samples it has, does not.
    let largest = run
        .cells
        .iter_mut()
        .find(|cell| cell.load["concurrency"] == 16 && cell.load["max_tokens"] == 64)
        .expect("a cell");
    largest.summary.as_mut().expect("a summary").ttft = Some(fixtures::latency(16, 1315.0, 2600.0));
    let answer = evidence(&run, "answer");
    assert_eq!((&answer["load"], &answer["met"]), (&json!(8.0), &json!("stand_in")));
    for cell in &mut run.cells {
        cell.summary.as_mut().expect("a summary").ttft = Some(fixtures::latency(16, 1315.0, 2600.0));
    }
    assert_eq!(evidence(&run, "answer")["met"], "contradicted");
}

#[test]
fn the_best_server_is_the_headline() {
    let mut run = fixtures::oom_surface();
    let second =
        run.cells.iter_mut().filter(|cell| cell.outcome.is_measured()).nth(1).expect("a second server");
    second.summary.as_mut().expect("a summary").throughput_tok_s = Some(640.0);
    let server = second.server.clone();
    let answers = found(&run, "answer");
    assert_eq!((answers.len(), &answers[0]["server"]), (1, &json!(server)));
    assert_eq!(answers[0]["evidence"]["throughput"], 640.0);
}

#[test]
fn a_template_draws_any_value_over_any_two_axes() {
    let run = fixtures::grid();
    let text =
        own("{{ grid(cells, rows=\"max_tokens\", columns=\"concurrency\", value=\"p95_e2e_ms\") }}", &run)
            .expect("a note");
    assert_eq!(text.lines().nth(2), Some("| 64 | 1,065 | 1,106 | 1,169 | 1,316 |"), "{text}");
    let error =
        own("{{ grid(cells, rows=\"max_tokens\", columns=\"concurency\", value=\"p95_e2e_ms\") }}", &run)
            .expect_err("an error");
    assert!(error.contains("did you mean `concurrency`?"), "{error}");
    assert!(error.contains("own.md.j2:1:"), "{error}");
}

/// A cell's server side: so many milliseconds in the queue, and prefill, decode and TTFT as they always are.
fn told(queue_ms: f64, output: u64) -> serde_json::Value {
    let times =
        |mean_ms: f64| json!({ "count": 200, "sum_s": mean_ms * 0.2, "mean_ms": mean_ms, "buckets": [] });
    json!({
        "span_s": 10.0,
        "scraping": { "every_s": 1.0, "scrapes": 12, "failed": 0, "mean_ms": 4.0, "max_ms": 20.0 },
        "engine": {
            "span_s": 10.0, "settled": true, "requests": 200, "prompt_tokens": 2000, "generation_tokens": output,
            "preemptions": 2, "prefix_queries": 2000, "prefix_hits": 500, "kv_usage_peak": 0.25, "waiting_peak": 3.0,
            "queue": times(queue_ms), "prefill": times(40.0), "decode": times(1000.0), "ttft": times(queue_ms + 45.0),
            "e2e": times(queue_ms + 1046.0),
        },
        "process": { "cpu_s": 15.0, "cores": 1.5, "peak_rss_bytes": 2147483648u64, "processes": 3 },
        "gpus": [{ "index": 0, "energy_j": 6400.0 }],
    })
}

#[test]
fn where_the_time_went_is_told_where_the_server_told() {
    let mut run = fixtures::streamed();
    assert!(!note(&run).contains("Where the time goes"));
    for (cell, queue_ms) in run.cells.iter_mut().zip([0.0, 10.0, 50.0, 950.0]) {
        cell.server_side = serde_json::from_value(told(queue_ms, 12_800)).unwrap();
        cell.client_totals = serde_json::from_value(json!({
            "sent": 200, "completed": 200, "input_tokens": 2000, "output_tokens": 12_800,
            "ttft_mean_ms": queue_ms + 50.0, "e2e_mean_ms": queue_ms + 1050.0,
        }))
        .unwrap();
    }
    let text = note(&run);
    assert!(text.contains("| concurrency 8, max_tokens 64 | 950 ms | 40.0 ms | 1,000 ms | 6.00 ms | 4.00 ms | 3 | 25 % | 2 | 25 % |"), "{text}");
    let agreement = &found(&run, "client_and_server")[0]["numbers"];
    assert_eq!(agreement["equal"], agreement["compared"], "{agreement}");
    let cache = &found(&run, "kv_cache")[0]["numbers"];
    assert_eq!((&cache["peak"], &cache["preemptions"]), (&json!(0.25), &json!(8.0)));
    // One that counts otherwise is not the same, and one that does not tell is not zero.
    run.cells[0].server_side = serde_json::from_value(told(0.0, 12_799)).unwrap();
    run.cells[1].server_side =
        serde_json::from_value(json!({ "span_s": 1.0, "absent": ["no /metrics here"] })).unwrap();
    let agreement = &found(&run, "client_and_server")[0]["numbers"];
    assert_eq!((&agreement["equal"], &agreement["compared"]), (&json!(2.0), &json!(3.0)));
    let text = note(&run);
    assert!(!text.contains("| concurrency 2, max_tokens 64 | –"), "{text}");
}
