//! `run --budget` and `--max-usd` end a run in time, keep what was measured, and say what was left out.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::experiment::Experiment;

/// Eight cells of about one second each, with prompts that take as long as they say.
const MANIFEST: &str = r#"
experiment.name = "day"
hardware.usd_per_hour = 360
server = { engine = "sim", model = "m", sim = { ttft = "200ms", per_token = "1ms" } }
workload.chat.prompts = ["x"]
workload.chat.requests = 5
workload.chat.max_tokens = 1
workload.chat.sweep.temperature = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
"#;

/// Runs with arguments. Returns stderr, the exit code and the duration.
fn run(experiment: &Experiment, arguments: &[&str]) -> (String, Option<i32>, Duration) {
    let begun = Instant::now();
    let output = experiment.run().args(arguments).output().unwrap();
    (String::from_utf8(output.stderr).unwrap(), output.status.code(), begun.elapsed())
}

#[test]
fn a_budget_ends_a_run_that_can_be_continued() {
    let experiment = Experiment::new(MANIFEST).unwrap();
    let (said, code, took) = run(&experiment, &["--budget", "5s"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the budget of 5s ended the run"), "{said}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    let cells = experiment.cells().unwrap();
    assert!(!cells.is_empty() && cells.len() < 8, "{said}");
    // The ends of the range come first.
    let measured = |value: &str| cells.iter().any(|row| row["temperature"] == value);
    assert!(measured("0.1") && (cells.len() < 2 || measured("0.8")), "{cells:?}");
    let stored = std::fs::read_to_string(experiment.run_folder().unwrap().join("run.json")).unwrap();
    let stored: Value = serde_json::from_str(&stored).unwrap();
    assert_eq!(stored["budget_spent"], "5s");
    let note = std::fs::read_to_string(experiment.run_folder().unwrap().join("notes/capacity.md")).unwrap();
    assert!(note.contains("The budget of 5s ended the run"), "{note}");

    let (said, code, _) = run(&experiment, &["--resume"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(experiment.cells().unwrap().len(), 8, "{said}");
    let stored = std::fs::read_to_string(experiment.run_folder().unwrap().join("run.json")).unwrap();
    assert!(!stored.contains("budget_spent"), "{stored}");
}

#[test]
fn money_is_time_at_the_price_of_the_machine() {
    let experiment = Experiment::new(MANIFEST).unwrap();
    // 10 cents a second: half a dollar is five seconds.
    let (said, code, _) = run(&experiment, &["--max-usd", "0.5"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the budget of $0.5 ended the run"), "{said}");
    let (said, code, _) = run(&experiment, &["--max-usd", "5", "--set", "hardware.usd_per_hour=0"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("hardware.usd_per_hour"), "{said}");
    for wrong in [["--budget", "0s"], ["--budget", "2"], ["--max-usd", "-1"]] {
        assert_eq!(run(&experiment, &wrong).1, Some(2), "{wrong:?}");
    }
}

#[test]
fn a_budget_that_suffices_changes_nothing() {
    let experiment = Experiment::new(MANIFEST).unwrap();
    let (said, code, _) = run(&experiment, &["--budget", "1h"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("finished: 8 cells (8 ok)") && !said.contains("budget"), "{said}");
}
