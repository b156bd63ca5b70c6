//! Reads files with a limit on their size.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::FileTypeExt as _,
};

use camino::Utf8Path;

/// The largest manifest, in bytes.
pub(super) const LONGEST_MANIFEST: u64 = 16 << 20;
/// The largest input file, in bytes. It stays in memory for the whole run.
pub(super) const LONGEST_INPUT: u64 = 4 << 30;

/// Reads a whole file or pipe, such as a shell's `<(...)`.
///
/// # Errors
/// When reading fails, when the path is a device, or when there are more than `most` bytes.
pub(super) fn read(path: &Utf8Path, most: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_char_device() || kind.is_block_device() {
        return Err(io::Error::other("it is a device, not a file"));
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it is larger than {} MiB, the limit", most >> 20)));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("long");
        File::create(&path).unwrap().set_len(101).unwrap();
        assert_eq!(read(&path, 101).unwrap().len(), 101);
        assert!(read(&path, 100).unwrap_err().to_string().contains("larger than"));
        let device = read(Utf8Path::new("/dev/zero"), 100).unwrap_err();
        assert!(device.to_string().contains("a device"), "{device}");
    }
}
