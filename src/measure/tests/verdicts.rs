//! What is said of cells: one sound cell, changed in one respect at a time.

use serde_json::json;

use super::{context, failed, judge, pool, record, summarize, workload};
use crate::{
    load::{Outcome, Record, Usage},
    manifest::Workload,
    measure::{CellContext, Severity, Verdict, VerdictKind},
    unit::Nanos,
};

/// A sound cell: 700 requests one after the other, 40 ms each, with gaps of 10 ms.
fn plenty() -> Vec<Record> {
    (0..700)
        .map(|i| record(i * 40, &[i * 40 + 10, i * 40 + 20, i * 40 + 30, i * 40 + 40], i * 40 + 40, 4))
        .collect()
}

fn judged(repeats: &[Vec<Record>], context: &CellContext<'_>) -> Vec<Verdict> {
    let each: Vec<_> = repeats.iter().map(|records| summarize(records, context)).collect();
    judge(&pool(repeats, context), &each, repeats, context)
}

fn found(verdicts: &[Verdict]) -> Vec<(VerdictKind, Severity)> {
    verdicts.iter().map(|verdict| (verdict.kind, verdict.severity)).collect()
}

/// What is said of plenty of requests, each changed.
fn after(spec: &Workload, change: impl Fn(usize, &mut Record)) -> Vec<Verdict> {
    let mut records = plenty();
    for (place, record) in records.iter_mut().enumerate() {
        change(place, record);
    }
    judged(&[records], &context(spec))
}

#[test]
fn a_sound_cell_has_no_verdicts() {
    let spec = workload(json!({}));
    assert_eq!(judged(&[plenty()], &context(&spec)), []);
    assert_eq!(judged(&[plenty(), plenty()], &context(&spec)), []);
}

#[test]
fn few_samples_affect_a_percentile_and_name_the_number_needed() {
    let spec = workload(json!({ "slo": { "p90_ttft": "1s" } }));
    let verdicts = judged(&[plenty()[..16].to_vec()], &context(&spec));
    let said: Vec<(&[String], bool)> = verdicts
        .iter()
        .map(|verdict| (verdict.touches.as_slice(), verdict.kind == VerdictKind::FewSamples))
        .collect();
    // 16 requests and 48 gaps: enough for medians; p90 needs 64, p95 130, p99 662.
    let of = |rank: &str| ["ttft", "itl", "tpot", "e2e"].map(|m| format!("{rank}_{m}"));
    let (p90, p95, p99) = (of("p90"), of("p95"), of("p99"));
    assert_eq!(said, [(&p90[..], true), (&p95[..], true), (&p99[..], true)]);
    for (verdict, needed) in verdicts.iter().zip(["64", "130", "662"]) {
        assert!(verdict.reason.contains(needed) && verdict.hint.contains(needed));
        assert!(verdict.reason.contains("ttft 16, itl 48"), "{}", verdict.reason);
    }
    // With 50 requests the 150 gaps carry their p95, and nothing else does.
    let verdicts = judged(&[plenty()[..50].to_vec()], &context(&workload(json!({}))));
    assert_eq!(verdicts[0].touches, ["p95_ttft", "p95_tpot", "p95_e2e"]);
}

#[test]
fn failed_requests_weigh_by_their_share() {
    let spec = workload(json!({}));
    let fails = |every: usize| {
        after(&spec, |place, record| {
            if place % every == 0 {
                *record = failed(record.scheduled.as_ms() as u64, record.end.as_ms() as u64, Outcome::Reset);
            }
        })
        .into_iter()
        .find(|verdict| verdict.kind == VerdictKind::Errors)
        .unwrap()
    };
    assert_eq!(fails(200).severity, Severity::Note);
    let some = fails(50);
    assert_eq!(some.severity, Severity::Metric);
    assert!(some.touches.contains(&"p99_ttft".into()) && !some.touches.contains(&"throughput".into()));
    let more = fails(10);
    assert!(more.touches.contains(&"throughput".into()) && more.touches.contains(&"ttft".into()));
    assert!(more.reason.contains("70 of 700 requests did not complete, 10 %: 70 reset"), "{}", more.reason);
    assert_eq!(fails(4).severity, Severity::Cell);
}

