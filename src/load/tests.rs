//! The client against a scripted server, over in-memory pipes and under paused time: every stamp is exact.

mod arrivals;
mod turns;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::*;
use crate::{
    manifest::{Inputs, Start},
    plan::{Cell, Stop},
    unit::{Nanos, TimeSpan},
    workload::requests,
};

/// Splits bytes at the places that lie within them.
pub(super) fn pieces(bytes: &[u8], mut cuts: Vec<usize>) -> Vec<&[u8]> {
    cuts.retain(|cut| *cut < bytes.len());
    cuts.sort_unstable();
    cuts.push(bytes.len());
    let starts = std::iter::once(0).chain(cuts.clone());
    starts.zip(&cuts).map(|(start, end)| &bytes[start..*end]).collect()
}

/// One step of a scripted answer: after so many milliseconds, these bytes.
type Script = Vec<(u64, String)>;

/// Opens pipes to a server that answers the n-th request with the n-th script, over and over.
#[derive(Clone)]
struct Pipes {
    scripts: Arc<Vec<Script>>,
    served: Arc<AtomicUsize>,
    in_flight: Arc<Mutex<(usize, usize)>>,
}

impl Pipes {
    fn new(scripts: Vec<Script>) -> Self {
        Self { scripts: Arc::new(scripts), served: Arc::default(), in_flight: Arc::default() }
    }
}

impl Connect for Pipes {
    type Io = DuplexStream;

    async fn connect(&self) -> Result<DuplexStream, ConnectError> {
        let (ours, theirs) = duplex(1 << 20);
        tokio::spawn(serve(self.clone(), theirs));
        Ok(ours)
    }
}

async fn serve(pipes: Pipes, mut io: DuplexStream) {
    while read_request(&mut io).await.is_some() {
        let started = Instant::now();
        let number = pipes.served.fetch_add(1, Ordering::SeqCst);
        {
            let mut flight = pipes.in_flight.lock().unwrap();
            flight.0 += 1;
            flight.1 = flight.1.max(flight.0);
        }
        for (ms, bytes) in &pipes.scripts[number % pipes.scripts.len()] {
            sleep_until(started + Duration::from_millis(*ms)).await;
            if bytes == "CLOSE" {
                return;
            }
            if io.write_all(bytes.as_bytes()).await.is_err() {
                return;
            }
        }
        pipes.in_flight.lock().unwrap().0 -= 1;
    }
}

/// Reads the body of one request with a content length; `None` at the end of the connection.
async fn read_request(io: &mut DuplexStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0; 1];
        if io.read(&mut byte).await.unwrap_or(0) == 0 {
            return None;
        }
        bytes.push(byte[0]);
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..at]).to_lowercase();
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ").map(|n| n.parse().unwrap()))
                .unwrap();
            let mut body = vec![0; length];
            io.read_exact(&mut body).await.unwrap();
            return Some(body);
        }
    }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn token(text: &str) -> String {
    chunk(&format!("data: {{\"choices\":[{{\"text\":\"{text}\",\"finish_reason\":null}}]}}\n\n"))
}

fn end(reason: &str, tokens: u64) -> String {
    let finish = format!("data: {{\"choices\":[{{\"text\":\"\",\"finish_reason\":\"{reason}\"}}]}}\n\n");
    let usage = format!(
        "data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":3,\"completion_tokens\":{tokens}}}}}\n\n"
    );
    format!("{}{}{}0\r\n\r\n", chunk(&finish), chunk(&usage), chunk("data: [DONE]\n\n"))
}

/// Head at 1 ms, an empty chunk at 5 ms, tokens at 50, 60 and 75 ms, the end at 80 ms.
fn ordinary() -> Script {
    vec![
        (1, HEAD.into()),
        (5, token("")),
        (50, token("a")),
        (60, token("b")),
        (75, token("c")),
        (80, end("length", 3)),
    ]
}

