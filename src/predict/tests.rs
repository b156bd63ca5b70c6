use std::{fs, path::PathBuf};

use camino::Utf8PathBuf;
use proptest::prelude::*;

use super::{
    calibrate::{Measured, fit_cells},
    estimate::usd_per_hour,
    *,
};
use crate::{
    engine::Speed,
    load::{Outcome, Phase},
    manifest::{Catalogue, Manifest, Overrides},
    measure::Summary,
    plan::{Cell, Plan},
};

const SERVER: &str = "[experiment]\nname = \"t\"\n[server]\nmodel = \"Qwen/Qwen2.5-1.5B-Instruct\"\n\
    [server.flags]\nmax-model-len = 2048\ngpu-memory-utilization = 0.8\n";

fn planned(workload: &str) -> (tempfile::TempDir, Manifest, Plan) {
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(folder.path().join("m.toml")).unwrap();
    fs::write(&path, format!("{SERVER}{workload}")).unwrap();
    let (manifest, findings) = Manifest::load(&path, &Overrides::default());
    let manifest = manifest.unwrap_or_else(|| panic!("{}", findings.render(false)));
    let (plan, _) = crate::plan::plan(&manifest);
    (folder, manifest, plan.unwrap())
}

fn machine(plan: &Plan) -> Machine {
    let server = &plan.groups[0].server;
    let placed = Placed::new(server, "RTX 2000 Ada", &Catalogue::default()).unwrap();
    placed.machine.unwrap()
}

/// Predicts a cell with its records in the system's folder for temporary files.
fn predict(cell: &Cell, manifest: &Manifest, machine: &Machine, assumed: Assumptions) -> Predicted {
    Setup { inputs: &manifest.inputs, assumed, spill: &spill() }.predict(cell, machine).unwrap()
}

fn spill() -> PathBuf {
    std::env::temp_dir()
}

#[test]
fn one_user_waits_one_step_per_token() {
    let (_folder, manifest, plan) =
        planned("[workload.w]\nprompts = [\"one two three\"]\nrequests = 4\nmax_tokens = 50\n");
    let machine = machine(&plan);
    let cell = &plan.groups[0].cells[0];
    let predicted = predict(cell, &manifest, &machine, Assumptions::default());
    // 3.09 GB of weights at 0.85 × 224 GB/s, and the millisecond of a step.
    let tpot = predicted.summary.tpot.unwrap().p50_ms;
    assert!((17.0..18.0).contains(&tpot), "{tpot}");
    let e2e = predicted.summary.e2e.unwrap().p50_ms;
    assert!((50.0 * tpot..52.0 * tpot).contains(&e2e), "{e2e}");
    assert_eq!(predicted.summary.output_tokens, Some(200));
    let shorter = Assumptions { answers: 0.5, ..Assumptions::default() };
    let half = predict(cell, &manifest, &machine, shorter);
    assert_eq!((half.output_tokens, half.summary.output_tokens), (25, Some(100)));
}

#[test]
fn synthetic_prompts_have_their_lengths() {
    let (_folder, manifest, plan) = planned(
        "[workload.w]\nsynthetic = { input_tokens = 300 }\nrequests = 8\nmax_tokens = 4\noutput = \"exact\"\n\
         concurrency = 4\n",
    );
    let machine = machine(&plan);
    let cell = &plan.groups[0].cells[0];
    let predicted = predict(cell, &manifest, &machine, Assumptions::default());
    assert_eq!(predicted.summary.input_tokens, Some(8 * 300));
    let longer = Assumptions { prompts: 1.5, ..Assumptions::default() };
    let exact = predict(cell, &manifest, &machine, longer);
    assert_eq!(exact.summary.input_tokens, Some(8 * 300));
}

#[test]
fn requests_time_out() {
    let (_folder, manifest, plan) = planned(
        "[workload.w]\nprompts = [\"a b c\"]\nrequests = 6\nmax_tokens = 100\ntimeout = \"1s\"\nconcurrency = 2\n",
    );
    let cell = &plan.groups[0].cells[0];
    let machine = machine(&plan);
    let spill = spill();
    let setup = Setup { inputs: &manifest.inputs, assumed: Assumptions::default(), spill: &spill };
    let Simulated { records, gauges, .. } = setup.records(cell, machine.engine(), 1).unwrap();
    assert_eq!(records.len(), 6);
    assert!(records.iter().all(|record| matches!(record.outcome, Outcome::TimedOut(_))));
    assert_eq!((gauges.running, gauges.kv_usage), (0, Some(0.0)));
}

