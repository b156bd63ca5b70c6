//! Parses the events of an OpenAI-compatible stream.
//!
//! Most events of an answer differ only in their text. A [`Reader`] keeps the bytes before and after the text
//! of the last event it parsed. When the next event has the same bytes around a valid JSON string, its JSON
//! is valid and its meaning known after two comparisons and a scan of the text. Every other event is parsed
//! with serde_json. Either way all of the JSON is checked.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, SeqAccess, Visitor},
};

use super::{error::AnswerError, record::Usage};

/// The content of one event, as far as the client uses it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Whether it carries generated output: text, reasoning, or a tool call.
    pub(super) output: bool,
    /// Why generation ended, when the event says so.
    pub(super) finish_reason: Option<String>,
    /// Token counts so far, or in total.
    pub(super) usage: Option<Usage>,
    /// An error that the server reports.
    pub(super) error: Option<String>,
    /// Whether it is `[DONE]`, the end of the stream.
    pub(super) done: bool,
}

/// A string, borrowed unless it has escapes. (serde never borrows an `Option<Cow<str>>`.)
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Text<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The most choices that an event may have. Each costs memory, and a request asks for few.
const MOST_CHOICES: usize = 1024;

struct Choices<'a>(Vec<Choice<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Choices<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Few;
        impl<'de> Visitor<'de> for Few {
            type Value = Choices<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MOST_CHOICES} choices")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut choices = Vec::with_capacity(1);
                while let Some(choice) = list.next_element()? {
                    if choices.len() == MOST_CHOICES {
                        return Err(A::Error::invalid_length(MOST_CHOICES + 1, &self));
                    }
                    choices.push(choice);
                }
                Ok(Choices(choices))
            }
        }
        deserializer.deserialize_seq(Few)
    }
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    choices: Option<Choices<'a>>,
    usage: Option<WireUsage>,
    #[serde(borrow)]
    error: Option<WireError<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    delta: Option<Message<'a>>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Text<'a>>,
    tool_calls: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct WireUsage {
    /// 32 bits are enough for any model, and sums over requests cannot overflow 64.
    prompt_tokens: u32,
    completion_tokens: Option<u32>,
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WireError<'a> {
    Object {
        #[serde(borrow)]
        message: Option<Text<'a>>,
    },
    Text(#[serde(borrow)] Text<'a>),
}

impl Message<'_> {
    fn has_output(&self) -> bool {
        [&self.content, &self.reasoning, &self.reasoning_content]
            .iter()
            .any(|part| part.as_ref().is_some_and(|text| !text.is_empty()))
            || self.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty())
    }
}

/// Reads the events of a stream, one after the other.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The bytes before the text of the last event that held nothing but text; empty when there was none yet.
    before: Vec<u8>,
    /// The bytes after it.
    after: Vec<u8>,
}

impl Reader {
    pub(super) fn read(&mut self, data: &[u8]) -> Result<Event, AnswerError> {
        if let Some(text) = self.text_of(data) {
            return Ok(Event { output: !text.is_empty(), ..Event::default() });
        }
        let data = data.trim_ascii();
        let (event, text) = parse(data)?;
        if let Some(text) = text {
            // The text is borrowed from the data, so its offset is known.
            let start = text.as_ptr() as usize - data.as_ptr() as usize;
            self.before.clear();
            self.before.extend_from_slice(&data[..start]);
            self.after.clear();
            self.after.extend_from_slice(&data[start + text.len()..]);
        }
        Ok(event)
    }

    /// Returns the text of an event that equals the last one except for its text.
    fn text_of<'a>(&self, data: &'a [u8]) -> Option<&'a [u8]> {
        if self.before.is_empty() {
            return None;
        }
        let text = data.strip_prefix(&self.before[..])?.strip_suffix(&self.after[..])?;
        is_string(text).then_some(text)
    }
}

