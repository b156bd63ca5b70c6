//! Decompresses a body part by part. The client requests no compression, but a server may choose one anyway
//! (RFC 9110, 12.5.3). Compression tends to hold tokens back until a block is full; they then arrive at one
//! instant, which a verdict reports.

use flate2::{Decompress, FlushDecompress, Status};

use super::error::AnswerError;

/// Size of the output buffer, bytes, and so the most decompressed text in memory at once.
const STEP: usize = 16 << 10;

/// A body may decompress to this many bytes at any ratio; beyond it, at most to [`MAX_RATIO`] times what
/// arrived. A stream that repeats one token compresses fiftyfold.
const ANY_RATIO_BYTES: u64 = 16 << 20;
const MAX_RATIO: u64 = 100;

#[derive(Debug)]
pub(super) struct Inflate {
    state: Decompress,
    gzip: bool,
    /// Bytes that arrived.
    compressed: u64,
    /// Bytes that they decompressed to.
    plain: u64,
}

impl Inflate {
    /// A decompressor for the content coding `gzip` or `deflate`; `None` for any other.
    pub(super) fn for_coding(coding: &str) -> Option<Self> {
        let (state, gzip) = match coding {
            "gzip" | "x-gzip" => (Decompress::new_gzip(15), true),
            "deflate" => (Decompress::new(true), false),
            _ => return None,
        };
        Some(Self { state, gzip, compressed: 0, plain: 0 })
    }

    /// Decompresses the next part and passes the text to `body`, one buffer at a time.
    ///
    /// # Errors
    /// When the bytes are not what their coding says, or decompress to too much.
    pub(super) fn feed(&mut self, mut part: &[u8], body: &mut impl FnMut(&[u8])) -> Result<(), AnswerError> {
        let mut out = [0; STEP];
        loop {
            let (read, made) = (self.state.total_in(), self.state.total_out());
            let status = self
                .state
                .decompress(part, &mut out, FlushDecompress::Sync)
                .map_err(|error| AnswerError::Compression(error.to_string()))?;
            let read = (self.state.total_in() - read) as usize;
            let made = (self.state.total_out() - made) as usize;
            part = &part[read..];
            self.compressed += read as u64;
            self.plain += made as u64;
            if self.plain > ANY_RATIO_BYTES.max(self.compressed * MAX_RATIO) {
                return Err(AnswerError::CompressionRatio(MAX_RATIO));
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
                // A full output buffer may have more behind it.
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

    fn read(coding: &str, bytes: &[u8], at: &[usize]) -> Result<Vec<u8>, AnswerError> {
        let mut inflate = Inflate::for_coding(coding).unwrap();
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
    fn a_flushed_block_is_read_at_once() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"data: 1\n\n").unwrap();
        encoder.flush().unwrap();
        assert_eq!(read("gzip", encoder.get_ref(), &[]).unwrap(), b"data: 1\n\n");
    }

    #[test]
    fn several_members_are_read_and_a_bomb_is_bounded() {
        let two = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(read("gzip", &two, &[3, 30]).unwrap(), b"one two");
        let bomb = gzip(&vec![0; 12 << 20]);
        let mut inflate = Inflate::for_coding("gzip").unwrap();
        let (mut most, mut all) = (0, 0);
        inflate
            .feed(&bomb, &mut |part| {
                most = most.max(part.len());
                all += part.len();
            })
            .unwrap();
        assert_eq!((most, all), (STEP, 12 << 20));
        let more = gzip(&vec![0; 20 << 20]);
        assert_eq!(read("gzip", &more, &[]), Err(AnswerError::CompressionRatio(100)));
    }

    #[test]
    fn wrong_codings_are_errors_and_other_codings_are_unknown() {
        assert!(read("gzip", b"data: plain text\n\n", &[]).is_err());
        assert!(Inflate::for_coding("br").is_none());
    }
}