#[test]
fn retries_are_reported_where_the_workload_allows_them() {
    let spec = workload(json!({ "retries": 3 }));
    let retried = |first: usize| {
        let change = |place: usize, record: &mut Record| {
            record.retried = if place < first { 2 } else { 0 };
        };
        after(&spec, change)
    };
    for (first, severity) in [(1, Severity::Note), (10, Severity::Metric), (70, Severity::Cell)] {
        assert_eq!(found(&retried(first)), [(VerdictKind::Retried, severity)]);
    }
    let verdicts = retried(70);
    assert!(
        verdicts[0].reason.starts_with("70 of 700 requests (10 %) were rejected and retried, 140 times"),
        "{}",
        verdicts[0].reason
    );
    assert_eq!(judged(&[plenty()], &context(&spec)), []);
}

#[test]
fn a_warm_cache_is_a_note_as_written_and_excludes_the_cell_when_fresh() {
    let spec = workload(json!({}));
    let few = CellContext { inputs: 1, ..context(&spec) };
    assert_eq!(found(&judged(&[plenty()], &few)), [(VerdictKind::WarmCache, Severity::Note)]);
    let off = CellContext { prefix_caching: Some(false), ..few };
    assert_eq!(judged(&[plenty()], &off), []);

    let fresh = workload(json!({ "cache": "fresh" }));
    assert_eq!(judged(&[plenty()], &CellContext { inputs: 1, ..context(&fresh) }), []);
    let verdicts = after(&fresh, |_, record| record.usage.as_mut().unwrap().cached_tokens = Some(3));
    assert_eq!(found(&verdicts), [(VerdictKind::CacheContaminated, Severity::Cell)]);
    assert!(verdicts[0].reason.contains("2100 of 7000 prompt tokens"), "{}", verdicts[0].reason);
}

#[test]
fn answers_shorter_than_an_exact_length_are_reported() {
    let shorter = |below: usize| {
        move |place: usize, record: &mut Record| {
            if place % 7 < below {
                record.chunks = record.chunks.iter().take(3).collect();
                record.usage.as_mut().unwrap().completion_tokens = 3;
            }
        }
    };
    let exact = workload(json!({ "output": "exact" }));
    assert_eq!(found(&after(&exact, shorter(1))), [(VerdictKind::ShortOutput, Severity::Metric)]);
    assert_eq!(found(&after(&exact, shorter(4))), [(VerdictKind::ShortOutput, Severity::Cell)]);
    assert_eq!(after(&workload(json!({})), shorter(1)), []);
}

#[test]
fn missing_and_impossible_token_counts_are_reported() {
    let spec = workload(json!({}));
    let missing = after(&spec, |place, record| {
        if place == 0 {
            record.usage = None;
        }
    });
    assert_eq!(found(&missing), [(VerdictKind::TokenCounts, Severity::Metric)]);
    assert!(missing[0].touches.contains(&"throughput".into()));
    let wrong = after(&spec, |place, record| {
        if place == 0 {
            record.usage.as_mut().unwrap().completion_tokens = 3;
        }
    });
    assert_eq!(found(&wrong), [(VerdictKind::TokenCounts, Severity::Cell)]);
    // A billion of them, in a handful of chunks; two answers to a prompt have twice as many.
    let counted = |spec: &Workload, tokens: u64| {
        found(&after(spec, |place, record| {
            if place == 0 {
                record.usage.as_mut().unwrap().completion_tokens = tokens;
            }
        }))
    };
    let cell = [(VerdictKind::TokenCounts, Severity::Cell)];
    assert_eq!(counted(&spec, 1_000_000_000), cell);
    let most = u64::from(plenty()[0].max_tokens);
    assert_eq!(counted(&spec, most + 1), cell);
    let two = workload(json!({ "extra_body": { "n": 2 } }));
    assert_eq!(counted(&two, most + 1), []);
    let cached = after(&spec, |_, record| {
        let usage = record.usage.as_mut().unwrap();
        usage.cached_tokens = Some(usage.prompt_tokens + 1);
    });
    assert_eq!(found(&cached)[0], cell[0]);
}