/// Whether bytes between two quotes form a JSON string. Returns false for `\u` escapes, which are left to the
/// parser.
fn is_string(text: &[u8]) -> bool {
    let mut bytes = text.iter();
    let mut ascii = true;
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' | 0..0x20 => return false,
            b'\\' => match bytes.next() {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                _ => return false,
            },
            _ => ascii &= byte.is_ascii(),
        }
    }
    ascii || std::str::from_utf8(text).is_ok()
}

/// Reads the whole body of an answer that was not streamed, or whose status is not 200.
pub(super) fn read(data: &[u8]) -> Result<Event, AnswerError> {
    Ok(parse(data.trim_ascii())?.0)
}

/// Parses an event. Also returns its text, borrowed from the data, when the event holds nothing else.
fn parse(data: &[u8]) -> Result<(Event, Option<&str>), AnswerError> {
    if data == b"[DONE]" {
        let event = Event { done: true, ..Event::default() };
        return Ok((event, None));
    }
    let wire: Wire<'_> =
        serde_json::from_slice(data).map_err(|error| AnswerError::EventJson(error.to_string()))?;
    if wire.choices.is_none() && wire.usage.is_none() && wire.error.is_none() {
        return Err(AnswerError::EmptyEvent);
    }
    let mut event = Event::default();
    let text = wire.only_text();
    for choice in wire.choices.into_iter().flat_map(|choices| choices.0) {
        let text = choice.text.as_ref().is_some_and(|text| !text.is_empty());
        let message = [&choice.delta, &choice.message].into_iter().flatten().any(Message::has_output);
        event.output |= text || message;
        if let Some(reason) = choice.finish_reason {
            event.finish_reason = Some(reason.0.into_owned());
        }
    }
    // A usage without completion tokens counts only the prompt, which is of no use here.
    event.usage = wire.usage.and_then(|usage| {
        Some(Usage {
            prompt_tokens: usage.prompt_tokens.into(),
            completion_tokens: usage.completion_tokens?.into(),
            cached_tokens: usage
                .prompt_tokens_details
                .and_then(|details| details.cached_tokens)
                .map(u64::from),
        })
    });
    event.error = wire.error.map(|error| match error {
        WireError::Object { message } => {
            message.map_or_else(|| "an error without a message".to_owned(), |text| text.0.into_owned())
        }
        WireError::Text(text) => text.0.into_owned(),
    });
    Ok((event, text))
}

impl<'a> Wire<'a> {
    /// Returns the only text of an event that holds nothing else, when it is borrowed from the data and not
    /// empty.
    fn only_text(&self) -> Option<&'a str> {
        let [choice] = &self.choices.as_ref()?.0[..] else {
            return None;
        };
        if self.usage.is_some() || self.error.is_some() || choice.finish_reason.is_some() {
            return None;
        }
        let messages = [&choice.delta, &choice.message].into_iter().flatten();
        let tools =
            |message: &&Message<'a>| message.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty());
        if messages.clone().any(|message| tools(&message)) {
            return None;
        }
        let mut texts = messages
            .flat_map(|message| [&message.content, &message.reasoning, &message.reasoning_content])
            .chain([&choice.text])
            .flatten()
            .filter(|text| !text.is_empty());
        match (texts.next(), texts.next()) {
            (Some(Text(Cow::Borrowed(text))), None) => Some(text),
            _ => None,
        }
    }
}

