//! What is drawn of odd runs, and what a picture must say.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Chart, charts};
use crate::{
    manifest::Slo,
    measure::{CellOutcome, Point},
    report::{fixtures, insight::blocks},
    store::StoredRun,
};

fn drawn(run: &StoredRun) -> Vec<Chart> {
    let charts = charts(run, &blocks(run));
    for chart in &charts {
        let svg = chart.svg();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(balanced(&svg), "{svg}");
    }
    charts
}

/// Whether every element is closed by its own name: as much of XML as a writer can get wrong.
fn balanced(svg: &str) -> bool {
    let mut open: Vec<&str> = Vec::new();
    for part in svg.split('<').skip(1) {
        let Some((tag, _)) = part.split_once('>') else {
            return false;
        };
        let name = tag.split([' ', '/']).next().unwrap_or_default();
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return false;
            }
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    open.is_empty()
}

fn kinds(run: &StoredRun) -> Vec<&'static str> {
    drawn(run).iter().map(|chart| chart.kind).collect()
}

fn one(run: &StoredRun, kind: &str) -> String {
    let found = drawn(run).into_iter().find(|chart| chart.kind == kind);
    found.expect("the picture").svg()
}

/// A grid over five axes, two of them the server's; throughput follows all, most of all `max_tokens`.
fn five_axes(sizes: [u64; 5]) -> StoredRun {
    let mut run = fixtures::empty();
    run.plan.server_axes = vec!["dtype".into(), "max-num-seqs".into()];
    run.plan.load_axes = vec![
        "concurrency".into(),
        "max_tokens".into(),
        "temperature".into(),
    ];
    let slo: Slo = serde_json::from_value(json!({ "p95_ttft": "200ms" })).expect("an SLO");
    for dtype in 0..sizes[0] {
        for seqs in 0..sizes[1] {
            let id = format!("qwen-{dtype}-{seqs}");
            let axes = BTreeMap::from([
                ("dtype".to_owned(), json!(format!("kind{dtype}"))),
                ("max-num-seqs".to_owned(), json!(32 << seqs)),
            ]);
            let mut cells = Vec::new();
            for concurrency in 0..sizes[2] {
                for tokens in 0..sizes[3] {
                    for heat in 0..sizes[4] {
                        let users = 1 + concurrency as u32;
                        let mut cell = fixtures::cell(
                            &format!("chat-{dtype}-{seqs}-{users}-{tokens}-{heat}"),
                            &id,
                            users,
                            64 + 64 * tokens as u32,
                            &slo,
                        );
                        cell.axes.extend(axes.clone());
                        cell.axes.insert("temperature".into(), Value::from(heat));
                        let mut summary = fixtures::summary(200);
                        let users = f64::from(users);
                        summary.ttft = Some(fixtures::latency(200, 20.0 * users, 30.0 * users));
                        summary.throughput_tok_s =
                            Some(100.0 * users * (1.0 + tokens as f64) + heat as f64);
                        cell.summary = Some(summary);
                        cells.push(cell);
                    }
                }
            }
            fixtures::add(&mut run, &id, axes, "ready", cells);
        }
    }
    run
}

#[test]
fn a_grid_has_its_pictures() {
    assert_eq!(
        kinds(&fixtures::grid()),
        [
            "throughput",
            "latency_throughput",
            "heat_map",
            "distributions"
        ]
    );
    // Without a concurrency that varies a numeric axis of the server goes along.
    assert_eq!(
        kinds(&fixtures::oom_surface()),
        [
            "throughput",
            "latency_throughput",
            "heat_map",
            "distributions",
            "oom_surface"
        ]
    );
}

#[test]
fn when_every_cell_failed_there_is_no_picture_rather_than_an_empty_one() {
    let mut run = fixtures::streamed();
    for cell in &mut run.cells {
        cell.outcome = CellOutcome::Failed;
        cell.summary = None;
    }
    assert_eq!(kinds(&run), Vec::<&str>::new());
    assert_eq!(kinds(&fixtures::empty()), Vec::<&str>::new());
}

#[test]
fn one_cell_has_its_distribution_and_timeline_only() {
    let mut run = fixtures::streamed();
    run.cells.truncate(1);
    run.cells[0].timeline = (0..5)
        .map(|step| Point {
            t_s: f64::from(step),
            in_flight: 1.0,
            chunks_s: 10.0,
        })
        .collect();
    assert_eq!(kinds(&run), ["distributions", "timeline"]);
}

