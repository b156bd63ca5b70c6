//! The sink of a run: records leave the client's thread in batches, and a thread beside it packs them.

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
    record::Record,
    records::{Packer, Records},
    sink::Sink,
};
use crate::secret::Mask;

/// Records are handed over this many at a time: waking another thread for each would cost more than packing it.
const BATCH: usize = 256;
/// The most that may wait for the packing thread, bytes. A disk that is this far behind never catches up, and memory is
/// not filled for it.
const BACKLOG: usize = 128 << 20;

/// Takes records without waiting; gives them back packed.
pub struct Recorder {
    batch: Mutex<Vec<Record>>,
    full: mpsc::Sender<Vec<Record>>,
    /// Bytes that were handed over and are not packed yet.
    waiting: Arc<AtomicUsize>,
    /// Why they cannot be packed any more, in the disk's own words.
    failure: Arc<OnceLock<String>>,
    packing: JoinHandle<Result<Records, String>>,
}

impl Recorder {
    /// Begins; what memory shall not hold goes to a file in a folder, and no record shows what `mask` knows, though the
    /// server says it.
    ///
    /// # Errors
    /// A sentence when no thread can be started.
    pub fn new(folder: &Path, mask: Mask) -> Result<Self, String> {
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
                        let said = [&mut record.error, &mut record.finish_reason];
                        said.into_iter().flatten().for_each(|text| mask.apply(text));
                        // Told before the channel closes: whoever finds it closed asks why.
                        packer
                            .add(record)
                            .inspect_err(|reason| failed.set(reason.clone()).unwrap_or_default())?;
                    }
                    left.fetch_sub(bytes_of(&batch), Relaxed);
                }
                packer.finish()
            })
            .map_err(|error| format!("no thread can be started for the records: {error}"))?;
        Ok(Self { batch: Mutex::new(Vec::with_capacity(BATCH)), full, waiting, failure, packing })
    }

    /// Waits for the last of them to be packed.
    ///
    /// # Errors
    /// A sentence that says what the disk said.
    pub fn finish(self) -> Result<Records, String> {
        let rest = std::mem::take(&mut *lock(&self.batch));
        // Who does not listen any more has failed, and says why when it is joined.
        let _ = self.full.send(rest);
        drop(self.full);
        self.packing.join().map_err(|_| "the thread that packs the records failed".to_owned())?
    }
}

impl Sink for Recorder {
    fn take(&self, record: Record) -> Result<(), String> {
        let mut batch = lock(&self.batch);
        batch.push(record);
        if batch.len() < BATCH {
            return Ok(());
        }
        let full = std::mem::replace(&mut *batch, Vec::with_capacity(BATCH));
        let bytes = bytes_of(&full);
        let waiting = self.waiting.fetch_add(bytes, Relaxed) + bytes;
        if waiting > BACKLOG {
            return Err(format!(
                "the disk does not keep up: {} MB of records wait to be written; choose a results folder on a faster disk",
                waiting >> 20
            ));
        }
        self.full.send(full).map_err(|_| match self.failure.get() {
            Some(reason) => reason.clone(),
            None => "the thread that packs the records failed".to_owned(),
        })
    }
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
    use crate::{
        load::{Chunks, Outcome, Phase},
        unit::Nanos,
    };

    /// So many stamps that a batch of it does not stay in memory.
    fn heavy() -> Record {
        Record {
            index: 0,
            stream: 0,
            phase: Phase::Measured,
            input: 0,
            scheduled: Nanos(0),
            sent: None,
            headers: None,
            chunks: (0..20_000).map(|n| Nanos(n << 40)).collect::<Chunks>(),
            whole: false,
            end: Nanos(0),
            outcome: Outcome::Completed,
            status: None,
            finish_reason: None,
            usage: None,
            turn: None,
            answer: None,
            input_tokens: None,
            max_tokens: 1,
            reused_connection: false,
            reconnected: false,
            retried: 0,
            error: None,
        }
    }

    #[test]
    fn who_hands_over_records_hears_what_the_disk_said() {
        let nobody = std::iter::empty::<(String, String)>();
        let mask = Mask::of(nobody, &[]);
        let recorder = Recorder::new(Path::new("/nonexistent/folder"), mask).unwrap();
        let begun = Instant::now();
        let said = loop {
            if let Err(said) = recorder.take(heavy()) {
                break said;
            }
            // Not faster than the packing thread, whose backlog would be the reason otherwise.
            while recorder.waiting.load(Relaxed) > BACKLOG / 2 && recorder.failure.get().is_none() {
                assert!(begun.elapsed() < Duration::from_secs(60));
                std::thread::yield_now();
            }
        };
        assert!(said.contains("/nonexistent/folder") && said.contains("No such file"), "{said}");
        assert_eq!(recorder.finish().unwrap_err(), said);
    }
}
