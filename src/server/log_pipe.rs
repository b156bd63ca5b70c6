//! From what a server writes to its log file, with no secret in it.

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

use super::log_file::{Bounds, LogFile};
use crate::secret::Mask;

/// Most of what is written at once.
const PIECE: usize = 64 << 10;
/// What the pipe shall hold, bytes: more than a log says in a second.
#[cfg(target_os = "linux")]
const PIPE: usize = 1 << 20;
/// How long what a server wrote last may take to reach the file.
const PATIENCE: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(2);

/// A pipe that a thread empties into the log, as long as anybody has its other end.
pub(super) struct LogPipe {
    /// The same pipe, to see whether something is in it.
    reader: PipeReader,
    /// Held from before something is taken out of the pipe until it is in the log.
    moving: Arc<Mutex<()>>,
    closed: Receiver<()>,
}

impl LogPipe {
    /// Opens the log to append to it; what is written to the other end of the pipe goes there.
    pub(super) fn open(log: &str, mask: &Mask) -> io::Result<(Self, PipeWriter)> {
        let mut file = LogFile::open(Path::new(log), Bounds::DEFAULT)?;
        let (reader, writer) = io::pipe()?;
        // A burst then fits while the disk is slow; where pipes have a limit, it stays as it is.
        #[cfg(target_os = "linux")]
        let _ = rustix::pipe::fcntl_setpipe_size(&writer, PIPE);
        let mut source = reader.try_clone()?;
        let (tell, closed) = mpsc::channel();
        let moving = Arc::new(Mutex::new(()));
        let pipe = Self { reader, moving: moving.clone(), closed };
        let mut stream = mask.stream();
        let empty = move || {
            let (mut piece, mut out) = (vec![0; PIECE], Vec::new());
            loop {
                // Waited for outside of the lock, so that whoever holds it finds either the bytes or their place in the log.
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
                // On a full disk the pipe is emptied all the same: the server must not wait for its log.
                file.write(&out);
                out.clear();
            }
            stream.finish(&mut out);
            file.write(&out);
            let _ = file.finish();
            let _ = tell.send(());
        };
        thread::Builder::new().name("log".into()).spawn(empty)?;
        Ok((pipe, writer))
    }

    /// Waits until what was written so far is in the log: a process that ended has written its last words, though others
    /// hold the pipe open.
    pub(super) fn drain(&self) {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
            if ioctl_fionread(self.reader.as_fd()).is_ok_and(|bytes| bytes == 0) {
                return;
            }
            drop(moving);
            thread::sleep(LOOK);
        }
    }

    /// Waits for the end of the pipe, when nobody is left to write.
    pub(super) fn close(self) {
        let _ = self.closed.recv_timeout(PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    #[test]
    fn the_log_holds_what_was_written_without_the_secret() {
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
        // The other end is still open: this is what a process left that ended among others.
        assert_eq!(fs::read_to_string(&log).unwrap(), "before\ngiven ***, and more\n");
        writer.write_all(b"last s").unwrap();
        drop(writer);
        pipe.close();
        let whole = fs::read_to_string(&log).unwrap();
        assert!(whole.ends_with("more\nlast s"), "{whole}");
    }
}
