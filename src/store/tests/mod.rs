//! Runs written and read back.

mod refusals;

use std::{collections::BTreeMap, fs, sync::Arc};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};

use super::{
    CellFile, EngineFact, FORMAT, Gpu, Host, RunFile, RunFolder, ServerFile, Tool,
    fingerprint_difference, newest, read, read_records,
};
use crate::{
    load::{Outcome, Phase, Record, Usage},
    manifest::{Server, Workload},
    measure::{Asked, CellOutcome, judge, pool, summarize, timeline},
    plan::{Cell, Group, Plan, Stop},
    server::ServerOutcome,
    unit::Nanos,
};

const AT: &str = "2026-01-02T03:04:05Z";

/// A results folder that goes when the test ends.
struct Results {
    _kept: tempfile::TempDir,
    path: Utf8PathBuf,
}

fn results() -> Results {
    let kept = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(kept.path().to_owned()).unwrap();
    Results { _kept: kept, path }
}

fn spec() -> Workload {
    let slo = json!({ "p95_ttft": "1s" });
    serde_json::from_value(json!({ "prompts": ["Hello"], "requests": 3, "slo": slo })).unwrap()
}

fn server() -> Server {
    serde_json::from_value(json!({ "model": "Qwen/Qwen2.5-1.5B-Instruct" })).unwrap()
}

fn plan(cells: &[&str]) -> Plan {
    let (spec, server) = (Arc::new(spec()), Arc::new(server()));
    Plan {
        format: FORMAT,
        experiment: serde_json::from_value(json!({ "name": "day003" })).unwrap(),
        hardware: Default::default(),
        server_axes: vec!["max-model-len".into()],
        load_axes: vec!["concurrency".into()],
        groups: vec![Group {
            id: "qwen-0000".into(),
            server,
            axes: BTreeMap::from([("max-model-len".to_owned(), json!(4096))]),
            cells: cells
                .iter()
                .map(|&id| Cell {
                    id: id.into(),
                    workload: "chat".into(),
                    spec: spec.clone(),
                    stop: Stop::Requests(3),
                    max_tokens: 64,
                    axes: BTreeMap::new(),
                    seed: 7,
                    skip: None,
                })
                .collect(),
        }],
    }
}

fn run() -> RunFile {
    RunFile {
        format: FORMAT,
        name: "first".into(),
        tool: Tool {
            name: "runner".into(),
            version: "0.1.0".into(),
        },
        command: vec!["runner".into(), "run".into(), "day003.toml".into()],
        host: Host {
            platform: "linux-x86_64".into(),
            cpu: Some("AMD EPYC 7352".into()),
            cores: 16,
            memory_gib: Some(62),
        },
        gpus: vec![gpu("NVIDIA L4")],
        engine: None,
        simulated: false,
        seed: 7,
        started_at: AT.parse().unwrap(),
        finished_at: None,
        resumed: 0,
        git_commit: None,
        git_dirty: None,
    }
}

fn gpu(name: &str) -> Gpu {
    Gpu {
        name: name.into(),
        memory_mib: Some(23034),
        driver: None,
    }
}

/// Three requests after each other, the last one cut; stamps that make no round numbers.
fn records(shift: u64) -> Vec<Record> {
    (0..3)
        .map(|index| {
            let start = index * 1_000_000_007 + shift;
            let chunks = (1..5).map(|k| Nanos(start + k * k * 12_345_677)).collect();
            Record {
                index,
                stream: 0,
                phase: Phase::Measured,
                input: 0,
                scheduled: Nanos(start),
                sent: Some(Nanos(start + 1_234)),
                headers: None,
                chunks,
                end: Nanos(start + 300_000_001),
                outcome: if index == 2 {
                    Outcome::Truncated
                } else {
                    Outcome::Completed
                },
                status: Some(200),
                finish_reason: None,
                usage: Some(Usage {
                    prompt_tokens: 11,
                    completion_tokens: 5,
                    cached_tokens: None,
                }),
                max_tokens: 64,
                reused_connection: true,
                error: (index == 2).then(|| "closed, \"early\"\n".into()),
            }
        })
        .collect()
}

fn asked(spec: &Workload) -> Asked<'_> {
    Asked {
        spec,
        max_tokens: 64,
        engine_simulated: false,
        inputs: 1,
        flags_confirmed: None,
        prefix_caching: None,
    }
}

fn cell(id: &str, repeats: &[Vec<Record>]) -> CellFile {
    let spec = spec();
    let asked = asked(&spec);
    let pooled = pool(repeats, &asked);
    let each: Vec<_> = repeats
        .iter()
        .map(|records| summarize(records, &asked))
        .collect();
    CellFile {
        verdicts: judge(&pooled, &each, repeats, &asked),
        timeline: timeline(&repeats[0]),
        summary: Some(pooled),
        repeats: if each.len() > 1 { each } else { Vec::new() },
        ..unmeasured(id, CellOutcome::Degraded)
    }
}

