//! Finds and removes the files that a killed server leaves outside the run folder: shared memory in
//! `/dev/shm`, and the Unix sockets between its processes, which vLLM creates in the temporary folder. The
//! engine makes up their names, so a file counts as the server's only when one of its processes was seen to
//! map it or to hold the socket bound to it.

use std::{
    collections::{BTreeMap, HashSet},
    env, fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime},
};

use rustix::process::Pid;

/// The folder of named shared memory.
const SHARED_MEMORY: &str = "/dev/shm";

/// How long a file may seem to be in use after the end of its processes: a zombie may have threads that are
/// still ending.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);

/// The files of one server, told apart from those that existed before it.
pub(super) struct IpcFiles {
    before: HashSet<PathBuf>,
    /// Paths with inodes, so that a new file of the same name is not taken for the old one.
    ours: BTreeMap<PathBuf, u64>,
    /// Everybody's files at the last change.
    seen: HashSet<PathBuf>,
    changed: [Option<SystemTime>; 2],
}

impl IpcFiles {
    /// Takes stock before a server starts.
    pub(super) fn before() -> Self {
        Self::recorded(all_files().collect(), BTreeMap::new())
    }

    /// Records what the processes have mapped and bound. Reads their long memory maps only when there is a
    /// new file.
    pub(super) fn look(&mut self, processes: &[Pid]) {
        let pids = || processes.iter().map(|pid| pid.as_raw_nonzero().get());
        let mut memory = shared_memory();
        memory.retain(|path| self.is_new(path));
        if !memory.is_empty() {
            let mapped: HashSet<u64> = pids().flat_map(mapped).collect();
            let found = memory.into_iter().filter_map(with_inode);
            let ours = found.filter(|(_, inode)| mapped.contains(inode));
            self.ours.extend(ours);
        }
        let mut sockets = sockets();
        sockets.retain(|(_, path)| self.is_new(path));
        if !sockets.is_empty() {
            let held: HashSet<u64> = pids().flat_map(held).collect();
            sockets.retain(|(socket, path)| held.contains(socket) && is_socket(path));
            let ours = sockets.into_iter().map(|(_, path)| path);
            self.ours.extend(ours.filter_map(with_inode));
        }
    }

    fn is_new(&self, path: &Path) -> bool {
        !self.before.contains(path) && !self.ours.contains_key(path)
    }

    /// Restores what an earlier guardian recorded.
    pub(super) fn recorded(before: HashSet<PathBuf>, ours: BTreeMap<PathBuf, u64>) -> Self {
        Self { seen: before.clone(), before, ours, changed: [None; 2] }
    }

    /// Whether files were created since the last call. Cheap unless a folder has changed.
    pub(super) fn have_new(&mut self) -> bool {
        let changed = changed();
        if changed == self.changed {
            return false;
        }
        self.changed = changed;
        let seen: HashSet<PathBuf> = all_files().collect();
        let new = !seen.is_subset(&self.seen);
        self.seen = seen;
        new
    }

    /// The files that existed before the server started.
    pub(super) fn before_start(&self) -> &HashSet<PathBuf> {
        &self.before
    }

    /// The server's files, with their inodes.
    pub(super) fn ours(&self) -> &BTreeMap<PathBuf, u64> {
        &self.ours
    }

    /// Removes the server's files that nobody uses, once its processes have ended. Returns how many it
    /// removed.
    pub(super) fn remove(self) -> usize {
        let mut left: BTreeMap<PathBuf, u64> = self.ours;
        let mut removed = 0;
        let until = Instant::now() + RELEASE_TIMEOUT;
        loop {
            left.retain(|path, inode| with_inode(path.clone()).is_some_and(|file| file.1 == *inode));
            if left.is_empty() {
                return removed;
            }
            let mapped: HashSet<u64> = all_pids().into_iter().flat_map(mapped).collect();
            let bound: HashSet<PathBuf> = bound().collect();
            let is_used = |path: &PathBuf, inode: &u64| {
                bound.contains(path) || path.starts_with(SHARED_MEMORY) && mapped.contains(inode)
            };
            for (path, _) in left.iter().filter(|(path, inode)| !is_used(path, inode)) {
                removed += usize::from(fs::remove_file(path).is_ok());
            }
            left.retain(|path, inode| is_used(path, inode));
            if left.is_empty() || Instant::now() > until {
                return removed;
            }
            thread::sleep(POLL);
        }
    }
}

/// When a file was last created or removed in the two folders.
fn changed() -> [Option<SystemTime>; 2] {
    let changed = |folder: &Path| fs::metadata(folder).and_then(|folder| folder.modified());
    [Path::new(SHARED_MEMORY), &env::temp_dir()].map(|folder| changed(folder).ok())
}

/// Everybody's shared memory and bound sockets.
fn all_files() -> impl Iterator<Item = PathBuf> {
    shared_memory().into_iter().chain(bound())
}

fn shared_memory() -> Vec<PathBuf> {
    let entries = fs::read_dir(SHARED_MEMORY).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Adds the inode of the file itself, not of what a link points to.
fn with_inode(path: PathBuf) -> Option<(PathBuf, u64)> {
    let inode = fs::symlink_metadata(&path).ok()?.ino();
    Some((path, inode))
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

/// The paths to which Unix sockets of this machine are bound.
fn bound() -> impl Iterator<Item = PathBuf> {
    sockets().into_iter().map(|(_, path)| path)
}

#[cfg(target_os = "linux")]
fn all_pids() -> Vec<i32> {
    let processes = procfs::process::all_processes().into_iter().flatten();
    processes.flatten().map(|process| process.pid).collect()
}

/// The inodes of shared memory that a process has mapped. Its paths may be out of date: a named semaphore is
/// created under a temporary name, which the memory map keeps.
#[cfg(target_os = "linux")]
fn mapped(pid: i32) -> Vec<u64> {
    use procfs::process::{MMapPath, MemoryMap, Process};

    let maps = Process::new(pid).and_then(|process| process.maps());
    let of_folder = |map: MemoryMap| match map.pathname {
        MMapPath::Path(path) if path.starts_with(SHARED_MEMORY) => Some(map.inode),
        _ => None,
    };
    maps.into_iter().flatten().filter_map(of_folder).collect()
}

/// The inodes of the sockets that a process has open.
#[cfg(target_os = "linux")]
fn held(pid: i32) -> Vec<u64> {
    use procfs::process::{FDTarget, Process};

    let open = Process::new(pid).and_then(|process| process.fd());
    let socket = |target| match target {
        FDTarget::Socket(number) => Some(number),
        _ => None,
    };
    let open = open.into_iter().flatten().flatten();
    open.filter_map(|file| socket(file.target)).collect()
}

/// Each Unix socket that is bound to a file: its inode and the file. Abstract sockets have no file, and a
/// relative path means nothing outside the process that bound it.
#[cfg(target_os = "linux")]
fn sockets() -> Vec<(u64, PathBuf)> {
    let sockets = procfs::net::unix().into_iter().flatten();
    sockets
        .filter_map(|socket| Some((socket.inode, socket.path?)))
        .filter(|(_, path)| path.is_absolute())
        .collect()
}

// Where mappings and sockets cannot be listed, no file is known to be the server's.
#[cfg(not(target_os = "linux"))]
fn all_pids() -> Vec<i32> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
fn mapped(_pid: i32) -> Vec<u64> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
fn held(_pid: i32) -> Vec<u64> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
fn sockets() -> Vec<(u64, PathBuf)> {
    Vec::new()
}
