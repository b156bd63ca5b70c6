//! Files outside the run folder that a killed server leaves behind: its shared memory in `/dev/shm`, and the socket files
//! its processes talk over, which vLLM puts among the temporary files. One is ours when a process of our tree was seen to
//! have it mapped, or to hold the socket that is bound to it: names say nothing, since the engine makes them up.

use std::{
    collections::{BTreeMap, HashSet},
    env, fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime},
};

use rustix::process::Pid;

/// Where the kernel keeps shared memory that has a name.
const SHARED_MEMORY: &str = "/dev/shm";

/// How long after its processes a file may still seem to be used: a killed process that waits to be buried may have threads
/// that still end.
const AFTER_END: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);

/// What was there before a server, and what its processes had mapped or bound since.
pub(super) struct Files {
    before: HashSet<PathBuf>,
    /// Path and inode: another file of the same name is not the same file.
    ours: BTreeMap<PathBuf, u64>,
    /// What was there at the last change, whoever's it is.
    seen: HashSet<PathBuf>,
    changed: [Option<SystemTime>; 2],
}

impl Files {
    /// Notes what is there before a server starts.
    pub(super) fn before() -> Self {
        Self::known(there().collect(), BTreeMap::new())
    }

    /// Looks at what processes have mapped and bound. Cheap as long as nothing new is there: their maps are long.
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

    /// What an earlier guardian saw its tree have.
    pub(super) fn known(before: HashSet<PathBuf>, ours: BTreeMap<PathBuf, u64>) -> Self {
        Self { seen: before.clone(), before, ours, changed: [None; 2] }
    }

    /// Whether something was made since the last time this was asked. To be asked often: it costs next to nothing, unless
    /// a folder has changed.
    pub(super) fn is_more(&mut self) -> bool {
        let changed = changed();
        if changed == self.changed {
            return false;
        }
        self.changed = changed;
        let seen: HashSet<PathBuf> = there().collect();
        let more = !seen.is_subset(&self.seen);
        self.seen = seen;
        more
    }

    /// What was there before the server.
    pub(super) fn there(&self) -> &HashSet<PathBuf> {
        &self.before
    }

    /// What the server's processes had mapped or bound, with inodes.
    pub(super) fn ours(&self) -> &BTreeMap<PathBuf, u64> {
        &self.ours
    }

    /// Removes what is still there and used by nobody, once the server's processes have ended; how many files that were.
    pub(super) fn remove(self) -> usize {
        let mut left: BTreeMap<PathBuf, u64> = self.ours;
        let mut removed = 0;
        let until = Instant::now() + AFTER_END;
        loop {
            left.retain(|path, inode| with_inode(path.clone()).is_some_and(|file| file.1 == *inode));
            if left.is_empty() {
                return removed;
            }
            let mapped: HashSet<u64> = everybody().into_iter().flat_map(mapped).collect();
            let bound: HashSet<PathBuf> = bound().collect();
            let is_used = |path: &PathBuf, inode: &u64| {
                bound.contains(path) || path.starts_with(SHARED_MEMORY) && mapped.contains(inode)
            };
            for (path, _) in left.iter().filter(|(path, inode)| !is_used(path, inode)) {
                // Somebody else may have been faster.
                removed += usize::from(fs::remove_file(path).is_ok());
            }
            left.retain(|path, inode| is_used(path, inode));
            if left.is_empty() || Instant::now() > until {
                return removed;
            }
            thread::sleep(LOOK);
        }
    }
}

/// When a file was last made or removed where servers make them.
fn changed() -> [Option<SystemTime>; 2] {
    let changed = |folder: &Path| fs::metadata(folder).and_then(|folder| folder.modified());
    [Path::new(SHARED_MEMORY), &env::temp_dir()].map(|folder| changed(folder).ok())
}

/// Everybody's files of these kinds.
fn there() -> impl Iterator<Item = PathBuf> {
    shared_memory().into_iter().chain(bound())
}

fn shared_memory() -> Vec<PathBuf> {
    let entries = fs::read_dir(SHARED_MEMORY).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// The file itself, not what a link of that name points to.
fn with_inode(path: PathBuf) -> Option<(PathBuf, u64)> {
    let inode = fs::symlink_metadata(&path).ok()?.ino();
    Some((path, inode))
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

/// The paths that Unix sockets of this machine are bound to.
fn bound() -> impl Iterator<Item = PathBuf> {
    sockets().into_iter().map(|(_, path)| path)
}

#[cfg(target_os = "linux")]
fn everybody() -> Vec<i32> {
    let processes = procfs::process::all_processes().into_iter().flatten();
    processes.flatten().map(|process| process.pid).collect()
}

/// The inodes of shared memory that a process has mapped. Not the paths: a named semaphore is made under another name than it
/// ends up with, and a process tells the first.
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

/// The kernel's numbers of the sockets that a process has open.
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

/// The kernel's number of each Unix socket that is bound to a file, and the file. Abstract ones have none, and a relative
/// path says nothing outside the process that bound it.
#[cfg(target_os = "linux")]
fn sockets() -> Vec<(u64, PathBuf)> {
    let sockets = procfs::net::unix().into_iter().flatten();
    sockets
        .filter_map(|socket| Some((socket.inode, socket.path?)))
        .filter(|(_, path)| path.is_absolute())
        .collect()
}

/// Where mappings and sockets cannot be seen, nothing is known to be ours.
#[cfg(not(target_os = "linux"))]
fn everybody() -> Vec<i32> {
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
