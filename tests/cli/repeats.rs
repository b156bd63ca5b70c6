//! `experiment.repeats` as a rule: cells that are measured until they are known well enough, and repeats on
//! several starts of a server.

use std::fs;

use crate::support::experiment::{Experiment, cells_of};
use serde_json::Value;

/// Two servers: one whose TTFT is always the same, one whose TTFT is anything from 0 to twice as long.
const UNTIL: &str = r#"
[experiment]
name = "until"
repeats = { until = { p50_ttft = "40%" }, at_most = 5 }
[server]
engine = "sim"
model = "m"
sim = { ttft = "100ms", per_token = "1ms", startup = "1ms" }
[sweep]
server.sim.jitter = [0.0, 1.0]
[workload.chat]
prompts = ["hi"]
requests = 1
max_tokens = 2
"#;

/// Runs, and returns standard error.
fn run(experiment: &Experiment, more: &[&str]) -> String {
    let output = experiment.run().args(more).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    said
}

/// The number of server starts that a run reports.
fn starts(said: &str) -> usize {
    said.lines().filter(|line| line.starts_with("server ") && line.contains(": starting")).count()
}

fn cells(experiment: &Experiment) -> Vec<Value> {
    cells_of(&experiment.run_folder().unwrap()).unwrap().into_values().collect()
}

/// The `server.json` of each server.
fn servers(experiment: &Experiment) -> Vec<Value> {
    let folders = fs::read_dir(experiment.run_folder().unwrap().join("servers")).unwrap().flatten();
    folders
        .map(|folder| serde_json::from_slice(&fs::read(folder.path().join("server.json")).unwrap()).unwrap())
        .collect()
}

fn repeats(cell: &Value) -> usize {
    cell["repeats"].as_array().map_or(1, Vec::len)
}

fn has_verdict(cell: &Value, kind: &str) -> bool {
    cell["verdicts"].as_array().into_iter().flatten().any(|verdict| verdict["kind"] == kind)
}

#[test]
fn a_quiet_cell_is_measured_less_often_than_a_noisy_one_and_each_says_how_well_it_is_known() {
    let experiment = Experiment::new(UNTIL).unwrap();
    let planned = experiment.runner(&["plan", "manifest.toml"]).output().unwrap();
    let said = String::from_utf8(planned.stderr).unwrap();
    assert!(said.contains("2 cells, 2 servers; repeats of each cell: 3 to 5 until p50 TTFT ± 40%"), "{said}");

    let said = run(&experiment, &[]);
    let all = cells(&experiment);
    let of = |jitter: f64| all.iter().find(|cell| cell["axes"]["jitter"] == jitter).unwrap();
    let (quiet, noisy) = (of(0.0), of(1.0));
    assert_eq!((repeats(quiet), repeats(noisy)), (3, 5), "{said}");
    for (cell, suffices) in [(quiet, true), (noisy, false)] {
        let known = &cell["precision"]["p50_ttft"];
        assert_eq!((&known["suffices"], &known["within"]), (&suffices.into(), &0.4.into()), "{known}");
        assert_eq!(known["n"], repeats(cell));
        let [mean, half_width] = ["mean", "half_width"].map(|name| known[name].as_f64().unwrap());
        assert_eq!(half_width <= 0.4 * mean, suffices, "{known}");
        assert_eq!(has_verdict(cell, "wide_interval"), !suffices, "{cell:#}");
    }
    let verdicts = noisy["verdicts"].as_array().unwrap();
    let wide = verdicts.iter().find(|verdict| verdict["kind"] == "wide_interval").unwrap();
    assert_eq!((&wide["severity"], &wide["touches"]), (&"metric".into(), &serde_json::json!(["p50_ttft"])));
    assert!(said.contains("(repeat 5, at most 5)") && !said.contains("(repeat 6"), "{said}");
    let notes = experiment.run_folder().unwrap().join("notes/capacity.md");
    let notes = fs::read_to_string(notes).unwrap();
    for words in ["3 to 5 until p50 TTFT ± 40%", "over 5 repeats", "| wide_interval |"] {
        assert!(notes.contains(words), "{words:?} is not in\n{notes}");
    }

    // Nothing is left to do, and more repeats are other cells.
    assert!(run(&experiment, &["--resume"]).starts_with("already complete: 2 cells"));
    let said = run(&experiment, &["--resume", "--set", "experiment.repeats=1"]);
    assert_eq!(starts(&said), 2, "{said}");
}

#[test]
fn each_repeat_runs_on_a_server_start_of_its_own() {
    // A server that answers three requests and crashes: two cells of one request each.
    let experiment = Experiment::new(
        r#"
[experiment]
name = "restart"
repeats = { at_least = 3, restart = true }
[server]
engine = "sim"
model = "m"
sim = { ttft = "1ms", per_token = "1ms", startup = "1ms", faults.crash.at_request = 3 }
[workload.chat]
prompts = ["hi"]
requests = 1
sweep.max_tokens = [2, 3]
"#,
    )
    .unwrap();
    let said = run(&experiment, &[]);
    assert_eq!(starts(&said), 3, "{said}");
    assert_eq!(said.matches("(repeat 2 of 3)").count(), 2, "{said}");
    for cell in cells(&experiment) {
        assert_eq!((&cell["outcome"], repeats(&cell)), (&"ok".into(), 3), "{cell:#}");
        assert_eq!(cell.get("attempts"), None, "{cell:#}");
    }
    let [server] = &servers(&experiment)[..] else { panic!("one server") };
    let starts = server["starts"].as_array().unwrap();
    assert_eq!(starts.len(), 3, "{server:#}");
    for start in starts {
        assert_eq!(start["outcome"], "ready");
        assert!(start["startup_s"].as_f64().is_some_and(|s| s > 0.0), "{start}");
    }
}

#[test]
fn a_ladder_whose_repeats_run_on_several_starts_ends_at_its_first_repeat() {
    let experiment = Experiment::new(
        r#"
[experiment]
name = "ladder"
repeats = { at_least = 2, restart = true }
[server]
engine = "sim"
model = "m"
sim = { ttft = "20ms", per_token = "1ms", startup = "1ms", jitter = 0.0 }
flags.max-num-seqs = 1
[workload.chat]
prompts = ["hi"]
requests_per_stream = 2
max_tokens = 2
stop_climbing = "slo-lost"
slo = { p50_ttft = "500ms", p50_e2e = "40ms" }
sweep.concurrency = [1, 8, 16]
"#,
    )
    .unwrap();
    let said = run(&experiment, &[]);
    assert_eq!(starts(&said), 2, "{said}");
    let rows = experiment.cells().unwrap();
    let outcomes: Vec<&str> = rows.iter().map(|row| row["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["ok", "ok", "skipped"], "{said}");
    for cell in cells(&experiment) {
        let expected = if cell["outcome"] == "skipped" { 1 } else { 2 };
        assert_eq!(repeats(&cell), expected, "{cell:#}");
    }
}
