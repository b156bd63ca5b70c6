//! Runs built by hand.

use std::{collections::BTreeMap, sync::Arc};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use serde_json::{Value, json};

use crate::{
    manifest::{Server, Slo, Workload},
    measure::{CellOutcome, Counts, Histogram, Latency, Severity, Summary, Verdict, VerdictKind},
    plan::{Cell, Group, Plan, Stop},
    store::{CellFile, Gpu, Host, RunFile, ServerFile, StoredRun, Tool},
};

const AT: &str = "2026-01-02T03:04:05Z";

pub(super) fn latency(n: u64, p50: f64, p95: f64) -> Latency {
    Latency {
        n,
        p50_ms: p50,
        p95_ms: p95,
        p99_ms: p95,
        mean_ms: p50,
        min_ms: p50 * 0.9,
        max_ms: p95,
        histogram: Histogram {
            buckets: vec![((p50 * 1000.0) as u64, n / 2), ((p95 * 1000.0) as u64, n - n / 2)],
        },
    }
}

pub(super) fn summary(requests: u64) -> Summary {
    Summary {
        counts: Counts {
            scheduled: requests,
            completed: requests,
            by_outcome: BTreeMap::from([("completed".into(), requests)]),
        },
        window: None,
        steady: None,
        ttft: None,
        itl: None,
        tpot: None,
        e2e: None,
        issue_delay: None,
        user_tok_s: None,
        output_tokens: None,
        input_tokens: None,
        cached_tokens: None,
        throughput_tok_s: None,
        total_tok_s: None,
        steady_tok_s: None,
        req_s: None,
        goodput_req_s: None,
        tokens_per_chunk: None,
        output_length: None,
        peak_in_flight: None,
        peak_queue: None,
        starts: None,
    }
}

pub(super) fn workload(slo: Value) -> Workload {
    serde_json::from_value(json!({ "prompts": ["Hello"], "requests": 16, "slo": slo })).expect("a workload")
}

pub(super) fn server(flags: Value) -> Server {
    serde_json::from_value(json!({ "model": "Qwen/Qwen2.5-1.5B-Instruct", "flags": flags }))
        .expect("a server")
}

pub(super) fn cell(id: &str, server: &str, concurrency: u32, max_tokens: u32, slo: &Slo) -> CellFile {
    let load = BTreeMap::from([
        ("concurrency".to_owned(), json!(concurrency)),
        ("max_tokens".to_owned(), json!(max_tokens)),
        ("requests".to_owned(), json!(16)),
    ]);
    CellFile {
        format: 1,
        id: id.into(),
        workload: "chat".into(),
        server: server.into(),
        outcome: CellOutcome::Ok,
        reason: None,
        search: None,
        ended_early: None,
        simulated: false,
        predicted: false,
        ladder_ended_at: None,
        proved_impossible_by: None,
        axes: BTreeMap::from([
            ("concurrency".to_owned(), json!(concurrency)),
            ("max_tokens".to_owned(), json!(max_tokens)),
        ]),
        load,
        objective: Default::default(),
        slo: slo.clone(),
        summary: None,
        reported: BTreeMap::new(),
        repeats: Vec::new(),
        server_side: None,
        precision: BTreeMap::new(),
        server_side_repeats: Vec::new(),
        client: Vec::new(),
        client_totals: None,
        verdicts: Vec::new(),
        timeline: Vec::new(),
        errors: Vec::new(),
        log_tail: Vec::new(),
        attempts: Vec::new(),
        started_at: AT.parse().expect("an instant"),
        finished_at: AT.parse().expect("an instant"),
    }
}

/// A verdict by the words of its kind and its severity, against some metrics.
pub(super) fn verdict(kind: &str, severity: &str, touches: &[&str]) -> Verdict {
    serde_json::from_value(json!({ "kind": kind, "severity": severity, "touches": touches,
                                   "reason": "as a test has it", "hint": "" }))
    .expect("a verdict")
}