#[test]
fn numbers_that_may_not_be_ranked_are_hollow_and_said_with_their_samples() {
    let svg = one(&fixtures::grid(), "latency_throughput");
    assert!(
        svg.contains("class=\"hollow s0\"") && !svg.contains("class=\"f0\"/>\n</g>"),
        "{svg}"
    );
    assert!(
        svg.contains(
            "p95 TTFT: not to be ranked in 12 of 12 (few_samples); from 16 requests a cell."
        ),
        "{svg}"
    );
    assert!(svg.contains("p95 TTFT ≤ 1,500 ms"), "{svg}");
    // The throughput itself may be ranked.
    let svg = one(&fixtures::grid(), "throughput");
    assert!(
        svg.contains("class=\"f0\"") && !svg.contains("class=\"hollow s0\""),
        "{svg}"
    );
}

#[test]
fn what_was_simulated_says_so_inside_the_picture() {
    let mut run = fixtures::streamed();
    for chart in drawn(&run) {
        assert!(!chart.svg().contains("SIMULATED"));
    }
    run.cells[0].simulated = true;
    for chart in drawn(&run) {
        assert!(
            chart.svg().contains(">PARTLY SIMULATED</text>"),
            "{}",
            chart.file
        );
    }
    for cell in &mut run.cells {
        cell.simulated = true;
    }
    for chart in drawn(&run) {
        assert!(chart.svg().contains(">SIMULATED</text>"), "{}", chart.file);
    }
}

#[test]
fn names_are_text_and_nothing_else() {
    let name = "</title><script>alert(1)</script> & \"chat\" \u{1b}[31m ![x](y)";
    let mut run = fixtures::streamed();
    for cell in &mut run.cells {
        cell.workload = name.into();
        cell.id = format!("{}\"><script>", cell.id);
    }
    run.plan.hardware = serde_json::from_value(json!({ "label": name })).expect("hardware");
    for chart in drawn(&run) {
        let svg = chart.svg();
        assert!(!svg.contains("<script") && !svg.contains('\u{1b}'), "{svg}");
        assert!(
            chart
                .file
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.'),
            "{}",
            chart.file
        );
    }
}

#[test]
fn of_five_axes_the_strongest_gives_the_series_and_the_rest_are_held_at_the_best_cell() {
    let run = five_axes([2, 2, 4, 3, 2]);
    let svg = one(&run, "throughput");
    for series in ["max_tokens 64", "max_tokens 128", "max_tokens 192"] {
        assert!(
            svg.contains(&format!(">{series}</text>")),
            "{series}: {svg}"
        );
    }
    assert!(
        svg.contains("Held where the best cell is: temperature 1, dtype kind0, max-num-seqs 32."),
        "{svg}"
    );
}

#[test]
fn ten_thousand_cells_are_thinned() {
    let run = five_axes([5, 4, 50, 5, 2]);
    assert_eq!(run.cells.len(), 10_000);
    for chart in drawn(&run) {
        let length = chart.svg().len();
        assert!(length < 400_000, "{} has {length} bytes", chart.file);
    }
}

#[test]
fn beyond_six_combinations_each_cell_keeps_a_colour_and_a_shape() {
    let run = five_axes([4, 3, 9, 2, 1]);
    let svg = one(&run, "latency_throughput");
    assert!(svg.contains("Colour and shape are "), "{svg}");
    // At most six groups, and no point in the grey of those that have none.
    let colours: Vec<usize> = (0..6)
        .filter(|index| {
            svg.contains(&format!("class=\"f{index}\""))
                || svg.contains(&format!("class=\"hollow s{index}\""))
        })
        .collect();
    assert!(colours.len() > 1, "{colours:?}");
}

#[test]
fn the_surface_shows_the_two_axes_along_which_memory_ends() {
    let svg = one(&fixtures::oom_surface(), "oom_surface");
    for text in ["fits", "OOM", "does not fit", "longest 12,352", "kv cache"] {
        assert!(svg.contains(&format!(">{text}</text>")), "{text}: {svg}");
    }
    let mut run = fixtures::oom_surface();
    run.plan.server_axes.insert(0, "dtype".into());
    for (index, group) in run.plan.groups.iter_mut().enumerate() {
        let kind = if index == 0 { "float32" } else { "bfloat16" };
        group.axes.insert("dtype".into(), json!(kind));
    }
    let svg = one(&run, "oom_surface");
    assert!(
        svg.contains("Held where the boundary shows best: dtype bfloat16."),
        "{svg}"
    );
}

#[test]
fn the_same_run_gives_the_same_bytes_and_every_file_its_own_name() {
    let mut run = fixtures::grid();
    let mut other = fixtures::grid();
    for cell in &mut other.cells {
        cell.workload = "CHAT".into();
    }
    run.cells.extend(other.cells);
    let (first, second) = (drawn(&run), drawn(&run));
    assert_eq!(first, second);
    let mut files: Vec<&str> = first.iter().map(|chart| chart.file.as_str()).collect();
    files.sort_unstable();
    files.dedup();
    assert_eq!(files.len(), first.len());
}
