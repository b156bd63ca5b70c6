//! When requests start: exact under paused time, in open and closed loops.

use super::*;
use crate::manifest::{Mean, ThinkTime};

fn at(ms: u64) -> Nanos {
    Nanos(ms * 1_000_000)
}

/// An open loop with arrivals due at these milliseconds.
fn open_of(due: &[u64], max_in_flight: Option<u32>, warmup: u64) -> Repeat {
    Repeat {
        schedule: Schedule::Open(Open {
            due: due.iter().copied().map(at).collect(),
            think: None,
            seed: 7,
            max_in_flight,
        }),
        ..repeat_of(1, Stop::Requests(due.len() as u64 - warmup), warmup)
    }
}

fn closed_of(streams: u32, stop: Stop, start: Start, think: Option<ThinkTime>) -> Repeat {
    Repeat {
        schedule: Schedule::Closed(Closed { streams, start, think, answer_tokens: 3, seed: 7 }),
        ..repeat_of(streams, stop, 0)
    }
}

/// When each request was sent, milliseconds.
fn sent(records: &[Record]) -> Vec<f64> {
    records.iter().map(|record| ms(record.sent.unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn an_open_loop_sends_on_time_whatever_is_in_flight() {
    let pipes = Pipes::new(vec![ordinary()]);
    let due = [0, 10, 11, 11, 60, 300];
    let records = run(&pipes, open_of(&due, None, 2)).await;
    assert_eq!(records.len(), due.len());
    for (record, due) in records.iter().zip(due) {
        assert_eq!(record.scheduled, at(due));
        assert_eq!(record.sent, Some(at(due)), "nothing was late");
        assert_eq!(record.chunks.first(), Some(at(due + 50)));
        assert_eq!(record.end, at(due + 80));
        assert_eq!(record.outcome, Outcome::Completed);
    }
    let phases: Vec<Phase> = records.iter().map(|record| record.phase).collect();
    assert_eq!(phases[..3], [Phase::Warmup, Phase::Warmup, Phase::Measured]);
    assert_eq!(pipes.in_flight.lock().unwrap().1, 5);
    assert!(records[5].reused_connection);
}

#[tokio::test(start_paused = true)]
async fn beyond_the_most_in_flight_arrivals_are_dropped_and_counted() {
    let pipes = Pipes::new(vec![ordinary()]);
    // An answer takes 80 ms: the places are free again at 80 and 90 ms.
    let records = run(&pipes, open_of(&[0, 10, 20, 79, 85, 95], Some(2), 0)).await;
    let dropped: Vec<bool> = records.iter().map(|record| record.outcome == Outcome::Dropped).collect();
    assert_eq!(dropped, [false, false, true, true, false, false]);
    for record in records.iter().filter(|r| r.outcome == Outcome::Dropped) {
        assert_eq!(record.sent, None);
        assert_eq!(record.end, record.scheduled);
        let said = record.error.as_deref().unwrap();
        assert_eq!(said, "2 requests were in flight already");
    }
    assert_eq!(pipes.in_flight.lock().unwrap().1, 2);
}

#[tokio::test(start_paused = true)]
async fn everything_at_once_is_in_flight_at_once() {
    let pipes = Pipes::new(vec![ordinary()]);
    let records = run(&pipes, open_of(&[0; 300], None, 0)).await;
    assert_eq!(records.len(), 300);
    assert_eq!(sent(&records), [0.0; 300]);
    assert_eq!(pipes.in_flight.lock().unwrap().1, 300);
}

#[tokio::test(start_paused = true)]
async fn cancelling_an_open_loop_schedules_no_more() {
    let pipes = Pipes::new(vec![ordinary()]);
    let (stop, cancel) = watch::channel(false);
    tokio::spawn(async move {
        sleep(Duration::from_millis(95)).await;
        stop.send(true).unwrap();
        sleep(Duration::from_secs(1)).await;
    });
    let records = records_of(open_of(&[0, 50, 100, 150], None, 0), pipes, cancel).await;
    let outcomes: Vec<Outcome> = records.iter().map(|record| record.outcome).collect();
    assert_eq!(outcomes, [Outcome::Completed, Outcome::Cancelled]);
    assert_eq!(records[1].end, at(95));
}

#[tokio::test(start_paused = true)]
async fn a_stream_thinks_between_an_answer_and_its_next_request() {
    let pipes = Pipes::new(vec![ordinary()]);
    let fixed = Some(ThinkTime::Fixed(TimeSpan::from_millis(20)));
    let stop = Stop::Requests(3);
    let records = run(&pipes, closed_of(1, stop, Start::Together, fixed)).await;
    assert_eq!(sent(&records), [0.0, 100.0, 200.0]);
    assert_eq!(records[1].scheduled, at(100), "thinking is no delay");
    // With a duration of 150 ms nobody thinks for what comes after it.
    let stop = Stop::Duration(TimeSpan::from_millis(150));
    let begun = Instant::now();
    let records = run(&pipes, closed_of(1, stop, Start::Together, fixed)).await;
    assert_eq!(sent(&records), [0.0, 100.0]);
    assert_eq!(begun.elapsed(), Duration::from_millis(180));
}

#[tokio::test(start_paused = true)]
async fn exponential_think_times_have_their_mean_and_differ_from_stream_to_stream() {
    let pipes = Pipes::new(vec![ordinary()]);
    let mean = TimeSpan::from_millis(200);
    let think = Some(ThinkTime::Exponential(Mean { mean }));
    let repeat = closed_of(4, Stop::Requests(2000), Start::Together, think);
    let records = run(&pipes, repeat).await;
    let mut total = 0.0;
    let mut waits = 0;
    let mut seconds = Vec::new();
    for stream in 0..4 {
        let own: Vec<&Record> = records.iter().filter(|r| r.stream == stream).collect();
        for pair in own.windows(2) {
            total += pair[1].sent.unwrap().ms_since(pair[0].end);
            waits += 1;
        }
        seconds.push(own[1].sent.unwrap());
    }
    let mean = total / f64::from(waits);
    // Five standard errors of some 2,000 waits; the runtime's timer adds half a millisecond.
    assert!((175.0..225.0).contains(&mean), "{mean}");
    seconds.dedup();
    assert_eq!(seconds.len(), 4, "no two streams think alike");
}

#[tokio::test(start_paused = true)]
async fn staggered_streams_stand_evenly_in_a_request() {
    // The first answer of three tokens ends after 80 ms, before its pace is known from more tokens: the
    // others start in the next 80 ms, where each has its place.
    let pipes = Pipes::new(vec![ordinary()]);
    let repeat = closed_of(4, Stop::Requests(16), Start::Staggered, None);
    let records = run(&pipes, repeat).await;
    let first_of = |stream: u32| {
        let mut own = records.iter().filter(|record| record.stream == stream);
        ms(own.next().unwrap().sent.unwrap())
    };
    assert_eq!([0, 1, 2, 3].map(first_of), [0.0, 100.0, 120.0, 140.0]);
    // From then on a request starts every 20 ms, and no two are in step.
    let sent = sent(&records);
    assert_eq!(sent[..8], [0.0, 80.0, 100.0, 120.0, 140.0, 160.0, 180.0, 200.0]);
    assert_eq!(pipes.in_flight.lock().unwrap().1, 4);
}

#[tokio::test(start_paused = true)]
async fn streams_are_staggered_once_the_pace_is_known() {
    // 100 tokens of 10 ms: after nine of them the pace is known, and that the answer takes 50 + 99 × 10 ms.
    let mut script = vec![(1, HEAD.to_owned())];
    script.extend((0..100).map(|place| (50 + place * 10, token("x"))));
    script.push((1040, end("length", 100)));
    let pipes = Pipes::new(vec![script]);
    let mut repeat = closed_of(4, Stop::Requests(16), Start::Staggered, None);
    if let Schedule::Closed(closed) = &mut repeat.schedule {
        closed.answer_tokens = 100;
    }
    let records = run(&pipes, repeat).await;
    // Progress is looked at once a millisecond, and timers keep to whole ones.
    for (sent, wanted) in sent(&records).into_iter().zip([0.0, 260.0, 520.0, 780.0, 1040.0]) {
        assert!((sent - wanted).abs() <= 1.0, "{sent}, not {wanted}");
    }
}

/// Wants no more requests once this many have ended.
struct Enough(usize, Mutex<Vec<Record>>);

impl Sink for Enough {
    fn take(&self, record: Record) -> Result<(), LoadError> {
        self.1.take(record)
    }

    fn wants_more(&self) -> bool {
        self.1.lock().unwrap().len() < self.0
    }
}

/// The outcomes of a repeat whose sink has had enough after some records.
async fn outcomes_until(enough: usize, repeat: Repeat) -> Vec<Outcome> {
    let sink = Arc::new(Enough(enough, Mutex::default()));
    let (_keep, cancel) = watch::channel(false);
    run_repeat(repeat, Pipes::new(vec![ordinary()]), Arc::default(), cancel, sink.clone()).await.unwrap();
    let records = sink.1.lock().unwrap();
    records.iter().map(|record| record.outcome).collect()
}

#[tokio::test(start_paused = true)]
async fn no_request_starts_once_the_sink_has_had_enough_and_those_in_flight_end() {
    let closed = closed_of(4, Stop::Requests(100), Start::Together, None);
    // The first of four ends, and the other three are in flight.
    assert_eq!(outcomes_until(1, closed.clone()).await, [Outcome::Completed; 4]);
    assert_eq!(outcomes_until(9, closed.clone()).await.len(), 12);
    // Nor after a think time.
    let think = Some(ThinkTime::Fixed(TimeSpan::from_millis(500)));
    let thinking = closed_of(2, Stop::Requests(100), Start::Together, think);
    assert_eq!(outcomes_until(3, thinking).await, [Outcome::Completed; 4]);
    // In an open loop, what would have been due later is neither sent nor dropped: an answer takes 80 ms.
    let open = open_of(&[0, 30, 60, 90, 120, 500], None, 0);
    assert_eq!(outcomes_until(1, open).await, [Outcome::Completed; 3]);
}