/// A run without servers and cells.
pub(super) fn empty() -> StoredRun {
    StoredRun {
        folder: "results/day003/run".into(),
        run: RunFile {
            format: 1,
            name: "20260102T030405Z-rtx2000".into(),
            tool: Tool { name: "runner".into(), version: "0.1.0".into() },
            command: vec!["runner".into(), "run".into(), "experiments/day003.toml".into()],
            host: Some(Host {
                platform: "linux-x86_64".into(),
                cpu: Some("AMD EPYC 7352".into()),
                cores: 16,
                memory_gib: Some(62),
            }),
            gpus: vec![Gpu {
                name: "NVIDIA RTX 2000 Ada Generation".into(),
                memory_mib: Some(16380),
                driver: Some("550.127.05".into()),
            }],
            engine: None,
            simulated: false,
            predicted: None,
            imported: None,
            seed: 7,
            started_at: AT.parse().expect("an instant"),
            budget_spent: None,
            finished_at: None,
            resumed: 0,
            git_commit: Some("0123abcd".into()),
            git_dirty: Some(false),
        },
        plan: Plan {
            format: 1,
            experiment: serde_json::from_value(json!({ "name": "day003", "seed": 7 }))
                .expect("an experiment"),
            hardware: Default::default(),
            server_axes: Vec::new(),
            load_axes: vec!["concurrency".into(), "max_tokens".into()],
            groups: Vec::new(),
            searches: Vec::new(),
        },
        servers: Vec::new(),
        cells: Vec::new(),
        effective: String::new(),
        predictions: None,
    }
}

/// Adds a server with its cells to a run.
pub(super) fn add(
    run: &mut StoredRun,
    id: &str,
    axes: BTreeMap<String, Value>,
    outcome: &str,
    cells: Vec<CellFile>,
) {
    let spec = Arc::new(workload(json!({})));
    run.plan.groups.push(Group {
        id: id.into(),
        server: Arc::new(server(
            json!({ "dtype": "bfloat16", "gpu-memory-utilization": 0.8, "enable-prefix-caching": true }),
        )),
        axes: axes.clone(),
        cells: cells
            .iter()
            .map(|cell| Cell {
                id: cell.id.clone(),
                workload: cell.workload.clone(),
                spec: spec.clone(),
                stop: Stop::Requests(16),
                max_tokens: 64,
                axes: BTreeMap::new(),
                seed: 1,
                skip: None,
                rung_below: None,
                search: None,
                attempt: None,
            })
            .collect(),
    });
    run.servers.push(ServerFile {
        format: 1,
        id: id.into(),
        outcome: outcome.parse().expect("a server outcome"),
        reason: None,
        argv: Vec::new(),
        axes,
        facts: Default::default(),
        exit_code: None,
        log_tail: Vec::new(),
        started_at: AT.parse().expect("an instant"),
        starts: Vec::new(),
    });
    run.cells.extend(cells);
}

/// Concurrency, max_tokens, p50 and p95 TTFT, p50 and p95 E2E (ms), tokens per second: measured on an RTX
/// 2000 Ada by a client that did not stream.
const GRID: [(u32, u32, f64, f64, f64, f64, f64); 12] = [
    (1, 64, 1033.65, 1064.54, 1033.7, 1064.63, 48.1),
    (1, 128, 2060.37, 2071.18, 2060.42, 2071.26, 49.98),
    (1, 256, 4004.2, 4123.1, 4004.25, 4123.17, 49.16),
    (4, 64, 1099.25, 1105.87, 1099.28, 1105.9, 172.94),
    (4, 128, 2174.82, 2189.45, 2174.87, 2189.48, 186.25),
    (4, 256, 4222.99, 4367.22, 4223.05, 4367.26, 185.26),
    (8, 64, 1147.17, 1169.38, 1147.21, 1169.39, 343.22),
    (8, 128, 2276.85, 2298.28, 2276.92, 2298.3, 359.27),
    (8, 256, 3334.16, 4553.77, 3334.22, 4553.79, 283.75),
    (16, 64, 1315.41, 1316.46, 1315.43, 1316.48, 579.74),
    (16, 128, 2564.09, 2566.57, 2564.13, 2566.61, 620.4),
    (16, 256, 4959.24, 4972.16, 4959.28, 4972.19, 544.15),
];

