//! Reads conversations in the ShareGPT format and keeps what a client sends: the user's turns.

use camino::Utf8Path;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use super::{error::InputError, json_lines::json_lines};

/// The user's side of one conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// The system message before the first turn.
    pub system: Option<String>,
    /// The user's turns, in order; never empty. Recorded answers are dropped, because the server under test
    /// answers.
    pub turns: Vec<String>,
}

/// The conversations of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversations {
    /// Conversations that begin with a user's turn, also after a system message or a greeting of the
    /// assistant.
    pub kept: Vec<Conversation>,
    /// The number of conversations without a user's turn, or with an empty first one.
    pub left_out: usize,
}

#[derive(Deserialize)]
struct RawConversation {
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

/// Reads the text of a turn. Content of another kind, such as an image, is an error.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        Value::Null => Ok(String::new()),
        other => Err(de::Error::custom(format!("a turn holds {other}, not text"))),
    }
}

/// The role of a turn, by the names that data sets use.
enum Role {
    User,
    Assistant,
    System,
}

impl Role {
    fn of(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "human" | "user" => Some(Self::User),
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
    /// When a line is not a conversation, or no conversation has a user's turn.
    pub(super) fn parse(file: &Utf8Path, text: &str) -> Result<Self, InputError> {
        let mut read = Self::default();
        if text.trim_start().starts_with('[') {
            let all: Vec<RawConversation> = serde_json::from_str(text).map_err(|error| {
                InputError::unreadable(file, error.line() as u64, "a list of conversations", &error)
            })?;
            all.into_iter().for_each(|one| read.add(one));
        } else {
            for line in json_lines(file, text, "a conversation") {
                read.add(line?.1);
            }
        }
        if read.kept.is_empty() {
            let what = "conversation with a turn of `human` or `user`";
            return Err(InputError::Empty { file: file.to_owned(), what });
        }
        Ok(read)
    }

    fn add(&mut self, raw: RawConversation) {
        match Conversation::from_raw(raw) {
            Some(conversation) => self.kept.push(conversation),
            None => self.left_out += 1,
        }
    }
}

impl Conversation {
    /// `None` when no user's turn comes first. An empty turn, or one of an unknown role, ends the
    /// conversation, because later turns refer to it.
    fn from_raw(raw: RawConversation) -> Option<Self> {
        let mut system = None;
        let mut turns = Vec::new();
        for turn in raw.conversations {
            match Role::of(&turn.from) {
                Some(Role::System) if turns.is_empty() => {
                    system = Some(turn.value).filter(|text| !text.trim().is_empty());
                }
                Some(Role::User) if !turn.value.trim().is_empty() => turns.push(turn.value),
                Some(Role::Assistant) => {}
                _ => break,
            }
        }
        (!turns.is_empty()).then_some(Self { system, turns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Conversations, InputError> {
        Conversations::parse(Utf8Path::new("c.json"), text)
    }

    const TWO: &str = r#"[
  {"id": "a", "conversations": [
    {"from": "system", "value": "Be brief."}, {"from": "human", "value": "one"},
    {"from": "gpt", "value": "message"}, {"from": "human", "value": "two"}]},
  {"id": "b", "conversations": [{"from": "gpt", "value": "Hello!"}, {"from": "user", "value": "hi"}]},
  {"id": "c", "conversations": []},
  {"id": "d", "conversations": [{"from": "human", "value": " "}, {"from": "gpt", "value": "?"}]},
  {"id": "e", "conversations": [{"from": "tool", "value": "x"}, {"from": "human", "value": "y"}]}
]"#;

    #[test]
    fn user_turns_are_kept_and_conversations_without_one_are_counted() {
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
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(wanted), "{message}");
        }
    }
}