fn cell(concurrency: u32) -> Cell {
    let spec = serde_json::json!({ "prompts": ["one", "two"], "concurrency": concurrency, "max_tokens": 3 });
    Cell {
        id: "cell".into(),
        workload: "chat".into(),
        spec: Arc::new(serde_json::from_value(spec).unwrap()),
        stop: Stop::Requests(1),
        max_tokens: 3,
        axes: std::collections::BTreeMap::new(),
        seed: 7,
        skip: None,
        rung_below: None,
        search: None,
        attempt: None,
    }
}

fn repeat_of(concurrency: u32, stop: Stop, warmup: u64) -> Repeat {
    Repeat {
        requests: Arc::new(requests(&cell(concurrency), &Inputs::default(), "m", 1).unwrap()),
        schedule: Schedule::Closed(Closed {
            streams: concurrency,
            start: Start::Together,
            think: None,
            answer_tokens: 3,
            seed: 7,
        }),
        timer: Timer::Runtime,
        stop,
        warmup,
        timeout: Duration::from_secs(2),
        retries: 0,
        authority: "pipe".into(),
        base: String::new(),
        api_key: None,
    }
}

async fn run(pipes: &Pipes, repeat: Repeat) -> Vec<Record> {
    let (_keep, cancel) = watch::channel(false);
    records_of(repeat, pipes.clone(), cancel).await
}

/// Runs a repeat and returns its records by index.
async fn records_of<C: Connect>(repeat: Repeat, connect: C, cancel: watch::Receiver<bool>) -> Vec<Record> {
    let sink = Arc::new(Mutex::new(Vec::new()));
    run_repeat(repeat, connect, Arc::default(), cancel, sink.clone()).await.unwrap();
    let mut records = std::mem::take(&mut *sink.lock().unwrap());
    records.sort_by_key(|record| record.index);
    records
}

fn ms(stamp: Nanos) -> f64 {
    stamp.as_ms()
}

