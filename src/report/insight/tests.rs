//! What stands out in runs built by hand, and what must not.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    manifest::Slo,
    measure::{CellOutcome, Histogram, Latency},
    report::{fixtures, render, values},
    store::StoredRun,
};

/// The sentences of one kind, over all blocks.
fn told(run: &StoredRun, kind: &str) -> Vec<String> {
    let values = values(run);
    let blocks = values["blocks"].as_array().unwrap().iter();
    blocks
        .flat_map(|block| ["load", "observations", "unstable"].map(|list| block[list].clone()))
        .flat_map(|list| list.as_array().unwrap().clone())
        .filter(|insight| insight["kind"] == kind)
        .map(|insight| insight["text"].as_str().unwrap().to_owned())
        .collect()
}

fn note(run: &StoredRun) -> String {
    match render(run, None) {
        Ok(notes) => {
            notes
                .into_iter()
                .find(|note| note.file == "capacity.md")
                .unwrap()
                .text
        }
        Err(findings) => panic!("{}", findings.render(false)),
    }
}

/// A line of cells along concurrency: load, throughput, p95 E2E.
fn line(points: &[(u32, f64, f64)], n: u64) -> StoredRun {
    let mut run = fixtures::empty();
    let cells = points.iter().map(|(concurrency, rate, p95)| {
        let id = format!("chat-c{concurrency}-t64-0a1b2c3d");
        let mut cell = fixtures::cell(&id, "qwen-1", *concurrency, 64, &Slo::default());
        let mut summary = fixtures::summary(n);
        summary.e2e = Some(fixtures::latency(n, p95 * 0.9, *p95));
        summary.throughput_tok_s = Some(*rate);
        cell.summary = Some(summary);
        cell
    });
    let cells = cells.collect();
    fixtures::add(&mut run, "qwen-1", BTreeMap::new(), "ready", cells);
    run
}

#[test]
fn what_a_person_wrote_down_of_the_grid_is_said() {
    let run = fixtures::grid();
    let scaling = told(&run, "scaling");
    assert_eq!(
        scaling,
        [
            "From concurrency 1 to 16 throughput grows 12.4× (max_tokens 128; 78 % of perfect) at best and 11.1× (max_tokens 256; 69 % of \
             perfect) at worst, over 3 lines. Near-linear up to 8 at max_tokens 64; up to 16 (the most that was measured) at max_tokens 128; \
             up to 4 at max_tokens 256."
        ]
    );
    let steps = &values(&run)["blocks"][0]["curves"][1]["steps"];
    let steps: Vec<f64> = steps
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step.as_f64().unwrap())
        .collect();
    // 49.98, 186.25, 359.27 and 620.4 tok/s at 1, 4, 8 and 16.
    for (step, wanted) in steps.iter().zip([0.909, 0.929, 0.727]) {
        assert!((step - wanted).abs() < 0.001, "{steps:?}");
    }
    let single = told(&run, "decode_speed");
    assert!(single[0].contains("48.1 tok/s to 50.0 tok/s"), "{single:?}");
    let growth = told(&run, "latency_growth");
    assert_eq!(
        growth,
        [
            "p95 E2E grows 1.21× (max_tokens 256, 4,123 ms to 4,972 ms) to 1.24× (max_tokens 128, 2,071 ms to 2,567 ms) for 16× the load: \
             the cost in latency is mild."
        ]
    );
    // Half of the answers of one cell are quicker than with half the load; of 16 samples that may be chance.
    assert_eq!(told(&run, "falls"), [""; 0]);
    let length = told(&run, "output_length");
    assert!(
        length[0].contains("(3.87×): in proportion to the length"),
        "{length:?}"
    );
    let costs = told(&run, "output_costs");
    assert!(
        costs[0].contains("at concurrency 8 from 359 tok/s with 128 to 284 tok/s with 256 (0.79×)"),
        "{costs:?}"
    );
    let ridge = told(&run, "tail_ridge");
    assert!(
        ridge.len() == 1 && ridge[0].contains("concurrency 8, max_tokens 256"),
        "{ridge:?}"
    );
    assert!(ridge[0].contains("It rests on 16 samples"), "{ridge:?}");
    let pareto = told(&run, "pareto");
    assert!(pareto[0].contains("5 of 12 cells"), "{pareto:?}");
    assert_eq!(told(&run, "not_streamed").len(), 1);
    assert_eq!(
        told(&run, "ttft_growth"),
        [""; 0],
        "TTFT of whole answers says nothing"
    );
    assert_eq!(told(&run, "knee"), [""; 0], "it is near-linear to its end");
    assert!(told(&run, "edge")[0].contains("concurrency 32 and beyond"));
}

