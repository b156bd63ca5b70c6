//! The server counts as many tokens as the workload asks for, on both APIs.

use crate::support::{
    experiment::{Experiment, number, succeed},
    records::records,
};

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

fn expect_exact(experiment: &Experiment, requests: usize) -> Vec<(u64, u64)> {
    let mut lengths = Vec::new();
    for record in records(&experiment.run_folder().unwrap()).unwrap() {
        assert_eq!(record["outcome"], "completed", "{record}");
        assert_eq!(record["usage"]["prompt_tokens"], record["input_tokens"], "{record}");
        assert_eq!(record["usage"]["completion_tokens"], record["max_tokens"], "{record}");
        lengths.push((record["input_tokens"].as_u64().unwrap(), record["max_tokens"].as_u64().unwrap()));
    }
    assert_eq!(lengths.len(), requests);
    lengths
}

#[test]
fn synthetic_lengths_match_the_server_s_count() {
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
    let lengths = expect_exact(&experiment, 40 + 3 * 10 + 10);
    let outputs: std::collections::BTreeSet<u64> = lengths.iter().map(|l| l.1).collect();
    assert_eq!(outputs, [1, 3, 4, 5, 9].into());
    let cells = experiment.cells().unwrap();
    let text: Vec<(f64, f64)> = cells
        .iter()
        .filter(|row| row["workload"] == "text")
        .map(|row| (number(row, "synthetic.input_tokens").unwrap(), number(row, "input_tokens").unwrap()))
        .collect();
    assert_eq!(text, [(16.0, 160.0), (300.0, 3000.0), (3000.0, 30_000.0)]);
    assert!(cells.iter().all(|row| !row["verdicts"].contains("input_length")), "{cells:?}");
}

#[test]
fn conversation_turns_carry_the_previous_answers() {
    let experiment = Experiment::new(&format!(
        r#"{SERVER}
[workload.talk]
api = "chat"
conversations = {{ file = "sharegpt.json", turns = "all" }}
passes = 2
max_tokens = 4
output = "exact"
"#
    ))
    .unwrap();
    let file = r#"[{"conversations": [{"from": "human", "value": "a b"}, {"from": "human", "value": "c"}]}]"#;
    std::fs::write(experiment.path("sharegpt.json"), file).unwrap();
    succeed(experiment.run()).unwrap();
    let mut tokens: Vec<(u64, u64)> = records(&experiment.run_folder().unwrap())
        .unwrap()
        .iter()
        .map(|record| {
            let number = record["turn"]["number"].as_u64().unwrap();
            (number, record["usage"]["prompt_tokens"].as_u64().unwrap())
        })
        .collect();
    tokens.sort_unstable();
    // The role and two words; then that, the answer: a role of two pieces and four words, and the next role
    // and word.
    assert_eq!(tokens, [(0, 3), (0, 3), (1, 11), (1, 11)]);
}
