//! Cell and seed → requests. Pure: the same cell and repeat give the same bytes.

mod frame;
mod given;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use crate::{
    manifest::{Cache, Inputs},
    plan::Cell,
};
use frame::{Frame, Prompt};
use given::Given;

/// Words of random hex before a `fresh` prompt. Sixteen fill at least one KV block of the usual size, so that not even
/// the first block of two prompts is the same.
const FRESH_WORDS: usize = 16;

/// Every request a cell may send, by index. Inputs are asked in turn, over and over.
#[derive(Clone, Debug)]
pub struct Requests {
    frame: Frame,
    prompts: Vec<Given>,
    /// Seed of the fresh words; absent when prompts are sent as written.
    fresh: Option<u64>,
    max_tokens: u32,
}

/// One request, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number in the cell, warm-up included.
    pub index: u64,
    /// Which input it asks.
    pub input: u32,
    /// The JSON body.
    pub body: Bytes,
    /// The most tokens it may generate.
    pub max_tokens: u32,
}

/// Builds the requests of one repeat of a cell for a server that calls its model `model`.
///
/// # Errors
/// A sentence when an input cannot be read or a template cannot be rendered.
pub fn requests(
    cell: &Cell,
    inputs: &Inputs,
    model: &str,
    repeat: u32,
) -> Result<Requests, String> {
    let spec = &cell.spec;
    Ok(Requests {
        frame: Frame::new(spec, model),
        prompts: given::given(spec, inputs)?,
        fresh: (spec.cache == Cache::Fresh).then(|| cell.seed.wrapping_add(u64::from(repeat))),
        max_tokens: cell.max_tokens,
    })
}

impl Requests {
    /// The endpoint's path.
    pub fn path(&self) -> &'static str {
        self.frame.path()
    }

    /// How many distinct inputs there are.
    pub fn inputs(&self) -> usize {
        self.prompts.len()
    }

    /// The request of an index, whatever was asked before.
    pub fn get(&self, index: u64) -> Request {
        let input = (index % self.prompts.len() as u64) as usize;
        let given = &self.prompts[input];
        let before = self.fresh.map(|seed| fresh_words(seed, index));
        let prompt = Prompt::Text {
            system: given.system.as_deref(),
            pieces: [before.as_deref().unwrap_or_default(), &given.text],
        };
        Request {
            index,
            input: input as u32,
            body: self.frame.body(prompt, self.max_tokens),
            max_tokens: self.max_tokens,
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
