//! What is measured, and what it should be.

use std::{error::Error, fs, process::Command, time::Instant};

use serde_json::Value;

use super::{
    child::{self, Server},
    client::Load,
    clock,
    server::Answers,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A line of the table.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) got: String,
    pub(crate) beside: String,
    pub(crate) target: String,
}

fn row(what: impl Into<String>, got: String, beside: String, target: &str) -> Row {
    Row { what: what.into(), got, beside, target: target.into() }
}

fn number(told: &Value, path: &str) -> Result<f64> {
    told.pointer(path).and_then(Value::as_f64).ok_or_else(|| format!("no number at {path} in {told}").into())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    percentile(&values, 0.5)
}

/// NumPy's default, from ascending values.
fn percentile(sorted: &[f64], q: f64) -> f64 {
    let place = q * (sorted.len() - 1) as f64;
    let low = place.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (sorted[high] - sorted[low]) * (place - low as f64)
}

fn fast(tokens: u32, per_write: u32, chunk_each: bool) -> Answers {
    Answers { tokens, per_write, ttft: 0, gap: 0, out_of_step: false, chunk_each }
}

/// As fast as the server writes: events and their cost, against the raw reader.
pub(crate) fn events(
    per_write: u32,
    chunk_each: bool,
    repeats: usize,
    targets: [&str; 2],
) -> Result<Vec<Row>> {
    let tokens = 256 * per_write;
    let (mut speed, mut cost, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..repeats {
        let mut told = Vec::new();
        for name in ["raw", "client"] {
            let server = Server::start(fast(tokens, per_write, chunk_each))?;
            let load = Load {
                port: server.port,
                streams: 64,
                warmup: 0,
                requests: u64::from(u32::MAX),
                until: Some(2_000_000_000),
                rate: None,
                poisson: false,
            };
            let one = child::ask(name, &load, tokens)?;
            server.end()?;
            let events = number(&one, "/events")?;
            told.push((events / number(&one, "/seconds")?, number(&one, "/cpu_s")? * 1e6 / events));
        }
        speed.push(told[1].0 / told[0].0);
        cost.push(told[1].1 / told[0].1);
        plain.push([told[0], told[1]]);
    }
    let middle = |of: fn(&[(f64, f64); 2]) -> f64| median(plain.iter().map(of).collect());
    let how = if chunk_each { ", each a chunk" } else { "" };
    Ok(vec![
        row(
            format!("events per second, {per_write} per write{how}"),
            format!("{:.0} % of the raw reader", median(speed) * 100.0),
            format!("{:.0} k against {:.0} k", middle(|p| p[1].0) / 1e3, middle(|p| p[0].0) / 1e3),
            targets[0],
        ),
        row(
            format!("CPU per event, {per_write} per write{how}"),
            format!("{:.2} × the raw reader", median(cost)),
            format!("{:.2} against {:.2} s per million", middle(|p| p[1].1), middle(|p| p[0].1)),
            targets[1],
        ),
    ])
}

/// Streams of one token, against wrk.
pub(crate) fn streams(repeats: usize) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("post.lua");
    fs::write(
        &script,
        "wrk.method = \"POST\"\nwrk.headers[\"content-type\"] = \"application/json\"\nwrk.body = '{\"model\":\"m\",\"max_tokens\":1,\"stream\":true,\"prompt\":\"Hello\"}'\n",
    )?;
    let (mut of_wrk, mut raw_of_wrk, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..repeats {
        let mut each = Vec::new();
        for name in ["raw", "client"] {
            let server = Server::start(fast(1, 1, true))?;
            let load = Load {
                port: server.port,
                streams: 64,
                warmup: 0,
                requests: u64::from(u32::MAX),
                until: Some(2_000_000_000),
                rate: None,
                poisson: false,
            };
            let told = child::ask(name, &load, 1)?;
            server.end()?;
            each.push(number(&told, "/requests")? / number(&told, "/seconds")?);
        }
        let server = Server::start(fast(1, 1, true))?;
        let output = Command::new("taskset")
            .args(["-c", &child::CLIENT.to_string(), "wrk", "-t1", "-c64", "-d2s", "-s"])
            .arg(&script)
            .arg(format!("http://127.0.0.1:{}/v1/completions", server.port))
            .output();
        server.end()?;
        let wrk = output.ok().and_then(|output| {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let line = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"))?;
            line.trim().parse::<f64>().ok()
        });
        if let Some(wrk) = wrk {
            of_wrk.push(each[1] / wrk);
            raw_of_wrk.push(each[0] / wrk);
        }
        plain.push((each[0], each[1], wrk));
    }
    let client = median(plain.iter().map(|p| p.1).collect());
    if of_wrk.is_empty() {
        return Ok(vec![row(
            "one-token streams per second",
            format!("{:.1} k", client / 1e3),
            "wrk is not installed: apt-get install wrk".into(),
            "≥ 60 % of wrk",
        )]);
    }
    let wrk = median(plain.iter().filter_map(|p| p.2).collect());
    Ok(vec![
        row(
            "one-token streams per second",
            format!("{:.0} % of wrk", median(of_wrk) * 100.0),
            format!("{:.1} k against {:.1} k", client / 1e3, wrk / 1e3),
            "≥ 60 %",
        ),
        row(
            "the raw reader's own",
            format!("{:.0} % of wrk", median(raw_of_wrk) * 100.0),
            format!("{:.1} k", median(plain.iter().map(|p| p.0).collect()) / 1e3),
            "≥ 85 %",
        ),
    ])
}

/// Reported percentiles minus those of what the server wrote down: streams of 100 tokens per second, out of
/// step.
pub(crate) fn truth(
    streams: u32,
    per_stream: u64,
    repeats: usize,
    out_of_step: bool,
    target: &str,
) -> Result<Vec<Row>> {
    let how = if out_of_step { "" } else { " in step" };
    let names = ["ttft p50", "ttft p99", "e2e p50", "e2e p99", "tpot p50", "tpot p99", "itl p99"];
    let mut errors = vec![Vec::new(); names.len()];
    let mut raw_errors = vec![Vec::new(); 4];
    let mut cpu = Vec::new();
    for _ in 0..repeats {
        for name in ["raw", "client"] {
            let answers = Answers {
                tokens: 100,
                per_write: 1,
                ttft: 50_000_000,
                gap: 10_000_000,
                out_of_step,
                chunk_each: true,
            };
            let server = Server::start(answers)?;
            let load = Load {
                port: server.port,
                streams,
                warmup: if out_of_step { u64::from(streams) } else { 0 },
                requests: u64::from(streams) * per_stream,
                until: None,
                rate: None,
                poisson: false,
            };
            let told = child::ask(name, &load, answers.tokens)?;
            let truth = Truth::of(&server.end()?);
            if truth.ttft.len() as u64 != load.requests {
                return Err(
                    format!("{} answers were written down, not {}", truth.ttft.len(), load.requests).into()
                );
            }
            let real = [
                percentile(&truth.ttft, 0.5),
                percentile(&truth.ttft, 0.99),
                percentile(&truth.e2e, 0.5),
                percentile(&truth.e2e, 0.99),
                percentile(&truth.tpot, 0.5),
                percentile(&truth.tpot, 0.99),
                percentile(&truth.itl, 0.99),
            ];
            if name == "raw" {
                let sorted = |key: &str| -> Result<Vec<f64>> {
                    let mut values: Vec<f64> = serde_json::from_value(told[key].clone())?;
                    values.sort_by(f64::total_cmp);
                    Ok(values)
                };
                let (ttft, e2e) = (sorted("ttft_ms")?, sorted("e2e_ms")?);
                let got = [
                    percentile(&ttft, 0.5),
                    percentile(&ttft, 0.99),
                    percentile(&e2e, 0.5),
                    percentile(&e2e, 0.99),
                ];
                for ((errors, got), real) in raw_errors.iter_mut().zip(got).zip(real) {
                    errors.push(got - real);
                }
                continue;
            }
            if number(&told, "/completed")? as u64 != load.requests + load.warmup {
                return Err(format!("not all completed: {told}").into());
            }
            for ((errors, name), real) in errors.iter_mut().zip(names).zip(real) {
                errors.push(number(&told, &format!("/{}", name.replace(' ', "/")))? - real);
            }
            cpu.push(number(&told, "/cpu_s")? / number(&told, "/seconds")?);
        }
    }
    let each: Vec<f64> = errors.into_iter().map(median).collect();
    let raw: Vec<f64> = raw_errors.into_iter().map(median).collect();
    Ok(vec![
        row(
            format!("error at {streams} streams{how}, ms: TTFT p50 / p99, E2E p50 / p99"),
            format!("{:+.2} / {:+.2}, {:+.2} / {:+.2}", each[0], each[1], each[2], each[3]),
            format!("raw reader {:+.2} / {:+.2}, {:+.2} / {:+.2}", raw[0], raw[1], raw[2], raw[3]),
            target,
        ),
        row(
            format!("error at {streams} streams{how}, ms: TPOT p50 / p99, ITL p99"),
            format!("{:+.3} / {:+.3}, {:+.2}", each[4], each[5], each[6]),
            format!("client {:.0} % of a core", median(cpu) * 100.0),
            "0.01, 0.2",
        ),
    ])
}

/// How late requests are sent in an open loop. Answers are short enough that the server is no bottleneck.
pub(crate) fn open(repeats: usize) -> Result<Vec<Row>> {
    const RATE: f64 = 1000.0;
    let mut rows = Vec::new();
    for poisson in [false, true] {
        let mut late: [Vec<f64>; 2] = Default::default();
        for _ in 0..repeats {
            let answers = Answers {
                tokens: 8,
                per_write: 1,
                ttft: 50_000_000,
                gap: 10_000_000,
                out_of_step: false,
                chunk_each: true,
            };
            let server = Server::start(answers)?;
            let load = Load {
                port: server.port,
                streams: 1,
                warmup: 1000,
                requests: 10_000,
                until: None,
                rate: Some(RATE),
                poisson,
            };
            let told = child::ask("client", &load, answers.tokens)?;
            server.end()?;
            late[0].push(number(&told, "/issue_delay/p50")?);
            late[1].push(number(&told, "/issue_delay/p99")?);
        }
        let [p50, p99] = late.map(median);
        let model = if poisson { "Poisson" } else { "even" };
        rows.push(row(
            format!("issue delay at {RATE} arrivals per second, {model}: p99"),
            format!("{p99:.2} ms"),
            format!("p50 {p50:.2} ms"),
            "≤ 1 ms",
        ));
    }
    Ok(rows)
}

/// What the server did, ms, ascending.
struct Truth {
    ttft: Vec<f64>,
    e2e: Vec<f64>,
    tpot: Vec<f64>,
    itl: Vec<f64>,
}

impl Truth {
    fn of(answers: &[Vec<u64>]) -> Self {
        let ms = |from: u64, to: u64| (to - from) as f64 / 1e6;
        let ascending = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values
        };
        let each = |of: &dyn Fn(&[u64]) -> f64| ascending(answers.iter().map(|answer| of(answer)).collect());
        let gaps = answers.iter().flat_map(|answer| answer[1..].windows(2).map(|pair| ms(pair[0], pair[1])));
        Self {
            ttft: each(&|answer| ms(answer[0], answer[1])),
            e2e: each(&|answer| ms(answer[0], answer[answer.len() - 1])),
            tpot: each(&|answer| ms(answer[1], answer[answer.len() - 1]) / (answer.len() - 2) as f64),
            itl: ascending(gaps.collect()),
        }
    }
}

