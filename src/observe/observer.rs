//! The thread that observes a server while it is under load.
//!
//! It has its own thread and runtime, so that no request waits for a slow page or the kernel's process table.
//! It lives as long as a run, so that a cell pays for neither.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

use super::{
    engine_side::EngineSide,
    gpu_driver::GpuDriver,
    gpu_side::{GpuSample, GpuSide},
    process_side::ProcessSide,
    scrape::Scraper,
    server_side::ServerSide,
    snapshot::{GaugePoint, Snapshot},
};
use crate::{
    manifest::ScrapeEvery,
    server::{HttpClient, HttpError, ProcessTree, TreeUsage},
};

/// How long the engine may take to report that nothing runs any more.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the thread may take to end. It cannot be interrupted inside a driver's library.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// The first pause between two checks whether the engine has settled; each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest such pause.
const MAX_PAUSE: Duration = Duration::from_millis(500);
/// The most points of a timeline.
const MAX_POINTS: usize = 60;

/// The server to observe, and how often.
#[derive(Clone)]
pub struct ObservedServer {
    /// `http://host:port`
    pub url: String,
    /// Sent as a bearer token, and never shown.
    pub api_key: Option<String>,
    /// How often to observe while requests run.
    pub every: ScrapeEvery,
    /// The server's processes, if it was launched on this machine.
    pub processes: Option<ProcessTree>,
}

/// Observes one server at a time on its own thread.
#[derive(Debug)]
pub struct Observer {
    jobs: mpsc::UnboundedSender<Job>,
    /// When this is dropped the thread ends, and with it the programs it has started.
    stop: Option<oneshot::Sender<()>>,
    /// Disconnects when the thread ends.
    ended: std::sync::mpsc::Receiver<()>,
}

/// An observation in progress. When this is dropped, it ends without a result.
#[derive(Debug)]
pub struct Observation {
    end: oneshot::Sender<u64>,
    result: oneshot::Receiver<ServerSide>,
}

/// One observation, as the thread sees it.
struct Job {
    target: ObservedServer,
    started: oneshot::Sender<()>,
    /// Receives the number of completed requests.
    end: oneshot::Receiver<u64>,
    result: oneshot::Sender<ServerSide>,
}

impl Observer {
    /// Starts the thread, which ends when this value is dropped. `runner` is the path of this binary, which
    /// guards the programs that are run; `None` runs them without a guardian.
    pub fn start(runner: Option<&str>) -> Self {
        let runner = runner.map(str::to_owned);
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        let (stop, stopped) = oneshot::channel::<()>();
        let (end, ended) = std::sync::mpsc::channel();
        let work = move || {
            // Dropped with the closure, after every program that was run has ended.
            let _end: std::sync::mpsc::Sender<()> = end;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            // Without a runtime nothing is observed, and the queue's end tells every caller.
            if let Ok(runtime) = runtime {
                let observe = async {
                    let sources = Sources { gpus: GpuDriver::find(runner).await, client: HttpClient::new() };
                    while let Some(job) = queue.recv().await {
                        observe(job, &sources).await;
                    }
                };
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        () = observe => {}
                    }
                });
            }
        };
        // Without a thread the queue ends at once, too.
        let _ = thread::Builder::new().name("observer".into()).spawn(work);
        Self { jobs, stop: Some(stop), ended }
    }

    /// Takes the first sample, and goes on until [`Observation::end`].
    pub async fn observe(&self, target: ObservedServer) -> Observation {
        let (started, has_started) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let (result, future_result) = oneshot::channel();
        // A thread that is gone drops the job, and `end` returns an empty result.
        let _ = self.jobs.send(Job { target, started, end: ended, result });
        let _ = has_started.await;
        Observation { end, result: future_result }
    }
}

impl Drop for Observer {
    /// Waits for the thread, which ends a driver's tool that hangs.
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.ended.recv_timeout(END_TIMEOUT);
    }
}

