//! The thread that looks at a server while somebody else loads it.
//!
//! It has a thread and a runtime of its own: however long a page takes, or a look at the kernel's tables, no request
//! waits for it. It lives as long as a run, so that a cell pays for neither.

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

use super::{
    engine_side::EngineSide,
    gpu_side::{GpuLooks, GpuSide},
    gpus::Gpus,
    process_side::ProcessSide,
    scrape::{self, Scraper},
    server_side::{GaugePoint, ServerSide},
    snapshot::Snapshot,
};
use crate::{
    manifest::ScrapeEvery,
    server::{ProcessTree, TreeUsage},
};

/// How long the engine may take to report that nothing runs any more.
const SETTLES_WITHIN: Duration = Duration::from_secs(5);
/// How long the thread may take to end; one that waits in a driver's library cannot be ended.
const ENDS_WITHIN: Duration = Duration::from_secs(1);
/// The first pause before it is asked again whether it has; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The most points a timeline has.
const POINTS: usize = 60;

/// What is to be looked at, and how often.
#[derive(Clone)]
pub struct Watched {
    /// `http://host:port`
    pub url: String,
    /// Sent as a bearer token, and never shown.
    pub api_key: Option<String>,
    /// How often, while requests run.
    pub every: ScrapeEvery,
    /// The server's processes, when they are on this machine and ours.
    pub processes: Option<ProcessTree>,
}

impl fmt::Debug for Watched {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("url", &self.url).field("every", &self.every).finish_non_exhaustive()
    }
}

/// Looks at one server at a time, on a thread of its own.
#[derive(Debug)]
pub struct Observer {
    orders: mpsc::UnboundedSender<Order>,
    /// Dropped, the thread ends, and what it asks with it.
    stop: Option<oneshot::Sender<()>>,
    /// Hears of the thread's end.
    ended: std::sync::mpsc::Receiver<()>,
}

/// A server that is being looked at; dropped, the looking ends and nothing is kept.
#[derive(Debug)]
pub struct Watching {
    end: oneshot::Sender<u64>,
    seen: oneshot::Receiver<ServerSide>,
}

#[derive(Debug)]
struct Order {
    watched: Watched,
    begun: oneshot::Sender<()>,
    end: oneshot::Receiver<u64>,
    seen: oneshot::Sender<ServerSide>,
}

impl Observer {
    /// Starts the thread, which ends when this value is dropped. `runner` is this binary, which guards what is asked; `None`
    /// asks without a guardian.
    pub fn start(runner: Option<&str>) -> Self {
        let runner = runner.map(str::to_owned);
        let (orders, mut ordered) = mpsc::unbounded_channel::<Order>();
        let (stop, stopped) = oneshot::channel::<()>();
        let (end, ended) = std::sync::mpsc::channel();
        let work = move || {
            // Dropped with the closure, after everything that is asked was ended.
            let _end: std::sync::mpsc::Sender<()> = end;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            // Without a runtime nothing is observed, and every order is answered with nothing.
            if let Ok(runtime) = runtime {
                let look = async {
                    let tools = Tools { gpus: Gpus::find(runner).await, client: scrape::client() };
                    while let Some(order) = ordered.recv().await {
                        watch(order, &tools).await;
                    }
                };
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        () = look => {}
                    }
                });
            }
        };
        // Without a thread there is nobody to answer either.
        let _ = thread::Builder::new().name("observer".into()).spawn(work);
        Self { orders, stop: Some(stop), ended }
    }

    /// Takes the first look, and goes on looking until [`Watching::end`].
    pub async fn watch(&self, watched: Watched) -> Watching {
        let (begun, has_begun) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let (seen, will_see) = oneshot::channel();
        let order = Order { watched, begun, end: ended, seen };
        // A thread that is gone hears nothing: then what is seen is nothing, too.
        let _ = self.orders.send(order);
        let _ = has_begun.await;
        Watching { end, seen: will_see }
    }
}

impl Drop for Observer {
    /// A driver's tool that hangs is a process of ours: it ends before this returns.
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.ended.recv_timeout(ENDS_WITHIN);
    }
}

impl Watching {
    /// Takes the last look once the engine reports that nothing runs, and returns what was seen. `completed` is how many
    /// requests the client saw completed: an engine that counted fewer has not caught up yet.
    pub async fn end(self, completed: u64) -> ServerSide {
        let _ = self.end.send(completed);
        self.seen.await.unwrap_or_else(|_| ServerSide {
            absent: vec!["the server was not observed: the observer's thread is gone".into()],
            ..ServerSide::default()
        })
    }
}

/// What the thread keeps from one cell to the next.
struct Tools {
    gpus: Option<Gpus>,
    client: Result<reqwest::Client, String>,
}

async fn watch(order: Order, tools: &Tools) {
    let Order { watched, begun, mut end, seen } = order;
    let mut look = Look::new(&watched, tools);
    let before = look.scrape().await;
    let began = Instant::now();
    look.machine().await;
    let _ = begun.send(());
    let completed = loop {
        tokio::select! {
            biased;
            completed = &mut end => break completed,
            () = look.pause() => {}
        }
        tokio::select! {
            biased;
            completed = &mut end => break completed,
            page = look.scrape(), if before.is_some() => if let Some(page) = page { look.gauges(&page) },
            else => {}
        }
        look.machine().await;
    };
    // Given up: whoever asked does not listen any more.
    let Ok(completed) = completed else {
        return;
    };
    look.machine().await;
    let after = match &before {
        Some(before) => look.settled(before, completed).await,
        None => None,
    };
    let span_s = began.elapsed().as_secs_f64();
    let _ = seen.send(look.conclude(before.zip(after), span_s));
}

