//! Composes strings of an exact number of tokens from pieces whose token counts are known.

use rand_chacha::rand_core::Rng;

use super::length::below;

/// Pieces of text with their token counts, which stay the same in any order.
#[derive(Clone, Debug)]
pub(super) struct Pieces {
    /// Each piece, escaped for a request body, with its tokens (at least 1).
    pieces: Vec<(Box<str>, u32)>,
    /// Index of a piece of one token, which makes every length possible.
    one: usize,
}

impl Pieces {
    /// `None` when no piece is a single token.
    pub(super) fn new(pieces: impl IntoIterator<Item = (Box<str>, u32)>) -> Option<Self> {
        let pieces: Vec<(Box<str>, u32)> = pieces.into_iter().collect();
        let one = pieces.iter().position(|(_, tokens)| *tokens == 1)?;
        Some(Self { pieces, one })
    }

    /// Appends random pieces of exactly `tokens` tokens in total.
    pub(super) fn compose(&self, tokens: u32, random: &mut impl Rng, out: &mut String) {
        let mut left = tokens;
        while left > 0 {
            let drawn = below(random, self.pieces.len() as u64) as usize;
            let fits = self.pieces[drawn].1 <= left;
            let (piece, cost) = &self.pieces[if fits { drawn } else { self.one }];
            out.push_str(piece);
            left -= cost;
        }
    }

    /// A long random text to copy from. Drawing thousands of pieces for every request would slow down the
    /// load.
    pub(super) fn corpus(&self, tokens: u32, random: &mut impl Rng) -> Corpus {
        let mut corpus =
            Corpus { text: String::new(), marks: vec![(0, 0)], one: self.pieces[self.one].0.clone() };
        let mut reached = 0;
        while reached < u64::from(tokens) {
            let (piece, cost) = &self.pieces[below(random, self.pieces.len() as u64) as usize];
            corpus.text.push_str(piece);
            reached += u64::from(*cost);
            corpus.marks.push((corpus.text.len(), reached));
        }
        corpus
    }
}

/// A long random text, from which passages of any length are copied.
#[derive(Clone, Debug)]
pub(super) struct Corpus {
    text: String,
    /// The length of the text after each piece, in bytes and in tokens.
    marks: Vec<(usize, u64)>,
    one: Box<str>,
}

impl Corpus {
    /// Appends a passage of exactly `tokens` tokens from a random position.
    pub(super) fn copy(&self, tokens: u32, random: &mut impl Rng, out: &mut String) {
        let wanted = u64::from(tokens);
        let whole = self.marks.last().map_or(0, |mark| mark.1);
        let latest = self.marks.partition_point(|mark| mark.1 + wanted <= whole).max(1);
        let (start, before) = self.marks[below(random, latest as u64) as usize];
        let end = self.marks.partition_point(|mark| mark.1 <= before + wanted) - 1;
        let (stop, reached) = self.marks[end];
        out.push_str(&self.text[start..stop]);
        // A piece of several tokens may straddle the end of the passage.
        for _ in reached..before + wanted {
            out.push_str(&self.one);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

    use super::*;

    /// Each piece has as many tokens as letters.
    fn pieces() -> Pieces {
        Pieces::new(["aa", "b", "cccc", "d", "eeeeeee"].map(|p| (p.into(), p.len() as u32))).unwrap()
    }

    proptest! {
        #[test]
        fn every_length_is_met_exactly(seed: u64, tokens in 0u32..400, longest in 0u32..400) {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut text = String::new();
            pieces().compose(tokens, &mut random, &mut text);
            prop_assert_eq!(text.len() as u32, tokens);
            let corpus = pieces().corpus(longest.max(tokens), &mut random);
            for _ in 0..5 {
                text.clear();
                corpus.copy(tokens, &mut random, &mut text);
                prop_assert_eq!(text.len() as u32, tokens);
            }
        }
    }

    #[test]
    fn a_piece_of_one_token_is_required() {
        assert!(Pieces::new([("aa".into(), 2)]).is_none());
    }
}
