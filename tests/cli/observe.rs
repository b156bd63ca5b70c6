//! Server-side metrics of a cell, end to end on the embedded engine.

use std::{
    fs,
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::support::{
    RUNNER,
    experiment::{Experiment, number, only_cell, succeed},
};
use serde_json::Value;

fn verdict<'a>(cell: &'a Value, kind: &str) -> Option<&'a Value> {
    let verdicts = cell["verdicts"].as_array()?;
    verdicts.iter().find(|verdict| verdict["kind"] == kind)
}

/// Four turns for eight in flight, and prompts of more than one block.
fn manifest(server: &str, cache: &str) -> String {
    format!(
        r#"
[experiment]
name = "observed"
scrape_every = "20ms"
{server}
[workload.chat]
prompts = ["Say in a few words, for someone who has never seen one from the inside, what an engine of this kind is good for, and why."]
cache = "{cache}"
requests = 24
warmup = 8
concurrency = 8
max_tokens = 8
"#
    )
}

const OWN: &str = r#"
[server]
engine = "sim"
model = "org/model"
flags = { max-num-seqs = 4, max-model-len = 2048 }
sim = { kv_tokens = 4096, ttft = "30ms", per_token = "5ms", startup = "0ms" }
"#;

#[test]
fn server_counters_match_client_totals() {
    let experiment = Experiment::new(&manifest(OWN, "as-written")).unwrap();
    succeed(experiment.run()).unwrap();
    let run = experiment.run_folder().unwrap();
    let cell = only_cell(&run).unwrap();
    let (engine, client) = (&cell["server_side"]["engine"], &cell["client_totals"]);
    assert_eq!(client["sent"], 32);
    for (ours, theirs) in [
        (&client["completed"], &engine["requests"]),
        (&client["input_tokens"], &engine["prompt_tokens"]),
        (&client["output_tokens"], &engine["generation_tokens"]),
        (&client["completed"], &engine["queue"]["count"]),
        (&client["completed"], &engine["ttft"]["count"]),
        (&client["completed"], &engine["e2e"]["count"]),
    ] {
        assert_eq!(ours, theirs, "{cell:#}");
    }
    assert_eq!(engine["settled"], true);
    let ms = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{value} in {cell:#}"));
    // Half of what is in flight waits for its turn, and a turn takes 30 ms and more.
    assert!(ms(&engine["queue"]["mean_ms"]) > 10.0, "{engine:#}");
    assert!(ms(&engine["waiting_peak"]) >= 1.0 && ms(&engine["running_peak"]) <= 4.0);
    assert!(ms(&engine["kv_usage_peak"]) > 0.0);
    assert!(ms(&client["ttft_mean_ms"]) >= ms(&engine["ttft"]["mean_ms"]));
    // The same prompt again: its whole blocks are found.
    assert!(ms(&engine["prefix_hits"]) > 0.0);
    assert_eq!(verdict(&cell, "token_counts"), None);
    assert_eq!(verdict(&cell, "warm_cache").unwrap()["severity"], "note");
    assert!(ms(&cell["server_side"]["process"]["peak_rss_bytes"]) > 1e6);
    let row = &experiment.cells().unwrap()[0];
    let column = number(row, "server_queue_ms").unwrap();
    assert!((column - ms(&engine["queue"]["mean_ms"])).abs() < 0.001);
    let values = experiment.values().unwrap();
    let all = values["findings"].as_array().unwrap().iter();
    let found: Vec<&Value> = all.filter(|own| own["kind"] == "client_and_server").collect();
    let evidence = &found[0]["evidence"];
    assert_eq!((&evidence["compared"], &evidence["equal"]), (&1.0.into(), &1.0.into()), "{found:#?}");
    let note = fs::read_to_string(run.join("notes/capacity.md")).unwrap();
    assert!(note.contains(found[0]["text"].as_str().unwrap()), "{note}");
}

#[test]
fn without_scraping_server_metrics_are_absent_with_a_reason_never_zero() {
    let off = manifest(OWN, "fresh").replace("\"20ms\"", "\"off\"");
    let experiment = Experiment::new(&off).unwrap();
    succeed(experiment.run()).unwrap();
    let cell = only_cell(&experiment.run_folder().unwrap()).unwrap();
    assert_eq!(cell["server_side"]["engine"], Value::Null);
    let reason = cell["server_side"]["absent"][0].as_str().unwrap();
    assert!(reason.contains("off"), "{reason}");
    let row = &experiment.cells().unwrap()[0];
    for column in ["server_queue_ms", "preemptions", "prefix_hit_rate", "kv_usage_peak"] {
        assert_eq!(row[column], "", "{column}");
    }
}

/// A server that is killed when its test ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn repeated_prompts_contaminate_the_prefix_cache() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Command::new(RUNNER)
        .args(["sim", "org/model", "--sim-startup", "0ms", "--port", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let _server = Server(server);
    let until = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "the embedded engine does not listen");
        sleep(Duration::from_millis(20));
    }
    let attached = format!(
        "[server]\nengine = \"openai\"\nmodel = \"org/model\"\n\
         launch = {{ on = \"attach\", url = \"http://127.0.0.1:{port}\" }}\n"
    );
    let experiment = Experiment::new(&manifest(&attached, "fresh")).unwrap();
    let run = |name: &str| {
        let words = ["run", "manifest.toml", "--results", "results", "--name", name];
        succeed(experiment.runner(&words)).unwrap();
        only_cell(&experiment.path("results/observed").join(name)).unwrap()
    };
    let first = run("first");
    assert_eq!(verdict(&first, "cache_contaminated"), None, "{first:#}");
    // The seed is the same, and so are its words that nobody sent before.
    let again = run("again");
    let verdict = verdict(&again, "cache_contaminated").unwrap();
    assert_eq!(verdict["severity"], "cell", "{verdict:#}");
    // Its processes are not ours to look at.
    assert_eq!(again["server_side"]["process"], Value::Null);
}
