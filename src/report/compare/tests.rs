//! What is compared, and what is refused.

use super::*;
use crate::{
    manifest::{Find, LatencyKind},
    measure::{Severity, Verdict},
    plan::Goal,
    report::{
        fixtures::{grid, server, streamed},
        render_comparison,
        searches::fixtures as searches,
    },
    search::{Answer, State},
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

/// Two runs with the answers of their searches, compared.
fn answered(mine: (StoredRun, Vec<Answer>), its: (StoredRun, Vec<Answer>)) -> Comparison {
    of_models(&Model::with(&mine.0, mine.1), &Model::with(&its.0, its.1))
}

/// The search for the most users, with another answer.
fn users(state: State, low: Option<f64>, high: Option<f64>) -> (StoredRun, Vec<Answer>) {
    let (run, answer) = searches::found();
    (run, vec![Answer { state, feasible: low, infeasible: high, ..answer }])
}

/// The line of the comparison about its first search.
fn line(comparison: &Comparison) -> String {
    let text = render_comparison(comparison, None).unwrap_or_else(|own| panic!("{}", own.render(false)));
    assert!(!text.contains("NaN"), "{text}");
    let mut lines = text.lines().skip_while(|line| !line.starts_with("Answers of searches"));
    lines.nth(2).expect("a line").to_owned()
}

#[test]
fn answers_are_better_worse_or_not_told_apart() {
    let found = |low, high| users(State::Found, Some(low), Some(high));
    let base = || found(98.0, 103.0);
    let cases = [
        (found(118.0, 124.0), "chat: 118 to 124 against 98 to 103 users: better, by +15 % to +27 %."),
        (found(80.0, 84.0), "chat: 80 to 84 against 98 to 103 users: worse, by −22 % to −14 %."),
        (
            found(101.0, 106.0),
            "chat: 101 to 106 against 98 to 103 users: not told apart, because the two overlap.",
        ),
        // The limit is less than 103, and at least 103.
        (found(103.0, 108.0), "chat: 103 to 108 against 98 to 103 users: better, by +0 % to +10 %."),
        (
            users(State::All, Some(1000.0), None),
            "chat: all up to 1,000 against 98 to 103 users: better, by at least +871 %.",
        ),
        (
            users(State::None, None, Some(1.0)),
            "chat: none from 1 on against 98 to 103 users: worse, by at least −99 %.",
        ),
        (
            users(State::CannotTell, Some(64.0), None),
            "chat: cannot tell against 98 to 103 users: nothing to compare.",
        ),
        (
            users(State::Unfinished, Some(64.0), Some(128.0)),
            "chat: not finished against 98 to 103 users: nothing to compare.",
        ),
    ];
    for (mine, wanted) in cases {
        assert_eq!(line(&answered(mine, base())), format!("- {wanted}"));
    }
    let all = || users(State::All, Some(1000.0), None);
    assert_eq!(
        line(&answered(all(), all())),
        "- chat: all up to 1,000 against all up to 1,000 users: not told apart, because the two overlap."
    );
}

#[test]
fn a_smaller_need_is_better_and_the_best_server_has_no_interval() {
    let smallest = |works: f64, fails: f64| {
        let (run, mut answer) = searches::longest();
        if let Goal::Value { find, .. } = &mut answer.search.goal {
            *find = Find::Smallest;
        }
        (run, vec![Answer { feasible: Some(works), infeasible: Some(fails), ..answer }])
    };
    let own = answered(smallest(4096.0, 3072.0), smallest(6144.0, 5120.0));
    assert_eq!(own.answers[0].judgement, AnswerJudgement::Better);
    let (run, answer) = searches::tune();
    let mut slower = answer.clone();
    slower.candidates[0].objective = Some(2100.0);
    let own = answered((run.clone(), vec![answer]), (run, vec![slower]));
    assert_eq!(line(&own), "- tune, throughput: 2,310 against 2,100 tok/s: 1.10×, without an interval.");
}

#[test]
fn answers_to_other_questions_are_not_comparable_and_the_difference_is_named() {
    let base = || users(State::Found, Some(98.0), Some(103.0));
    let (mut run, mut answers) = users(State::Found, Some(118.0), Some(124.0));
    let slo: crate::manifest::Slo = serde_json::from_value(json!({ "p95_ttft": "1s" })).unwrap();
    run.cells.iter_mut().for_each(|cell| cell.slo = slo.clone());
    if let Goal::Load { to, within, .. } = &mut answers[0].search.goal {
        (*to, *within) = (500.0, 0.1);
    }
    let own = answered((run, answers), base());
    assert_eq!((own.answers[0].judgement, own.answers[0].ratio), (AnswerJudgement::NotComparable, None));
    assert_eq!(
        line(&own),
        "- chat: 118 to 124 against 98 to 103 users: not comparable, because the range (1 to 500 against 1 to 1,000) \
         and the SLO (p95_ttft ≤ 1s against p95_ttft ≤ 500ms) differ."
    );
    // Another server is a difference that has to be allowed, like that of cells.
    let mut other = base();
    for group in &mut other.0.plan.groups {
        group.server = server(json!({ "max-num-seqs": 7 })).into();
    }
    let keys: Vec<String> = answered(other, base()).differences.into_iter().map(|own| own.key).collect();
    assert!(keys.contains(&"flags.max-num-seqs".into()), "{keys:?}");
    // The flag that a search varies is none.
    let (one, longest) = searches::longest();
    let (two, other) = searches::context(&[(8192, "works"), (16_384, "oom at start (weights)")]);
    let other = Answer { state: State::Found, feasible: Some(8192.0), infeasible: Some(16_384.0), ..other };
    let own = answered((one, vec![longest]), (two, vec![other]));
    assert!(own.differences.is_empty(), "{:?}", own.differences);
    assert_eq!((own.cells.len(), own.alone, own.answers.len()), (0, (0, 0), 1));
}

#[test]
fn a_gate_on_an_answer_fails_only_where_the_intervals_are_apart() {
    let found = |low, high| users(State::Found, Some(low), Some(high));
    let gate = |text: &str, mine, its| text.parse::<Gate>().unwrap().failures(&answered(mine, its));
    let base = || found(118.0, 124.0);
    assert_eq!(gate("chat < -5%", base(), base()), Ok(Vec::new()));
    // The middle is 7 % less, and the intervals overlap.
    assert_eq!(gate("chat < -5%", found(106.0, 119.0), base()), Ok(Vec::new()));
    // The intervals are apart, and the middle is less than 5 % lower.
    assert_eq!(gate("chat < -5%", found(114.0, 118.0), base()), Ok(Vec::new()));
    let failed = gate("chat < -5%", found(98.0, 103.0), base());
    assert_eq!(failed, Ok(vec!["chat changed by -16.9 %: 98 to 103 against 118 to 124".into()]));
    assert_eq!(gate("chat > +5%", found(98.0, 103.0), base()), Ok(Vec::new()));
    let none = gate("chat < -5%", users(State::None, None, Some(1.0)), base());
    assert_eq!(none, Ok(vec!["chat changed by -99.2 %: none from 1 on against 118 to 124".into()]));
    let error = gate("chat < -5%", users(State::CannotTell, None, None), base()).unwrap_err();
    assert!(error.to_string().contains("cannot_tell against found"), "{error}");
    let error = gate("rag < -5%", base(), base()).unwrap_err().to_string();
    assert!(error.contains("no cell has rag in both runs") && error.contains("chat"), "{error}");
}

#[test]
fn a_probe_that_was_measured_again_is_compared_by_its_last_measurement() {
    let (run, answer) = searches::found();
    let again: Vec<usize> =
        (0..run.cells.len()).filter(|at| run.cells[*at].load["concurrency"] == 112).collect();
    assert_eq!(again.len(), 2);
    let comparison = answered((run.clone(), vec![answer.clone()]), (run, vec![answer]));
    let of_twice: Vec<&Pair> =
        comparison.cells.iter().filter(|pair| pair.label.contains("concurrency 112")).collect();
    assert_eq!((of_twice.len(), of_twice[0].left_out), (1, None));
    assert_eq!(comparison.alone, (0, 0));
}
