//! What is sent: the bodies, their freshness, and that a seed decides them.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::*;
use crate::{
    manifest::{Input, Inputs},
    plan::{Cell, Stop},
};

fn cell(spec: Value) -> Cell {
    let spec: crate::manifest::Workload = serde_json::from_value(spec).unwrap();
    let most = Inputs::default().longest_output(&spec);
    Cell {
        id: "cell".into(),
        workload: "chat".into(),
        stop: Stop::Requests(1),
        max_tokens: most.unwrap_or_default(),
        spec: Arc::new(spec),
        axes: BTreeMap::new(),
        seed: 7,
        skip: None,
        rung_below: None,
        search: None,
        attempt: None,
    }
}

fn of(spec: Value) -> Requests {
    requests(&cell(spec), &Inputs::default(), "m", 1).unwrap()
}

fn body(requests: &Requests, index: u64) -> Value {
    serde_json::from_slice(&requests.get(index).body).unwrap()
}

#[test]
fn a_completion_has_every_field_that_was_asked_for() {
    let requests = of(json!({
        "prompts": ["say \"hi\"\n\u{1F600}"], "max_tokens": 5, "output": "exact", "temperature": 0.5,
        "extra_body": { "top_p": 0.9, "top_k": 20, "guided": { "choice": ["a", { "b": [1] }] } },
    }));
    assert_eq!(requests.path(), "/v1/completions");
    assert_eq!(
        body(&requests, 0),
        json!({
            "model": "m", "prompt": "say \"hi\"\n\u{1F600}", "max_tokens": 5, "min_tokens": 5, "ignore_eos": true,
            "temperature": 0.5, "top_p": 0.9, "top_k": 20, "guided": { "choice": ["a", { "b": [1] }] },
            "stream": true, "stream_options": { "include_usage": true },
        })
    );
}

#[test]
fn a_whole_answer_is_asked_for_without_the_options_of_a_stream() {
    let requests = of(json!({ "prompts": ["a"], "max_tokens": 5, "stream": false }));
    let body = body(&requests, 0);
    assert_eq!(body["stream"], json!(false));
    assert_eq!(body.get("stream_options"), None);
}

#[test]
fn a_chat_has_messages_and_what_the_manifest_sets_itself_is_kept() {
    let requests = of(json!({
        "api": "chat", "system": "Be \"brief\".", "prompts": ["a", "b"], "max_tokens": 5, "output": "exact",
        "extra_body": { "max_tokens": 3, "min_tokens": 2 },
    }));
    assert_eq!(requests.path(), "/v1/chat/completions");
    let text = String::from_utf8(requests.get(3).body.to_vec()).unwrap();
    assert_eq!(text.matches("max_tokens").count(), 1, "{text}");
    let body = body(&requests, 3);
    assert_eq!(
        body["messages"],
        json!([{ "role": "system", "content": "Be \"brief\"." }, { "role": "user", "content": "b" }])
    );
    assert_eq!((&body["max_tokens"], &body["min_tokens"]), (&json!(3), &json!(2)));
}

#[test]
fn the_first_turn_of_a_conversation_is_its_prompt() {
    let file = r#"[{"conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "one"}]},
                   {"conversations": [{"from": "human", "value": "two"}, {"from": "gpt", "value": "x"}]}]"#;
    let inputs = Inputs(BTreeMap::from([("c.json".into(), Input::new(String::new(), file.into()))]));
    let spec = |api: &str| json!({ "api": api, "conversations": { "file": "c.json" }, "max_tokens": 4 });
    let chat = requests(&cell(spec("chat")), &inputs, "m", 1).unwrap();
    assert_eq!(chat.inputs(), Some(2));
    assert_eq!(
        body(&chat, 2)["messages"],
        json!([{ "role": "system", "content": "S" }, { "role": "user", "content": "one" }])
    );
    assert_eq!(body(&chat, 1)["messages"], json!([{ "role": "user", "content": "two" }]));
    let completions = requests(&cell(spec("completions")), &inputs, "m", 1).unwrap();
    assert_eq!(body(&completions, 0)["prompt"], "one");
}

