//! The fault table. Each row is a whole `runner run` against an embedded engine that misbehaves in one way:
//! how the requests end, how the cell ends, its verdicts, and the exit code. The docs of `runner::load` say
//! what other clients make of some of these faults.

use std::collections::BTreeMap;

use libtest_mimic::Trial;
use serde_json::Value;

use crate::{
    support::{
        experiment::{Experiment, only_cell},
        records::records,
    },
    table::test_name,
};

/// Requests in each row.
const REQUESTS: u64 = 8;

/// A fault and the expected results.
struct Row {
    name: &'static str,
    /// Lines of `[server.sim.faults]`.
    faults: &'static str,
    /// Lines of the workload.
    workload: &'static str,
    /// Every outcome of a request that must occur, and no other; one of them alone is that of all requests.
    /// Empty where the cell has no numbers.
    requests: &'static [&'static str],
    cell: &'static str,
    /// Verdicts with their severities, besides those that every row has.
    verdicts: &'static [(&'static str, &'static str)],
    exit: i32,
}

const fn row(name: &'static str, faults: &'static str) -> Row {
    Row { name, faults, workload: "", requests: &["completed"], cell: "ok", verdicts: &[], exit: 0 }
}

/// A stream that is legal, if unusual: no verdict.
const fn legal(name: &'static str, faults: &'static str) -> Row {
    row(name, faults)
}

/// A fault that every request meets: nothing is measured.
const fn fails(name: &'static str, faults: &'static str, outcome: &'static [&'static str]) -> Row {
    Row { requests: outcome, cell: "failed", verdicts: &[("errors", "cell")], exit: 3, ..row(name, faults) }
}

/// The server is lost, and the cell with it.
const fn lost(name: &'static str, faults: &'static str, cell: &'static str, exit: i32) -> Row {
    Row { requests: &[], cell, exit, ..row(name, faults) }
}

/// The row with answers that take two seconds.
const fn long(row: Row) -> Row {
    Row { workload: "max_tokens = 700", ..row }
}

/// The row over the chat API.
const fn chat(row: Row) -> Row {
    Row { workload: "api = \"chat\"", ..row }
}

/// The row without streaming.
const fn whole(row: Row) -> Row {
    Row { workload: "stream = false", ..row }
}

