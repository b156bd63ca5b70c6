//! Generated prompts: of an exact length in the server's tokens, and new in every cell, repeat and request.
//! Only prompts of one group, or with the same blocks in a trace, have a common prefix.

use std::sync::Arc;

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use super::{
    error::RequestError,
    length::draw,
    pieces::{Corpus, Pieces},
    vocabulary::{OPENER, Vocabulary},
};
use crate::manifest::{Api, Inputs, Length, Source, TraceLine, Workload};

/// Tokens at the beginning of a prompt's own part that are drawn anew; the rest is copied from a corpus. They
/// fill one KV block of the usual size. A block's hash covers all earlier blocks, so no later block of two
/// prompts is the same either.
const HEAD: u32 = 16;

/// Tokens of a block that one of a trace's `hash_ids` stands for, as in the Mooncake traces.
const TRACE_BLOCK: u32 = 512;

/// What random numbers are for. Each use has its own stream.
#[derive(Clone, Copy, Debug)]
enum Use {
    Content,
    Lengths,
    Prefix,
    Corpus,
    Block,
}

/// The random numbers of one use, in one repeat of a cell, for one request or group. Seed, repeat and use are
/// separate parts of the key, so that the next seed does not equal the next repeat.
fn random(seed: u64, repeat: u32, of: Use, number: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..12].copy_from_slice(&repeat.to_le_bytes());
    key[12] = of as u8;
    let mut random = ChaCha8Rng::from_seed(key);
    random.set_stream(number);
    random
}

/// Generates the prompts of one repeat of a cell.
#[derive(Clone, Debug)]
pub(super) struct Generator {
    pieces: Pieces,
    corpus: Corpus,
    /// The word that every text begins with; empty with token ids.
    opener: &'static str,
    /// Tokens of a prompt's own part that are not generated: opener and chat template.
    overhead: u32,
    /// Whether prompts are token ids rather than texts.
    pub(super) ids: bool,
    /// The common prefix of each group; empty without groups.
    prefixes: Vec<Box<str>>,
    /// Tokens of a prefix, including those before its first word.
    prefix_tokens: u32,
    /// Tokens of a prompt after its prefix; without groups, of the whole prompt.
    own: Length,
    /// The lines of a trace, with lengths and shared blocks; empty without a trace.
    lines: Arc<[TraceLine]>,
    seed: u64,
    repeat: u32,
}

pub(super) struct GeneratedPrompt {
    /// The prompt, escaped for a body: a text, or token ids.
    pub(super) text: String,
    /// Its tokens as the server counts them.
    pub(super) tokens: u32,
    /// The number of its group; without groups the request's own number.
    pub(super) input: u32,
    /// Tokens of its answer, where a trace sets them.
    pub(super) output_tokens: Option<u32>,
}

impl Generator {
    /// Prepares the prompts of a repeat. Repeats of a cell differ in content but not in lengths, so that they
    /// are the same work.
    ///
    /// # Errors
    /// When the workload's prompts are fixed, a length is too short for the chat template, or a trace cannot
    /// be read.
    pub(super) fn new(
        spec: &Workload,
        inputs: &Inputs,
        vocabulary: &Vocabulary,
        seed: u64,
        repeat: u32,
    ) -> Result<Self, RequestError> {
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
                (Length::Fixed(longest.ok_or(RequestError::NoLengths)?), 0, 0)
            }
            _ => return Err(RequestError::Fixed),
        };
        // Completions accept token ids, whose number is exact; a chat template needs text.
        let ids = vocabulary.ids.as_ref().filter(|_| spec.api == Api::Completions);
        let (pieces, opener, before, after) = match ids {
            Some(ids) => (ids, "", 0, 0),
            None => {
                let after = vocabulary.overhead_after;
                (&vocabulary.words, OPENER, vocabulary.overhead - after, after)
            }
        };
        let shortest = own.bounds().0;
        let (first, overhead) = if groups > 0 { (prefix_tokens, after) } else { (shortest, before + after) };
        if first < before || shortest < overhead {
            return Err(RequestError::TooShort { before, after });
        }
        let prefixes = (0..groups)
            .map(|group| {
                let mut random = random(seed, repeat, Use::Prefix, u64::from(group));
                let mut prefix = opener.to_owned();
                pieces.compose(prefix_tokens - before, &mut random, &mut prefix);
                prefix.into_boxed_str()
            })
            .collect();
        Ok(Self {
            // Twice the longest prompt, so that there are as many positions to copy from as tokens.
            corpus: pieces
                .corpus(own.bounds().1.saturating_mul(2), &mut random(seed, repeat, Use::Corpus, 0)),
            pieces: pieces.clone(),
            opener,
            overhead,
            ids: ids.is_some(),
            prefixes,
            prefix_tokens,
            own,
            lines,
            seed,
            repeat,
        })
    }

    /// The number of groups; `None` without groups.
    pub(super) fn groups(&self) -> Option<usize> {
        (!self.prefixes.is_empty()).then_some(self.prefixes.len())
    }

    /// The random numbers for a request's lengths: first the input's, then the output's.
    pub(super) fn lengths(&self, index: u64) -> ChaCha8Rng {
        // The same in every repeat.
        random(self.seed, 0, Use::Lengths, index)
    }

    pub(super) fn get(&self, index: u64, lengths: &mut ChaCha8Rng) -> GeneratedPrompt {
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
        let words = own - self.overhead;
        let head = words.min(HEAD);
        self.pieces.compose(head, &mut random, &mut text);
        self.corpus.copy(words - head, &mut random, &mut text);
        GeneratedPrompt { text, tokens: before + own, input, output_tokens: None }
    }

    /// The prompt of a trace's line: blocks by their hashes, and the rest drawn anew. A line shorter than the
    /// shortest possible prompt gets that one.
    fn replayed(&self, index: u64, line: &TraceLine) -> GeneratedPrompt {
        let words = line.input_tokens.map_or(1, |tokens| tokens.saturating_sub(self.overhead).max(1));
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
            self.pieces.compose(head, &mut random, &mut text);
            self.corpus.copy(block - head, &mut random, &mut text);
            left -= block;
        }
        GeneratedPrompt {
            text,
            tokens: self.overhead + words,
            input: index as u32,
            output_tokens: line.output_tokens,
        }
    }
}
