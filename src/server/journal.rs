//! What is written down of a server as long as it lives, so that a later run recognises what outlived both the runner and
//! the guardian. A process is known by its number, the instant it began and the boot it began in, never by its name.
//!
//! One small file per guardian, in a folder of this user and machine; it goes when nothing of the server is left. It is not
//! synced: what would lose it, ends the processes too.

use std::{
    collections::{BTreeMap, HashSet},
    env, fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Version of the form; another one is left to the program that wrote it.
const FORMAT: u32 = 1;
/// The variable by which the processes of a tree are known: they inherit it. Some overwrite their environment, so it is
/// not the only means.
pub(super) const MARKER: &str = "RUNNER_GUARDIAN";

/// A process that no other can be taken for, as long as the machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) pid: i32,
    /// When it began, clock ticks since boot.
    pub(super) start: u64,
}

/// What is known of one server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    format: u32,
    /// The boot, and the namespace of process numbers: in another one the same numbers mean other processes.
    boot: String,
    namespace: u64,
    pub(super) runner: Identity,
    pub(super) guard: Identity,
    /// The server's log.
    pub(super) log: String,
    /// How long the tree may take to end when it is asked to.
    pub(super) grace_ms: u64,
    /// The process group the server was started in.
    pub(super) group: Option<i32>,
    /// The living processes of the tree, as last seen.
    pub(super) members: Vec<Identity>,
    /// Files of shared memory and sockets that were there before the server.
    pub(super) before: HashSet<PathBuf>,
    /// Those that its processes had mapped or bound since, with their inodes.
    #[serde(alias = "memory")]
    pub(super) files: BTreeMap<PathBuf, u64>,
}

impl Entry {
    /// Of this boot and of processes that can be seen from here.
    pub(super) fn is_of_here(&self) -> bool {
        here().is_some_and(|(boot, namespace)| {
            self.format == FORMAT && self.boot == boot && self.namespace == namespace
        })
    }

    /// What the tree's processes have in their environment.
    pub(super) fn marker(&self) -> String {
        format!("{}:{}:{}", self.boot, self.guard.pid, self.guard.start)
    }
}

/// The entry of one guardian, kept up to date by it.
pub(super) struct Journal {
    path: PathBuf,
    entry: Entry,
}

impl Journal {
    /// Begins the entry of this process, before anything is started. `None` where processes have no identity that can be
    /// read, or nothing can be written: then the end of the tree rests on the guardian alone.
    pub(super) fn begin(folder: &str, log: &str, grace_ms: u64, before: &HashSet<PathBuf>) -> Option<Self> {
        let (boot, namespace) = here()?;
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
                // Whoever reads it may stand elsewhere.
                log: std::path::absolute(log)
                    .map_or_else(|_| log.to_owned(), |log| log.display().to_string()),
                grace_ms,
                group: None,
                members: Vec::new(),
                before: before.clone(),
                files: BTreeMap::new(),
            },
        };
        if folder.is_empty() {
            return None;
        }
        if journal.write().is_err() {
            remove(&journal.path);
            return None;
        }
        Some(journal)
    }

    pub(super) fn marker(&self) -> String {
        self.entry.marker()
    }

    /// Writes down what is known now, when it is news.
    pub(super) fn note(&mut self, group: i32, members: Vec<Identity>, files: &BTreeMap<PathBuf, u64>) {
        let news = Entry { group: Some(group), members, files: files.clone(), ..self.entry.clone() };
        if news != self.entry {
            self.entry = news;
            // A full disk must not end a measurement.
            let _ = self.write();
        }
    }

    /// Nothing is left.
    pub(super) fn end(self) {
        remove(&self.path);
    }

    fn write(&self) -> io::Result<()> {
        let bytes = serde_json::to_vec(&self.entry)?;
        let beside = self.path.with_extension("tmp");
        let write = || {
            fs::write(&beside, &bytes).and_then(|()| fs::rename(&beside, &self.path)).inspect_err(|_| {
                let _ = fs::remove_file(&beside);
            })
        };
        write().or_else(|_| {
            // Whoever ends last removes the folder; that may have been a moment ago.
            self.path.parent().map_or(Ok(()), create)?;
            write()
        })
    }
}

/// The file of a guardian's entry.
pub(super) fn path(folder: &Path, guard: Identity) -> PathBuf {
    folder.join(format!("{}-{}.json", guard.pid, guard.start))
}

/// The guardian whose entry a file is, or was going to be.
pub(super) fn guard_of(path: &Path) -> Option<Identity> {
    let (pid, start) = path.file_stem()?.to_str()?.split_once('-')?;
    Some(Identity { pid: pid.parse().ok()?, start: start.parse().ok()? })
}

/// An entry, when it is one.
pub(super) fn read(path: &Path) -> Option<Entry> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Whether a file can be read and holds no entry of any version.
pub(super) fn is_damaged(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).is_err())
}

/// Removes an entry, and the folder when it was the last one.
pub(super) fn remove(path: &Path) {
    let _ = fs::remove_file(path);
    if let Some(folder) = path.parent() {
        // It fails while others have an entry there.
        let _ = fs::remove_dir(folder);
    }
}

/// The folder of the entries: `$XDG_STATE_HOME/runner/servers`, or below `~/.local/state`; where no home can be written to,
/// a folder of this user alone among the temporary files. `None` when there is no such place.
pub(super) fn folder() -> Option<PathBuf> {
    let absolute = |name: &str| {
        let path = PathBuf::from(env::var_os(name)?);
        // The guardian is told of the folder as a word.
        (path.is_absolute() && path.to_str().is_some()).then_some(path)
    };
    let home = || absolute("HOME").map(|home| home.join(".local/state"));
    let state = absolute("XDG_STATE_HOME").or_else(home);
    let state = state.map(|state| state.join("runner/servers"));
    let user = rustix::process::getuid().as_raw();
    let passing = env::temp_dir().join(format!("runner-{user}"));
    // The folder of the temporary files itself is nobody's to make.
    let passing = Some(passing).filter(|_| env::temp_dir().is_dir());
    state.into_iter().chain(passing).find(|folder| {
        create(folder).is_ok()
            && fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir() && found.uid() == user)
            && rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok()
    })
}

/// Readable by nobody else: a log's path may say more than it should.
fn create(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// A living process; one that ended and was not yet waited for is none.
#[cfg(target_os = "linux")]
pub(super) fn identity(pid: i32) -> Option<Identity> {
    let stat = procfs::process::Process::new(pid).ok()?.stat().ok()?;
    (!matches!(stat.state, 'Z' | 'X')).then_some(Identity { pid, start: stat.starttime })
}

/// A child of ours that was not waited for: it may have ended, and nobody else has its number.
#[cfg(target_os = "linux")]
pub(super) fn born(pid: i32) -> Option<Identity> {
    let stat = procfs::process::Process::new(pid).ok()?.stat().ok()?;
    Some(Identity { pid, start: stat.starttime })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn identity(_pid: i32) -> Option<Identity> {
    None
}

#[cfg(not(target_os = "linux"))]
pub(super) fn born(_pid: i32) -> Option<Identity> {
    None
}

/// This boot, and the namespace of process numbers.
#[cfg(target_os = "linux")]
fn here() -> Option<(String, u64)> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::metadata("/proc/self/ns/pid").ok()?.ino();
    Some((boot.trim().to_owned(), namespace))
}

#[cfg(not(target_os = "linux"))]
fn here() -> Option<(String, u64)> {
    None
}
