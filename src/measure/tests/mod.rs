//! Cells small enough to be computed by hand.

mod around;
mod verdicts;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{CellContext, CellOutcome, Point, Summary, Verdict, outcome};
use crate::{
    load::{Outcome, Phase, Record, Records, Usage, Wait},
    manifest::{Repeats, Start, Workload},
    unit::Nanos,
};

fn workload(fields: Value) -> Workload {
    let mut all = json!({ "prompts": ["Hello"], "requests": 2 });
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

fn context(spec: &Workload) -> CellContext<'_> {
    CellContext {
        spec,
        repeats: Repeats::once(),
        start: spec.streams().map(|_| Start::Together),
        engine_simulated: false,
        inputs: 1_000_000,
        flags_confirmed: Some(true),
        max_model_len: None,
        prefix_caching: Some(true),
        client: &[],
        server: None,
    }
}

/// The verbs of the room, over records as a list.
fn summarize(records: &[Record], context: &CellContext<'_>) -> Summary {
    super::summarize(&Records::of(records.iter().cloned()), context)
}

fn packed(repeats: &[Vec<Record>]) -> Vec<Records> {
    repeats.iter().cloned().map(Records::of).collect()
}

fn pool(repeats: &[Vec<Record>], context: &CellContext<'_>) -> Summary {
    super::pool(&packed(repeats), context)
}

fn judge(
    summary: &Summary,
    each: &[Summary],
    repeats: &[Vec<Record>],
    context: &CellContext<'_>,
) -> Vec<Verdict> {
    super::judge(summary, each, &packed(repeats), context)
}

fn timeline(records: &[Record]) -> Vec<Point> {
    super::timeline(&Records::of(records.iter().cloned()))
}

/// A completed request: sent, its chunks and its end in milliseconds.
fn record(sent: u64, chunks: &[u64], end: u64, tokens: u64) -> Record {
    let at = |ms: u64| Nanos(ms * 1_000_000);
    Record {
        scheduled: at(sent),
        sent: Some(at(sent)),
        headers: Some(at(sent)),
        chunks: chunks.iter().copied().map(at).collect(),
        end: at(end),
        status: Some(200),
        finish_reason: Some("stop".into()),
        usage: Some(Usage { prompt_tokens: 10, completion_tokens: tokens, cached_tokens: None }),
        max_tokens: 4,
        ..Record::completed()
    }
}

fn failed(sent: u64, end: u64, outcome: Outcome) -> Record {
    Record { outcome, usage: None, status: None, ..record(sent, &[], end, 0) }
}

fn close(got: Option<f64>, wanted: f64) {
    let got = got.expect("a number");
    assert!((got - wanted).abs() < 1e-9, "{got} is not {wanted}");
}

/// Two requests at a time. The first: TTFT 100 ms, gaps 20 and 40, E2E 160, four tokens in three chunks, TPOT
/// 20. The second: TTFT 200 ms, one gap of 100, E2E 300, three tokens in two chunks, TPOT 50.
fn pair() -> Vec<Record> {
    vec![record(0, &[100, 120, 160], 170, 4), record(10, &[210, 310], 400, 3)]
}

