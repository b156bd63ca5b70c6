//! Prompts made for the purpose: of exact length in the server's tokens, new in every cell, repeat and request, and
//! alike only where a group shares its beginning.

use std::sync::Arc;

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use super::{
    alphabet::{Alphabet, Tape},
    length::draw,
    vocabulary::{Vocabulary, opener},
};
use crate::manifest::{Api, Inputs, Length, Source, TraceLine, Workload};

/// Tokens at the beginning of a prompt's own part that are drawn for it alone; the rest is copied from a tape. They fill a
/// KV block of the usual size, and a block's key holds all blocks before it, so no later block of two prompts is the same.
const HEAD: u32 = 16;

/// Tokens of one block of a trace, of which `hash_ids` holds a hash each: the size in the Mooncake traces.
const TRACE_BLOCK: u32 = 512;

/// What random numbers are drawn for; no two uses draw the same.
#[derive(Clone, Copy, Debug)]
enum Use {
    Content,
    Lengths,
    Prefix,
    Tape,
    Block,
}

/// Random numbers of one use, in one repeat of a cell, for one request or group. The use, the repeat and the cell's seed
/// are all of the key, so that a neighbouring seed is no later repeat.
fn random(seed: u64, repeat: u32, of: Use, number: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..12].copy_from_slice(&repeat.to_le_bytes());
    key[12] = of as u8;
    let mut random = ChaCha8Rng::from_seed(key);
    random.set_stream(number);
    random
}

/// Makes the prompts of one repeat of a cell.
#[derive(Clone, Debug)]
pub(super) struct Made {
    alphabet: Alphabet,
    tape: Tape,
    /// What every text begins with; nothing with token ids.
    opener: &'static str,
    /// Tokens of a prompt's own part beside the pieces of the alphabet.
    beside: u32,
    /// Whether prompts are token ids rather than texts.
    ids: bool,
    /// The beginnings that groups share; empty where there are no groups.
    prefixes: Vec<Box<str>>,
    /// Their tokens, what stands before their first word included.
    prefix_tokens: u32,
    /// Tokens of a prompt behind its prefix; without groups, of all of it.
    own: Length,
    /// The lines of a trace, which say how long prompts and answers are and what they share; empty without one.
    lines: Arc<[TraceLine]>,
    seed: u64,
    repeat: u32,
}

/// One made prompt.
pub(super) struct MadePrompt {
    /// Its pieces as they stand in a body.
    pub(super) text: String,
    /// Its tokens by the server's count.
    pub(super) tokens: u32,
    /// Its place among the inputs: its group, or its own number.
    pub(super) input: u32,
    /// Tokens of its answer, where a trace says it.
    pub(super) output_tokens: Option<u32>,
}

