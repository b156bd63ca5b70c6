//! Text ↔ tokens, and what the embedded engine says: a stand-in for a tokenizer, consistent, cheap and nobody's. And what
//! a prefix cache knows tokens by.

use std::collections::{BTreeMap, BTreeSet};

/// Ids are below this.
pub const VOCABULARY: u64 = 50_000;

/// Characters of the longest piece of a word.
const PIECE_CHARS: usize = 6;

const WORDS: [&str; 16] = [
    " the", " engine", " says", " one", " token", " at", " a", " time", " so", " that", " each", " leaves",
    " when", " it", " is", " due",
];

/// The token ids of a text: every run of non-space characters, cut into pieces of at most six characters, is one or
/// more tokens; spaces belong to the word after them.
pub fn tokens(text: &str) -> Vec<u64> {
    text.split_whitespace()
        .flat_map(|word| {
            let chars: Vec<char> = word.chars().collect();
            chars
                .chunks(PIECE_CHARS)
                .map(|piece| {
                    let piece: String = piece.iter().collect();
                    id(&piece)
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The token ids of one message of a chat, its role before it.
pub fn message(role: &str, content: &str) -> Vec<u64> {
    tokens(&format!("<{role}> {content}"))
}

/// A text of these tokens: for each the first word, counting in base 36, that has its id.
pub fn text(ids: &[u64]) -> String {
    let mut missing: BTreeSet<u64> = ids.iter().copied().collect();
    let mut words: BTreeMap<u64, String> = BTreeMap::new();
    for number in 0..36u64.pow(PIECE_CHARS as u32) {
        if missing.is_empty() {
            break;
        }
        let word = in_base_36(number);
        let id = id(&word);
        if missing.remove(&id) {
            words.insert(id, word);
        }
    }
    let said: Vec<&str> = ids.iter().filter_map(|id| words.get(id).map(String::as_str)).collect();
    said.join(" ")
}

fn in_base_36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.extend(char::from_digit((number % 36) as u32, 36));
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

/// The text of the `number`th token (from 1) of an answer: a word, and one token.
pub fn word(number: u64) -> &'static str {
    WORDS[((number - 1) % WORDS.len() as u64) as usize]
}

/// Where an answer ends by itself: between 60 % and 100 % of `max_tokens`, the same for the same prompt and seed.
pub fn natural_length(prompt: &[u64], seed: u64, max_tokens: u64) -> u64 {
    let mut bytes = seed.to_le_bytes().to_vec();
    for id in prompt {
        bytes.extend(id.to_le_bytes());
    }
    let permille = 600 + hash(&bytes) % 401;
    (max_tokens * permille).div_ceil(1000).max(1)
}

fn id(piece: &str) -> u64 {
    hash(piece.as_bytes()) % VOCABULARY
}

/// FNV-1a, 64 bit, with its bits mixed at the end so that a remainder depends on all of them.
fn hash(bytes: &[u8]) -> u64 {
    let mut h: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in bytes {
        h = (h ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    h ^= h >> 32;
    h = h.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    h ^ (h >> 29)
}

/// Tokens of one sequence, each hashed with all that stand before it: a block is known by where its chain ends, so the
/// same block elsewhere is another block.
#[derive(Clone, Debug)]
pub struct BlockHashes {
    block_size: u64,
    hash: u64,
    tokens: u64,
    blocks: Vec<u64>,
}

impl BlockHashes {
    /// No tokens yet, in blocks of so many.
    pub fn new(block_size: u64) -> Self {
        Self { block_size: block_size.max(1), hash: 0, tokens: 0, blocks: Vec::new() }
    }

    /// The next token.
    pub fn push(&mut self, token: u64) {
        self.hash = mix(self.hash, token);
        self.tokens += 1;
        if self.tokens.is_multiple_of(self.block_size) {
            self.blocks.push(self.hash);
        }
    }

    /// The next token, which is the `number`th (from 1) of an answer.
    pub fn say(&mut self, number: u64) {
        // As it is found in the next turn's prompt: every word of an answer is one token.
        self.push(id(word(number).trim_start()));
    }

    /// The hashes of the full blocks.
    pub fn blocks(&self) -> &[u64] {
        &self.blocks
    }
}

/// A multiplication spreads each token over all bits, the shift brings the high ones down.
fn mix(hash: u64, token: u64) -> u64 {
    let mixed = (hash ^ token.wrapping_add(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_into_pieces() {
        assert_eq!(tokens("one two").len(), 2);
        assert_eq!(tokens("  internationalization ").len(), 4);
        assert_eq!(tokens(""), Vec::<u64>::new());
        assert_eq!(tokens("a b a")[0], tokens("a b a")[2]);
    }

    #[test]
    fn a_text_of_tokens_has_these_tokens() {
        let ids = [0, 49_999, 7, 7, 25_000];
        assert_eq!(tokens(&text(&ids)), ids);
        assert_eq!(text(&[]), "");
    }

    #[test]
    fn natural_ends_vary_within_their_bounds() {
        let lengths: Vec<u64> = (0..100).map(|id| natural_length(&[id], 1, 100)).collect();
        assert!(lengths.iter().all(|n| (60..=100).contains(n)));
        let distinct: BTreeSet<_> = lengths.iter().collect();
        assert!(distinct.len() > 20, "{distinct:?}");
        assert_eq!(natural_length(&[1], 1, 1), 1);
    }

    #[test]
    fn a_block_is_known_with_all_that_stands_before_it() {
        let chain = |tokens: &[u64]| {
            let mut chain = BlockHashes::new(2);
            tokens.iter().for_each(|token| chain.push(*token));
            chain.blocks().to_vec()
        };
        assert_eq!(chain(&[1, 2, 3]).len(), 1);
        assert_eq!(chain(&[1, 2, 3, 4])[0], chain(&[1, 2, 9, 9])[0]);
        assert_ne!(chain(&[1, 2, 3, 4])[1], chain(&[2, 1, 3, 4])[1]);
    }
}
