//! Compressed parts of a body → what they hold. The client asks for no compression, but without being asked a server may
//! choose one (RFC 9110, 12.5.3). It tends to hold tokens back until a block is full: then they arrive at one instant,
//! which the verdicts show.

use flate2::{Decompress, FlushDecompress, Status};

/// What is decompressed at once, bytes: however much a part holds, no more of it is in memory.
const STEP: usize = 16 << 10;

/// So much is decompressed whatever it comes from, bytes; beyond it, at most [`MOST_TIMES`] what arrived. A stream of one
/// token over and over packs into a fiftieth.
const MOST_PLAIN: u64 = 16 << 20;
const MOST_TIMES: u64 = 100;

/// Decompresses one body.
#[derive(Debug)]
pub(super) struct Inflate {
    state: Decompress,
    gzip: bool,
    /// Bytes that arrived, and bytes that they held.
    packed: u64,
    plain: u64,
}

impl Inflate {
    /// For the content codings `gzip` and `deflate`; `None` for any other.
    pub(super) fn of(coding: &str) -> Option<Self> {
        let (state, gzip) = match coding {
            "gzip" | "x-gzip" => (Decompress::new_gzip(15), true),
            "deflate" => (Decompress::new(true), false),
            _ => return None,
        };
        Some(Self { state, gzip, packed: 0, plain: 0 })
    }

    /// Takes the next part and gives `body` what it holds, in steps.
    ///
    /// # Errors
    /// A sentence when the bytes are not what their coding says.
    pub(super) fn feed(&mut self, mut part: &[u8], body: &mut impl FnMut(&[u8])) -> Result<(), String> {
        let mut out = [0; STEP];
        loop {
            let (read, made) = (self.state.total_in(), self.state.total_out());
            let status = self
                .state
                .decompress(part, &mut out, FlushDecompress::Sync)
                .map_err(|error| format!("the compressed answer cannot be read: {error}"))?;
            let read = (self.state.total_in() - read) as usize;
            let made = (self.state.total_out() - made) as usize;
            part = &part[read..];
            self.packed += read as u64;
            self.plain += made as u64;
            if self.plain > MOST_PLAIN.max(self.packed * MOST_TIMES) {
                return Err(format!("the compressed answer holds more than {MOST_TIMES} times its length"));
            }
            if made > 0 {
                body(&out[..made]);
            }
            match status {
                // Another member of a gzip body may follow (RFC 1952, 2.2).
                Status::StreamEnd if self.gzip && !part.is_empty() => {
                    self.state = Decompress::new_gzip(15);
                }
                Status::StreamEnd => return Ok(()),
                // A step that was filled may have more behind it.
                Status::Ok | Status::BufError if made < STEP && (part.is_empty() || read == 0) => {
                    return Ok(());
                }
                Status::Ok | Status::BufError => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{
        Compression,
        write::{GzEncoder, ZlibEncoder},
    };
    use proptest::prelude::*;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn read(coding: &str, bytes: &[u8], at: &[usize]) -> Result<Vec<u8>, String> {
        let mut inflate = Inflate::of(coding).unwrap();
        let mut plain = Vec::new();
        let mut from = 0;
        for to in at.iter().copied().chain([bytes.len()]) {
            let to = to.clamp(from, bytes.len());
            inflate.feed(&bytes[from..to], &mut |part| plain.extend_from_slice(part))?;
            from = to;
        }
        Ok(plain)
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_holds_the_same(
            text in proptest::collection::vec(any::<u8>(), 0..60_000),
            mut at in proptest::collection::vec(0_usize..60_000, 0..8),
        ) {
            at.sort_unstable();
            prop_assert_eq!(&read("gzip", &gzip(&text), &at).unwrap(), &text);
            let mut deflate = ZlibEncoder::new(Vec::new(), Compression::fast());
            deflate.write_all(&text).unwrap();
            prop_assert_eq!(&read("deflate", &deflate.finish().unwrap(), &at).unwrap(), &text);
        }
    }

    #[test]
    fn a_flushed_block_is_read_before_the_end_comes() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"data: 1\n\n").unwrap();
        encoder.flush().unwrap();
        assert_eq!(read("gzip", encoder.get_ref(), &[]).unwrap(), b"data: 1\n\n");
    }

    #[test]
    fn members_follow_one_another_and_a_bomb_goes_by_in_steps() {
        let two = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(read("gzip", &two, &[3, 30]).unwrap(), b"one two");
        let bomb = gzip(&vec![0; 12 << 20]);
        let mut inflate = Inflate::of("gzip").unwrap();
        let (mut most, mut all) = (0, 0);
        inflate
            .feed(&bomb, &mut |part| {
                most = most.max(part.len());
                all += part.len();
            })
            .unwrap();
        assert_eq!((most, all), (STEP, 12 << 20));
        let more = gzip(&vec![0; 20 << 20]);
        let reason = read("gzip", &more, &[]).unwrap_err();
        assert!(reason.contains("100 times"), "{reason}");
    }

    #[test]
    fn what_is_not_compressed_as_it_says_is_an_error_and_other_codings_are_unknown() {
        assert!(read("gzip", b"data: plain text\n\n", &[]).is_err());
        assert!(Inflate::of("br").is_none());
    }
}
