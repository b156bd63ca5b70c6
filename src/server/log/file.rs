//! Writes a log of any length into at most 34 MiB of disk: its head, the error lines of what was left out,
//! and its end.
//!
//! Up to [`Bounds::head`] bytes go to the log itself. What follows goes to segment files beside it, of which
//! the last two are kept; of older segments only the error lines are kept, in the log. When the server has
//! ended, the last two segments are appended to the log.
//!
//! Lines are examined as they pass and never read back, because the server waits for its log. What the disk
//! does not accept is lost, and the log says how much as soon as the disk accepts data again.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::patterns::is_error;

/// The longest line that is examined, bytes; the rest of a longer one is skipped.
pub(super) const MAX_LINE: usize = 16 << 10;

/// How much of a log is kept, bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The head. A successful start may write more than ten megabytes.
    head: u64,
    /// Each of the two segments with the end.
    segment: u64,
    /// The error lines in between.
    errors: u64,
}

impl Bounds {
    pub(super) const DEFAULT: Self = Self { head: 16 << 20, segment: 8 << 20, errors: 1 << 20 };
}

/// The segments of a log that is being written: the one that grows, and the one before it.
pub(super) fn segments(log: &Path) -> [PathBuf; 2] {
    ["tail", "older"].map(|kind| {
        let mut name = log.as_os_str().to_owned();
        name.push(format!(".{kind}"));
        PathBuf::from(name)
    })
}

