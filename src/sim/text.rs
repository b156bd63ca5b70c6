//! Text ↔ tokens, and the words the engine says. A stand-in for a tokenizer: consistent, cheap and nobody's.

use std::collections::{BTreeMap, BTreeSet};

/// Ids are below this.
pub(super) const VOCABULARY: u64 = 50_000;

/// Bytes of the longest piece of a word.
const PIECE_CHARS: usize = 6;

const WORDS: [&str; 16] = [
    " the", " engine", " says", " one", " token", " at", " a", " time", ",", " and", " each",
    " leaves", " when", " its", " script", ".",
];

/// The token ids of a text: every run of non-space characters, cut into pieces of at most six characters, is one or
/// more tokens; spaces belong to the word after them.
pub(super) fn tokens(text: &str) -> Vec<u64> {
    text.split_whitespace()
        .flat_map(|word| {
            let chars: Vec<char> = word.chars().collect();
            chars
                .chunks(PIECE_CHARS)
                .map(|piece| {
                    let piece: String = piece.iter().collect();
                    hash(piece.as_bytes()) % VOCABULARY
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

/// A text of these tokens: for each the first word, counting in base 36, that has its id.
pub(super) fn text(ids: &[u64]) -> String {
    let mut missing: BTreeSet<u64> = ids.iter().copied().collect();
    let mut words: BTreeMap<u64, String> = BTreeMap::new();
    for number in 0..36u64.pow(PIECE_CHARS as u32) {
        if missing.is_empty() {
            break;
        }
        let word = in_base_36(number);
        let id = hash(word.as_bytes()) % VOCABULARY;
        if missing.remove(&id) {
            words.insert(id, word);
        }
    }
    let said: Vec<&str> = ids
        .iter()
        .filter_map(|id| words.get(id).map(String::as_str))
        .collect();
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

/// The text of the `number`th token (from 1) of an answer.
pub(super) fn word(number: u64) -> &'static str {
    WORDS[((number - 1) % WORDS.len() as u64) as usize]
}

/// Where an answer ends by itself: between 60 % and 100 % of `max_tokens`, the same for the same prompt and seed.
pub(super) fn natural_length(prompt: &[u64], seed: u64, max_tokens: u64) -> u64 {
    let mut bytes = seed.to_le_bytes().to_vec();
    for id in prompt {
        bytes.extend(id.to_le_bytes());
    }
    let permille = 600 + hash(&bytes) % 401;
    (max_tokens * permille).div_ceil(1000).max(1)
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
        let distinct: std::collections::BTreeSet<_> = lengths.iter().collect();
        assert!(distinct.len() > 20, "{distinct:?}");
        assert_eq!(natural_length(&[1], 1, 1), 1);
    }
}
