//! Runs with searches and their answers, built by hand.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use crate::{
    manifest::{Find, LoadAxis, SearchObjective, Slo, That},
    measure::CellOutcome,
    plan::{Expected, Goal, Search, TuneAxis},
    report::fixtures::{add, cell, empty, latency, summary, verdict},
    search::{Answer, Candidate, Ending, Evidence, Probe, Ratio, State},
    store::{CellFile, StoredRun},
};

/// The limit of p95 TTFT in every run here, milliseconds.
pub(crate) const LIMIT_MS: f64 = 500.0;

/// An answer without probes.
pub(crate) fn unfinished(search: Search) -> Answer {
    Answer {
        expected: search.expected,
        search,
        state: State::Unfinished,
        found: None,
        feasible: None,
        infeasible: None,
        binding: None,
        ending: None,
        monotone: None,
        probes: Vec::new(),
        starts: 0,
        requests: 0,
        wasted: 0,
        candidates: Vec::new(),
        reason: String::new(),
    }
}

/// The search of `chat` for the most load.
pub(crate) fn load_search(axis: LoadAxis, to: f64) -> Search {
    Search {
        id: "chat".into(),
        name: "chat".into(),
        workload: Some("chat".into()),
        server: Some("qwen-1".into()),
        axes: BTreeMap::new(),
        goal: Goal::Load { axis, from: 1.0, to, within: 0.05, confidence: 0.95 },
        expected: None,
    }
}

/// The number of requests of a probe, and whether it is one that ended early or says nothing.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Full,
    Early,
    Invalid,
}

/// One probe of a load: users, p95 TTFT in milliseconds, and its kind.
pub(crate) type Tried = (u32, f64, Kind);

/// A run with one search for the most users, and its answer before anything is concluded.
pub(crate) fn most_users(tried: &[Tried]) -> (StoredRun, Answer) {
    let search = load_search(LoadAxis::Concurrency, 1000.0);
    let mut run = empty();
    run.plan.load_axes = vec!["concurrency".into()];
    run.plan.searches = vec![search.clone()];
    let slo: Slo = serde_json::from_value(json!({ "p95_ttft": "500ms" })).unwrap();
    let mut answer = unfinished(search);
    let cells = tried.iter().enumerate().map(|(nth, (users, ms, kind))| {
        let requests = if *kind == Kind::Early { 40 } else { 400 };
        let mut cell = cell(&format!("chat-c{users}-{nth}"), "qwen-1", *users, 64, &slo);
        cell.axes.remove("max_tokens");
        cell.search = Some("chat".into());
        let mut own = summary(requests);
        own.ttft = Some(latency(requests, ms * 0.6, *ms));
        own.e2e = Some(latency(requests, ms * 0.6 + 1000.0, ms + 1100.0));
        own.throughput_tok_s = Some(f64::from(*users) * 40.0);
        own.req_s = Some(f64::from(*users) * 40.0 / 64.0);
        cell.summary = Some(own);
        cell.ended_early = (*kind == Kind::Early).then(|| "its side of the limit is clear".into());
        if *kind == Kind::Invalid {
            cell.verdicts = vec![verdict("client_late", "cell", &[])];
        }
        answer.probes.push(Probe {
            values: vec![json!(users)],
            cells: vec![cell.id.clone()],
            evidence: match kind {
                Kind::Invalid => Evidence::Invalid("client_late: requests were sent 40 ms late".into()),
                _ => Evidence::Measured(Ratio {
                    log: (ms / LIMIT_MS).ln(),
                    error: 0.05,
                    binding: "p95_ttft".into(),
                }),
            },
            requests,
            planned: 400,
            server: "qwen-1".into(),
            started: nth == 0,
            ended_early: *kind == Kind::Early,
        });
        answer.requests += requests;
        answer.wasted += if *kind == Kind::Invalid { requests } else { 0 };
        answer.starts = 1;
        cell
    });
    let cells: Vec<CellFile> = cells.collect();
    add(&mut run, "qwen-1", BTreeMap::new(), "ready", cells);
    for cell in &mut run.plan.groups[0].cells {
        cell.search = Some("chat".into());
    }
    (run, answer)
}

/// Eight probes that end between 118 and 124 users, one of them measured twice.
pub(crate) const BRACKET: [Tried; 8] = [
    (64, 180.0, Kind::Early),
    (256, 2900.0, Kind::Early),
    (128, 640.0, Kind::Early),
    (96, 290.0, Kind::Early),
    (112, 410.0, Kind::Invalid),
    (112, 380.0, Kind::Full),
    (124, 560.0, Kind::Full),
    (118, 455.0, Kind::Full),
];

