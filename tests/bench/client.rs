//! The client as a run has it, in a process of its own: the library's `drive`, its recorder, and then its
//! measures.

use std::{
    error::Error,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use runner::{
    load::{
        Closed, Outcome, Phase, Progress, Recorder, Repeat, Schedule, Target, Timer, run_repeat, schedule,
    },
    manifest::{Inputs, Repeats, Start},
    measure::{CellContext, Latency, summarize},
    plan::{Cell, Stop},
    secret::Mask,
    workload::requests,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{clock, server::EVENTS_AT_END};

/// What is asked of a server.
pub(crate) struct Load {
    pub(crate) port: u16,
    pub(crate) streams: u32,
    /// Requests before the measured ones.
    pub(crate) warmup: u64,
    pub(crate) requests: u64,
    /// No request begins after this long, nanoseconds.
    pub(crate) until: Option<u64>,
    /// Arrivals per second, evenly or as a Poisson process; otherwise each stream asks again when it was
    /// answered.
    pub(crate) rate: Option<f64>,
    pub(crate) poisson: bool,
}

/// The repeat that puts a load on a server.
fn repeat(load: &Load, tokens: u64, cell: &Cell, target: &Target) -> Result<Repeat, Box<dyn Error>> {
    Ok(Repeat {
        requests: Arc::new(requests(cell, &Inputs::default(), "m", 1)?),
        schedule: match load.rate {
            Some(_) => schedule(cell, &Inputs::default(), 1)?,
            None => Schedule::Closed(Closed {
                streams: load.streams,
                start: Start::Together,
                think: None,
                answer_tokens: tokens as u32,
                seed: 0,
            }),
        },
        stop: match load.until {
            Some(until) => Stop::Duration(Duration::from_nanos(until).into()),
            None => cell.stop,
        },
        warmup: load.warmup,
        timeout: Duration::from_secs(600),
        retries: 0,
        timer: Timer::Kernel,
        authority: target.authority(),
        base: target.base().to_owned(),
        api_key: None,
    })
}

/// Asks, and says what came of it. With `holding`, it says what it holds while every stream is open.
pub(crate) fn ask(load: &Load, tokens: u64, holding: bool) -> Result<Value, Box<dyn Error>> {
    let mut spec = json!({ "prompts": ["Hello"], "max_tokens": tokens });
    match load.rate {
        Some(rate) => {
            spec["rate"] = json!(rate);
            spec["arrivals"] = json!(if load.poisson { "poisson" } else { "constant" });
        }
        None => spec["concurrency"] = json!(load.streams),
    }
    let cell: Cell = serde_json::from_value(json!({
        "id": "bench",
        "workload": "bench",
        "spec": spec,
        "stop": { "requests": load.requests },
        "max_tokens": tokens,
        "axes": {},
        "seed": 0,
    }))?;
    let target = Target::parse(&format!("http://127.0.0.1:{}", load.port))?;
    let repeat = repeat(load, tokens, &cell, &target)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let progress = Arc::new(Progress::default());
    let recorder = Arc::new(Recorder::new(&std::env::temp_dir(), Mask::default())?);
    let (stop, cancel) = watch::channel(false);
    let (before, _) = clock::memory()?;
    let mut held = None;
    let (cpu, start) = (clock::cpu(), clock::now());
    runtime.block_on(async {
        let driven = run_repeat(repeat, target, progress.clone(), cancel, recorder.clone());
        let mut driven = std::pin::pin!(driven);
        if holding {
            loop {
                tokio::select! {
                    ended = &mut driven => return Ok(ended?),
                    () = tokio::time::sleep(Duration::from_millis(100)) => {}
                }
                let bytes = clock::memory()?.0;
                held = held.max(Some(bytes.saturating_sub(before)));
                // Every stream has brought a few chunks.
                if progress.chunks.load(Relaxed) >= 8 * u64::from(load.streams) {
                    let _ = stop.send(true);
                }
            }
        }
        Ok::<_, Box<dyn Error>>(driven.await?)
    })?;
    let (seconds, cpu_s) = ((clock::now() - start) as f64 / 1e9, (clock::cpu() - cpu) as f64 / 1e9);
    let records = Arc::into_inner(recorder).ok_or("a stream is still open")?.finish()?;
    let context = CellContext {
        spec: &cell.spec,
        repeats: Repeats::once(),
        start: None,
        engine_simulated: false,
        inputs: 1,
        flags_confirmed: None,
        max_model_len: None,
        prefix_caching: None,
        client: &[],
        server: None,
    };
    let (mut completed, mut measured) = (0, 0);
    for record in &records {
        completed += u64::from(record.outcome == Outcome::Completed);
        measured += u64::from(record.phase == Phase::Measured);
    }
    let begun = clock::now();
    let summary = (!holding).then(|| summarize(&records, &context));
    records.intact()?;
    let of = |latency: fn(&runner::measure::Summary) -> &Option<Latency>| {
        let latency = latency(summary.as_ref()?).as_ref()?;
        Some(json!({ "p50": latency.p50_ms, "p99": latency.p99_ms, "n": latency.n }))
    };
    Ok(json!({
        "requests": records.len(),
        "completed": completed,
        "measured": measured,
        "events": completed * (tokens + EVENTS_AT_END),
        "seconds": seconds,
        "cpu_s": cpu_s,
        "ttft": of(|s| &s.ttft),
        "e2e": of(|s| &s.e2e),
        "tpot": of(|s| &s.tpot),
        "itl": of(|s| &s.itl),
        "issue_delay": of(|s| &s.issue_delay),
        "summary_s": (clock::now() - begun) as f64 / 1e9,
        "held_bytes": held,
        "peak_bytes": clock::memory()?.1,
    }))
}
