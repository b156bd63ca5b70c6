//! An incremental HTTP/1.1 response parser (RFC 9112): bytes in, as they arrive; a head and parts of a body
//! out.
//!
//! A chunk of the transfer coding costs a few comparisons and no copy, because vLLM sends one for each token.
//! The head, which is the part that is hard to parse correctly, is left to `httparse`. The module
//! documentation of [`super`] says why the client does not use hyper.

use std::str;

use super::error::AnswerError;

/// The largest head of an answer, bytes.
const LARGEST_HEAD: usize = 256 << 10;
/// The most header lines of an answer.
const MOST_HEADERS: usize = 128;
/// The longest line of a chunk's size, and the longest trailer, bytes.
const LONGEST_LINE: u64 = 16 << 10;

/// The parts of an answer's head that the client uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// `Content-Type`, in lower case.
    pub(super) content_type: Option<String>,
    /// `Content-Encoding`, or a transfer coding other than `chunked`, in lower case; absent when there is
    /// none.
    pub(super) encoding: Option<String>,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    /// This many more bytes of the body.
    Length(u64),
    /// The body lasts until the connection ends.
    UntilClose,
    /// The line of a chunk's size, of which this many digits and bytes were read.
    Size {
        size: u64,
        digits: u8,
        length: u64,
    },
    /// The rest of that line.
    SizeRest {
        size: u64,
        length: u64,
    },
    /// This many more bytes of a chunk.
    Chunk(u64),
    /// The line end after a chunk; whether its CR was read.
    ChunkEnd {
        cr: bool,
    },
    /// A line of the trailer; bytes read of the line and of the whole trailer.
    Trailer {
        line: u64,
        length: u64,
    },
    Done,
}

#[derive(Debug)]
pub(super) struct Reader {
    state: State,
    /// Bytes of an incomplete head.
    part: Vec<u8>,
    head: Option<Head>,
    /// Whether the connection may be used for another request once the answer is done.
    reusable: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Self { state: State::Head, part: Vec::new(), head: None, reusable: true }
    }
}

impl Reader {
    /// The head, once it is complete.
    pub(super) fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the answer is complete and another request may be sent on the connection.
    pub(super) fn is_reusable(&self) -> bool {
        self.is_done() && self.reusable
    }

    /// Notes that the connection ended. Returns whether the answer is complete.
    pub(super) fn closed(&mut self) -> bool {
        if self.state == State::UntilClose {
            self.state = State::Done;
        }
        self.is_done()
    }

