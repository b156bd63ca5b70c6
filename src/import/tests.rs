//! Files of every tool, and the errors in wrong ones.

use serde_json::json;

use super::*;
use crate::{
    measure::CellOutcome,
    store::{CellFile, StoredRun},
};

fn options() -> Options {
    Options { name: "theirs".into(), workload: "chat".into(), ..Options::default() }
}

fn file(name: &str, text: &str) -> File {
    File { name: name.into(), text: text.into() }
}

fn read(files: &[File], options: &Options) -> Result<(StoredRun, String), String> {
    let now = "2026-01-02T03:04:05Z".parse().unwrap();
    match import(files, options, now) {
        Ok((run, findings)) => Ok((run, findings.render(false))),
        Err(findings) => Err(findings.render(false)),
    }
}

fn run(name: &str, text: &str) -> StoredRun {
    read(&[file(name, text)], &options()).unwrap().0
}

fn cell(run: &StoredRun, concurrency: u64, max_tokens: u64) -> &CellFile {
    let at = |cell: &&CellFile| {
        cell.load["concurrency"] == json!(concurrency) && cell.load["max_tokens"] == json!(max_tokens)
    };
    run.cells.iter().find(at).unwrap()
}

#[test]
fn a_table_keeps_its_numbers_and_what_it_lacks_stays_absent() {
    let run = run("grid.csv", include_str!("../../tests/import/rtx2000_chat_grid.csv"));
    assert_eq!(run.cells.len(), 12);
    assert_eq!(run.plan.hardware.label.as_deref(), Some("RunPod-RTX2000-16GB"));
    assert_eq!(run.plan.load_axes, ["concurrency", "max_tokens"]);
    let cell = cell(&run, 8, 256);
    assert_eq!(cell.reported["p95_e2e_ms"], 4553.79);
    assert_eq!(cell.reported["throughput_tok_s"], 283.75);
    // Without a number of requests there is no summary.
    assert_eq!((&cell.summary, cell.load.get("requests")), (&None, None));
    assert!(!cell.reported.contains_key("p99_e2e_ms"));
    let kinds: Vec<&str> = cell.verdicts.iter().map(|verdict| verdict.kind.name()).collect();
    assert_eq!(kinds, ["imported", "not_streamed"]);
    assert_eq!(run.run.imported.as_ref().unwrap().cells.len(), 12);
    assert_eq!(run.run.host, None);
}

#[test]
fn a_stated_number_of_requests_is_judged() {
    let options = Options { requests: Some(16), ..options() };
    let grid = file("grid.csv", include_str!("../../tests/import/rtx2000_chat_grid.csv"));
    let (run, _) = read(&[grid], &options).unwrap();
    let few = run.cells[0].verdicts.iter().find(|verdict| verdict.kind.name() == "few_samples").unwrap();
    assert_eq!(few.touches, ["p95_ttft", "p95_e2e"]);
    assert!(few.reason.contains("p95 needs 130 samples"), "{}", few.reason);
    assert_eq!(run.cells[0].summary.as_ref().unwrap().counts.completed, 16);
}

#[test]
fn columns_have_several_names() {
    let run = run("batch.csv", include_str!("../../tests/import/rtx2000_batch_grid.csv"));
    let cell = cell(&run, 16, 512);
    assert_eq!(cell.workload, "batch");
    assert_eq!(cell.reported["p95_e2e_ms"], 9423.26);
}

#[test]
fn tables_have_server_axes_outcomes_and_units() {
    let text = "gpu,max_model_len,quant,concurrency,outcome,p95_e2e_s,throughput_tok_s\n\
        A,4096,awq,1,ok,1.5,50\nA,8192,awq,1,oom,,\nA,8192,bf16,1,,2,40\n";
    let options = Options { axes: vec!["quant".into()], ..options() };
    let (run, _) = read(&[file("t.csv", text)], &options).unwrap();
    assert_eq!(run.plan.server_axes, ["max-model-len", "quant"]);
    assert_eq!(run.plan.groups.len(), 3);
    assert_eq!(run.cells[0].reported["p95_e2e_ms"], 1500.0);
    assert_eq!(run.cells[1].outcome, CellOutcome::Oom);
    assert!(run.cells[1].reason.is_some());
}

