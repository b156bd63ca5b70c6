//! Variants of writing the same events that are legal for a server, such as CRLF, comments or gzip.

use std::{collections::VecDeque, io::Write as _};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

use super::fault::DrawnFaults;
use crate::manifest::AnswerFault;

/// Events per write if several share one.
const PER_WRITE: usize = 4;
/// Lines between events that clients must ignore.
const BETWEEN: &str = ": keep-alive\n\nid: 7\nretry: 1000\n";

/// How the events of one answer are written.
#[derive(Debug, Default)]
pub(super) struct WireFormat {
    crlf: bool,
    no_space: bool,
    comments: bool,
    per_write: usize,
    /// Whether each byte is written separately.
    pub(super) bytewise: bool,
    gzip: Option<GzEncoder<Vec<u8>>>,
    held: Vec<u8>,
    events: usize,
}

impl WireFormat {
    pub(super) fn of(drawn: DrawnFaults) -> Self {
        Self {
            crlf: drawn.has(AnswerFault::Crlf),
            no_space: drawn.has(AnswerFault::NoSpace),
            comments: drawn.has(AnswerFault::Comments),
            per_write: if drawn.has(AnswerFault::SeveralPerWrite) { PER_WRITE } else { 1 },
            bytewise: drawn.has(AnswerFault::BytePerWrite),
            gzip: drawn.has(AnswerFault::Gzip).then(|| GzEncoder::new(Vec::new(), Compression::fast())),
            held: Vec::new(),
            events: 0,
        }
    }

    fn is_plain(&self) -> bool {
        !self.crlf
            && !self.no_space
            && !self.comments
            && self.per_write == 1
            && !self.bytewise
            && self.gzip.is_none()
    }

    /// Writes an event, which is `data: …` with LF as line breaks.
    pub(super) fn write(&mut self, event: Bytes, ready: &mut VecDeque<Bytes>) {
        if self.is_plain() {
            ready.push_back(event);
            return;
        }
        let mut text = String::from_utf8_lossy(&event).into_owned();
        if self.comments {
            text.insert_str(0, BETWEEN);
        }
        if self.no_space {
            text = text.replacen("data: ", "data:", 1);
        }
        if self.crlf {
            text = text.replace('\n', "\r\n");
        }
        self.held.extend_from_slice(text.as_bytes());
        self.events += 1;
        if self.events >= self.per_write {
            self.flush(ready);
        }
    }

    /// Writes the events that are held back.
    pub(super) fn flush(&mut self, ready: &mut VecDeque<Bytes>) {
        self.events = 0;
        let mut held = std::mem::take(&mut self.held);
        if let Some(gzip) = &mut self.gzip {
            // Writing to memory cannot fail.
            gzip.write_all(&held).and_then(|()| gzip.flush()).ok();
            held = std::mem::take(gzip.get_mut());
        }
        if self.bytewise {
            let held = Bytes::from(held);
            ready.extend((0..held.len()).map(|at| held.slice(at..=at)));
        } else if !held.is_empty() {
            ready.push_back(Bytes::from(held));
        }
    }

    /// Writes the rest at the end of a stream.
    pub(super) fn finish(&mut self, ready: &mut VecDeque<Bytes>) {
        self.flush(ready);
        if let Some(end) = self.gzip.take().and_then(|gzip| gzip.finish().ok()) {
            ready.push_back(Bytes::from(end));
        }
    }
}
