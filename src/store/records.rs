//! The heavy files: the records of one repeat of a cell.
//!
//! `cells/<id>/records-<repeat>.jsonl.gz` is gzip over lines of JSON. The first line says what follows,
//! `{"format":1,"cell":"…","repeat":1}` with repeats counted from 1; every other line is one
//! [`Record`], in the order of the arrivals. A cell without records has no such file.

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
};

use camino::{Utf8Path, Utf8PathBuf};
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};

use super::{durable, error::StoreError, form::FORMAT, json, name};
use crate::load::Record;

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    cell: String,
    repeat: u32,
}

fn path(folder: &Utf8Path, repeat: u32) -> Utf8PathBuf {
    folder.join(format!("records-{repeat}.jsonl.gz"))
}

/// Writes one repeat's records into a cell's folder.
pub(super) fn write(
    folder: &Utf8Path,
    cell: &str,
    repeat: u32,
    records: &[Record],
) -> Result<(), StoreError> {
    let path = path(folder, repeat);
    let header = Header {
        format: FORMAT,
        cell: cell.to_owned(),
        repeat,
    };
    durable::flushed(&path, |file| {
        let mut lines = BufWriter::new(GzEncoder::new(file, Compression::default()));
        serde_json::to_writer(&mut lines, &header)?;
        lines.write_all(b"\n")?;
        for record in records {
            serde_json::to_writer(&mut lines, record)?;
            lines.write_all(b"\n")?;
        }
        lines
            .into_inner()
            .map_err(|error| error.into_error())?
            .finish()?;
        Ok(())
    })
    .map_err(StoreError::io("write", &path))
}

/// The records of every repeat of a cell, as they were stored; none where the cell has none (or a clone of the
/// repository holds only the light files).
///
/// # Errors
/// When a file is damaged, cut short, or of a later format.
pub fn read_records(run: &Utf8Path, cell_id: &str) -> Result<Vec<Vec<Record>>, StoreError> {
    let folder = run.join("cells").join(name::checked("cell", cell_id)?);
    let mut repeats = Vec::new();
    for repeat in 1.. {
        let path = path(&folder, repeat);
        if !path.exists() {
            break;
        }
        repeats.push(read_one(&path, cell_id, repeat)?);
    }
    Ok(repeats)
}

fn read_one(path: &Utf8Path, cell: &str, repeat: u32) -> Result<Vec<Record>, StoreError> {
    let damaged = |line: usize, reason: String| StoreError::Damaged {
        path: path.to_owned(),
        reason: format!("line {line}: {reason}"),
    };
    let file = File::open(path).map_err(StoreError::io("read", path))?;
    let mut lines = BufReader::new(MultiGzDecoder::new(BufReader::new(file))).lines();
    let first = lines
        .next()
        .ok_or_else(|| damaged(1, "it is empty".into()))?
        .map_err(|error| damaged(1, error.to_string()))?;
    let header: Header = json::parse(path, &first)?;
    if header.cell != cell || header.repeat != repeat {
        let whose = format!("it holds repeat {} of cell {}", header.repeat, header.cell);
        return Err(damaged(1, whose));
    }
    lines
        .enumerate()
        .map(|(place, line)| {
            let line = line.map_err(|error| damaged(place + 2, error.to_string()))?;
            serde_json::from_str(&line).map_err(|error| damaged(place + 2, error.to_string()))
        })
        .collect()
}