/// Appends the visible text of an event, without reasoning.
pub(super) fn append_text(data: &[u8], text: &mut String) {
    let Ok(wire) = serde_json::from_slice::<Wire<'_>>(data.trim_ascii()) else {
        return;
    };
    for choice in wire.choices.iter().flat_map(|choices| &choices.0) {
        let messages = [&choice.delta, &choice.message].into_iter().flatten();
        let contents = messages.filter_map(|message| message.content.as_ref());
        text.extend(choice.text.iter().chain(contents).map(|text| &*text.0));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_generated_output_counts_as_output() {
        for (data, output) in [
            (r#"{"choices":[{"text":"a"}]}"#, true),
            (r#"{"choices":[{"text":""}]}"#, false),
            (r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#, false),
            (r#"{"choices":[{"delta":{"content":"\u00e9\n"}}]}"#, true),
            (r#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#, true),
            (r#"{"choices":[{"delta":{"reasoning":"hm"}}]}"#, true),
            (r#"{"choices":[{"delta":{"content":null,"tool_calls":[{"index":0}]}}]}"#, true),
            (r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#, false),
            (r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":8}}"#, false),
        ] {
            assert_eq!(read(data.as_bytes()).unwrap().output, output, "{data}");
        }
    }

    #[test]
    fn usage_end_and_errors_are_read() {
        let usage = read(br#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":8,"prompt_tokens_details":{"cached_tokens":4}}}"#).unwrap();
        assert_eq!(
            usage.usage,
            Some(Usage { prompt_tokens: 7, completion_tokens: 8, cached_tokens: Some(4) })
        );
        assert!(read(b" [DONE]").unwrap().done);
        let error = read(br#"{"error": {"message": "EngineCore died", "code": 500}}"#).unwrap();
        assert_eq!(error.error.as_deref(), Some("EngineCore died"));
        assert!(read(b"{\"choices\": [").is_err());
        assert!(read(b"{}").is_err());
    }

    /// Checks that a reader, whatever it has read before, agrees with the parser.
    fn same_as_parsed(events: &[Vec<u8>]) -> Result<(), TestCaseError> {
        let mut reader = Reader::default();
        for data in events {
            let (got, wanted) = (reader.read(data), read(data));
            prop_assert_eq!(got, wanted, "{}", String::from_utf8_lossy(data));
        }
        Ok(())
    }

    #[test]
    fn recorded_events_are_read_as_they_are_parsed_and_most_by_comparison() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recorded/streams");
        let (mut compared, mut all) = (0, 0);
        for entry in std::fs::read_dir(folder).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let mut events = Vec::new();
            let mut decoder = crate::load::sse::Decoder::default();
            decoder.feed(&bytes, &mut |data| events.push(data.to_vec())).unwrap();
            decoder.finish(&mut |data| events.push(data.to_vec())).unwrap();
            same_as_parsed(&events).unwrap();
            let mut reader = Reader::default();
            for event in &events {
                compared += usize::from(reader.text_of(event).is_some());
                all += 1;
                let _ = reader.read(event);
            }
        }
        assert!(all > 100 && compared * 3 > all, "{compared} of {all}");
    }

    /// A text as a server may spell it, and as it may not.
    fn spelled() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            "[ a-zé\u{1F600}]{0,4}".prop_map(String::into_bytes),
            "(\\\\[\"\\\\/bfnrtu0x]|[a-d0-9]){0,6}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..4),
        ]
    }

    proptest! {
        #[test]
        fn events_are_read_as_they_are_parsed(
            each in prop::collection::vec((0usize..6, spelled(), 0u8..3), 1..8)
        ) {
            let events: Vec<Vec<u8>> = each
                .into_iter()
                .map(|(shape, text, tail)| {
                    let (before, behind) = [
                        (r#"{"choices":[{"index":0,"text":""#, r#"","finish_reason":null}],"usage":null}"#),
                        (r#"{"choices":[{"delta":{"content":""#, r#""}}]}"#),
                        (r#"{"choices":[{"delta":{"content":"","reasoning":""#, r#""}}]}"#),
                        (r#"{"choices":[{"text":"a"},{"text":""#, r#""}]}"#),
                        (r#"{"choices":[{"text":"a","finish_reason":""#, r#""}]}"#),
                        (r#"{"choices":[{"text":""#, r#""}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#),
                    ][shape];
                    let mut data = [before.as_bytes(), &text, behind.as_bytes()].concat();
                    match tail {
                        0 => data.push(b' '),
                        1 => data.truncate(data.len() - 1),
                        _ => {}
                    }
                    data
                })
                .collect();
            same_as_parsed(&events)?;
        }
    }
}
