//! Conversations: a turn waits for the answer before it and carries what was really said.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::manifest::{Input, Mean, ThinkTime};

/// A server that answers each request with its number, as ` A1` and `\"1` or in one piece, and keeps what it
/// was asked. It refuses one request.
#[derive(Clone, Default)]
struct Numbering {
    asked: Arc<Mutex<Vec<Vec<Value>>>>,
    refuses: Option<usize>,
}

impl Connect for Numbering {
    type Io = DuplexStream;

    async fn connect(&self) -> Result<DuplexStream, ConnectError> {
        let (ours, mut theirs) = duplex(1 << 20);
        let server = self.clone();
        tokio::spawn(async move {
            while let Some(body) = read_request(&mut theirs).await {
                let body: Value = serde_json::from_slice(&body).unwrap();
                let number = {
                    let mut asked = server.asked.lock().unwrap();
                    asked.push(body["messages"].as_array().unwrap().clone());
                    asked.len()
                };
                sleep(Duration::from_millis(10)).await;
                let answer = if server.refuses == Some(number) {
                    "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}".to_owned()
                } else {
                    let event = |delta: Value| {
                        chunk(&format!("data: {}\n\n", json!({ "choices": [{ "delta": delta }] })))
                    };
                    [
                        HEAD.to_owned(),
                        event(json!({ "role": "assistant", "content": "" })),
                        event(json!({ "reasoning_content": "hm" })),
                        event(json!({ "content": format!(" A{number}") })),
                        event(json!({ "content": format!("\"{number}") })),
                        end("stop", 3),
                    ]
                    .concat()
                };
                if theirs.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        Ok(ours)
    }
}

fn talks(spec: Value, streams: u32, stop: Stop, think: Option<ThinkTime>) -> Repeat {
    let file = json!([
        { "conversations": [
            { "from": "system", "value": "S" }, { "from": "human", "value": "one" }, { "from": "gpt", "value": "x" },
            { "from": "human", "value": "two" }, { "from": "human", "value": "three" } ] },
        { "conversations": [{ "from": "human", "value": "alone" }] },
    ]);
    let inputs = Inputs(BTreeMap::from([("c.json".into(), Input::new(String::new(), file.to_string()))]));
    let mut whole =
        json!({ "api": "chat", "conversations": { "file": "c.json", "turns": "all" }, "max_tokens": 3 });
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let cell = Cell { spec: Arc::new(serde_json::from_value(whole).unwrap()), ..cell(streams) };
    Repeat {
        requests: Arc::new(requests(&cell, &inputs, "m", 1).unwrap()),
        schedule: Schedule::Closed(Closed {
            streams,
            start: Start::Together,
            think,
            answer_tokens: 3,
            seed: 7,
        }),
        ..repeat_of(streams, stop, 0)
    }
}

fn messages(texts: &[&str]) -> Vec<Value> {
    let roles = ["user", "assistant"].into_iter().cycle();
    roles.zip(texts).map(|(role, text)| json!({ "role": role, "content": text })).collect()
}

/// Conversation and turn of each record.
fn turns(records: &[Record]) -> Vec<(u64, u32)> {
    let turns = records.iter().map(|record| record.turn.unwrap());
    turns.map(|turn| (turn.conversation, turn.number)).collect()
}

async fn run_on(server: &Numbering, repeat: Repeat) -> Vec<Record> {
    let (_keep, cancel) = watch::channel(false);
    records_of(repeat, server.clone(), cancel).await
}

#[tokio::test(start_paused = true)]
async fn a_turn_carries_the_answers_before_it_and_waits_for_them() {
    let server = Numbering::default();
    let think = Some(ThinkTime::Fixed(TimeSpan::from_millis(5)));
    let records = run_on(&server, talks(json!({}), 1, Stop::Requests(6), think)).await;
    assert_eq!(turns(&records), [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1)]);
    let sent: Vec<f64> = records.iter().map(|record| ms(record.sent.unwrap())).collect();
    assert_eq!(sent, [0.0, 15.0, 30.0, 45.0, 60.0, 75.0]);
    assert_eq!(records[2].input, 0);
    assert_eq!(records[3].input, 1);
    assert!(records.iter().all(|record| record.answer.is_none()), "no text is kept");
    let asked = server.asked.lock().unwrap().clone();
    let with_system = |texts: &[&str]| {
        let system = json!({ "role": "system", "content": "S" });
        std::iter::once(system).chain(messages(texts)).collect::<Vec<_>>()
    };
    assert_eq!(asked[0], with_system(&["one"]));
    assert_eq!(asked[1], with_system(&["one", " A1\"1", "two"]));
    assert_eq!(asked[2], with_system(&["one", " A1\"1", "two", " A2\"2", "three"]));
    assert_eq!(asked[3], messages(&["alone"]));
    assert_eq!(asked[5], with_system(&["one", " A5\"5", "two"]));
}

#[tokio::test(start_paused = true)]
async fn streams_hold_conversations_of_their_own_and_a_failed_turn_ends_one() {
    let server = Numbering { refuses: Some(3), ..Numbering::default() };
    let records = run_on(&server, talks(json!({}), 2, Stop::Requests(7), None)).await;
    assert_eq!(records.len(), 7);
    // The third request to arrive is the second turn of conversation 0; its stream goes on with another
    // conversation.
    let of = |conversation| turns(&records).into_iter().filter(|turn| turn.0 == conversation).count();
    assert_eq!(of(0), 2);
    assert_eq!(of(1), 1);
    let failed: Vec<(u64, u32)> = turns(&records)
        .into_iter()
        .zip(&records)
        .filter(|(_, record)| record.outcome != Outcome::Completed)
        .map(|(turn, _)| turn)
        .collect();
    assert_eq!(failed, [(0, 1)]);
}

#[tokio::test(start_paused = true)]
async fn conversations_of_an_open_loop_begin_at_their_instants_and_later_turns_follow_answers() {
    let server = Numbering::default();
    let repeat = Repeat {
        schedule: Schedule::Open(Open {
            due: [0, 5, 100].map(|ms| Nanos(ms * 1_000_000)).to_vec(),
            max_in_flight: None,
            think: Some(ThinkTime::Fixed(TimeSpan::from_millis(7))),
            seed: 7,
        }),
        warmup: 1,
        ..talks(json!({}), 1, Stop::Requests(2), None)
    };
    let records = run_on(&server, repeat).await;
    // Conversations 0 and 2 have three turns, conversation 1 has one; an answer takes 10 ms.
    let seen: Vec<_> = records
        .iter()
        .zip(turns(&records))
        .map(|(record, turn)| (record.index, turn, ms(record.scheduled), record.phase))
        .collect();
    let (warm, counted) = (Phase::Warmup, Phase::Measured);
    assert_eq!(
        seen,
        [
            (0, (0, 0), 0.0, warm),
            (1, (1, 0), 5.0, counted),
            (2, (2, 0), 100.0, counted),
            (3, (0, 1), 17.0, warm),
            (4, (0, 2), 34.0, warm),
            (5, (2, 1), 117.0, counted),
            (6, (2, 2), 134.0, counted),
        ]
    );
    assert!(records.iter().all(|record| record.sent == Some(record.scheduled)));
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 7);
    assert_eq!(asked[2][2]["content"], " A1\"1", "the answer it waited for");
}

#[tokio::test(start_paused = true)]
async fn turns_may_be_bounded_and_fresh_words_begin_a_conversation_once() {
    let server = Numbering::default();
    let spec = json!({ "conversations": { "file": "c.json", "turns": 2 }, "cache": "fresh" });
    let think = Some(ThinkTime::Exponential(Mean { mean: TimeSpan::from_millis(5) }));
    let records = run_on(&server, talks(spec, 1, Stop::Requests(5), think)).await;
    assert_eq!(turns(&records), [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1)]);
    let asked = server.asked.lock().unwrap().clone();
    let first = asked[0][1]["content"].as_str().unwrap();
    assert!(first.ends_with("\none") && first.len() > 50, "{first}");
    assert_eq!(asked[1][1]["content"], first, "the history is what was sent");
    assert_eq!(asked[1][3]["content"], "two");
    assert_ne!(asked[3][1]["content"], first, "another conversation begins otherwise");
}
