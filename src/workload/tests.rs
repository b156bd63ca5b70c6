//! What is sent: the bodies, their freshness, and that a seed decides them.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::*;
use crate::{manifest::Input, plan::Stop};

fn cell(spec: Value) -> Cell {
    let spec: crate::manifest::Workload = serde_json::from_value(spec).unwrap();
    Cell {
        id: "cell".into(),
        workload: "chat".into(),
        stop: Stop::Requests(1),
        max_tokens: spec.max_tokens.unwrap(),
        spec: Arc::new(spec),
        axes: BTreeMap::new(),
        seed: 7,
        skip: None,
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
    assert_eq!(
        (&body["max_tokens"], &body["min_tokens"]),
        (&json!(3), &json!(2))
    );
}

#[test]
fn the_first_turn_of_a_conversation_is_its_prompt() {
    let file = r#"[{"conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "one"}]},
                   {"conversations": [{"from": "human", "value": "two"}, {"from": "gpt", "value": "x"}]}]"#;
    let inputs = Inputs(BTreeMap::from([(
        "c.json".into(),
        Input::new(String::new(), file.into()),
    )]));
    let spec =
        |api: &str| json!({ "api": api, "conversations": { "file": "c.json" }, "max_tokens": 4 });
    let chat = requests(&cell(spec("chat")), &inputs, "m", 1).unwrap();
    assert_eq!(chat.inputs(), 2);
    assert_eq!(
        body(&chat, 2)["messages"],
        json!([{ "role": "system", "content": "S" }, { "role": "user", "content": "one" }])
    );
    assert_eq!(
        body(&chat, 1)["messages"],
        json!([{ "role": "user", "content": "two" }])
    );
    let completions = requests(&cell(spec("completions")), &inputs, "m", 1).unwrap();
    assert_eq!(body(&completions, 0)["prompt"], "one");
}

#[test]
fn fresh_prompts_differ_by_request_and_repeat_and_end_as_written() {
    let spec = json!({ "prompts": ["same"], "max_tokens": 4, "cache": "fresh" });
    let text = |repeat, index| {
        let requests = requests(&cell(spec.clone()), &Inputs::default(), "m", repeat).unwrap();
        body(&requests, index)["prompt"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(text(1, 0), text(1, 0));
    let all = [text(1, 0), text(1, 1), text(2, 0), text(2, 1)];
    let firsts: std::collections::BTreeSet<&str> = all
        .iter()
        .map(|text| text.split(' ').next().unwrap())
        .collect();
    assert_eq!(firsts.len(), 4, "{all:?}");
    assert!(all.iter().all(|text| text.ends_with("\nsame")), "{all:?}");
}
