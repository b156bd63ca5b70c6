//! The sink of a run: records leave the client's thread in batches, and another thread packs them.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread::JoinHandle,
};

use super::{
    error::LoadError,
    record::Record,
    records::{Packer, Records},
    sink::Sink,
};
use crate::secret::Mask;

/// Records per batch: waking the other thread for each record would cost more than packing it.
const BATCH: usize = 256;
/// The most that may wait for the packing thread, bytes. A disk that is this far behind does not catch up.
const BACKLOG: usize = 128 << 20;

/// Takes records without blocking, and packs them on a thread of its own.
pub struct Recorder {
    batch: Mutex<Vec<Record>>,
    full: mpsc::Sender<Vec<Record>>,
    /// Bytes handed over and not yet packed.
    waiting: Arc<AtomicUsize>,
    failure: Arc<OnceLock<LoadError>>,
    packing: JoinHandle<Result<Records, LoadError>>,
}

impl Recorder {
    /// Starts the packing thread. Records beyond the memory limit go to a temporary file in `folder`; `mask`
    /// hides secrets that a server repeats in its messages.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn new(folder: &Path, mask: Mask) -> Result<Self, LoadError> {
        let (full, batches) = mpsc::channel::<Vec<Record>>();
        let waiting = Arc::new(AtomicUsize::new(0));
        let mut packer = Packer::new(folder);
        let left = waiting.clone();
        let failure = Arc::new(OnceLock::new());
        let failed = failure.clone();
        let packing = std::thread::Builder::new()
            .name("records".into())
            .spawn(move || {
                for mut batch in batches {
                    for record in &mut batch {
                        let texts = [&mut record.error, &mut record.finish_reason];
                        texts.into_iter().flatten().for_each(|text| mask.apply(text));
                        // Set before the channel closes, so that a sender that finds it closed knows why.
                        packer
                            .add(record)
                            .inspect_err(|error| failed.set(error.clone()).unwrap_or_default())?;
                    }
                    left.fetch_sub(bytes_of(&batch), Relaxed);
                }
                packer.finish()
            })
            .map_err(|error| LoadError::PackingThread(error.to_string()))?;
        Ok(Self { batch: Mutex::new(Vec::with_capacity(BATCH)), full, waiting, failure, packing })
    }

    /// Waits until all records are packed, and returns them.
    ///
    /// # Errors
    /// When the temporary file could not be written.
    pub fn finish(self) -> Result<Records, LoadError> {
        let rest = std::mem::take(&mut *lock(&self.batch));
        // A thread that has ended returns its error when joined.
        let _ = self.full.send(rest);
        drop(self.full);
        self.packing.join().map_err(|_| panicked())?
    }
}

impl Sink for Recorder {
    fn take(&self, record: Record) -> Result<(), LoadError> {
        let mut batch = lock(&self.batch);
        batch.push(record);
        if batch.len() < BATCH {
            return Ok(());
        }
        let full = std::mem::replace(&mut *batch, Vec::with_capacity(BATCH));
        let bytes = bytes_of(&full);
        let waiting = self.waiting.fetch_add(bytes, Relaxed) + bytes;
        if waiting > BACKLOG {
            return Err(LoadError::SlowDisk { megabytes: waiting >> 20 });
        }
        self.full.send(full).map_err(|_| self.failure.get().cloned().unwrap_or_else(panicked))
    }
}

fn panicked() -> LoadError {
    LoadError::PackingThread("it panicked".to_owned())
}

fn lock(batch: &Mutex<Vec<Record>>) -> MutexGuard<'_, Vec<Record>> {
    batch.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bytes_of(batch: &[Record]) -> usize {
    let stamps: usize = batch.iter().map(|record| record.chunks.bytes()).sum();
    stamps + size_of_val(batch)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::unit::Nanos;

    /// A record with so many stamps that a batch of it is not held in memory.
    fn heavy() -> Record {
        let chunks = (0..20_000).map(|n| Nanos(n << 40)).collect();
        Record { chunks, ..Record::completed() }
    }

    #[test]
    fn a_failing_disk_is_reported_to_the_sender_and_at_the_end() {
        let recorder = Recorder::new(Path::new("/nonexistent/folder"), Mask::default()).unwrap();
        let begun = Instant::now();
        let error = loop {
            if let Err(error) = recorder.take(heavy()) {
                break error;
            }
            // Not faster than the packing thread, whose backlog would be the reason otherwise.
            while recorder.waiting.load(Relaxed) > BACKLOG / 2 && recorder.failure.get().is_none() {
                assert!(begun.elapsed() < Duration::from_secs(60));
                std::thread::yield_now();
            }
        };
        let text = error.to_string();
        assert!(text.contains("/nonexistent/folder") && text.contains("No such file"), "{text}");
        assert_eq!(recorder.finish().unwrap_err(), error);
    }
}