#[test]
fn a_knee_is_where_the_curve_bends_and_nowhere_else() {
    let bent = line(
        &[
            (1, 50.0, 1e3),
            (2, 98.0, 1.1e3),
            (4, 190.0, 1.2e3),
            (8, 210.0, 2e3),
            (16, 215.0, 4e3),
        ],
        200,
    );
    let knee = told(&bent, "knee");
    assert!(
        knee[0].contains("at concurrency 4 with 190 tok/s"),
        "{knee:?}"
    );
    assert!(
        knee[0].contains("4× the load brings 1.13× the tokens per second and 3.33× the p95 E2E"),
        "{knee:?}"
    );
    assert_eq!(
        values(&bent)["blocks"][0]["best"]["picks"][0]["concurrency"],
        4.0
    );
    let straight = line(
        &[
            (1, 50.0, 1e3),
            (2, 99.0, 1e3),
            (4, 196.0, 1e3),
            (8, 380.0, 1e3),
        ],
        200,
    );
    assert_eq!(told(&straight, "knee"), [""; 0]);
    // Noise on a flat line has no knee, and the least load is enough.
    let flat = line(
        &[
            (1, 100.0, 1e3),
            (2, 104.0, 2e3),
            (4, 101.0, 4e3),
            (8, 105.0, 8e3),
        ],
        200,
    );
    assert_eq!(told(&flat, "knee"), [""; 0]);
    assert!(told(&flat, "scaling")[0].contains("It hardly grows"));
    assert!(told(&flat, "latency_growth")[0].contains("wait their turn"));
    assert_eq!(
        values(&flat)["blocks"][0]["best"]["picks"][0]["concurrency"],
        1.0
    );
}

#[test]
fn a_ridge_that_may_be_chance_is_none() {
    // The same medians and tails, but samples so spread that the intervals of p95 overlap.
    let spread = |p95: f64| {
        let samples: Vec<f64> = (0..200)
            .map(|at| p95 * (0.2 + f64::from(at) / 125.0))
            .collect();
        Latency {
            n: 200,
            p50_ms: p95 * 0.9,
            p95_ms: p95,
            p99_ms: p95,
            mean_ms: p95 * 0.9,
            min_ms: samples[0],
            max_ms: samples[199],
            histogram: Histogram::from_ms(&samples),
        }
    };
    let points = [(1, 50.0, 1000.0), (2, 95.0, 1300.0), (4, 180.0, 1000.0)];
    let mut run = line(&points, 200);
    assert_eq!(told(&run, "ridge").len(), 1);
    for (cell, (_, _, p95)) in run.cells.iter_mut().zip(points) {
        cell.summary.as_mut().unwrap().e2e = Some(spread(p95));
    }
    assert_eq!(told(&run, "ridge"), [""; 0]);
}

#[test]
fn requests_that_are_quicker_with_more_in_flight_are_odd() {
    let run = line(
        &[(1, 50.0, 1000.0), (2, 95.0, 800.0), (4, 180.0, 820.0)],
        200,
    );
    let odd = told(&run, "falls");
    assert!(
        odd.len() == 1
            && odd[0].contains("p50 E2E falls from 900 ms at 1 to 720 ms at concurrency 2"),
        "{odd:?}"
    );
    let run = line(
        &[(1, 50.0, 1000.0), (2, 95.0, 950.0), (4, 180.0, 980.0)],
        200,
    );
    assert_eq!(told(&run, "falls"), [""; 0], "a little quicker is nothing");
}

#[test]
fn a_dip_is_below_both_neighbours() {
    let run = line(
        &[
            (1, 50.0, 1e3),
            (2, 100.0, 1e3),
            (4, 60.0, 1e3),
            (8, 300.0, 1e3),
        ],
        200,
    );
    let dip = told(&run, "dip");
    assert!(
        dip.len() == 1 && dip[0].contains("60.0 tok/s at concurrency 4"),
        "{dip:?}"
    );
    let scaling = told(&run, "scaling");
    assert!(
        scaling[0].contains("It falls from 100 tok/s to 60.0 tok/s on the step to 4"),
        "{scaling:?}"
    );
}

