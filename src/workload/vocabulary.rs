//! Token counts of words on a server, learned by having the server count short texts.
//!
//! A local tokenizer would have to match the server's in version and chat template, so the server counts
//! instead. In current tokenizers a word after a space has the same tokens wherever it stands.
//! [`Vocabulary::probes`] verifies this.

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde_json::{Map, Value, json};

use super::{error::VocabularyError, pieces::Pieces};
use crate::manifest::{Api, Workload};

/// The word that every generated text begins with. It has no leading space, which templates might strip.
pub(super) const OPENER: &str = "Read";
/// A word between the opener and the counted word, so that the counted word is never the first after the
/// opener.
const ANCHOR: &str = " this";
/// Short common words, which are one token in most vocabularies and a few in others.
const WORDS: &str = "the of and to in is was for that on with as by at from his it an are which be this he had not \
    or have but one their they you all who more when would there about up out been were so some time what into has \
    two her him like then first any may such these over new after most also made people years way see now between \
    well even long because part under never both place same world house still last great found little every right \
    while state might number water against left once during without again system day though small light re er";
/// Lengths of the probes, in tokens after the opener.
const PROBES: [u32; 6] = [1, 2, 17, 64, 257, 900];

/// Words with their token counts on a server, and the tokens that every prompt has besides them.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    pub(super) words: Pieces,
    /// Ids of ordinary tokens, if the server reports ids.
    pub(super) ids: Option<Pieces>,
    /// Tokens that every prompt has: opener, chat template and system message.
    pub(super) overhead: u32,
    /// Those of them after the text; 0 if the server reports no ids.
    pub(super) overhead_after: u32,
}

/// The server's token count of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenCount {
    /// Tokens of the whole prompt, including the chat template.
    pub tokens: u32,
    /// Their ids, if the server reports them.
    pub ids: Vec<u32>,
}

impl Vocabulary {
    /// The texts whose counts [`Vocabulary::learn`] needs, in this order.
    pub fn samples() -> Vec<String> {
        std::iter::once(format!("{OPENER}{ANCHOR}"))
            .chain(WORDS.split_whitespace().map(|word| format!("{OPENER}{ANCHOR} {word}")))
            .collect()
    }

    /// Learns from the counts of [`Vocabulary::samples`].
    ///
    /// # Errors
    /// When counts are missing or contradict each other, or no word is a single token.
    pub fn learn(counts: &[TokenCount]) -> Result<Self, VocabularyError> {
        let words: Vec<&str> = WORDS.split_whitespace().collect();
        let incomplete = |counted| VocabularyError::Incomplete { counted, needed: words.len() };
        let (bare, counts) = counts.split_first().ok_or(incomplete(0))?;
        if counts.len() != words.len() {
            return Err(incomplete(counts.len()));
        }
        let costs: Vec<Option<u32>> = counts
            .iter()
            .map(|counted| counted.tokens.checked_sub(bare.tokens).filter(|cost| *cost > 0))
            .collect();
        let pieces = words
            .iter()
            .zip(&costs)
            .filter_map(|(word, cost)| Some((format!(" {word}").into_boxed_str(), (*cost)?)));
        let words = Pieces::new(pieces).ok_or(VocabularyError::NoSingleToken)?;
        // The bare text contains the anchor, whose own count is among the samples.
        let anchor = WORDS
            .split_whitespace()
            .position(|word| word == ANCHOR.trim())
            .and_then(|at| costs[at])
            .ok_or(VocabularyError::NoTokens)?;
        let overhead = bare.tokens.checked_sub(anchor).ok_or(VocabularyError::NoTokens)?;
        // The ids that a word adds to the bare text. Those after them belong to the template.
        let mut ids: Vec<u32> = Vec::new();
        let mut overhead_after = bare.ids.len();
        for counted in counts.iter().filter(|_| !bare.ids.is_empty()) {
            let shared = bare.ids.iter().zip(&counted.ids).take_while(|(a, b)| a == b).count();
            overhead_after = overhead_after.min(bare.ids.len() - shared);
            let end = counted.ids.len().saturating_sub(bare.ids.len() - shared);
            ids.extend(counted.ids.get(shared..end).into_iter().flatten());
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(Self {
            words,
            ids: Pieces::new(ids.into_iter().map(|id| (format!(",{id}").into(), 1))),
            overhead,
            overhead_after: overhead_after as u32,
        })
    }

    /// Generated texts with the token counts they should have. The server's counts must agree before the
    /// vocabulary is used.
    pub fn probes(&self, seed: u64) -> Vec<(String, u32)> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        PROBES
            .iter()
            .map(|tokens| {
                let mut text = OPENER.to_owned();
                self.words.compose(*tokens, &mut random, &mut text);
                (text, self.overhead + tokens)
            })
            .collect()
    }
}

/// The part of a request body that decides how many tokens the prompt has. `/tokenize` accepts it, and so
/// does the workload's own endpoint.
pub fn token_count_body(spec: &Workload, model: &str, text: &str) -> Map<String, Value> {
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
