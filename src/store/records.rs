//! The heavy file of one repeat: gzip, a header line, then one record per line.

use std::io::{BufRead as _, BufReader, Write as _};

use camino::Utf8Path;
use flate2::{Compression, bufread::GzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};

use super::{StoreError, form::FORMAT};
use crate::load::Record;

/// The first line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    cell: String,
    repeat: usize,
    records: usize,
}

/// Name of the file of one repeat, counted from 1.
pub(super) fn file_name(repeat: usize) -> String {
    format!("records-{repeat}.jsonl.gz")
}

/// The bytes of the file. The same records give the same bytes: no time is kept in the gzip header.
pub(super) fn encode(cell: &str, repeat: usize, records: &[Record]) -> std::io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    let header = Header {
        format: FORMAT,
        cell: cell.to_owned(),
        repeat,
        records: records.len(),
    };
    serde_json::to_writer(&mut gzip, &header)?;
    gzip.write_all(b"\n")?;
    for record in records {
        serde_json::to_writer(&mut gzip, record)?;
        gzip.write_all(b"\n")?;
    }
    gzip.finish()
}

/// Reads the file of one repeat; fails when it is cut, altered or newer than this program.
pub(super) fn decode(path: &Utf8Path, bytes: &[u8]) -> Result<Vec<Record>, StoreError> {
    let broken = |reason: String| {
        StoreError::new(
            path,
            reason,
            "copy the file again from where it was measured, or measure the cell again",
        )
    };
    let mut lines = BufReader::new(GzDecoder::new(bytes)).lines();
    let mut next = |number: usize| {
        lines
            .next()
            .transpose()
            .map_err(|e| broken(format!("cannot be unpacked at line {number}: {e}")))
    };
    let first = next(1)?.ok_or_else(|| broken("is empty".into()))?;
    super::read::refuse_newer(path, first.as_bytes())?;
    let header: Header = serde_json::from_str(&first)
        .map_err(|e| broken(format!("its first line is no header of records: {e}")))?;
    let mut records = Vec::new();
    while let Some(line) = next(records.len() + 2)? {
        let record = serde_json::from_str(&line)
            .map_err(|e| broken(format!("line {} is no record: {e}", records.len() + 2)))?;
        records.push(record);
    }
    if records.len() != header.records {
        return Err(broken(format!(
            "holds {} of {} records",
            records.len(),
            header.records
        )));
    }
    Ok(records)
}
