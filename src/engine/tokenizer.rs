//! The embedded engine's stand-in for a tokenizer, the text of its answers, and the hashes of token blocks.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The number of token ids.
pub const VOCABULARY: u64 = 50_000;

/// The most characters of a token.
const PIECE_CHARS: usize = 6;

const WORDS: [&str; 16] = [
    " the", " engine", " says", " one", " token", " at", " a", " time", " so", " that", " each", " leaves",
    " when", " it", " is", " due",
];

/// Returns the token ids of a text. Words are split into tokens of at most six characters; spaces belong to
/// the word after them.
pub fn tokenize(text: &str) -> Vec<u64> {
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

/// Returns the token ids of a chat's messages, as a request's body has them. Those of a message begin with
/// its role.
pub fn chat(messages: &[Value]) -> Vec<u64> {
    let message = |message: &Value| {
        let role = message["role"].as_str().unwrap_or("user");
        tokenize(&format!("<{role}> {}", message["content"].as_str().unwrap_or_default()))
    };
    messages.iter().flat_map(message).collect()
}

/// Returns a text with these token ids. Each word is the first number in base 36 that has the id.
pub fn detokenize(ids: &[u64]) -> String {
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
    let found: Vec<&str> = ids.iter().filter_map(|id| words.get(id).map(String::as_str)).collect();
    found.join(" ")
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

/// Returns the text of the `number`th token of an answer, from 1.
pub fn answer_word(number: u64) -> &'static str {
    WORDS[((number - 1) % WORDS.len() as u64) as usize]
}

/// The length of an answer that ends by itself, in tokens: 60 to 100 % of `max_tokens`, the same for the same
/// prompt and seed.
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

/// 64-bit FNV-1a, with its bits mixed at the end so that a remainder depends on all of them.
fn hash(bytes: &[u8]) -> u64 {
    let mut h: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in bytes {
        h = (h ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    h ^= h >> 32;
    h = h.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    h ^ (h >> 29)
}

/// The block hashes of one sequence. Each hash covers a block and everything before it, so the same tokens
/// after another prefix are another block.
#[derive(Clone, Debug)]
pub struct BlockHashes {
    block_size: u64,
    hash: u64,
    tokens: u64,
    blocks: Vec<u64>,
}

impl BlockHashes {
    /// No tokens, in blocks of `block_size`.
    pub fn new(block_size: u64) -> Self {
        Self { block_size: block_size.max(1), hash: 0, tokens: 0, blocks: Vec::new() }
    }

    /// Adds a token.
    pub fn push(&mut self, token: u64) {
        self.hash = mix(self.hash, token);
        self.tokens += 1;
        if self.tokens.is_multiple_of(self.block_size) {
            self.blocks.push(self.hash);
        }
    }

    /// Adds the `number`th token of an answer, from 1.
    pub fn push_answer_token(&mut self, number: u64) {
        // As in the prompt of the next turn, where every word of an answer is one token.
        self.push(id(answer_word(number).trim_start()));
    }

    /// The hashes of the full blocks.
    pub fn blocks(&self) -> &[u64] {
        &self.blocks
    }
}

/// Adds a token to a hash. The multiplication spreads it over all bits, and the shift moves the high bits
/// down.
fn mix(hash: u64, token: u64) -> u64 {
    let mixed = (hash ^ token.wrapping_add(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_into_tokens() {
        assert_eq!(tokenize("one two").len(), 2);
        assert_eq!(tokenize("  internationalization ").len(), 4);
        assert_eq!(tokenize(""), Vec::<u64>::new());
        assert_eq!(tokenize("a b a")[0], tokenize("a b a")[2]);
    }

    #[test]
    fn detokenizing_and_tokenizing_gives_the_same_ids() {
        let ids = [0, 49_999, 7, 7, 25_000];
        assert_eq!(tokenize(&detokenize(&ids)), ids);
        assert_eq!(detokenize(&[]), "");
    }

    #[test]
    fn natural_lengths_vary_within_their_bounds() {
        let lengths: Vec<u64> = (0..100).map(|id| natural_length(&[id], 1, 100)).collect();
        assert!(lengths.iter().all(|n| (60..=100).contains(n)));
        let distinct: BTreeSet<_> = lengths.iter().collect();
        assert!(distinct.len() > 20, "{distinct:?}");
        assert_eq!(natural_length(&[1], 1, 1), 1);
    }

    #[test]
    fn a_block_hash_covers_everything_before_the_block() {
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