impl Made {
    /// `None` when the workload's prompts are given. Content differs by repeat, lengths do not: repeats of a cell ask for
    /// the same work.
    ///
    /// # Errors
    /// A sentence when a length is shorter than what every prompt has beside its words, or a trace cannot be read.
    pub(super) fn new(
        spec: &Workload,
        inputs: &Inputs,
        vocabulary: &Vocabulary,
        seed: u64,
        repeat: u32,
    ) -> Result<Option<Self>, String> {
        let mut lines = Arc::default();
        let (own, groups, prefix_tokens) = match spec.source()? {
            Source::Synthetic(synthetic) => (synthetic.input_tokens.clone(), 0, 0),
            Source::SharedPrefix(shared) => {
                let own = shared.suffix_tokens.clone();
                (own, shared.groups, shared.prefix_tokens)
            }
            Source::Trace(trace) => {
                lines = inputs.trace(trace)?;
                let longest = lines.iter().filter_map(|line| line.input_tokens).max();
                (Length::Fixed(longest.ok_or("the trace has no lengths")?), 0, 0)
            }
            _ => return Ok(None),
        };
        // A completion takes token ids, which need no counting; a chat's template wants text.
        let ids = vocabulary.ids().filter(|_| spec.api == Api::Completions);
        let (alphabet, opener, before, behind) = match ids {
            Some(ids) => (ids, "", 0, 0),
            None => {
                let behind = vocabulary.behind();
                (vocabulary.words(), opener(), vocabulary.beside() - behind, behind)
            }
        };
        let shortest = own.bounds().0;
        let (first, beside) = if groups > 0 { (prefix_tokens, behind) } else { (shortest, before + behind) };
        if first < before || shortest < beside {
            return Err(format!(
                "prompts this short cannot be made: the server counts {before} tokens before their first word and {behind} behind the last (template, system message)"
            ));
        }
        let prefixes = (0..groups)
            .map(|group| {
                let mut random = random(seed, repeat, Use::Prefix, u64::from(group));
                let mut prefix = opener.to_owned();
                alphabet.compose(prefix_tokens - before, &mut random, &mut prefix);
                prefix.into_boxed_str()
            })
            .collect();
        Ok(Some(Self {
            // Twice the longest, so that there are as many places to begin as tokens.
            tape: alphabet.tape(own.bounds().1.saturating_mul(2), &mut random(seed, repeat, Use::Tape, 0)),
            alphabet: alphabet.clone(),
            opener,
            beside,
            ids: ids.is_some(),
            prefixes,
            prefix_tokens,
            own,
            lines,
            seed,
            repeat,
        }))
    }

    /// Whether prompts are token ids.
    pub(super) fn are_ids(&self) -> bool {
        self.ids
    }

    /// How many inputs there are: groups; without groups there is no such number.
    pub(super) fn groups(&self) -> Option<usize> {
        (!self.prefixes.is_empty()).then_some(self.prefixes.len())
    }

    /// The random numbers of a request's lengths: its input's first, then its output's.
    pub(super) fn lengths(&self, index: u64) -> ChaCha8Rng {
        // The same in every repeat.
        random(self.seed, 0, Use::Lengths, index)
    }

    /// The prompt of an index.
    pub(super) fn get(&self, index: u64, lengths: &mut ChaCha8Rng) -> MadePrompt {
        if !self.lines.is_empty() {
            return self.replayed(index, &self.lines[index as usize % self.lines.len()]);
        }
        let own = draw(&self.own, lengths);
        let mut random = random(self.seed, self.repeat, Use::Content, index);
        let mut text = String::with_capacity(8 * own as usize);
        let (before, input) = if self.prefixes.is_empty() {
            text.push_str(self.opener);
            (0, index as u32)
        } else {
            let group = (index % self.prefixes.len() as u64) as usize;
            text.push_str(&self.prefixes[group]);
            (self.prefix_tokens, group as u32)
        };
        let words = own - self.beside;
        let head = words.min(HEAD);
        self.alphabet.compose(head, &mut random, &mut text);
        self.tape.copy(words - head, &mut random, &mut text);
        MadePrompt { text, tokens: before + own, input, output_tokens: None }
    }

    /// The prompt of a trace's line: its blocks by their hashes, and what no hash says drawn for it alone. A line shorter than
    /// the shortest prompt that can be made is that short.
    fn replayed(&self, index: u64, line: &TraceLine) -> MadePrompt {
        let words = line.input_tokens.map_or(1, |tokens| tokens.saturating_sub(self.beside).max(1));
        let mut text = self.opener.to_owned();
        let mut left = words;
        let blocks = line.hash_ids.iter().map(|hash| (Use::Block, *hash));
        for (of, number) in blocks.chain([(Use::Content, index)]) {
            let block = match of {
                Use::Block => left.min(TRACE_BLOCK),
                _ => left,
            };
            let mut random = random(self.seed, self.repeat, of, number);
            let head = block.min(HEAD);
            self.alphabet.compose(head, &mut random, &mut text);
            self.tape.copy(block - head, &mut random, &mut text);
            left -= block;
        }
        MadePrompt {
            text,
            tokens: self.beside + words,
            input: index as u32,
            output_tokens: line.output_tokens,
        }
    }
}
