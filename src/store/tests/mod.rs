//! A small run, written and read back.

mod disk;
mod table;

use std::{collections::BTreeMap, sync::Arc};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{CellFile, EngineFact, FORMAT, Gpu, Host, RunFile, RunFolder, ServerFile, Tool};
use crate::{
    load::{Outcome, Record, Records, Usage},
    manifest::{Hardware, Objective, Repeats, Workload},
    measure::{CellContext, CellOutcome, Summary, judge, outcome, pool, timeline},
    plan::{Cell, Group, Plan, Stop},
    server::{Facts, ServerOutcome},
    unit::Nanos,
};

const CELL: &str = "chat-c2-t8-0a1b2c3d";
const OOM: &str = "chat-c4-t8-0a1b2c3e";
const SERVER: &str = "tiny-00c0ffee";

/// A folder that goes when the test ends.
fn scratch() -> (TempDir, Utf8PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).expect("a UTF-8 path");
    (folder, path)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).expect("an instant")
}

fn spec() -> Workload {
    toml::from_str("concurrency = 2\nslo = { p95_ttft = \"1s\" }").expect("a workload")
}

fn context(spec: &Workload) -> CellContext<'_> {
    CellContext {
        spec,
        repeats: Repeats::once(),
        start: None,
        engine_simulated: false,
        inputs: 1,
        flags_confirmed: Some(true),
        max_model_len: None,
        prefix_caching: Some(true),
        client: &[],
        server: None,
    }
}

fn records() -> Records {
    Records::of(list())
}

/// Two streams with odd nanoseconds, and a rejected request.
fn list() -> Vec<Record> {
    let one = |index: u64, sent: u64, chunks: &[u64]| Record {
        index,
        stream: 1,
        scheduled: Nanos(sent - 1),
        sent: Some(Nanos(sent)),
        headers: chunks.first().copied().map(Nanos),
        chunks: chunks.iter().copied().map(Nanos).collect(),
        end: Nanos(sent + 700_000_001),
        status: Some(200),
        finish_reason: Some("length".into()),
        usage: Some(Usage { prompt_tokens: 10, completion_tokens: 3, cached_tokens: None }),
        ..Record::completed()
    };
    let mut rejected = one(2, 7, &[]);
    rejected.outcome = Outcome::Rejected(503);
    rejected.usage = None;
    rejected.error = Some("busy\nwait".into());
    vec![
        one(0, 1, &[100_000_003, 200_000_007, 333_333_333]),
        one(1, 5, &[150_000_003, 250_000_007, 400_000_001]),
        rejected,
    ]
}

fn cell(id: &str, server_axis: u64, summary: Option<Summary>, repeats: Vec<Summary>) -> CellFile {
    let concurrency = if id == CELL { 2 } else { 4 };
    let spec = spec();
    CellFile {
        format: FORMAT,
        id: id.into(),
        workload: "chat".into(),
        server: SERVER.into(),
        outcome: summary.as_ref().map_or(CellOutcome::Oom, outcome),
        reason: None,
        search: None,
        ended_early: None,
        simulated: false,
        predicted: false,
        ladder_ended_at: None,
        proved_impossible_by: None,
        load: map(&[
            ("concurrency", json!(concurrency)),
            ("max_tokens", json!(8)),
            ("requests", json!(3)),
            ("cache", json!("as-written")),
        ]),
        axes: map(&[("concurrency", json!(concurrency)), ("max-model-len", json!(server_axis))]),
        objective: Objective::Latency,
        slo: spec.slo.clone(),
        verdicts: summary
            .as_ref()
            .map(|summary| judge(summary, &repeats, &[records()], &context(&spec)))
            .unwrap_or_default(),
        timeline: summary.as_ref().map(|_| timeline(&records())).unwrap_or_default(),
        summary,
        reported: BTreeMap::new(),
        repeats,
        server_side: None,
        precision: BTreeMap::new(),
        server_side_repeats: Vec::new(),
        client: Vec::new(),
        client_totals: None,
        errors: vec![("busy\nwait".into(), 1)],
        log_tail: vec!["ERROR, said \"the log\"".into()],
        attempts: Vec::new(),
        started_at: at(1),
        finished_at: at(2),
    }
}

fn measured() -> CellFile {
    let spec = spec();
    cell(CELL, 4096, Some(pool(&[records()], &context(&spec))), Vec::new())
}

fn map(pairs: &[(&str, Value)]) -> BTreeMap<String, Value> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect()
}

fn plan() -> Plan {
    let cell = |id: &str| Cell {
        id: id.into(),
        workload: "chat".into(),
        spec: Arc::new(spec()),
        stop: Stop::Requests(3),
        max_tokens: 8,
        axes: BTreeMap::new(),
        seed: u64::MAX,
        skip: None,
        rung_below: None,
        search: None,
        attempt: None,
    };
    Plan {
        format: FORMAT,
        experiment: toml::from_str("name = \"small\"").expect("an experiment"),
        hardware: Hardware::default(),
        server_axes: vec!["max-model-len".into()],
        load_axes: vec!["concurrency".into()],
        groups: vec![Group {
            id: SERVER.into(),
            server: Arc::new(toml::from_str("model = \"tiny\"").expect("a server")),
            axes: map(&[("max-model-len", json!(4096))]),
            cells: vec![cell(CELL), cell(OOM)],
        }],
        searches: Vec::new(),
    }
}

fn run(name: &str) -> RunFile {
    RunFile {
        format: FORMAT,
        name: name.into(),
        tool: Tool { name: "runner".into(), version: "0.1.0".into() },
        command: vec!["runner".into(), "run".into()],
        host: Some(Host {
            platform: "linux-x86_64".into(),
            cpu: Some("Abacus 9".into()),
            cores: 2,
            memory_gib: Some(8),
        }),
        gpus: vec![Gpu { name: "Card A".into(), memory_mib: Some(16_384), driver: None }],
        engine: Some(EngineFact { name: "vllm".into(), version: Some("0.10.0".into()) }),
        simulated: false,
        predicted: None,
        imported: None,
        seed: 7,
        started_at: at(0),
        budget_spent: None,
        finished_at: None,
        resumed: 0,
        git_commit: None,
        git_dirty: None,
    }
}

fn server() -> ServerFile {
    ServerFile {
        format: FORMAT,
        id: SERVER.into(),
        outcome: ServerOutcome::Ready,
        reason: None,
        argv: vec!["vllm".into(), "serve".into()],
        axes: map(&[("max-model-len", json!(4096))]),
        facts: Facts { startup_s: Some(1.1), ..Facts::default() },
        exit_code: None,
        log_tail: Vec::new(),
        started_at: at(0),
        starts: Vec::new(),
    }
}

/// Writes a run of one measured cell; the other one of the plan is not there.
fn write(results: &Utf8Path, name: &str) -> RunFolder {
    let folder = RunFolder::create(results, "small", name).expect("a new run");
    folder.write_run(&run(name)).expect("run.json");
    folder.write_plan(&plan()).expect("plan.json");
    folder.write_text("effective.toml", "[experiment]\n").expect("effective.toml");
    folder.write_server(&server()).expect("server.json");
    folder.write_cell(&measured(), &[records()]).expect("the cell");
    folder
}