/// Many streams open at once, and what each of them holds.
pub(crate) fn memory(streams: u32) -> Result<Vec<Row>> {
    let answers = Answers {
        tokens: 1000,
        per_write: 1,
        ttft: 100_000_000,
        gap: 500_000_000,
        out_of_step: false,
        chunk_each: true,
    };
    let server = Server::start(answers)?;
    let load = Load {
        port: server.port,
        streams,
        warmup: 0,
        requests: u64::from(streams),
        until: None,
        rate: None,
        poisson: false,
    };
    let told = child::ask("holding", &load, answers.tokens)?;
    server.end()?;
    Ok(vec![row(
        format!("memory per stream, {streams} open at once"),
        format!("{:.1} KB", number(&told, "/held_bytes")? / f64::from(streams) / 1e3),
        format!("peak {:.0} MB", number(&told, "/peak_bytes")? / 1e6),
        "< 30 KB",
    )])
}

/// A million requests of 256 tokens in one cell.
pub(crate) fn million(requests: u64) -> Result<Vec<Row>> {
    let answers = fast(256, 16, true);
    let server = Server::start(answers)?;
    let load = Load {
        port: server.port,
        streams: 256,
        warmup: 0,
        requests,
        until: None,
        rate: None,
        poisson: false,
    };
    let told = child::ask("client", &load, answers.tokens)?;
    server.end()?;
    Ok(vec![row(
        format!("{requests} requests of 256 tokens, records kept: peak resident"),
        format!("{:.0} MB", number(&told, "/peak_bytes")? / 1e6),
        format!(
            "{:.0} s asking, {:.0} s summarizing",
            number(&told, "/seconds")?,
            number(&told, "/summary_s")?
        ),
        "< 1000 MB",
    )])
}