#[test]
fn rows_that_an_unknown_column_distinguishes_are_not_repeats() {
    let text =
        "capture_size,concurrency,throughput_tok_s\n512,64,1127\n512,128,904\n1024,64,7559\n1024,128,5101\n";
    let said = read(&[file("graphs.csv", text)], &options()).unwrap_err();
    assert!(said.contains("averaged as repeats") && said.contains("--axis capture_size"), "{said}");
    let with_axis = Options { axes: vec!["capture_size".into()], ..options() };
    let (run, _) = read(&[file("graphs.csv", text)], &with_axis).unwrap();
    assert_eq!((run.cells.len(), run.plan.groups.len()), (4, 2));
    // Another measurement is not an axis, and `repeat` numbers the repeats.
    let text = "repeat,gpu_util,concurrency,throughput_tok_s\n1,91.2,64,1127\n2,93.7,64,1131\n";
    assert_eq!(run_of(text).cells.len(), 1);
}

fn run_of(text: &str) -> StoredRun {
    run("table.csv", text)
}

#[test]
fn errors_in_a_table_name_line_and_column() {
    let error = |text: &str| read(&[file("t.csv", text)], &options()).unwrap_err();
    let wrong = error("concurrency,p95_e2e_ms\n1,fast\nx,2\n");
    assert!(wrong.contains("t.csv:2: `p95_e2e_ms` is \"fast\", but must be a number"), "{wrong}");
    assert!(wrong.contains("t.csv:3: `concurrency` is \"x\""), "{wrong}");
    assert!(error("a,b\n1,2\n").contains("t.csv has no column with a latency or a throughput"));
    assert!(error("concurrency,p95_e2e_ms\n").contains("contain nothing to import"));
    let two = error("gpu,p95_e2e_ms\nA,1\nB,2\n");
    assert!(two.contains("2 machines: A, B") && two.contains("--gpu"), "{two}");
    let (_, notes) = read(&[file("t.csv", "p95_e2e_ms,p95_ttft\n1,2\n")], &options()).unwrap();
    assert!(
        notes.contains("unknown column `p95_ttft`") && notes.contains("did you mean `p95_ttft_ms`?"),
        "{notes}"
    );
}

#[test]
fn one_machine_of_several_can_be_chosen() {
    let options = Options { gpu: Some("B".into()), ..options() };
    let (run, _) = read(&[file("t.csv", "gpu,p95_e2e_ms\nA,1\nB,2\n")], &options).unwrap();
    assert_eq!(run.cells.len(), 1);
    assert_eq!(run.cells[0].reported["p95_e2e_ms"], 2.0);
}

#[test]
fn a_detailed_result_of_vllm_has_samples() {
    let run = run("b.json", include_str!("../../tests/import/vllm/bench-serve-completions.json"));
    let cell = &run.cells[0];
    let summary = cell.summary.as_ref().unwrap();
    let close = |mine: f64, theirs: f64| assert!((mine - theirs).abs() < 1e-6 * theirs, "{mine} {theirs}");
    // The tool's own results, which have the same definitions.
    let (ttft, tpot) = (summary.ttft.as_ref().unwrap(), summary.tpot.as_ref().unwrap());
    close(ttft.p95_ms, 435.037_806_799_600_3);
    close(tpot.p99_ms, 6.407_331_204_511);
    close(summary.e2e.as_ref().unwrap().p99_ms, 754.015_459_129_877_3);
    close(summary.itl.as_ref().unwrap().p99_ms, 105.454_475_060_005_25);
    close(summary.throughput_tok_s.unwrap(), 376.069_881_794_352_3);
    assert_eq!((summary.counts.completed, summary.output_tokens), (20, Some(640)));
    assert_eq!(cell.load["concurrency"], json!(4));
    assert_eq!(run.plan.groups[0].server.model, "tiny");
}

#[test]
fn a_plain_result_of_vllm_has_samples_of_e2e_only() {
    let run = run("b.json", include_str!("../../tests/import/vllm/bench-serve-chat.json"));
    let cell = &run.cells[0];
    let summary = cell.summary.as_ref().unwrap();
    assert!(summary.ttft.is_none() && summary.e2e.is_some());
    assert_eq!(cell.reported["p50_ttft_ms"], 14.822_582_499_959_935);
    assert!(!cell.reported.contains_key("p95_ttft_ms"));
    // With a rate the load is an open loop, and the concurrency only limits it.
    assert_eq!((&cell.load["rate"], &cell.load["max_in_flight"]), (&json!(5), &json!(4)));
    assert!(!cell.load.contains_key("concurrency"));
}

#[test]
fn a_sweep_of_vllm_has_server_axes_and_repeats() {
    let folder = camino::Utf8PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/import/vllm/sweep"));
    let files = files(std::slice::from_ref(&folder)).unwrap();
    // A folder per point with the list of its runs; the table above them has the same numbers.
    assert_eq!(files.len(), 4);
    let (run, _) = read(&files, &options()).unwrap();
    assert_eq!(run.plan.server_axes, ["max-num-seqs"]);
    assert_eq!(run.cells.len(), 4);
    assert!(run.cells.iter().all(|cell| cell.repeats.len() == 2));
    let text = std::fs::read_to_string(folder.join("summary.csv")).unwrap();
    let (table, _) = read(&[file("summary.csv", &text)], &options()).unwrap();
    let mut ids: Vec<&String> = run.cells.iter().map(|cell| &cell.id).collect();
    let mut same: Vec<&String> = table.cells.iter().map(|cell| &cell.id).collect();
    ids.sort();
    same.sort();
    assert_eq!(ids, same);
}

