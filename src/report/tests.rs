//! Whole notes, and what odd runs say.

use serde_json::json;

use super::{
    Note, fixtures,
    note::template::{Template, render as render_templates},
    render, values,
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
            let Some(Note { text, .. }) = capacity else {
                panic!("no capacity.md")
            };
            assert!(!text.contains("NaN") && !text.contains("inf "), "{text}");
            text.clone()
        }
        Err(findings) => panic!("{}", findings.render(false)),
    }
}

fn own(text: &str, run: &StoredRun) -> Result<String, String> {
    let templates = [Template::new(
        "own.md.j2",
        "templates/own.md.j2",
        text.into(),
    )];
    match render_templates(&templates, &values(run)) {
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

#[test]
fn trusted_cells_are_ranked_by_the_slo_itself() {
    let run = fixtures::streamed();
    let best = &values(&run)["blocks"][0]["best"];
    assert_eq!(best["picks"][0]["concurrency"], 4.0);
    assert_eq!(
        best["picks"][0]["what"],
        "most users and highest throughput"
    );
    assert_eq!(best["picks"][0]["trusted"], true);
    let text = note(&run);
    assert!(
        text.contains("serves 4 users of chat at p95 TTFT 90.0 ms"),
        "{text}"
    );
    assert!(
        text.contains("Cliff along concurrency: p95 TTFT jumps 10×"),
        "{text}"
    );
    assert!(
        text.contains("A single stream decodes at 62.5 tok/s"),
        "{text}"
    );
}

#[test]
fn a_cell_verdict_takes_the_best_cell_out_of_the_ranking() {
    let mut run = fixtures::streamed();
    run.cells[2].verdicts.push(Verdict {
        kind: VerdictKind::ClientLate,
        severity: Severity::Cell,
        touches: Vec::new(),
        reason: "p99 issue delay 80 ms".into(),
        hint: "Use a faster client.".into(),
    });
    let best = &values(&run)["blocks"][0]["best"];
    assert_eq!(best["picks"][0]["concurrency"], 2.0);
    assert!(
        best["basis"].as_str().is_some_and(
            |text| text.contains("1 of 4 measured cells not ranked because of client_late")
        ),
        "{best}"
    );
}

#[test]
fn when_nothing_may_be_ranked_there_is_still_a_best_one_and_it_says_so() {
    let mut run = fixtures::streamed();
    for cell in &mut run.cells {
        cell.verdicts.push(Verdict {
            kind: VerdictKind::TokenCounts,
            severity: Severity::Cell,
            touches: Vec::new(),
            reason: "no usage".into(),
            hint: "Ask for usage.".into(),
        });
    }
    let best = &values(&run)["blocks"][0]["best"];
    assert_eq!(best["picks"][0]["trusted"], false);
    assert!(
        best["basis"]
            .as_str()
            .is_some_and(|text| text.contains("an order by p50 to look at")),
        "{best}"
    );
}

#[test]
fn without_an_slo_the_knee_is_named_and_for_throughput_the_fastest() {
    let mut run = fixtures::streamed();
    for cell in &mut run.cells {
        cell.slo = Default::default();
    }
    assert_eq!(
        values(&run)["blocks"][0]["best"]["picks"][0]["concurrency"],
        4.0
    );
    for cell in &mut run.cells {
        cell.objective = Objective::Throughput;
    }
    assert_eq!(
        values(&run)["blocks"][0]["best"]["picks"][0]["concurrency"],
        8.0
    );
}

#[test]
fn an_slo_that_no_cell_meets_names_the_nearest() {
    let mut run = fixtures::streamed();
    for cell in &mut run.cells {
        cell.slo = serde_json::from_value(json!({ "p95_ttft": "40ms" })).expect("an SLO");
    }
    let text = note(&run);
    assert!(
        text.contains("in no cell; nearest is concurrency 1"),
        "{text}"
    );
    assert!(
        text.contains("the nearest one is 25 % beyond its worst term"),
        "{text}"
    );
}

#[test]
fn a_ridge_is_named_with_its_axis_and_jump() {
    let mut run = fixtures::streamed();
    run.cells[1].summary.as_mut().expect("a summary").e2e =
        Some(fixtures::latency(200, 1800.0, 2140.0));
    let zones = values(&run)["blocks"][0]["unstable"].clone();
    let ridge = zones
        .as_array()
        .expect("a list")
        .iter()
        .find(|zone| zone["kind"] == "ridge")
        .expect("a ridge");
    assert_eq!(ridge["cells"], json!(["chat-c2-t64-0a1b2c3d"]));
    let text = ridge["text"].as_str().expect("a sentence");
    assert!(
        text.contains("Ridge along concurrency: p95 E2E is 2,140 ms at concurrency 2"),
        "{text}"
    );
    assert!(text.contains("1.95×"), "{text}");
}

#[test]
fn repeats_that_disagree_are_named() {
    let mut run = fixtures::streamed();
    let mut slow = run.cells[0].summary.clone().expect("a summary");
    let fast = slow.clone();
    slow.throughput_tok_s = Some(40.0);
    run.cells[0].repeats = vec![fast, slow];
    let text = note(&run);
    assert!(
        text.contains("throughput from 40.0 tok/s to 60.0 tok/s over 2 repeats, 50 % apart"),
        "{text}"
    );
}

#[test]
fn what_was_predicted_is_never_ranked_with_what_was_measured() {
    let mut run = fixtures::streamed();
    // The predicted cell would be the best by far.
    let best = run.cells.last_mut().unwrap();
    best.predicted = true;
    best.summary.as_mut().unwrap().throughput_tok_s = Some(10_000.0);
    best.summary.as_mut().unwrap().ttft = Some(fixtures::latency(200, 1.0, 2.0));
    let values = values(&run);
    let best = values["blocks"][0]["best"].to_string();
    assert!(!best.contains("chat-c8-t64"), "{best}");
    // Among its like it is ranked.
    run.cells.iter_mut().for_each(|cell| cell.predicted = true);
    let values = super::values(&run);
    let best = values["blocks"][0]["best"].to_string();
    assert!(best.contains("chat-c8-t64"), "{best}");
    assert!(
        values["statements"][0]
            .as_str()
            .unwrap()
            .starts_with("Predicted, not measured: ")
    );
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
    assert!(
        top.join("\n")
            .contains("**SIMULATED. Nothing here was measured"),
        "{text}"
    );
    assert!(text.contains("**Simulated, not measured:"), "{text}");
}

#[test]
fn odd_runs_give_sensible_sentences() {
    let none = note(&fixtures::empty());
    assert!(
        none.contains(
            "Nothing was measured on NVIDIA RTX 2000 Ada Generation: 0 of 0 planned cells stored."
        ),
        "{none}"
    );

    let mut failed = fixtures::streamed();
    for cell in &mut failed.cells {
        cell.outcome = CellOutcome::Failed;
        cell.summary = None;
        cell.errors = vec![("HTTP 500".into(), 200)];
    }
    let text = note(&failed);
    assert!(
        text.contains(
            "chat: nothing was measured on NVIDIA RTX 2000 Ada Generation; 4 cells failed."
        ),
        "{text}"
    );
    assert!(text.contains("200× HTTP 500"), "{text}");

    let mut one = fixtures::streamed();
    one.cells.truncate(1);
    let text = note(&one);
    assert!(text.contains("serves 1 user of chat"), "{text}");
    assert!(
        text.contains("Not measured yet: the run ended before it."),
        "{text}"
    );

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
    assert!(
        !text.contains('\u{1b}') && !text.contains("<script") && !text.contains("<img"),
        "{text}"
    );
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
    let error = own(
        "{% for c in cells %}{{ c.p95_tftt_ms | ms }}{% endfor %}",
        &run,
    )
    .expect_err("an error");
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
    std::fs::write(
        path.join("mine.md.j2"),
        "{{ cells[0].p95_ttft_ms | ms }} {{ usd_per_hour }}",
    )
    .expect("written");
    std::fs::write(path.join("README.md"), "{{ not a template").expect("written");
    let notes = render(&fixtures::streamed(), Some(path)).expect("notes");
    let files: Vec<&str> = notes.iter().map(|note| note.file.as_str()).collect();
    assert_eq!(files, ["capacity.md", "mine.md", "playbook.md"]);
    assert_eq!(notes[1].text, "50.0 ms –\n");
    std::fs::write(
        path.join("capacity.md.j2"),
        "mine\n{% include \"built-in/capacity.md.j2\" %}",
    )
    .expect("written");
    let notes = render(&fixtures::streamed(), Some(path)).expect("notes");
    assert!(
        notes[0].text.starts_with("mine\n# day003\n"),
        "{}",
        notes[0].text
    );
    let missing = render(&fixtures::streamed(), Some(&path.join("no"))).expect_err("an error");
    assert!(
        missing.render(false).contains("cannot read"),
        "{}",
        missing.render(false)
    );
}

#[test]
fn even_one_measured_cell_gives_three_observations() {
    for run in [
        fixtures::grid(),
        fixtures::streamed(),
        fixtures::oom_surface(),
    ] {
        for block in values(&run)["blocks"].as_array().expect("a list") {
            let observed = block["observations"].as_array().expect("a list").len();
            assert!(observed >= 3 || block["measured"] == 0, "{block}");
        }
    }
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
    let best = &values(&run)["blocks"][0]["best"];
    assert_eq!(best["picks"][0]["concurrency"], 8.0);
    assert_eq!(best["contradicted"], false);
    for cell in &mut run.cells {
        cell.summary.as_mut().expect("a summary").ttft =
            Some(fixtures::latency(16, 1315.0, 2600.0));
    }
    let text = note(&run);
    assert!(
        text.contains("yet not by the percentiles it asks for"),
        "{text}"
    );
}

#[test]
fn the_spike_of_the_measured_grid_is_named_with_its_axis_and_jump() {
    let zones = values(&fixtures::grid())["blocks"][0]["unstable"].clone();
    let zones = zones.as_array().expect("a list");
    assert_eq!(zones.len(), 1, "{zones:?}");
    assert_eq!(zones[0]["kind"], "tail_ridge");
    let text = zones[0]["text"].as_str().expect("a sentence");
    assert!(
        text.contains("along concurrency") && text.contains("a jump of 1.32×"),
        "{text}"
    );
}

#[test]
fn servers_stand_side_by_side_and_the_best_one_is_the_headline() {
    let mut run = fixtures::oom_surface();
    let second = run
        .cells
        .iter_mut()
        .filter(|cell| cell.outcome.is_measured())
        .nth(1)
        .expect("a second server");
    second.summary.as_mut().expect("a summary").throughput_tok_s = Some(640.0);
    let server = second.server.clone();
    let values = values(&run);
    assert_eq!(values["comparisons"][0]["servers"][0]["server"], server);
    assert_eq!(values["statements"].as_array().map(Vec::len), Some(1));
    assert!(
        values["statements"][0]
            .as_str()
            .is_some_and(|text| text.contains("640 tok/s")),
        "{}",
        values["statements"]
    );
}

#[test]
fn a_template_draws_any_value_over_any_two_axes() {
    let run = fixtures::grid();
    let text = own(
        "{{ grid(cells, rows=\"max_tokens\", columns=\"concurrency\", value=\"p95_e2e_ms\") }}",
        &run,
    )
    .expect("a note");
    assert_eq!(
        text.lines().nth(2),
        Some("| 64 | 1,065 | 1,106 | 1,169 | 1,316 |"),
        "{text}"
    );
    let error = own(
        "{{ grid(cells, rows=\"max_tokens\", columns=\"concurency\", value=\"p95_e2e_ms\") }}",
        &run,
    )
    .expect_err("an error");
    assert!(error.contains("did you mean `concurrency`?"), "{error}");
    assert!(error.contains("own.md.j2:1:"), "{error}");
}

/// A cell's server side: so many milliseconds in the queue, and prefill, decode and TTFT as they always are.
fn told(queue_ms: f64, output: u64) -> serde_json::Value {
    let times = |mean_ms: f64| json!({ "count": 200, "sum_s": mean_ms * 0.2, "mean_ms": mean_ms, "buckets": [] });
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
    for said in [
        "| concurrency 8, max_tokens 64 | 950 ms | 40.0 ms | 1,000 ms | 6.00 ms | 4.00 ms | 1,000 ms | 995 ms | 3 | 25 % | 2 | 25 % |",
        "A mean request takes 1,050 ms at concurrency 1, max_tokens 64 (0 % queue, 3.8 % prefill, 95 % decode, 0.6 % front end, 0.4 % network and client)",
        "and 2,000 ms at concurrency 8, max_tokens 64 (48 % queue",
        "the same to the token in all 4 cells",
        "at most +5.00 ms from the server's",
        "The KV cache was at most 25 % full",
        "preempted 8 times",
        "1.50 cores busy",
        "0.500 J for each output token",
        "before, every 1 s of, and after each repeat: 48 times",
    ] {
        assert!(text.contains(said), "{said} in\n{text}");
    }
    // One that counts otherwise is not the same, and one that does not tell is not zero.
    run.cells[0].server_side = serde_json::from_value(told(0.0, 12_799)).unwrap();
    run.cells[1].server_side =
        serde_json::from_value(json!({ "span_s": 1.0, "absent": ["no /metrics here"] })).unwrap();
    let text = note(&run);
    assert!(text.contains("the same in 2 of 3 cells"), "{text}");
    assert!(text.contains("Not reported: no /metrics here."), "{text}");
    assert!(
        !text.contains("| concurrency 2, max_tokens 64 | –"),
        "{text}"
    );
}
