//! The tables, byte for byte.

use std::fs;

use super::*;
use crate::store::{StoredRun, read};

fn two_cells(folder: &RunFolder) -> StoredRun {
    folder.write_cell(&cell(OOM, 4096, None, Vec::new()), &[]).unwrap();
    read(folder.path()).unwrap()
}

fn table(folder: &RunFolder, run: &StoredRun, name: &str) -> String {
    folder.write_tables(run).unwrap();
    fs::read_to_string(folder.path().join(name)).unwrap()
}

#[test]
fn cells_have_their_columns_in_order_and_absent_is_empty() {
    let (_guard, results) = scratch();
    let folder = write(&results, "one");
    let run = two_cells(&folder);
    let csv = table(&folder, &run, "cells.csv");
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(
        lines,
        [
            "cell,gpu,workload,outcome,verdicts,concurrency,rate,max_tokens,cache,max-model-len,requests,errors,\
             p50_ttft_ms,p95_ttft_ms,p99_ttft_ms,p50_itl_ms,p95_itl_ms,p99_itl_ms,\
             p50_tpot_ms,p95_tpot_ms,p99_tpot_ms,p50_e2e_ms,p95_e2e_ms,p99_e2e_ms,\
             throughput_tok_s,total_tok_s,req_s,user_tok_s,goodput_req_s,input_tokens,output_tokens,window_s,steady_s,steady_tok_s,p99_issue_delay_ms,\
             server_queue_ms,server_prefill_ms,server_decode_ms,server_ttft_ms,\
             preemptions,prefix_hit_rate,kv_usage_peak,server_cpu_s,gpu_energy_j,\
             predicted_p50_e2e_ms,predicted_throughput_tok_s",
            "chat-c2-t8-0a1b2c3d,Card A,chat,degraded,few_samples;errors;warm_cache,2,,8,as-written,4096,3,1,\
             125.000,147.500,149.500,116.667,147.500,149.500,\
             120.833,124.583,124.917,366.667,396.667,399.333,\
             8.571,37.143,2.857,8.286,2.857,20,6,0.700,,,0.000,,,,,,,,,,,",
            "chat-c4-t8-0a1b2c3e,Card A,chat,oom,,4,,8,as-written,4096,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,",
        ]
    );
    assert!(!folder.path().join("repeats.csv").exists());
}

#[test]
fn server_metrics_have_columns_that_are_empty_without_them() {
    let (_guard, results) = scratch();
    let folder = write(&results, "one");
    let mut run = two_cells(&folder);
    run.cells[0].server_side = serde_json::from_value(json!({
        "span_s": 2.0,
        "engine": {
            "span_s": 2.0, "settled": true, "preemptions": 0, "prefix_queries": 80, "prefix_hits": 20,
            "queue": { "count": 4, "sum_s": 0.1, "mean_ms": 25.0, "buckets": [] },
        },
        "process": { "cpu_s": 1.5, "cores": 0.75, "peak_rss_bytes": 1, "processes": 1 },
        "gpus": [{ "index": 0, "energy_j": 300.0 }],
    }))
    .expect("a server's side");
    let csv = table(&folder, &run, "cells.csv");
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().unwrap().clone();
    let row = reader.records().next().unwrap().unwrap();
    let of = |name: &str| &row[header.iter().position(|column| column == name).unwrap()];
    assert_eq!(of("server_queue_ms"), "25.000");
    assert_eq!((of("server_prefill_ms"), of("kv_usage_peak")), ("", ""));
    assert_eq!((of("preemptions"), of("prefix_hit_rate")), ("0", "0.250"));
    assert_eq!((of("server_cpu_s"), of("gpu_energy_j")), ("1.500", "300.000"));
}

#[test]
fn the_gpu_column_is_the_label_the_gpu_or_the_processor_and_marks_simulations() {
    let (_guard, results) = scratch();
    let folder = write(&results, "one");
    let mut run = two_cells(&folder);
    let gpu = |run: &StoredRun| {
        let csv = table(&folder, run, "cells.csv");
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let row = reader.records().next().unwrap().unwrap();
        row[1].to_owned()
    };
    run.plan.hardware.label = Some("Lent, 16 GB".into());
    assert_eq!(gpu(&run), "Lent, 16 GB");
    run.plan.hardware.label = None;
    run.run.gpus.clear();
    assert_eq!(gpu(&run), "Abacus 9 (CPU)");
    run.plan.hardware.label = Some("Lent, 16 GB".into());
    run.cells[0].simulated = true;
    assert_eq!(gpu(&run), "simulated");
}

#[test]
fn repeats_have_a_row_each() {
    let (_guard, results) = scratch();
    let folder = write(&results, "one");
    let mut run = two_cells(&folder);
    let one = run.cells[0].summary.clone().unwrap();
    run.cells[0].repeats = vec![one.clone(), one];
    let csv = table(&folder, &run, "repeats.csv");
    let starts: Vec<&str> = csv.lines().map(|line| &line[..26.min(line.len())]).collect();
    assert!(csv.starts_with("cell,repeat,gpu,workload,"), "{csv}");
    assert_eq!(starts.len(), 3, "{csv}");
    assert!(starts[1].starts_with("chat-c2-t8-0a1b2c3d,1,"));
    assert!(starts[2].starts_with("chat-c2-t8-0a1b2c3d,2,"));
}