const TABLE: &[Row] = &[
    // The longest first.
    lost("a hang while it starts", "hang_at_start = true", "server_failed", 3),
    legal("nothing", ""),
    legal("CR LF", "answers.crlf = 1"),
    legal("no space behind data:", "answers.no_space = 1"),
    legal("comments and other fields", "answers.comments = 1"),
    legal("four events in a write", "answers.several_per_write = 1"),
    legal("one byte in a write", "answers.byte_per_write = 1"),
    legal("three tokens in an event", "answers.several_tokens = 1"),
    legal("an empty first event, at once", "answers.early_role = 1"),
    chat(legal("a role-only first event, at once", "answers.early_role = 1")),
    legal("usage in every event", "answers.usage_in_every_event = 1"),
    chat(legal("reasoning", "answers.reasoning = 1")),
    chat(legal("tool calls", "answers.tool_call = 1")),
    legal("no [DONE] behind a finish_reason", "answers.no_done = 1"),
    legal(
        "all of these at once",
        "answers = { crlf = 1, no_space = 1, comments = 1, byte_per_write = 1, several_tokens = 1, early_role = 1, usage_in_every_event = 1, no_done = 1 }",
    ),
    Row { verdicts: &[("token_counts", "metric")], ..row("no usage", "answers.no_usage = 1") },
    Row { verdicts: &[("not_streamed", "metric")], ..row("JSON in place of a stream", "answers.whole = 1") },
    Row { verdicts: &[("not_streamed", "note")], ..whole(row("JSON, as asked", "")) },
    fails("a status", "answers.http_error = 1", &["rejected(503)"]),
    fails("another status", "http_status = 429\nanswers.http_error = 1", &["rejected(429)"]),
    Row {
        workload: "retries = 3",
        verdicts: &[("retried", "cell")],
        ..row("a status for some, tried again", "answers.http_error = 0.3")
    },
    fails("a redirect", "answers.redirect = 1", &["rejected(307)"]),
    fails("no event", "answers.empty = 1", &["empty"]),
    fails("a cut", "answers.cut = 1", &["truncated"]),
    fails("an end without a reason", "answers.no_end = 1", &["truncated"]),
    Row { workload: "timeout = \"300ms\"", ..fails("a stall", "answers.stall = 1", &["timed_out(rest)"]) },
    Row {
        workload: "timeout = \"300ms\"\nmax_tokens = 1",
        ..fails("a stall before the first token", "answers.stall = 1", &["timed_out(first_token)"])
    },
    fails("an error event", "answers.error_event = 1", &["server_error"]),
    fails("an abort", "answers.abort = 1", &["aborted"]),
    fails("broken JSON", "answers.malformed = 1", &["malformed"]),
    legal("gzip", "answers.gzip = 1"),
    whole(fails("a cut JSON answer", "answers.cut = 1", &["truncated"])),
    whole(fails("broken JSON, whole", "answers.malformed = 1", &["malformed"])),
    whole(fails("an error in place of JSON", "answers.error_event = 1", &["server_error"])),
    whole(fails("an aborted JSON answer", "answers.abort = 1", &["aborted"])),
    whole(fails("JSON without text", "answers.empty = 1", &["empty"])),
    Row {
        cell: "degraded",
        verdicts: &[("errors", "cell")],
        requests: &["completed", "truncated"],
        ..row("a cut for a third", "answers.cut = 0.34")
    },
    lost("out of memory at a request", "out_of_memory = { at_request = 5 }", "oom", 0),
    long(lost("out of memory at a time", "out_of_memory = { after = \"1200ms\" }", "oom", 0)),
    lost("a crash at a request", "crash = { at_request = 5 }", "crashed", 3),
    long(lost("a crash at a time", "crash = { after = \"1200ms\" }", "crashed", 3)),
    lost("a hang", "hang = { at_request = 5 }", "hung", 3),
];

fn manifest(row: &Row) -> String {
    let max_tokens = if row.workload.contains("max_tokens") { "" } else { "max_tokens = 7" };
    format!(
        r#"
[experiment]
name = "fault"
[server]
engine = "sim"
model = "org/model"
hung_after = "1500ms"
ready_within = "4s"
[server.sim]
ttft = "10ms"
per_token = "3ms"
per_token_load = "0us"
startup = "0s"
[server.sim.faults]
{}
[workload.chat]
prompts = ["a", "b", "c", "d", "e", "f", "g", "h"]
requests = {REQUESTS}
concurrency = 2
output = "exact"
{max_tokens}
{}
"#,
        row.faults, row.workload
    )
}

/// How the results differ from the row; `None` when they match.
fn surprise(row: &Row) -> Result<Option<String>, String> {
    let experiment = Experiment::new(&manifest(row))?;
    let output = experiment.run().output().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let folder = experiment.run_folder().map_err(|e| format!("{e}\n{said}"))?;
    let cell = only_cell(&folder)?;
    let mut wrong = Vec::new();
    let mut hold = |what: &str, got: String, wanted: String| {
        if got != wanted {
            wrong.push(format!("{what}: {got}, not {wanted}"));
        }
    };
    hold("exit", format!("{:?}", output.status.code()), format!("{:?}", Some(row.exit)));
    hold("cell", format!("{}", cell["outcome"]), format!("{:?}", row.cell));
    let ends = outcomes(&cell);
    let words: Vec<&str> = ends.keys().map(String::as_str).collect();
    hold("requests", format!("{words:?}"), format!("{:?}", row.requests));
    hold("verdicts", format!("{:?}", verdicts(&cell)), format!("{:?}", row.verdicts));
    if !row.requests.is_empty() {
        let records = records(&folder)?.len() as u64;
        hold("outcomes", ends.values().sum::<u64>().to_string(), REQUESTS.to_string());
        hold("records", records.to_string(), REQUESTS.to_string());
    }
    Ok((!wrong.is_empty()).then(|| format!("{}: {}\n{said}", row.name, wrong.join("; "))))
}

