//! What is compared, and what is refused.

use super::*;
use crate::{
    manifest::LatencyKind,
    measure::{Severity, Verdict},
    report::{
        fixtures::{grid, server, streamed},
        render_comparison,
    },
    store::EngineFact,
};
use serde_json::{Value, json};

#[test]
fn a_run_is_within_the_noise_of_itself() {
    let run = grid();
    let comparison = compare(&run, &run);
    assert!(comparison.differences.is_empty());
    assert!(!comparison.cells.is_empty());
    assert_eq!(comparison.alone, (0, 0));
    for change in comparison.cells.iter().flat_map(|cell| &cell.changes) {
        assert_eq!(change.ratio, 1.0);
        assert!(!matches!(change.judgement, Judgement::Better | Judgement::Worse));
    }
}

#[test]
fn of_too_many_cells_the_tables_show_those_that_changed_most() {
    let run = grid();
    let mut comparison = compare(&run, &run);
    let pair = comparison.cells[0].clone();
    comparison.cells = (0..500)
        .map(|nth| {
            let mut pair = pair.clone();
            pair.label = format!("cell {nth}");
            // Half of the cells changed, those further back by less.
            if nth >= 250 {
                for change in &mut pair.changes {
                    change.ratio = 1.0 + 1.0 / f64::from(nth);
                    change.judgement = Judgement::Better;
                }
            }
            pair
        })
        .collect();
    let values = view::values(&comparison);
    let workload = &values["workloads"][0];
    assert_eq!(workload["cells"], 500);
    let rows = workload["rows"].as_array().unwrap();
    let labels: Vec<&str> = rows.iter().filter_map(|row| row["label"].as_str()).collect();
    let wanted: Vec<String> = (250..450).map(|nth| format!("cell {nth}")).collect();
    assert_eq!(labels, wanted);
}

#[test]
fn energy_for_a_token_has_a_ratio_and_no_interval() {
    let with = |joules: f64| {
        let mut run = grid();
        for cell in &mut run.cells {
            let gpu = json!({ "index": 0, "energy_j": joules });
            cell.server_side = Some(crate::observe::ServerSide {
                gpus: vec![serde_json::from_value(gpu).unwrap()],
                ..Default::default()
            });
            cell.client_totals =
                Some(crate::measure::ClientTotals { output_tokens: Some(100), ..Default::default() });
        }
        run
    };
    let comparison = compare(&with(300.0), &with(200.0));
    let change = comparison.cells[0].change("gpu_j_per_output_token").unwrap();
    assert_eq!((change.run, change.ratio), (3.0, 1.5));
    assert_eq!(change.judgement, Judgement::Untold);
    let without = compare(&grid(), &with(200.0));
    assert!(without.cells[0].change("gpu_j_per_output_token").is_none());
}

#[test]
fn what_differs_is_named_and_may_be_allowed() {
    let mut anchor = grid();
    let mut run = anchor.clone();
    for group in &mut run.plan.groups {
        group.server = server(json!({ "max-num-seqs": 7 })).into();
    }
    let engine = |version: &str| Some(EngineFact { name: "vllm".into(), version: Some(version.into()) });
    anchor.run.engine = engine("0.32.0");
    run.run.engine = engine("0.33.0");
    let keys: BTreeMap<String, Difference> = compare(&run, &anchor)
        .differences
        .into_iter()
        .map(|difference| (difference.key.clone(), difference))
        .collect();
    assert_eq!(keys["flags.max-num-seqs"].run, "7");
    assert!(keys.contains_key("engine_version"), "{keys:?}");
    let allowed = |word: &str| keys["flags.max-num-seqs"].is_allowed(&[word.to_owned()]);
    assert!(allowed("flags") && allowed("flags.max-num-seqs"));
    assert!(!allowed("flag") && !allowed("flags.max") && !allowed("model"));
}

#[test]
fn other_lengths_are_other_work() {
    let with_tokens = |tokens| {
        let mut run = grid();
        for summary in run.cells.iter_mut().filter_map(|cell| cell.summary.as_mut()) {
            summary.output_tokens = Some(tokens);
        }
        run
    };
    let differences = compare(&with_tokens(1000), &with_tokens(1100)).differences;
    let keys: Vec<&str> = differences.iter().map(|difference| difference.key.as_str()).collect();
    assert_eq!(keys, ["workload.chat.output_tokens"]);
    let near = compare(&with_tokens(1000), &with_tokens(1010)).differences;
    assert!(near.is_empty(), "{near:?}");
}

/// The template's values of a metric of the only workload.
fn metric(comparison: &Comparison, column: &str) -> Value {
    let values = view::values(comparison);
    let metrics = values["workloads"][0]["metrics"].as_array().unwrap();
    metrics.iter().find(|metric| metric["column"] == column).unwrap().clone()
}