#[test]
fn longer_prompts_are_told_by_what_a_thousand_tokens_cost() {
    let mut run = line(&[(1, 50.0, 1e3), (1, 45.0, 1e3)], 200);
    run.plan.load_axes.push("synthetic.input_tokens".into());
    for (cell, (tokens, ttft)) in run.cells.iter_mut().zip([(512, 60.0), (4608, 460.0)]) {
        cell.axes
            .insert("synthetic.input_tokens".into(), json!(tokens));
        cell.summary.as_mut().unwrap().ttft = Some(fixtures::latency(200, ttft, ttft));
    }
    let prompt = told(&run, "prompt_length");
    assert!(
        prompt[0].contains(
            "p50 TTFT goes from 60.0 ms to 460 ms (7.67×), 97.7 ms for each 1,000 tokens more"
        ),
        "{prompt:?}"
    );
}

#[test]
fn the_boundary_of_memory_is_said_in_words() {
    let surface = values(&fixtures::oom_surface())["surface"].clone();
    let text = surface["text"].as_str().unwrap();
    assert!(
        text.contains("Memory did not suffice in 3 of 6 servers."),
        "{text}"
    );
    assert!(
        text.contains("With max-num-seqs 32, max-model-len fits up to 8,192 and ends at 16,384."),
        "{text}"
    );
    assert!(
        text.contains("With max-num-seqs 256, max-model-len fits up to 4,096 and ends at 8,192."),
        "{text}"
    );
}

/// Cells over five axes, two of them the server's: `wide` values of each load axis.
fn five_axes(wide: u32) -> StoredRun {
    let mut run = fixtures::empty();
    run.plan.load_axes.push("synthetic.input_tokens".into());
    run.plan.server_axes = vec!["max-model-len".into(), "max-num-seqs".into()];
    for server in 0..20u32 {
        let (length, seqs) = (4096 << (server / 5), 16 << (server % 5));
        let id = format!("qwen-{length}-{seqs}");
        let axes = BTreeMap::from([
            ("max-model-len".to_owned(), json!(length)),
            ("max-num-seqs".to_owned(), json!(seqs)),
        ]);
        let mut cells = Vec::new();
        for place in 0..wide * wide * wide {
            let (a, b, c) = (
                place / wide / wide + 1,
                place / wide % wide + 1,
                place % wide + 1,
            );
            let name = format!("chat-c{a}-t{}-{server}-{c}", b * 32);
            let mut cell = fixtures::cell(&name, &id, a, b * 32, &Slo::default());
            cell.axes
                .insert("synthetic.input_tokens".into(), json!(c * 128));
            cell.axes.extend(axes.clone());
            if server == 19 {
                cell.outcome = CellOutcome::Oom;
                // Each with a reason of its own, as when a number stands in it.
                cell.reason = Some(format!("CUDA out of memory. Tried to allocate {place} MiB"));
            } else {
                let noise = f64::from(place.wrapping_mul(2_654_435_761) % 100);
                let mut summary = fixtures::summary(200);
                summary.ttft = Some(fixtures::latency(200, 50.0 + noise, 80.0 + noise));
                summary.e2e = Some(fixtures::latency(
                    200,
                    1000.0 + 5.0 * noise,
                    1200.0 + 9.0 * noise,
                ));
                summary.throughput_tok_s = Some(f64::from(a) * 50.0 - noise / 10.0);
                cell.summary = Some(summary);
            }
            cells.push(cell);
        }
        fixtures::add(&mut run, &id, axes, "ready", cells);
    }
    run
}

#[test]
fn five_axes_make_a_note() {
    let run = five_axes(2);
    let text = note(&run);
    assert!(text.contains("servers side by side"), "{text}");
    assert!(!text.contains("NaN"), "{text}");
}

#[test]
fn ten_thousand_cells_make_a_note_that_can_be_read() {
    let run = five_axes(8);
    assert_eq!(run.cells.len(), 10_240);
    // Kinds of findings that there are hundreds of are told by their strongest.
    let values = values(&run);
    for block in values["blocks"].as_array().unwrap() {
        let all: Vec<&Value> = ["observations", "unstable"]
            .iter()
            .flat_map(|list| block[*list].as_array().unwrap())
            .collect();
        assert!(all.len() < 60, "{} in one block", all.len());
    }
    note(&run);
}