fn unmeasured(id: &str, outcome: CellOutcome) -> CellFile {
    CellFile {
        format: FORMAT,
        id: id.into(),
        workload: "chat".into(),
        server: "qwen-0000".into(),
        outcome,
        reason: None,
        simulated: false,
        load: BTreeMap::from([
            ("requests".to_owned(), json!(3)),
            ("concurrency".to_owned(), json!(1)),
            ("max_tokens".to_owned(), json!(64)),
        ]),
        axes: BTreeMap::from([
            ("concurrency".to_owned(), json!(1)),
            ("max-model-len".to_owned(), json!(4096)),
        ]),
        objective: Default::default(),
        slo: spec().slo,
        summary: None,
        repeats: Vec::new(),
        verdicts: Vec::new(),
        timeline: Vec::new(),
        errors: Vec::new(),
        log_tail: Vec::new(),
        started_at: AT.parse().unwrap(),
        finished_at: AT.parse().unwrap(),
    }
}

fn started(results: &Results, plan: &Plan) -> RunFolder {
    let folder = RunFolder::create(&results.path, "day003", "first").unwrap();
    folder
        .write_text("manifest.toml", "[experiment]\n")
        .unwrap();
    folder
        .write_text("effective.toml", "[experiment]\nname = \"day003\"\n")
        .unwrap();
    folder.write_plan(plan).unwrap();
    folder.write_run(&run()).unwrap();
    folder
}

fn text(path: impl AsRef<Utf8Path>) -> String {
    fs::read_to_string(path.as_ref()).unwrap()
}

#[test]
fn a_run_is_read_back_as_it_was_written() {
    let results = results();
    let plan = plan(&["chat-a", "chat-b"]);
    let folder = started(&results, &plan);
    let server = ServerFile {
        format: FORMAT,
        id: "qwen-0000".into(),
        outcome: ServerOutcome::Ready,
        reason: None,
        argv: vec!["vllm".into(), "serve".into()],
        axes: BTreeMap::new(),
        facts: Default::default(),
        exit_code: None,
        log_tail: Vec::new(),
        started_at: AT.parse().unwrap(),
    };
    folder.write_server(&server).unwrap();
    let repeats = [records(0), records(77_777)];
    let (a, b) = (
        cell("chat-a", &repeats),
        unmeasured("chat-b", CellOutcome::Oom),
    );
    // In another order than the plan's.
    folder.write_cell(&b, &[]).unwrap();
    folder.write_cell(&a, &repeats).unwrap();

    let stored = read(folder.path()).unwrap();
    assert_eq!(stored.run, run());
    assert_eq!(stored.plan, plan);
    assert_eq!(stored.servers, [server]);
    assert_eq!(stored.cells, [a, b]);
    assert_eq!(stored.effective, "[experiment]\nname = \"day003\"\n");
    assert_eq!(read_records(folder.path(), "chat-a").unwrap(), repeats);
    assert!(read_records(folder.path(), "chat-b").unwrap().is_empty());
    assert!(
        !folder
            .path()
            .join("cells/chat-b/records-1.jsonl.gz")
            .exists()
    );
    assert!(text(folder.path().join("run.json")).ends_with("}\n"));
}

#[test]
fn every_summary_can_be_derived_again_from_the_stored_records() {
    let results = results();
    let folder = started(&results, &plan(&["chat-a"]));
    let repeats = [records(0), records(123_456_789)];
    folder
        .write_cell(&cell("chat-a", &repeats), &repeats)
        .unwrap();

    let stored = read(folder.path()).unwrap().cells.remove(0);
    let records = read_records(folder.path(), "chat-a").unwrap();
    let spec = spec();
    let each: Vec<_> = records
        .iter()
        .map(|records| summarize(records, &asked(&spec)))
        .collect();
    assert_eq!(stored.summary, Some(pool(&records, &asked(&spec))));
    assert_eq!(
        stored.verdicts,
        judge(
            &pool(&records, &asked(&spec)),
            &each,
            &records,
            &asked(&spec)
        )
    );
    assert_eq!(stored.repeats, each);
}

