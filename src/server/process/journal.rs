//! The journal of running servers: lets a later run recognise processes that outlived both the runner and the
//! guardian. A process is identified by its PID, its start time and the boot, never by its name.
//!
//! Each guardian keeps one small file in a folder of this user and machine, and removes it when nothing of
//! the server is left. The file is not synced to disk: what would lose it also ends the processes.

use std::{
    collections::{BTreeMap, HashSet},
    env, fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::tree::Member;

/// Version of the format. Entries of other versions are left to the programs that wrote them.
const FORMAT: u32 = 1;
/// Environment variable that marks the processes of a tree, which inherit it. Some overwrite their
/// environment, so it is not the only means.
pub(super) const MARKER: &str = "RUNNER_GUARDIAN";

/// A process's unique identity for as long as the machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::server) struct Identity {
    pub(super) pid: i32,
    /// Start time, clock ticks since boot.
    pub(super) start: u64,
}

impl From<&Member> for Identity {
    fn from(member: &Member) -> Self {
        Self { pid: member.pid.as_raw_nonzero().get(), start: member.start }
    }
}

/// The journal's entry for one server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::server) struct Entry {
    format: u32,
    /// The boot and the PID namespace: in another one the same PID means another process.
    boot: String,
    namespace: u64,
    pub(super) runner: Identity,
    pub(super) guard: Identity,
    /// Path of the server's log; empty for a command whose output was captured.
    pub(super) log: String,
    /// How long the tree may take to end after SIGTERM.
    pub(super) grace_ms: u64,
    /// The process group the server was started in.
    pub(super) group: Option<i32>,
    /// The living processes of the tree, as last seen.
    pub(super) members: Vec<Identity>,
    /// Files of shared memory and sockets that existed before the server.
    pub(super) before: HashSet<PathBuf>,
    /// Those of the server, with their inodes.
    #[serde(alias = "memory")]
    pub(super) files: BTreeMap<PathBuf, u64>,
}

impl Entry {
    /// Whether the entry is about processes of this boot and PID namespace.
    pub(super) fn is_local(&self) -> bool {
        boot_and_namespace().is_some_and(|(boot, namespace)| {
            self.format == FORMAT && self.boot == boot && self.namespace == namespace
        })
    }

    /// The value of [`MARKER`] in the tree's processes.
    pub(super) fn marker(&self) -> String {
        format!("{}:{}:{}", self.boot, self.guard.pid, self.guard.start)
    }
}

/// A guardian's own entry, which it keeps up to date.
pub(super) struct Journal {
    path: PathBuf,
    entry: Entry,
}

impl Journal {
    /// Begins the entry of this process, before anything is started. `None` where a process's identity cannot
    /// be read or nothing can be written: then the guardian alone ends the tree.
    pub(super) fn begin(folder: &str, log: &str, grace: Duration, before: &HashSet<PathBuf>) -> Option<Self> {
        if folder.is_empty() {
            return None;
        }
        let (boot, namespace) = boot_and_namespace()?;
        let guard = identity(i32::try_from(std::process::id()).ok()?)?;
        let parent = rustix::process::getppid()?.as_raw_nonzero().get();
        let journal = Self {
            path: path(Path::new(folder), guard),
            entry: Entry {
                format: FORMAT,
                boot,
                namespace,
                runner: identity(parent)?,
                guard,
                // Its reader may have another working directory.
                log: std::path::absolute(log)
                    .map_or_else(|_| log.to_owned(), |log| log.display().to_string()),
                grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
                group: None,
                members: Vec::new(),
                before: before.clone(),
                files: BTreeMap::new(),
            },
        };
        if journal.write().is_err() {
            remove(&journal.path);
            return None;
        }
        Some(journal)
    }

    pub(super) fn marker(&self) -> String {
        self.entry.marker()
    }

    /// Writes the tree's current state when it has changed.
    pub(super) fn record(&mut self, group: i32, members: Vec<Identity>, files: &BTreeMap<PathBuf, u64>) {
        let entry = Entry { group: Some(group), members, files: files.clone(), ..self.entry.clone() };
        if entry != self.entry {
            self.entry = entry;
            // A full disk must not end a measurement.
            let _ = self.write();
        }
    }