#[tokio::test(start_paused = true)]
async fn stamps_are_the_instants_at_which_the_server_wrote() {
    let pipes = Pipes::new(vec![ordinary()]);
    let records = run(&pipes, repeat_of(1, Stop::Requests(2), 0)).await;
    assert_eq!(records.len(), 2);
    for (record, start) in records.iter().zip([0.0, 80.0]) {
        assert_eq!(record.outcome, Outcome::Completed, "{:?}", record.error);
        assert_eq!(ms(record.scheduled), start);
        assert_eq!(ms(record.sent.unwrap()), start);
        assert_eq!(ms(record.headers.unwrap()), start + 1.0);
        let chunks: Vec<f64> = record.chunks.iter().map(ms).collect();
        assert_eq!(chunks, [start + 50.0, start + 60.0, start + 75.0], "an empty chunk is no token");
        assert_eq!(ms(record.end), start + 80.0);
        assert_eq!(record.usage.unwrap().completion_tokens, 3);
        assert_eq!(record.finish_reason.as_deref(), Some("length"));
    }
    assert!(!records[0].reused_connection);
    assert!(records[1].reused_connection);
    assert_eq!([records[0].input, records[1].input], [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn the_configured_concurrency_is_reached_and_every_arrival_has_one_record() {
    let pipes = Pipes::new(vec![ordinary()]);
    let records = run(&pipes, repeat_of(8, Stop::Requests(20), 4)).await;
    assert_eq!(pipes.in_flight.lock().unwrap().1, 8);
    assert_eq!(records.len(), 24);
    let indexes: Vec<u64> = records.iter().map(|record| record.index).collect();
    assert_eq!(indexes, (0..24).collect::<Vec<_>>());
    let warm = records.iter().filter(|record| record.phase == Phase::Warmup).count();
    assert_eq!(warm, 4);
    // Warm-up hands over without draining: its requests start together with the first measured ones.
    assert_eq!(records[3].scheduled, records[4].scheduled);
}

#[tokio::test(start_paused = true)]
async fn a_duration_stops_new_requests_and_waits_for_the_last() {
    let pipes = Pipes::new(vec![ordinary()]);
    let stop = Stop::Duration(TimeSpan::from_millis(200));
    let records = run(&pipes, repeat_of(2, stop, 0)).await;
    assert_eq!(records.len(), 6, "starts at 0, 80 and 160 ms, on two streams");
    assert!(records.iter().all(|record| record.outcome == Outcome::Completed));
    assert_eq!(ms(records[5].end), 240.0);
}

/// One row per way to end: the script, and the outcome it must have.
#[tokio::test(start_paused = true)]
async fn every_ending_has_its_outcome() {
    let error = chunk("data: {\"error\":{\"message\":\"engine died\",\"code\":500}}\n\n")
        + &chunk("data: [DONE]\n\n")
        + "0\r\n\r\n";
    let whole = "{\"choices\":[{\"text\":\"abc\",\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":3}}";
    let json = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{whole}",
        whole.len()
    );
    let refused = "{\"error\":{\"message\":\"too long\",\"code\":400}}";
    let rejected = format!("HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\n\r\n{refused}", refused.len());
    let crlf = chunk("data:{\"choices\":[{\"text\":\"x\",\"finish_reason\":\"stop\"}]}\r\n\r\n");
    let rows: Vec<(&str, Script, Outcome, usize)> = vec![
        ("whole", ordinary(), Outcome::Completed, 3),
        ("not streamed", vec![(5, json)], Outcome::Completed, 1),
        ("no [DONE], but a finish_reason", vec![(5, format!("{HEAD}{crlf}0\r\n\r\n"))], Outcome::Completed, 1),
        ("cut inside a chunk", vec![(1, HEAD.into()), (5, token("a")), (9, "ff\r\ndata: {".into()), (9, "CLOSE".into())], Outcome::Truncated, 1),
        ("ended early", vec![(1, HEAD.into()), (5, token("a")), (9, "0\r\n\r\n".into())], Outcome::Truncated, 1),
        ("aborted", vec![(1, HEAD.into()), (5, token("a")), (9, end("abort", 1))], Outcome::Aborted, 1),
        ("error event", vec![(1, HEAD.into()), (5, token("a")), (9, error)], Outcome::ServerError, 1),
        ("rejected", vec![(5, rejected)], Outcome::Rejected(400), 0),
        ("redirected", vec![(5, "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".into())], Outcome::Rejected(307), 0),
        ("not JSON", vec![(1, HEAD.into()), (5, chunk("data: <html>\n\n"))], Outcome::Malformed, 0),
        ("not HTTP", vec![(5, "SSH-2.0-OpenSSH\r\n\r\n".into())], Outcome::Malformed, 0),
        ("encoded in a way it does not read", vec![(5, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: br\r\ncontent-length: 0\r\n\r\n".into())], Outcome::Malformed, 0),
        ("nothing generated", vec![(1, HEAD.into()), (9, end("stop", 0))], Outcome::Empty, 0),
        ("no event", vec![(1, HEAD.into()), (9, "0\r\n\r\n".into())], Outcome::Empty, 0),
        ("closed before the head", vec![(5, "CLOSE".into())], Outcome::Reset, 0),
        ("no head in time", vec![(5000, HEAD.into())], Outcome::TimedOut(Wait::FirstToken), 0),
        ("stalled", vec![(1, HEAD.into()), (5, token("a")), (5000, token("b"))], Outcome::TimedOut(Wait::Rest), 1),
    ];
    for (name, script, outcome, chunks) in rows {
        let pipes = Pipes::new(vec![script]);
        let records = run(&pipes, repeat_of(1, Stop::Requests(1), 0)).await;
        assert_eq!(records.len(), 1, "{name}");
        assert_eq!(records[0].outcome, outcome, "{name}: {:?}", records[0].error);
        assert_eq!(records[0].chunks.len(), chunks, "{name}");
        assert!(records[0].end >= records[0].scheduled, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_json_answer_is_recognized_whatever_its_content_type() {
    let body = "\n{\"choices\":[{\"text\":\"abc\",\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":3}}";
    let untold = |content_type: &str, split: usize| -> Script {
        let head = format!("HTTP/1.1 200 OK\r\n{content_type}content-length: {}\r\n\r\n", body.len());
        vec![(1, head), (40, body[..split].into()), (90, body[split..].into())]
    };
    let unnamed = format!("{}{}{}", token("a"), token("b"), end("length", 2));
    let stream = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for (name, script, whole, chunks) in [
        ("json", untold("content-type: application/json\r\n", 9), true, vec![90.0]),
        ("json by another name", untold("content-type: text/plain\r\n", 1), true, vec![90.0]),
        ("json without a name", untold("", 9), true, vec![90.0]),
        ("a stream", ordinary(), false, vec![50.0, 60.0, 75.0]),
        ("a stream without a name", vec![(1, stream.into()), (30, unnamed)], false, vec![30.0, 30.0]),
    ] {
        let records = run(&Pipes::new(vec![script]), repeat_of(1, Stop::Requests(1), 0)).await;
        let record = &records[0];
        assert_eq!(record.outcome, Outcome::Completed, "{name}: {:?}", record.error);
        assert_eq!(record.whole, whole, "{name}");
        assert_eq!(record.chunks.iter().map(ms).collect::<Vec<_>>(), chunks, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn retries_are_opt_in_and_latency_counts_from_the_first_attempt() {
    let busy =
        |status: &str| -> Script { vec![(5, format!("HTTP/1.1 {status}\r\ncontent-length: 4\r\n\r\nbusy"))] };
    let scripts = || vec![busy("503 Service Unavailable"), busy("429 Too Many Requests"), ordinary()];
    let patient = Repeat { retries: 2, ..repeat_of(1, Stop::Requests(1), 0) };
    let records = run(&Pipes::new(scripts()), patient.clone()).await;
    let record = &records[0];
    assert_eq!((record.outcome, record.retried), (Outcome::Completed, 2));
    assert_eq!((record.status, record.error.as_deref()), (Some(200), None));
    // 5 ms, a pause of 100, 5 ms, a pause of 200, 50 ms to the first token.
    assert_eq!(record.sent, Some(Nanos(0)));
    assert_eq!(record.chunks.first().map(ms), Some(360.0));
    assert_eq!(ms(record.end), 390.0);
    for (name, script, retries, outcome, retried) in [
        ("off", scripts(), 0, Outcome::Rejected(503), 0),
        ("too often", scripts(), 1, Outcome::Rejected(429), 1),
        ("no use", vec![busy("400 Bad Request")], 5, Outcome::Rejected(400), 0),
        ("late", vec![busy("503 Service Unavailable")], 20, Outcome::TimedOut(Wait::FirstToken), 4),
    ] {
        let repeat = Repeat { retries, ..repeat_of(1, Stop::Requests(1), 0) };
        let records = run(&Pipes::new(script), repeat).await;
        assert_eq!(records.len(), 1, "{name}");
        assert_eq!((records[0].outcome, records[0].retried), (outcome, retried), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn cancelling_ends_requests_in_flight_and_keeps_their_records() {
    let pipes = Pipes::new(vec![ordinary()]);
    let (stop, cancel) = watch::channel(false);
    tokio::spawn(async move {
        sleep(Duration::from_millis(65)).await;
        stop.send(true).unwrap();
        sleep(Duration::from_secs(1)).await;
    });
    let records = records_of(repeat_of(3, Stop::Requests(100), 0), pipes, cancel).await;
    assert_eq!(records.len(), 3);
    for record in records {
        assert_eq!(record.outcome, Outcome::Cancelled);
        assert_eq!(record.chunks.len(), 2, "what had arrived is kept");
        assert_eq!(ms(record.end), 65.0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_closed_while_idle_is_replaced_before_sending() {
    let mut closing = ordinary();
    closing.push((80, "CLOSE".into()));
    let pipes = Pipes::new(vec![closing]);
    let records = run(&pipes, repeat_of(1, Stop::Requests(3), 0)).await;
    assert!(records.iter().all(|record| record.outcome == Outcome::Completed), "{records:?}");
    assert!(records.iter().all(|record| !record.reused_connection));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_meets_a_closing_connection_is_sent_again() {
    let close = |ms| vec![(ms, "CLOSE".to_owned())];
    let pipes = Pipes::new(vec![ordinary(), close(3), ordinary()]);
    let records = run(&pipes, repeat_of(1, Stop::Requests(2), 0)).await;
    let second = &records[1];
    assert_eq!(second.outcome, Outcome::Completed);
    assert!(second.reconnected && !second.reused_connection && second.retried == 0);
    // The time that was lost is in every latency: 3 ms, then 50 to the first token.
    assert_eq!(second.sent.map(ms), Some(80.0));
    assert_eq!(second.chunks.first().map(ms), Some(133.0));
    assert_eq!(second.error, None);
    for (name, scripts) in [
        ("a new one closes too", vec![ordinary(), close(3), close(3)]),
        ("it was waited for", vec![ordinary(), close(1_500), ordinary()]),
    ] {
        let records = run(&Pipes::new(scripts), repeat_of(1, Stop::Requests(2), 0)).await;
        assert_eq!(records[1].outcome, Outcome::Reset, "{name}");
    }
}

#[tokio::test]
async fn a_port_without_a_server_is_refused() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let target = Target::parse(&format!("http://127.0.0.1:{port}")).unwrap();
    let (_keep, cancel) = watch::channel(false);
    let records = records_of(repeat_of(1, Stop::Requests(1), 0), target, cancel).await;
    assert_eq!(records[0].outcome, Outcome::Refused);
    assert_eq!(records[0].sent, None, "it was never sent");
}

#[tokio::test(start_paused = true)]
async fn recorded_streams_of_real_servers_are_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recorded/streams");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = String::from_utf8(std::fs::read(&path).unwrap()).unwrap();
        let body = text.split_once("\r\n\r\n").map_or(text.as_str(), |(_, body)| body).to_owned();
        let answer =
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{body}");
        let pipes = Pipes::new(vec![vec![(5, answer), (6, "CLOSE".into())]]);
        let records = run(&pipes, repeat_of(1, Stop::Requests(1), 0)).await;
        let record = &records[0];
        let wanted = if name.contains("enginecore") {
            Outcome::ServerError
        } else if name.contains("sigterm") {
            Outcome::Aborted
        } else {
            Outcome::Completed
        };
        assert_eq!(record.outcome, wanted, "{name}: {:?}", record.error);
        if wanted == Outcome::Completed && !name.contains("nousage") {
            let usage = record.usage.unwrap_or_else(|| panic!("{name} has usage"));
            assert!(usage.completion_tokens >= record.chunks.len() as u64, "{name}");
        }
        assert!(!record.chunks.is_empty(), "{name}");
        seen += 1;
    }
    assert!(seen >= 10, "{seen} recorded streams");
}

#[tokio::test(start_paused = true)]
async fn a_failing_sink_ends_the_repeat() {
    #[derive(Default)]
    struct Full(AtomicUsize);
    impl Sink for Full {
        fn take(&self, _: Record) -> Result<(), LoadError> {
            if self.0.fetch_add(1, Ordering::SeqCst) < 2 {
                Ok(())
            } else {
                Err(LoadError::SlowDisk { megabytes: 1 })
            }
        }
    }
    let pipes = Pipes::new(vec![ordinary()]);
    let (_keep, cancel) = watch::channel(false);
    let sink = Arc::new(Full::default());
    let repeat = repeat_of(1, Stop::Requests(100), 0);
    let ended = run_repeat(repeat, pipes, Arc::default(), cancel, sink.clone()).await;
    assert_eq!(ended, Err(LoadError::SlowDisk { megabytes: 1 }));
    assert_eq!(sink.0.load(Ordering::SeqCst), 3);
}