#[test]
fn a_calibration_finds_the_constants_that_a_run_was_made_with() {
    let (_folder, manifest, plan) = planned(
        "[workload.w]\nprompts = [\"one two three four\"]\nrequests = 16\noutput = \"exact\"\n[workload.w.sweep]\n\
         concurrency = [1, 16]\nmax_tokens = [8, 32]\n[workload.long]\nsynthetic = { input_tokens = 1500 }\nrequests = 4\nmax_tokens = 2\n",
    );
    let guess = machine(&plan);
    let real = Speed { bandwidth: 90e9, flops: 11e12, step_s: 0.004, sequence_s: 0.0008 };
    let truth = guess.with_speed(real);
    // Their tokenizer makes twice the tokens of written prompts; synthetic prompts have their length.
    let theirs = Assumptions { prompts: 2.0, ..Assumptions::default() };
    let cells = &plan.groups[0].cells;
    let summaries: Vec<Summary> =
        cells.iter().map(|cell| predict(cell, &manifest, &truth, theirs).summary).collect();
    let measured: Vec<Measured<'_>> = cells
        .iter()
        .zip(&summaries)
        .map(|(cell, summary)| Measured { cell, machine: &guess, summary })
        .collect();
    let fitted = fit_cells(&measured, &manifest.inputs, &spill()).unwrap();
    let speed = fitted.speed;
    assert!(fitted.median_e2e_error < 0.02 && fitted.largest_e2e_error < 0.05, "{fitted:?}");
    assert!((fitted.prompts - 2.0).abs() < 1e-9, "{fitted:?}");
    assert!(speed.sequence_s > 0.5 * real.sequence_s && speed.sequence_s < 2.0 * real.sequence_s);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_request_ends_once_and_timestamps_never_go_backwards(
        streams in 1u32..9, requests in 1u64..30, warmup in 0u64..4, tokens in 1u32..40, open in any::<bool>()
    ) {
        let arrivals = if open { "arrivals = \"poisson\"\nrate = 20.0\n".to_owned() } else { format!("concurrency = {streams}\n") };
        let (_folder, manifest, plan) = planned(&format!(
            "[workload.w]\nprompts = [\"a b c\", \"d e\"]\nrequests = {requests}\nwarmup = {warmup}\nmax_tokens = {tokens}\n{arrivals}"
        ));
        let cell = &plan.groups[0].cells[0];
        let machine = machine(&plan);
        let spill = spill();
        let setup = Setup { inputs: &manifest.inputs, assumed: Assumptions::default(), spill: &spill };
        let records = setup.records(cell, machine.engine(), 1).unwrap().records;
        let all: Vec<_> = records.iter().collect();
        prop_assert_eq!(all.len() as u64, requests + warmup);
        let measured = all.iter().filter(|record| record.phase == Phase::Measured).count() as u64;
        prop_assert_eq!(measured, requests);
        let mut indexes: Vec<u64> = all.iter().map(|record| record.index).collect();
        indexes.sort_unstable();
        prop_assert_eq!(indexes, (0..requests + warmup).collect::<Vec<u64>>());
        for record in &all {
            prop_assert_eq!(record.chunks.len() as u32, tokens);
            prop_assert!(record.sent.unwrap() < record.chunks.first().unwrap());
            prop_assert!(record.chunks.iter().is_sorted());
            prop_assert_eq!(record.chunks.last().unwrap(), record.end);
        }
    }
}