#[test]
fn a_cell_computed_by_hand() {
    let spec = workload(json!({ "concurrency": 2, "slo": { "p95_ttft": "150ms", "p50_itl": "30ms" } }));
    let summary = summarize(&pair(), &context(&spec));
    let ttft = summary.ttft.as_ref().unwrap();
    assert_eq!((ttft.n, ttft.p50_ms, ttft.min_ms, ttft.max_ms), (2, 150.0, 100.0, 200.0));
    close(Some(ttft.p95_ms), 195.0);
    let itl = summary.itl.as_ref().unwrap();
    assert_eq!((itl.n, itl.p50_ms), (3, 40.0));
    assert_eq!(summary.tpot.as_ref().unwrap().p50_ms, 35.0);
    assert_eq!(summary.e2e.as_ref().unwrap().p50_ms, 230.0);
    // 1 / 20 ms and 1 / 50 ms: 50 and 20 tokens per second.
    close(summary.user_tok_s, 35.0);
    let window = summary.window.unwrap();
    assert_eq!((window.start_s, window.length_s), (0.0, 0.4));
    assert_eq!((summary.output_tokens, summary.input_tokens), (Some(7), Some(20)));
    close(summary.throughput_tok_s, 17.5);
    close(summary.total_tok_s, 67.5);
    close(summary.req_s, 5.0);
    // The first meets both terms (its median gap is 30 ms); the second meets neither.
    close(summary.goodput_req_s, 2.5);
    close(summary.tokens_per_chunk, 1.4);
    // Both were in flight until the first one ended: all of that is the start burst.
    assert_eq!((summary.steady, summary.steady_tok_s), (None, None));
    assert_eq!(summary.peak_in_flight, Some(2));
    let length = summary.output_length.clone().unwrap();
    assert_eq!((length.min, length.p50, length.max, length.shorter), (3, 3.5, 4, 1));
    assert_eq!(outcome(&summary), CellOutcome::Ok);
}

#[test]
fn latency_counts_from_the_send_instant_and_the_delay_before_it_is_kept() {
    let spec = workload(json!({}));
    let mut late = record(50, &[100], 100, 1);
    late.scheduled = Nanos(20_000_000);
    let summary = summarize(&[late], &context(&spec));
    assert_eq!(summary.ttft.unwrap().p50_ms, 50.0);
    assert_eq!(summary.issue_delay.unwrap().p50_ms, 30.0);
    assert_eq!(summary.window.unwrap().start_s, 0.05);
}

#[test]
fn a_single_token_has_no_tpot_and_no_gap() {
    let spec = workload(json!({ "slo": { "p95_tpot": "1ms", "p95_itl": "1ms" } }));
    let summary = summarize(&[record(0, &[100], 200, 1)], &context(&spec));
    assert_eq!((summary.tpot, summary.itl, summary.user_tok_s), (None, None, None));
    // Nothing was too long between its tokens.
    close(summary.goodput_req_s, 5.0);
}

#[test]
fn a_cell_in_which_all_failed_has_only_counts() {
    let spec = workload(json!({ "slo": { "p95_ttft": "1s" } }));
    let records = [failed(0, 5, Outcome::Rejected(503)), failed(0, 900, Outcome::TimedOut(Wait::FirstToken))];
    let summary = summarize(&records, &context(&spec));
    assert_eq!(summary.counts.errors(), 2);
    assert_eq!(summary.counts.by_outcome["rejected(503)"], 1);
    assert!(summary.ttft.is_none() && summary.e2e.is_none() && summary.itl.is_none());
    assert!(summary.throughput_tok_s.is_none() && summary.output_tokens.is_none());
    assert!(summary.req_s.is_none() && summary.goodput_req_s.is_none());
    assert_eq!(outcome(&summary), CellOutcome::Failed);
}

#[test]
fn a_failed_request_has_no_latency() {
    let spec = workload(json!({}));
    let mut cut = record(0, &[1, 2], 3, 2);
    cut.outcome = Outcome::Truncated;
    let records = [cut, record(0, &[100], 150, 1)];
    let summary = summarize(&records, &context(&spec));
    assert_eq!(summary.ttft.as_ref().unwrap().n, 1);
    assert_eq!(summary.output_tokens, Some(1));
    assert_eq!(outcome(&summary), CellOutcome::Degraded);
}

#[test]
fn tokens_that_the_server_did_not_count_are_absent() {
    let spec = workload(json!({ "slo": { "p95_tpot": "1s" } }));
    let mut untold = record(0, &[10, 20], 30, 2);
    untold.usage = None;
    let summary = summarize(&[untold, record(0, &[10, 20], 30, 2)], &context(&spec));
    assert_eq!((summary.output_tokens, summary.throughput_tok_s), (None, None));
    assert_eq!((summary.total_tok_s, summary.steady_tok_s), (None, None));
    assert_eq!(summary.goodput_req_s, None);
    assert_eq!(summary.ttft.unwrap().n, 2);
}