#[test]
fn a_late_client_is_judged_by_the_delay() {
    let late = |micros: u64| {
        let spec = workload(json!({}));
        found(&after(&spec, |_, record| {
            let due = record.sent.unwrap().0;
            record.sent = Some(Nanos(due + micros * 1000));
        }))
    };
    assert_eq!(late(500), []);
    // The median TTFT is about 9 ms: a tenth of it is exceeded as soon as a delay is worth a word.
    assert_eq!(late(1100), [(VerdictKind::ClientLate, Severity::Cell)]);
    let slow = workload(json!({}));
    let verdicts = after(&slow, |place, record| {
        let sent = record.sent.unwrap().0;
        record.scheduled = Nanos(sent - if place == 0 { 0 } else { 2_000_000 });
        record.chunks = [30, 40].map(|ms| Nanos(sent + ms * 1_000_000)).into_iter().collect();
        record.usage.as_mut().unwrap().completion_tokens = 2;
    });
    assert!(found(&verdicts).contains(&(VerdictKind::ClientLate, Severity::Note)));
}

#[test]
fn a_concurrency_that_was_not_reached_excludes_the_cell_unless_it_could_not_be() {
    let spec = workload(json!({ "concurrency": 2 }));
    assert_eq!(
        found(&judged(&[plenty()], &context(&spec))),
        [(VerdictKind::ConcurrencyNotReached, Severity::Cell)]
    );
    let wide = workload(json!({ "concurrency": 800 }));
    let verdicts = judged(&[plenty()], &context(&wide));
    assert_eq!(found(&verdicts), [(VerdictKind::ConcurrencyNotReached, Severity::Note)]);
    assert!(verdicts[0].reason.contains("700 requests cannot keep 800 in flight"));
}

#[test]
fn a_concurrency_reached_for_a_moment_is_not_reached() {
    // One stream without a gap; the other is in flight for a tenth of its time.
    let spec = workload(json!({ "concurrency": 2 }));
    let second = (0..700).map(|i| {
        let at = i * 40;
        record(at, &[at + 1, at + 2, at + 3, at + 4], at + 4, 4)
    });
    let both: Vec<Record> = plenty().into_iter().chain(second).collect();
    let verdicts = judged(&[both], &context(&spec));
    assert_eq!(found(&verdicts), [(VerdictKind::ConcurrencyNotReached, Severity::Cell)]);
    assert!(verdicts[0].reason.starts_with("1.1 requests"), "{}", verdicts[0].reason);
}

/// An open loop of one request every 10 ms, each of which takes so long, milliseconds.
fn open(takes: impl Fn(u64) -> u64) -> Vec<Verdict> {
    let spec = workload(json!({ "arrivals": "constant", "rate": 100.0 }));
    let records: Vec<Record> = (0..1000)
        .map(|i| {
            let (at, end) = (i * 10, i * 10 + takes(i));
            record(at, &[end - 3, end - 2, end - 1, end], end, 4)
        })
        .collect();
    judged(&[records], &context(&spec))
}

#[test]
fn a_rate_beyond_the_server_excludes_the_cell_and_names_both_rates() {
    // One request ends every 20 ms.
    let verdicts = open(|i| 100 + i * 10);
    let verdict = verdicts.iter().find(|verdict| verdict.kind == VerdictKind::RateNotSustained).unwrap();
    assert_eq!(verdict.severity, Severity::Cell);
    assert!(verdict.reason.contains("100.1 and 49.9 per second"), "{}", verdict.reason);
    // Answers as long as the time in which requests are due, and no queue.
    for even in [open(|_| 100), open(|_| 6_000), open(|i| 100 + i % 7 * 1000)] {
        assert!(!found(&even).iter().any(|(kind, _)| *kind == VerdictKind::RateNotSustained), "{even:?}");
    }
}

