//! A log of any length in a bounded part of the disk: its head as it was written, the telling lines of what was left out,
//! and its end.
//!
//! Up to [`Bounds::HEAD`] bytes go to the log itself. What comes after goes to a file beside it, which makes room for the next
//! one when it is full; of the one before that, only lines that tell of an error are kept. When the server is over, the last
//! two are appended to the log. So a log takes at most 34 MiB of disk, and a piece of a pipe of memory.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use super::failure;

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
    pub(super) const DEFAULT: Self = Self {
        head: 16 << 20,
        segment: 8 << 20,
        telling: 1 << 20,
    };
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
    /// Bytes that were left out, and bytes of telling lines that were kept of them.
    left_out: u64,
    told: u64,
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
            left_out: 0,
            told: 0,
        })
    }

    /// Appends.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.growing.is_none() {
            if self.written < self.bounds.head {
                self.written += bytes.len() as u64;
                return self.head.write_all(bytes);
            }
            self.growing = Some((File::create(&self.tail)?, 0));
        }
        if let Some((file, size)) = &mut self.growing {
            *size += bytes.len() as u64;
            file.write_all(bytes)?;
            if *size >= self.bounds.segment {
                self.make_room()?;
            }
        }
        Ok(())
    }

    /// The file that grew becomes the older one; of the one that was, only what tells of an error stays.
    fn make_room(&mut self) -> io::Result<()> {
        if let Ok(passed) = File::open(&self.older) {
            self.left_out += passed.metadata()?.len();
            self.keep_telling(passed)?;
        }
        fs::rename(&self.tail, &self.older)?;
        self.growing = Some((File::create(&self.tail)?, 0));
        Ok(())
    }

    fn keep_telling(&mut self, passed: File) -> io::Result<()> {
        let mut lines = BufReader::new(passed);
        let mut line = Vec::new();
        while self.told < self.bounds.telling {
            line.clear();
            let most = LONGEST_LINE as u64;
            if lines.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if failure::is_telling(&String::from_utf8_lossy(&line)) {
                if !line.ends_with(b"\n") {
                    line.push(b'\n');
                }
                self.told += line.len() as u64;
                self.head.write_all(&line)?;
            }
        }
        Ok(())
    }

    /// Puts the end where it belongs.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if self.growing.take().is_none() {
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

    const SMALL: Bounds = Bounds {
        head: 1000,
        segment: 500,
        telling: 60,
    };

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
            log.write(format!("{word} {number}\n").as_bytes()).unwrap();
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
            log.write(format!("ERROR {number}\n").as_bytes()).unwrap();
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
        log.write(b"a\xff\rb").unwrap();
        log.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"a\xff\rb");
        assert!(!segments(&path)[0].exists());
    }
}
