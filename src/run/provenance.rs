//! The machine, its GPUs, and the git commit of the manifest, for `run.json`.

use std::time::Duration;

use camino::Utf8Path;

use crate::{
    server::{DetectGpusError, DetectedGpu, capture, detect_gpus},
    store::{Gpu, Host},
};

/// The GPUs that the driver reports.
pub(super) async fn gpus(runner: &str) -> Result<Vec<Gpu>, DetectGpusError> {
    let gpu = |gpu: DetectedGpu| Gpu { name: gpu.name, memory_mib: gpu.memory_mib, driver: Some(gpu.driver) };
    let detected = detect_gpus(runner).await?;
    Ok(detected.into_iter().map(gpu).collect())
}

/// The class of this machine.
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
    let cpu = procfs::CpuInfo::current().ok().and_then(|info| info.model_name(0).map(str::to_owned));
    let memory = procfs::Meminfo::current().ok().map(|info| info.mem_total.div_ceil(1 << 30));
    (cpu, memory)
}

#[cfg(not(target_os = "linux"))]
fn processor_and_memory() -> (Option<String>, Option<u64>) {
    (None, None)
}

/// Timeout of one git command: a disk that hangs must not keep a run from starting.
const GIT_TIMEOUT: Duration = Duration::from_secs(20);

/// The commit of the repository that holds a folder, and whether it has uncommitted changes.
pub(super) async fn git(runner: &str, folder: &Utf8Path) -> (Option<String>, Option<bool>) {
    let commit = run_git(runner, folder, &["rev-parse", "HEAD"]).await;
    let changes = match &commit {
        Some(_) => run_git(runner, folder, &["status", "--porcelain"]).await,
        None => None,
    };
    (commit, changes.map(|changes| !changes.is_empty()))
}

async fn run_git(runner: &str, folder: &Utf8Path, words: &[&str]) -> Option<String> {
    let folder = if folder.as_str().is_empty() { Utf8Path::new(".") } else { folder };
    let mut command = vec![
        "git",
        // When it times out it must leave no lock in the repository, and no daemon.
        "--no-optional-locks",
        "-c",
        "core.fsmonitor=false",
        "-C",
        folder.as_str(),
    ];
    command.extend(words);
    let text = capture(Some(runner), GIT_TIMEOUT, &command).await;
    Some(text.ok()?.trim().to_owned())
}
