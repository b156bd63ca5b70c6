//! Searches on the embedded engine: the most load within the SLO, the largest value of a server axis, and what
//! is left of them when the run is killed.

use std::{collections::BTreeMap, fs, thread::sleep, time::Duration};

use serde_json::Value;

use super::support::experiment::{Experiment, Row, succeed};

/// A token takes 20 ms, and 2 ms more for each other request: 60 ms are reached with 21 requests in flight.
const LOAD: &str = r#"
experiment.name = "most"
server.engine = "sim"
server.model = "m"
server.flags.max-num-seqs = 256
server.sim = { ttft = "10ms", per_token = "20ms", per_token_load = "2ms", jitter = 0.02 }
[workload.chat]
prompts = ["x"]
requests = 40
max_tokens = 4
slo = { p50_tpot = "60ms" }
[workload.chat.search]
axis = "concurrency"
from = 1
to = 200
within = "20%"
"#;

/// The rows of `searches.csv`.
fn searches(experiment: &Experiment) -> Vec<Row> {
    let path = experiment.run_folder().unwrap().join("searches.csv");
    csv::Reader::from_path(path).unwrap().deserialize().collect::<Result<_, _>>().unwrap()
}

fn number(row: &Row, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column}: {row:?}"))
}

/// Checks that the answer has the known limit between its ends, or says honestly that noise is in the way.
fn assert_limit(row: &Row) {
    assert_eq!((row["search"].as_str(), row["workload"].as_str()), ("chat", "chat"), "{row:?}");
    assert_eq!((row["axis"].as_str(), row["objective"].as_str()), ("concurrency", "largest meets-slo"));
    assert!(["found", "wide"].contains(&row["state"].as_str()), "{row:?}");
    assert_eq!(row["binding"], "p50_tpot", "{row:?}");
    let (low, high) = (number(row, "feasible"), number(row, "infeasible"));
    // A busy machine makes every token a little later, and what it measures noisier.
    assert!(low <= 21.0 && high >= 17.0 && low < high, "{row:?}");
    assert!(row["state"] == "wide" || high <= low * 1.2 + 1.0, "{row:?}");
    assert_eq!(number(row, "found"), low);
    assert!(number(row, "probes") <= 10.0 && number(row, "starts") == 1.0, "{row:?}");
}

#[test]
fn the_most_load_within_the_slo_is_found() {
    let experiment = Experiment::new(LOAD).unwrap();
    succeed(experiment.run()).unwrap();
    let rows = searches(&experiment);
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_limit(&rows[0]);
    let cells = experiment.cells().unwrap();
    assert_eq!(cells.len() as f64, number(&rows[0], "probes"));
    assert!(cells.iter().all(|cell| cell["search"] == "chat"), "{cells:?}");
    // A probe far from the limit is short, and says so.
    let cells: BTreeMap<String, Value> =
        super::support::experiment::cells_of(&experiment.run_folder().unwrap()).unwrap();
    assert!(cells.values().any(|cell| cell["ended_early"].is_string()), "{cells:?}");
}

#[test]
fn a_killed_search_goes_on_with_the_same_bracket() {
    let experiment = Experiment::new(LOAD).unwrap();
    for pause in [700, 1500, 2600] {
        let mut running = experiment.run().arg("--resume").spawn().unwrap();
        sleep(Duration::from_millis(pause));
        running.kill().unwrap();
        running.wait().unwrap();
    }
    let before = experiment.cells().unwrap_or_default();
    let mut resumed = experiment.run();
    resumed.arg("--resume");
    succeed(resumed).unwrap();
    let rows = searches(&experiment);
    assert_limit(&rows[0]);
    // What was measured is kept, and nothing was measured twice.
    let cells = experiment.cells().unwrap();
    for cell in &before {
        let same = cells.iter().find(|later| later["cell"] == cell["cell"]);
        assert_eq!(same.map(|same| &same["p50_tpot_ms"]), Some(&cell["p50_tpot_ms"]));
    }
    assert_eq!(cells.len() as f64, number(&rows[0], "probes"));

    // A complete search is complete.
    let mut again = experiment.run();
    again.arg("--resume");
    let said = String::from_utf8(again.output().unwrap().stderr).unwrap();
    assert!(said.starts_with("already complete"), "{said}");
}

const CONTEXT: &str = r#"
experiment.name = "context"
server = { engine = "sim", model = "m", sim = { kv_tokens = 20000 } }
workload.chat = { prompts = ["x"], requests = 2, max_tokens = 1 }
[search.context]
axis = "server.flags.max-model-len"
find = "largest"
that = "fits"
from = 2048
to = 131072
step = 1024
"#;

#[test]
fn the_engines_own_estimate_saves_starts() {
    let experiment = Experiment::new(CONTEXT).unwrap();
    succeed(experiment.run()).unwrap();
    let rows = searches(&experiment);
    let row = &rows[0];
    let text = |column: &str| row[column].as_str();
    assert_eq!((text("search"), text("axis")), ("context", "server.flags.max-model-len"));
    assert_eq!((text("found"), text("infeasible"), text("state")), ("19456", "20480", "found"), "{row:?}");
    assert_eq!((text("objective"), text("binding")), ("largest fits", "does_not_fit"));
    assert!(number(row, "starts") <= 4.0 && number(row, "requests") == 0.0, "{row:?}");
    let outcomes: Vec<String> =
        experiment.cells().unwrap().into_iter().map(|cell| cell["outcome"].clone()).collect();
    assert!(outcomes.iter().any(|outcome| outcome == "started"), "{outcomes:?}");
    let note = fs::read_to_string(experiment.run_folder().unwrap().join("notes/capacity.md")).unwrap();
    assert!(note.contains("19,456"), "{note}");
}

/// Memory that ends under load is not memory that ends at the start.
#[test]
fn memory_that_ends_under_load_has_its_own_name() {
    let manifest = r#"
experiment.name = "load"
server.engine = "sim"
server.model = "m"
server.sim = { ttft = "1ms", per_token = "1ms", faults = { out_of_memory = { at_request = 3 } } }
workload.chat = { prompts = ["x"], requests = 8, max_tokens = 2 }
[search.seqs]
axis = "server.flags.max-num-seqs"
that = "survives"
from = 1
to = 4
"#;
    let experiment = Experiment::new(manifest).unwrap();
    succeed(experiment.run()).unwrap();
    let rows = searches(&experiment);
    assert_eq!((rows[0]["state"].as_str(), rows[0]["found"].as_str()), ("none", ""), "{rows:?}");
    assert_eq!(rows[0]["binding"], "oom under load", "{rows:?}");
}