fn outcomes(cell: &Value) -> BTreeMap<String, u64> {
    let counts = cell["summary"]["counts"]["by_outcome"].as_object();
    let pairs = counts.into_iter().flatten();
    pairs.map(|(word, count)| (word.clone(), count.as_u64().unwrap())).collect()
}

/// The cell's verdicts, except those that every short, simulated cell has.
fn verdicts(cell: &Value) -> Vec<(&str, &str)> {
    let all = cell["verdicts"].as_array().into_iter().flatten();
    all.filter(|verdict| {
        // How busy this machine is is no fault of the row's: then a stream, too, is read at one instant.
        let reason = verdict["reason"].as_str().unwrap();
        !reason.contains("at one instant")
            && !["simulated", "few_samples", "warm_cache", "client_saturated", "client_late"]
                .contains(&verdict["kind"].as_str().unwrap())
    })
    .map(|verdict| (verdict["kind"].as_str().unwrap(), verdict["severity"].as_str().unwrap()))
    .collect()
}

pub(crate) fn trials() -> Vec<Trial> {
    let rows = TABLE.iter().map(|row| {
        Trial::test(test_name(row.name), move || match surprise(row)? {
            None => Ok(()),
            Some(surprise) => Err(surprise.into()),
        })
    });
    let all = Trial::test("outcomes_add_up_to_arrivals_under_every_fault_at_once", || {
        outcomes_add_up_to_arrivals_under_every_fault_at_once();
        Ok(())
    });
    rows.chain([all]).collect()
}

/// All faults at once, in a closed and in an open loop: every arrival has one record and one outcome.
fn outcomes_add_up_to_arrivals_under_every_fault_at_once() {
    let all = "answers = { http_error = 0.1, redirect = 0.05, empty = 0.1, cut = 0.1, stall = 0.05, error_event = 0.1, abort = 0.1, malformed = 0.1, no_done = 0.1, no_end = 0.1, no_usage = 0.2, whole = 0.2, gzip = 0.05, crlf = 0.5, no_space = 0.5, comments = 0.5, byte_per_write = 0.2, several_per_write = 0.2, several_tokens = 0.3 }";
    for arrivals in ["concurrency = 16\nwarmup = 8", "arrivals = \"poisson\"\nrate = 400\nmax_in_flight = 20"]
    {
        let experiment = Experiment::new(&format!(
            r#"
[experiment]
name = "faults"
[server]
engine = "sim"
model = "org/model"
[server.sim]
ttft = "10ms"
per_token = "3ms"
startup = "0s"
[server.sim.faults]
{all}
[workload.chat]
prompts = ["a", "b"]
requests = 400
max_tokens = 8
timeout = "400ms"
{arrivals}
"#
        ))
        .unwrap();
        let output = experiment.run().output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let folder = experiment.run_folder().unwrap();
        let cell = only_cell(&folder).unwrap();
        let ends = outcomes(&cell);
        assert_eq!(cell["summary"]["counts"]["scheduled"], 400);
        assert_eq!(ends.values().sum::<u64>(), 400, "{ends:?}");
        for word in [
            "completed",
            "rejected(503)",
            "rejected(307)",
            "empty",
            "truncated",
            "timed_out(rest)",
            "server_error",
            "aborted",
            "malformed",
        ] {
            assert!(ends.contains_key(word), "{word}: {ends:?}");
        }
        let mut measured: BTreeMap<String, u64> = BTreeMap::new();
        for record in records(&folder).unwrap() {
            if record["phase"] == "measured" {
                *measured.entry(record["outcome"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
        assert_eq!(measured, ends);
    }
}
