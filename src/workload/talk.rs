//! Conversations turn by turn: each turn carries what was really answered before it.

use serde::{Deserialize, Serialize};

use super::{
    Content, Request, Requests,
    frame::{Prompt, escaped, message},
    fresh_words,
};

/// Where in a conversation a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Number of the conversation in the cell, warm-up included.
    pub conversation: u64,
    /// Number of the turn in it, from 0.
    pub number: u32,
}

/// A conversation on its way.
#[derive(Clone, Debug)]
pub struct Talk {
    turn: Turn,
    /// What was said so far, as JSON messages with a comma behind each.
    history: String,
    /// The fresh words it began with.
    fresh: String,
}

impl Requests {
    /// Whether requests are turns of conversations.
    pub fn are_turns(&self) -> bool {
        matches!(self.content, Content::Given { turns: true, .. })
    }

    /// Begins a conversation by its number in the cell. Conversations are asked in turn, over and over.
    pub fn begin(&self, number: u64) -> Talk {
        let seed = match &self.content {
            Content::Given { fresh, .. } => *fresh,
            Content::Made(_) => None,
        };
        Talk {
            turn: Turn { conversation: number, number: 0 },
            history: String::new(),
            fresh: seed.map_or_else(String::new, |seed| fresh_words(seed, number)),
        }
    }

    /// The request of a conversation's next turn.
    pub fn turn(&self, talk: &Talk, index: u64) -> Request {
        let Some((input, pieces, system)) = self.said(talk) else {
            return self.get(index);
        };
        let prompt = Prompt::Text { system, history: &talk.history, pieces };
        let max_tokens = self.output.bounds().1;
        Request {
            index,
            input: input as u32,
            input_tokens: None,
            turn: Some(talk.turn),
            body: self.frame.body(prompt, max_tokens),
            max_tokens,
        }
    }

    /// Takes the answer to a conversation's last request; the conversation goes on, if there is a turn left.
    pub fn answered(&self, mut talk: Talk, answer: &str) -> Option<Talk> {
        let (_, pieces, _) = self.said(&talk)?;
        let mut history = talk.history.clone();
        message(&mut history, "user", &pieces);
        history.push(',');
        message(&mut history, "assistant", &[&escaped(answer)]);
        history.push(',');
        talk.history = history;
        talk.turn.number += 1;
        self.said(&talk).is_some().then_some(talk)
    }

    /// What the person says in a conversation's next turn, with its place in the inputs and its system message.
    fn said<'a>(&'a self, talk: &'a Talk) -> Option<(usize, [&'a str; 2], Option<&'a str>)> {
        let Content::Given { prompts, .. } = &self.content else {
            return None;
        };
        let input = (talk.turn.conversation % prompts.len() as u64) as usize;
        let given = &prompts[input];
        let pieces = match talk.turn.number.checked_sub(1) {
            None => [talk.fresh.as_str(), &given.text],
            Some(later) => ["", given.later.get(later as usize)?],
        };
        Some((input, pieces, given.system.as_deref()))
    }
}
