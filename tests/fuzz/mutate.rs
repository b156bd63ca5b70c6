//! Mutates recorded inputs; the same seed gives the same inputs.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// Fragments that parsers often get wrong.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\n\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\xf0\x9f\x92",
    b"\xef\xbb\xbf",
    b"data:",
    b"data: [DONE]\n\n",
    b":",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"9999999999",
    b"\x1b[2J",
    b"../../",
    b"{{",
    b"}}",
    b"{%",
    b"%}",
    b"0\r\n\r\n",
    b"transfer-encoding: chunked\r\n",
    b"content-length: 7\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"= ",
    b"'''",
    b"#",
    b",",
];

/// The n-th random source of a seed.
pub(crate) fn random(seed: u64, number: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(number);
    random
}

/// A number below a bound.
pub(crate) fn below(random: &mut ChaCha8Rng, bound: usize) -> usize {
    (random.next_u64() % bound.max(1) as u64) as usize
}

/// An input of the corpus, mutated in one to eight places.
pub(crate) fn mutate(random: &mut ChaCha8Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[below(random, corpus.len())].clone();
    for _ in 0..=below(random, 8) {
        let from = below(random, bytes.len() + 1);
        let length = match below(random, 3) {
            0 => below(random, 4),
            1 => below(random, 64),
            _ => below(random, bytes.len() + 1),
        };
        let to = (from + length).min(bytes.len());
        match below(random, 8) {
            0 => bytes.truncate(from),
            1 => drop(bytes.drain(from..to)),
            2 => {
                let piece = bytes[from..to].to_vec();
                let times = 1 + below(random, 4);
                let at = below(random, bytes.len() + 1);
                bytes.splice(at..at, piece.repeat(times));
            }
            3 => {
                let token = TOKENS[below(random, TOKENS.len())];
                bytes.splice(from..from, token.iter().copied());
            }
            4 => {
                let token = TOKENS[below(random, TOKENS.len())];
                bytes.splice(from..to, token.iter().copied());
            }
            5 => {
                let other = &corpus[below(random, corpus.len())];
                let at = below(random, other.len() + 1);
                let end = (at + below(random, 4096)).min(other.len());
                bytes.splice(from..from, other[at..end].iter().copied());
            }
            6 => bytes[from..to].reverse(),
            _ => {
                if let Some(byte) = bytes.get_mut(from) {
                    *byte ^= 1 << below(random, 8);
                }
            }
        }
    }
    // Long inputs find nothing that short ones do not, and take longer; hostile sizes have tests of their
    // own.
    bytes.truncate(LARGEST);
    bytes
}

const LARGEST: usize = 64 << 10;