#[test]
fn a_line_may_say_how_long_its_answer_is() {
    let file = "{\"prompt\": \"a\", \"n\": 3}\n{\"prompt\": \"b\", \"n\": 50}\n";
    let inputs = Inputs(BTreeMap::from([("p.jsonl".into(), Input::new(String::new(), file.into()))]));
    for prompt in [None, Some("say {{ prompt }}")] {
        let mut spec = json!({ "prompts": { "file": "p.jsonl", "output_tokens_field": "n" } });
        if let Some(prompt) = prompt {
            spec["prompt"] = prompt.into();
        }
        let cell = cell(spec);
        assert_eq!(inputs.longest_output(&cell.spec), Some(50));
        let requests = requests(&cell, &inputs, "m", 1).unwrap();
        let lengths: Vec<u32> = (0..3).map(|index| requests.get(index).max_tokens).collect();
        assert_eq!(lengths, [3, 50, 3]);
        let body = body(&requests, 1);
        assert_eq!((&body["max_tokens"], &body["min_tokens"]), (&json!(50), &json!(50)));
    }
    let missing = serde_json::from_value(json!({ "file": "p.jsonl", "output_tokens_field": "m" }));
    let said = inputs.lines(&missing.unwrap()).unwrap_err().to_string();
    assert!(said.contains("p.jsonl:1 has no number of tokens"), "{said}");
}

#[test]
fn fresh_prompts_differ_by_request_and_repeat_and_end_as_written() {
    let spec = json!({ "prompts": ["same"], "max_tokens": 4, "cache": "fresh" });
    let text = |repeat, index| {
        let requests = requests(&cell(spec.clone()), &Inputs::default(), "m", repeat).unwrap();
        body(&requests, index)["prompt"].as_str().unwrap().to_owned()
    };
    assert_eq!(text(1, 0), text(1, 0));
    let all = [text(1, 0), text(1, 1), text(2, 0), text(2, 1)];
    let firsts: std::collections::BTreeSet<&str> =
        all.iter().map(|text| text.split(' ').next().unwrap()).collect();
    assert_eq!(firsts.len(), 4, "{all:?}");
    assert!(all.iter().all(|text| text.ends_with("\nsame")), "{all:?}");
}

/// A tokenizer of its own kind: a token for every three letters of a word, a beginning-of-text token, and a
/// template of five more around a chat's text and two around its system message.
fn tokenize(body: &serde_json::Map<String, Value>) -> TokenCount {
    let text = |text: &Value| -> Vec<u32> {
        text.as_str()
            .unwrap()
            .split_whitespace()
            .flat_map(|word| {
                let pieces = word.as_bytes().chunks(3);
                pieces.map(|piece| piece.iter().fold(7, |id, byte| id * 31 + u32::from(*byte)) % 50_000)
            })
            .collect()
    };
    let mut ids = vec![1];
    match body.get("messages") {
        None => ids.extend(text(&body["prompt"])),
        Some(messages) => {
            for message in messages.as_array().unwrap() {
                ids.extend([2, 3]);
                ids.extend(text(&message["content"]));
            }
            ids.extend([4, 5]);
        }
    }
    TokenCount { tokens: ids.len() as u32, ids }
}

fn vocabulary(spec: &crate::manifest::Workload) -> Vocabulary {
    let count = |text: &String| tokenize(&token_count_body(spec, "m", text));
    let counts: Vec<TokenCount> = Vocabulary::samples().iter().map(count).collect();
    let vocabulary = Vocabulary::learn(&counts).unwrap();
    for (text, tokens) in vocabulary.probes(5) {
        assert_eq!(count(&text).tokens, tokens, "{text}");
    }
    vocabulary
}

/// The made requests of a cell of that seed, and what the tokenizer above counts in each.
fn made(spec: &Value, seed: u64, repeat: u32) -> (Requests, impl Fn(u64) -> (Request, Vec<u32>) + use<>) {
    let cell = Cell { seed, ..cell(spec.clone()) };
    let requests =
        generated_requests(&cell, &Inputs::default(), &vocabulary(&cell.spec), "m", repeat).unwrap();
    let again = requests.clone();
    let counted = move |index| {
        let request = again.get(index);
        let body: serde_json::Map<String, Value> = serde_json::from_slice(&request.body).unwrap();
        let ids = match body.get("prompt").and_then(Value::as_array) {
            Some(ids) => ids.iter().map(|id| id.as_u64().unwrap() as u32).collect(),
            None => tokenize(&body).ids,
        };
        (request, ids)
    };
    (requests, counted)
}

