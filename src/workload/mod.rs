//! Cell and seed → requests. Pure: the same cell and repeat give the same bytes.
//!
//! Prompts are given (written in the manifest or its files) or made. What a prefix cache may know of them:
//!
//! - Given prompts are sent as written, so they meet what an earlier request, repeat or cell left in the cache; with
//!   `cache = "fresh"` each begins with words of its own.
//! - Made ones (`synthetic`, `shared_prefix`, a trace's) are drawn from the cell's seed and the repeat's number: no two cells and no
//!   two repeats share a beginning, and no two requests of a cell but those of a `shared_prefix` group or with the same
//!   blocks in a trace. Their lengths are
//!   drawn from the cell's seed alone, so that its repeats ask for the same work.
//!
//! How long a made prompt is, is counted in the server's own tokens: a [`Vocabulary`] says what a word costs there.

mod alphabet;
mod frame;
mod given;
mod length;
mod made;
mod talk;
#[cfg(test)]
mod tests;
mod vocabulary;

use bytes::Bytes;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use crate::{
    manifest::{Cache, Inputs, Length, Workload},
    plan::Cell,
};
use frame::{Frame, Prompt};
use given::Given;
use made::Made;

pub use talk::{Talk, Turn};
pub use vocabulary::{Counted, Vocabulary, countable};

/// Words of random hex before a `fresh` prompt. Sixteen fill at least one KV block of the usual size, so that not even
/// the first block of two prompts is the same.
const FRESH_WORDS: usize = 16;

/// Every request a cell may send, by index.
#[derive(Clone, Debug)]
pub struct Requests {
    frame: Frame,
    content: Content,
    output: Length,
}

/// Where prompts come from.
#[derive(Clone, Debug)]
enum Content {
    /// Asked in turn, over and over.
    Given {
        prompts: Vec<Given>,
        /// Seed of the fresh words; absent when prompts are sent as written.
        fresh: Option<u64>,
        /// Whether prompts begin conversations of several turns.
        turns: bool,
    },
    /// Each drawn anew.
    Made(Box<Made>),
}

/// One request, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number in the cell, warm-up included.
    pub index: u64,
    /// Which input it asks: a given prompt's place, a made one's group; without groups the request's own number.
    pub input: u32,
    /// Tokens its prompt has by the server's count, where the workload asks for an exact length.
    pub input_tokens: Option<u32>,
    /// The turn it is, where the workload asks conversations: then its answer's text is wanted.
    pub turn: Option<Turn>,
    /// The JSON body.
    pub body: Bytes,
    /// The most tokens it may generate.
    pub max_tokens: u32,
}

/// Whether requests of a workload can be built only with the server's [`Vocabulary`].
pub fn needs_vocabulary(spec: &Workload) -> bool {
    spec.source().is_ok_and(|source| source.is_made())
}

/// Builds the requests of one repeat of a cell with given prompts, for a server that calls its model `model`.
///
/// # Errors
/// A sentence when an input cannot be read or a template cannot be rendered.
pub fn requests(cell: &Cell, inputs: &Inputs, model: &str, repeat: u32) -> Result<Requests, String> {
    let spec = &cell.spec;
    let fresh = spec.cache == Cache::Fresh;
    let content = Content::Given {
        prompts: given::given(spec, inputs)?,
        fresh: fresh.then(|| cell.seed.wrapping_add(u64::from(repeat))),
        turns: spec.has_turns(),
    };
    Ok(with(cell, model, content))
}

/// Builds the requests of one repeat of a cell with made prompts, for a server of that vocabulary.
///
/// # Errors
/// A sentence when prompts are given, or are to be shorter than what a prompt has beside its words.
pub fn made_requests(
    cell: &Cell,
    inputs: &Inputs,
    vocabulary: &Vocabulary,
    model: &str,
    repeat: u32,
) -> Result<Requests, String> {
    let made = Made::new(&cell.spec, inputs, vocabulary, cell.seed, repeat)?
        .ok_or("prompts are given and need no vocabulary")?;
    Ok(with(cell, model, Content::Made(Box::new(made))))
}

fn with(cell: &Cell, model: &str, content: Content) -> Requests {
    let spec = &cell.spec;
    Requests {
        frame: Frame::new(spec, model),
        content,
        output: spec.output_tokens().cloned().unwrap_or(Length::Fixed(cell.max_tokens)),
    }
}

impl Requests {
    /// The endpoint's path.
    pub fn path(&self) -> &'static str {
        self.frame.path()
    }

    /// How many distinct inputs there are; `None` where each request has its own.
    pub fn inputs(&self) -> Option<usize> {
        match &self.content {
            Content::Given { prompts, .. } => Some(prompts.len()),
            Content::Made(made) => made.groups(),
        }
    }

    /// The request of an index, whatever was asked before.
    pub fn get(&self, index: u64) -> Request {
        match &self.content {
            Content::Given { prompts, fresh, .. } => {
                let input = (index % prompts.len() as u64) as usize;
                let given = &prompts[input];
                let before = fresh.map(|seed| fresh_words(seed, index));
                let prompt = Prompt::Text {
                    system: given.system.as_deref(),
                    history: "",
                    pieces: [before.as_deref().unwrap_or_default(), &given.text],
                };
                let max_tokens = given.output_tokens.unwrap_or(self.output.bounds().1);
                Request {
                    index,
                    input: input as u32,
                    input_tokens: None,
                    turn: None,
                    body: self.frame.body(prompt, max_tokens),
                    max_tokens,
                }
            }
            Content::Made(made) => {
                let mut lengths = made.lengths(index);
                let prompt = made.get(index, &mut lengths);
                let max_tokens =
                    prompt.output_tokens.unwrap_or_else(|| length::draw(&self.output, &mut lengths));
                let asked = if made.are_ids() {
                    Prompt::Ids(&prompt.text)
                } else {
                    Prompt::Text { system: None, history: "", pieces: [&prompt.text, ""] }
                };
                Request {
                    index,
                    input: prompt.input,
                    input_tokens: Some(prompt.tokens),
                    turn: None,
                    body: self.frame.body(asked, max_tokens),
                    max_tokens,
                }
            }
        }
    }
}

/// Words that no other request of this seed begins with, escaped for JSON.
fn fresh_words(seed: u64, index: u64) -> String {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(index);
    let mut words = String::new();
    for _ in 0..FRESH_WORDS {
        words.push_str(&format!("{:06x} ", random.next_u32() & 0xff_ffff));
    }
    words.push_str("\\n");
    words
}
