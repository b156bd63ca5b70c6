//! Where the numbers of a run come from: the machine, the command, the commit.

use std::process::{Command, Stdio};

use camino::Utf8Path;

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

pub(super) fn gpus() -> Vec<Gpu> {
    let gpu = |seen: crate::server::GpuSeen| Gpu {
        name: seen.name,
        memory_mib: seen.memory_mib,
        driver: Some(seen.driver),
    };
    seen_gpus().into_iter().map(gpu).collect()
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

/// Commit of the repository that holds a folder, and whether it has uncommitted changes.
pub(super) fn git(folder: &Utf8Path) -> (Option<String>, Option<bool>) {
    let folder = if folder.as_str().is_empty() {
        Utf8Path::new(".")
    } else {
        folder
    };
    let ask = |words: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(folder)
            .args(words)
            .stdin(Stdio::null())
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = ask(&["rev-parse", "HEAD"]);
    let dirty = commit
        .as_ref()
        .and_then(|_| ask(&["status", "--porcelain"]))
        .map(|changes| !changes.is_empty());
    (commit, dirty)
}