/// The run with its throughput multiplied, one factor for each cell.
fn faster(mut run: StoredRun, factors: &[f64]) -> StoredRun {
    for (cell, factor) in run.cells.iter_mut().zip(factors) {
        let summary = cell.summary.as_mut().unwrap();
        summary.throughput_tok_s = summary.throughput_tok_s.map(|rate| rate * factor);
    }
    run
}

#[test]
fn better_and_worse_are_counted_and_an_engine_that_is_better_until_it_is_not_crosses_over() {
    let anchor = streamed();
    let comparison = compare(&faster(streamed(), &[2.0, 1.8, 0.55, 0.5]), &anchor);
    let own = metric(&comparison, "throughput_tok_s");
    assert_eq!((&own["better"], &own["worse"], &own["untold"]), (&json!(2), &json!(2), &json!(0)));
    let near = |value: &Value, expected: f64| (value.as_f64().unwrap() / expected - 1.0).abs() < 1e-9;
    assert!(near(&own["least"], 0.5) && near(&own["most"], 2.0), "{own}");
    let crossover = &own["crossover"];
    assert_eq!((&crossover["from"], &crossover["to"]), (&json!(2.0), &json!(4.0)));
    let text = render_comparison(&comparison, None).unwrap();
    assert!(text.contains("- throughput is "), "{text}");
    let same = metric(&compare(&anchor, &anchor), "throughput_tok_s");
    assert_eq!((&same["within_noise"], &same["crossover"]), (&json!(4), &Value::Null));
}

#[test]
fn what_a_verdict_excludes_is_not_compared_and_counted() {
    let mut run = streamed();
    let verdict = |kind, severity, touches: &[&str]| Verdict {
        kind,
        severity,
        touches: touches.iter().map(|name| (*name).to_owned()).collect(),
        reason: String::new(),
        hint: String::new(),
    };
    run.cells[0].verdicts = vec![verdict(VerdictKind::ClientSaturated, Severity::Cell, &[])];
    run.cells[1].verdicts = vec![verdict(VerdictKind::FewSamples, Severity::Metric, &["p95_ttft"])];
    let comparison = compare(&streamed(), &run);
    assert!(comparison.cells[0].changes.is_empty());
    assert!(comparison.cells[1].change("p95_ttft_ms").is_none());
    assert!(comparison.cells[1].change("p50_ttft_ms").is_some());
    let values = view::values(&comparison);
    assert_eq!(values["cells"], 4);
    let left_out = json!([
        { "verdict": "few_samples", "whole": 0, "part": 1 },
        { "verdict": "client_saturated", "whole": 1, "part": 0 },
    ]);
    assert_eq!(values["left_out"], left_out);
    assert_eq!(metric(&comparison, "throughput_tok_s")["of"], 3);
    assert_eq!(metric(&comparison, "p95_ttft_ms")["of"], 2);
    let text = render_comparison(&comparison, None).unwrap();
    for said in ["1 cell is not compared", "`client_saturated`", "In 1 cell some numbers", "`few_samples`"] {
        assert!(text.contains(said), "{said} is not in\n{text}");
    }
}

#[test]
fn a_predicted_side_has_a_ratio_and_no_interval() {
    let mut run = faster(streamed(), &[1.3; 4]);
    for cell in &mut run.cells {
        cell.predicted = true;
    }
    let comparison = compare(&run, &streamed());
    assert!(comparison.predicted && !comparison.simulated);
    for change in comparison.cells.iter().flat_map(|cell| &cell.changes) {
        assert_eq!((change.between, change.judgement), (None, Judgement::Predicted));
    }
    let own = metric(&comparison, "throughput_tok_s");
    assert_eq!((&own["predicted"], &own["higher"], &own["better"]), (&json!(4), &json!(4), &json!(0)));
    let text = render_comparison(&comparison, None).unwrap();
    assert!(text.contains("4 predicted") && text.contains("4 measured"), "{text}");
    for word in ["within the noise", "measured on both", "not a real engine"] {
        assert!(!text.split("## How to read").next().unwrap().contains(word), "{word} is in\n{text}");
    }
}

#[test]
fn a_mean_that_another_tool_reports_is_compared_and_so_is_a_rank_of_its_own() {
    let with = |ms: f64| {
        let mut run = streamed();
        for cell in &mut run.cells {
            cell.summary = None;
            cell.reported = BTreeMap::from([("mean_e2e_ms".into(), ms), ("p90_ttft_ms".into(), ms)]);
        }
        run
    };
    let comparison = compare(&with(300.0), &with(200.0));
    let mean = Column::Metric(Metric::Latency(crate::measure::Rank::Mean, LatencyKind::E2e));
    let change = comparison.cells[0].of(mean).unwrap();
    assert_eq!((change.ratio, change.judgement), (1.5, Judgement::Untold));
    assert_eq!(comparison.cells[0].change("p90_ttft_ms").unwrap().ratio, 1.5);
    assert_eq!(metric(&comparison, "mean_e2e_ms")["higher"], 4);
}
