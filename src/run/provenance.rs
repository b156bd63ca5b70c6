//! Where the numbers of a run come from: the machine, the command, the commit.

use std::{process::Stdio, time::Duration};

use camino::Utf8Path;
use tokio::{process::Command, time::timeout};

use crate::{
    server::seen_gpus,
    store::{Gpu, Host, Tool},
};

pub(super) fn tool() -> Tool {
    Tool {
        name: "runner".into(),
        version: env!("CARGO_PKG_VERSION").into(),
    }
}

pub(super) async fn gpus() -> Vec<Gpu> {
    let gpu = |seen: crate::server::GpuSeen| Gpu {
        name: seen.name,
        memory_mib: seen.memory_mib,
        driver: Some(seen.driver),
    };
    seen_gpus().await.into_iter().map(gpu).collect()
}

pub(super) fn host() -> Host {
    let (cpu, memory_gib) = processor_and_memory();
    Host {
        platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
        cpu,
        cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
        memory_gib,
    }
}

#[cfg(target_os = "linux")]
fn processor_and_memory() -> (Option<String>, Option<u64>) {
    use procfs::Current;
    let cpu = procfs::CpuInfo::current()
        .ok()
        .and_then(|info| info.model_name(0).map(str::to_owned));
    let memory = procfs::Meminfo::current()
        .ok()
        .map(|info| info.mem_total.div_ceil(1 << 30));
    (cpu, memory)
}

#[cfg(not(target_os = "linux"))]
fn processor_and_memory() -> (Option<String>, Option<u64>) {
    (None, None)
}

/// How long git may take for one answer: a disk that hangs must not keep a run from beginning.
const PATIENCE: Duration = Duration::from_secs(20);

/// Commit of the repository that holds a folder, and whether it has uncommitted changes.
pub(super) async fn git(folder: &Utf8Path) -> (Option<String>, Option<bool>) {
    let commit = ask_git(folder, &["rev-parse", "HEAD"]).await;
    let changes = match &commit {
        Some(_) => ask_git(folder, &["status", "--porcelain"]).await,
        None => None,
    };
    (commit, changes.map(|changes| !changes.is_empty()))
}

async fn ask_git(folder: &Utf8Path, words: &[&str]) -> Option<String> {
    let folder = if folder.as_str().is_empty() {
        Utf8Path::new(".")
    } else {
        folder
    };
    let output = Command::new("git")
        // Given up in the middle, it must leave no lock in somebody's repository; and no daemon, whatever its settings say.
        .args(["--no-optional-locks", "-c", "core.fsmonitor=false", "-C"])
        .arg(folder)
        .args(words)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, output).await.ok()?.ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