#[test]
fn when_every_cell_failed_the_note_says_how() {
    let mut run = five_axes(2);
    for cell in &mut run.cells {
        cell.outcome = CellOutcome::Failed;
        cell.summary = None;
        cell.reason = None;
        cell.errors = vec![("HTTP 500".into(), 16)];
    }
    let text = note(&run);
    assert!(
        text.contains("chat: nothing was measured on") && text.contains("160 cells failed"),
        "{text}"
    );
    assert_eq!(values(&run)["cautions"], json!([]));
}

#[test]
fn each_workload_has_a_recipe_with_reasons() {
    let values = values(&fixtures::streamed());
    let recipe = &values["recipes"][0];
    assert_eq!(recipe["pick"]["concurrency"], 4.0);
    let knobs = recipe["knobs"].as_array().unwrap();
    let why = |name: &str| {
        let knob = knobs.iter().find(|knob| knob["name"] == name).unwrap();
        knob["why"].as_str().unwrap().to_owned()
    };
    let load = why("requests in flight, at most");
    assert!(
        load.contains("the most that was measured within p95_ttft ≤ 200ms"),
        "{load}"
    );
    assert!(
        load.contains("8 gives 260 tok/s at p95 TTFT 900 ms"),
        "{load}"
    );
    assert!(why("gpu-memory-utilization").contains("margin"));
    let avoid = recipe["avoid"].to_string();
    assert!(
        avoid.contains("Beyond the targets at concurrency 8"),
        "{avoid}"
    );
    assert!(
        recipe["scale_out"]
            .as_str()
            .unwrap()
            .contains("4 users, 210 tok/s"),
        "{recipe}"
    );
}

#[test]
fn notes_that_have_nothing_to_say_are_not_written() {
    let files = |run: &StoredRun| -> Vec<String> {
        render(run, None)
            .unwrap()
            .into_iter()
            .map(|note| note.file)
            .collect()
    };
    assert_eq!(files(&fixtures::streamed()), ["capacity.md", "playbook.md"]);
    let mut run = fixtures::streamed();
    for cell in &mut run.cells {
        cell.objective = crate::manifest::Objective::Throughput;
    }
    assert_eq!(files(&run), ["batch.md", "capacity.md", "playbook.md"]);
    assert_eq!(files(&fixtures::empty()), ["capacity.md"]);
}

#[test]
fn hostile_names_do_no_harm_in_any_note() {
    let mut run = fixtures::streamed();
    run.plan.hardware.label = Some("<img src=x>|`a`".into());
    for cell in &mut run.cells {
        cell.workload = "[x](javascript:y)<b>|".into();
        cell.objective = crate::manifest::Objective::Throughput;
    }
    for note in render(&run, None).unwrap() {
        assert!(
            !note.text.contains("<img") && !note.text.contains("<b>"),
            "{}",
            note.text
        );
        assert!(!note.text.contains("[x](java"), "{}", note.text);
    }
}

#[test]
fn the_playbook_and_the_batch_note_of_a_grid() {
    let mut run = fixtures::grid();
    for cell in &mut run.cells {
        cell.objective = crate::manifest::Objective::Throughput;
        cell.slo = Slo::default();
    }
    let notes = render(&run, None).unwrap();
    let text = |name: &str| {
        notes
            .iter()
            .find(|note| note.file == name)
            .unwrap()
            .text
            .clone()
    };
    insta::assert_snapshot!("playbook", text("playbook.md"));
    insta::assert_snapshot!("batch", text("batch.md"));
}

#[test]
fn a_latency_that_falls_is_not_said_to_grow() {
    let mut run = fixtures::grid();
    for cell in &mut run.cells {
        // Of one line the slowest answers come with the least load.
        if cell.load["max_tokens"] == 128 && cell.load["concurrency"] == 1 {
            let summary = cell.summary.as_mut().unwrap();
            summary.e2e = Some(fixtures::latency(200, 5_000.0, 5_134.0));
        }
    }
    let growth = told(&run, "latency_growth");
    assert!(
        growth[0].starts_with("p95 E2E becomes 0.50×")
            && growth[0].contains("what it was, for 16× the load"),
        "{growth:?}"
    );
}

#[test]
fn one_cell_invents_no_trend() {
    let run = line(&[(4, 100.0, 1e3)], 200);
    for kind in [
        "scaling",
        "knee",
        "latency_growth",
        "output_length",
        "pareto",
        "edge",
        "ridge",
        "dip",
    ] {
        assert_eq!(told(&run, kind), [""; 0], "{kind}");
    }
    note(&run);
}