#[test]
fn a_report_of_guidellm_has_one_measurement_per_benchmark() {
    let run = run("g.json", include_str!("../../tests/import/guidellm.json"));
    let [closed, open] = run.cells.as_slice() else { panic!("two cells") };
    assert_eq!(run.run.imported.as_ref().unwrap().client, "GuideLLM 0.5.0");
    assert_eq!((&closed.load["concurrency"], &closed.load["max_tokens"]), (&json!(4), &json!(128)));
    assert_eq!(closed.reported["p95_e2e_ms"], 3250.0);
    // Its inter-token latency is one number per request, which is TPOT here; it reports no gaps between
    // events.
    assert_eq!(closed.reported["p95_tpot_ms"], 24.6);
    assert!(!closed.reported.contains_key("p95_itl_ms"));
    let summary = closed.summary.as_ref().unwrap();
    assert_eq!((summary.counts.completed, summary.output_tokens), (80, Some(10_240)));
    assert!((summary.throughput_tok_s.unwrap() - 170.667).abs() < 0.001);
    assert_eq!(open.load["rate"], json!(2.5));
    assert_eq!(open.outcome, CellOutcome::Degraded);
    // All completed requests are there, so there are samples.
    assert_eq!(open.summary.as_ref().unwrap().e2e.as_ref().unwrap().p50_ms, 3500.0);
}

#[test]
fn a_summary_of_aiperf_is_one_measurement() {
    let run = run("a.json", include_str!("../../tests/import/aiperf.json"));
    let cell = &run.cells[0];
    assert_eq!(run.run.imported.as_ref().unwrap().client, "AIPerf 0.10.0");
    assert_eq!(cell.load["concurrency"], json!(16));
    assert_eq!(
        (cell.reported["p95_ttft_ms"], cell.reported["p50_itl_ms"], cell.reported["p50_tpot_ms"]),
        (240.0, 8.77, 13.25)
    );
    assert_eq!(cell.reported["user_tok_s"], 75.5);
    let counts = &cell.summary.as_ref().unwrap().counts;
    assert_eq!((counts.completed, counts.errors()), (96, 4));
    assert_eq!(cell.outcome, CellOutcome::Degraded);
}

#[test]
fn errors_in_json_name_the_field() {
    let error = |text: &str| read(&[file("b.json", text)], &options()).unwrap_err();
    let wrong = error(r#"{"output_throughput": 1, "completed": 3, "duration": "long"}"#);
    assert!(wrong.contains("b.json: `duration` is \"long\", but must be a number of seconds"), "{wrong}");
    let wrong = error(
        r#"{"benchmarks": [{"config": {"strategy": {"type_": "concurrent"}}, "metrics": {"request_latency": {"successful": {"percentiles": {"p95": []}}}}}]}"#,
    );
    assert!(
        wrong.contains("`benchmarks[0].metrics.request_latency.successful.percentiles.p95` is []"),
        "{wrong}"
    );
    let wrong = error(r#"{"benchmarks": [{"metrics": {}}]}"#);
    assert!(wrong.contains("`benchmarks[0].config.strategy` is missing"), "{wrong}");
    assert!(error("{\"a\": 1}").contains("is not a result that can be imported"));
    assert!(error("{\"a\": ").contains("is not JSON"));
}

#[test]
fn files_of_several_tools_cannot_be_one_run() {
    let files = [
        file("g.json", include_str!("../../tests/import/guidellm.json")),
        file("a.json", include_str!("../../tests/import/aiperf.json")),
    ];
    let error = read(&files, &options()).unwrap_err();
    assert!(error.contains("different tools: GuideLLM 0.5.0, AIPerf 0.10.0"), "{error}");
}

#[test]
fn hostile_names_make_plain_folders() {
    let run = run("t.csv", "workload,model,p95_e2e_ms\n../../<b>|x,../m\u{1b},1\n");
    assert_eq!(run.cells[0].workload, "../../<b>|x");
    assert!(
        run.cells[0].id.starts_with("------b--x-") || !run.cells[0].id.contains(['/', '<', '|']),
        "{}",
        run.cells[0].id
    );
    assert!(!run.plan.groups[0].id.contains(['/', '\u{1b}']));
}