const CELLS: &str = r#"
[experiment]
name = "cost"
[server]
engine = "sim"
model = "m"
[server.sim]
ttft = "0s"
per_token = "0s"
per_token_load = "0s"
startup = "0s"
[workload.chat]
prompts = ["Hello"]
requests = 1
max_tokens = 1
"#;

/// What a cell costs beside its requests, and how long the binary takes to start.
pub(crate) fn fixed(repeats: usize) -> Result<Vec<Row>> {
    let runner = env!("CARGO_BIN_EXE_runner");
    let folder = tempfile::tempdir()?;
    clock::pin(child::CLIENT)?;
    let seconds = |cells: usize, number: usize| -> Result<f64> {
        let manifest = folder.path().join(format!("cost-{cells}-{number}.toml"));
        // Every cell asks for one token of another seed of temperature: different cells, the same work.
        let values: Vec<String> = (0..cells).map(|cell| format!("{}", cell as f64 / 1000.0)).collect();
        fs::write(
            &manifest,
            format!("{CELLS}[workload.chat.sweep]\ntemperature = [{}]\n", values.join(", ")),
        )?;
        let start = Instant::now();
        let output = Command::new(runner)
            .current_dir(folder.path())
            .args(["run", "--quiet"])
            .arg(&manifest)
            .args(["--name", &format!("r{cells}-{number}")])
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(start.elapsed().as_secs_f64())
    };
    const MORE: usize = 20;
    let mut cell = Vec::new();
    for number in 0..repeats {
        cell.push((seconds(1 + MORE, number)? - seconds(1, number)?) / MORE as f64 * 1e3);
    }
    let mut start = Vec::new();
    for _ in 0..20 {
        let begun = Instant::now();
        Command::new(runner).arg("--version").output()?;
        start.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(vec![
        row(
            "fixed cost of a cell, embedded engine",
            format!("{:.1} ms", median(cell)),
            "of 21 cells against 1".into(),
            "< 50 ms",
        ),
        row(
            "start-up of the binary",
            format!("{:.1} ms", median(start)),
            "`runner --version`".into(),
            "< 20 ms",
        ),
    ])
}
