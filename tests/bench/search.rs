//! Searches for the most load within an SLO, against laws whose limit is known: `cargo bench --bench search`.
//! See the README beside this file.

mod laws;

use std::{
    collections::BTreeMap,
    error::Error,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};

use laws::{Law, Server};
use runner::{
    manifest::Inputs,
    measure::{CellContext, summarize},
    plan::{Cell, Search},
    predict::{Assumptions, Setup},
    search::{Evidence, Probe, Ratio, State, decide_load},
};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The range of the search, its width, and the requests of its workload.
const FROM: u32 = 1;
const TO: u32 = 1000;
const WITHIN: f64 = 0.05;
const REQUESTS: u64 = 1000;
/// The probes of the plain alternative, each of [`REQUESTS`] requests.
const PLAIN_PROBES: u64 = 13;

/// What a prediction says beforehand.
#[derive(Clone, Copy, PartialEq)]
enum Start {
    Cold,
    Warm,
    Wrong,
}

/// One search that came to its end.
struct Searched {
    state: State,
    /// Whether the limit lies between the ends.
    is_covered: bool,
    probes: usize,
    requests: u64,
    /// ln(infeasible / feasible), where both are known.
    width: Option<f64>,
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the table is data, the rest is talk")]
fn main() -> std::process::ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let quick = words.iter().any(|word| word == "--quick");
    let only: Vec<&str> = words.iter().filter(|word| !word.starts_with('-')).map(String::as_str).collect();
    let seeds = if quick { 20 } else { 200 };
    println!(
        "| law | start | covered | states | probes, mean and most | requests, mean and most | of 13 × 1,000 | ends apart, median |"
    );
    println!("|---|---|---:|---|---:|---:|---:|---:|");
    for law in Law::ALL {
        if !only.is_empty() && !only.contains(&law.name()) {
            continue;
        }
        for (name, start) in [("cold", Start::Cold), ("warm", Start::Warm), ("wrong", Start::Wrong)] {
            match search_all(seeds, &|seed| search(law, start, seed)) {
                Ok(all) => println!("| {} | {name} | {} |", law.name(), row(&all)),
                Err(error) => {
                    eprintln!("{}: {error}", law.name());
                    return std::process::ExitCode::FAILURE;
                }
            }
        }
        match search_all(seeds, &|seed| bisect(law, seed)) {
            Ok(all) => println!("| {} | bisection | {} |", law.name(), row(&all)),
            Err(error) => eprintln!("{}: {error}", law.name()),
        }
    }
    std::process::ExitCode::SUCCESS
}