#[test]
fn answers_that_came_whole_have_no_first_token() {
    let spec = workload(json!({}));
    let one = after(&spec, |_, record| {
        record.chunks = record.chunks.iter().skip(3).collect();
    });
    assert!(found(&one).contains(&(VerdictKind::NotStreamed, Severity::Metric)));
    let burst = after(&spec, |_, record| {
        let last = record.chunks.last().unwrap().0;
        record.chunks = (0..4).map(|i| Nanos(last + i * 1000)).collect();
    });
    assert_eq!(found(&burst), [(VerdictKind::NotStreamed, Severity::Metric)]);
    assert!(burst[0].touches.contains(&"ttft".into()));
}

/// An answer that was not streamed.
fn whole(record: &mut Record) {
    record.chunks = record.chunks.last().into_iter().collect();
    record.whole = true;
}

#[test]
fn whole_answers_have_an_end_and_tokens_and_no_first_token() {
    let spec = workload(json!({ "stream": false, "slo": { "p95_e2e": "1s" } }));
    let mut records = plenty();
    records.iter_mut().for_each(whole);
    let summary = summarize(&records, &context(&spec));
    assert_eq!((&summary.ttft, &summary.itl, &summary.tpot), (&None, &None, &None));
    assert_eq!((summary.user_tok_s, summary.tokens_per_chunk), (None, None));
    assert_eq!(summary.e2e.as_ref().unwrap().p50_ms, 40.0);
    assert_eq!(summary.output_tokens, Some(2800));
    assert_eq!(summary.goodput_req_s, summary.req_s);
    let verdicts = judged(&[records.clone()], &context(&spec));
    assert_eq!(found(&verdicts), [(VerdictKind::NotStreamed, Severity::Note)]);
    let early = workload(json!({ "stream": false, "slo": { "p95_ttft": "1s" } }));
    assert_eq!(summarize(&records, &context(&early)).goodput_req_s, None);
}

#[test]
fn a_server_that_streams_only_some_answers_is_reported_with_their_number() {
    let spec = workload(json!({}));
    let mixed = |place: usize, record: &mut Record| {
        if place.is_multiple_of(20) {
            whole(record);
        }
    };
    let verdicts = after(&spec, mixed);
    assert_eq!(found(&verdicts), [(VerdictKind::NotStreamed, Severity::Metric)]);
    assert!(verdicts[0].reason.starts_with("35 of 700 answers"));
    assert_eq!(verdicts[0].touches, ["ttft", "itl", "tpot", "user"]);
    let mut records = plenty();
    (0..).zip(&mut records).for_each(|(place, r)| mixed(place, r));
    let summary = summarize(&records, &context(&spec));
    assert_eq!(summary.ttft.unwrap().n, 665);
    assert_eq!(summary.e2e.unwrap().n, 700);
    assert_eq!(summary.tokens_per_chunk, Some(1.0));
    let unasked = workload(json!({ "stream": false }));
    assert_eq!(found(&after(&unasked, mixed)), [(VerdictKind::NotStreamed, Severity::Note)]);
}

/// Moves every stamp of a record.
fn shifted(record: &mut Record, to: impl Fn(u64) -> u64) {
    record.chunks = record.chunks.iter().map(|at| Nanos(to(at.0))).collect();
    record.end = Nanos(to(record.end.0));
    record.scheduled = Nanos(to(record.scheduled.0));
    record.sent = Some(record.scheduled);
}

#[test]
fn halves_that_differ_are_a_note() {
    let spec = workload(json!({}));
    let mut records = plenty();
    // The second half takes twice as long.
    let half = 350 * 40_000_000;
    for record in &mut records[350..] {
        shifted(record, |at| at + (at - half));
    }
    let verdicts = judged(&[records], &context(&spec));
    assert_eq!(found(&verdicts), [(VerdictKind::NotSteady, Severity::Note)]);
}

#[test]
fn repeats_that_disagree_are_judged_by_the_difference() {
    let spec = workload(json!({}));
    // Every request starts later than before by a share of its length.
    let slower = |percent: u64| -> Vec<Record> {
        plenty()
            .into_iter()
            .map(|mut record| {
                shifted(&mut record, |at| at * (100 + percent) / 100);
                record
            })
            .collect()
    };
    let said = |percent| judged(&[plenty(), slower(percent)], &context(&spec));
    assert_eq!(said(5), []);
    assert_eq!(found(&said(15)), [(VerdictKind::RepeatsDisagree, Severity::Note)]);
    let verdicts = said(50);
    assert_eq!(found(&verdicts), [(VerdictKind::RepeatsDisagree, Severity::Metric)]);
    assert!(verdicts[0].reason.contains("throughput by 50 %"), "{}", verdicts[0].reason);
}

