//! Searches on a real vLLM: the most users under a latency target, and the longest context that starts.

use std::{collections::BTreeMap, path::Path};

use super::{expect, manifest};
use crate::support::experiment::{Experiment, succeed};

/// The rows of `searches.csv`, by column.
fn searches(experiment: &Experiment) -> Result<Vec<BTreeMap<String, String>>, String> {
    let path = experiment.run_folder()?.join("searches.csv");
    let mut reader = csv::Reader::from_path(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    reader.deserialize().collect::<Result<_, _>>().map_err(|e| format!("{}: {e}", path.display()))
}

fn only(experiment: &Experiment) -> Result<BTreeMap<String, String>, String> {
    let rows = searches(experiment)?;
    match rows.len() {
        1 => Ok(rows.into_iter().next().unwrap()),
        count => Err(format!("searches.csv has {count} rows: {rows:?}")),
    }
}

/// Two searches for the most users come to intervals that overlap: what is measured is the server, not the
/// search.
pub(super) fn two_searches_find_the_same_number_of_users(vllm: &Path) -> Result<(), String> {
    let mut found = Vec::new();
    for seed in [1, 2] {
        let text = manifest(
            "most-users",
            vllm,
            r#"
[workload.chat]
prompts = ["How many users does a small model on a CPU serve before the first token is late?"]
requests = 60
max_tokens = 8
output = "exact"
slo = { p50_e2e = "400ms" }
[workload.chat.search]
axis = "concurrency"
from = 1
to = 64
within = "20%"
"#,
        )?;
        let experiment = Experiment::new(&text)?;
        let mut command = experiment.run();
        command.args(["--set", &format!("experiment.seed={seed}")]);
        succeed(command)?;
        let row = only(&experiment)?;
        if !["found", "wide", "all", "none"].contains(&row["state"].as_str()) {
            return Err(format!("no answer: {row:?}"));
        }
        let end = |column: &str, open: f64| row[column].parse().unwrap_or(open);
        found.push((end("feasible", 0.0), end("infeasible", f64::INFINITY)));
    }
    let ((low, high), (other_low, other_high)) = (found[0], found[1]);
    if low <= other_high && other_low <= high {
        Ok(())
    } else {
        Err(format!("the intervals do not overlap: {found:?}"))
    }
}

/// Of 24 blocks of 128 tokens vLLM keeps one for itself: 23 hold a request of 2944 tokens, and none that is longer.
pub(super) fn the_longest_context_is_found_to_the_step(vllm: &Path) -> Result<(), String> {
    let text = manifest(
        "longest-context",
        vllm,
        r#"
num-gpu-blocks-override = 24
[workload.chat]
prompts = ["x"]
requests = 1
max_tokens = 1
[search.context]
axis = "server.flags.max-model-len"
find = "largest"
that = "fits"
from = 1024
to = 8192
step = 128
"#,
    )?;
    let experiment = Experiment::new(&text.replace("max-model-len = 4096\n", ""))?;
    succeed(experiment.run())?;
    let row = only(&experiment)?;
    expect("state", &row["state"].as_str(), &"found")?;
    expect("found", &row["found"].as_str(), &"2944")?;
    expect("infeasible", &row["infeasible"].as_str(), &"3072")?;
    expect("binding", &row["binding"].as_str(), &"does_not_fit")?;
    let starts: u32 = row["starts"].parse().map_err(|_| format!("{row:?}"))?;
    if starts <= 4 { Ok(()) } else { Err(format!("vLLM says what would fit, yet it took {starts} starts")) }
}