/// Searches once for each seed, on all cores.
fn search_all(seeds: usize, search: &(dyn Fn(u64) -> Result<Searched> + Sync)) -> Result<Vec<Searched>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= seeds {
                return Ok(done);
            }
            done.push(search(seed as u64)?);
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let parts: Vec<Result<Vec<Searched>>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a search panicked".into())))
            .collect()
    });
    Ok(parts.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// The columns of a table's row after law and start.
fn row(all: &[Searched]) -> String {
    let n = all.len() as f64;
    let covered = all.iter().filter(|one| one.is_covered).count() as f64 / n * 100.0;
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    all.iter().for_each(|one| *states.entry(one.state.name()).or_default() += 1);
    let states: Vec<String> = states.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let probes = all.iter().map(|one| one.probes).sum::<usize>() as f64 / n;
    let most_probes = all.iter().map(|one| one.probes).max().unwrap_or_default();
    let requests = all.iter().map(|one| one.requests).sum::<u64>() as f64 / n;
    let most_requests = all.iter().map(|one| one.requests).max().unwrap_or_default();
    let share = requests / (PLAIN_PROBES * REQUESTS) as f64 * 100.0;
    let mut widths: Vec<f64> = all.iter().filter_map(|one| one.width).collect();
    widths.sort_by(f64::total_cmp);
    let width = widths
        .get(widths.len() / 2)
        .map_or("".to_owned(), |width| format!("{:.1} %", width.exp_m1() * 100.0));
    format!(
        "{covered:.1} % | {} | {probes:.1}, {most_probes} | {requests:.0}, {most_requests} | {share:.0} % | {width}",
        states.join(", ")
    )
}

/// Searches a law with the project's own method.
fn search(law: Law, start: Start, seed: u64) -> Result<Searched> {
    let server = Server::draw(law, seed);
    let expected = match start {
        Start::Cold => None,
        Start::Warm => Some(server.prediction(0.0)),
        Start::Wrong => Some(server.prediction(1.2)),
    };
    let expected = expected.map(|[low, value, high]| json!({ "value": value, "low": low, "high": high }));
    let question: Search = serde_json::from_value(json!({
        "id": "chat", "name": "chat", "workload": "chat", "expected": expected,
        "goal": { "load": { "axis": "concurrency", "from": FROM, "to": TO, "within": WITHIN, "confidence": 0.95 } },
    }))?;
    let mut probes: Vec<Probe> = Vec::new();
    loop {
        let decision = decide_load(&question, &probes);
        let Some(next) = decision.next else {
            let answer = decision.answer;
            return Ok(searched(&server, answer.state, (answer.feasible, answer.infeasible), &probes));
        };
        if probes.len() > 30 {
            return Err("the search does not end".into());
        }
        let streams = next.values[0].as_u64().ok_or("a load that is no integer")?;
        let cell =
            probe_cell(streams, 2 * REQUESTS.max(streams), streams, true, seed + 1000 * probes.len() as u64)?;
        probes.push(measure(&server, &cell, next.values, probes.len() as u64)?);
    }
}

/// The plain alternative: bisection by whether the SLO was met, with probes of [`REQUESTS`] requests that all
/// run to their end.
fn bisect(law: Law, seed: u64) -> Result<Searched> {
    let server = Server::draw(law, seed);
    let mut probes: Vec<Probe> = Vec::new();
    let (mut low, mut high) = (0, TO + 1);
    while high - low > 1 && f64::from(high) > f64::from(low) * (1.0 + WITHIN) {
        let middle = if low == 0 {
            high.div_ceil(2).min(high - 1)
        } else {
            (f64::from(low) * f64::from(high)).sqrt().round() as u32
        };
        let middle = middle.clamp(low + 1, high - 1);
        let streams = u64::from(middle);
        let cell = probe_cell(streams, REQUESTS.max(streams), 0, false, seed + 1000 * probes.len() as u64)?;
        let probe = measure(&server, &cell, vec![json!(streams)], probes.len() as u64)?;
        match &probe.evidence {
            Evidence::Measured(ratio) if ratio.log <= 0.0 => low = middle,
            _ => high = middle,
        }
        probes.push(probe);
    }
    let state = match (low, high) {
        (0, _) => State::None,
        (_, high) if high > TO => State::All,
        _ => State::Found,
    };
    let ends = ((low > 0).then(|| f64::from(low)), (high <= TO).then(|| f64::from(high)));
    Ok(searched(&server, state, ends, &probes))
}

fn searched(
    server: &Server,
    state: State,
    (low, high): (Option<f64>, Option<f64>),
    probes: &[Probe],
) -> Searched {
    let times = 0..probes.len() as u64;
    Searched {
        state,
        is_covered: times.clone().any(|time| server.is_between(low, high, state, time)) || times.is_empty(),
        probes: probes.len(),
        requests: probes.iter().map(|probe| probe.requests).sum(),
        width: low.zip(high).map(|(low, high)| (high / low).ln()),
    }
}

/// The cell of a probe, as a plan makes it.
fn probe_cell(streams: u64, requests: u64, warmup: u64, is_probe: bool, seed: u64) -> Result<Cell> {
    let spec = json!({
        "prompts": ["Hello"], "concurrency": streams, "warmup": warmup, "slo": { "p95_ttft": laws::LIMIT },
        "start": if is_probe { "staggered" } else { "together" }, "timeout": "1h",
    });
    let search = is_probe.then_some("chat");
    Ok(serde_json::from_value(json!({
        "id": "chat", "workload": "chat", "spec": spec, "stop": { "requests": requests }, "max_tokens": 4,
        "axes": {}, "seed": seed, "search": search,
    }))?)
}

/// Sends the requests of a cell to a server in virtual time.
fn measure(server: &Server, cell: &Cell, values: Vec<Value>, time: u64) -> Result<Probe> {
    let inputs = Inputs::default();
    let spill = std::env::temp_dir();
    let setup = Setup { inputs: &inputs, assumed: Assumptions::default(), spill: &spill };
    let simulated = setup.records(cell, server.engine(time), 1)?;
    let context = CellContext {
        spec: &cell.spec,
        repeats: runner::manifest::Repeats::once(),
        start: cell.start(),
        engine_simulated: true,
        inputs: 1,
        flags_confirmed: None,
        prefix_caching: None,
        max_model_len: None,
        client: &[],
        server: None,
    };
    let summary = summarize(&simulated.records, &context);
    let ratio = Ratio::of(&summary, &cell.spec.slo).ok_or("nothing was measured")?;
    Ok(Probe {
        values,
        cells: vec![cell.id.clone()],
        evidence: Evidence::Measured(ratio),
        requests: simulated.records.len(),
        planned: 0,
        server: "law".to_owned(),
        started: false,
        ended_early: simulated.ended_early.is_some(),
    })
}