#[test]
fn simulation_and_unconfirmed_flags_are_reported() {
    let spec = workload(json!({}));
    let verdicts = judged(
        &[plenty()],
        &CellContext { engine_simulated: true, flags_confirmed: None, max_model_len: None, ..context(&spec) },
    );
    assert_eq!(
        found(&verdicts),
        [(VerdictKind::Simulated, Severity::Note), (VerdictKind::FlagsUnverified, Severity::Note)]
    );
    assert!(verdicts.iter().all(|verdict| !verdict.hint.is_empty()));
}

#[test]
fn prompts_of_another_length_than_requested_exclude_the_cell() {
    let spec = workload(json!({}));
    let with = |requested: u32| {
        after(&spec, |place, record| {
            record.input_tokens = Some(if place % 7 == 0 { requested } else { 10 });
        })
    };
    assert_eq!(found(&with(10)), []);
    let verdicts = with(12);
    assert_eq!(found(&verdicts), [(VerdictKind::InputLength, Severity::Cell)]);
    assert!(
        verdicts[0].reason.contains("100 of 700 requests") && verdicts[0].reason.contains("-2 to +0"),
        "{}",
        verdicts[0].reason
    );
}

#[test]
fn lengths_that_differ_by_request_are_judged_separately() {
    let spec = workload(json!({ "output": "exact" }));
    let asked_for = |short: bool| {
        after(&spec, |place, record| {
            record.max_tokens = [4, 40, 400][place % 3];
            let got = u64::from(record.max_tokens) - u64::from(short && place % 3 == 2);
            record.usage = record.usage.map(|usage| Usage { completion_tokens: got, ..usage });
        })
    };
    let kinds =
        |verdicts: &[Verdict]| found(verdicts).iter().any(|(kind, _)| *kind == VerdictKind::ShortOutput);
    assert!(!kinds(&asked_for(false)));
    let short = asked_for(true);
    let said = short.iter().find(|v| v.kind == VerdictKind::ShortOutput).unwrap();
    assert_eq!(said.severity, Severity::Metric);
    assert!(
        said.reason.contains(
            "233 of 700 requests returned fewer than the requested 4 to 400 (40 in the median) tokens"
        ),
        "{}",
        said.reason
    );
}

#[test]
fn an_open_loop_reports_dropped_and_waiting_requests() {
    let open = workload(json!({ "arrivals": "constant", "rate": 25, "max_in_flight": 9 }));
    let dropped = after(&open, |place, record| {
        if place % 100 == 0 {
            record.sent = None;
            record.outcome = Outcome::Dropped;
        }
    });
    let said = dropped.iter().find(|verdict| verdict.kind == VerdictKind::ArrivalsDropped).unwrap();
    assert_eq!(said.severity, Severity::Note);
    assert!(
        said.reason.contains("7 of 700 requests (1 %)") && said.reason.contains("because 9 were"),
        "{}",
        said.reason
    );
    // They count with all that did not complete, which says what they spoil.
    assert!(dropped.iter().any(|v| v.kind == VerdictKind::Errors));
    // Sent 12 ms after they were due, all of them: latency holds the delay, and the cell is not to be ranked.
    let late = after(&open, |_, record| {
        record.scheduled = Nanos(record.scheduled.0.saturating_sub(12_000_000));
    });
    let said = late.iter().find(|verdict| verdict.kind == VerdictKind::ClientLate).unwrap();
    assert_eq!(said.severity, Severity::Cell);
    assert!(said.reason.contains("at most 1 waited"), "{}", said.reason);
    // A batch cannot be sent in no time: its delay weighs by its share of the latency.
    let batch = workload(json!({ "arrivals": "at-once" }));
    let late = after(&batch, |_, record| record.scheduled = Nanos(0));
    assert!(late.iter().any(|v| v.kind == VerdictKind::ClientLate));
}
