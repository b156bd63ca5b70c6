//! One event of an OpenAI-compatible stream → what the client needs of it, and nothing else.

use std::borrow::Cow;

use serde::{Deserialize, de::IgnoredAny};

use super::record::Usage;

/// What one event says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Whether it carries generated output: text, reasoning, or a tool call.
    pub(super) output: bool,
    /// Why the answer ended, when it does here.
    pub(super) finish_reason: Option<String>,
    /// Tokens so far, or in all.
    pub(super) usage: Option<Usage>,
    /// The server's own report of a failure.
    pub(super) error: Option<String>,
    /// `[DONE]`
    pub(super) done: bool,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(borrow, default)]
    error: Option<WireError<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    delta: Option<Message<'a>>,
    #[serde(borrow, default)]
    message: Option<Message<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reasoning: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(default)]
    tool_calls: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct WireUsage {
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WireError<'a> {
    Object {
        #[serde(borrow, default)]
        message: Option<Cow<'a, str>>,
    },
    Text(#[serde(borrow)] Cow<'a, str>),
}

impl Message<'_> {
    fn has_output(&self) -> bool {
        [&self.content, &self.reasoning, &self.reasoning_content]
            .iter()
            .any(|part| part.as_deref().is_some_and(|text| !text.is_empty()))
            || self
                .tool_calls
                .as_ref()
                .is_some_and(|calls| !calls.is_empty())
    }
}

/// Reads the data of one event, or the whole body of an answer that was not streamed.
pub(super) fn read(data: &[u8]) -> Result<Event, String> {
    let data = data.trim_ascii();
    if data == b"[DONE]" {
        return Ok(Event {
            done: true,
            ..Event::default()
        });
    }
    let wire: Wire<'_> = serde_json::from_slice(data)
        .map_err(|error| format!("an event is not the JSON of this API: {error}"))?;
    if wire.choices.is_none() && wire.usage.is_none() && wire.error.is_none() {
        return Err("an event has neither choices nor usage nor an error".into());
    }
    let mut event = Event::default();
    for choice in wire.choices.iter().flatten() {
        let text = choice.text.as_deref().is_some_and(|text| !text.is_empty());
        let message = [&choice.delta, &choice.message]
            .into_iter()
            .flatten()
            .any(Message::has_output);
        event.output |= text || message;
        if let Some(reason) = &choice.finish_reason {
            event.finish_reason = Some(reason.clone().into_owned());
        }
    }
    // A usage without completion tokens counts a prompt only; nothing can be said of the answer then.
    event.usage = wire.usage.and_then(|usage| {
        Some(Usage {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens?,
            cached_tokens: usage
                .prompt_tokens_details
                .and_then(|details| details.cached_tokens),
        })
    });
    event.error = wire.error.map(|error| match error {
        WireError::Object { message } => {
            message.map_or_else(|| "an error without a message".to_owned(), Cow::into_owned)
        }
        WireError::Text(text) => text.into_owned(),
    });
    Ok(event)
}

/// Appends the text that an event brings: what a person would read, not what was thought.
pub(super) fn append_text(data: &[u8], said: &mut String) {
    let Ok(wire) = serde_json::from_slice::<Wire<'_>>(data.trim_ascii()) else {
        return;
    };
    for choice in wire.choices.iter().flatten() {
        let messages = [&choice.delta, &choice.message].into_iter().flatten();
        let contents = messages.filter_map(|message| message.content.as_deref());
        said.extend(choice.text.as_deref().into_iter().chain(contents));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_generated_output_counts_as_output() {
        for (data, output) in [
            (r#"{"choices":[{"text":"a"}]}"#, true),
            (r#"{"choices":[{"text":""}]}"#, false),
            (
                r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
                false,
            ),
            (r#"{"choices":[{"delta":{"content":"\u00e9\n"}}]}"#, true),
            (
                r#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#,
                true,
            ),
            (r#"{"choices":[{"delta":{"reasoning":"hm"}}]}"#, true),
            (
                r#"{"choices":[{"delta":{"content":null,"tool_calls":[{"index":0}]}}]}"#,
                true,
            ),
            (
                r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
                false,
            ),
            (
                r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":8}}"#,
                false,
            ),
        ] {
            assert_eq!(read(data.as_bytes()).unwrap().output, output, "{data}");
        }
    }

    #[test]
    fn usage_end_and_errors_are_read() {
        let usage = read(br#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":8,"prompt_tokens_details":{"cached_tokens":4}}}"#).unwrap();
        assert_eq!(
            usage.usage,
            Some(Usage {
                prompt_tokens: 7,
                completion_tokens: 8,
                cached_tokens: Some(4)
            })
        );
        assert!(read(b" [DONE]").unwrap().done);
        let error = read(br#"{"error": {"message": "EngineCore died", "code": 500}}"#).unwrap();
        assert_eq!(error.error.as_deref(), Some("EngineCore died"));
        assert!(read(b"{\"choices\": [").is_err());
        assert!(read(b"{}").is_err());
    }
}