    /// Parses bytes, passes parts of the body to `body`, and returns the bytes that are left. Returns right
    /// after a head, so that the caller sees it before any of the body; call it again until nothing is left.
    ///
    /// # Errors
    /// When the bytes are not an HTTP/1 response.
    pub(super) fn next<'a>(
        &mut self,
        bytes: &'a [u8],
        body: &mut impl FnMut(&'a [u8]),
    ) -> Result<&'a [u8], AnswerError> {
        let mut rest = bytes;
        while let Some((&byte, behind)) = rest.split_first() {
            self.state = match self.state {
                State::Head => return self.take_head(rest),
                State::Done => {
                    // Bytes after a complete answer belong to no request.
                    self.reusable = false;
                    return Ok(&[]);
                }
                State::Length(left) => {
                    let (part, behind) = split(rest, left);
                    body(part);
                    rest = behind;
                    match left - part.len() as u64 {
                        0 => State::Done,
                        left => State::Length(left),
                    }
                }
                State::UntilClose => {
                    body(rest);
                    return Ok(&[]);
                }
                State::Chunk(left) => {
                    let (part, behind) = split(rest, left);
                    body(part);
                    rest = behind;
                    match left - part.len() as u64 {
                        0 => State::ChunkEnd { cr: false },
                        left => State::Chunk(left),
                    }
                }
                State::Size { size, digits, length } => {
                    rest = behind;
                    match (byte as char).to_digit(16) {
                        Some(digit) if digits < 15 => State::Size {
                            size: size << 4 | u64::from(digit),
                            digits: digits + 1,
                            length: length + 1,
                        },
                        None if digits > 0 => size_rest(byte, size, length)?,
                        _ => return Err(AnswerError::ChunkSize),
                    }
                }
                State::SizeRest { size, length } => {
                    rest = behind;
                    size_rest(byte, size, length + 1)?
                }
                State::ChunkEnd { cr } => {
                    rest = behind;
                    match byte {
                        b'\r' if !cr => State::ChunkEnd { cr: true },
                        b'\n' => NEXT_SIZE,
                        _ => return Err(AnswerError::LongChunk),
                    }
                }
                State::Trailer { line, length } => {
                    rest = behind;
                    match byte {
                        b'\n' if line == 0 => State::Done,
                        b'\n' => State::Trailer { line: 0, length: length + 1 },
                        b'\r' => State::Trailer { line, length: length + 1 },
                        _ if length >= LONGEST_LINE => return Err(AnswerError::EndlessTrailer),
                        _ => State::Trailer { line: line + 1, length: length + 1 },
                    }
                }
            };
        }
        Ok(rest)
    }

    fn take_head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], AnswerError> {
        let before = self.part.len();
        if before == 0 {
            if let Some(length) = self.parse(bytes)? {
                return Ok(&bytes[length..]);
            }
            self.part.extend_from_slice(bytes);
        } else {
            self.part.extend_from_slice(bytes);
            let part = std::mem::take(&mut self.part);
            if let Some(length) = self.parse(&part)? {
                return Ok(&bytes[length - before..]);
            }
            self.part = part;
        }
        if self.part.len() > LARGEST_HEAD {
            return Err(AnswerError::LargeHead(LARGEST_HEAD));
        }
        Ok(&[])
    }

    /// Parses a head and returns its length; `None` when it is incomplete.
    fn parse(&mut self, bytes: &[u8]) -> Result<Option<usize>, AnswerError> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(AnswerError::NotHttp(error)),
        };
        let Some(status) = response.code else {
            return Err(AnswerError::NoStatus);
        };
        match status {
            101 => return Err(AnswerError::ProtocolSwitch),
            // An interim response: the final one follows.
            100..200 => return Ok(Some(length)),
            _ => {}
        }
        self.head = Some(Head { status, ..Head::default() });
        self.reusable = response.version == Some(1);
        let mut lengths: Option<u64> = None;
        let mut chunked = None;
        for header in &*response.headers {
            let value = str::from_utf8(header.value).unwrap_or_default().trim();
            self.take_header(header.name, value, &mut lengths, &mut chunked)?;
        }
        self.state = match (status, chunked, lengths) {
            (204 | 304, ..) => State::Done,
            (_, Some(true), _) => NEXT_SIZE,
            (_, Some(false), _) | (_, None, None) => {
                self.reusable = false;
                State::UntilClose
            }
            (_, None, Some(0)) => State::Done,
            (_, None, Some(length)) => State::Length(length),
        };
        Ok(Some(length))
    }

    fn take_header(
        &mut self,
        name: &str,
        value: &str,
        length: &mut Option<u64>,
        chunked: &mut Option<bool>,
    ) -> Result<(), AnswerError> {
        let Some(head) = &mut self.head else {
            return Ok(());
        };
        if name.eq_ignore_ascii_case("content-type") {
            head.content_type = Some(value.to_ascii_lowercase());
        } else if name.eq_ignore_ascii_case("content-encoding") {
            if !value.is_empty() && !value.eq_ignore_ascii_case("identity") {
                head.encoding = Some(value.to_ascii_lowercase());
            }
        } else if name.eq_ignore_ascii_case("content-length") {
            for each in value.split(',') {
                let each: u64 = each.trim().parse().map_err(|_| AnswerError::Length(value.to_owned()))?;
                if length.is_some_and(|length| length != each) {
                    return Err(AnswerError::TwoLengths);
                }
                *length = Some(each);
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            for coding in value.split(',').map(str::trim).filter(|coding| !coding.is_empty()) {
                *chunked = Some(coding.eq_ignore_ascii_case("chunked"));
                if *chunked == Some(false) && !coding.eq_ignore_ascii_case("identity") {
                    head.encoding = Some(coding.to_ascii_lowercase());
                }
            }
        } else if name.eq_ignore_ascii_case("connection") {
            for option in value.split(',').map(str::trim) {
                if option.eq_ignore_ascii_case("close") {
                    self.reusable = false;
                } else if option.eq_ignore_ascii_case("keep-alive") {
                    self.reusable = true;
                }
            }
        }
        Ok(())
    }
}

const NEXT_SIZE: State = State::Size { size: 0, digits: 0, length: 0 };