#[test]
fn natural_answers_are_predicted_with_their_measured_length() {
    let (_folder, manifest, plan) = planned(
        "[workload.w]\nprompts = [\"a b c\"]\nrequests = 4\nmax_tokens = 100\noutput = \"natural\"\n\
         [workload.x]\nprompts = [\"a b c\"]\nrequests = 4\nmax_tokens = 100\noutput = \"exact\"\n",
    );
    let group = &plan.groups[0];
    let placed = Placed::new(&group.server, "RTX 2000 Ada", &Catalogue::default()).unwrap();
    let placed = std::collections::BTreeMap::from([(group.id.clone(), placed)]);
    let assumed = Assumptions::default();
    let basis = basis(placed.values(), assumed, None).unwrap();
    let spill = spill();
    let with = |measured, earlier| MeasuredRun {
        plan: &plan,
        placed: &placed,
        inputs: &manifest.inputs,
        basis: basis.clone(),
        assumed,
        measured,
        earlier,
        spill: &spill,
    };
    let first = with(&[], None).predict(&|| true);
    let [natural, exact] = [0, 1].map(|at| group.cells[at].id.clone());
    use crate::store::AnswersFrom;
    assert_eq!(first.cells[&natural].answers_from, AnswersFrom::Assumed);
    assert_eq!(first.cells[&natural].output_tokens, Some(100.0));
    assert_eq!(first.cells[&exact].answers_from, AnswersFrom::Exact);
    assert!(first.missing.is_empty());

    // Both are measured with answers of 40 tokens, which matters only where answers end by themselves.
    let origin = Origin {
        name: "n".into(),
        command: Vec::new(),
        effective: String::new(),
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    let shorter = Assumptions { answers: 0.4, ..assumed };
    let placement = Placement { gpu: Some("RTX 2000 Ada"), ..Placement::of(&manifest) };
    let run = predict_plan(&placement, plan.clone(), placed.clone(), shorter, origin, &spill).unwrap();
    let second = with(&run.cells, Some(&first)).predict(&|| true);
    assert_eq!(second.cells[&natural].answers_from, AnswersFrom::Measured);
    assert_eq!(second.cells[&natural].output_tokens, Some(40.0));
    let e2e = run.cells[0].summary.as_ref().unwrap().e2e.as_ref().unwrap().p50_ms;
    assert!((second.cells[&natural].p50_e2e_ms.unwrap() - e2e).abs() < 0.01);
    assert_eq!(second.cells[&exact], first.cells[&exact]);
    assert_eq!(with(&run.cells, Some(&second)).predict(&|| true), second);

    assert_eq!(with(&[], Some(&second)).predict(&|| false), second);
    let given_up = with(&[], None).predict(&|| false);
    assert!(given_up.cells.is_empty());
    assert!(given_up.missing[0].contains("2 of 2 cells were not predicted"), "{:?}", given_up.missing);
}

/// The whole plan, predicted.
fn run_of(manifest: &Manifest, plan: &Plan) -> crate::store::StoredRun {
    let group = &plan.groups[0];
    let placed = Placed::new(&group.server, "RTX 2000 Ada", &Catalogue::default()).unwrap();
    let placed = std::collections::BTreeMap::from([(group.id.clone(), placed)]);
    let assumed = Assumptions::default();
    let origin = Origin {
        name: "n".into(),
        command: Vec::new(),
        effective: String::new(),
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    let placement = Placement { gpu: Some("RTX 2000 Ada"), ..Placement::of(manifest) };
    predict_plan(&placement, plan.clone(), placed, assumed, origin, &spill()).unwrap()
}

#[test]
fn an_unstreamed_answer_has_an_end_but_no_first_token() {
    let workload = |stream: bool| {
        format!(
            "[workload.w]\nprompts = [\"one two three\"]\nrequests = 12\nmax_tokens = 50\nconcurrency = 2\n\
             stream = {stream}\n"
        )
    };
    let [whole, streamed] = [false, true].map(|stream| {
        let (_folder, manifest, plan) = planned(&workload(stream));
        run_of(&manifest, &plan).cells.remove(0)
    });
    let (whole_numbers, numbers) = (whole.summary.unwrap(), streamed.summary.unwrap());
    assert!(numbers.ttft.is_some() && numbers.tpot.is_some());
    let absent = [&whole_numbers.ttft, &whole_numbers.itl, &whole_numbers.tpot];
    assert!(absent.iter().all(|latency| latency.is_none()));
    assert_eq!(whole_numbers.user_tok_s, None);
    assert_eq!(whole_numbers.output_tokens, numbers.output_tokens);
    let e2e = |summary: &Summary| summary.e2e.as_ref().unwrap().p50_ms;
    assert!((e2e(&whole_numbers) / e2e(&numbers) - 1.0).abs() < 0.05);
    for verdict in &whole.verdicts {
        assert!(!verdict.hint.contains("proxy"), "{verdict:?}");
    }
}

#[test]
fn a_ladder_ends_where_a_prediction_misses_the_slo() {
    let (_folder, manifest, plan) = planned(
        "[workload.w]\nprompts = [\"one two three\"]\nrequests = 40\nmax_tokens = 50\n\
         stop_climbing = \"slo-lost\"\nslo = { p50_e2e = \"900ms\" }\n[workload.w.sweep]\n\
         concurrency = [1, 32, 64, 128]\n",
    );
    let run = run_of(&manifest, &plan);
    assert_eq!(run.cells.len(), 4);
    let outcomes: Vec<&str> = run.cells.iter().map(|cell| cell.outcome.name()).collect();
    assert_eq!(outcomes, ["ok", "ok", "skipped", "skipped"]);
    for cell in &run.cells[2..] {
        assert_eq!(cell.ladder_ended_at.as_ref(), Some(&run.cells[1].id));
        assert!(cell.reason.as_ref().unwrap().contains("its limit is 900ms"), "{:?}", cell.reason);
    }
}

#[test]
fn drawn_lengths_are_the_same_at_every_load() {
    let (_folder, manifest, plan) = planned(
        "[workload.w]\nrequests = 30\n[workload.w.synthetic]\n\
         input_tokens = { uniform = [50, 300] }\noutput_tokens = { uniform = [5, 60] }\n[workload.w.sweep]\n\
         concurrency = [1, 4, 8]\n",
    );
    let tokens = |cells: &[crate::store::CellFile]| -> Vec<(Option<u64>, Option<u64>)> {
        let summaries = cells.iter().map(|cell| cell.summary.as_ref().unwrap());
        summaries.map(|summary| (summary.input_tokens, summary.output_tokens)).collect()
    };
    let predicted = tokens(&run_of(&manifest, &plan).cells);
    assert!(predicted.iter().all(|own| *own == predicted[0]), "{predicted:?}");
    // A measured run draws anew in each cell.
    let machine = machine(&plan);
    let own = plan.groups[0]
        .cells
        .iter()
        .map(|cell| predict(cell, &manifest, &machine, Assumptions::default()).summary);
    let own: Vec<Option<u64>> = own.map(|summary| summary.output_tokens).collect();
    assert!(own.iter().any(|tokens| *tokens != own[0]), "{own:?}");
}

#[test]
fn a_server_on_several_gpus_is_priced_and_sized_by_all_of_them() {
    let on = |flags: &str| {
        let workload = format!("{flags}[workload.w]\nprompts = [\"hi\"]\nrequests = 4\nmax_tokens = 8\n");
        let (_folder, mut manifest, plan) = planned(&workload);
        let gpu =
            "[gpu.mine]\nmemory_gib = 24\nbandwidth_gb_s = 300\ntflops = { fp32 = 30 }\nusd_per_hour = 0.5";
        manifest.catalogue = toml::from_str(gpu).unwrap();
        let placements = Placement { gpu: Some("mine"), ..Placement::of(&manifest) }.place(&plan);
        let placed = &placements.placed[&plan.groups[0].id];
        let fits = MemoryFit::of(&manifest, &plan.groups[0], placed).to_string();
        (usd_per_hour(&manifest, &placements.placed), placed.server.weights(), fits)
    };
    let (price, weights, fits) = on("");
    assert_eq!(price, Some(0.5));
    assert!(fits.contains("fits on mine"), "{fits}");
    let (all, part, fits) =
        on("tensor-parallel-size = 2\npipeline-parallel-size = 2\ndata-parallel-size = 2\n");
    assert_eq!(all, Some(4.0));
    assert!(part < 0.3 * weights, "{part} of {weights}");
    assert!(fits.contains("fits on 8 × mine"), "{fits}");
}
