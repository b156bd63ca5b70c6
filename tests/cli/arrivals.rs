//! Arrivals in whole runs on the embedded engine: open loops, traces, and ladders that stop climbing.

use std::fs;

use crate::support::experiment::{Experiment, Row, cells_of, number, succeed};
use serde_json::Value;

const SERVER: &str = r#"
[experiment]
name = "arrivals"
[server]
engine = "sim"
model = "org/model"
[server.flags]
max-num-seqs = 64
[server.sim]
ttft = "1ms"
per_token = "1ms"
jitter = 0.0
startup = "1ms"
"#;

fn cell_files(experiment: &Experiment) -> Vec<Value> {
    cells_of(&experiment.run_folder().unwrap()).unwrap().into_values().collect()
}

/// The findings of a kind, on a workload.
fn findings(values: &Value, kind: &str, workload: &str) -> Vec<Value> {
    let all = values["findings"].as_array().unwrap().iter();
    all.filter(|own| own["kind"] == kind && own["workload"] == workload).cloned().collect()
}

fn row<'a>(rows: &'a [Row], begin: &str) -> &'a Row {
    rows.iter().find(|row| row["cell"].starts_with(begin)).unwrap()
}

#[test]
fn an_open_loop_sends_its_schedule_and_counts_dropped_arrivals() {
    let experiment = Experiment::new(&format!(
        "{SERVER}per_token_load = \"0us\"\n\
         [workload.open]\nprompts = [\"hi\"]\nmax_tokens = 4\noutput = \"exact\"\nrequests = 40\nwarmup = 5\nrate = 200\nburstiness = 0.5\narrivals = \"gamma\"\n\
         [workload.burst]\nprompts = [\"hi\"]\nmax_tokens = 4\nrequests = 12\narrivals = \"bursts\"\nrate = 100\nburst = 6\nmax_in_flight = 2\n\
         [workload.batch]\nprompts = [\"hi\"]\nmax_tokens = 4\noutput = \"exact\"\nrequests = 30\narrivals = \"at-once\"\nobjective = \"throughput\"\n\
         [workload.made]\narrivals = \"trace\"\ntrace = {{ file = \"trace.csv\", speed = 10000 }}\n\
         [workload.replay]\nprompts = [\"hi\"]\nmax_tokens = 4\narrivals = \"trace\"\ntrace = {{ file = \"trace.csv\", speed = 1000 }}\n"
    ))
    .unwrap();
    let trace = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
                 5,m,10,2,12,x\n25,m,10,2,12,x\n65,m,10,3,13,x\n";
    fs::write(experiment.path("trace.csv"), trace).unwrap();
    succeed(experiment.run()).unwrap();
    let rows = experiment.cells().unwrap();
    let open = row(&rows, "open-r200-t4-");
    assert_eq!((open["rate"].as_str(), open["concurrency"].as_str()), ("200", ""));
    assert_eq!((open["arrivals"].as_str(), open["outcome"].as_str()), ("gamma", "ok"));
    assert_eq!(number(open, "requests").unwrap(), 40.0);
    // Two of six are sent at once, twice; the others are counted all the same.
    let burst = row(&rows, "burst-r100-");
    assert_eq!(burst["outcome"], "degraded");
    assert_eq!((burst["requests"].as_str(), burst["errors"].as_str()), ("12", "8"));
    assert!(burst["verdicts"].contains("arrivals_dropped"), "{burst:?}");
    let batch = row(&rows, "batch-at-once-t4-");
    assert_eq!((batch["requests"].as_str(), batch["output_tokens"].as_str()), ("30", "120"));
    // The trace lasts 60 s and is replayed in 60 ms.
    let replay = row(&rows, "replay-trace-");
    assert_eq!(replay["requests"], "3");
    assert!(number(replay, "window_s").unwrap() > 0.06);
    // With nothing else to ask, prompts and answers are made as long as the trace says.
    let made = row(&rows, "made-trace-t3-");
    assert_eq!((made["input_tokens"].as_str(), made["output_tokens"].as_str()), ("30", "7"), "{made:?}");
    for cell in cell_files(&experiment) {
        let summary = &cell["summary"];
        assert!(summary["issue_delay"]["n"].as_u64() > Some(0), "{}", cell["id"]);
        assert_eq!(summary["starts"], Value::Null, "an open loop has no streams");
    }
    let values = experiment.values().unwrap();
    for (workload, arrivals, scheduled, dropped) in
        [("open", "gamma", 40.0, 0.0), ("burst", "bursts", 12.0, 8.0)]
    {
        let found = findings(&values, "open_loop", workload);
        let evidence = &found[0]["evidence"];
        assert_eq!(evidence["arrivals"][0], arrivals, "{found:#?}");
        assert_eq!((&evidence["scheduled"], &evidence["dropped"]), (&scheduled.into(), &dropped.into()));
        let notes = experiment.run_folder().unwrap().join("notes");
        let note = fs::read_to_string(notes.join(format!("capacity-{workload}.md"))).unwrap();
        assert!(note.contains(found[0]["text"].as_str().unwrap()), "{note}");
    }
}

