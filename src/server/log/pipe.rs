//! The pipe from a server's output to its log file, which masks secrets on the way.

use std::{
    io::{self, PipeReader, PipeWriter, Read},
    os::fd::AsFd,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::ioctl_fionread,
};

use super::file::{Bounds, LogFile};
use crate::secret::Mask;

/// Most bytes that are written at once.
const PIECE: usize = 64 << 10;
/// Capacity of the pipe, bytes: more than a server logs in a second.
#[cfg(target_os = "linux")]
const CAPACITY: usize = 1 << 20;
/// How long the last output of a server may take to reach the file.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(2);

/// A pipe that a thread copies into the log for as long as anybody holds its write end.
pub(in crate::server) struct LogPipe {
    /// The read end, to see whether anything is in the pipe.
    reader: PipeReader,
    /// Locked from before bytes are read from the pipe until they are in the log.
    moving: Arc<Mutex<()>>,
    closed: Receiver<()>,
}

impl LogPipe {
    /// Opens the log for appending, and returns the write end of a pipe into it.
    pub(in crate::server) fn open(log: &str, mask: &Mask) -> io::Result<(Self, PipeWriter)> {
        let mut file = LogFile::open(Path::new(log), Bounds::DEFAULT)?;
        let (reader, writer) = io::pipe()?;
        // Absorbs a burst while the disk is slow. Where the limit on pipes is lower, the default stays.
        #[cfg(target_os = "linux")]
        let _ = rustix::pipe::fcntl_setpipe_size(&writer, CAPACITY);
        let mut source = reader.try_clone()?;
        let (close, closed) = mpsc::channel();
        let moving = Arc::new(Mutex::new(()));
        let pipe = Self { reader, moving: moving.clone(), closed };
        let mut stream = mask.stream();
        let copy = move || {
            let (mut piece, mut out) = (vec![0; PIECE], Vec::new());
            loop {
                // Waits without the lock, so that whoever holds it finds the bytes either in the pipe or in
                // the log.
                if poll(&mut [PollFd::new(&source, PollFlags::IN)], None).is_err() {
                    continue;
                }
                let _moving = moving.lock().unwrap_or_else(PoisonError::into_inner);
                let length = match source.read(&mut piece) {
                    Ok(0) => break,
                    Ok(length) => length,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => break,
                };
                stream.feed(&piece[..length], &mut out);
                // Even when the disk is full the pipe must be read: the server must not wait for its log.
                file.write(&out);
                out.clear();
            }
            stream.finish(&mut out);
            file.write(&out);
            let _ = file.finish();
            let _ = close.send(());
        };
        thread::Builder::new().name("log".into()).spawn(copy)?;
        Ok((pipe, writer))
    }

    /// Waits until everything written so far is in the log. For when a process has ended while others keep
    /// the pipe open.
    pub(in crate::server) fn drain(&self) {
        let until = Instant::now() + DRAIN_TIMEOUT;
        while Instant::now() < until {
            let moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
            if ioctl_fionread(self.reader.as_fd()).is_ok_and(|bytes| bytes == 0) {
                return;
            }
            drop(moving);
            thread::sleep(POLL);
        }
    }

    /// Waits for the end of the pipe, once nobody is left to write.
    pub(in crate::server) fn close(self) {
        let _ = self.closed.recv_timeout(DRAIN_TIMEOUT);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    #[test]
    fn the_log_holds_the_output_without_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("server.log");
        fs::write(&log, "before\n").unwrap();
        let key = ("K".to_owned(), "sk-planted".to_owned());
        let mask = Mask::of(std::iter::once(key), &["K"]);
        let (pipe, mut writer) = LogPipe::open(log.to_str().unwrap(), &mask).unwrap();
        writer.write_all(b"given sk-plan").unwrap();
        pipe.drain();
        writer.write_all(b"ted, and more\n").unwrap();
        pipe.drain();
        // The write end is still open, as when one of several processes has ended.
        assert_eq!(fs::read_to_string(&log).unwrap(), "before\ngiven ***, and more\n");
        writer.write_all(b"last s").unwrap();
        drop(writer);
        pipe.close();
        let whole = fs::read_to_string(&log).unwrap();
        assert!(whole.ends_with("more\nlast s"), "{whole}");
    }
}