/// A search that found between 118 and 124 users.
pub(crate) fn found() -> (StoredRun, Answer) {
    let (run, answer) = most_users(&BRACKET);
    let own = Answer {
        state: State::Found,
        found: Some(vec![json!(118)]),
        feasible: Some(118.0),
        infeasible: Some(124.0),
        binding: Some("p95_ttft".into()),
        ending: Some(Ending::Cliff),
        monotone: Some(true),
        expected: Some(Expected { value: 110.0, low: 90.0, high: 130.0 }),
        ..answer
    };
    (run, own)
}

/// A search for the largest `max-model-len`, with the values that were tried and the outcome of each.
pub(crate) fn context(tried: &[(u32, &str)]) -> (StoredRun, Answer) {
    let mut run = empty();
    run.plan.server_axes = vec!["max-model-len".into()];
    let search = Search {
        id: "context".into(),
        name: "context".into(),
        workload: None,
        server: None,
        axes: BTreeMap::new(),
        goal: Goal::Value {
            axis: "server.flags.max-model-len".into(),
            column: "max-model-len".into(),
            find: Find::Largest,
            that: That::Fits,
            from: 2048.0,
            to: 131_072.0,
            step: 1024.0,
            integer: true,
        },
        expected: None,
    };
    run.plan.searches = vec![search.clone()];
    let mut answer = unfinished(search);
    for (length, how) in tried {
        let id = format!("qwen-{length}");
        let axes = BTreeMap::from([("max-model-len".to_owned(), json!(length))]);
        let mut cell = cell(&format!("start-{length}"), &id, 1, 64, &Slo::default());
        cell.axes = axes.clone();
        cell.search = Some("context".into());
        let (outcome, word, evidence) = match *how {
            "works" => (CellOutcome::Started, "ready", Evidence::Works),
            "does_not_fit" => {
                let hint = Some(11_500.0);
                (CellOutcome::DoesNotFit, "kv_too_small", Evidence::Fails { binding: (*how).into(), hint })
            }
            "oom under load" => {
                (CellOutcome::Oom, "ready", Evidence::Fails { binding: (*how).into(), hint: None })
            }
            "invalid" => {
                (CellOutcome::ServerFailed, "port_taken", Evidence::Invalid("port 8000 is taken".into()))
            }
            _ => {
                let binding = (*how).to_owned();
                (CellOutcome::Oom, "oom(kv_cache)", Evidence::Fails { binding, hint: None })
            }
        };
        cell.outcome = outcome;
        cell.reason = (outcome != CellOutcome::Started).then(|| format!("the server ended: {how}"));
        answer.probes.push(Probe {
            values: vec![json!(length)],
            cells: vec![cell.id.clone()],
            evidence,
            requests: 0,
            planned: 0,
            server: id.clone(),
            started: true,
            ended_early: false,
        });
        answer.starts += 1;
        add(&mut run, &id, axes, word, vec![cell]);
        let group = run.plan.groups.last_mut().unwrap();
        group.cells[0].search = Some("context".into());
    }
    (run, answer)
}

/// The longest context that fits: 11,264.
pub(crate) fn longest() -> (StoredRun, Answer) {
    let tried = [(131_072, "does_not_fit"), (11_264, "works"), (12_288, "oom at start (kv_cache)")];
    let (run, answer) = context(&tried);
    let own = Answer {
        state: State::Found,
        found: Some(vec![json!(11_264)]),
        feasible: Some(11_264.0),
        infeasible: Some(12_288.0),
        binding: Some("oom at start (kv_cache)".into()),
        ..answer
    };
    (run, own)
}

