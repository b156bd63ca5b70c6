//! Reading a file that a person named, in bounded memory.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::FileTypeExt as _,
};

use camino::Utf8Path;

/// The longest manifest, bytes.
pub(super) const LONGEST_MANIFEST: u64 = 16 << 20;
/// The longest file of prompts or documents, bytes: it is held in memory as long as a run takes.
pub(super) const LONGEST_INPUT: u64 = 4 << 30;

/// Reads a whole file. A pipe will do, such as a shell's `<(...)`.
///
/// # Errors
/// What the disk says; and of a device, or of a file of more than `most` bytes, that it is one.
pub(super) fn read(path: &Utf8Path, most: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_char_device() || kind.is_block_device() {
        return Err(io::Error::other("it is a device, not a file"));
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it has more than {} MiB, the most that is read", most >> 20)));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_end_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("long");
        File::create(&path).unwrap().set_len(101).unwrap();
        assert_eq!(read(&path, 101).unwrap().len(), 101);
        assert!(read(&path, 100).unwrap_err().to_string().contains("more than"));
        let device = read(Utf8Path::new("/dev/zero"), 100).unwrap_err();
        assert!(device.to_string().contains("a device"), "{device}");
    }
}
