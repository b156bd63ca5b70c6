//! `experiment.skip_impossible`: servers that a smaller one proved impossible are skipped, reported as such,
//! and stay skipped after a resume.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use crate::support::experiment::Experiment;
use serde_json::Value;

/// A card of 24 GB holds about 46,000 tokens of this model's cache: the first length fits, the others do not.
const MANIFEST: &str = r#"
[experiment]
name = "surface"
skip_impossible = true
[server]
model = "meta-llama/Llama-3.1-8B"
[workload.chat]
prompts = ["x"]
requests = 2
[workload.chat.sweep]
max_tokens = [2, 3]
[sweep]
server.flags.max-model-len = [8192, 65536, 131072]
server.flags.max-num-seqs = [8, 64]
"#;

/// Runs, and returns standard error.
fn run(experiment: &Experiment, more: &[&str]) -> String {
    let mut command: Command = experiment.run();
    command.args(["--sim=RTX-3090"]).args(more);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    said
}

/// Number of servers that a run started.
fn starts(said: &str) -> usize {
    said.lines().filter(|line| line.starts_with("server ") && line.contains(": starting")).count()
}

/// Every `cell.json` by cell: its bytes and its value.
fn cells(run: &Path) -> BTreeMap<String, (Vec<u8>, Value)> {
    let cells = fs::read_dir(run.join("cells")).unwrap().flatten();
    cells
        .map(|cell| {
            let bytes = fs::read(cell.path().join("cell.json")).unwrap();
            let value = serde_json::from_slice(&bytes).unwrap();
            let name = cell.file_name().into_string().unwrap();
            (name, (bytes, value))
        })
        .collect()
}

fn ended(cells: &BTreeMap<String, (Vec<u8>, Value)>) -> Vec<(u64, u64, String)> {
    let mut all: Vec<_> = cells
        .values()
        .map(|(_, cell)| {
            let axis = |name: &str| cell["axes"][name].as_u64().unwrap();
            let outcome = cell["outcome"].as_str().unwrap().to_owned();
            (axis("max-model-len"), axis("max-num-seqs"), outcome)
        })
        .collect();
    all.sort();
    all.dedup();
    all
}

#[test]
fn servers_proved_impossible_are_skipped_reported_and_stay_skipped() {
    let experiment = Experiment::new(MANIFEST).unwrap();
    let said = run(&experiment, &[]);
    let folder = experiment.run_folder().unwrap();
    let whole = cells(&folder);
    let expected = [
        (8192, 8, "ok"),
        (8192, 64, "ok"),
        (65536, 8, "does_not_fit"),
        (65536, 64, "skipped"),
        (131_072, 8, "skipped"),
        (131_072, 64, "skipped"),
    ]
    .map(|(length, sequences, outcome)| (length, sequences, outcome.to_owned()));
    assert_eq!(ended(&whole), expected);
    assert_eq!(starts(&said), 3, "{said}");
    let reasons =
        whole.values().filter(|(_, cell)| cell["outcome"] == "skipped").map(|(_, cell)| &cell["reason"]);
    let reasons: Vec<&str> = reasons.filter_map(Value::as_str).collect();
    assert_eq!(reasons, [reasons[0]; 6]);
    // Up to the name of the server that proves it.
    let server = "max-model-len 65536, max-num-seqs 8";
    let end = reasons[0].find(server).expect("the proof names its server") + server.len();
    let proof = &reasons[0][..end];
    assert_eq!(said.matches(proof).count(), 6, "{said}");
    let notes = fs::read_to_string(folder.join("notes/capacity.md")).unwrap();
    let values = experiment.values().unwrap();
    let all = values["findings"].as_array().unwrap().iter();
    let found: Vec<&Value> = all.filter(|own| own["kind"] == "boundary").collect();
    let evidence = &found[0]["evidence"];
    let counts = ["servers", "ends", "implied"].map(|name| evidence[name].as_f64());
    assert_eq!(counts, [Some(6.0), Some(1.0), Some(3.0)], "{evidence:#}");
    let lines = evidence["lines"].as_array().unwrap();
    assert!(!lines.is_empty(), "{evidence:#}");
    for line in lines {
        assert_eq!((&line["fits"], &line["ends"]), (&8192.0.into(), &65536.0.into()), "{evidence:#}");
    }
    for words in [found[0]["text"].as_str().unwrap(), "| not tried |", proof] {
        assert!(notes.contains(words), "{words:?} is not in\n{notes}");
    }
    let chart = fs::read_to_string(folder.join("charts/oom-surface.svg")).unwrap();
    assert!(chart.contains("not tried"), "{chart}");

    // Nothing is left to do, and nothing is done.
    let said = run(&experiment, &["--resume"]);
    assert_eq!(starts(&said), 0, "{said}");
    assert_eq!(cells(&folder), whole);

    // A cell that was lost is proved impossible again by what is stored, without a start.
    let is = |length: u64| {
        move |(_, (_, cell)): &(&String, &(Vec<u8>, Value))| cell["axes"]["max-model-len"] == length
    };
    let lost = whole.iter().find(is(131_072)).unwrap().0;
    fs::remove_dir_all(folder.join("cells").join(lost)).unwrap();
    let said = run(&experiment, &["--resume"]);
    assert_eq!(starts(&said), 0, "{said}");
    assert_eq!(ended(&cells(&folder)), expected);

    // The proof is lost: it is made again, and what it proves is decided anew.
    for (name, (_, cell)) in &whole {
        if cell["outcome"] == "does_not_fit" {
            fs::remove_dir_all(folder.join("cells").join(name)).unwrap();
        }
    }
    let said = run(&experiment, &["--resume"]);
    assert_eq!(starts(&said), 1, "{said}");
    assert_eq!(said.matches(proof).count(), 6, "{said}");
    assert_eq!(ended(&cells(&folder)), expected);
}

/// Runs are named after the second they start in; a suffix keeps them apart.
#[test]
fn runs_started_in_the_same_second_get_distinct_names() {
    let experiment = Experiment::new(
        r#"
[experiment]
name = "twins"
[server]
engine = "sim"
model = "m"
[workload.chat]
prompts = ["x"]
requests = 1
max_tokens = 1
"#,
    )
    .unwrap();
    let all: Vec<_> =
        (0..5).map(|_| experiment.run().stderr(std::process::Stdio::piped()).spawn().unwrap()).collect();
    for child in all {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
    }
    let runs = fs::read_dir(experiment.path("results/twins")).unwrap();
    let mut names: Vec<String> = Vec::new();
    for run in runs.flatten() {
        let file: Value = serde_json::from_slice(&fs::read(run.path().join("run.json")).unwrap()).unwrap();
        let name = run.file_name().into_string().unwrap();
        assert_eq!(file["name"], name);
        names.push(name);
    }
    assert_eq!(names.len(), 5, "{names:?}");
}
