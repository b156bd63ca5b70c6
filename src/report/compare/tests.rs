//! What is compared, and what is refused.

use super::*;
use crate::{
    report::fixtures::{grid, server},
    store::EngineFact,
};
use serde_json::json;

#[test]
fn a_run_is_within_the_noise_of_itself() {
    let run = grid();
    let comparison = compare(&run, &run);
    assert!(comparison.differences.is_empty());
    assert!(!comparison.cells.is_empty());
    assert_eq!(comparison.alone, (0, 0));
    for change in comparison.cells.iter().flat_map(|cell| &cell.changes) {
        assert_eq!(change.ratio, 1.0);
        assert!(!matches!(
            change.judgement,
            Judgement::Better | Judgement::Worse
        ));
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
    let labels: Vec<&str> = rows
        .iter()
        .filter_map(|row| row["label"].as_str())
        .collect();
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
            cell.client_totals = Some(crate::measure::ClientTotals {
                output_tokens: Some(100),
                ..Default::default()
            });
        }
        run
    };
    let comparison = compare(&with(300.0), &with(200.0));
    let change = comparison.cells[0].change(ENERGY).unwrap();
    assert_eq!((change.run, change.ratio), (3.0, 1.5));
    assert_eq!(change.judgement, Judgement::Untold);
    let without = compare(&grid(), &with(200.0));
    assert!(without.cells[0].change(ENERGY).is_none());
}

#[test]
fn what_differs_is_named_and_may_be_allowed() {
    let mut anchor = grid();
    let mut run = anchor.clone();
    for group in &mut run.plan.groups {
        group.server = server(json!({ "max-num-seqs": 7 })).into();
    }
    let engine = |version: &str| {
        Some(EngineFact {
            name: "vllm".into(),
            version: Some(version.into()),
        })
    };
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
        for summary in run
            .cells
            .iter_mut()
            .filter_map(|cell| cell.summary.as_mut())
        {
            summary.output_tokens = Some(tokens);
        }
        run
    };
    let differences = compare(&with_tokens(1000), &with_tokens(1100)).differences;
    let keys: Vec<&str> = differences
        .iter()
        .map(|difference| difference.key.as_str())
        .collect();
    assert_eq!(keys, ["workload.chat.output_tokens"]);
    let near = compare(&with_tokens(1000), &with_tokens(1010)).differences;
    assert!(near.is_empty(), "{near:?}");
}