#[test]
fn warm_up_fills_the_flight_and_counts_nowhere_else() {
    let spec = workload(json!({ "concurrency": 2 }));
    let mut warm = [record(0, &[10], 30, 1), record(0, &[10, 90], 100, 2)];
    for record in &mut warm {
        record.phase = Phase::Warmup;
    }
    let [first, second] = warm;
    let summary = summarize(&[first, second, record(50, &[80], 150, 1)], &context(&spec));
    assert_eq!(summary.counts.scheduled, 1);
    assert_eq!(summary.output_tokens, Some(1));
    assert_eq!(summary.peak_in_flight, Some(1));
    // 50 to 100 ms: the last token of the warm-up and the only one of the request.
    let steady = summary.steady.unwrap();
    assert_eq!((steady.start_s, steady.length_s), (0.05, 0.05));
    close(summary.steady_tok_s, 40.0);
}

#[test]
fn the_ramp_up_is_not_steady() {
    let spec = workload(json!({ "concurrency": 2 }));
    // Two streams start together; the one in flight with the other's next requests ends last.
    let records = [
        record(0, &[100, 120, 160], 170, 4),
        record(10, &[210, 310], 400, 2),
        record(180, &[200, 260], 300, 2),
        record(300, &[350], 360, 1),
    ];
    let summary = summarize(&records, &context(&spec));
    // Both are in flight from 10 ms, but only from 170 ms, when the first has ended, it is not the burst that
    // shows.
    let steady = summary.steady.unwrap();
    assert_eq!((steady.start_s, steady.length_s), (0.17, 0.19));
    // At 200, 210, 260, 310 and 350 ms one token each.
    close(summary.steady_tok_s, 5.0 / 0.19);
    let starts = summary.starts.unwrap();
    assert_eq!((starts.how, starts.spread_s), (Start::Together, 0.0));
}

#[test]
fn in_an_open_loop_latency_counts_from_the_scheduled_instant() {
    let spec = workload(json!({ "arrivals": "constant", "rate": 20 }));
    let mut late = record(50, &[100], 100, 1);
    late.scheduled = Nanos(20_000_000);
    let mut dropped = failed(60, 60, Outcome::Dropped);
    dropped.sent = None;
    let records = [late, dropped, record(70, &[110, 120], 130, 2), record(120, &[150], 160, 1)];
    let summary = summarize(&records, &context(&spec));
    let ttft = summary.ttft.unwrap();
    assert_eq!((ttft.max_ms, ttft.min_ms), (80.0, 30.0));
    assert_eq!(summary.issue_delay.unwrap().max_ms, 30.0);
    assert_eq!(summary.window.unwrap().start_s, 0.02);
    assert_eq!((summary.peak_queue, summary.starts), (Some(1), None));
    assert_eq!(summary.counts.by_outcome["dropped"], 1);
    // From the first end, at 100 ms, to the last arrival, at 120 ms: three tokens.
    let steady = summary.steady.unwrap();
    assert_eq!(steady.start_s, 0.1);
    close(Some(steady.length_s), 0.02);
    close(summary.steady_tok_s, 150.0);
}

#[test]
fn a_concurrency_never_reached_has_no_steady_window() {
    let spec = workload(json!({ "concurrency": 3 }));
    let summary = summarize(&pair(), &context(&spec));
    assert_eq!((summary.steady, summary.steady_tok_s), (None, None));
}

#[test]
fn pooled_repeats_add_their_windows_and_pool_their_samples() {
    let spec = workload(json!({ "concurrency": 2 }));
    let once = summarize(&pair(), &context(&spec));
    let twice = pool(&[pair(), pair()], &context(&spec));
    assert_eq!(twice.window.unwrap().length_s, 0.8);
    assert_eq!(twice.throughput_tok_s, once.throughput_tok_s);
    assert_eq!(twice.steady_tok_s, once.steady_tok_s);
    assert_eq!(twice.ttft.as_ref().unwrap().n, 4);
    let mut merged = once.ttft.clone().unwrap().histogram;
    merged.merge(&once.ttft.unwrap().histogram);
    assert_eq!(twice.ttft.unwrap().histogram, merged);
    assert_eq!(pool(&[pair()], &context(&spec)), summarize(&pair(), &context(&spec)));
}

