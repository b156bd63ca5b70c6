//! Conversations in the ShareGPT form, as far as a client needs them: what the person says, turn by turn.

use camino::Utf8Path;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

/// What one person says in one conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// The system message before the first turn.
    pub system: Option<String>,
    /// The person's turns, in order; never empty. What an assistant once answered is left out: the server answers anew.
    pub turns: Vec<String>,
}

/// The conversations of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversations {
    /// Those in which a person says something first, or right after the assistant's greeting.
    pub kept: Vec<Conversation>,
    /// How many hold no turn of a person, or an empty first one.
    pub left_out: usize,
}

/// One conversation as the file writes it.
#[derive(Deserialize)]
struct Wire {
    #[serde(alias = "conversation", alias = "messages")]
    conversations: Vec<Turn>,
}

#[derive(Deserialize)]
struct Turn {
    #[serde(alias = "role")]
    from: String,
    #[serde(alias = "content", deserialize_with = "text")]
    value: String,
}

/// A turn's text. What is no text (an image, a tool's table) is no text to send.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        Value::Null => Ok(String::new()),
        other => Err(de::Error::custom(format!("a turn holds {other}, not text"))),
    }
}

/// Who speaks, in the words that data sets use.
enum Speaker {
    Person,
    Assistant,
    System,
}

impl Speaker {
    fn of(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "human" | "user" => Some(Self::Person),
            "gpt" | "assistant" | "chatgpt" | "bing" | "bard" | "model" => Some(Self::Assistant),
            "system" => Some(Self::System),
            _ => None,
        }
    }
}

impl Conversations {
    /// Reads a file's text: a JSON array, or JSONL.
    ///
    /// # Errors
    /// A sentence with the line that is not a conversation, or that none is left.
    pub(super) fn parse(file: &Utf8Path, text: &str) -> Result<Self, String> {
        let mut read = Self::default();
        if text.trim_start().starts_with('[') {
            let all: Vec<Wire> = serde_json::from_str(text).map_err(|error| {
                format!("{file}:{} is not a list of conversations: {error}", error.line())
            })?;
            for one in all {
                read.take(one);
            }
        } else {
            for (index, line) in text.lines().enumerate() {
                if line.trim().is_empty() {
                    continue;
                }
                let one = serde_json::from_str(line)
                    .map_err(|error| format!("{file}:{} is not a conversation: {error}", index + 1))?;
                read.take(one);
            }
        }
        if read.kept.is_empty() {
            return Err(format!(
                "{file} holds no conversation in which a person (`human` or `user`) says something"
            ));
        }
        Ok(read)
    }

    fn take(&mut self, wire: Wire) {
        match Conversation::of(wire) {
            Some(conversation) => self.kept.push(conversation),
            None => self.left_out += 1,
        }
    }
}

impl Conversation {
    /// `None` when a person says nothing first. A turn that is empty, or of an unknown speaker, ends the conversation:
    /// what follows answers something that would not be sent.
    fn of(wire: Wire) -> Option<Self> {
        let mut system = None;
        let mut turns = Vec::new();
        for turn in wire.conversations {
            match Speaker::of(&turn.from) {
                Some(Speaker::System) if turns.is_empty() => {
                    system = Some(turn.value).filter(|text| !text.trim().is_empty());
                }
                Some(Speaker::Person) if !turn.value.trim().is_empty() => turns.push(turn.value),
                Some(Speaker::Assistant) => {}
                _ => break,
            }
        }
        (!turns.is_empty()).then_some(Self { system, turns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Conversations, String> {
        Conversations::parse(Utf8Path::new("c.json"), text)
    }

    const TWO: &str = r#"[
  {"id": "a", "conversations": [
    {"from": "system", "value": "Be brief."}, {"from": "human", "value": "one"},
    {"from": "gpt", "value": "said"}, {"from": "human", "value": "two"}]},
  {"id": "b", "conversations": [{"from": "gpt", "value": "Hello!"}, {"from": "user", "value": "hi"}]},
  {"id": "c", "conversations": []},
  {"id": "d", "conversations": [{"from": "human", "value": " "}, {"from": "gpt", "value": "?"}]},
  {"id": "e", "conversations": [{"from": "tool", "value": "x"}, {"from": "human", "value": "y"}]}
]"#;

    #[test]
    fn a_persons_turns_are_kept_and_conversations_without_one_are_counted() {
        let read = parse(TWO).unwrap();
        let kept: Vec<(Option<&str>, Vec<&str>)> = read
            .kept
            .iter()
            .map(|c| (c.system.as_deref(), c.turns.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(kept, [(Some("Be brief."), vec!["one", "two"]), (None, vec!["hi"])]);
        assert_eq!(read.left_out, 3);
    }

    #[test]
    fn lines_and_the_openai_form_are_read_as_well() {
        let lines = "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}\n\n{\"conversations\":[{\"from\":\"human\",\"value\":\"b\"}]}\n";
        let read = parse(lines).unwrap();
        let turns: Vec<&str> = read.kept.iter().map(|c| c.turns[0].as_str()).collect();
        assert_eq!(turns, ["a", "b"]);
    }

    #[test]
    fn what_is_not_a_conversation_is_named_by_its_line() {
        for (text, wanted) in [
            ("[\n{\"conversations\": [}\n]", "c.json:2 is not a list"),
            ("{\"messages\":[]}\n{\"x\": 1}\n", "c.json:2 is not a conversation"),
            ("[{\"conversations\": [{\"from\": \"human\", \"value\": [1]}]}]", "not text"),
            ("[]", "holds no conversation"),
            ("", "holds no conversation"),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.contains(wanted), "{said}");
        }
    }
}
