//! Workloads as a server sees them: what is asked for is what it counts, on both APIs.

mod experiment;

use std::{fs, io::Read as _, path::Path};

use experiment::{Experiment, number, succeed};
use serde_json::Value;

const SERVER: &str = r#"
[experiment]
name = "workloads"
[server]
engine = "sim"
model = "org/model"
[server.flags]
max-model-len = 8192
[server.sim]
ttft = "1ms"
per_token = "200us"
per_token_load = "0us"
jitter = 0.0
startup = "1ms"
"#;

/// The records of every cell, one list per cell and repeat.
fn records(folder: &Path) -> Vec<Vec<Value>> {
    let mut all = Vec::new();
    for cell in fs::read_dir(folder.join("cells")).unwrap().flatten() {
        for file in fs::read_dir(cell.path()).unwrap().flatten() {
            if file.file_name().to_string_lossy().starts_with("records") {
                let mut text = String::new();
                flate2::read::GzDecoder::new(fs::File::open(file.path()).unwrap())
                    .read_to_string(&mut text)
                    .unwrap();
                let lines = text.lines().skip(1);
                all.push(
                    lines
                        .map(|line| serde_json::from_str(line).unwrap())
                        .collect(),
                );
            }
        }
    }
    all
}

fn expect_exact(folder: &Path, requests: usize) -> Vec<(u64, u64)> {
    let mut lengths = Vec::new();
    for record in records(folder).iter().flatten() {
        assert_eq!(record["outcome"], "completed", "{record}");
        assert_eq!(
            record["usage"]["prompt_tokens"], record["input_tokens"],
            "{record}"
        );
        assert_eq!(
            record["usage"]["completion_tokens"], record["max_tokens"],
            "{record}"
        );
        lengths.push((
            record["input_tokens"].as_u64().unwrap(),
            record["max_tokens"].as_u64().unwrap(),
        ));
    }
    assert_eq!(lengths.len(), requests);
    lengths
}

#[test]
fn made_lengths_are_what_the_server_counts() {
    let experiment = Experiment::new(&format!(
        r#"{SERVER}
[workload.ids]
synthetic = {{ input_tokens = {{ uniform = [16, 2000] }}, output_tokens = {{ histogram = [[1, 1], [5, 2], [9, 1]] }} }}
requests = 40
concurrency = 4
[workload.text]
api = "chat"
system = "You answer briefly."
synthetic = {{ input_tokens = 300, output_tokens = 4 }}
requests = 10
[workload.text.sweep]
synthetic.input_tokens = [16, 300, 3000]
[workload.shared]
api = "chat"
shared_prefix = {{ groups = 2, prefix_tokens = 128, suffix_tokens = {{ uniform = [8, 16] }}, output_tokens = 3 }}
requests = 10
"#
    ))
    .unwrap();
    succeed(experiment.run()).unwrap();
    let folder = experiment.run_folder().unwrap();
    let lengths = expect_exact(&folder, 40 + 3 * 10 + 10);
    let outputs: std::collections::BTreeSet<u64> = lengths.iter().map(|l| l.1).collect();
    assert_eq!(outputs, [1, 3, 4, 5, 9].into());
    let cells = experiment.cells().unwrap();
    let text: Vec<(f64, f64)> = cells
        .iter()
        .filter(|row| row["workload"] == "text")
        .map(|row| {
            (
                number(row, "synthetic.input_tokens").unwrap(),
                number(row, "input_tokens").unwrap(),
            )
        })
        .collect();
    assert_eq!(text, [(16.0, 160.0), (300.0, 3000.0), (3000.0, 30_000.0)]);
    assert!(
        cells
            .iter()
            .all(|row| !row["verdicts"].contains("input_length")),
        "{cells:?}"
    );
}