#[test]
fn made_prompts_have_the_length_asked_for_on_both_apis() {
    for api in ["completions", "chat"] {
        for system in [None, Some("Be brief and kind")] {
            let mut spec = json!({
                "api": api, "synthetic": {
                    "input_tokens": { "uniform": [20, 3000] },
                    "output_tokens": { "lognormal": { "mean": 100, "stddev": 80, "min": 4, "max": 900 } },
                },
            });
            if let (Some(system), "chat") = (system, api) {
                spec["system"] = system.into();
            }
            let (_, counted) = made(&spec, 7, 1);
            let mut seen = std::collections::BTreeSet::new();
            for index in 0..60 {
                let (request, ids) = counted(index);
                assert_eq!(request.input_tokens, Some(ids.len() as u32), "{api} {index}");
                let body: Value = serde_json::from_slice(&request.body).unwrap();
                assert_eq!(body["max_tokens"], request.max_tokens);
                assert_eq!(body["min_tokens"], request.max_tokens);
                assert_eq!(body["ignore_eos"], true);
                assert_eq!(body["prompt"].is_array(), api == "completions");
                assert!((4..=900).contains(&request.max_tokens));
                seen.insert((ids.len(), request.max_tokens));
            }
            assert!(seen.len() > 50, "lengths are drawn for each request");
        }
    }
}

#[test]
fn the_shortest_prompts_are_met_and_shorter_ones_refused() {
    // One beginning-of-text token, two and two of the template, two for `Read`.
    let spec =
        |tokens: u32| json!({ "api": "chat", "synthetic": { "input_tokens": tokens }, "max_tokens": 4 });
    let (_, counted) = made(&spec(7), 7, 1);
    assert_eq!(counted(0).1.len(), 7);
    let cell = cell(spec(6));
    let said = generated_requests(&cell, &Inputs::default(), &vocabulary(&cell.spec), "m", 1)
        .unwrap_err()
        .to_string();
    assert!(said.contains("5 tokens before their first word and 2 after"), "{said}");
    assert!(requests(&cell, &Inputs::default(), "m", 1).is_err());
}

#[test]
fn made_prompts_share_no_beginning_across_requests_repeats_and_cells_and_keep_their_lengths() {
    for api in ["completions", "chat"] {
        let spec = json!({
            "api": api, "synthetic": { "input_tokens": { "uniform": [40, 400] }, "output_tokens": { "uniform": [1, 99] } },
        });
        let mut beginnings = std::collections::BTreeSet::new();
        for (seed, repeat) in [(7, 1), (7, 2), (8, 1), (1 << 40, 1)] {
            let (_, counted) = made(&spec, seed, repeat);
            let (_, first_repeat) = made(&spec, seed, 1);
            for index in 0..50 {
                let (request, ids) = counted(index);
                assert_eq!(request, counted(index).0, "a seed decides every byte");
                let (same, _) = first_repeat(index);
                assert_eq!((request.input_tokens, request.max_tokens), (same.input_tokens, same.max_tokens));
                // The template, `Read`, and eight tokens of the prompt's own.
                beginnings.insert(ids[..16].to_vec());
            }
        }
        assert_eq!(beginnings.len(), 4 * 50, "{api}");
    }
}