#[test]
fn cells_csv_has_the_documented_columns() {
    let results = results();
    let plan = plan(&["chat-a", "chat-b", "chat-c"]);
    let folder = started(&results, &plan);
    folder
        .write_cell(&cell("chat-a", &[records(0)]), &[records(0)])
        .unwrap();
    folder
        .write_cell(&unmeasured("chat-b", CellOutcome::DoesNotFit), &[])
        .unwrap();
    let simulated = CellFile {
        simulated: true,
        ..unmeasured("chat-c", CellOutcome::Oom)
    };
    folder.write_cell(&simulated, &[]).unwrap();
    folder.write_tables(&read(folder.path()).unwrap()).unwrap();
    // Completed are two of three. TTFT: 12.345677 ms less 1.234 µs. Gaps: 3, 5 and 7 times 12.345677 ms. E2E: 16 times
    // it less 1.234 µs. TPOT: 15 times it, by 4. Window: from 1.234 µs to 2 × 1000.000007 + 300.000001 ms.
    assert_eq!(
        text(folder.path().join("cells.csv")),
        "cell,gpu,workload,outcome,verdicts,concurrency,max_tokens,requests,max-model-len,completed,errors,\
         p50_ttft_ms,p95_ttft_ms,p99_ttft_ms,p50_itl_ms,p95_itl_ms,p99_itl_ms,p50_tpot_ms,p95_tpot_ms,p99_tpot_ms,\
         p50_e2e_ms,p95_e2e_ms,p99_e2e_ms,throughput_tok_s,total_tok_s,req_s,user_tok_s,goodput_req_s,input_tokens,\
         output_tokens,window_s\n\
         chat-a,NVIDIA L4,chat,degraded,few_samples;errors;warm_cache;flags_unverified,1,64,3,4096,2,1,\
         12.344,12.344,12.344,61.728,86.420,86.420,46.296,46.296,46.296,\
         197.530,197.530,197.530,4.348,13.913,0.870,21.600,0.870,22,\
         10,2.300\n\
         chat-b,NVIDIA L4,chat,does_not_fit,,1,64,3,4096,,,,,,,,,,,,,,,,,,,,,,\n\
         chat-c,simulated,chat,oom,simulated,1,64,3,4096,,,,,,,,,,,,,,,,,,,,,,\n"
    );
    assert!(!folder.path().join("repeats.csv").exists());
}

#[test]
fn repeats_have_a_row_each_and_the_label_names_the_machine() {
    let results = results();
    let mut plan = plan(&["chat-a"]);
    plan.hardware.label = Some("RunPod, L4".into());
    let folder = started(&results, &plan);
    let repeats = [records(0), records(5)];
    folder
        .write_cell(&cell("chat-a", &repeats), &repeats)
        .unwrap();
    folder.write_tables(&read(folder.path()).unwrap()).unwrap();
    let table = text(folder.path().join("repeats.csv"));
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("cell,gpu,workload,outcome,verdicts,repeat,concurrency,"));
    let verdicts = "few_samples;errors;warm_cache;flags_unverified";
    let row = format!("chat-a,\"RunPod, L4\",chat,degraded,{verdicts},2,1,64,3,4096,2,1,");
    assert!(lines[2].starts_with(&row), "{}", lines[2]);
    assert_eq!(text(folder.path().join("cells.csv")).lines().count(), 2);
}

#[test]
fn the_newest_run_is_the_one_that_began_last() {
    let results = results();
    assert_eq!(newest(&results.path, "day003").unwrap(), None);
    for (name, at) in [
        ("b", "2026-01-02T00:00:00Z"),
        ("a", "2026-01-03T00:00:00Z"),
        ("c", "2026-01-01T00:00:00Z"),
    ] {
        let folder = RunFolder::create(&results.path, "day003", name).unwrap();
        let run = RunFile {
            started_at: at.parse().unwrap(),
            ..run()
        };
        folder.write_run(&run).unwrap();
    }
    fs::create_dir(results.path.join("day003/not-a-run")).unwrap();
    std::os::unix::fs::symlink(
        results.path.join("day003/a"),
        results.path.join("day003/latest"),
    )
    .unwrap();
    assert_eq!(
        newest(&results.path, "day003").unwrap(),
        Some(results.path.join("day003/a"))
    );
}

#[test]
fn a_run_folder_ignores_what_is_heavy() {
    let results = results();
    let folder = started(&results, &plan(&[]));
    let ignored = text(folder.path().join(".gitignore"));
    for line in ["records-*.jsonl.gz", "server.log", ".lock", ".tmp-*"] {
        assert!(ignored.lines().any(|ignored| ignored == line), "{line}");
    }
}

#[test]
fn fingerprints_name_what_differs_and_pass_over_what_is_unknown() {
    let old = run();
    assert!(fingerprint_difference(&old, &old).is_empty());
    let engine = |version: Option<&str>| {
        Some(EngineFact {
            name: "vllm".into(),
            version: version.map(str::to_owned),
        })
    };
    let mut new = RunFile {
        engine: engine(Some("0.11.0")),
        ..run()
    };
    assert!(fingerprint_difference(&old, &new).is_empty());
    new.gpus = vec![gpu("NVIDIA H100"), gpu("NVIDIA H100")];
    new.host.cores = 32;
    new.host.memory_gib = None;
    let known = RunFile {
        engine: engine(Some("0.10.2")),
        ..run()
    };
    assert_eq!(
        fingerprint_difference(&known, &new),
        [
            "gpu: NVIDIA L4 → 2 × NVIDIA H100",
            "engine version: 0.10.2 → 0.11.0",
            "cores: 16 → 32"
        ]
    );
}

#[test]
fn the_same_values_are_the_same_bytes() {
    let results = results();
    let folder = started(&results, &plan(&["chat-a"]));
    let path = folder.path().join("cells/chat-a/cell.json");
    let stored = cell("chat-a", &[records(0)]);
    folder.write_cell(&stored, &[records(0)]).unwrap();
    let first = text(&path);
    let read_back: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(read_back["format"], json!(FORMAT));
    let again: CellFile = serde_json::from_str(&first).unwrap();
    folder.write_cell(&again, &[records(0)]).unwrap();
    assert_eq!(text(&path), first);
}