/// Every further stream adds 100 ms to each token, so two of them cannot meet 20 ms.
#[test]
fn stop_climbing_skips_cells_above_a_lost_slo_also_after_a_resume() {
    let experiment = Experiment::new(&format!(
        "{SERVER}per_token_load = \"100ms\"\n\
         [workload.chat]\nprompts = [\"hi\"]\nmax_tokens = 3\noutput = \"exact\"\nrequests_per_stream = 11\nslo = {{ p50_tpot = \"20ms\" }}\nstop_climbing = \"slo-lost\"\n\
         [workload.chat.sweep]\nconcurrency = [1, 2, 4, 8]\n"
    ))
    .unwrap();
    succeed(experiment.run()).unwrap();
    let cells = cell_files(&experiment);
    let outcomes: Vec<&str> = cells.iter().map(|cell| cell["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["ok", "ok", "skipped", "skipped"]);
    for skipped in &cells[2..] {
        assert_eq!(skipped["ladder_ended_at"], cells[1]["id"]);
        let reason = skipped["reason"].as_str().unwrap();
        assert!(reason.starts_with("climbing ended at chat-c2-t3-"), "{reason}");
        assert!(reason.contains("p50_tpot was") && reason.contains("its limit is 20ms"), "{reason}");
    }
    // Eleven requests a stream: they start one after the other, and the summary says so.
    assert_eq!(cells[1]["summary"]["starts"]["how"], "staggered");
    let folder = experiment.run_folder().unwrap();
    let values = experiment.values().unwrap();
    let ends = findings(&values, "ladder_end", "chat");
    assert_eq!(ends.len(), 1, "{ends:#?}");
    assert_eq!(ends[0]["evidence"]["ended_at"], cells[1]["id"]);
    assert_eq!(ends[0]["cells"].as_array().unwrap().len(), 2);
    let starts = findings(&values, "starts", "chat");
    assert!(starts[0]["evidence"]["staggered"].as_f64() >= Some(1.0), "{starts:#?}");
    let notes = fs::read_to_string(folder.join("notes/capacity.md")).unwrap();
    for finding in ends.iter().chain(&starts) {
        assert!(notes.contains(finding["text"].as_str().unwrap()), "{notes}");
    }

    // The cell at which it ended is lost, and with it the ground on which two others were skipped.
    let broken = folder.join("cells").join(cells[1]["id"].as_str().unwrap());
    fs::remove_dir_all(broken).unwrap();
    let resume = ["run", "manifest.toml", "--results", "results", "--resume"];
    succeed(experiment.runner(&resume)).unwrap();
    let again = cell_files(&experiment);
    assert_eq!(again.len(), 4);
    assert_ne!(again[1]["started_at"], cells[1]["started_at"], "measured again");
    assert_ne!(again[2]["started_at"], cells[2]["started_at"], "decided again");
    assert_eq!(again[0]["started_at"], cells[0]["started_at"], "kept");
}