impl Observation {
    /// Takes the last sample once the engine reports that nothing runs, and returns the result. `completed`
    /// is the number of requests that the client saw completed; an engine that counted fewer has not settled
    /// yet.
    pub async fn end(self, completed: u64) -> ServerSide {
        let _ = self.end.send(completed);
        self.result.await.unwrap_or_else(|_| ServerSide {
            absent: vec!["the server was not observed, because the observer's thread has ended".into()],
            ..ServerSide::default()
        })
    }
}

/// What the thread keeps between observations.
struct Sources {
    gpus: Option<GpuDriver>,
    client: Result<HttpClient, HttpError>,
}

async fn observe(job: Job, sources: &Sources) {
    let Job { target, started, mut end, result } = job;
    let mut recorder = Recorder::new(&target, sources);
    let before = recorder.scrape().await;
    let start = Instant::now();
    recorder.sample_machine().await;
    let _ = started.send(());
    let completed = loop {
        tokio::select! {
            biased;
            completed = &mut end => break completed,
            () = recorder.pause() => {}
        }
        tokio::select! {
            biased;
            completed = &mut end => break completed,
            page = recorder.scrape(), if before.is_some() => if let Some(page) = page {
                recorder.record_gauges(&page);
            },
            else => {}
        }
        recorder.sample_machine().await;
    };
    // The observation was dropped.
    let Ok(completed) = completed else {
        return;
    };
    recorder.sample_machine().await;
    let after = match &before {
        Some(before) => recorder.settled(before, completed).await,
        None => None,
    };
    let span_s = start.elapsed().as_secs_f64();
    let _ = result.send(recorder.finish(before.zip(after), span_s));
}

struct Recorder<'a> {
    scraper: Option<Scraper>,
    every: Option<Duration>,
    gpus: Option<&'a GpuDriver>,
    processes: Option<ProcessTree>,
    start: Instant,
    next: Instant,
    gauges: Vec<GaugePoint>,
    usage: Vec<(f64, TreeUsage)>,
    gpu_samples: Vec<GpuSample>,
    absent: Vec<String>,
}

impl<'a> Recorder<'a> {
    fn new(target: &ObservedServer, sources: &'a Sources) -> Self {
        let (mut scraper, mut every, mut absent) = (None, None, Vec::new());
        match target.every {
            ScrapeEvery::Off => {
                absent.push("the engine was not scraped (experiment.scrape_every = \"off\")".into());
            }
            ScrapeEvery::Every(span) => {
                let api_key = target.api_key.as_deref();
                scraper = Some(Scraper::new(&sources.client, &target.url, api_key, span));
                every = Some(span.duration()).filter(|span| !span.is_zero());
            }
        }
        let now = Instant::now();
        Self {
            scraper,
            every,
            gpus: sources.gpus.as_ref(),
            processes: target.processes,
            start: now,
            next: every.map_or(now, |every| now + every),
            gauges: Vec::new(),
            usage: Vec::new(),
            gpu_samples: Vec::new(),
            absent,
        }
    }

    async fn scrape(&mut self) -> Option<Snapshot> {
        self.scraper.as_mut()?.scrape().await
    }

    /// Waits until the next sample is due; forever where there are only the first and the last.
    async fn pause(&mut self) {
        let Some(every) = self.every else {
            return std::future::pending().await;
        };
        sleep(self.next.saturating_duration_since(Instant::now())).await;
        // After a late sample the missed ones are skipped.
        self.next = (self.next + every).max(Instant::now());
    }