/// Takes a byte after the digits of a chunk's size. Extensions are ignored.
fn size_rest(byte: u8, size: u64, length: u64) -> Result<State, AnswerError> {
    match byte {
        b'\n' if size == 0 => Ok(State::Trailer { line: 0, length: 0 }),
        b'\n' => Ok(State::Chunk(size)),
        _ if length >= LONGEST_LINE => Err(AnswerError::EndlessSizeLine),
        // A space, a CR or an extension.
        _ if length > 0 || matches!(byte, b'\r' | b';' | b' ' | b'\t') => {
            Ok(State::SizeRest { size, length })
        }
        _ => Err(AnswerError::ChunkSize),
    }
}

/// Splits off at most `most` bytes.
fn split(bytes: &[u8], most: u64) -> (&[u8], &[u8]) {
    let at = usize::try_from(most).map_or(bytes.len(), |most| most.min(bytes.len()));
    bytes.split_at(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::load::tests::pieces;

    /// Parses an answer: its head, its body, whether it is complete, and whether its connection can be used
    /// again.
    fn read(pieces: &[&[u8]], closed: bool) -> Result<(Option<Head>, String, bool, bool), AnswerError> {
        let mut reader = Reader::default();
        let mut body = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                rest = reader.next(rest, &mut |part| body.extend_from_slice(part))?;
            }
        }
        if closed {
            reader.closed();
        }
        let text = String::from_utf8_lossy(&body).into_owned();
        Ok((reader.head().cloned(), text, reader.is_done(), reader.is_reusable()))
    }

    #[test]
    fn every_framing_is_read() {
        for (name, answer, body, done, reusable) in [
            ("length", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", "abc", true, true),
            ("too short", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabc", "abc", false, false),
            ("too long", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabc", "ab", true, false),
            ("empty", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "", true, true),
            (
                "chunks",
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0002\r\nbc\r\n0\r\n\r\n",
                "abc",
                true,
                true,
            ),
            (
                "extension and trailer",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=\"1\"\r\nabc\r\n0\r\nx: y\r\n\r\n",
                "abc",
                true,
                true,
            ),
            ("bare LF", "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n3\nabc\n0\n\n", "abc", true, true),
            (
                "cut chunk",
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc",
                "abc",
                false,
                false,
            ),
            (
                "both",
                "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
                "abc",
                true,
                true,
            ),
            ("until close", "HTTP/1.1 200 OK\r\n\r\nabc", "abc", true, false),
            ("HTTP/1.0", "HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nabc", "abc", true, false),
            (
                "close",
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc",
                "abc",
                true,
                false,
            ),
            (
                "interim",
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
                "abc",
                true,
                true,
            ),
            ("no content", "HTTP/1.1 204 No Content\r\n\r\n", "", true, true),
        ] {
            let (head, text, whole, again) = read(&[answer.as_bytes()], true).unwrap();
            assert_eq!((text.as_str(), whole, again), (body, done, reusable), "{name}");
            assert!(head.is_some(), "{name}");
        }
    }

    #[test]
    fn invalid_http_is_an_error() {
        for answer in [
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        ] {
            assert!(read(&[answer.as_bytes()], false).is_err(), "{answer}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(LARGEST_HEAD));
        assert!(read(&[endless.as_bytes()], false).is_err());
    }

    #[test]
    fn an_encoding_is_found_in_either_header() {
        for (line, encoding) in [
            ("content-encoding: GZIP", Some("gzip")),
            ("content-encoding: identity", None),
            ("transfer-encoding: gzip, chunked", Some("gzip")),
        ] {
            let answer = format!("HTTP/1.1 200 OK\r\n{line}\r\ncontent-type: Text/Event-Stream\r\n\r\n");
            let head = read(&[answer.as_bytes()], false).unwrap().0.unwrap();
            assert_eq!(head.encoding.as_deref(), encoding, "{line}");
            assert_eq!(head.content_type.as_deref(), Some("text/event-stream"));
        }
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_answer(
            framing in 0usize..4, parts in prop::collection::vec("[a-z\r\n]{1,20}", 0..5), cuts in prop::collection::vec(0usize..300, 0..12),
        ) {
            let whole = parts.concat();
            let chunks: String = parts.iter().map(|part| format!("{:X};e\r\n{part}\r\n", part.len())).collect();
            let answer = match framing {
                0 => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{whole}", whole.len()),
                1 => format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\nx: y\r\n\r\n"),
                2 => format!("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{whole}"),
                _ => format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"),
            };
            let bytes = answer.as_bytes();
            let pieces = pieces(bytes, cuts);
            let (head, body, done, _) = read(&pieces, true).unwrap();
            prop_assert_eq!(head.unwrap().status, 200);
            prop_assert_eq!(body, whole);
            prop_assert_eq!(done, framing != 3);
        }
    }
}
