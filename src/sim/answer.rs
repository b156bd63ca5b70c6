//! The JSON of an answer, in the shapes of vLLM's.

use bytes::Bytes;
use serde_json::{Value, json};

/// What a token is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Content,
    /// What a chat's model thinks; a completion knows no other text than its own.
    Reasoning,
    /// The arguments of a tool's call.
    ToolCall,
}

/// What stays the same through one answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) chat: bool,
    pub(super) id: u64,
    pub(super) model: String,
    /// Seconds since the Unix epoch.
    pub(super) created: i64,
    pub(super) prompt_tokens: u64,
    /// Usage in a last event.
    pub(super) include_usage: bool,
    /// Usage in every event.
    pub(super) continuous_usage: bool,
}

impl Answer {
    /// The role-only event a chat stream begins with.
    pub(super) fn role(&self) -> Bytes {
        let choice = json!({"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": null, "finish_reason": null});
        self.event(vec![choice], self.continuous_usage.then_some(0))
    }

    /// The event of tokens up to the `number`th; an answer that ends has a reason.
    pub(super) fn token(&self, said: Said, text: &str, number: u64, finish: Option<&str>) -> Bytes {
        let choice = if self.chat {
            let delta = match said {
                Said::Content => json!({"content": text}),
                Said::Reasoning => json!({"reasoning": text}),
                Said::ToolCall => json!({"tool_calls": [
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

    /// The last event of a stream that was asked for its usage.
    pub(super) fn usage_event(&self, completion_tokens: u64) -> Bytes {
        self.event(Vec::new(), Some(completion_tokens))
    }

    /// The whole answer at once.
    pub(super) fn whole(&self, text: &str, completion_tokens: u64, finish: &str) -> Value {
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

    /// The event of a failure, as vLLM writes it when its engine is dead.
    pub(super) fn error(&self) -> Bytes {
        Bytes::from(format!("data: {}\n\n", self.failure()))
    }

    /// The body of a failure.
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
