//! An incremental decoder of server-sent events, by the WHATWG rules: bytes in, as they arrive; the data of
//! events out.
//!
//! An event on one line that arrives in one piece is not copied. Others are collected in buffers that are
//! reused, so an event costs no allocation once they have grown.

use memchr::memchr2;

use super::error::AnswerError;

/// The largest event that is accepted, bytes; a larger one is an attack or a mistake.
pub(super) const LARGEST_EVENT: usize = 8 << 20;

/// The decoder's state. Only the `data` field matters to an OpenAI stream; other fields are skipped.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The unfinished last line of the pieces so far.
    line: Vec<u8>,
    /// The data lines of the unfinished event, joined.
    data: Vec<u8>,
    has_data: bool,
    /// Whether the last byte was a CR, so that a LF belongs to the same line end.
    after_cr: bool,
    /// Whether the first line was read, before which a byte order mark is skipped.
    started: bool,
}

const TOO_LARGE: AnswerError = AnswerError::LargeEvent(LARGEST_EVENT);

impl Decoder {
    /// Decodes the next piece and calls `event` with the data of every event it completes.
    ///
    /// # Errors
    /// When an event is larger than [`LARGEST_EVENT`].
    pub(super) fn feed(
        &mut self,
        mut piece: &[u8],
        event: &mut impl FnMut(&[u8]),
    ) -> Result<(), AnswerError> {
        if self.after_cr && !piece.is_empty() {
            self.after_cr = false;
            if piece[0] == b'\n' {
                piece = &piece[1..];
            }
        }
        while let Some(at) = memchr2(b'\n', b'\r', piece) {
            if let Some((data, rest)) = self.whole(piece, at) {
                event(data);
                piece = rest;
                continue;
            }
            let line = &piece[..at];
            let rest = &piece[at + 1..];
            piece = if piece[at] == b'\r' {
                match rest.first() {
                    Some(b'\n') => &rest[1..],
                    Some(_) => rest,
                    None => {
                        self.after_cr = true;
                        rest
                    }
                }
            } else {
                rest
            };
            if self.line.is_empty() {
                self.end_line(line, event)?;
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.end_line(&whole, event)?;
                whole.clear();
                self.line = whole;
            }
        }
        if self.line.len() + piece.len() > LARGEST_EVENT {
            return Err(TOO_LARGE);
        }
        self.line.extend_from_slice(piece);
        Ok(())
    }

    /// Returns the data of an event whose only line and blank line are in this piece, and the bytes after it.
    fn whole<'a>(&mut self, piece: &'a [u8], at: usize) -> Option<(&'a [u8], &'a [u8])> {
        if self.has_data || !self.started || !self.line.is_empty() {
            return None;
        }
        let value = piece[..at].strip_prefix(b"data:")?;
        let rest = match &piece[at..] {
            [b'\n', b'\n', rest @ ..] | [b'\r', b'\n', b'\r', b'\n', rest @ ..] => rest,
            _ => return None,
        };
        Some((value.strip_prefix(b" ").unwrap_or(value), rest))
    }

    /// Ends the stream: the last event may lack its blank line.
    pub(super) fn finish(&mut self, event: &mut impl FnMut(&[u8])) -> Result<(), AnswerError> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.end_line(&line, event)?;
        }
        self.dispatch(event);
        Ok(())
    }

    fn end_line(&mut self, mut line: &[u8], event: &mut impl FnMut(&[u8])) -> Result<(), AnswerError> {
        if !self.started {
            self.started = true;
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            self.dispatch(event);
            return Ok(());
        }
        let Some(value) = line.strip_prefix(b"data") else {
            return Ok(());
        };
        let value = match value {
            [] => value,
            [b':', b' ', rest @ ..] | [b':', rest @ ..] => rest,
            // Another field whose name begins with `data`.
            _ => return Ok(()),
        };
        if self.data.len() + value.len() > LARGEST_EVENT {
            return Err(TOO_LARGE);
        }
        if self.has_data {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value);
        self.has_data = true;
        Ok(())
    }

    fn dispatch(&mut self, event: &mut impl FnMut(&[u8])) {
        if self.has_data {
            event(&self.data);
            self.data.clear();
            self.has_data = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::load::tests::pieces;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let mut found = Vec::new();
        let mut decoder = Decoder::default();
        let mut keep = |data: &[u8]| found.push(String::from_utf8_lossy(data).into_owned());
        for piece in pieces {
            decoder.feed(piece, &mut keep).unwrap();
        }
        decoder.finish(&mut keep).unwrap();
        found
    }

    #[test]
    fn every_legal_form_of_an_event_is_read() {
        for (stream, wanted) in [
            ("data: a\n\ndata: b\n\n", vec!["a", "b"]),
            ("data:a\r\n\r\ndata:b\r\n\r\n", vec!["a", "b"]),
            ("data: a\r\rdata: b\r\r", vec!["a", "b"]),
            ("\u{feff}data: a\n\n", vec!["a"]),
            (": comment\n\ndata: a\nid: 4\nretry: 3\n\n", vec!["a"]),
            ("event: x\ndata: a\ndata: b\n\n", vec!["a\nb"]),
            ("data: a", vec!["a"]),
            ("data\n\n", vec![""]),
            ("database: no\n\n", vec![]),
            ("data:  two spaces\n\n", vec![" two spaces"]),
        ] {
            assert_eq!(events(&[stream.as_bytes()]), wanted, "{stream:?}");
        }
    }

    #[test]
    fn an_endless_event_takes_bounded_memory() {
        let mut decoder = Decoder::default();
        let piece = vec![b'x'; 1 << 20];
        let mut fed = 0;
        while decoder.feed(&piece, &mut |_| {}).is_ok() {
            fed += piece.len();
            assert!(fed <= LARGEST_EVENT);
        }
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_events(
            stream in "(data: ?[a-zé\u{1F600}]{0,6}(\r\n|\n|\r)|(\r\n|\n|\r)|: c\n|id: 1\r\n){0,12}",
            cuts in proptest::collection::vec(0usize..200, 0..12),
        ) {
            let bytes = stream.as_bytes();
            let pieces = pieces(bytes, cuts);
            prop_assert_eq!(events(&pieces), events(&[bytes]));
        }
    }
}
