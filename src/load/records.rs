//! All records of one repeat, in bounded memory: the first megabytes are held, the rest goes to a temporary
//! file.
//!
//! Records are packed as MessagePack with named fields: half a kilobyte for a request of a hundred tokens,
//! about ten times faster to write and read than JSON, and a new field needs no code here.

use std::{
    fmt,
    fs::File,
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use serde::{Deserialize as _, Serialize as _};

use super::{error::LoadError, record::Record};

/// Size of a block of packed records, bytes. A reader holds one block at a time.
const BLOCK: usize = 256 << 10;
/// How much of a repeat is held in memory, bytes. Further blocks go to a file.
const HELD: usize = 16 << 20;

/// The records of one repeat, in the order in which their requests ended. They can be read any number of
/// times.
#[derive(Default)]
pub struct Records {
    held: Vec<Vec<u8>>,
    spilled: Option<Spilled>,
    count: u64,
    /// Why an iteration ended early.
    failure: OnceLock<LoadError>,
}

/// Blocks in an unnamed temporary file, which is deleted with this value.
struct Spilled {
    file: File,
    folder: PathBuf,
    ends: Vec<u64>,
}

impl Records {
    /// Number of records.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Iterates over the records. When the file cannot be read the iterator ends early; check
    /// [`Records::intact`] afterwards.
    pub fn iter(&self) -> Iter<'_> {
        Iter { records: self, next: 0, block: Vec::new(), at: 0 }
    }

    /// Checks that every iteration so far reached the end.
    ///
    /// # Errors
    /// [`LoadError::ReadRecords`] when one did not.
    pub fn intact(&self) -> Result<(), LoadError> {
        self.failure.get().map_or(Ok(()), |failure| Err(failure.clone()))
    }

    /// Packs records in memory, for tests.
    #[cfg(test)]
    pub(crate) fn of(records: impl IntoIterator<Item = Record>) -> Self {
        let mut packer = Packer::holding(Path::new("nowhere"), usize::MAX);
        for record in records {
            packer.add(&record).expect("memory");
        }
        packer.finish().expect("memory")
    }

    /// Copies the n-th block into a buffer; false when there is no such block.
    fn block(&self, number: usize, into: &mut Vec<u8>) -> io::Result<bool> {
        into.clear();
        if let Some(block) = self.held.get(number) {
            into.extend_from_slice(block);
            return Ok(true);
        }
        let number = number - self.held.len();
        let Some((spilled, end)) =
            self.spilled.as_ref().and_then(|spilled| Some((spilled, *spilled.ends.get(number)?)))
        else {
            return Ok(false);
        };
        let start = match number.checked_sub(1) {
            None => 0,
            Some(before) => spilled.ends[before],
        };
        into.resize((end - start) as usize, 0);
        spilled.file.read_exact_at(into, start)?;
        Ok(true)
    }

    fn fail(&self, error: &dyn fmt::Display) {
        let folder = self.spilled.as_ref().map(|spilled| spilled.folder.clone());
        // Only the first failure is kept: it causes the others.
        let _ = self.failure.set(LoadError::ReadRecords { folder, reason: error.to_string() });
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("count", &self.count)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = Record;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Iterator over records.
pub struct Iter<'a> {
    records: &'a Records,
    /// Number of the next block.
    next: usize,
    block: Vec<u8>,
    at: usize,
}

impl Iterator for Iter<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        if self.at == self.block.len() {
            self.at = 0;
            match self.records.block(self.next, &mut self.block) {
                Ok(true) => self.next += 1,
                Ok(false) => return None,
                Err(error) => {
                    self.records.fail(&error);
                    self.block.clear();
                    return None;
                }
            }
        }
        let mut rest = &self.block[self.at..];
        let mut reader = rmp_serde::Deserializer::new(&mut rest);
        match Record::deserialize(&mut reader) {
            Ok(record) => {
                self.at = self.block.len() - rest.len();
                Some(record)
            }
            Err(error) => {
                self.records.fail(&error);
                // Nothing after it can be read either.
                self.next = usize::MAX / 2;
                self.at = self.block.len();
                None
            }
        }
    }
}

/// Packs records one by one.
pub struct Packer {
    records: Records,
    block: Vec<u8>,
    folder: PathBuf,
    /// How much more may be held in memory, bytes.
    room: usize,
}

