//! How long texts are in a server's own tokens, learned from the server by counting short ones.
//!
//! No tokenizer stands in this program: a local one would have to be the server's own, in its version, with its chat
//! template. A server counts for itself, and words that follow a space keep their tokens whatever stands around them in
//! the tokenizers of today's models. That is not believed but tried: [`Vocabulary::proofs`].

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde_json::{Map, Value, json};

use super::alphabet::Alphabet;
use crate::manifest::{Api, Workload};

/// What every made text begins with: a word without a space before it, which templates may strip.
const OPENER: &str = "Read";
/// A word between the opener and the word that is counted, so that every counted word stands in the middle.
const ANCHOR: &str = " this";
/// Short common words are one token in most vocabularies, and a few tokens in the others.
const WORDS: &str = "the of and to in is was for that on with as by at from his it an are which be this he had not \
    or have but one their they you all who more when would there about up out been were so some time what into has \
    two her him like then first any may such these over new after most also made people years way see now between \
    well even long because part under never both place same world house still last great found little every right \
    while state might number water against left once during without again system day though small light re er";
/// Lengths of the proofs, in tokens beside the opener.
const PROOFS: [u32; 6] = [1, 2, 17, 64, 257, 900];

/// Words with their tokens in a server's count, and what a prompt has beside its words.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    words: Alphabet,
    /// Ids of ordinary tokens, where the server tells them.
    ids: Option<Alphabet>,
    /// Tokens of a prompt beside its words: the opener, a chat's template, a system message.
    beside: u32,
    /// Those of them that follow the text, as far as the server tells ids; else none are known to.
    behind: u32,
}

/// A text's length by the server's count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Tokens of the whole prompt, template included.
    pub tokens: u32,
    /// Their ids, where the server tells.
    pub ids: Vec<u32>,
}

impl Vocabulary {
    /// The texts whose counts [`Vocabulary::learn`] needs, in its order.
    pub fn samples() -> Vec<String> {
        std::iter::once(format!("{OPENER}{ANCHOR}"))
            .chain(WORDS.split_whitespace().map(|word| format!("{OPENER}{ANCHOR} {word}")))
            .collect()
    }

    /// Learns from the counts of [`Vocabulary::samples`].
    ///
    /// # Errors
    /// A sentence when the counts make no sense or no word is one token long.
    pub fn learn(counts: &[Counted]) -> Result<Self, String> {
        let words: Vec<&str> = WORDS.split_whitespace().collect();
        let (bare, counts) = counts.split_first().ok_or("nothing was counted")?;
        if counts.len() != words.len() {
            return Err(format!("{} of {} words were counted", counts.len(), words.len()));
        }
        let costs: Vec<Option<u32>> = counts
            .iter()
            .map(|counted| counted.tokens.checked_sub(bare.tokens).filter(|cost| *cost > 0))
            .collect();
        let pieces = words
            .iter()
            .zip(&costs)
            .filter_map(|(word, cost)| Some((format!(" {word}").into_boxed_str(), (*cost)?)));
        let words = Alphabet::new(pieces).ok_or(
            "no common word is one token of this server's, so no text can be made of an exact length",
        )?;
        // The anchor is counted with the bare text; as the word of its own it is among the samples.
        let anchor = WORDS
            .split_whitespace()
            .position(|word| word == ANCHOR.trim())
            .and_then(|at| costs[at])
            .ok_or("the server counts no token for a word")?;
        let beside = bare
            .tokens
            .checked_sub(anchor)
            .ok_or("the server counts fewer tokens for a text than for a word of it")?;
        // The ids a word adds, where the rest of the text keeps its own: those after it are the template's.
        let mut ids: Vec<u32> = Vec::new();
        let mut behind = bare.ids.len();
        for counted in counts.iter().filter(|_| !bare.ids.is_empty()) {
            let shared = bare.ids.iter().zip(&counted.ids).take_while(|(a, b)| a == b).count();
            behind = behind.min(bare.ids.len() - shared);
            let end = counted.ids.len().saturating_sub(bare.ids.len() - shared);
            ids.extend(counted.ids.get(shared..end).into_iter().flatten());
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(Self {
            words,
            ids: Alphabet::new(ids.into_iter().map(|id| (format!(",{id}").into(), 1))),
            beside,
            behind: behind as u32,
        })
    }

    /// Texts with the length each must have, to be counted before the vocabulary is believed.
    pub fn proofs(&self, seed: u64) -> Vec<(String, u32)> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        PROOFS
            .iter()
            .map(|tokens| {
                let mut text = OPENER.to_owned();
                self.words.compose(*tokens, &mut random, &mut text);
                (text, self.beside + tokens)
            })
            .collect()
    }

    /// Whether prompts can be sent as token ids.
    pub(super) fn ids(&self) -> Option<&Alphabet> {
        self.ids.as_ref()
    }

    /// The words of texts.
    pub(super) fn words(&self) -> &Alphabet {
        &self.words
    }

    /// Tokens of a text prompt beside its words.
    pub(super) fn beside(&self) -> u32 {
        self.beside
    }

    /// Those of them that follow the text.
    pub(super) fn behind(&self) -> u32 {
        self.behind
    }
}

/// A prompt as the endpoints take it, with whatever else of a body may change its length: `/tokenize` counts it, and so
/// does the workload's own endpoint in the `usage` of an answer.
pub fn countable(spec: &Workload, model: &str, text: &str) -> Map<String, Value> {
    let mut body = Map::from_iter([("model".to_owned(), model.into())]);
    match spec.api {
        Api::Completions => {
            body.insert("prompt".into(), text.into());
        }
        Api::Chat => {
            let system = spec.system.iter().map(|text| json!({ "role": "system", "content": text }));
            let messages = system.chain([json!({ "role": "user", "content": text })]);
            body.insert("messages".into(), messages.collect());
        }
    }
    for (name, value) in &spec.extra_body {
        body.insert(name.clone(), value.clone());
    }
    body
}

/// What every made text begins with.
pub(super) fn opener() -> &'static str {
    OPENER
}