/// The measured grid of twelve cells, with an SLO and a verdict on its percentiles.
pub(super) fn grid() -> StoredRun {
    let mut run = empty();
    run.plan.experiment.title = Some("How many users does the RTX 2000 Ada carry?".into());
    run.plan.hardware =
        serde_json::from_value(json!({ "label": "RunPod-RTX2000-16GB", "usd_per_hour": 0.24 }))
            .expect("hardware");
    let slo: Slo = serde_json::from_value(json!({ "p95_ttft": "1500ms", "p95_e2e": "3s" })).expect("an SLO");
    let cells = GRID
        .into_iter()
        .map(|(concurrency, tokens, ttft50, ttft95, e2e50, e2e95, rate)| {
            let mut cell =
                cell(&format!("chat-c{concurrency}-t{tokens}-0a1b2c3d"), "qwen-1", concurrency, tokens, &slo);
            let mut summary = summary(16);
            summary.ttft = Some(latency(16, ttft50, ttft95));
            summary.e2e = Some(latency(16, e2e50, e2e95));
            summary.throughput_tok_s = Some(rate);
            cell.summary = Some(summary);
            cell.verdicts = vec![
                Verdict {
                    kind: VerdictKind::FewSamples,
                    severity: Severity::Metric,
                    touches: vec!["p95_e2e".into(), "p95_ttft".into()],
                    reason: "16 samples; p95 needs 130".into(),
                    hint: "Set requests = 130.".into(),
                },
                Verdict {
                    kind: VerdictKind::NotStreamed,
                    severity: Severity::Note,
                    touches: Vec::new(),
                    reason: "every answer came in one chunk".into(),
                    hint: "Use a server that streams.".into(),
                },
            ];
            cell
        })
        .collect();
    add(&mut run, "qwen-1", BTreeMap::new(), "ready", cells);
    run
}

/// Streamed cells of one load axis, trusted.
pub(super) fn streamed() -> StoredRun {
    let mut run = empty();
    let slo: Slo = serde_json::from_value(json!({ "p95_ttft": "200ms" })).expect("an SLO");
    let cells =
        [(1, 40.0, 50.0, 60.0), (2, 45.0, 60.0, 115.0), (4, 60.0, 90.0, 210.0), (8, 200.0, 900.0, 260.0)]
            .into_iter()
            .map(|(concurrency, ttft50, ttft95, rate)| {
                let mut cell =
                    cell(&format!("chat-c{concurrency}-t64-0a1b2c3d"), "qwen-1", concurrency, 64, &slo);
                let mut summary = summary(200);
                summary.ttft = Some(latency(200, ttft50, ttft95));
                summary.tpot = Some(latency(200, 16.0, 18.0));
                summary.e2e = Some(latency(200, ttft50 + 1000.0, ttft95 + 1010.0));
                summary.user_tok_s = Some(62.5);
                summary.throughput_tok_s = Some(rate);
                summary.req_s = Some(rate / 64.0);
                summary.goodput_req_s = Some(if concurrency == 8 { 1.0 } else { rate / 64.0 });
                cell.summary = Some(summary);
                cell
            })
            .collect();
    add(&mut run, "qwen-1", BTreeMap::new(), "ready", cells);
    run
}

/// Two server axes; memory ends in the far corner, and one server cannot hold its longest request.
pub(super) fn oom_surface() -> StoredRun {
    let mut run = empty();
    run.plan.server_axes = vec!["max-model-len".into(), "max-num-seqs".into()];
    for (length, seqs, outcome) in [
        (4096, 32, CellOutcome::Ok),
        (4096, 256, CellOutcome::Ok),
        (8192, 32, CellOutcome::Ok),
        (8192, 256, CellOutcome::Oom),
        (16384, 32, CellOutcome::DoesNotFit),
        (16384, 256, CellOutcome::Oom),
    ] {
        let id = format!("qwen-{length}-{seqs}");
        let axes = BTreeMap::from([
            ("max-model-len".to_owned(), json!(length)),
            ("max-num-seqs".to_owned(), json!(seqs)),
        ]);
        let mut cell = cell(&format!("chat-c8-t64-{length}{seqs}"), &id, 8, 64, &Slo::default());
        cell.axes.extend(axes.clone());
        cell.outcome = outcome;
        let word = match outcome {
            CellOutcome::Oom => "oom(kv_cache)",
            CellOutcome::DoesNotFit => "kv_too_small",
            _ => "ready",
        };
        if outcome.is_measured() {
            let mut summary = summary(200);
            summary.ttft = Some(latency(200, 50.0, 60.0));
            summary.e2e = Some(latency(200, 1050.0, 1100.0));
            summary.throughput_tok_s = Some(400.0);
            cell.summary = Some(summary);
        } else {
            cell.reason = Some("torch.OutOfMemoryError: CUDA out of memory.".into());
            cell.log_tail = vec!["INFO loading".into(), "torch.OutOfMemoryError: CUDA out of memory.".into()];
        }
        add(&mut run, &id, axes, word, vec![cell]);
        if outcome == CellOutcome::DoesNotFit {
            let facts = &mut run.servers.last_mut().expect("a server").facts;
            facts.estimated_max_model_len = Some(12_352);
        }
    }
    run
}