impl Packer {
    /// A packer that writes what exceeds the memory limit to a temporary file in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self::holding(folder, HELD)
    }

    pub(super) fn holding(folder: &Path, room: usize) -> Self {
        Self { records: Records::default(), block: Vec::new(), folder: folder.to_owned(), room }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// When the temporary file cannot be written.
    pub fn add(&mut self, record: &Record) -> Result<(), LoadError> {
        record
            .serialize(&mut rmp_serde::Serializer::new(&mut self.block).with_struct_map())
            .map_err(|error| LoadError::Pack(error.to_string()))?;
        self.records.count += 1;
        if self.block.len() < BLOCK {
            return Ok(());
        }
        self.close_block()
    }

    /// Returns all records.
    ///
    /// # Errors
    /// When the temporary file cannot be written.
    pub fn finish(mut self) -> Result<Records, LoadError> {
        self.close_block()?;
        Ok(self.records)
    }

    fn close_block(&mut self) -> Result<(), LoadError> {
        if self.block.is_empty() {
            return Ok(());
        }
        if self.records.spilled.is_none() && self.block.len() <= self.room {
            self.room -= self.block.len();
            let mut block = std::mem::take(&mut self.block);
            block.shrink_to_fit();
            self.records.held.push(block);
            return Ok(());
        }
        self.spill().map_err(|error| LoadError::WriteRecords {
            folder: self.folder.clone(),
            reason: error.to_string(),
        })
    }

    fn spill(&mut self) -> io::Result<()> {
        let spilled = match &mut self.records.spilled {
            Some(spilled) => spilled,
            none => none.insert(Spilled {
                file: tempfile::tempfile_in(&self.folder)?,
                folder: self.folder.clone(),
                ends: Vec::new(),
            }),
        };
        spilled.file.write_all(&self.block)?;
        let start = spilled.ends.last().copied().unwrap_or_default();
        spilled.ends.push(start + self.block.len() as u64);
        self.block.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        load::{Chunks, Outcome, Usage, Wait},
        unit::Nanos,
    };

    fn record(index: u64, chunks: Vec<u64>, outcome: Outcome, error: Option<String>) -> Record {
        Record {
            index,
            stream: 3,
            scheduled: Nanos(index),
            sent: index.is_multiple_of(2).then_some(Nanos(index + 1)),
            chunks: chunks.into_iter().map(Nanos).collect::<Chunks>(),
            end: Nanos(u64::MAX),
            outcome,
            status: Some(200),
            finish_reason: Some("length".into()),
            usage: index.is_multiple_of(3).then_some(Usage {
                prompt_tokens: 1,
                completion_tokens: 2,
                cached_tokens: Some(index),
            }),
            input_tokens: index.is_multiple_of(2).then_some(9),
            error,
            ..Record::completed()
        }
    }

    fn packed(records: &[Record], room: usize) -> Records {
        let folder = tempfile::tempdir().unwrap();
        let mut packer = Packer::holding(folder.path(), room);
        for record in records {
            packer.add(record).unwrap();
        }
        packer.finish().unwrap()
    }

    proptest! {
        #[test]
        fn packed_records_are_read_back_from_memory_and_from_the_file(
            each in prop::collection::vec((prop::collection::vec(any::<u64>(), 0..20), any::<bool>(), prop::option::of("[a-zé]{0,9}")), 0..9),
            room in 0usize..2,
        ) {
            let records: Vec<Record> = each
                .into_iter()
                .enumerate()
                .map(|(index, (chunks, done, error))| {
                    let outcome = if done { Outcome::Completed } else { Outcome::TimedOut(Wait::Rest) };
                    record(index as u64, chunks, outcome, error)
                })
                .collect();
            let kept = packed(&records, room * HELD);
            prop_assert_eq!(kept.len(), records.len() as u64);
            for _ in 0..2 {
                prop_assert_eq!(kept.iter().collect::<Vec<_>>(), records.clone());
            }
            prop_assert_eq!(kept.intact(), Ok(()));
        }
    }

    #[test]
    fn blocks_go_to_the_file_when_memory_has_its_share() {
        let chunks: Vec<u64> = (0..1000).map(|n| n * 10_000_000).collect();
        let records: Vec<Record> =
            (0..500).map(|index| record(index, chunks.clone(), Outcome::Completed, None)).collect();
        let kept = packed(&records, 3 * BLOCK);
        assert!(!kept.held.is_empty());
        assert!(kept.spilled.as_ref().unwrap().ends.len() > 2);
        assert!(kept.iter().eq(records));
        assert_eq!(kept.intact(), Ok(()));
    }

    #[test]
    fn a_truncated_file_is_an_error() {
        let records = vec![record(0, vec![1, 2, 3], Outcome::Completed, None)];
        let kept = packed(&records, 0);
        kept.spilled.as_ref().unwrap().file.set_len(5).unwrap();
        assert_eq!(kept.iter().count(), 0);
        let error = kept.intact().unwrap_err().to_string();
        assert!(error.contains("cannot be read back"), "{error}");
    }
}
