//! Pieces of known length → strings of exact length.

use rand_chacha::rand_core::Rng;

use super::length::below;

/// Pieces that follow each other in any order without changing how many tokens each is.
#[derive(Clone, Debug)]
pub(super) struct Alphabet {
    /// A piece as it stands in a body, and its tokens, at least one each.
    pieces: Vec<(Box<str>, u32)>,
    /// A piece of one token, to end at any length.
    one: usize,
}

impl Alphabet {
    /// `None` without a piece of one token.
    pub(super) fn new(pieces: impl IntoIterator<Item = (Box<str>, u32)>) -> Option<Self> {
        let pieces: Vec<(Box<str>, u32)> = pieces.into_iter().collect();
        let one = pieces.iter().position(|(_, tokens)| *tokens == 1)?;
        Some(Self { pieces, one })
    }

    /// Appends pieces drawn at random, of exactly so many tokens together.
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

    /// Random pieces laid out once, so that a long request is a copy and not thousands of draws on the load path.
    pub(super) fn tape(&self, tokens: u32, random: &mut impl Rng) -> Tape {
        let mut tape =
            Tape { text: String::new(), marks: vec![(0, 0)], one: self.pieces[self.one].0.clone() };
        let mut reached = 0;
        while reached < u64::from(tokens) {
            let (piece, cost) = &self.pieces[below(random, self.pieces.len() as u64) as usize];
            tape.text.push_str(piece);
            reached += u64::from(*cost);
            tape.marks.push((tape.text.len(), reached));
        }
        tape
    }
}

/// A long run of pieces, of which any stretch can be copied.
#[derive(Clone, Debug)]
pub(super) struct Tape {
    text: String,
    /// After each piece: bytes and tokens so far.
    marks: Vec<(usize, u64)>,
    /// A piece of one token.
    one: Box<str>,
}

impl Tape {
    /// Appends a stretch of exactly so many tokens, from a place drawn at random.
    pub(super) fn copy(&self, tokens: u32, random: &mut impl Rng, out: &mut String) {
        let wanted = u64::from(tokens);
        let whole = self.marks.last().map_or(0, |mark| mark.1);
        let latest = self.marks.partition_point(|mark| mark.1 + wanted <= whole).max(1);
        let (start, before) = self.marks[below(random, latest as u64) as usize];
        let end = self.marks.partition_point(|mark| mark.1 <= before + wanted) - 1;
        let (stop, reached) = self.marks[end];
        out.push_str(&self.text[start..stop]);
        // A piece of several tokens may stand where the stretch should end.
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

    /// As many tokens as a piece has letters.
    fn alphabet() -> Alphabet {
        Alphabet::new(["aa", "b", "cccc", "d", "eeeeeee"].map(|p| (p.into(), p.len() as u32))).unwrap()
    }

    proptest! {
        #[test]
        fn every_length_is_met_exactly(seed: u64, tokens in 0u32..400, longest in 0u32..400) {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut text = String::new();
            alphabet().compose(tokens, &mut random, &mut text);
            prop_assert_eq!(text.len() as u32, tokens);
            let tape = alphabet().tape(longest.max(tokens), &mut random);
            for _ in 0..5 {
                text.clear();
                tape.copy(tokens, &mut random, &mut text);
                prop_assert_eq!(text.len() as u32, tokens);
            }
        }
    }

    #[test]
    fn without_a_piece_of_one_token_there_is_no_alphabet() {
        assert!(Alphabet::new([("aa".into(), 2)]).is_none());
    }
}
