//! The compressed records of one repeat: gzip, a header line, then one record per line as JSON.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, BufWriter, Write},
};

use camino::Utf8Path;
use flate2::{Compression, bufread::GzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};

use super::{error::StoreError, json, schema::FORMAT};
use crate::load::{LoadError, Packer, Record, Records};

/// The first line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    cell: String,
    repeat: usize,
    records: u64,
}

/// Writes the file, one record at a time. The gzip header holds no time, so the same records give the same
/// bytes.
pub(super) fn encode(cell: &str, repeat: usize, records: &Records, file: &mut dyn Write) -> io::Result<()> {
    let gzip = GzEncoder::new(BufWriter::new(file), Compression::fast());
    let mut lines = BufWriter::with_capacity(1 << 16, gzip);
    let header = Header { format: FORMAT, cell: cell.to_owned(), repeat, records: records.len() };
    serde_json::to_writer(&mut lines, &header)?;
    lines.write_all(b"\n")?;
    for record in records {
        serde_json::to_writer(&mut lines, &record)?;
        lines.write_all(b"\n")?;
    }
    records.intact().map_err(io::Error::other)?;
    let gzip = lines.into_inner().map_err(io::IntoInnerError::into_error)?;
    gzip.finish()?.flush()
}

/// Reads the file of one repeat.
///
/// # Errors
/// When the file is cut short, altered, or newer than this program.
pub(super) fn decode(path: &Utf8Path, file: File) -> Result<Records, StoreError> {
    let broken = |reason: String| {
        StoreError::new(
            path,
            reason,
            "copy the file again from where it was measured, or measure the cell again",
        )
    };
    let mut lines = BufReader::new(GzDecoder::new(BufReader::new(file))).lines();
    let mut next = |number: u64| {
        lines.next().transpose().map_err(|e| broken(format!("cannot be unpacked at line {number}: {e}")))
    };
    let first = next(1)?.ok_or_else(|| broken("is empty".into()))?;
    json::refuse_newer(path, &first)?;
    let header: Header = serde_json::from_str(&first)
        .map_err(|e| broken(format!("its first line is not the header of a records file: {e}")))?;
    let packing = |e: LoadError| StoreError::new(path, e.to_string(), "make room there");
    let mut packer = Packer::new(&std::env::temp_dir());
    let mut count = 0;
    while let Some(line) = next(count + 2)? {
        let record: Record = serde_json::from_str(&line)
            .map_err(|e| broken(format!("line {} is not a record: {e}", count + 2)))?;
        packer.add(&record).map_err(packing)?;
        count += 1;
    }
    if count != header.records {
        return Err(broken(format!("holds {count} of {} records", header.records)));
    }
    packer.finish().map_err(packing)
}
