//! Files in `/dev/shm` that a killed server leaves behind. One is ours when a process of our tree was seen to have it mapped:
//! names say nothing, since Python makes them up.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    time::SystemTime,
};

use rustix::process::Pid;

const FOLDER: &str = "/dev/shm";

/// What was there before a server, and what its processes had mapped since.
pub(super) struct SharedMemory {
    before: HashSet<PathBuf>,
    /// Path and inode: another file of the same name is not the same file.
    ours: BTreeMap<PathBuf, u64>,
}

impl SharedMemory {
    /// Notes what is there before a server starts.
    pub(super) fn before() -> Self {
        Self {
            before: files().into_iter().collect(),
            ours: BTreeMap::new(),
        }
    }

    /// Looks at what processes have mapped. Cheap as long as nothing new is there: their maps are long.
    pub(super) fn look(&mut self, processes: &[Pid]) {
        let known = |file: &PathBuf| self.before.contains(file) || self.ours.contains_key(file);
        if files().iter().all(known) {
            return;
        }
        for pid in processes {
            for (path, inode) in mapped(pid.as_raw_nonzero().get()) {
                if !self.before.contains(&path) {
                    self.ours.insert(path, inode);
                }
            }
        }
    }

    /// What an earlier guardian saw its tree have mapped.
    pub(super) fn known(before: HashSet<PathBuf>, ours: BTreeMap<PathBuf, u64>) -> Self {
        Self { before, ours }
    }

    /// When a file there was last made or removed: to be asked often, it costs next to nothing.
    pub(super) fn changed() -> Option<SystemTime> {
        fs::metadata(FOLDER)
            .and_then(|folder| folder.modified())
            .ok()
    }

    /// What was there before the server.
    pub(super) fn there(&self) -> &HashSet<PathBuf> {
        &self.before
    }

    /// What the server's processes had mapped, with inodes.
    pub(super) fn ours(&self) -> &BTreeMap<PathBuf, u64> {
        &self.ours
    }

    /// Removes what is still there and mapped by nobody, once the server's processes have ended; how many files that were.
    pub(super) fn remove(self) -> usize {
        let mut left: BTreeMap<PathBuf, u64> = self.ours;
        left.retain(|path, inode| fs::metadata(path).is_ok_and(|file| file.ino() == *inode));
        if left.is_empty() {
            return 0;
        }
        for pid in everybody() {
            for (path, _) in mapped(pid) {
                left.remove(&path);
            }
        }
        // Somebody else may have been faster.
        left.keys()
            .filter(|path| fs::remove_file(path).is_ok())
            .count()
    }
}

fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[cfg(target_os = "linux")]
fn everybody() -> Vec<i32> {
    let processes = procfs::process::all_processes().into_iter().flatten();
    processes.flatten().map(|process| process.pid).collect()
}

/// Files of the folder that a process has mapped, with their inodes. A file that has no name any more needs no removal: the
/// kernel marks its path, which then is none that exists.
#[cfg(target_os = "linux")]
fn mapped(pid: i32) -> Vec<(PathBuf, u64)> {
    use procfs::process::{MMapPath, MemoryMap, Process};

    let maps = Process::new(pid).and_then(|process| process.maps());
    let of_folder = |map: MemoryMap| match map.pathname {
        MMapPath::Path(path) if path.starts_with(FOLDER) => Some((path, map.inode)),
        _ => None,
    };
    maps.into_iter().flatten().filter_map(of_folder).collect()
}

/// Where mappings cannot be seen, nothing is known to be ours.
#[cfg(not(target_os = "linux"))]
fn everybody() -> Vec<i32> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
fn mapped(_pid: i32) -> Vec<(PathBuf, u64)> {
    Vec::new()
}
