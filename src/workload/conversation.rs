//! Conversations of several turns. Each turn carries the answers that the server gave to the earlier ones.

use super::{
    body::{Prompt, escaped, message},
    requests::{Content, Request, Requests, Turn, fresh_words},
};

/// A conversation in progress.
#[derive(Clone, Debug)]
pub struct Conversation {
    turn: Turn,
    /// The messages so far as JSON, each followed by a comma.
    history: String,
    /// The random words before its first turn, with `cache = "fresh"`.
    fresh: String,
}

impl Requests {
    /// Whether requests are turns of conversations.
    pub fn are_turns(&self) -> bool {
        matches!(self.content, Content::Fixed { turns: true, .. })
    }

    /// Begins a conversation by its number in the cell. Numbers go round the conversations of the file.
    pub fn begin(&self, number: u64) -> Conversation {
        let seed = match &self.content {
            Content::Fixed { fresh, .. } => *fresh,
            Content::Generated(_) => None,
        };
        Conversation {
            turn: Turn { conversation: number, number: 0 },
            history: String::new(),
            fresh: seed.map_or_else(String::new, |seed| fresh_words(seed, number)),
        }
    }

    /// The request of a conversation's next turn; without a conversation, that of the index.
    pub fn turn(&self, conversation: Option<&Conversation>, index: u64) -> Request {
        let next = conversation.and_then(|conversation| Some((conversation, self.next_turn(conversation)?)));
        let Some((conversation, (input, pieces, system))) = next else {
            return self.get(index);
        };
        let text = Prompt::Text { system, history: &conversation.history, pieces };
        let max_tokens = self.output.bounds().1;
        Request {
            index,
            input: input as u32,
            input_tokens: None,
            turn: Some(conversation.turn),
            body: self.template.body(text, max_tokens),
            max_tokens,
        }
    }

    /// Adds the answer to a conversation's last turn. `None` when no turn is left.
    pub fn answered(&self, mut conversation: Conversation, answer: &str) -> Option<Conversation> {
        let (_, pieces, _) = self.next_turn(&conversation)?;
        let mut history = conversation.history.clone();
        message(&mut history, "user", &pieces);
        history.push(',');
        message(&mut history, "assistant", &[&escaped(answer)]);
        history.push(',');
        conversation.history = history;
        conversation.turn.number += 1;
        self.next_turn(&conversation).is_some().then_some(conversation)
    }

    /// The index of the input, the text and the system message of a conversation's next turn.
    fn next_turn<'a>(
        &'a self,
        conversation: &'a Conversation,
    ) -> Option<(usize, [&'a str; 2], Option<&'a str>)> {
        let Content::Fixed { prompts, .. } = &self.content else {
            return None;
        };
        let input = (conversation.turn.conversation % prompts.len() as u64) as usize;
        let prompt = &prompts[input];
        let pieces = match conversation.turn.number.checked_sub(1) {
            None => [conversation.fresh.as_str(), &prompt.text],
            Some(later) => ["", prompt.later.get(later as usize)?],
        };
        Some((input, pieces, prompt.system.as_deref()))
    }
}
