//! A log of any length in a bounded part of the disk: its head as it was written, the telling lines of what was left out,
//! and its end.
//!
//! Up to [`Bounds::head`] bytes go to the log itself. What comes after goes to a file beside it, which makes room for the next
//! one when it is full; of the one before that, only lines that tell of an error are kept. When the server is over, the last
//! two are appended to the log. So a log takes at most 34 MiB of disk, and of memory the telling lines of two files.
//!
//! Lines are looked at as they pass, never again from the disk: whoever writes the log waits as long as that takes. What the
//! disk refuses is lost, and the log says how much that was as soon as it takes words again.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::telling::is_telling;

/// The longest line that is looked at; the rest of a longer one is passed over.
pub(super) const LONGEST_LINE: usize = 16 << 10;

/// How much of a log is kept, bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Of its head. More than ten megabytes were seen of one start that went well.
    head: u64,
    /// Of each of the two files with its end.
    segment: u64,
    /// Of the telling lines between.
    telling: u64,
}

impl Bounds {
    pub(super) const DEFAULT: Self = Self { head: 16 << 20, segment: 8 << 20, telling: 1 << 20 };
}

/// Where the end of a log is while it is written: the file that grows, and the one before it.
pub(super) fn segments(log: &Path) -> [PathBuf; 2] {
    ["tail", "older"].map(|kind| {
        let mut name = log.as_os_str().to_owned();
        name.push(format!(".{kind}"));
        PathBuf::from(name)
    })
}

/// Makes an empty log in place of an older one.
pub(super) fn begin(log: &Path) -> io::Result<()> {
    for segment in segments(log) {
        match fs::remove_file(segment) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::write(log, b"")
}

/// Lines that tell of an error, among bytes that come piece by piece.
#[derive(Default)]
struct TellingLines {
    /// The line that has not ended yet.
    line: Vec<u8>,
    kept: Vec<u8>,
}

impl TellingLines {
    /// Looks at a piece; nothing more is kept once there are `most` bytes.
    fn look(&mut self, piece: &[u8], most: u64) {
        let mut rest = piece;
        while (self.kept.len() as u64) < most {
            let Some(end) = memchr::memchr(b'\n', rest) else {
                self.hold(rest);
                return;
            };
            let (line, behind) = rest.split_at(end + 1);
            if self.line.is_empty() {
                self.consider(line);
            } else {
                self.line.extend_from_slice(line);
                self.consider_held();
            }
            rest = behind;
        }
        self.line.clear();
    }

    /// The beginning of a line; one without end is looked at in parts.
    fn hold(&mut self, part: &[u8]) {
        for part in part.chunks(LONGEST_LINE) {
            if self.line.len() + part.len() > LONGEST_LINE {
                self.consider_held();
            }
            self.line.extend_from_slice(part);
        }
    }

    fn consider_held(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        self.consider(&line);
        line.clear();
        self.line = line;
    }

    fn consider(&mut self, line: &[u8]) {
        for part in line.chunks(LONGEST_LINE) {
            if is_telling(part) {
                self.kept.extend_from_slice(part);
                if !part.ends_with(b"\n") {
                    self.kept.push(b'\n');
                }
            }
        }
    }
}

/// A log that is written.
pub(super) struct LogFile {
    bounds: Bounds,
    head: File,
    /// Bytes of the head.
    written: u64,
    tail: PathBuf,
    older: PathBuf,
    /// The file that grows, and how many bytes it has.
    growing: Option<(File, u64)>,
    /// Telling lines of it, as far as there is room for them.
    telling: TellingLines,
    /// Bytes of the file before it, and its telling lines.
    before: Option<(u64, Vec<u8>)>,
    /// Bytes that were left out, and bytes of telling lines that were kept of them.
    left_out: u64,
    told: u64,
    /// Bytes that the disk refused since it last took any, and what it said.
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
            telling: TellingLines::default(),
            before: None,
            left_out: 0,
            told: 0,
            lost: None,
        })
    }

    /// Appends; what the disk refuses is counted, and told as soon as it takes words again.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        let lost = self.tell_lost();
        if let Err(error) = lost.and_then(|()| self.append(bytes)) {
            let (before, _) = self.lost.take().unwrap_or((0, io::ErrorKind::Other.into()));
            self.lost = Some((before + bytes.len() as u64, error));
        }
    }

    fn tell_lost(&mut self) -> io::Result<()> {
        if let Some((bytes, error)) = &self.lost {
            let told = format!("\n[runner] {bytes} bytes of this log were lost here: {error}\n");
            self.append(told.as_bytes())?;
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
        let most = self.bounds.telling.saturating_sub(self.told);
        self.telling.look(bytes, most.saturating_sub(kept as u64));
        if size >= self.bounds.segment {
            // Whatever goes wrong, this file grows no more.
            self.growing = None;
            self.make_room(size)?;
        }
        Ok(())
    }

    /// The file that grew becomes the older one; of the one that was, only what tells of an error stays.
    fn make_room(&mut self, size: u64) -> io::Result<()> {
        if let Some((bytes, kept)) = self.before.take() {
            self.left_out += bytes;
            self.told += kept.len() as u64;
            self.head.write_all(&kept)?;
        }
        self.before = Some((size, std::mem::take(&mut self.telling.kept)));
        fs::rename(&self.tail, &self.older)?;
        self.growing = Some((File::create(&self.tail)?, 0));
        Ok(())
    }

    /// Puts the end where it belongs.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.tell_lost()?;
        if self.growing.take().is_none() && self.before.is_none() {
            return Ok(());
        }
        if self.left_out > 0 {
            writeln!(
                self.head,
                "\n[runner] {} bytes of this log were left out above; of them, lines that tell of errors were kept. Its end follows:",
                self.left_out - self.told.min(self.left_out)
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

    const SMALL: Bounds = Bounds { head: 1000, segment: 500, telling: 60 };

    fn all(folder: &Path) -> u64 {
        let files = fs::read_dir(folder).unwrap().flatten();
        files.map(|file| file.metadata().unwrap().len()).sum()
    }

    #[test]
    fn head_tail_and_telling_lines_stay_of_a_log_without_end() {
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
    fn a_log_of_errors_alone_is_bounded_too() {
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
    fn a_short_log_is_as_it_was_written() {
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
    fn telling_words_are_found_wherever_a_piece_or_an_endless_line_ends() {
        let mut lines = TellingLines::default();
        for byte in b"a\nan ERROR of two\nb\n" {
            lines.look(&[*byte], 1000);
        }
        assert_eq!(lines.kept, b"an ERROR of two\n");
        let mut lines = TellingLines::default();
        for _ in 0..LONGEST_LINE {
            lines.look(b"endless ", u64::MAX);
        }
        lines.look(b"ERROR at last", u64::MAX);
        lines.look(b"\n", u64::MAX);
        assert!(lines.kept.ends_with(b"ERROR at last\n"));
        assert!(lines.kept.len() <= LONGEST_LINE + 1 && lines.line.is_empty());
    }

    #[test]
    fn what_the_disk_refused_is_told_when_it_takes_words_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/server.log");
        fs::create_dir(folder.path().join("run")).unwrap();
        let mut log = LogFile::open(&path, SMALL).unwrap();
        log.write(&[b'x'; 1000]);
        // The end has a file of its own, which cannot be made where a folder stands.
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
