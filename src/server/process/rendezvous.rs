//! Removes vLLM's rendezvous files. With every start vLLM creates one in the temporary folder, names it in
//! its log, and never removes it, so that hundreds pile up on a machine that runs sweeps.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The text before the file's path in the log.
const LOGGED: &str = "distributed_init_method=file://";
/// The beginning of the file's name; 32 hexadecimal digits follow.
const NAME: &str = "vllm_dist_";
/// How much of a log is searched, bytes: the line comes early.
const MAX_SEARCHED: u64 = 16 << 20;
/// Size limit of a rendezvous file, bytes: one process needs two kilobytes, and each further one adds its
/// own.
const MAX_SIZE: u64 = 1 << 20;

/// Removes the rendezvous files that the log of an ended server names, and returns how many. Since a log may
/// hold any text, a file must have the right name, belong to this user, and be last written after the log was
/// created.
pub(super) fn remove(log: &Path) -> usize {
    let Ok(file) = File::open(log) else {
        return 0;
    };
    let created = file.metadata().and_then(|file| file.created());
    let Ok(created) = created else {
        return 0;
    };
    let mut text = Vec::new();
    // What was read before an error is still searched.
    let _ = file.take(MAX_SEARCHED).read_to_end(&mut text);
    let user = rustix::process::getuid().as_raw();
    let is_ours = |path: &PathBuf| {
        fs::symlink_metadata(path).is_ok_and(|file| {
            file.is_file()
                && file.uid() == user
                && file.nlink() == 1
                && file.len() <= MAX_SIZE
                && file.modified().is_ok_and(|written| written >= created)
        })
    };
    logged_paths(&text).into_iter().filter(is_ours).filter(|path| fs::remove_file(path).is_ok()).count()
}

/// The rendezvous files that a log names.
fn logged_paths(log: &[u8]) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = memchr::memmem::find_iter(log, LOGGED)
        .filter_map(|at| {
            let rest = &log[at + LOGGED.len()..];
            let path = rest.split(u8::is_ascii_whitespace).next()?;
            let path = Path::new(std::str::from_utf8(path).ok()?);
            let digits = path.file_name()?.to_str()?.strip_prefix(NAME)?;
            let is_hexadecimal = digits.len() == 32 && digits.bytes().all(|c| c.is_ascii_hexdigit());
            (path.is_absolute() && is_hexadecimal).then(|| path.to_owned())
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
        let log = include_bytes!("../../../tests/recorded/vllm/log-serve-ready-eager.log");
        let path = "/var/var/tmp/vllm_dist_b52d9dc43c1d47c490008de9a225c4a4";
        assert_eq!(logged_paths(log), [PathBuf::from(path)]);
    }

    #[test]
    fn only_own_new_files_with_the_right_name_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let named = |digit: &str| at(&format!("{NAME}{}", digit.repeat(32)));
        let (older, ours, link, absent) = (named("0"), named("1"), named("2"), named("3"));
        let other = at("letters");
        let log = at("server.log");
        let lines = [&older, &ours, &link, &absent, &other]
            .map(|path| format!("rank=0 {LOGGED}{} backend=gloo\n", path.display()));
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
