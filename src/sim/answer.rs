//! The JSON of an answer, as vLLM writes it.

use bytes::Bytes;
use serde_json::{Value, json};

/// The part of an answer that a token belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Content,
    /// Reasoning, which only a chat has.
    Reasoning,
    /// The arguments of a tool call.
    ToolCall,
}

/// What all events of an answer have in common.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) chat: bool,
    pub(super) id: u64,
    pub(super) model: String,
    /// Seconds since the Unix epoch.
    pub(super) created: i64,
    pub(super) prompt_tokens: u64,
    /// Whether a last event has the usage.
    pub(super) include_usage: bool,
    /// Whether every event has the usage.
    pub(super) continuous_usage: bool,
}

impl Answer {
    /// The role-only event a chat stream begins with.
    pub(super) fn role(&self) -> Bytes {
        let choice = json!({"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": null, "finish_reason": null});
        self.event(vec![choice], self.continuous_usage.then_some(0))
    }

    /// The event of the tokens up to the `number`th, with the reason if the answer ends.
    pub(super) fn token(&self, part: Part, text: &str, number: u64, finish: Option<&str>) -> Bytes {
        let choice = if self.chat {
            let delta = match part {
                Part::Content => json!({"content": text}),
                Part::Reasoning => json!({"reasoning": text}),
                Part::ToolCall => json!({"tool_calls": [
                    {"index": 0, "id": "call-0", "type": "function", "function": {"name": "sim", "arguments": text}}
                ]}),
            };
            json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish, "token_ids": null})
        } else {
            json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish, "stop_reason": null,
                   "prompt_token_ids": null, "token_ids": null})
        };
        self.event(vec![choice], self.continuous_usage.then_some(number))
    }

    /// The last event of a stream with usage.
    pub(super) fn usage_event(&self, completion_tokens: u64) -> Bytes {
        self.event(Vec::new(), Some(completion_tokens))
    }

    /// The body of an answer that is not streamed.
    pub(super) fn body(&self, text: &str, completion_tokens: u64, finish: &str) -> Value {
        let (object, choice) = if self.chat {
            let message = json!({"role": "assistant", "content": text, "refusal": null, "reasoning": null});
            (
                "chat.completion",
                json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish, "stop_reason": null}),
            )
        } else {
            (
                "text_completion",
                json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish, "stop_reason": null}),
            )
        };
        json!({"id": self.name(), "object": object, "created": self.created, "model": self.model,
               "choices": [choice], "usage": self.usage(completion_tokens)})
    }

    /// The event of a failure, as vLLM writes it when its engine has died.
    pub(super) fn error(&self) -> Bytes {
        Bytes::from(format!("data: {}\n\n", self.failure()))
    }

    pub(super) fn failure(&self) -> Value {
        json!({"error": {"message": "EngineCore encountered an issue. See stack trace (above) for the root cause.",
                         "type": "InternalServerError", "param": null, "code": 500}})
    }

    fn event(&self, choices: Vec<Value>, usage: Option<u64>) -> Bytes {
        let object = if self.chat { "chat.completion.chunk" } else { "text_completion" };
        let mut event = json!({"id": self.name(), "object": object, "created": self.created, "model": self.model,
                               "choices": choices});
        if let Some(tokens) = usage {
            event["usage"] = self.usage(tokens);
        }
        Bytes::from(format!("data: {event}\n\n"))
    }

    fn name(&self) -> String {
        let kind = if self.chat { "chatcmpl" } else { "cmpl" };
        format!("{kind}-{:016x}", self.id)
    }

    fn usage(&self, completion_tokens: u64) -> Value {
        json!({"prompt_tokens": self.prompt_tokens, "total_tokens": self.prompt_tokens + completion_tokens,
               "completion_tokens": completion_tokens})
    }
}