/// Creates an empty log, or empties an older one.
pub(in crate::server) fn begin(log: &Path) -> io::Result<()> {
    for segment in segments(log) {
        match fs::remove_file(segment) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::write(log, b"")
}

/// Collects the error lines of a byte stream.
#[derive(Default)]
struct ErrorLines {
    /// The line that has not ended yet.
    line: Vec<u8>,
    kept: Vec<u8>,
}

impl ErrorLines {
    /// Reads a piece of the stream; keeps nothing more once there are `most` bytes.
    fn read(&mut self, piece: &[u8], most: u64) {
        let mut rest = piece;
        while (self.kept.len() as u64) < most {
            let Some(end) = memchr::memchr(b'\n', rest) else {
                self.hold(rest);
                return;
            };
            let (line, next) = rest.split_at(end + 1);
            if self.line.is_empty() {
                self.examine(line);
            } else {
                self.line.extend_from_slice(line);
                self.examine_held();
            }
            rest = next;
        }
        self.line.clear();
    }

    /// Keeps the beginning of a line. An endless line is examined in parts.
    fn hold(&mut self, part: &[u8]) {
        for part in part.chunks(MAX_LINE) {
            if self.line.len() + part.len() > MAX_LINE {
                self.examine_held();
            }
            self.line.extend_from_slice(part);
        }
    }

    fn examine_held(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        self.examine(&line);
        line.clear();
        self.line = line;
    }

    fn examine(&mut self, line: &[u8]) {
        for part in line.chunks(MAX_LINE) {
            if is_error(part) {
                self.kept.extend_from_slice(part);
                if !part.ends_with(b"\n") {
                    self.kept.push(b'\n');
                }
            }
        }
    }
}

pub(super) struct LogFile {
    bounds: Bounds,
    head: File,
    /// Bytes in the head.
    written: u64,
    tail: PathBuf,
    older: PathBuf,
    /// The segment that grows, and its size in bytes.
    growing: Option<(File, u64)>,
    /// Its error lines, as far as there is room for them.
    errors: ErrorLines,
    /// Size of the segment before it in bytes, and its error lines.
    before: Option<(u64, Vec<u8>)>,
    /// Bytes that were left out, and bytes of error lines that were kept of them.
    left_out: u64,
    kept: u64,
    /// Bytes that the disk has refused since it last accepted any, and its error.
    lost: Option<(u64, io::Error)>,
}

impl LogFile {
    /// Opens a log to append to it.
    pub(super) fn open(log: &Path, bounds: Bounds) -> io::Result<Self> {
        let head = OpenOptions::new().create(true).append(true).open(log)?;
        let written = head.metadata()?.len();
        let [tail, older] = segments(log);
        Ok(Self {
            bounds,
            head,
            written,
            tail,
            older,
            growing: None,
            errors: ErrorLines::default(),
            before: None,
            left_out: 0,
            kept: 0,
            lost: None,
        })
    }

    /// Appends bytes. What the disk refuses is counted, and noted in the log as soon as the disk accepts data
    /// again.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        let noted = self.note_lost();
        if let Err(error) = noted.and_then(|()| self.append(bytes)) {
            let (before, _) = self.lost.take().unwrap_or((0, io::ErrorKind::Other.into()));
            self.lost = Some((before + bytes.len() as u64, error));
        }
    }

    fn note_lost(&mut self) -> io::Result<()> {
        if let Some((bytes, error)) = &self.lost {
            let note = format!("\n[runner] {bytes} bytes of this log were lost here: {error}\n");
            self.append(note.as_bytes())?;
            self.lost = None;
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.growing.is_none() {
            if self.written < self.bounds.head {
                self.head.write_all(bytes)?;
                self.written += bytes.len() as u64;
                return Ok(());
            }
            self.growing = Some((File::create(&self.tail)?, 0));
        }
        let Some((file, size)) = &mut self.growing else {
            return Ok(());
        };
        file.write_all(bytes)?;
        *size += bytes.len() as u64;
        let size = *size;
        let kept = self.before.as_ref().map_or(0, |(_, kept)| kept.len());
        let most = self.bounds.errors.saturating_sub(self.kept);
        self.errors.read(bytes, most.saturating_sub(kept as u64));
        if size >= self.bounds.segment {
            // Whatever fails below, this segment grows no further.
            self.growing = None;
            self.rotate(size)?;
        }
        Ok(())
    }

    /// Makes the full segment the older one. Of the previous older one only the error lines stay.
    fn rotate(&mut self, size: u64) -> io::Result<()> {
        if let Some((bytes, kept)) = self.before.take() {
            self.left_out += bytes;
            self.kept += kept.len() as u64;
            self.head.write_all(&kept)?;
        }
        self.before = Some((size, std::mem::take(&mut self.errors.kept)));
        fs::rename(&self.tail, &self.older)?;
        self.growing = Some((File::create(&self.tail)?, 0));
        Ok(())
    }

    /// Appends the segments to the log.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.note_lost()?;
        if self.growing.take().is_none() && self.before.is_none() {
            return Ok(());
        }
        if self.left_out > 0 {
            writeln!(
                self.head,
                "\n[runner] {} bytes of this log were left out here, except for the error lines above. Its end follows:",
                self.left_out - self.kept.min(self.left_out)
            )?;
        }
        for segment in [&self.older, &self.tail] {
            match File::open(segment) {
                Ok(mut end) => {
                    io::copy(&mut end, &mut self.head)?;
                    fs::remove_file(segment)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Bounds = Bounds { head: 1000, segment: 500, errors: 60 };

    fn all(folder: &Path) -> u64 {
        let files = fs::read_dir(folder).unwrap().flatten();
        files.map(|file| file.metadata().unwrap().len()).sum()
    }

    #[test]
    fn head_tail_and_error_lines_of_an_endless_log_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.log");
        begin(&path).unwrap();
        let mut log = LogFile::open(&path, SMALL).unwrap();
        let mut most = 0;
        for number in 0..2000 {
            let word = if number == 700 { "ERROR" } else { "line" };
            log.write(format!("{word} {number}\n").as_bytes());
            most = most.max(all(folder.path()));
        }
        log.finish().unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        assert!(whole.starts_with("line 0\nline 1\n"), "{whole}");
        assert!(whole.ends_with("line 1998\nline 1999\n"), "{whole}");
        assert_eq!(whole.matches("ERROR 700\n").count(), 1, "{whole}");
        assert!(whole.contains("bytes of this log were left out"), "{whole}");
        assert!(!whole.contains("line 900\n"), "{whole}");
        assert!(most < 2300, "{most} bytes at once");
        assert!(segments(&path).iter().all(|segment| !segment.exists()));
    }

    #[test]
    fn a_log_of_only_errors_is_bounded_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.log");
        let mut log = LogFile::open(&path, SMALL).unwrap();
        for number in 0..5000 {
            log.write(format!("ERROR {number}\n").as_bytes());
        }
        log.finish().unwrap();
        assert!(fs::metadata(&path).unwrap().len() < 2400);
    }

    #[test]
    fn a_short_log_is_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.log");
        fs::write(segments(&path)[0].clone(), "of an earlier start").unwrap();
        begin(&path).unwrap();
        let mut log = LogFile::open(&path, SMALL).unwrap();
        log.write(b"a\xff\rb");
        log.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"a\xff\rb");
        assert!(!segments(&path)[0].exists());
    }

    #[test]
    fn errors_are_found_across_pieces_and_in_endless_lines() {
        let mut lines = ErrorLines::default();
        for byte in b"a\nan ERROR of two\nb\n" {
            lines.read(&[*byte], 1000);
        }
        assert_eq!(lines.kept, b"an ERROR of two\n");
        let mut lines = ErrorLines::default();
        for _ in 0..MAX_LINE {
            lines.read(b"endless ", u64::MAX);
        }
        lines.read(b"ERROR at last", u64::MAX);
        lines.read(b"\n", u64::MAX);
        assert!(lines.kept.ends_with(b"ERROR at last\n"));
        assert!(lines.kept.len() <= MAX_LINE + 1 && lines.line.is_empty());
    }

    #[test]
    fn what_the_disk_refused_is_noted_once_it_accepts_data_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/server.log");
        fs::create_dir(folder.path().join("run")).unwrap();
        let mut log = LogFile::open(&path, SMALL).unwrap();
        log.write(&[b'x'; 1000]);
        // A folder in its place keeps the segment from being created.
        let tail = segments(&path)[0].clone();
        fs::create_dir(&tail).unwrap();
        log.write(b"never ");
        log.write(b"seen");
        fs::remove_dir(&tail).unwrap();
        log.write(b"seen again\n");
        log.finish().unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        assert!(whole.contains("10 bytes of this log were lost here: "), "{whole}");
        assert!(whole.ends_with("seen again\n") && !whole.contains("never"), "{whole}");
    }
}