/// One server for each value of an axis, each asked for the same loads and lengths of answers. `factors` of a
/// value, a load and a length gives what throughput and latencies of each repeat are multiplied by, beside a
/// law that bends with the load.
pub(super) fn servers(
    axis: &str,
    values: &[Value],
    (loads, lengths): (&[u32], &[u32]),
    mut factors: impl FnMut(usize, u32, u32) -> Vec<(f64, f64)>,
) -> StoredRun {
    let mut run = empty();
    run.plan.server_axes = vec![axis.into()];
    for (nth, value) in values.iter().enumerate() {
        let id = format!("qwen-{nth}");
        let axes = BTreeMap::from([(axis.to_owned(), value.clone())]);
        let places = loads.iter().flat_map(|load| lengths.iter().map(move |length| (*load, *length)));
        let cells = places.map(|(users, tokens)| {
            let mut cell =
                cell(&format!("chat-c{users}-t{tokens}-{nth}"), &id, users, tokens, &Slo::default());
            cell.axes.extend(axes.clone());
            let all = factors(nth, users, tokens).into_iter();
            let repeats: Vec<Summary> = all.map(|own| lawful(users, tokens, own)).collect();
            cell.summary = repeats.first().cloned();
            if repeats.len() > 1 {
                let logs: f64 = repeats.iter().filter_map(|own| own.throughput_tok_s).map(f64::ln).sum();
                let mean = (logs / repeats.len() as f64).exp();
                let rate = lawful(users, tokens, (1.0, 1.0)).throughput_tok_s.expect("a rate");
                cell.summary = Some(lawful(users, tokens, (mean / rate, rate / mean)));
                cell.repeats = repeats;
            }
            cell
        });
        let cells = cells.collect();
        add(&mut run, &id, axes.clone(), "ready", cells);
    }
    run
}

/// What a smooth law gives, times a factor on throughput and one on latencies.
fn lawful(users: u32, tokens: u32, (rate, slow): (f64, f64)) -> Summary {
    let busy = 1.0 + f64::from(users) / 40.0;
    let (ttft, tpot) = (40.0 * busy * slow, 10.0 * busy * slow);
    let e2e = ttft + tpot * f64::from(tokens);
    let mut own = summary(400);
    own.throughput_tok_s = Some(100.0 * f64::from(users) / busy * rate);
    own.ttft = Some(latency(400, ttft, 1.1 * ttft));
    own.tpot = Some(latency(400, tpot, 1.1 * tpot));
    own.e2e = Some(latency(400, e2e, 1.1 * e2e));
    own.output_tokens = Some(400 * u64::from(tokens));
    own
}

/// Random factors: numbers that a seed gives.
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    fn uniform(&mut self) -> f64 {
        (f64::from(self.0.next_u32()) + 0.5) / (f64::from(u32::MAX) + 1.0)
    }

    /// e to a normal number with a standard deviation.
    pub(super) fn factor(&mut self, deviation: f64) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        (deviation * radius * (std::f64::consts::TAU * self.uniform()).cos()).exp()
    }
}

/// So many servers, each asked for five loads and four lengths of answers.
pub(super) fn large(count: u32) -> StoredRun {
    let values: Vec<Value> = (1..=count).map(|value| json!(value * 16)).collect();
    servers("max-num-seqs", &values, (&[1, 2, 4, 8, 16], &[64, 128, 256, 512]), |value, _, _| {
        let better = 1.0 + value as f64 / 200.0;
        vec![(better, 1.0 / better)]
    })
}
