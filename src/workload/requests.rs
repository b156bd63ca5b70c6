//! The requests of one repeat of a cell.

use bytes::Bytes;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use serde::{Deserialize, Serialize};

use super::{
    body::{BodyTemplate, Prompt},
    error::RequestError,
    fixed::{FixedPrompt, fixed_prompts},
    generated::Generator,
    length::draw,
    vocabulary::Vocabulary,
};
use crate::{
    manifest::{Cache, Inputs, Length, Workload},
    plan::Cell,
};

/// Random hex words before a `fresh` prompt. They fill at least one KV block of the usual size, so that two
/// prompts differ from the first block on.
const FRESH_WORDS: usize = 16;

/// The requests of one repeat of a cell, by index.
#[derive(Clone, Debug)]
pub struct Requests {
    pub(super) template: BodyTemplate,
    pub(super) content: Content,
    pub(super) output: Length,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Requests go round these prompts.
    Fixed {
        prompts: Vec<FixedPrompt>,
        /// Seed of the random words of `cache = "fresh"`; `None` when prompts are sent as written.
        fresh: Option<u64>,
        /// Whether prompts are first turns of conversations that continue.
        turns: bool,
    },
    /// Every request has a new prompt.
    Generated(Box<Generator>),
}

/// One request, ready to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number in the cell, warm-up included.
    pub index: u64,
    /// The index of its fixed prompt, or the group of its generated prompt; without groups the request's own
    /// number.
    pub input: u32,
    /// Tokens of its prompt as the server counts them, for prompts of an exact length.
    pub input_tokens: Option<u32>,
    /// Its position in a conversation. The text of its answer is then needed for the next turn.
    pub turn: Option<Turn>,
    /// The JSON body.
    pub body: Bytes,
    /// The most tokens to generate.
    pub max_tokens: u32,
}

/// The position of a request in its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Number of the conversation in the cell, from 0, warm-up included.
    pub conversation: u64,
    /// Number of the turn in it, from 0.
    pub number: u32,
}

/// Whether building the requests of a workload needs the server's [`Vocabulary`].
pub fn needs_vocabulary(spec: &Workload) -> bool {
    spec.source().is_ok_and(|source| source.is_generated())
}

/// Builds the requests of one repeat of a cell with fixed prompts. `model` is the name that the server gives
/// its model.
///
/// # Errors
/// When an input cannot be read, a template fails, or the prompts are generated.
pub fn requests(cell: &Cell, inputs: &Inputs, model: &str, repeat: u32) -> Result<Requests, RequestError> {
    let spec = &cell.spec;
    let fresh = spec.cache == Cache::Fresh;
    let content = Content::Fixed {
        prompts: fixed_prompts(spec, inputs)?,
        fresh: fresh.then(|| cell.seed.wrapping_add(u64::from(repeat))),
        turns: spec.has_turns(),
    };
    Ok(with(cell, model, content))
}

/// Builds the requests of one repeat of a cell with generated prompts, for a server with this vocabulary.
///
/// # Errors
/// When the prompts are fixed, or shorter than the chat template allows.
pub fn generated_requests(
    cell: &Cell,
    inputs: &Inputs,
    vocabulary: &Vocabulary,
    model: &str,
    repeat: u32,
) -> Result<Requests, RequestError> {
    let generator = Generator::new(&cell.spec, inputs, vocabulary, cell.seed, repeat)?;
    Ok(with(cell, model, Content::Generated(Box::new(generator))))
}

fn with(cell: &Cell, model: &str, content: Content) -> Requests {
    let spec = &cell.spec;
    Requests {
        template: BodyTemplate::new(spec, model),
        content,
        output: spec.output_tokens().cloned().unwrap_or(Length::Fixed(cell.max_tokens)),
    }
}

impl Requests {
    /// The endpoint's path.
    pub fn path(&self) -> &'static str {
        self.template.path()
    }

    /// The number of distinct inputs; `None` when every request has its own.
    pub fn inputs(&self) -> Option<usize> {
        match &self.content {
            Content::Fixed { prompts, .. } => Some(prompts.len()),
            Content::Generated(generator) => generator.groups(),
        }
    }

    /// The request of an index, independent of all others.
    pub fn get(&self, index: u64) -> Request {
        match &self.content {
            Content::Fixed { prompts, fresh, .. } => {
                let input = (index % prompts.len() as u64) as usize;
                let fixed = &prompts[input];
                let before = fresh.map(|seed| fresh_words(seed, index));
                let prompt = Prompt::Text {
                    system: fixed.system.as_deref(),
                    history: "",
                    pieces: [before.as_deref().unwrap_or_default(), &fixed.text],
                };
                let max_tokens = fixed.output_tokens.unwrap_or(self.output.bounds().1);
                Request {
                    index,
                    input: input as u32,
                    input_tokens: None,
                    turn: None,
                    body: self.template.body(prompt, max_tokens),
                    max_tokens,
                }
            }
            Content::Generated(generator) => {
                let mut lengths = generator.lengths(index);
                let prompt = generator.get(index, &mut lengths);
                let max_tokens = prompt.output_tokens.unwrap_or_else(|| draw(&self.output, &mut lengths));
                let content = match generator.ids {
                    true => Prompt::Ids(&prompt.text),
                    false => Prompt::Text { system: None, history: "", pieces: [&prompt.text, ""] },
                };
                Request {
                    index,
                    input: prompt.input,
                    input_tokens: Some(prompt.tokens),
                    turn: None,
                    body: self.template.body(content, max_tokens),
                    max_tokens,
                }
            }
        }
    }
}

/// Random words that no other request of this seed begins with, escaped for JSON.
pub(super) fn fresh_words(seed: u64, index: u64) -> String {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(index);
    let mut words = String::new();
    for _ in 0..FRESH_WORDS {
        words.push_str(&format!("{:06x} ", random.next_u32() & 0xff_ffff));
    }
    words.push_str("\\n");
    words
}
