//! Latencies against an independent clock: a stand-in for vLLM, which shares no code with the client, records
//! when each request arrived and when each token was sent.

use std::{error::Error, fs, path::Path};

use libtest_mimic::Trial;
use serde_json::Value;

use crate::support::{
    experiment::{Experiment, number, succeed},
    ignorable,
    standin::{lacks_python, with_stand_in},
};

/// Measured requests of a cell.
const REQUESTS: usize = 16;
/// Largest error of a median, ms. On an idle machine it is a fraction of one.
const TOLERANCE_MS: f64 = 5.0;

/// The grid of the journal, shortened; then chat, where a client may take the role for the first token.
const MANIFEST: &str = r#"
[experiment]
name = "truth"

[server]
engine = "vllm"
model = "Qwen/Qwen2.5-1.5B-Instruct"
[server.flags]
gpu-memory-utilization = 0.8
max-model-len = 4096
max-num-seqs = 128
enable-prefix-caching = true
enable-chunked-prefill = true
[server.env]
STANDIN_TTFT_MS = "50"
STANDIN_TOKEN_MS = "10"
STANDIN_FLAGS_LINE = "1"
STANDIN_TRUTH = "{truth}"

[workload.chat]
prompts = ["Explain the trade-offs between max_model_len and max_num_seqs in 3 sentences."]
requests = 16
[workload.chat.sweep]
concurrency = [1, 4]
max_tokens = [16, 32]

[workload.turns]
api = "chat"
prompts = ["What is a prefix cache?"]
requests = 16
concurrency = 4
max_tokens = 16
"#;

pub(crate) fn trial() -> Trial {
    ignorable("medians_match_the_server_s_own_clock", lacks_python, compare)
}

/// One request as the stand-in recorded it.
struct Request {
    arrival_ns: u64,
    max_tokens: u64,
    path: String,
    ttft_ms: f64,
    e2e_ms: f64,
}

#[expect(clippy::print_stdout, reason = "the differences are worth reading when the test passes, too")]
fn compare() -> Result<(), Box<dyn Error>> {
    let experiment = Experiment::new("")?;
    let truth = experiment.path("truth.jsonl");
    let manifest =
        MANIFEST.replace("{truth}", truth.to_str().ok_or("the temporary folder's path is no text")?);
    fs::write(experiment.path("manifest.toml"), manifest)?;
    let mut command = experiment.run();
    with_stand_in(&mut command);
    succeed(command)?;

    let requests = read_truth(&truth)?;
    let cells = experiment.cells()?;
    if cells.len() != 5 || requests.len() != cells.len() * REQUESTS {
        return Err(format!(
            "5 cells of {REQUESTS} requests were asked for; cells.csv has {} and the server answered {} requests",
            cells.len(),
            requests.len()
        )
        .into());
    }
    let mut wrong = Vec::new();
    // Cells are measured as written, one after the other.
    for (cell, requests) in cells.iter().zip(requests.chunks(REQUESTS)) {
        let max_tokens = number(cell, "max_tokens")?;
        let path = if cell["workload"] == "turns" { "/v1/chat/completions" } else { "/v1/completions" };
        if requests.iter().any(|request| request.max_tokens as f64 != max_tokens || request.path != path) {
            return Err(
                format!("the server was asked for something else than the cell says: {cell:?}").into()
            );
        }
        if cell["outcome"] != "ok" {
            return Err(format!("not ok: {cell:?}").into());
        }
        let tokens = number(cell, "output_tokens")?;
        if tokens != max_tokens * REQUESTS as f64 {
            wrong.push(format!("{tokens} output tokens, not {REQUESTS} × {max_tokens}: {cell:?}"));
        }
        for (column, of) in
            [("p50_ttft_ms", (|r| r.ttft_ms) as fn(&Request) -> f64), ("p50_e2e_ms", |r| r.e2e_ms)]
        {
            let (told, really) = (number(cell, column)?, median(requests.iter().map(of).collect()));
            println!(
                "{} c={} max_tokens={max_tokens} {column}: told {told:.3}, really {really:.3}, off by {:+.3} ms",
                cell["workload"],
                cell["concurrency"],
                told - really
            );
            if (told - really).abs() > TOLERANCE_MS {
                wrong.push(format!("{column} is {told:.3}, but the server did {really:.3}: {cell:?}"));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

fn read_truth(path: &Path) -> Result<Vec<Request>, Box<dyn Error>> {
    let mut requests = Vec::new();
    for line in fs::read_to_string(path)?.lines() {
        let told: Value = serde_json::from_str(line)?;
        let arrival_ns = told["arrival_ns"].as_u64().ok_or("arrival_ns is missing")?;
        let written: Vec<u64> = serde_json::from_value(told["written_ns"].clone())?;
        let since = |instant: Option<&u64>| -> Result<f64, &str> {
            Ok((*instant.ok_or("no token was written")? - arrival_ns) as f64 / 1e6)
        };
        requests.push(Request {
            arrival_ns,
            max_tokens: told["max_tokens"].as_u64().ok_or("max_tokens is missing")?,
            path: told["path"].as_str().ok_or("path is missing")?.to_owned(),
            ttft_ms: since(written.first())?,
            e2e_ms: since(written.last())?,
        });
    }
    // Lines are in the order in which answers ended.
    requests.sort_by_key(|request| request.arrival_ns);
    Ok(requests)
}

/// The median as NumPy has it: between the two in the middle when their number is even.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}