/// A search for the best of six servers: two axes of three and two values.
pub(crate) fn tune() -> (StoredRun, Answer) {
    let mut run = empty();
    let axis = |name: &str, values: Vec<Value>| TuneAxis {
        axis: format!("server.flags.{name}"),
        column: name.into(),
        values,
    };
    let axes = vec![
        axis("max-num-seqs", vec![json!(64), json!(128), json!(256)]),
        axis("max-num-batched-tokens", vec![json!(2048), json!(8192)]),
    ];
    run.plan.server_axes = axes.iter().map(|axis| axis.column.clone()).collect();
    let search = Search {
        id: "tune".into(),
        name: "tune".into(),
        workload: None,
        server: None,
        axes: BTreeMap::new(),
        goal: Goal::Best { axes, objective: SearchObjective::Throughput, starts: 12 },
        expected: None,
    };
    run.plan.searches = vec![search.clone()];
    let slo: Slo = serde_json::from_value(json!({ "p95_ttft": "500ms" })).unwrap();
    let mut answer = Answer { state: State::Found, ..unfinished(search) };
    // Throughput and p95 TTFT; the last one ran out of memory.
    let numbers = [
        (256, 2048, Some((2310.0, 420.0)), true),
        (128, 2048, Some((1900.0, 250.0)), true),
        (256, 8192, Some((2500.0, 690.0)), true),
        (128, 8192, Some((1850.0, 380.0)), false),
        (64, 2048, Some((1200.0, 260.0)), false),
        (64, 8192, None, false),
    ];
    for (seqs, tokens, own, is_pareto) in numbers {
        let values = vec![json!(seqs), json!(tokens)];
        let id = format!("qwen-{seqs}-{tokens}");
        let axes = BTreeMap::from([
            ("max-num-seqs".to_owned(), json!(seqs)),
            ("max-num-batched-tokens".to_owned(), json!(tokens)),
        ]);
        let mut cell = cell(&format!("chat-{seqs}-{tokens}"), &id, 32, 64, &slo);
        cell.axes = axes.clone();
        cell.search = Some("tune".into());
        if let Some((rate, ms)) = own {
            let mut summary = summary(400);
            summary.ttft = Some(latency(400, ms * 0.6, ms));
            summary.throughput_tok_s = Some(rate);
            cell.summary = Some(summary);
        } else {
            cell.outcome = CellOutcome::Oom;
        }
        answer.candidates.push(Candidate {
            values: values.clone(),
            objective: own.map(|(rate, _)| rate),
            p95_ttft_ms: own.map(|(_, ms)| ms),
            throughput_tok_s: own.map(|(rate, _)| rate),
            meets_slo: own.is_some_and(|(_, ms)| ms <= LIMIT_MS),
            is_pareto,
            reason: own.is_none().then(|| "oom under load".into()),
        });
        answer.probes.push(Probe {
            values,
            cells: vec![cell.id.clone()],
            evidence: match own {
                Some(_) => Evidence::Works,
                None => Evidence::Fails { binding: "oom under load".into(), hint: None },
            },
            requests: 400,
            planned: 400,
            server: id.clone(),
            started: true,
            ended_early: false,
        });
        answer.starts += 1;
        answer.requests += 400;
        add(&mut run, &id, axes, "ready", vec![cell]);
        let group = run.plan.groups.last_mut().unwrap();
        group.cells[0].search = Some("tune".into());
    }
    answer.found = Some(vec![json!(256), json!(2048)]);
    (run, answer)
}

/// The same search in a run for each of several lengths of answers, as one run.
pub(crate) fn several() -> (StoredRun, Vec<Answer>) {
    let mut all = empty();
    let mut answers = Vec::new();
    let ends = [(64, 118.0, 124.0), (128, 61.0, 64.0), (256, 30.0, 31.0)];
    for (at, (tokens, low, high)) in ends.into_iter().enumerate() {
        let factor = high / 124.0;
        let scaled = BRACKET.map(|(users, ms, kind)| ((f64::from(users) * factor).ceil() as u32, ms, kind));
        let (run, answer) = most_users(&scaled);
        let id = if at == 0 { "chat".to_owned() } else { format!("chat-{}", at + 1) };
        let mut own = Answer {
            state: State::Found,
            found: Some(vec![json!(low)]),
            feasible: Some(low),
            infeasible: Some(high),
            binding: Some("p95_ttft".into()),
            ending: Some(if at == 0 { Ending::Cliff } else { Ending::Slope }),
            monotone: Some(at != 1),
            ..answer
        };
        own.search.id = id.clone();
        own.search.axes = BTreeMap::from([("max_tokens".to_owned(), json!(tokens))]);
        for probe in &mut own.probes {
            probe.cells.iter_mut().for_each(|cell| *cell = format!("{cell}-t{tokens}"));
        }
        for mut cell in run.cells {
            cell.id = format!("{}-t{tokens}", cell.id);
            cell.search = Some(id.clone());
            cell.axes.insert("max_tokens".into(), json!(tokens));
            cell.load.insert("max_tokens".into(), json!(tokens));
            let mut planned = run.plan.groups[0].cells[0].clone();
            planned.id = cell.id.clone();
            planned.search = Some(id.clone());
            planned.spec = Arc::clone(&planned.spec);
            if all.plan.groups.is_empty() {
                add(&mut all, "qwen-1", BTreeMap::new(), "ready", vec![cell]);
                all.plan.groups[0].cells[0] = planned;
            } else {
                all.plan.groups[0].cells.push(planned);
                all.cells.push(cell);
            }
        }
        all.plan.searches.push(own.search.clone());
        answers.push(own);
    }
    (all, answers)
}