/// What was seen so far.
struct Look<'a> {
    scraper: Option<Scraper>,
    every: Option<Duration>,
    gpus: Option<&'a Gpus>,
    processes: Option<ProcessTree>,
    began: Instant,
    next: Instant,
    gauges: Vec<GaugePoint>,
    usage: Vec<(f64, TreeUsage)>,
    gpu_looks: Vec<GpuLooks>,
    absent: Vec<String>,
}

impl<'a> Look<'a> {
    fn new(watched: &Watched, tools: &'a Tools) -> Self {
        let every = match watched.every {
            ScrapeEvery::Every(span) => Some(span.duration()).filter(|span| !span.is_zero()),
            ScrapeEvery::Off => None,
        };
        let mut absent = Vec::new();
        let scraper = match watched.every {
            ScrapeEvery::Off => {
                absent.push("the engine was not asked (experiment.scrape_every = \"off\")".into());
                None
            }
            ScrapeEvery::Every(span) => {
                Some(Scraper::new(&tools.client, &watched.url, watched.api_key.as_deref(), span))
            }
        };
        let now = Instant::now();
        Self {
            scraper,
            every,
            gpus: tools.gpus.as_ref(),
            processes: watched.processes,
            began: now,
            next: every.map_or(now, |every| now + every),
            gauges: Vec::new(),
            usage: Vec::new(),
            gpu_looks: Vec::new(),
            absent,
        }
    }

    async fn scrape(&mut self) -> Option<Snapshot> {
        self.scraper.as_mut()?.page().await
    }

    /// Until the next look is due; for ever where there is none between the first and the last.
    async fn pause(&mut self) {
        let Some(every) = self.every else {
            return std::future::pending().await;
        };
        sleep(self.next.saturating_duration_since(Instant::now())).await;
        // One that came late does not make the next ones come all at once.
        self.next = (self.next + every).max(Instant::now());
    }

    fn elapsed(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    fn gauges(&mut self, page: &Snapshot) {
        let t_s = self.elapsed();
        self.gauges.push(GaugePoint {
            t_s,
            running: page.running,
            waiting: page.waiting,
            kv_usage: page.kv_usage,
        });
    }

    /// The kernel and the drivers are asked.
    async fn machine(&mut self) {
        let t_s = self.elapsed();
        if let Some(usage) = self.processes.and_then(ProcessTree::usage) {
            self.usage.push((t_s, usage));
        }
        if let Some(gpus) = self.gpus {
            let gpus = gpus.look().await;
            self.gpu_looks.push(GpuLooks { t_s, gpus });
        }
    }

    /// The first page on which nothing runs and everything that completed is counted: engines update their metrics after
    /// they sent the last token. Without such a page the last one, which says so itself.
    async fn settled(&mut self, before: &Snapshot, completed: u64) -> Option<Snapshot> {
        let until = Instant::now() + SETTLES_WITHIN;
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
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    fn conclude(mut self, pages: Option<(Snapshot, Snapshot)>, span_s: f64) -> ServerSide {
        if let Some(scraper) = &self.scraper
            && pages.is_none()
        {
            self.absent.push(scraper.why_not());
        }
        let engine = pages.and_then(|(before, after)| {
            if EngineSide::restarted(&before, &after) {
                self.absent.push(
                    "the engine's counters fell while it was measured: it began anew in between"
                        .into(),
                );
                return None;
            }
            let side = EngineSide::between(&before, &self.gauges, &after, span_s);
            if !side.settled {
                self.absent.push(
                    "after the last answer the engine did not report that nothing runs: its counts may lack some"
                        .into(),
                );
            }
            Some(side)
        });
        let process = match self.usage.as_slice() {
            [(from, _), .., (to, _)] => {
                let looks: Vec<TreeUsage> = self.usage.iter().map(|(_, usage)| *usage).collect();
                ProcessSide::of(&looks, to - from)
            }
            _ => None,
        };
        let pids = match (&self.processes, self.gpu_looks.is_empty()) {
            (Some(tree), false) => tree.pids(),
            _ => Vec::new(),
        };
        ServerSide {
            span_s,
            scraping: self.scraper.as_ref().map(Scraper::cost),
            engine,
            process,
            gpus: GpuSide::of(&self.gpu_looks, &pids),
            absent: self.absent,
            timeline: thinned(self.gauges),
        }
    }
}

/// At most [`POINTS`] of them: of several that become one, the largest of each gauge, so that no peak is lost.
fn thinned(points: Vec<GaugePoint>) -> Vec<GaugePoint> {
    let most = |points: &[GaugePoint], get: fn(&GaugePoint) -> Option<f64>| {
        points.iter().filter_map(get).max_by(f64::total_cmp)
    };
    let step = points.len().div_ceil(POINTS).max(1);
    points
        .chunks(step)
        .map(|part| GaugePoint {
            // Beyond a millisecond it would say nothing, and light files hold it.
            t_s: (part[part.len() / 2].t_s * 1e3).round() / 1e3,
            running: most(part, |point| point.running),
            waiting: most(part, |point| point.waiting),
            kv_usage: most(part, |point| point.kv_usage),
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
        let thin = thinned((0..150).map(point).collect());
        assert_eq!(thin.len(), 50);
        assert_eq!(thin.iter().filter(|p| p.running == Some(9.0)).count(), 1);
        assert_eq!(thinned((0..3).map(point).collect()).len(), 3);
        assert!(thinned(Vec::new()).is_empty());
    }
}