#[test]
fn groups_share_their_prefix_and_nothing_else() {
    for api in ["completions", "chat"] {
        let spec = json!({
            "api": api, "max_tokens": 4,
            "shared_prefix": { "groups": 3, "prefix_tokens": 100, "suffix_tokens": { "uniform": [20, 30] } },
        });
        let (requests, counted) = made(&spec, 7, 1);
        let (_, again) = made(&spec, 7, 2);
        assert_eq!(requests.inputs(), Some(3));
        let prefix = 100;
        let mut prefixes = std::collections::BTreeSet::new();
        let mut suffixes = std::collections::BTreeSet::new();
        for index in 0..30 {
            let (request, ids) = counted(index);
            assert_eq!(request.input, (index % 3) as u32);
            assert_eq!(request.input_tokens, Some(ids.len() as u32));
            assert!((120..=130).contains(&ids.len()));
            prefixes.insert(ids[..prefix].to_vec());
            suffixes.insert(ids[prefix..prefix + 10].to_vec());
            assert_ne!(again(index).1[..20], ids[..20], "a repeat has prefixes of its own");
        }
        assert_eq!((prefixes.len(), suffixes.len()), (3, 30), "{api}");
    }
}

#[test]
fn counts_that_make_no_sense_are_refused() {
    let none: Vec<TokenCount> = Vocabulary::samples().iter().map(|_| TokenCount::default()).collect();
    assert!(Vocabulary::learn(&none).is_err());
    assert!(Vocabulary::learn(&[]).is_err());
    let count =
        |at: usize, cost: u32| TokenCount { tokens: if at == 0 { 5 } else { 5 + cost }, ids: Vec::new() };
    let of =
        |cost| -> Vec<TokenCount> { (0..Vocabulary::samples().len()).map(|at| count(at, cost)).collect() };
    let said = Vocabulary::learn(&of(2)).unwrap_err().to_string();
    assert!(said.contains("no common word is a single token"), "{said}");
    assert!(Vocabulary::learn(&of(1)).is_ok());
}

#[test]
fn a_trace_alone_says_how_long_prompts_and_answers_are_and_which_blocks_they_share() {
    // Two conversations; the second line continues the first, and the last is shorter than any prompt can be.
    let trace = "{\"timestamp\": 0, \"input_length\": 700, \"output_length\": 5, \"hash_ids\": [1, 2]}\n\
                 {\"timestamp\": 9, \"input_length\": 1200, \"output_length\": 7, \"hash_ids\": [1, 3, 4]}\n\
                 {\"timestamp\": 9, \"input_length\": 600, \"output_length\": 1, \"hash_ids\": [8, 9]}\n\
                 {\"timestamp\": 10, \"input_length\": 1, \"output_length\": 2}\n";
    let inputs = Inputs(std::collections::BTreeMap::from([(
        "t.jsonl".into(),
        crate::manifest::Input::new(String::new(), trace.into()),
    )]));
    for api in ["completions", "chat"] {
        let spec = json!({ "api": api, "arrivals": "trace", "trace": { "file": "t.jsonl" } });
        let cell = cell(spec);
        let vocabulary = vocabulary(&cell.spec);
        let requests = generated_requests(&cell, &inputs, &vocabulary, "m", 1).unwrap();
        let ids = |index: u64| -> (Request, Vec<u32>) {
            let request = requests.get(index);
            let body: serde_json::Map<String, Value> = serde_json::from_slice(&request.body).unwrap();
            assert_eq!(body["min_tokens"], request.max_tokens, "answers are exact");
            let ids = match body.get("prompt").and_then(Value::as_array) {
                Some(ids) => ids.iter().map(|id| id.as_u64().unwrap() as u32).collect(),
                None => tokenize(&body).ids,
            };
            (request, ids)
        };
        let all: Vec<(Request, Vec<u32>)> = (0..4).map(ids).collect();
        let lengths: Vec<usize> = all.iter().map(|(_, ids)| ids.len()).collect();
        assert_eq!(lengths[..3], [700, 1200, 600], "{api}");
        let asked: Vec<u32> = all.iter().map(|(request, _)| request.max_tokens).collect();
        assert_eq!(asked, [5, 7, 1, 2]);
        for (request, ids) in &all {
            assert_eq!(request.input_tokens, Some(ids.len() as u32), "{api}");
        }
        // The block of 512 tokens with the same hash, and not much more.
        let same = |a: usize, b: usize| {
            let pairs = all[a].1.iter().zip(&all[b].1);
            pairs.take_while(|(a, b)| a == b).count()
        };
        assert!((512..532).contains(&same(0, 1)), "{api}: {}", same(0, 1));
        assert!(same(0, 2) < 20, "{api}: {}", same(0, 2));
    }
}
