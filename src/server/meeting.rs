//! The file at which the processes of a server meet. vLLM makes one among the temporary files with every start, names it in its
//! log, and never removes it: hundreds of them gather on a machine that sweeps.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What stands before the file's path in the log.
const NAMED: &str = "distributed_init_method=file://";
/// What the file's name begins with; 32 hexadecimal digits follow.
const BEGINS: &str = "vllm_dist_";
/// So much of a log is looked at, bytes: the line comes early.
const LOOKED_AT: u64 = 16 << 20;
/// A larger file is another one, bytes: two kilobytes were seen for one process, and each further one adds its own.
const LARGEST: u64 = 1 << 20;

/// Removes the files that the log of an ended server names; how many that were. A log is not believed far: what goes is a
/// file of such a name, ours, that was last written after the log was begun.
pub(super) fn remove(log: &Path) -> usize {
    let Ok(file) = File::open(log) else {
        return 0;
    };
    let began = file.metadata().and_then(|file| file.created());
    let Ok(began) = began else {
        return 0;
    };
    let mut text = Vec::new();
    // What was read before an error names as much as there is.
    let _ = file.take(LOOKED_AT).read_to_end(&mut text);
    let user = rustix::process::getuid().as_raw();
    let is_ours = |path: &PathBuf| {
        fs::symlink_metadata(path).is_ok_and(|file| {
            file.is_file()
                && file.uid() == user
                && file.nlink() == 1
                && file.len() <= LARGEST
                && file.modified().is_ok_and(|written| written >= began)
        })
    };
    named(&text).into_iter().filter(is_ours).filter(|path| fs::remove_file(path).is_ok()).count()
}

/// The paths of such files that a log names.
fn named(log: &[u8]) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = memchr::memmem::find_iter(log, NAMED)
        .filter_map(|at| {
            let rest = &log[at + NAMED.len()..];
            let path = rest.split(u8::is_ascii_whitespace).next()?;
            let path = Path::new(std::str::from_utf8(path).ok()?);
            let digits = path.file_name()?.to_str()?.strip_prefix(BEGINS)?;
            let is_made_up = digits.len() == 32 && digits.bytes().all(|c| c.is_ascii_hexdigit());
            (path.is_absolute() && is_made_up).then(|| path.to_owned())
        })
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_recorded_log_names_one_file() {
        let log = include_bytes!("../../tests/recorded/vllm/log-serve-ready-eager.log");
        let path = "/var/var/tmp/vllm_dist_b52d9dc43c1d47c490008de9a225c4a4";
        assert_eq!(named(log), [PathBuf::from(path)]);
    }

    #[test]
    fn only_what_was_made_since_and_is_called_so_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let called = |digit: &str| at(&format!("{BEGINS}{}", digit.repeat(32)));
        let (older, ours, link, absent) = (called("0"), called("1"), called("2"), called("3"));
        let other = at("letters");
        let log = at("server.log");
        let lines = [&older, &ours, &link, &absent, &other]
            .map(|path| format!("rank=0 {NAMED}{} backend=gloo\n", path.display()));
        fs::write(&log, lines.concat()).unwrap();
        for path in [&older, &other, &ours] {
            fs::write(path, "x").unwrap();
        }
        let before = SystemTime::now() - Duration::from_secs(60);
        let file = File::options().write(true).open(&older).unwrap();
        file.set_modified(before).unwrap();
        std::os::unix::fs::symlink(&other, &link).unwrap();
        assert_eq!(remove(&log), 1);
        assert!(!ours.exists());
        for path in [&older, &other, &link] {
            assert!(path.exists(), "{}", path.display());
        }
    }
}