    /// Removes the entry: nothing of the tree is left.
    pub(super) fn end(self) {
        remove(&self.path);
    }

    fn write(&self) -> io::Result<()> {
        let bytes = serde_json::to_vec(&self.entry)?;
        let temporary = self.path.with_extension("tmp");
        let write = || {
            fs::write(&temporary, &bytes).and_then(|()| fs::rename(&temporary, &self.path)).inspect_err(
                |_| {
                    let _ = fs::remove_file(&temporary);
                },
            )
        };
        write().or_else(|_| {
            // Another guardian may just have removed the empty folder.
            self.path.parent().map_or(Ok(()), create)?;
            write()
        })
    }
}

/// The file of a guardian's entry.
pub(in crate::server) fn path(folder: &Path, guard: Identity) -> PathBuf {
    folder.join(format!("{}-{}.json", guard.pid, guard.start))
}

/// The guardian that a file's name belongs to.
pub(super) fn guard_of(path: &Path) -> Option<Identity> {
    let (pid, start) = path.file_stem()?.to_str()?.split_once('-')?;
    Some(Identity { pid: pid.parse().ok()?, start: start.parse().ok()? })
}

/// Reads an entry; `None` when the file holds none.
pub(in crate::server) fn read(path: &Path) -> Option<Entry> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Whether a file can be read but is no JSON, and so no entry of any version.
pub(super) fn is_damaged(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).is_err())
}

/// Removes an entry, and the folder when it is empty.
pub(super) fn remove(path: &Path) {
    let _ = fs::remove_file(path);
    if let Some(folder) = path.parent() {
        // Fails while other entries are there.
        let _ = fs::remove_dir(folder);
    }
}

/// The journal's folder: `$XDG_STATE_HOME/runner/servers`, or below `~/.local/state`; where the home cannot
/// be written to, a folder of this user in the temporary folder. `None` when neither can be written to.
pub(in crate::server) fn folder() -> Option<PathBuf> {
    let absolute = |name: &str| {
        let path = PathBuf::from(env::var_os(name)?);
        // The guardian gets the folder as an argument.
        (path.is_absolute() && path.to_str().is_some()).then_some(path)
    };
    let home = || absolute("HOME").map(|home| home.join(".local/state"));
    let state = absolute("XDG_STATE_HOME").or_else(home);
    let state = state.map(|state| state.join("runner/servers"));
    let user = rustix::process::getuid().as_raw();
    let temporary = env::temp_dir().join(format!("runner-{user}"));
    // Never create the temporary folder itself.
    let temporary = Some(temporary).filter(|_| env::temp_dir().is_dir());
    state.into_iter().chain(temporary).find(|folder| {
        create(folder).is_ok()
            && fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir() && found.uid() == user)
            && rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok()
    })
}

/// Creates a folder that only this user can read: a log's path may be private.
fn create(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// The identity of a living process; zombies have none.
#[cfg(target_os = "linux")]
pub(super) fn identity(pid: i32) -> Option<Identity> {
    let stat = procfs::process::Process::new(pid).ok()?.stat().ok()?;
    (!matches!(stat.state, 'Z' | 'X')).then_some(Identity { pid, start: stat.starttime })
}

/// The identity of a child that was not waited for. It may be a zombie, but nobody else has its PID.
#[cfg(target_os = "linux")]
pub(in crate::server) fn child_identity(pid: i32) -> Option<Identity> {
    let stat = procfs::process::Process::new(pid).ok()?.stat().ok()?;
    Some(Identity { pid, start: stat.starttime })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn identity(_pid: i32) -> Option<Identity> {
    None
}

#[cfg(not(target_os = "linux"))]
pub(in crate::server) fn child_identity(_pid: i32) -> Option<Identity> {
    None
}

#[cfg(target_os = "linux")]
fn boot_and_namespace() -> Option<(String, u64)> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::metadata("/proc/self/ns/pid").ok()?.ino();
    Some((boot.trim().to_owned(), namespace))
}

#[cfg(not(target_os = "linux"))]
fn boot_and_namespace() -> Option<(String, u64)> {
    None
}