#[test]
fn a_timeline_has_few_points_and_keeps_the_area() {
    let points = timeline(&pair());
    assert_eq!(points.len(), 60);
    let step = 0.4 / 60.0;
    let busy: f64 = points.iter().map(|point| point.in_flight * step).sum();
    let chunks: f64 = points.iter().map(|point| point.chunks_s * step).sum();
    assert!((busy - (0.17 + 0.39)).abs() < 1e-3, "{busy}");
    assert!((chunks - 5.0).abs() < 1e-3, "{chunks}");
    assert!(timeline(&[]).is_empty());
    assert!(timeline(&[failed(7, 7, Outcome::Refused)]).is_empty());
}

#[test]
fn the_most_common_errors_come_first() {
    let mut said = failed(0, 1, Outcome::Rejected(429));
    said.error = Some("slow down".into());
    let records = vec![failed(0, 1, Outcome::Reset), said.clone(), said];
    assert_eq!(
        super::common_errors(&packed(&[records])),
        [("rejected(429): slow down".to_owned(), 2), ("reset".to_owned(), 1)]
    );
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        3 => Just(Outcome::Completed),
        1 => (400u16..600).prop_map(Outcome::Rejected),
        1 => Just(Outcome::Truncated),
        1 => Just(Outcome::Empty),
        1 => Just(Outcome::Dropped),
        1 => Just(Outcome::TimedOut(Wait::Rest)),
    ]
}

prop_compose! {
    fn any_record()(
        sent in prop::option::weighted(0.9, 0u64..1000), gaps in prop::collection::vec(0u64..50, 0..6), rest in 0u64..50,
        outcome in any_outcome(), tokens in prop::option::of(0u64..6), warm in any::<bool>(),
    ) -> Record {
        let mut at = sent.unwrap_or(5);
        let chunks: Vec<u64> = gaps.iter().map(|gap| { at += gap; at }).collect();
        Record {
            sent: sent.map(|ms| Nanos(ms * 1_000_000)),
            phase: if warm { Phase::Warmup } else { Phase::Measured },
            outcome,
            usage: tokens.map(|n| Usage { prompt_tokens: 3, completion_tokens: n, cached_tokens: None }),
            ..record(sent.unwrap_or(5), &chunks, at + rest, 0)
        }
    }
}

proptest! {
    #[test]
    fn outcomes_add_up_to_the_arrivals_and_every_number_is_one(
        repeats in prop::collection::vec(prop::collection::vec(any_record(), 0..12), 0..3), concurrency in 1u32..4
    ) {
        let spec = workload(json!({ "concurrency": concurrency, "slo": { "p95_ttft": "20ms", "p95_tpot": "9ms" } }));
        let context = context(&spec);
        let summary = pool(&repeats, &context);
        let measured = repeats.iter().flatten().filter(|record| record.phase == Phase::Measured).count() as u64;
        prop_assert_eq!(summary.counts.scheduled, measured);
        prop_assert_eq!(summary.counts.by_outcome.values().sum::<u64>(), measured);
        // What is not a finite number would be written as null and read back as absent.
        let text = serde_json::to_string(&summary).unwrap();
        prop_assert!(!text.contains("null"), "{}", text);
        prop_assert_eq!(&serde_json::from_str::<super::Summary>(&text).unwrap(), &summary);
        if summary.counts.completed == 0 {
            prop_assert!(summary.ttft.is_none() && summary.throughput_tok_s.is_none());
        }
        for records in &repeats {
            prop_assert!(timeline(records).len() <= 60);
        }
        let each: Vec<_> = repeats.iter().map(|records| summarize(records, &context)).collect();
        judge(&summary, &each, &repeats, &context);
    }
}