    fn elapsed(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    fn record_gauges(&mut self, page: &Snapshot) {
        let t_s = self.elapsed();
        self.gauges.push(GaugePoint {
            t_s,
            running: page.running,
            waiting: page.waiting,
            kv_usage: page.kv_usage,
        });
    }

    async fn sample_machine(&mut self) {
        let t_s = self.elapsed();
        if let Some(usage) = self.processes.and_then(ProcessTree::usage) {
            self.usage.push((t_s, usage));
        }
        if let Some(gpus) = self.gpus {
            let gpus = gpus.read().await;
            self.gpu_samples.push(GpuSample { t_s, gpus });
        }
    }

    /// Scrapes until nothing runs and every completed request is counted, because engines update their
    /// metrics after they have sent the last token. Without such a page returns the last one, which shows
    /// that it is not settled.
    async fn settled(&mut self, before: &Snapshot, completed: u64) -> Option<Snapshot> {
        let until = Instant::now() + SETTLE_TIMEOUT;
        let mut pause = FIRST_PAUSE;
        let mut last: Option<Snapshot> = None;
        loop {
            let page = self.scrape().await;
            if let Some(page) = &page {
                let counted = page
                    .finished
                    .zip(before.finished.or(Some(0.0)))
                    .is_some_and(|(now, then)| now - then >= completed as f64);
                let idle = page.idle();
                if idle != Some(false) && (counted && idle.is_some() || last.as_ref() == Some(page)) {
                    return Some(page.clone());
                }
            }
            last = page.or(last);
            if Instant::now() >= until {
                return last;
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    fn finish(mut self, pages: Option<(Snapshot, Snapshot)>, span_s: f64) -> ServerSide {
        if let Some(scraper) = &self.scraper
            && pages.is_none()
        {
            self.absent.push(scraper.failure());
        }
        let engine = pages.and_then(|(before, after)| {
            if EngineSide::restarted(&before, &after) {
                let reason = "the engine's counters fell during the measurement, so it restarted in between";
                self.absent.push(reason.into());
                return None;
            }
            let engine = EngineSide::between(&before, &self.gauges, &after, span_s);
            if !engine.settled {
                let reason = "after the last response the engine did not report that nothing runs, so its counts may lack some requests";
                self.absent.push(reason.into());
            }
            Some(engine)
        });
        let process = match self.usage.as_slice() {
            [(from, _), .., (to, _)] => {
                let samples: Vec<TreeUsage> = self.usage.iter().map(|(_, usage)| *usage).collect();
                ProcessSide::summarize(&samples, to - from)
            }
            _ => None,
        };
        let pids = match (&self.processes, self.gpu_samples.is_empty()) {
            (Some(tree), false) => tree.pids(),
            _ => Vec::new(),
        };
        ServerSide {
            span_s,
            scraping: self.scraper.as_ref().map(Scraper::cost),
            engine,
            process,
            gpus: GpuSide::summarize(&self.gpu_samples, &pids),
            absent: self.absent,
            timeline: thinned(&self.gauges),
        }
    }
}

/// Merges neighbouring points into at most [`MAX_POINTS`] and keeps the peaks of each gauge.
fn thinned(points: &[GaugePoint]) -> Vec<GaugePoint> {
    let max = |points: &[GaugePoint], get: fn(&GaugePoint) -> Option<f64>| {
        points.iter().filter_map(get).max_by(f64::total_cmp)
    };
    let step = points.len().div_ceil(MAX_POINTS).max(1);
    points
        .chunks(step)
        .map(|part| GaugePoint {
            // Milliseconds are precise enough for a file that is committed.
            t_s: (part[part.len() / 2].t_s * 1e3).round() / 1e3,
            running: max(part, |point| point.running),
            waiting: max(part, |point| point.waiting),
            kv_usage: max(part, |point| point.kv_usage),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thinned_timeline_keeps_its_peak() {
        let point = |t: usize| GaugePoint {
            t_s: t as f64,
            running: Some(if t == 77 { 9.0 } else { 1.0 }),
            waiting: None,
            kv_usage: None,
        };
        let thin = thinned(&(0..150).map(point).collect::<Vec<_>>());
        assert_eq!(thin.len(), 50);
        assert_eq!(thin.iter().filter(|p| p.running == Some(9.0)).count(), 1);
        assert_eq!(thinned(&(0..3).map(point).collect::<Vec<_>>()).len(), 3);
        assert!(thinned(&[]).is_empty());
    }
}
