//! One request to a scripted server, over an in-memory pipe and under paused time.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use runner::{
    load::{Closed, Connect, ConnectError, Record, Repeat, Schedule, Timer, run_repeat},
    manifest::{Inputs, Start},
    plan::Cell,
    workload::requests,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::watch,
};

/// How long a request may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// What a server does with one connection.
pub(crate) trait Behave: Clone + Send + Sync + 'static {
    /// Writes an answer. The connection ends when this returns.
    fn answer(&self, io: &mut DuplexStream) -> impl Future<Output = std::io::Result<()>> + Send;
}

#[derive(Clone)]
struct Pipes<B>(B);

impl<B: Behave> Connect for Pipes<B> {
    type Io = DuplexStream;

    async fn connect(&self) -> Result<DuplexStream, ConnectError> {
        let (ours, mut theirs) = duplex(1 << 16);
        let server = self.0.clone();
        tokio::spawn(async move {
            let mut request = [0; 1 << 14];
            if theirs.read(&mut request).await.is_ok() {
                // The client may go away at any time.
                let _ = server.answer(&mut theirs).await;
            }
        });
        Ok(ours)
    }
}

/// Sends one request. Returns its record, and how long it took by the paused clock.
pub(crate) fn ask(server: impl Behave) -> (Record, Duration) {
    let cell: Cell = serde_json::from_value(json!({
        "id": "c",
        "workload": "w",
        "spec": { "prompts": ["Hello"], "max_tokens": 8, "concurrency": 1 },
        "stop": { "requests": 1 },
        "max_tokens": 8,
        "axes": {},
        "seed": 0,
    }))
    .unwrap();
    let repeat = Repeat {
        requests: Arc::new(requests(&cell, &Inputs::default(), "m", 1).unwrap()),
        schedule: Schedule::Closed(Closed {
            streams: 1,
            start: Start::Together,
            think: None,
            answer_tokens: 8,
            seed: 0,
        }),
        stop: cell.stop,
        warmup: 0,
        timeout: TIMEOUT,
        retries: 0,
        timer: Timer::Runtime,
        authority: "pipe".into(),
        base: String::new(),
        api_key: None,
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let sink = Arc::new(Mutex::new(Vec::<Record>::new()));
    let took = runtime.block_on(async {
        let (_keep, cancel) = watch::channel(false);
        let began = tokio::time::Instant::now();
        let pipes = Pipes(server);
        run_repeat(repeat, pipes, Arc::default(), cancel, sink.clone()).await.unwrap();
        began.elapsed()
    });
    let mut records = std::mem::take(&mut *sink.lock().unwrap());
    assert_eq!(records.len(), 1, "every request has one outcome");
    (records.remove(0), took)
}

/// Writes pieces, then closes the connection or keeps it open.
#[derive(Clone)]
pub(crate) struct Pieces {
    pub(crate) pieces: Vec<Vec<u8>>,
    pub(crate) stays: bool,
}

impl Behave for Pieces {
    async fn answer(&self, io: &mut DuplexStream) -> std::io::Result<()> {
        for piece in &self.pieces {
            io.write_all(piece).await?;
            tokio::task::yield_now().await;
        }
        if self.stays {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}
